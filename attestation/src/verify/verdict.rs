//! The verdict: what a verification concludes, and what it leaves unproven.
//!
//! Principle: a word never says more than was checked. A signature that holds says which processor
//! speaks, not what runs on it, nor when it spoke, nor whether its keys may still be trusted. So
//! there are three answers. A caller that releases something asks [`Verdict::accepted`]; one that
//! only wants to know whose words these are asks [`Verdict::authentic`].

use super::{Bound, Check, Checks, PolicyDecision, Status, VerifiedVek};
use crate::cert::Authority;
use crate::report::{Report, Unverified, Verified};
use serde::{Deserialize, Serialize};

/// What must be proven, beyond signature and chain, before evidence is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// What runs: a measurement, or the key that signed its ID block, was demanded and is the
    /// report's.
    Measurement,
    /// That the report was made for this request: its report data, or the nonce of its vTPM quote,
    /// was demanded.
    Freshness,
    /// That the issuer of the endorsement key is not revoked, by a current list of the root.
    Revocation,
    /// That the firmware is not one with known holes: a floor under the reported TCB was demanded.
    TcbFloor,
}

impl Property {
    /// Every property, in the order in which they are named.
    pub const ALL: [Self; 4] =
        [Self::Measurement, Self::Freshness, Self::Revocation, Self::TcbFloor];

    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measurement => "measurement",
            Self::Freshness => "freshness",
            Self::Revocation => "revocation",
            Self::TcbFloor => "TCB floor",
        }
    }
}

/// The answer of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Every check that was made holds, and every [`Property`] is proven.
    Accepted,
    /// Every check that was made holds, the chain ends in a trusted root, but not every property is
    /// proven.
    Authentic,
    /// A check does not hold, or the report cannot be read.
    Refused,
}

impl Conclusion {
    /// The word for it, in capitals, as verdicts begin.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Authentic => "AUTHENTIC",
            Self::Refused => "REFUSED",
        }
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
    conclusion: Conclusion,
    not_proven: Vec<Property>,
    checks: Vec<Check>,
    vek: Option<VerifiedVek>,
    report: Seen,
    policy: Option<PolicyDecision>,
    azure: Option<Bound>,
}

impl Verdict {
    pub(super) fn refused(checks: Checks, report: Option<Report<Unverified>>) -> Self {
        Self {
            conclusion: Conclusion::Refused,
            not_proven: Property::ALL.to_vec(),
            checks: checks.into_sorted(),
            vek: None,
            report: report.map_or(Seen::Nothing, Seen::Unverified),
            policy: None,
            azure: None,
        }
    }

    /// The verdict on a report that its processor signed.
    pub(super) fn verified(
        checks: Checks,
        not_proven: Vec<Property>,
        // A failed check outranks all: what is proven beside it makes nothing better.
        report: Report<Verified>,
        vek: VerifiedVek,
        policy: Option<PolicyDecision>,
        azure: Option<Bound>,
    ) -> Self {
        let conclusion = match (checks.any_failed(), not_proven.is_empty()) {
            (true, _) => Conclusion::Refused,
            (false, true) => Conclusion::Accepted,
            (false, false) => Conclusion::Authentic,
        };
        // A rule that was there and not met proves nothing, nor do those beside it.
        let refused = conclusion == Conclusion::Refused;
        let not_proven = if refused { Property::ALL.to_vec() } else { not_proven };
        Self {
            conclusion,
            not_proven,
            checks: checks.into_sorted(),
            vek: Some(vek),
            report: Seen::Verified(report),
            policy,
            azure,
        }
    }

    /// The answer, in one of three words.
    #[must_use]
    pub const fn conclusion(&self) -> Conclusion {
        self.conclusion
    }

    /// Whether every check that was made holds **and** what runs, freshness, revocation and a TCB
    /// floor are proven.
    #[must_use]
    pub const fn accepted(&self) -> bool {
        matches!(self.conclusion, Conclusion::Accepted)
    }

    /// Whether every check that was made holds: the report is its processor's, up to a trusted
    /// root. What [`Self::not_proven`] names is open.
    #[must_use]
    pub const fn authentic(&self) -> bool {
        matches!(self.conclusion, Conclusion::Accepted | Conclusion::Authentic)
    }

    /// What an acceptance would need and nothing proved: none of an accepted verdict, all of a
    /// refused one.
    #[must_use]
    pub fn not_proven(&self) -> &[Property] {
        &self.not_proven
    }

    /// `not proven: measurement, freshness`; none when everything is, or when the evidence is
    /// refused.
    #[must_use]
    pub fn not_proven_line(&self) -> Option<String> {
        matches!(self.conclusion, Conclusion::Authentic).then(|| {
            let names: Vec<_> = self.not_proven.iter().map(|property| property.name()).collect();
            format!("not proven: {}", names.join(", "))
        })
    }

    /// Whether the chain ends in a MODEL root: such a verdict says nothing about hardware.
    #[must_use]
    pub fn is_model(&self) -> bool {
        self.vek.as_ref().is_some_and(|vek| vek.authority == Authority::Model)
    }

    /// The word of the conclusion; under a MODEL root, unless refused, it says so.
    #[must_use]
    pub fn headline(&self) -> String {
        let word = self.conclusion.word();
        if self.authentic() && self.is_model() {
            format!("{word} under a MODEL root: this proves nothing about hardware")
        } else {
            word.to_owned()
        }
    }

    /// All checks in their fixed order.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The failed checks, in their fixed order.
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

    /// The Azure claims and quote that are bound to the verified report.
    #[must_use]
    pub const fn azure(&self) -> Option<&Bound> {
        self.azure.as_ref()
    }
}
