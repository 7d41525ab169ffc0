//! `[host]`: what the host must be.

use super::{Enforcer, Field, Key, Kind, NOTHING, field};
use crate::lattice::Tcb;

const BY: &str = Enforcer::HostAtStart.text();

pub(super) const HOST: &[Field] = &[
    field(
        "host.snp",
        Key::HostSnp,
        Kind::Flag,
        [
            "\"required\"",
            "Whether the security processor has initialised SNP.",
            BY,
            "Guests run on a host without memory integrity.",
        ],
    ),
    field(
        "host.firmware",
        Key::HostFirmware,
        Kind::Version,
        [
            NOTHING,
            "Least version (API major.minor.build) of the SNP firmware.",
            BY,
            "Published firmware flaws are usable against guests.",
        ],
    ),
    field(
        "host.kernel",
        Key::HostKernel,
        Kind::Version,
        [
            NOTHING,
            "Least version of the host kernel.",
            BY,
            "Published KVM flaws are usable from a guest.",
        ],
    ),
    field(
        "host.smt",
        Key::HostSmt,
        Kind::Flag,
        [
            "\"forbidden\"",
            "Whether simultaneous multithreading is on.",
            BY,
            "A sibling thread observes the guest through shared core resources.",
        ],
    ),
    field(
        "host.tsme",
        Key::HostTsme,
        Kind::Flag,
        [
            "\"required\"",
            "Whether transparent memory encryption covers the host's own memory.",
            BY,
            "Host memory, and all shared guest memory, can be read from the memory modules.",
        ],
    ),
    field(
        "host.ciphertext_hiding",
        Key::HostCiphertextHiding,
        Kind::Flag,
        [
            "\"required\"",
            "Whether the host is kept from reading guest ciphertext.",
            BY,
            "Changes of ciphertext at one address are a side channel for the host.",
        ],
    ),
    field(
        "host.alias_check",
        Key::HostAliasCheck,
        Kind::Flag,
        [
            "\"required\"",
            "Whether the firmware has checked memory for aliases since the last reset.",
            BY,
            "A manipulated memory module maps two addresses to one cell and replays guest memory.",
        ],
    ),
    field(
        "host.generations",
        Key::HostGeneration,
        Kind::Choice(&Tcb::GENERATIONS),
        [
            NOTHING,
            "Processor generations that may run guests.",
            BY,
            "Guests run on a generation whose root of trust is broken.",
        ],
    ),
    field(
        "host.chip_allow",
        Key::HostChip,
        Kind::BytesAllowed(64),
        [
            NOTHING,
            "Chip identifiers that may run guests; 8-byte identifiers are padded with zeros.",
            BY,
            "A machine outside the fleet, physically in the attacker's hands, runs the guest.",
        ],
    ),
    field(
        "host.chip_deny",
        Key::HostChip,
        Kind::BytesDenied(64),
        [
            "[]",
            "Chip identifiers that must not run guests; wins over `chip_allow`.",
            BY,
            "A chip known to be compromised keeps running guests.",
        ],
    ),
    field(
        "host.tcb",
        Key::HostTcb,
        Kind::Tcb,
        [
            NOTHING,
            "Least committed security patch levels, for each generation.",
            BY,
            "The host can be rolled back to firmware with known flaws.",
        ],
    ),
    field(
        "host.flaws",
        Key::HostFlaws,
        Kind::Names { list: true },
        [
            "[]",
            "Published flaws of this host's kernel that are put up with, by the names that `casemate \
             host` gives them. Known by the kernel's version, so a distribution may have mended one that \
             is named. Of a guest without protection none is asked: they are flaws of SNP hosts.",
            BY,
            "A guest reaches host memory, or the host's kernel is crashed, by a flaw that is published.",
        ],
    ),
];
