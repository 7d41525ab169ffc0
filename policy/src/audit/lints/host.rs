//! `[host]`: what a host may lack.

use super::{Lint, lint};
use crate::audit::Level::{Error, Note, Warning};
use crate::audit::danger::{Ask, Bad, Witness};
use crate::audit::strangers;
use crate::fields::Key;

const FLAG: &str = "the host may lack this protection";
const SAYS: &str =
    "only the host says so: the attestation section does not require the report to show it";
const FLAW: &str = "a host kernel with a published flaw that nobody named is admitted";
/// SNP firmware 1.51 with any build: the first that was released for guests. A version is packed as
/// 20 bits each of major, minor and the rest.
const OLD_FIRMWARE: u64 = 1 << 40 | 51 << 20 | 0xf_ffff;
/// Linux 5.9: nothing up to it is maintained by anyone.
const OLD_KERNEL: u64 = 5 << 40 | 9 << 20 | 0xf_ffff;

fn off(ask: &Ask<'_>) -> Option<Witness> {
    ask.own(Bad::index(0))
}

/// What the host section refuses and the attestation section admits: a host that lies gets its
/// guest.
fn only_host_says(ask: &Ask<'_>, theirs: Key, bad: Bad) -> Option<Witness> {
    // Where the host section admits it already, another lint says so.
    if ask.own(bad.clone()).is_some() {
        return None;
    }
    ask.attestation().all(&[(theirs, bad)])
}

pub(super) const LINTS: &[Lint] = &[
    lint("CM060", Error, "host.snp", off, FLAG),
    lint("CM060", Warning, "host.smt", |ask| ask.own(Bad::index(1)), FLAG),
    lint("CM060", Warning, "host.alias_check", off, FLAG),
    lint("CM060", Note, "host.tsme", off, FLAG),
    lint("CM060", Note, "host.ciphertext_hiding", off, FLAG),
    lint("CM060", Warning, "host.flaws", |ask| ask.own(strangers::name()), FLAW),
    lint(
        "CM061",
        Warning,
        "host.firmware",
        |ask| ask.own(Bad::up_to(OLD_FIRMWARE)),
        "firmware of the first release for guests is admitted",
    ),
    lint(
        "CM061",
        Warning,
        "host.kernel",
        |ask| ask.own(Bad::up_to(OLD_KERNEL)),
        "a host kernel that nobody maintains any more is admitted",
    ),
    lint(
        "CM008",
        Warning,
        "host.generations",
        |ask| ask.own(Bad::index(0)),
        super::attestation::MILAN,
    ),
    lint(
        "CM012",
        Note,
        "host.chip_allow",
        |ask| ask.own(strangers::chip()),
        super::attestation::CHIP,
    ),
    lint(
        "CM006",
        Warning,
        "host.tcb",
        |ask| ask.own(strangers::old_platform()),
        super::attestation::FLOOR,
    ),
    lint(
        "CM007",
        Warning,
        "host.tcb",
        |ask| ask.own(strangers::below_bulletin()),
        super::attestation::BULLETIN,
    ),
    lint(
        "CM062",
        Warning,
        "host.smt",
        |ask| {
            // The platform's own word on it is bit 0 of PLATFORM_INFO.
            if ask.own(Bad::index(1)).is_some() {
                return None;
            }
            ask.attestation().all(&[(Key::ReportPlatform, Bad::set(0))])
        },
        SAYS,
    ),
    lint(
        "CM062",
        Warning,
        "host.tcb",
        |ask| only_host_says(ask, Key::ReportTcb, strangers::old_platform()),
        SAYS,
    ),
    lint(
        "CM062",
        Warning,
        "host.generations",
        |ask| {
            // Any generation, of which the last index stands for those that this version does not
            // know.
            only_host_says(ask, Key::ReportGeneration, Bad::index(crate::lattice::Choice::UNKNOWN))
        },
        SAYS,
    ),
    lint(
        "CM062",
        Note,
        "host.chip_allow",
        |ask| only_host_says(ask, Key::ReportChip, strangers::chip()),
        SAYS,
    ),
];
