//! The verifier: every check, in a fixed order, each with what it saw.
//!
//! Principle: one core and one entry. [`Verifier::verify`] makes all checks it can and reports each as
//! passed, warning, failed or not checked; a verdict is an acceptance only when the signature chain up to
//! a pinned root and every other made check holds. A kept [`VerifiedVek`] saves the chain's checks, and
//! nothing else, on the next report.
//! Limit: what a report means for a workload is the caller's [`Appraisal`].

mod appraisal;
mod appraise;
mod chain;
mod check;
mod code;
mod isolation;
mod structure;

pub use appraisal::{
    Appraisal, BitRule, GuestPolicyRules, KeyKind, PlatformRules, TcbFloor, TcbFloors, TcbPreset,
    TcbRules,
};
pub use chain::VerifiedVek;
pub use check::{Check, Checks, Status, Text};
pub use code::Code;
pub use isolation::{PolicyDecision, facts, levels};

use crate::cert::{Authority, Crl, Roots, VekKind, builtin};
use crate::context::Context;
use crate::crypto::{Backend, default_backend};
use crate::report::{Report, ReportError, Unverified, Verified};

/// What a verifier trusts and wants.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// Trusted roots and the CA certificates at hand.
    pub roots: Roots,
    /// Revocation lists.
    pub crls: Vec<Crl>,
    /// Revocation lists that could not be parsed: one makes the verdict a refusal.
    pub damaged_crls: Vec<String>,
    /// The time to judge validity at, seconds since 1970.
    pub at: u64,
    /// Accept report versions after 5; only the rules about reserved zeros are relaxed then.
    pub allow_newer: bool,
    /// What the report must say.
    pub appraisal: Appraisal,
    /// The isolation policy that must admit the report. It takes the place of the appraisal's rules about VMPL and guest
    /// policy bits.
    pub policy: Option<casemate_policy::Policy>,
    /// What the report must have been made for.
    pub context: Option<Context>,
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
            damaged_crls: Vec::new(),
            at,
            allow_newer: false,
            appraisal: Appraisal::default(),
            policy: None,
            context: None,
            backend: default_backend(),
        }
    }

    /// Adds a revocation list; one that cannot be parsed fails every verdict from here on.
    pub fn add_crl(&mut self, der: &[u8]) {
        match Crl::from_der(der) {
            Ok(crl) => self.crls.push(crl),
            Err(error) => self.damaged_crls.push(error.to_string()),
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
    /// assert!(verdict.accepted());
    /// let mut altered = report.clone();
    /// altered[0x90] ^= 1;
    /// let verdict = Verifier::new(at).verify(&altered, Some(&vcek));
    /// assert_eq!(verdict.first_failure().unwrap().code, Code::ReportSignature);
    /// ```
    #[must_use]
    pub fn verify(&self, report: &[u8], vek: Option<&[u8]>) -> Verdict {
        let mut checks = Checks::default();
        let chain = match vek {
            None => {
                checks.fail(Code::VekPresent, "no VCEK or VLEK certificate", "one");
                None
            }
            Some(der) => {
                checks.pass(Code::VekPresent, format!("{} bytes", der.len()));
                self.chain(der, &mut checks)
            }
        };
        self.finish(report, chain.as_ref(), checks)
    }

    /// Verifies a VEK certificate and its chain, to be kept for many reports.
    ///
    /// # Errors
    /// The outcomes of all checks, at least one of which failed.
    pub fn verify_chain(&self, vek: &[u8]) -> Result<VerifiedVek, Vec<Check>> {
        let mut checks = Checks::default();
        checks.pass(Code::VekPresent, format!("{} bytes", vek.len()));
        match self.chain(vek, &mut checks) {
            Some(mut chain) if !checks.any_failed() => {
                chain.checks = checks;
                Ok(chain)
            }
            _ => Err(checks.into_sorted()),
        }
    }

    /// Verifies and appraises a report under a chain that was verified before.
    #[must_use]
    pub fn verify_under(&self, report: &[u8], vek: &VerifiedVek) -> Verdict {
        let mut checks = Checks::default();
        checks.append(&vek.checks);
        if !vek.window.contains(self.at) {
            checks.fail(
                Code::VekValidity,
                format!(
                    "kept chain valid {} to {}",
                    crate::time::format(vek.window.not_before),
                    crate::time::format(vek.window.not_after)
                ),
                format!("to contain {}", crate::time::format(self.at)),
            );
        }
        self.finish(report, Some(vek), checks)
    }

    fn chain(&self, der: &[u8], checks: &mut Checks) -> Option<VerifiedVek> {
        for fault in &self.damaged_crls {
            checks.fail(Code::CrlParse, fault.clone(), "a DER revocation list");
        }
        if self.damaged_crls.is_empty() && !self.crls.is_empty() {
            checks.pass(Code::CrlParse, format!("{} given", self.crls.len()));
        }
        let context = chain::Context {
            roots: &self.roots,
            crls: &self.crls,
            at: self.at,
            backend: self.backend,
        };
        let verified = context.verify(der, checks);
        let why =
            if self.crls.is_empty() { "no revocation list given" } else { "chain not verified" };
        checks.skip_missing(&[Code::CrlParse], why);
        checks.skip_missing(&chain::CHAIN_CODES, "an earlier check of the chain failed");
        verified
    }

    fn finish(&self, bytes: &[u8], vek: Option<&VerifiedVek>, mut checks: Checks) -> Verdict {
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
        let signed = signature.is_some_and(|signature| {
            self.backend.p384(&vek.key, report.signed_bytes(), &signature).is_ok()
        });
        checks.require(Code::ReportSignature, signed, "over bytes 0 to 0x2A0 as received", "valid");
        if checks.any_failed() || !signed {
            checks.skip_missing(Code::ALL, "the report is not verified: its fields mean nothing");
            return Verdict::refused(checks, Some(report));
        }
        let report = report.into_verified();
        if let Some(context) = &self.context {
            check_context(&report, context, &mut checks);
        }
        appraise::appraise(&report, vek, &self.appraisal, self.policy.is_some(), &mut checks);
        let policy = self.policy.as_ref().map(|policy| {
            isolation::check(&report, vek, self.at, self.context.as_ref(), policy, &mut checks)
        });
        checks.skip_missing(&[Code::Policy], "no isolation policy given");
        checks.skip_missing(Code::ALL, "not applicable");
        Verdict {
            accepted: !checks.any_failed(),
            checks: checks.into_sorted(),
            vek: Some(vek.clone()),
            report: Seen::Verified(report),
            policy,
        }
    }
}

/// Checks that tie a report to its endorsement key, but for the signature.
fn bind(report: &Report<Unverified>, vek: &VerifiedVek, allow_masked: bool, checks: &mut Checks) {
    let fields = report.unverified_fields();
    let extensions = &vek.extensions;
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

/// The report data must be that of the label and the nonce.
fn check_context(report: &Report<Verified>, context: &Context, checks: &mut Checks) {
    let found = report.fields().report_data;
    let label = &context.label;
    match context.report_data() {
        None => checks.fail(Code::ReportData, "no label or nonce to compare with", "both"),
        Some(wanted) => checks.require(
            Code::ReportData,
            appraise::constant_time_equal(&found, &wanted),
            crate::hex::encode(&found),
            format!("{} (context {label})", crate::hex::encode(&wanted)),
        ),
    }
}

/// A report as far as it was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The bytes are no report.
    Nothing,
    /// A report whose signature, chain or structure does not hold.
    Unverified(Report<Unverified>),
    /// A report that its processor signed; whether it is acceptable is in the verdict.
    Verified(Report<Verified>),
}

/// The outcome of a verification.
#[derive(Debug, Clone)]
pub struct Verdict {
    accepted: bool,
    checks: Vec<Check>,
    vek: Option<VerifiedVek>,
    report: Seen,
    policy: Option<PolicyDecision>,
}

impl Verdict {
    fn refused(checks: Checks, report: Option<Report<Unverified>>) -> Self {
        let report = report.map_or(Seen::Nothing, Seen::Unverified);
        Self { accepted: false, checks: checks.into_sorted(), vek: None, report, policy: None }
    }

    /// Whether every check that was made holds, and the report is verified up to a pinned root.
    #[must_use]
    pub const fn accepted(&self) -> bool {
        self.accepted
    }

    /// Whether the chain ends in a MODEL root: such a verdict says nothing about hardware.
    #[must_use]
    pub fn is_model(&self) -> bool {
        self.vek.as_ref().is_some_and(|vek| vek.authority == Authority::Model)
    }

    /// `ACCEPTED`, `ACCEPTED under a MODEL root …` or `REFUSED`.
    #[must_use]
    pub fn headline(&self) -> &'static str {
        match (self.accepted, self.is_model()) {
            (true, false) => "ACCEPTED",
            (true, true) => "ACCEPTED under a MODEL root: this proves nothing about hardware",
            (false, _) => "REFUSED",
        }
    }

    /// All checks in their fixed order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The failed checks.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.status == Status::Failed)
    }

    /// The first failed check.
    #[must_use]
    pub fn first_failure(&self) -> Option<&Check> {
        self.failures().next()
    }

    /// The endorsement key, when the report is verified under it.
    #[must_use]
    pub const fn vek(&self) -> Option<&VerifiedVek> {
        self.vek.as_ref()
    }

    /// What the isolation policy decided; none when there is none, or the report is not verified.
    #[must_use]
    pub const fn policy(&self) -> Option<&PolicyDecision> {
        self.policy.as_ref()
    }

    /// The report as far as it was proven.
    #[must_use]
    pub const fn report(&self) -> &Seen {
        &self.report
    }
}
