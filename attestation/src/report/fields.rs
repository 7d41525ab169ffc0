//! Every field of a report, read once from its fixed offset.

use super::REPORT_SIZE;
use super::generation::{Generation, Tcb};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A version of the SNP firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct FirmwareVersion {
    /// Major version of the ABI that the firmware has.
    pub major: u8,
    /// Minor version of the ABI that the firmware has.
    pub minor: u8,
    /// Build number, which tells fixes apart that change no interface.
    pub build: u8,
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// The key a report says it is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// VCEK, the chip's own key.
    Vcek,
    /// A key loaded for a cloud provider.
    Vlek,
    /// None: the report is not signed.
    None,
    /// A value that the firmware ABI gives no meaning.
    Reserved(u8),
}

/// The two endorsement keys; each has CA certificates and a revocation list of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// The chip's own key, under the ASK.
    Vcek,
    /// A key loaded for a cloud provider, under the ASVK.
    Vlek,
}

impl KeyKind {
    /// Both kinds, in the order in which they are looked for.
    pub const ALL: [Self; 2] = [Self::Vcek, Self::Vlek];

    /// The name of the certificate, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }

    /// The name in the key server's addresses.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

impl SigningKey {
    /// The kind of endorsement key, when it is one.
    #[must_use]
    pub const fn kind(self) -> Option<KeyKind> {
        match self {
            Self::Vcek => Some(KeyKind::Vcek),
            Self::Vlek => Some(KeyKind::Vlek),
            Self::None | Self::Reserved(_) => None,
        }
    }
}

/// The fields of a report, in the order of their offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// 0x000 VERSION: the layout of what follows; [`super::KNOWN_VERSIONS`].
    pub version: u32,
    /// 0x004 GUEST_SVN: the guest's security version, from its ID block.
    pub guest_svn: u32,
    /// 0x008 POLICY: the guest policy it was launched with; bits in [`super::POLICY_BITS`].
    pub policy: u64,
    /// 0x010 FAMILY_ID: from the ID block, zero without one.
    pub family_id: [u8; 16],
    /// 0x020 IMAGE_ID: from the ID block, zero without one.
    pub image_id: [u8; 16],
    /// 0x030 VMPL of the requester; 0xFFFFFFFF when the host asked.
    pub vmpl: u32,
    /// 0x034 SIGNATURE_ALGO; 1 is ECDSA P-384 with SHA-384.
    pub signature_algorithm: u32,
    /// 0x038 CURRENT_TCB: the firmware that runs.
    pub current_tcb: Tcb,
    /// 0x040 PLATFORM_INFO: the platform's settings; bits in [`super::PLATFORM_BITS`].
    pub platform_info: u64,
    /// 0x048 AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY.
    pub flags: u32,
    /// 0x050 REPORT_DATA: what the requester gave.
    pub report_data: [u8; 64],
    /// 0x090 MEASUREMENT: the launch digest.
    pub measurement: [u8; 48],
    /// 0x0C0 HOST_DATA: what the host gave at LAUNCH_FINISH.
    pub host_data: [u8; 32],
    /// 0x0E0 ID_KEY_DIGEST: SHA-384 of the key that signed the ID block, zero without one.
    pub id_key_digest: [u8; 48],
    /// 0x110 AUTHOR_KEY_DIGEST: SHA-384 of the key that signed the ID key, zero without one.
    pub author_key_digest: [u8; 48],
    /// 0x140 REPORT_ID: random, one for each guest.
    pub report_id: [u8; 32],
    /// 0x160 REPORT_ID_MA: that of the migration agent; all ones without one.
    pub report_id_ma: [u8; 32],
    /// 0x180 REPORTED_TCB: the TCB that the endorsement key is derived for.
    pub reported_tcb: Tcb,
    /// 0x188 CPUID family, model, stepping; zero before version 3.
    pub cpuid: [u8; 3],
    /// 0x1A0 CHIP_ID: on Turin and later 8 bytes and zeros; all zero when masked.
    pub chip_id: [u8; 64],
    /// 0x1E0 COMMITTED_TCB: below which the firmware cannot be taken back.
    pub committed_tcb: Tcb,
    /// 0x1E8 CURRENT firmware version.
    pub current_version: FirmwareVersion,
    /// 0x1EC COMMITTED firmware version.
    pub committed_version: FirmwareVersion,
    /// 0x1F0 LAUNCH_TCB: the current TCB when the guest was launched.
    pub launch_tcb: Tcb,
    /// 0x1F8 LAUNCH_MIT_VECTOR; version 5 and later.
    pub launch_mitigations: Option<u64>,
    /// 0x200 CURRENT_MIT_VECTOR; version 5 and later.
    pub current_mitigations: Option<u64>,
    /// 0x2A0 r of the signature, little-endian in 72 bytes.
    pub signature_r: [u8; 72],
    /// 0x2E8 s of the signature, little-endian in 72 bytes.
    pub signature_s: [u8; 72],
}

