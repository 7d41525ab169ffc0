//! From a VEK certificate up to a pinned root.
//!
//! Principle: the VEK's issuer name, exact, decides authority, generation and kind; everything
//! above it comes from the verifier's own certificates, never from evidence. The result, a
//! [`VerifiedVek`], can be kept: a report under it then costs one signature check.

use super::revocation::Revocation;
use super::{Check, Checks, Code, ca};
use crate::cert::{
    Anchor, Authority, Certificate, Crl, PublicKey, Role, Roots, Validity, VekExtensions, VekKind,
};
use crate::crypto::Backend;
use crate::report::Generation;

/// The checks of a chain, from the certificate of the chip's key up to the root.
pub const CHAIN_CHECKS: [Code; 13] = [
    Code::VekPresent,
    Code::VekParse,
    Code::VekName,
    Code::VekKey,
    Code::VekExtensions,
    Code::ArkPinned,
    Code::ArkSignature,
    Code::IntermediateSignature,
    Code::VekSignature,
    Code::KeyUsage,
    Code::ArkValidity,
    Code::IntermediateValidity,
    Code::VekValidity,
];

/// The checks of what revokes a part of it.
pub const REVOCATION_CHECKS: [Code; 5] =
    [Code::CrlParse, Code::CrlIssuer, Code::CrlSignature, Code::CrlFreshness, Code::CrlRevoked];

/// Certificates of one name that are tried; a store keeps one or two.
const MAX_CANDIDATES: usize = 16;

/// An endorsement key whose chain is verified up to a pinned root.
#[derive(Debug, Clone)]
pub struct VerifiedVek {
    /// Whose chain it is: AMD's, or a model's.
    pub authority: Authority,
    /// The generation, which the issuer's name tells.
    pub generation: Generation,
    /// Extensions of the certificate: TCB, product, and what the key is bound to.
    pub extensions: VekExtensions,
    /// Whether a current list of the root and of this kind of chain was checked.
    pub crl_checked: bool,
    /// When the newest list that was checked was issued, seconds since 1970.
    pub crl_issued: Option<u64>,
    pub(super) key: Vec<u8>,
    /// When all certificates and lists are valid: the intersection of their periods.
    pub(super) window: Validity,
    pub(super) rests_on: RestsOn,
    pub(super) checks: Checks,
}

/// What a verified chain rests on beside its certificates.
#[derive(Debug, Clone)]
pub(super) struct RestsOn {
    /// The trusted root key that the chain ends in.
    pub(super) anchor: Anchor,
    /// DER of the root's name, which issues the lists.
    pub(super) root_name: Vec<u8>,
    /// Signatures of the revocation lists that were checked.
    pub(super) lists: Vec<Vec<u8>>,
}

/// What a chain is built and judged with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) roots: &'a Roots,
    pub(super) crls: &'a [Crl],
    pub(super) vlek_crls: &'a [Crl],
    pub(super) at: u64,
    pub(super) backend: &'a dyn Backend,
}

struct Links<'a> {
    /// The root, pinned in `Context::roots` for the generation that the VEK's issuer names.
    ark: &'a Certificate,
    /// ASK or ASVK, the VEK's issuer.
    intermediate: &'a Certificate,
}

