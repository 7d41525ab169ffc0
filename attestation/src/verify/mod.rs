//! The verifier: every check, in a fixed order, each with what it saw.
//!
//! Principle: one core and one entry. [`Verifier::verify`] makes all checks it can and reports each
//! as passed, warning, failed or not checked. A verdict is an acceptance only when the signature
//! chain up to a pinned root and every other made check holds, *and* the caller's rules proved what
//! [`Property`] lists; without the latter it is "authentic", see [`Conclusion`]. A kept
//! [`VerifiedVek`] saves the chain's checks, and nothing else, on the next report. Limit: what a
//! report means for a workload is the caller's [`Appraisal`].

mod appraisal;
mod appraise;
mod authentic;
mod azure;
mod ca;
mod chain;
mod check;
mod code;
mod freshness;
mod isolation;
mod kept;
mod proven;
mod revocation;
mod structure;
mod tcb_floor;
mod verdict;

pub use appraisal::{
    Appraisal, AppraisalError, AzureRules, BitRule, GuestPolicyRules, PlatformRules,
};
pub use authentic::NotGenuine;
pub use azure::{Bound, BoundQuote};
pub use chain::{CHAIN_CHECKS, REVOCATION_CHECKS, VerifiedVek};
pub use check::{Check, Checks, Status, Text};
pub use code::Code;
pub use freshness::Demand;
pub use isolation::{PolicyDecision, facts, levels};
pub use tcb_floor::{TcbFloor, TcbFloors, TcbPreset, TcbRules};
pub use verdict::{Conclusion, Property, Seen, Verdict};

pub use crate::cert::KeyKind;
use crate::cert::{Crl, Roots, VekKind, builtin};
use crate::context::Context;
use crate::crypto::{Backend, default_backend};
use crate::evidence::Azure;
use crate::report::{Report, ReportError, Unverified, Verified};

/// What a verifier trusts and wants.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// Trusted roots and the CA certificates at hand.
    pub roots: Roots,
    /// Revocation lists of VCEK chains: what the ASK's distribution point gives.
    pub crls: Vec<Crl>,
    /// Revocation lists of VLEK chains: what the ASVK's distribution point gives.
    pub vlek_crls: Vec<Crl>,
    /// Revocation lists that could not be parsed: one makes the verdict a refusal.
    pub damaged_crls: Vec<String>,
    /// The time to judge validity at, seconds since 1970.
    pub at: u64,
    /// Accept report versions after 5; only the rules about reserved zeros are relaxed then.
    pub allow_newer: bool,
    /// What the report must say.
    pub appraisal: Appraisal,
    /// The isolation policy that must admit the report. It takes the place of the appraisal's rules
    /// about VMPL and guest policy bits.
    pub policy: Option<std::sync::Arc<casemate_policy::Policy>>,
    /// What the report must have been made for: a label and a nonce.
    pub context: Option<Context>,
    /// Values that REPORT_DATA must have, beside the appraisal's: all of them.
    pub report_data: Vec<Demand>,
    /// The provider of signature verification.
    pub backend: &'static dyn Backend,
}

impl Verifier {
    /// AMD's roots, no revocation list, the built-in appraisal, at the given time.
    #[must_use]
    pub fn new(at: u64) -> Self {
        Self {
            roots: builtin(),
            crls: Vec::new(),
            vlek_crls: Vec::new(),
            damaged_crls: Vec::new(),
            at,
            allow_newer: false,
            appraisal: Appraisal::default(),
            policy: None,
            context: None,
            report_data: Vec::new(),
            backend: default_backend(),
        }
    }

    /// Adds a revocation list of VCEK chains; one that cannot be parsed fails every verdict from
    /// here on.
    pub fn add_crl(&mut self, der: &[u8]) {
        self.add_crl_of(KeyKind::Vcek, der);
    }

    /// Adds a revocation list of one kind of chain.
    ///
    /// AMD publishes two lists of each root key, one at the distribution point of the ASK and one
    /// at that of the ASVK. Nothing inside a list says which it is, so whoever brings it says so: a
    /// chain is shown as checked only by the list that its own certificate names. A serial that is
    /// on the other list is revoked all the same.
    pub fn add_crl_of(&mut self, kind: KeyKind, der: &[u8]) {
        match (Crl::from_der(der), kind) {
            (Ok(crl), KeyKind::Vcek) => self.crls.push(crl),
            (Ok(crl), KeyKind::Vlek) => self.vlek_crls.push(crl),
            (Err(error), _) => self.damaged_crls.push(error.to_string()),
        }
    }