impl Fields {
    pub(super) fn read(raw: &[u8; REPORT_SIZE]) -> Self {
        let version = u32::from_le_bytes(at(raw, 0x00));
        let tcb = |offset| Tcb(at(raw, offset));
        // Little-endian like all of a report: the build comes first, the major version last.
        let firmware = |offset| {
            let [build, minor, major] = at(raw, offset);
            FirmwareVersion { major, minor, build }
        };
        // Bytes that are reserved in the report's version are no field of it, whatever they hold;
        // that they are zero is a check of the verifier's.
        let since_5 = |offset| (version >= 5).then(|| u64::from_le_bytes(at(raw, offset)));
        Self {
            version,
            guest_svn: u32::from_le_bytes(at(raw, 0x04)),
            policy: u64::from_le_bytes(at(raw, 0x08)),
            family_id: at(raw, 0x10),
            image_id: at(raw, 0x20),
            vmpl: u32::from_le_bytes(at(raw, 0x30)),
            signature_algorithm: u32::from_le_bytes(at(raw, 0x34)),
            current_tcb: tcb(0x38),
            platform_info: u64::from_le_bytes(at(raw, 0x40)),
            flags: u32::from_le_bytes(at(raw, 0x48)),
            report_data: at(raw, 0x50),
            measurement: at(raw, 0x90),
            host_data: at(raw, 0xC0),
            id_key_digest: at(raw, 0xE0),
            author_key_digest: at(raw, 0x110),
            report_id: at(raw, 0x140),
            report_id_ma: at(raw, 0x160),
            reported_tcb: tcb(0x180),
            cpuid: if version >= 3 { at(raw, 0x188) } else { [0; 3] },
            chip_id: at(raw, 0x1A0),
            committed_tcb: tcb(0x1E0),
            current_version: firmware(0x1E8),
            committed_version: firmware(0x1EC),
            launch_tcb: tcb(0x1F0),
            launch_mitigations: since_5(0x1F8),
            current_mitigations: since_5(0x200),
            signature_r: at(raw, 0x2A0),
            signature_s: at(raw, 0x2E8),
        }
    }

    /// The key the report says it is signed with (bits 4:2 of the flags).
    #[must_use]
    pub const fn signing_key(&self) -> SigningKey {
        match (self.flags >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            other => SigningKey::Reserved(other.to_le_bytes()[0]),
        }
    }

    /// Whether an author key was given at launch (bit 0 of the flags).
    #[must_use]
    pub const fn author_key_enabled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether the chip key is masked, which leaves the report unsigned (bit 1 of the flags).
    #[must_use]
    pub const fn chip_key_masked(&self) -> bool {
        self.flags & 2 != 0
    }

    /// The generation by CPUID; none before version 3, and none for an unknown processor.
    #[must_use]
    pub const fn generation(&self) -> Option<Generation> {
        let [family, model, _] = self.cpuid;
        Generation::from_cpuid(family, model)
    }

    /// The first reserved byte that is not zero, by offset; TCB fields excepted, see [`Tcb`].
    #[must_use]
    pub fn first_reserved(&self, raw: &[u8; REPORT_SIZE]) -> Option<usize> {
        // A version turns reserved bytes into fields, so the ranges depend on it.
        let cpuid = if self.version < 3 { 0x188..0x18B } else { 0..0 };
        let mitigations = if self.version < 5 { 0x1F8..0x208 } else { 0..0 };
        [
            0x4C..0x50,
            cpuid,
            0x18B..0x1A0,
            0x1EB..0x1EC,
            0x1EF..0x1F0,
            mitigations,
            0x208..0x2A0,
            0x330..0x4A0,
        ]
        .into_iter()
        .flatten()
        .find(|offset| raw.get(*offset).is_some_and(|byte| *byte != 0))
    }
}

/// The `N` bytes at a constant offset, all of which lie inside a report.
fn at<const N: usize>(raw: &[u8; REPORT_SIZE], offset: usize) -> [u8; N] {
    offset
        .checked_add(N)
        .and_then(|end| raw.get(offset..end))
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0; N])
}
