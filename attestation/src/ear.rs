//! A verdict as an EAT Attestation Result: a signed token for relying parties that know many kinds
//! of attesters and not the words of this verifier.
//!
//! Source: draft-ietf-rats-ear-04 for the claims, draft-ietf-rats-ar4si for what the numbers of the
//! trustworthiness vector mean, RFC 7515 and 7518 for the token. What is claimed is what was
//! checked, and what was not checked is 0, "no claim":
//!
//! - `instance-identity`: never affirmed; 96 revoked, 97 a chip that was not allowed or is not
//!   known, 99 signature or chain do not hold, 1 no report.
//! - `configuration`: never affirmed; 96 debug or migration that was not allowed, 32 another bit of
//!   policy, platform or mitigations.
//! - `executables`: 3 the launch measurement, or the key that signed it, is the one demanded; 33 it
//!   is not.
//! - `hardware`: 2 the chain up to AMD, revocation and a TCB floor are proven; 32 under the floor,
//!   96 a generation whose root is broken, 97 a MODEL or a generation that is not allowed.
//! - `runtime-opaque`: 2 memory is encrypted by a verified processor, and the guest policy forbids
//!   debugging; 96 it allows it.
//!
//! `file-system`, `storage-opaque` and `sourced-data` are never claimed: a report says nothing of
//! them.

use crate::guest_policy::DEBUG;
use crate::idblock::{IdError, OwnerKey};
use crate::verify::{Code, Conclusion, Property, Seen, Status, Verdict};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value, json};

/// The profile that the claims are of.
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";
/// The label of the one attester that is appraised: the guest and the processor below it.
pub const SUBMODULE: &str = "sev-snp";

/// The four tiers of draft-ietf-rats-ar4si, section 3.2, from the best to the worst. Its order is
/// what `max` of a vector means; "none" is no trust, yet nothing against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    None,
    Affirming,
    Warning,
    Contraindicated,
}

impl Tier {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        }
    }

    /// The tier of a claim's value.
    const fn of(value: i8) -> Self {
        match value {
            2..=31 => Self::Affirming,
            32..=95 => Self::Warning,
            96..=127 => Self::Contraindicated,
            _ => Self::None,
        }
    }
}

/// The claims of the vector that a report says anything of.
#[derive(Debug, Default)]
struct Vector {
    instance_identity: i8,
    configuration: i8,
    executables: i8,
    hardware: i8,
    runtime_opaque: i8,
}

impl Vector {
    fn of(verdict: &Verdict) -> Self {
        let failed = |codes: &[Code]| verdict.failures().any(|check| codes.contains(&check.code));
        let verified = match verdict.report() {
            Seen::Verified(report) => Some(report.fields()),
            Seen::Unverified(_) | Seen::Nothing => None,
        };
        let mut vector = Self {
            instance_identity: match verdict.report() {
                _ if failed(&[Code::CrlRevoked]) => 96,
                _ if failed(&[Code::ChipAllowed, Code::VekPresent]) => 97,
                Seen::Verified(_) => 0,
                Seen::Unverified(_) => 99,
                Seen::Nothing => 1,
            },
            ..Self::default()
        };
        // What an unverified report says of itself is nothing that could be claimed.
        let Some(report) = verified else { return vector };
        let proven = |property| verdict.authentic() && !verdict.not_proven().contains(&property);
        if failed(&[Code::PolicyDebug, Code::PolicyMigrateMa]) {
            vector.configuration = 96;
        } else if failed(CONFIGURATION) {
            vector.configuration = 32;
        }
        if proven(Property::Measurement) {
            vector.executables = 3;
        } else if failed(&[Code::Measurement, Code::IdKey, Code::AuthorKey, Code::GuestSvn]) {
            vector.executables = 33;
        }
        // A MODEL is no hardware, whatever it signed.
        if verdict.is_model() {
            vector.hardware = 97;
            return vector;
        }
        // Put up with by name or not: such a report can be forged, and so can all that it says.
        if verdict.vek().is_some_and(|vek| vek.generation.broken_root().is_some()) {
            vector.hardware = 96;
            return vector;
        }
        vector.hardware = if failed(&[Code::GenerationAllowed]) {
            97
        } else if failed(FLOORS) {
            32
        } else if proven(Property::Revocation) && proven(Property::TcbFloor) {
            2
        } else {
            0
        };
        vector.runtime_opaque = if report.policy & DEBUG == 0 { 2 } else { 96 };
        vector
    }