    /// Verifies a report with its VEK certificate (DER), and appraises it.
    ///
    /// ```
    /// use casemate_attestation::verify::{Code, Verifier};
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/reports/");
    /// # let report = std::fs::read(format!("{path}ms_genoa.bin")).unwrap();
    /// # let vcek = std::fs::read(format!("{path}ms_genoa.vcek.der")).unwrap();
    /// let at = casemate_attestation::time::parse("2026-06-01").unwrap();
    /// let verdict = Verifier::new(at).verify(&report, Some(&vcek));
    /// // Nothing was demanded: it is genuine, and no more.
    /// assert!(verdict.authentic() && !verdict.accepted());
    /// let mut altered = report.clone();
    /// altered[0x90] ^= 1;
    /// let verdict = Verifier::new(at).verify(&altered, Some(&vcek));
    /// assert_eq!(verdict.first_failure().unwrap().code, Code::ReportSignature);
    /// ```
    #[must_use]
    pub fn verify(&self, report: &[u8], vek: Option<&[u8]>) -> Verdict {
        self.verify_azure(report, None, vek)
    }

    /// The same for a report with the claims, and perhaps the quote, that came with it on Azure.
    #[must_use]
    pub fn verify_azure(
        &self,
        report: &[u8],
        azure: Option<&Azure>,
        vek: Option<&[u8]>,
    ) -> Verdict {
        let mut checks = Checks::default();
        let chain = match vek {
            // Without a certificate nothing can be verified; the report's own structure is still
            // looked at, so that its faults are told.
            None => {
                checks.fail(Code::VekPresent, "no VCEK or VLEK certificate", "one");
                None
            }
            Some(der) => {
                checks.pass(Code::VekPresent, format!("{} bytes", der.len()));
                self.chain(der, &mut checks)
            }
        };
        self.finish(report, azure, chain.as_ref(), checks)
    }

    /// Verifies a VEK certificate and its chain, to be kept for many reports.
    ///
    /// # Errors
    /// The outcomes of all checks, at least one of which failed.
    pub fn verify_chain(&self, vek: &[u8]) -> Result<VerifiedVek, Vec<Check>> {
        let mut checks = Checks::default();
        checks.pass(Code::VekPresent, format!("{} bytes", vek.len()));
        // No check of a chain may have failed, also none before the chain itself, such as a damaged
        // list.
        match self.chain(vek, &mut checks) {
            Some(mut chain) if !checks.any_failed() => {
                chain.checks = checks;
                Ok(chain)
            }
            _ => Err(checks.into_sorted()),
        }
    }

    /// Verifies and appraises a report under a chain that was verified before, as [`Self::verify`]
    /// would from the start: a chain that this verifier, now, with its lists and roots, would judge
    /// otherwise is refused.
    #[must_use]
    pub fn verify_under(&self, report: &[u8], vek: &VerifiedVek) -> Verdict {
        self.verify_azure_under(report, None, vek)
    }

    /// The same for a report with what came with it on Azure.
    #[must_use]
    pub fn verify_azure_under(
        &self,
        report: &[u8],
        azure: Option<&Azure>,
        vek: &VerifiedVek,
    ) -> Verdict {
        let mut checks = Checks::default();
        checks.append(&vek.checks);
        self.still_holds(vek, &mut checks);
        self.finish(report, azure, Some(vek), checks)
    }

    fn chain(&self, der: &[u8], checks: &mut Checks) -> Option<VerifiedVek> {
        // A list that cannot be parsed fails every verdict: it was given to be heeded, and what it
        // revokes cannot be known.
        for fault in &self.damaged_crls {
            checks.fail(Code::CrlParse, fault.clone(), "a DER revocation list");
        }
        let lists = self.crls.len().saturating_add(self.vlek_crls.len());
        if self.damaged_crls.is_empty() && lists > 0 {
            checks.pass(Code::CrlParse, format!("{lists} given"));
        }
        let context = self.context();
        let verified = context.verify(der, checks);
        let why = if lists == 0 { "no revocation list given" } else { "chain not verified" };
        checks.skip_missing(&[Code::CrlParse], why);
        for codes in [&CHAIN_CHECKS[..], &REVOCATION_CHECKS] {
            checks.skip_missing(codes, "an earlier check of the chain failed");
        }
        verified
    }

