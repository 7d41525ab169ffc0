//! `[attestation]`: what a verified report must show.

use super::launch::{GUEST_POLICY, STRICT_GUEST_POLICY};
use super::{ANY, BitNames, Enforcer, Field, Key, Kind, NOTHING, field};
use crate::lattice::Tcb;

const BY: &str = Enforcer::Verifier.text();

/// Flags of PLATFORM_INFO (AMD 56860, table "PLATFORM_INFO field").
const PLATFORM: &BitNames = &BitNames {
    names: &[
        (0, "smt"),
        (1, "tsme"),
        (2, "ecc"),
        (3, "rapl_disabled"),
        (4, "ciphertext_hiding"),
        (5, "alias_check_complete"),
        (6, "iommu_write_safe"),
        (7, "tio"),
    ],
    ignore: 0,
};

/// Mitigation bits have no fixed names: AMD publishes them one bulletin at a time.
const MITIGATIONS: &BitNames = &BitNames { names: &[], ignore: 0 };

/// Who signs reports: the chip's key, or a provider's.
pub(super) const SIGNERS: &[&str] = &["vcek", "vlek"];

pub(super) const ATTESTATION: &[Field] = &[
    field(
        "attestation.versions",
        Key::ReportVersion,
        Kind::Interval,
        [
            "{ min = 3, max = 5 }",
            "Versions of the report.",
            BY,
            "An old version hides the processor model and lacks newer fields.",
        ],
    ),
    field(
        "attestation.vmpl",
        Key::ReportVmpl,
        Kind::Ceiling,
        [
            "0",
            "Highest privilege level number that may ask for the report; 0 is the most privileged.",
            BY,
            "Less privileged software of the guest speaks for the guest.",
        ],
    ),
    field(
        "attestation.generations",
        Key::ReportGeneration,
        Kind::Choice(&Tcb::GENERATIONS),
        [
            NOTHING,
            "Processor generations.",
            BY,
            "Reports can be forged on a generation whose signing seed leaks.",
        ],
    ),
    field(
        "attestation.reported_tcb",
        Key::ReportTcb,
        Kind::Tcb,
        [
            NOTHING,
            "Least reported security patch levels, for each generation.",
            BY,
            "The host runs firmware with known flaws.",
        ],
    ),
    field(
        "attestation.launch_tcb",
        Key::ReportLaunchTcb,
        Kind::Tcb,
        [
            NOTHING,
            "Least security patch levels at launch, for each generation.",
            BY,
            "The guest was started under flawed firmware that was updated later.",
        ],
    ),
    field(
        "attestation.provisional_firmware",
        Key::ReportProvisional,
        Kind::Flag,
        [
            "\"forbidden\"",
            "Whether the current firmware may be newer than the committed one.",
            BY,
            "The host rolls its firmware back after the report.",
        ],
    ),
    field(
        "attestation.chip_allow",
        Key::ReportChip,
        Kind::BytesAllowed(64),
        [
            NOTHING,
            "Chip identifiers; 8-byte identifiers are padded with zeros, `unset` is a masked one.",
            BY,
            "A machine in the attacker's hands, with a good report, takes the guest's place.",
        ],
    ),
    field(
        "attestation.chip_deny",
        Key::ReportChip,
        Kind::BytesDenied(64),
        [
            "[]",
            "Chip identifiers that are refused; wins over `chip_allow`.",
            BY,
            "Reports of a chip known to be compromised stay good.",
        ],
    ),
    field(
        "attestation.signers",
        Key::ReportSigner,
        Kind::Choice(SIGNERS),
        [
            "[\"vcek\"]",
            "Kinds of keys that may sign the report.",
            BY,
            "A provider's shared key stands in for the chip's own.",
        ],
    ),
    field(
        "attestation.csp_id",
        Key::ReportCsp,
        Kind::NAMES,
        [
            NOTHING,
            "Provider named in the certificate of a VLEK; the empty text for a VCEK.",
            BY,
            "A report of another provider's machine is accepted.",
        ],
    ),
    field(
        "attestation.model_root",
        Key::ReportModelRoot,
        Kind::Flag,
        [
            "\"forbidden\"",
            "Whether the report is signed under the MODEL root of the virtual SNP host.",
            BY,
            "A simulated host passes for a real one.",
        ],
    ),
    field(
        "attestation.crl_checked",
        Key::CrlChecked,
        Kind::Flag,
        [
            "\"required\"",
            "Whether the chain was checked against a revocation list.",
            BY,
            "A revoked signing chain stays good.",
        ],
    ),
    field(
        "attestation.crl_age_hours",
        Key::CrlAge,
        Kind::Ceiling,
        [
            "168",
            "Greatest age of that list in hours.",
            BY,
            "An old list from before the revocation is shown.",
        ],
    ),
    field(
        "attestation.measurement",
        Key::ReportMeasurement,
        Kind::BytesAllowed(48),
        [
            NOTHING,
            "Launch digests.",
            BY,
            "Any software at all passes, as long as it runs under SNP.",
        ],
    ),
    field(
        "attestation.host_data",
        Key::ReportHostData,
        Kind::BytesAllowed(32),
        [
            NOTHING,
            "HOST_DATA values: SHA-256 of the initdata that the guest was started with, whose `policy.toml` is \
             its launch policy; `unset` for none.",
            BY,
            "The guest was started under another policy, or told another broker to ask.",
        ],
    ),
    field(
        "attestation.id_key",
        Key::ReportIdKey,
        Kind::BytesAllowed(48),
        [
            NOTHING,
            "SHA-384 of identity keys; `unset` for no ID block.",
            BY,
            "Images of any signer pass.",
        ],
    ),
    field(
        "attestation.author_key",
        Key::ReportAuthorKey,
        Kind::BytesAllowed(48),
        [
            NOTHING,
            "SHA-384 of author keys; `unset` for none.",
            BY,
            "A stolen identity key cannot be told from a good one.",
        ],
    ),
    field(
        "attestation.family_id",
        Key::ReportFamily,
        Kind::BytesAllowed(16),
        [
            NOTHING,
            "Image families; `unset` for no ID block.",
            BY,
            "A signer's image meant for another purpose passes.",
        ],
    ),
    field(
        "attestation.image_id",
        Key::ReportImage,
        Kind::BytesAllowed(16),
        [
            NOTHING,
            "Images; `unset` for no ID block.",
            BY,
            "A signer's image meant for another purpose passes.",
        ],
    ),
    field(
        "attestation.guest_svn",
        Key::ReportGuestSvn,
        Kind::Floor,
        [
            NOTHING,
            "Least security version of the image.",
            BY,
            "An old signed image with known flaws passes.",
        ],
    ),
    field(
        "attestation.guest_policy",
        Key::ReportGuestPolicy,
        Kind::Bits(GUEST_POLICY),
        [
            STRICT_GUEST_POLICY,
            "Flags of the SNP guest policy. A flag that is named in neither list must be clear.",
            BY,
            "`debug` lets the host read all guest memory; `migrate_ma` lets an agent copy it away.",
        ],
    ),
    field(
        "attestation.platform_info",
        Key::ReportPlatform,
        Kind::Bits(PLATFORM),
        [
            "{ must = [\"alias_check_complete\"], may = [\"tsme\", \"ecc\", \"rapl_disabled\", \
         \"ciphertext_hiding\", \"iommu_write_safe\"] }",
            "Flags of PLATFORM_INFO. A flag that is named in neither list must be clear.",
            BY,
            "The platform runs without a protection that its owner claims.",
        ],
    ),
    field(
        "attestation.mitigations",
        Key::ReportMitigations,
        Kind::Bits(MITIGATIONS),
        [
            "{ must = [], may = \"any\" }",
            "Bits of the launch mitigation vector that must be set (report version 5; else zero).",
            BY,
            "A published mitigation is not active on the platform.",
        ],
    ),
    field(
        "attestation.context",
        Key::ReportContext,
        Kind::NAMES,
        [
            NOTHING,
            "Labels of what REPORT_DATA was made for.",
            BY,
            "A report made for another purpose by any program of the guest is replayed here.",
        ],
    ),
    field(
        "attestation.azure_ak",
        Key::AzureAk,
        Kind::BytesAllowed(32),
        [
            ANY,
            "Attestation keys of Azure vTPMs, by SHA-256 of the SubjectPublicKeyInfo. A rule refuses reports \
             without Azure's claims.",
            BY,
            "The quote of any VM's vTPM is taken.",
        ],
    ),
    field(
        "attestation.azure_vm_id",
        Key::AzureVmId,
        Kind::NAMES,
        [
            ANY,
            "`vmUniqueId` of Azure's claims, in lower case. A rule refuses reports without them.",
            BY,
            "Another VM of the same image answers.",
        ],
    ),
    field(
        "attestation.azure_secure_boot",
        Key::AzureSecureBoot,
        Kind::Flag,
        [
            ANY,
            "Secure boot, by Azure's claims. A rule refuses reports without them.",
            BY,
            "The paravisor starts a boot loader that nobody signed.",
        ],
    ),
    field(
        "attestation.azure_pcrs",
        Key::AzurePcrs,
        Kind::NamesRequired,
        [
            "[]",
            "Values that registers of the vTPM's verified quote must have, as `7=<64 hexadecimal digits, lower case>`.",
            BY,
            "The measurement is the paravisor's alone: what it started is in these registers.",
        ],
    ),
];