    const fn values(&self) -> [(&'static str, i8); 8] {
        [
            ("instance-identity", self.instance_identity),
            ("configuration", self.configuration),
            ("executables", self.executables),
            ("file-system", 0),
            ("hardware", self.hardware),
            ("runtime-opaque", self.runtime_opaque),
            ("storage-opaque", 0),
            ("sourced-data", 0),
        ]
    }

    fn to_json(&self) -> Value {
        self.values()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect::<Map<_, _>>()
            .into()
    }

    fn worst(&self) -> Tier {
        self.values().into_iter().map(|(_, value)| Tier::of(value)).max().unwrap_or(Tier::None)
    }
}

/// Checks about how the guest was launched, and on what.
const CONFIGURATION: &[Code] = &[
    Code::Vmpl,
    Code::PolicyAbi,
    Code::PolicyReserved,
    Code::PolicySmt,
    Code::PolicySingleSocket,
    Code::PolicyCxl,
    Code::PolicyXts,
    Code::PolicyRapl,
    Code::PolicyCiphertext,
    Code::PolicyPageSwap,
    Code::PolicyUnknown,
    Code::PlatformRequired,
    Code::PlatformForbidden,
    Code::PlatformUnknown,
    Code::MitigationLaunch,
    Code::MitigationCurrent,
    Code::HostData,
];

/// Checks about versions of the processor's firmware.
const FLOORS: &[Code] = &[
    Code::TcbFloorReported,
    Code::TcbFloorCommitted,
    Code::TcbFloorLaunch,
    Code::TcbFloorCurrent,
    Code::FirmwareVersion,
    Code::FirmwareCommitted,
];

/// The tier of a verdict, before the vector makes it worse: ACCEPTED affirms, AUTHENTIC leaves
/// something open that an acceptance needs, REFUSED is against it.
const fn tier(conclusion: Conclusion) -> Tier {
    match conclusion {
        Conclusion::Accepted => Tier::Affirming,
        Conclusion::Authentic => Tier::Warning,
        Conclusion::Refused => Tier::Contraindicated,
    }
}

/// The claims of a verdict.
///
/// `report` is what goes into `ear_attester_claims`, if the report is verified; `judged` the time
/// that was judged as of, `issued` the time of the token, both in seconds since 1970. The status is
/// never better than the worst claim of the vector (section 3.1), so a MODEL, and a guest that may
/// be debugged, never affirm, whoever allowed them.
#[must_use]
pub fn claims(verdict: &Verdict, report: Option<Value>, judged: u64, issued: u64) -> Value {
    let vector = Vector::of(verdict);
    let status = tier(verdict.conclusion()).max(vector.worst());
    let failed: Vec<_> = verdict.failures().map(|check| check.code.as_str()).collect();
    let mut appraisal = Map::new();
    appraisal.insert("ear_status".into(), status.name().into());
    appraisal.insert("ear_trustworthiness_vector".into(), vector.to_json());
    if let Some(decision) = verdict.policy() {
        let id = format!("sha256:{}", crate::hex::encode(&decision.policy));
        appraisal.insert("ear_appraisal_policy_ids".into(), json!([id]));
    }
    if let Seen::Verified(seen) = verdict.report() {
        // The nonce of the evidence, where it was demanded and is the report's: REPORT_DATA may be
        // anything else. On Azure it is the hash of claims, and the nonce is the quote's.
        let data = |check: &crate::verify::Check| {
            check.code == Code::ReportData && check.status == Status::Passed
        };
        if verdict.azure().is_none() && verdict.checks().iter().any(data) {
            let nonce = Base64UrlUnpadded::encode_string(&seen.fields().report_data);
            appraisal.insert("eat_nonce".into(), nonce.into());
        }
        if let Some(report) = report {
            appraisal.insert("ear_attester_claims".into(), json!({ "snp-report": report }));
        }
    }
    let ours = json!({
        "verdict": verdict.headline(),
        "conclusion": verdict.conclusion(),
        "not-proven": verdict.not_proven(),
        "model": verdict.is_model(),
        "judged-as-of": crate::time::format(judged),
        "failed": failed,
    });
    appraisal.insert("ear_verifier_claims".into(), json!({ "casemate": ours }));
    whole(status, &appraisal, issued)
}

/// The claims about evidence that no report can be found in, and why.
#[must_use]
pub fn unreadable(why: &str, judged: u64, issued: u64) -> Value {
    let status = tier(Conclusion::Refused);
    let vector = Vector { instance_identity: 1, ..Vector::default() };
    let ours = json!({
        "verdict": Conclusion::Refused.word(),
        "conclusion": Conclusion::Refused,
        "error": why,
        "judged-as-of": crate::time::format(judged),
    });
    let appraisal = [
        ("ear_status".to_owned(), status.name().into()),
        ("ear_trustworthiness_vector".to_owned(), vector.to_json()),
        ("ear_verifier_claims".to_owned(), json!({ "casemate": ours })),
    ];
    whole(status, &appraisal.into_iter().collect(), issued)
}

fn whole(status: Tier, appraisal: &Map<String, Value>, issued: u64) -> Value {
    let build = format!("casemate {}", env!("CARGO_PKG_VERSION"));
    json!({
        "eat_profile": PROFILE,
        "iat": issued,
        "ear_status": status.name(),
        "ear_verifier_id": { "developer": env!("CARGO_PKG_REPOSITORY"), "build": build },
        "submods": { SUBMODULE: appraisal },
    })
}

/// The claims as a JWT in compact form, signed with ECDSA P-384 and SHA-384 (RFC 7518, section 3.4:
/// `ES384`, r and s of 48 bytes each).
///
/// # Errors
/// [`IdError::PrivateKey`] when the key does not sign.
pub fn sign(claims: &Value, key: &OwnerKey) -> Result<String, IdError> {
    let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let header = json!({ "alg": "ES384", "typ": "JWT" });
    let signed = format!("{}.{}", part(&header), part(claims));
    let signature = key.sign_fixed(signed.as_bytes())?;
    Ok(format!("{signed}.{}", Base64UrlUnpadded::encode_string(&signature)))
}
