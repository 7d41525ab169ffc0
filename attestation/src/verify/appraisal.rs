//! What a verified report must say: the appraisal policy of `casemate attest verify --policy`.
//!
//! Principle: every key is optional and only narrows; an absent key leaves the built-in rule.
//! Unknown keys are errors. There is no key that switches a structural or cryptographic check off.

use super::tcb_floor::{TcbFloor, TcbRules};
use crate::cert::KeyKind;
use crate::hex::Hex;
use crate::report::{Fields, FirmwareVersion, Generation, Tcb};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::collections::BTreeMap;

/// What a bit of the guest policy must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BitRule {
    /// The bit must be one.
    Set,
    /// The bit must be zero.
    Clear,
    /// The bit may be either; it is shown.
    Any,
}

/// Rules for the bits of the guest policy, by [`crate::report::POLICY_BITS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "one rule for the bit of the same name")]
pub struct GuestPolicyRules {
    pub smt: BitRule,
    pub migrate_ma: BitRule,
    pub debug: BitRule,
    pub single_socket: BitRule,
    pub cxl: BitRule,
    pub mem_aes_256_xts: BitRule,
    pub rapl_dis: BitRule,
    pub ciphertext_hiding: BitRule,
    pub page_swap_disable: BitRule,
    /// Unknown bits that are accepted, as a mask.
    pub allow_unknown_bits: u64,
    /// Least ABI version of the policy, major and minor.
    pub min_abi: (u8, u8),
}

impl Default for GuestPolicyRules {
    fn default() -> Self {
        Self {
            smt: BitRule::Any,
            migrate_ma: BitRule::Clear,
            debug: BitRule::Clear,
            single_socket: BitRule::Any,
            cxl: BitRule::Any,
            mem_aes_256_xts: BitRule::Any,
            rapl_dis: BitRule::Any,
            ciphertext_hiding: BitRule::Any,
            page_swap_disable: BitRule::Any,
            allow_unknown_bits: 0,
            min_abi: (0, 0),
        }
    }
}

/// Rules for PLATFORM_INFO: masks, each in its one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct PlatformRules {
    /// Bits that must be one.
    pub required: u64,
    /// Bits that must be zero.
    pub forbidden: u64,
    /// Refuse bits without a known meaning; otherwise they are a warning.
    pub deny_unknown: bool,
}

/// Rules for Azure evidence. A rule that is there refuses evidence without what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AzureRules {
    /// Allowed attestation keys of vTPMs, by SHA-256 of the SubjectPublicKeyInfo.
    pub aks: Option<Vec<Hex<32>>>,
    /// Allowed VMs, by `vmUniqueId`.
    pub vm_ids: Option<Vec<String>>,
    /// Whether secure boot must be on.
    pub secure_boot: BitRule,
    /// Allowed values of quoted registers, by number.
    pub pcrs: BTreeMap<String, Vec<Hex<32>>>,
}

impl Default for AzureRules {
    fn default() -> Self {
        Self { aks: None, vm_ids: None, secure_boot: BitRule::Any, pcrs: BTreeMap::new() }
    }
}

/// Why a document is no appraisal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppraisalError {
    /// Not TOML, or with a key or value that an appraisal does not have.
    #[error("{0}")]
    Toml(String),
    /// It has no rule: an empty file, or the beginning of some document.
    #[error(
        "says nothing: an appraisal has at least one rule, an isolation policy a schema_version"
    )]
    SaysNothing,
}

impl From<toml::de::Error> for AppraisalError {
    fn from(error: toml::de::Error) -> Self {
        // The parser shows the line with a mark below it; here it is one line, whatever is in it.
        let message = error.to_string();
        let parts: Vec<_> =
            message.lines().map(str::trim).filter(|part| !part.is_empty()).collect();
        Self::Toml(casemate_foreign_text::line(parts.join(" ")).to_string())
    }
}

/// What a verified report must say. The default is the built-in appraisal: VMPL 0, debug and
/// migration off, no unknown policy bits, chip identifier not masked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Appraisal {
    /// Allowed generations; every one whose root is not broken when absent.
    pub generations: Option<Vec<Generation>>,
    /// Generations that are taken although their root is broken, see [`Generation::broken_root`].
    pub allow_broken_roots: Vec<Generation>,
    /// Allowed chips, by the 64 bytes of CHIP_ID.
    #[serde(default, deserialize_with = "chip_ids")]
    pub chip_ids: Option<Vec<Hex<64>>>,
    /// Accept a report whose chip identifier is masked (all zero) under a VCEK.
    pub allow_masked_chip_id: bool,
    /// Allowed kinds of endorsement key: VCEK, VLEK.
    pub key_kinds: Option<Vec<KeyKind>>,
    /// Allowed cloud providers, by the exact identifier in the VLEK certificate.
    pub csp_ids: Option<Vec<String>>,
    /// Refuse when no revocation list was checked.
    pub require_crl: bool,
    /// Allowed privilege levels; VMPL 0 when absent.
    pub vmpl: Option<Vec<u32>>,
    /// Rules for the bits of the guest policy, and its least ABI version.
    pub guest_policy: GuestPolicyRules,
    /// Rules for the bits of PLATFORM_INFO.
    pub platform: PlatformRules,
    /// Mitigations that must be in force at launch, as a mask.
    pub launch_mitigations: u64,
    /// Mitigations that must be in force now, as a mask.
    pub current_mitigations: u64,
    /// Floors under the four TCB fields, by generation.
    pub tcb: TcbRules,
    /// Least committed firmware version: major, minor, build.
    pub min_firmware: Option<(u8, u8, u8)>,
    /// Allowed ID keys, by the SHA-384 that reports carry.
    pub id_key_digests: Option<Vec<Hex<48>>>,
    /// Allowed author keys, by the SHA-384 that reports carry.
    pub author_key_digests: Option<Vec<Hex<48>>>,
    /// Allowed family identifiers of ID blocks.
    pub family_ids: Option<Vec<Hex<16>>>,
    /// Allowed image identifiers of ID blocks.
    pub image_ids: Option<Vec<Hex<16>>>,
    /// Least guest security version.
    pub min_guest_svn: Option<u32>,
    /// Allowed launch digests, as MEASUREMENT carries them; any when absent.
    pub measurements: Option<Vec<Hex<48>>>,
    /// Allowed values of HOST_DATA.
    pub host_data: Option<Vec<Hex<32>>>,
    /// Allowed guests, by REPORT_ID.
    pub report_ids: Option<Vec<Hex<32>>>,
    /// The report data, all 64 bytes.
    pub report_data: Option<Hex<64>>,
    /// Claims and quote of Azure evidence.
    pub azure: AzureRules,
}