impl Context<'_> {
    /// Verifies a VEK certificate; every outcome goes to `checks`.
    pub(super) fn verify(&self, der: &[u8], checks: &mut Checks) -> Option<VerifiedVek> {
        let vek = match Certificate::from_der(der) {
            Ok(vek) => vek,
            Err(error) => {
                checks.fail(Code::VekParse, error.to_string(), "a DER certificate");
                return None;
            }
        };
        checks.pass(Code::VekParse, format!("{} bytes", der.len()));
        // Names first: they decide which certificates of the verifier's the chain is built with. An
        // unknown name ends here, since there is nothing to build from.
        let (authority, issuer, generation) = names(&vek, checks)?;
        let key = match &vek.key {
            PublicKey::P384(point) => {
                checks.pass(Code::VekKey, "P-384");
                Some(point.clone())
            }
            PublicKey::Rsa(_) => {
                checks.fail(Code::VekKey, "RSA", "P-384");
                None
            }
        };
        // Extensions and key are looked at before the signatures, and all of them whatever fails:
        // the faults of a wrong certificate are told together.
        let extensions = extensions(&vek, issuer, checks);
        let links = self.links(&vek, authority, issuer, generation, checks)?;
        let mut window = self.validity(&links, &vek, checks);
        let crl_issued = self.revocation(&links, issuer, checks);
        let rests_on = self.rests_on(&links, authority, generation);
        // A kept chain ends with the first list that goes out of date. A list without a next update
        // has made the chain fail above, so 0 is only the strict reading of what cannot be here.
        for crl in self.own_lists(issuer).iter().filter(|crl| crl.issuer == links.ark.subject) {
            window.not_before = window.not_before.max(crl.this_update);
            window.not_after = window.not_after.min(crl.next_update.unwrap_or(0));
        }
        // Any failure so far, of the whole verification: a chain that is returned is one that may
        // sign for something.
        if checks.any_failed() {
            return None;
        }
        Some(VerifiedVek {
            authority,
            generation,
            extensions: extensions?,
            crl_checked: crl_issued.is_some(),
            crl_issued,
            key: key?,
            window,
            rests_on,
            checks: Checks::default(),
        })
    }

    /// Finds and verifies ARK and ASK or ASVK.
    fn links(
        &self,
        vek: &Certificate,
        authority: Authority,
        issuer: Role,
        generation: Generation,
        checks: &mut Checks,
    ) -> Option<Links<'_>> {
        let Some(ark) = pinned_ark(self.roots, authority, generation, checks) else {
            let name = Role::Ark(generation).common_name(authority);
            checks.fail(Code::ArkPinned, format!("no trusted root key for {name}"), "a pinned key");
            return None;
        };
        // Trust comes from the pin, not from this signature. But the certificate's dates and usage
        // are read below, and only its own signature says that they are unaltered.
        let ark_ok = signs(self.backend, ark, ark);
        checks.require(Code::ArkSignature, ark_ok, "self-signed", "a valid self-signature");
        // Several certificates may have the issuer's name, and several the key that signed the VEK:
        // an altered copy of the right one must not stand before it. So all are tried, and one that
        // the root signed goes before the others.
        let under = |one: &Certificate| one.issuer == ark.subject && signs(self.backend, ark, one);
        let all: Vec<_> = self.roots.candidates(authority, issuer).take(MAX_CANDIDATES).collect();
        let issuers: Vec<_> =
            all.iter().copied().filter(|one| signs(self.backend, one, vek)).collect();
        let found = issuers.iter().copied().find(|one| under(one)).or(issuers.first().copied());
        let Some(intermediate) = found.or(all.first().copied()) else {
            let name = issuer.common_name(authority);
            checks.fail(Code::IntermediateSignature, format!("no {name} certificate"), "one");
            return None;
        };
        let name = issuer.common_name(authority);
        let signed = under(intermediate);
        checks.require(Code::IntermediateSignature, signed, name.clone(), "signed by the root");
        checks.require(Code::VekSignature, found.is_some(), format!("issuer {name}"), "valid");
        let links = Links { ark, intermediate };
        match ca::usage(ark, intermediate) {
            Ok(()) => checks.pass(Code::KeyUsage, "certificate signing"),
            Err(fault) => checks.fail(Code::KeyUsage, fault, "a CA that may sign certificates"),
        }
        // A damaged usage is a failed check that `verify` sees; the links are returned, so that
        // dates and lists are told as well.
        (ark_ok && signed && found.is_some()).then_some(links)
    }

    /// Checks all validity periods; returns their intersection.
    fn validity(&self, links: &Links<'_>, vek: &Certificate, checks: &mut Checks) -> Validity {
        let mut window = Validity { not_before: 0, not_after: u64::MAX };
        for (code, certificate) in [
            (Code::ArkValidity, links.ark),
            (Code::IntermediateValidity, links.intermediate),
            (Code::VekValidity, vek),
        ] {
            let Validity { not_before, not_after } = certificate.validity;
            window.not_before = window.not_before.max(not_before);
            window.not_after = window.not_after.min(not_after);
            checks.require(
                code,
                certificate.validity.contains(self.at),
                format!(
                    "{} to {}",
                    crate::time::format(not_before),
                    crate::time::format(not_after)
                ),
                format!("to contain {}", crate::time::format(self.at)),
            );
        }
        window
    }

    /// The lists that are for this kind of chain.
    const fn own_lists(&self, issuer: Role) -> &[Crl] {
        match issuer {
            Role::Asvk(_) => self.vlek_crls,
            _ => self.crls,
        }
    }

    /// Checks the lists of this root, see [`Revocation`]; when the newest was issued.
    fn revocation(&self, links: &Links<'_>, issuer: Role, checks: &mut Checks) -> Option<u64> {
        let (others, none) = match issuer {
            Role::Asvk(_) => (self.crls, "no revocation list of VLEK chains given"),
            _ => (self.vlek_crls, "no revocation list of VCEK chains given"),
        };
        let lists = Revocation {
            backend: self.backend,
            at: self.at,
            ark: links.ark,
            intermediate: links.intermediate,
            own: self.own_lists(issuer),
            others,
        };
        lists.check(none, checks)
    }

    /// What the chain rests on; lists of both kinds, since both can revoke.
    fn rests_on(&self, links: &Links<'_>, authority: Authority, generation: Generation) -> RestsOn {
        let lists = self.crls.iter().chain(self.vlek_crls);
        let ours = lists.filter(|crl| crl.issuer == links.ark.subject);
        RestsOn {
            anchor: Anchor { authority, generation, key_digest: links.ark.key_digest },
            // The signature names a list: it covers its issuer, dates and serials.
            root_name: links.ark.subject.clone(),
            lists: ours.map(|crl| crl.signature.clone()).collect(),
        }
    }
}

