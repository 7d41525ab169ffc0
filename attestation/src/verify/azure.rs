//! Azure evidence: the paravisor's claims under the report, the vTPM's quote under the claims.
//!
//! Principle: a part counts when the part that holds it was verified, in this order. The report's
//! REPORT_DATA is the hash of the claims; the claims name the vTPM's attestation key (AK); that key
//! signs the quote; the quote's digest is that of the PCR values. What hangs on a broken link is
//! not read.

use super::{AzureRules, BitRule, Checks, Code};
use crate::crypto::Backend;
use crate::evidence::{Attested, Azure, Claims, Quote};
use crate::hex::{self, Hex};
use crate::report::Fields;

/// The checks that only Azure evidence can have.
pub(super) const CODES: [Code; 9] = [
    Code::AzureClaims,
    Code::AzureClaimsForm,
    Code::AzureAk,
    Code::AzureVmId,
    Code::AzureSecureBoot,
    Code::VtpmQuote,
    Code::VtpmSignature,
    Code::VtpmPcrs,
    Code::VtpmPcrValues,
];

/// What is bound to a verified report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The claims, whose hash is in the report.
    pub claims: Claims,
    /// SHA-256 of the SubjectPublicKeyInfo of the vTPM's attestation key.
    pub ak: [u8; 32],
    /// What the vTPM attested, when there is a quote.
    pub quote: Option<BoundQuote>,
}

/// A quote whose signature and register values hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundQuote {
    /// Nonce, selection of registers, counters of boots.
    pub attested: Attested,
    /// The quoted registers with their values.
    pub pcrs: Vec<(u32, [u8; 32])>,
}

impl Bound {
    /// What the verifier's nonce is compared with: the quote's nonce with zeros behind it, or,
    /// without a quote, the claims' user data. With a quote the user data does not count: PCR
    /// values would be old ones under a fresh report.
    #[must_use]
    pub fn fresh_data(&self) -> Option<[u8; 64]> {
        match &self.quote {
            Some(quote) => padded(&quote.attested.nonce),
            None => self.claims.user_data,
        }
    }
}

/// A nonce with zeros behind it, 64 bytes; none for a longer one.
fn padded(nonce: &[u8]) -> Option<[u8; 64]> {
    let mut data = [0; 64];
    data.get_mut(..nonce.len())?.copy_from_slice(nonce);
    Some(data)
}

/// Binds what came with a verified report to it, and appraises it.
pub(super) fn check(
    f: &Fields,
    azure: Option<&Azure>,
    rules: &AzureRules,
    backend: &dyn Backend,
    checks: &mut Checks,
) -> Option<Bound> {
    let Some(azure) = azure else {
        without(rules, checks);
        checks.skip_missing(&CODES, "no Azure evidence");
        return None;
    };
    // In the order of the principle above. `bind` ends at the first link that breaks; what hangs
    // below it is marked as not checked.
    let bound = bind(f, azure, backend, checks);
    if let Some(bound) = &bound {
        appraise(bound, rules, checks);
    }
    checks.skip_missing(&CODES, "an earlier check of the Azure evidence failed");
    bound
}

/// A rule about claims refuses evidence that has none.
fn without(rules: &AzureRules, checks: &mut Checks) {
    const NONE: &str = "no Azure evidence";
    if rules.aks.is_some() {
        checks.fail(Code::AzureAk, NONE, "an attestation key of a vTPM");
    }
    if rules.vm_ids.is_some() {
        checks.fail(Code::AzureVmId, NONE, "the claims of a VM");
    }
    if rules.secure_boot != BitRule::Any {
        checks.fail(Code::AzureSecureBoot, NONE, "the claims of a VM");
    }
    if !rules.pcrs.is_empty() {
        checks.fail(Code::VtpmPcrValues, NONE, "a quote of a vTPM");
    }
}

fn bind(f: &Fields, azure: &Azure, backend: &dyn Backend, checks: &mut Checks) -> Option<Bound> {
    // All 64 bytes: the hash and the zeros behind it, so that nothing else can lie in REPORT_DATA.
    let hash = azure.hash.report_data(&azure.claims);
    let holds = hash == f.report_data;
    checks.require(Code::AzureClaims, holds, hex::encode(&f.report_data), hex::encode(&hash));
    if !holds {
        return None;
    }
    let claims = match Claims::parse(&azure.claims) {
        Ok(claims) => claims,
        Err(error) => {
            checks.fail(Code::AzureClaimsForm, error.to_string(), "keys and vm-configuration");
            return None;
        }
    };
    checks.pass(Code::AzureClaimsForm, format!("keys {}", claims.keys.join(", ")));
    // A quote that is there has to hold: evidence with a bad quote is worse than evidence without
    // one.
    let quote = match &azure.quote {
        None => {
            let codes = [Code::VtpmQuote, Code::VtpmSignature, Code::VtpmPcrs];
            checks.skip_missing(&codes, "no quote of the vTPM");
            None
        }
        Some(quote) => Some(quoted(quote, azure, &claims, backend, checks)?),
    };
    let ak = claims.ak.key_digest();
    Some(Bound { claims, ak, quote })
}