/// Chip identifiers of 64 bytes, or of the 8 that Turin's certificates and addresses have: in a
/// report zeros follow these.
fn chip_ids<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Hex<64>>>, D::Error> {
    let padded = |text: &String| {
        // Only two lengths are identifiers; padding anything shorter would let a cut-off one match
        // none, or one that nobody meant.
        let mut id = crate::hex::from_people(text).filter(|id| matches!(id.len(), 8 | 64))?;
        id.resize(64, 0);
        id.try_into().ok().map(Hex)
    };
    let wrong = || de::Error::custom("a chip identifier has 64 bytes of hexadecimal, on Turin 8");
    let texts = Option::<Vec<String>>::deserialize(from)?;
    texts.map(|all| all.iter().map(|text| padded(text).ok_or_else(wrong)).collect()).transpose()
}

impl Appraisal {
    /// Reads an appraisal in TOML.
    ///
    /// # Errors
    /// [`AppraisalError`]; a document without any rule is one, too: what was cut off, or never
    /// written, must not look like a decision to demand nothing.
    pub fn from_toml(text: &str) -> Result<Self, AppraisalError> {
        // Twice, as a table and as an appraisal: every member of an appraisal has a default, so
        // that from the result alone an empty document cannot be told from one that writes the
        // defaults out.
        let table: toml::Table = toml::from_str(text)?;
        if !table.values().any(has_value) {
            return Err(AppraisalError::SaysNothing);
        }
        let appraisal: Self = toml::from_str(text)?;
        // As a report's registers are counted: decimal, no sign, no leading zero. A key that names
        // no register would be a rule that nothing ever meets, or that looks as if it did.
        let bad = appraisal.azure.pcrs.keys().find(|index| {
            !index.parse::<u32>().is_ok_and(|number| number < 24 && number.to_string() == **index)
        });
        match bad {
            None => Ok(appraisal),
            Some(index) => Err(AppraisalError::Toml(format!(
                "azure.pcrs: {} is no register from 0 to 23",
                casemate_foreign_text::value(index)
            ))),
        }
    }

    pub(super) fn min_firmware_version(&self) -> Option<FirmwareVersion> {
        self.min_firmware.map(|(major, minor, build)| FirmwareVersion { major, minor, build })
    }

    /// The TCB fields of a report with what holds for each.
    pub(super) fn floors_for(
        &self,
        fields: &Fields,
        generation: Generation,
    ) -> [(super::Code, Tcb, Floors); 4] {
        use super::Code;
        let own = self.tcb.floors(generation);
        // A preset without a number for this processor is kept as unknown, never dropped: it was
        // demanded.
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for preset in &self.tcb.presets {
            match preset.floor(generation, fields.cpuid) {
                Some(floor) => known.push(floor),
                None => unknown.push(preset.name()),
            }
        }
        let with = |own: Option<TcbFloor>| Floors {
            // A floor of the user's own stands in for numbers that are not known.
            unknown: if own.is_some() { Vec::new() } else { unknown.clone() },
            floors: known.iter().copied().chain(own).collect(),
        };
        // Presets are not applied to the current TCB: firmware that is not committed may be taken
        // back.
        let current = Floors { floors: own.current.into_iter().collect(), unknown: Vec::new() };
        [
            (Code::TcbFloorReported, fields.reported_tcb, with(own.reported)),
            (Code::TcbFloorCommitted, fields.committed_tcb, with(own.committed)),
            (Code::TcbFloorLaunch, fields.launch_tcb, with(own.launch)),
            (Code::TcbFloorCurrent, fields.current_tcb, current),
        ]
    }
}

/// Whether a value states anything: a table does by what is in it.
fn has_value(value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(table) => table.values().any(has_value),
        _ => true,
    }
}

/// What one TCB field must be above.
#[derive(Debug)]
pub(super) struct Floors {
    /// Every floor that holds; all of them have to be met.
    pub(super) floors: Vec<TcbFloor>,
    /// Presets without a number for this processor.
    pub(super) unknown: Vec<&'static str>,
}