/// The certificate of a trusted root key.
pub(super) fn pinned_ark<'a>(
    roots: &'a Roots,
    authority: Authority,
    generation: Generation,
    checks: &mut Checks,
) -> Option<&'a Certificate> {
    let role = Role::Ark(generation);
    // The pin is on the key, for one authority and one generation: Milan's key under Genoa's name
    // is not trusted.
    let ark = roots.candidates(authority, role).find(|ark| {
        ark.issuer == ark.subject
            && roots.anchors().any(|anchor| {
                anchor.authority == authority
                    && anchor.generation == generation
                    && anchor.key_digest == ark.key_digest
            })
    })?;
    let [a, b, c, d, ..] = ark.key_digest;
    let saw = format!("{}, key {a:02x}{b:02x}{c:02x}{d:02x}…", role.common_name(authority));
    match authority {
        Authority::Amd => checks.pass(Code::ArkPinned, saw),
        Authority::Model => {
            checks.warn(Code::ArkPinned, format!("{saw}: MODEL root, proves nothing"));
        }
    }
    Some(ark)
}

/// Authority, issuer and generation by the exact names of a VEK certificate.
fn names(vek: &Certificate, checks: &mut Checks) -> Option<(Authority, Role, Generation)> {
    let subject = vek.role();
    let issuer = crate::cert::recognise_name(&vek.issuer);
    let found = match (subject, issuer) {
        (Some((mine, Role::Vcek)), Some((theirs, role @ Role::Ask(generation))))
        | (Some((mine, Role::Vlek)), Some((theirs, role @ Role::Asvk(generation))))
            if mine == theirs =>
        {
            Some((mine, role, generation))
        }
        _ => None,
    };
    let say = |name: Option<(Authority, Role)>| {
        name.map_or("an unknown name".to_owned(), |(authority, role)| role.common_name(authority))
    };
    let saw = format!("{} issued by {}", say(subject), say(issuer));
    // AMD gives every VEK the serial 0; the revocation lists name ASKs and ASVKs only, so a VEK
    // with another serial is of no known form.
    let serial_zero = vek.serial.is_empty();
    checks.require(
        Code::VekName,
        found.is_some() && serial_zero,
        if serial_zero { saw } else { format!("{saw}, serial not 0") },
        "SEV-VCEK by SEV-<generation>, or SEV-VLEK by SEV-VLEK-<generation>, serial 0",
    );
    if serial_zero { found } else { None }
}

fn extensions(vek: &Certificate, issuer: Role, checks: &mut Checks) -> Option<VekExtensions> {
    const WANTED: &str = "the exact set of its structVersion";
    match VekExtensions::parse(&vek.extensions) {
        Err(error) => checks.fail(Code::VekExtensions, error.to_string(), WANTED),
        Ok(found) => {
            // The issuer's kind and the identity inside have to agree: a VLEK under the ASK would
            // be bound to no chip and to no provider that the ASVK vouches for.
            let fits = matches!(
                (&found.kind, issuer),
                (VekKind::Vcek { .. }, Role::Ask(_)) | (VekKind::Vlek { .. }, Role::Asvk(_))
            );
            let saw = format!("{}, structVersion {}", found.product, found.struct_version);
            checks.require(Code::VekExtensions, fits, saw, "identity of the issuer's kind");
            if fits {
                return Some(found);
            }
        }
    }
    None
}

/// Whether `issuer` signed `subject`, over the bytes received.
pub(super) fn signs(backend: &dyn Backend, issuer: &Certificate, subject: &Certificate) -> bool {
    match &issuer.key {
        PublicKey::Rsa(key) => backend.rsa_pss(key, subject.tbs(), &subject.signature).is_ok(),
        // CA keys are RSA. An ECDSA key there is a certificate of another hierarchy.
        PublicKey::P384(_) => false,
    }
}

impl VerifiedVek {
    /// The outcomes of the chain's checks.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        self.checks.clone().into_sorted()
    }
}