/// The quote under the claims; none when it does not hold, with a failed check.
fn quoted(
    quote: &Quote,
    azure: &Azure,
    claims: &Claims,
    backend: &dyn Backend,
    checks: &mut Checks,
) -> Option<BoundQuote> {
    let attested = match quote.attested() {
        Ok(attested) => attested,
        Err(error) => {
            checks.fail(Code::VtpmQuote, error.to_string(), "a quote of one SHA-256 bank");
            return None;
        }
    };
    // The key is the one of the verified claims. No certificate of the vTPM is used: who made the
    // TPM is not the question, but which key the paravisor vouched for.
    let key = (claims.ak.n.as_slice(), claims.ak.e.as_slice());
    let signed = backend.rsa_pkcs1_sha256(key, &quote.message, &quote.signature).is_ok();
    checks.require(Code::VtpmSignature, signed, "under HCLAkPub of the claims", "valid");
    let digest = quote.digest_of(attested.selected);
    // An empty selection has a digest too, that of nothing, which would be met by any registers.
    let fits = digest == attested.pcr_digest && attested.selected != 0;
    let saw = format!("{} registers, {}", attested.selected.count_ones(), hex::encode(&digest));
    checks.require(Code::VtpmPcrs, fits, saw, hex::encode(&attested.pcr_digest));
    // Version 2 of the evidence puts the nonce at two places that different parties fill: the quote
    // by the vTPM, the claims by the paravisor. They have to be of one request.
    let nonce = padded(&attested.nonce);
    let repeats = !azure.user_data_is_nonce || (nonce.is_some() && nonce == claims.user_data);
    let (resets, nonce) = (attested.resets, hex::encode(&attested.nonce));
    let saw = format!("nonce {nonce}, {resets} resets of the TPM");
    let wanted = "the same nonce as in the claims' user data (version 2 of the evidence)";
    checks.require(Code::VtpmQuote, repeats, saw, wanted);
    (signed && fits && repeats).then(|| {
        let pcrs = quote.selected(attested.selected).collect();
        BoundQuote { attested, pcrs }
    })
}

/// The rules of an appraisal for claims and quote; without a rule the value is shown.
fn appraise(bound: &Bound, rules: &AzureRules, checks: &mut Checks) {
    let ak = hex::encode(&bound.ak);
    match &rules.aks {
        None => checks.skip(Code::AzureAk, format!("no rule given; it is {ak}")),
        Some(allowed) => {
            let wanted = format!("one of {} keys", allowed.len());
            checks.require(Code::AzureAk, allowed.contains(&Hex(bound.ak)), ak, wanted);
        }
    }
    let id = bound.claims.vm_unique_id.as_deref();
    let saw = id.unwrap_or("not in the claims").to_owned();
    match &rules.vm_ids {
        None => checks.skip(Code::AzureVmId, format!("no rule given; it is {saw}")),
        Some(allowed) => {
            // A GUID is the same in either case.
            let fits = |id: &str| allowed.iter().any(|one| one.eq_ignore_ascii_case(id));
            let wanted = super::appraise::listed(allowed);
            checks.require(Code::AzureVmId, id.is_some_and(fits), saw, wanted);
        }
    }
    let on = bound.claims.secure_boot;
    let saw = on.map_or("not in the claims", |on| if on { "on" } else { "off" });
    match rules.secure_boot {
        BitRule::Any => checks.skip(Code::AzureSecureBoot, format!("no rule given; it is {saw}")),
        BitRule::Set => checks.require(Code::AzureSecureBoot, on == Some(true), saw, "on"),
        BitRule::Clear => checks.require(Code::AzureSecureBoot, on == Some(false), saw, "off"),
    }
    registers(bound, rules, checks);
}

/// The rules for quoted registers: each named one has to be quoted, with an allowed value.
fn registers(bound: &Bound, rules: &AzureRules, checks: &mut Checks) {
    if rules.pcrs.is_empty() {
        checks.skip(Code::VtpmPcrValues, "no rule given");
        return;
    }
    let quoted = bound.quote.as_ref().map_or(&[][..], |quote| &quote.pcrs);
    // The first wrong one is told; one is enough to refuse.
    let wrong = rules.pcrs.iter().find(|(index, allowed)| {
        let value = quoted.iter().find(|(own, _)| own.to_string() == **index);
        value.is_none_or(|(_, value)| !allowed.contains(&Hex(*value)))
    });
    match wrong {
        None => checks.pass(Code::VtpmPcrValues, format!("{} registers", rules.pcrs.len())),
        Some((index, allowed)) => {
            let value = quoted.iter().find(|(own, _)| own.to_string() == *index);
            let saw = value.map_or("not quoted".to_owned(), |(_, value)| hex::encode(value));
            let wanted = super::appraise::listed(allowed.iter().map(|Hex(one)| hex::encode(one)));
            checks.fail(Code::VtpmPcrValues, format!("PCR {index}: {saw}"), wanted);
        }
    }
}
