//! `[attestation]`: reports that prove too little.

use super::launch::{AUTHOR, DEBUG, MIGRATE, SIGNED, SMT, SOFTWARE, SVN, ZERO};
use super::{Lint, lint};
use crate::audit::Level::{Error, Note, Warning};
use crate::audit::danger::{Ask, Bad, Witness};
use crate::audit::strangers;
use crate::fields::Key;

pub(super) const MILAN: &str = "Milan is admitted: its signing seed can be extracted by software \
    alone (MilanLaunchy, BadFuse), so its reports can be forged";
pub(super) const CHIP: &str = "any chip is admitted, one in the attacker's hands included";
pub(super) const FLOOR: &str =
    "a platform with SNP firmware or microcode of the first level ever shipped is admitted";
pub(super) const BULLETIN: &str =
    "firmware below the floor of AMD-SB-3019 is admitted (SNP level: Milan 0x18, Genoa 0x17)";
/// Version 2 of the report does not say which processor signed it; 3 and later do.
const OLD_VERSION: u64 = 2;
/// Hours of the longest month.
const MONTH_IN_HOURS: u64 = 31 * 24;

pub(super) const IMAGE: super::launch::Image = super::launch::Image {
    measurement: Key::ReportMeasurement,
    id_key: Key::ReportIdKey,
    author_key: Key::ReportAuthorKey,
    guest_svn: Key::ReportGuestSvn,
};

/// A machine that nobody listed; under a chip's own key (VCEK) also one that hides its identifier,
/// which a VLEK's report has to do.
fn chip(ask: &Ask<'_>) -> Option<Witness> {
    // Signer 0 is the VCEK.
    ask.own(strangers::chip()).or_else(|| {
        ask.all(&[(Key::ReportChip, strangers::zeros(64)), (Key::ReportSigner, Bad::index(0))])
    })
}

pub(super) const LINTS: &[Lint] = &[
    lint("CM001", Error, "attestation.guest_policy", |ask| ask.own(Bad::set(19)), DEBUG),
    lint("CM002", Error, "attestation.guest_policy", |ask| ask.own(Bad::set(18)), MIGRATE),
    lint("CM003", Warning, "attestation.guest_policy", |ask| ask.own(Bad::set(16)), SMT),
    lint("CM003", Warning, "attestation.platform_info", |ask| ask.own(Bad::set(0)), SMT),
    lint("CM004", Error, "attestation.measurement", |ask| IMAGE.any_software(ask), SOFTWARE),
    lint("CM005", Note, "attestation.measurement", |ask| IMAGE.signer_decides(ask), SIGNED),
    lint(
        "CM006",
        Error,
        "attestation.reported_tcb",
        |ask| ask.own(strangers::old_platform()),
        FLOOR,
    ),
    lint(
        "CM006",
        Warning,
        "attestation.launch_tcb",
        |ask| ask.own(strangers::old_platform()),
        FLOOR,
    ),
    lint(
        "CM007",
        Warning,
        "attestation.reported_tcb",
        |ask| ask.own(strangers::below_bulletin()),
        BULLETIN,
    ),
    lint("CM008", Warning, "attestation.generations", |ask| ask.own(Bad::index(0)), MILAN),
    lint(
        "CM009",
        Error,
        "attestation.crl_checked",
        |ask| ask.own(Bad::index(0)),
        "a chain that was checked against no revocation list is admitted",
    ),
    lint(
        "CM010",
        Warning,
        "attestation.crl_age_hours",
        |ask| ask.own(Bad::above(MONTH_IN_HOURS)),
        "a revocation list older than a month is admitted",
    ),
    lint(
        "CM011",
        Warning,
        "attestation.vmpl",
        |ask| ask.own(Bad::above(0)),
        "software at a lower privilege level may speak for the guest",
    ),
    lint("CM012", Warning, "attestation.chip_allow", chip, CHIP),
    lint(
        "CM013",
        Error,
        "attestation.model_root",
        |ask| ask.own(Bad::index(1)),
        "reports of the virtual SNP host (MODEL root) are admitted",
    ),
    lint(
        "CM014",
        Warning,
        "attestation.provisional_firmware",
        |ask| ask.own(Bad::index(1)),
        "the host may roll its firmware back after the report",
    ),
    lint(
        "CM015",
        Warning,
        "attestation.csp_id",
        |ask| {
            ask.all(&[(Key::ReportCsp, strangers::provider()), (Key::ReportSigner, Bad::index(1))])
        },
        "a VLEK of any provider is admitted",
    ),
    lint(
        "CM016",
        Warning,
        "attestation.context",
        |ask| ask.own(strangers::name()),
        "a report made for any purpose is admitted",
    ),
    lint(
        "CM017",
        Warning,
        "attestation.platform_info",
        |ask| ask.own(Bad::clear(5)),
        "a platform that has not checked its memory for aliases is admitted",
    ),
    lint(
        "CM018",
        Warning,
        "attestation.host_data",
        |ask| ask.own(strangers::digest_or_unset(32)),
        "the report does not have to show the policy that the guest was started under",
    ),
    lint(
        "CM019",
        Warning,
        "attestation.versions",
        |ask| ask.own(Bad::up_to(OLD_VERSION)),
        "a report that does not say which processor signed it is admitted",
    ),
    lint("CM022", Warning, "attestation.author_key", |ask| IMAGE.any_author(ask), AUTHOR),
    lint("CM025", Warning, "attestation.measurement", |ask| IMAGE.zeros(ask), ZERO),
    lint("CM026", Warning, "attestation.guest_svn", |ask| IMAGE.any_age(ask), SVN),
];
