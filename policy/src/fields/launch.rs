//! `[launch]`: what may be launched.

use super::kind::PROTECTIONS;
use super::{BitNames, Enforcer, Field, Key, Kind, NOTHING, field};

const BY: &str = Enforcer::Start.text();

/// Flags of the SNP guest policy (AMD 56860, table "Guest policy structure").
pub(super) const GUEST_POLICY: &BitNames = &BitNames {
    names: &[
        (16, "smt"),
        (18, "migrate_ma"),
        (19, "debug"),
        (20, "single_socket"),
        (21, "cxl"),
        (22, "aes_256_xts"),
        (23, "rapl_disabled"),
        (24, "ciphertext_hiding"),
        (25, "page_swap_disabled"),
    ],
    // Bits 0 to 15 are the least ABI version, bit 17 is reserved and always one.
    ignore: 0x2_ffff,
};

/// Default of both guest policy fields: only bits that ask the platform for more protection.
pub(super) const STRICT_GUEST_POLICY: &str = "{ must = [], may = [\"single_socket\", \"aes_256_xts\", \
     \"rapl_disabled\", \"ciphertext_hiding\", \"page_swap_disabled\"] }";

pub(super) const LAUNCH: &[Field] = &[
    field(
        "launch.protection",
        Key::LaunchProtection,
        Kind::Choice(PROTECTIONS),
        [
            "[\"sev-snp\"]",
            "Protection modes that a guest may be launched with.",
            BY,
            "A guest runs in memory the host can read, while its owner believes it confidential.",
        ],
    ),
    field(
        "launch.tenants",
        Key::LaunchTenant,
        Kind::NAMES,
        [
            NOTHING,
            "Tenants that may launch guests; `casemate run` names the calling user `uid-N`.",
            BY,
            "Anyone who can call the program starts guests on this host.",
        ],
    ),
    field(
        "launch.measurement",
        Key::LaunchMeasurement,
        Kind::BytesAllowed(48),
        [
            NOTHING,
            "Launch digests that may run (SHA-384).",
            BY,
            "Software nobody has reviewed runs with the tenant's name.",
        ],
    ),
    field(
        "launch.kernel",
        Key::LaunchKernel,
        Kind::BytesAllowed(32),
        [
            NOTHING,
            "SHA-256 of guest kernels that may run.",
            BY,
            "A kernel with known flaws, or a foreign one, is booted.",
        ],
    ),
    field(
        "launch.initrd",
        Key::LaunchInitrd,
        Kind::BytesAllowed(32),
        [
            NOTHING,
            "SHA-256 of initial RAM disks that may run; `unset` for none.",
            BY,
            "The first user space program of the guest is the attacker's.",
        ],
    ),
    field(
        "launch.cmdline_allow",
        Key::LaunchCmdline,
        Kind::Names { list: true },
        [
            NOTHING,
            "What each word of the kernel command line must match, taken apart as the kernel does it; `--` and what \
             follows it, which is init's, are words, too. In the name of a parameter `-` and `_` are the same.",
            BY,
            "`init=/bin/sh` or a disabled mitigation turns a good image into a bad guest.",
        ],
    ),
    field(
        "launch.cmdline_forbid",
        Key::LaunchCmdline,
        Kind::NamesForbidden,
        [
            "[]",
            "Words that the kernel command line must not have, whoever reads it: the kernel, who cuts it at every blank \
             (an initramfs, scripts, x86 code of the kernel), or who drops every quote, of either kind. Wins over `cmdline_allow`. In \
             the name of a parameter `-` and `_` are the same.",
            BY,
            "A word that a broad `cmdline_allow` lets through weakens the guest.",
        ],
    ),
    field(
        "launch.cmdline_require",
        Key::LaunchCmdline,
        Kind::NamesRequired,
        [
            "[]",
            "Words that must be in force as kernel parameters: before `--`, and not overridden by a later word of the \
             same name. In the name of a parameter `-` and `_` are the same.",
            BY,
            "A hardening word is left out without anyone noticing.",
        ],
    ),
    field(
        "launch.id_key",
        Key::LaunchIdKey,
        Kind::BytesAllowed(48),
        [
            NOTHING,
            "SHA-384 of identity keys that may sign the image's ID block; `unset` for no ID block.",
            BY,
            "An image that no known signer has approved runs.",
        ],
    ),
    field(
        "launch.author_key",
        Key::LaunchAuthorKey,
        Kind::BytesAllowed(48),
        [
            NOTHING,
            "SHA-384 of author keys that may vouch for the identity key; `unset` for none.",
            BY,
            "A stolen identity key cannot be told from a good one.",
        ],
    ),
    field(
        "launch.guest_policy",
        Key::LaunchGuestPolicy,
        Kind::Bits(GUEST_POLICY),
        [
            STRICT_GUEST_POLICY,
            "Flags of the SNP guest policy. A flag that is named in neither list must be clear.",
            BY,
            "`debug` lets the host read all guest memory; `migrate_ma` lets an agent copy it away.",
        ],
    ),
    field(
        "launch.guest_svn",
        Key::LaunchGuestSvn,
        Kind::Floor,
        [
            NOTHING,
            "Least security version of the image, as its ID block states.",
            BY,
            "An old signed image with known flaws is started again.",
        ],
    ),
    field(
        "launch.family_id",
        Key::LaunchFamily,
        Kind::BytesAllowed(16),
        [
            NOTHING,
            "Image families that may run; `unset` for no ID block.",
            BY,
            "A signer's image meant for another purpose runs here.",
        ],
    ),
    field(
        "launch.image_id",
        Key::LaunchImage,
        Kind::BytesAllowed(16),
        [
            NOTHING,
            "Images that may run; `unset` for no ID block.",
            BY,
            "A signer's image meant for another purpose runs here.",
        ],
    ),
    field(
        "launch.host_data",
        Key::LaunchHostData,
        Kind::HostData,
        [
            NOTHING,
            "HOST_DATA values a guest may be launched with: SHA-256 of its initdata, `unset` for none. \
             `initdata` means that the `policy.toml` of that initdata is, byte for byte, this document, \
             which cannot list the hash of a text it lies in.",
            BY,
            "The report does not show under which policy the guest was started.",
        ],
    ),
];