    fn context(&self) -> chain::Context<'_> {
        chain::Context {
            roots: &self.roots,
            crls: &self.crls,
            vlek_crls: &self.vlek_crls,
            at: self.at,
            backend: self.backend,
        }
    }

    fn finish(
        &self,
        bytes: &[u8],
        azure: Option<&Azure>,
        vek: Option<&VerifiedVek>,
        mut checks: Checks,
    ) -> Verdict {
        // From what needs least to what needs most: the length, the structure, what ties report and
        // key, the signature; only then are the fields anybody's word.
        let report = match Report::parse(bytes) {
            Ok(report) => report,
            Err(error) => {
                let code = match error {
                    ReportError::Length(_) => Code::ReportLength,
                    ReportError::Version(_) => Code::ReportVersion,
                };
                checks.fail(code, error.to_string(), "1184 bytes of version 2 to 5");
                checks.skip_missing(Code::ALL, "the report cannot be read");
                return Verdict::refused(checks, None);
            }
        };
        checks.pass(Code::ReportLength, "1184 bytes");
        let signature = structure::check(&report, self.allow_newer, &mut checks);
        let Some(vek) = vek else {
            checks.skip_missing(Code::ALL, "no verified endorsement key: nothing is proven");
            return Verdict::refused(checks, Some(report));
        };
        bind(&report, vek, self.appraisal.allow_masked_chip_id, &mut checks);
        // Over the bytes as they were received, not over fields written anew.
        let signed = signature.is_some_and(|signature| {
            self.backend.p384(&vek.key, report.signed_bytes(), &signature).is_ok()
        });
        checks.require(Code::ReportSignature, signed, "over bytes 0 to 0x2A0 as received", "valid");
        // The type changes here and nowhere else: what comes after this can rely on fields that a
        // processor signed.
        if checks.any_failed() || !signed {
            checks.skip_missing(Code::ALL, "the report is not verified: its fields mean nothing");
            return Verdict::refused(checks, Some(report));
        }
        self.judge(&report.into_verified(), azure, vek, checks)
    }

    /// Everything about a report that its processor signed.
    fn judge(
        &self,
        report: &Report<Verified>,
        azure: Option<&Azure>,
        vek: &VerifiedVek,
        mut checks: Checks,
    ) -> Verdict {
        let (fields, rules) = (report.fields(), &self.appraisal);
        let context = self.context.as_ref();
        // The order is that of dependence: Azure's parts are bound before freshness looks for the
        // nonce in them, and the policy asks for facts of both.
        appraise::appraise(report, vek, rules, self.policy.is_some(), &mut checks);
        let azure = azure::check(fields, azure, &rules.azure, self.backend, &mut checks);
        let fresh = freshness::check(
            fields,
            &self.report_data,
            rules.report_data,
            context,
            azure.as_ref(),
            &mut checks,
        );
        let policy = self.policy.as_ref().map(|policy| {
            let facts = facts(report, vek, self.at, context, azure.as_ref());
            isolation::check(facts, policy, &mut checks)
        });
        checks.skip_missing(&[Code::Policy], "no isolation policy given");
        checks.skip_missing(Code::ALL, "not applicable");
        // Asked last, and only of what was met: a rule that failed has refused the report already.
        let open = proven::not_proven(fields, vek, rules, self.policy.as_deref(), fresh);
        Verdict::verified(checks, open, report.clone(), vek.clone(), policy, azure)
    }
}

/// Checks that tie a report to its endorsement key, but for the signature.
fn bind(report: &Report<Unverified>, vek: &VerifiedVek, allow_masked: bool, checks: &mut Checks) {
    let fields = report.unverified_fields();
    let extensions = &vek.extensions;
    // The signing key's kind before the generation, the TCB and the chip: each is a comparison of
    // the report's words with the certificate's, and all are made before the signature, so that a
    // wrong certificate is told by name and not only as a signature that does not hold.
    structure::check_signing_key(fields, extensions.kind.name(), checks);
    structure::check_generation(
        fields,
        vek.generation,
        &extensions.product,
        extensions.struct_version,
        checks,
    );
    checks.require(
        Code::TcbMatch,
        fields.reported_tcb.0 == extensions.tcb,
        fields.reported_tcb.describe(vek.generation),
        crate::report::Tcb(extensions.tcb).describe(vek.generation),
    );
    let VekKind::Vcek { hwid } = &extensions.kind else {
        checks.skip(Code::ChipId, "a VLEK is not bound to a chip");
        return;
    };
    let chip = &fields.chip_id;
    // The identifier's length depends on the generation: 8 bytes on Turin, and what follows them in
    // the report has to be zero, or two chips could share a beginning.
    let rest_is_zero = chip.iter().skip(hwid.len()).all(|byte| *byte == 0);
    if chip.iter().all(|byte| *byte == 0) {
        if allow_masked {
            checks.warn(Code::ChipId, "masked by the host, allowed: the chip is not identified");
        } else {
            checks.fail(Code::ChipId, "masked by the host (all zero)", "allow-masked-chip-id");
        }
    } else {
        checks.require(
            Code::ChipId,
            chip.starts_with(hwid) && rest_is_zero,
            format!("{}…", crate::hex::encode(chip.split_at(8).0)),
            format!("{}…", crate::hex::encode(hwid.get(..8).unwrap_or(hwid))),
        );
    }
}
