//! Whether a certificate or a revocation list is a trusted root's, whatever the time.
//!
//! What a store asks before it keeps something, and again when it reads it. An old certificate is
//! genuine and may be needed to judge an old report, so its dates are left to the verifier.

use super::{Check, Checks, Code, Status, Text, Verifier, ca, chain, revocation};
use crate::cert::{Authority, Certificate, Crl, Role, recognise_name};
use crate::report::Generation;

/// The checks that depend on the time of judgement.
const OF_TIME: [Code; 3] = [Code::ArkValidity, Code::IntermediateValidity, Code::VekValidity];

/// Why something is not a trusted root's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not genuine: {what}: {saw}, wanted {wanted}")]
pub struct NotGenuine {
    /// What was checked, in the words of [`Code::title`].
    pub what: &'static str,
    /// What was seen, escaped where it is foreign.
    pub saw: Text,
    /// What would have been right.
    pub wanted: Text,
}

impl NotGenuine {
    const fn new(what: &'static str, saw: &'static str, wanted: &'static str) -> Self {
        Self { what, saw: Text::Borrowed(saw), wanted: Text::Borrowed(wanted) }
    }
}

impl From<Check> for NotGenuine {
    fn from(check: Check) -> Self {
        Self { what: check.code.title(), saw: check.saw, wanted: check.wanted }
    }
}

impl Verifier {
    /// Whether a certificate's chain of signatures ends in a trusted root; of a VEK also its exact
    /// names, key and extensions.
    ///
    /// # Errors
    /// [`NotGenuine`] with the first check that does not hold.
    pub fn authentic(&self, certificate: &Certificate) -> Result<(Authority, Role), NotGenuine> {
        const NAMES: &str = "one of AMD's SNP hierarchy";
        let (authority, role) = certificate.role().ok_or(NotGenuine::new(
            "subject of the certificate",
            "an unknown name",
            NAMES,
        ))?;
        let mut checks = Checks::default();
        match role {
            Role::Vcek | Role::Vlek => {
                // Lists are left out: one that revokes the issuer makes a chain untrusted, and not
                // less genuine.
                let context = chain::Context { crls: &[], vlek_crls: &[], ..self.context() };
                context.verify(certificate.der(), &mut checks);
            }
            Role::Ark(generation) => self.genuine_ark(certificate, authority, generation)?,
            Role::Ask(generation) | Role::Asvk(generation) => {
                self.genuine_intermediate(certificate, authority, generation)?;
            }
        }
        // Dates are failures of the ordinary verification, and not of this question.
        let failed = checks
            .into_sorted()
            .into_iter()
            .find(|check| check.status == Status::Failed && !OF_TIME.contains(&check.code));
        failed.map_or(Ok((authority, role)), |check| Err(check.into()))
    }

    fn genuine_ark(
        &self,
        ark: &Certificate,
        authority: Authority,
        generation: Generation,
    ) -> Result<(), NotGenuine> {
        let pinned = self.roots.anchors().any(|anchor| {
            anchor.authority == authority
                && anchor.generation == generation
                && anchor.key_digest == ark.key_digest
        });
        if !pinned {
            return Err(NotGenuine::new("root key", "another key", "the one that is built in"));
        }
        // Pinned is only the key. The certificate around it could be altered, and its dates and
        // usage with it, if it did not have to be signed by that key.
        if ark.issuer != ark.subject || !chain::signs(self.backend, ark, ark) {
            return Err(NotGenuine::new("root certificate", "altered", "signed by itself"));
        }
        Ok(())
    }

    fn genuine_intermediate(
        &self,
        certificate: &Certificate,
        authority: Authority,
        generation: Generation,
    ) -> Result<(), NotGenuine> {
        let ark = self.root(authority, generation)?;
        let what = Code::IntermediateSignature.title();
        if certificate.issuer != ark.subject || !chain::signs(self.backend, ark, certificate) {
            return Err(NotGenuine::new(what, "not signed by the root", "its signature"));
        }
        let may = ca::may_sign(certificate, 0);
        may.map_err(|fault| NotGenuine::new(Code::KeyUsage.title(), fault, "a signing CA"))
    }

    /// Whether a root signed a revocation list, and of which generation it is.
    ///
    /// # Errors
    /// [`NotGenuine`] when no trusted root did.
    pub fn authentic_list(&self, crl: &Crl) -> Result<(Authority, Generation), NotGenuine> {
        // The issuer's name says which root has to have signed; only a root's name is possible, so
        // a list of an ASK is refused here.
        let Some((authority, Role::Ark(generation))) = recognise_name(&crl.issuer) else {
            let what = "issuer of the revocation list";
            return Err(NotGenuine::new(what, "no root key", "the ARK of a generation"));
        };
        if revocation::list_signed(self.backend, self.root(authority, generation)?, crl) {
            return Ok((authority, generation));
        }
        let what = Code::CrlSignature.title();
        Err(NotGenuine::new(what, "not the signature of the root", "a valid one"))
    }

    fn root(
        &self,
        authority: Authority,
        generation: Generation,
    ) -> Result<&Certificate, NotGenuine> {
        let missing = NotGenuine::new("root key", "none is trusted for this name", "a pinned one");
        let mut checks = Checks::default();
        // Borrowed from the verifier's roots, not from the context that looks them up.
        chain::pinned_ark(&self.roots, authority, generation, &mut checks).ok_or(missing)
    }
}
