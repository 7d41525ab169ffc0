//! The table of lints.

use super::Level::{Error, Note, Warning};
use super::{Level, Lint};
use crate::lattice::{EgressBlock, EgressSet, Lattice, Protocol, Tcb};
use crate::policy::Policy;
use crate::rule::Rule;
use std::net::IpAddr;

const fn lint(
    id: &'static str,
    level: Level,
    field: &'static str,
    found: fn(&Policy, &Rule) -> bool,
    message: &'static str,
) -> Lint {
    Lint { id, level, field, message, found }
}

fn any(_: &Policy, rule: &Rule) -> bool {
    rule.is_any()
}

/// Whether a mask lets this bit be set.
fn may_set(rule: &Rule, bit: u32) -> bool {
    matches!(rule, Rule::Bits(bits) if !bits.is_empty() && bits.must_not() >> bit & 1 == 0)
}

/// Whether a set of choices or flag has this index.
fn has(rule: &Rule, index: u64) -> bool {
    matches!(rule, Rule::Choice(choice) if choice.admits(index))
}

/// Whether a ceiling is above `most`.
fn above(rule: &Rule, most: u64) -> bool {
    matches!(rule, Rule::Range(range) if !range.is_empty() && range.max() > most)
}

fn open(policy: &Policy, path: &str) -> bool {
    policy.rule(path).is_some_and(Rule::is_any)
}

fn debug(_: &Policy, rule: &Rule) -> bool {
    may_set(rule, 19)
}

fn migrate(_: &Policy, rule: &Rule) -> bool {
    may_set(rule, 18)
}

fn smt(_: &Policy, rule: &Rule) -> bool {
    may_set(rule, 16)
}

fn platform_smt(_: &Policy, rule: &Rule) -> bool {
    may_set(rule, 0)
}

fn alias_open(_: &Policy, rule: &Rule) -> bool {
    matches!(rule, Rule::Bits(bits) if bits.must() >> 5 & 1 == 0)
}

fn milan(_: &Policy, rule: &Rule) -> bool {
    has(rule, 0)
}

fn permitted(_: &Policy, rule: &Rule) -> bool {
    has(rule, 1)
}

fn not_required(_: &Policy, rule: &Rule) -> bool {
    has(rule, 0)
}

fn unprotected(_: &Policy, rule: &Rule) -> bool {
    has(rule, 1)
}

fn nonzero(_: &Policy, rule: &Rule) -> bool {
    above(rule, 0)
}

fn interactive(_: &Policy, rule: &Rule) -> bool {
    above(rule, 1)
}

fn month(_: &Policy, rule: &Rule) -> bool {
    above(rule, 31 * 24)
}

fn half(_: &Policy, rule: &Rule) -> bool {
    above(rule, 50)
}

fn any_software(policy: &Policy, rule: &Rule, id_key: &str) -> bool {
    rule.is_any() && open(policy, id_key)
}

fn any_launch(policy: &Policy, rule: &Rule) -> bool {
    any_software(policy, rule, "launch.id_key")
}

fn any_report(policy: &Policy, rule: &Rule) -> bool {
    any_software(policy, rule, "attestation.id_key")
}

fn signed_launch(policy: &Policy, rule: &Rule) -> bool {
    rule.is_any() && !open(policy, "launch.id_key")
}

fn signed_report(policy: &Policy, rule: &Rule) -> bool {
    rule.is_any() && !open(policy, "attestation.id_key")
}

fn author_open_launch(policy: &Policy, rule: &Rule) -> bool {
    rule.is_any() && !open(policy, "launch.id_key")
}

fn author_open_report(policy: &Policy, rule: &Rule) -> bool {
    rule.is_any() && !open(policy, "attestation.id_key")
}

/// A generation that is admitted with a floor of zero.
fn no_floor(_: &Policy, rule: &Rule) -> bool {
    matches!(rule, Rule::Tcb(tcb) if tcb.is_any()
        || tcb.floors().iter().flatten().any(|floor| floor.iter().all(|level| *level == 0)))
}

/// Floors of the SNP firmware that close AMD-SB-3019: Milan 0x18, Genoa 0x17.
fn below_bulletin(_: &Policy, rule: &Rule) -> bool {
    let Rule::Tcb(tcb) = rule else { return false };
    let below = |generation: u8, level: u8| {
        let mut levels = [u8::MAX; 5];
        if let Some(snp) = levels.get_mut(3) {
            *snp = level - 1;
        }
        tcb.admits(&Tcb { generation, levels })
    };
    below(0, 0x18) || below(1, 0x17)
}

/// Every address of a family, over any port and protocol.
fn whole_internet(_: &Policy, rule: &Rule) -> bool {
    let Rule::Egress(set) = rule else { return false };
    let families =
        [("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")];
    set.blocks().any(|block| {
        families.iter().any(|(first, last)| {
            let at = |text: &str, address: IpAddr| text.parse() == Ok(address);
            at(first, block.first) && at(last, block.last)
        })
    })
}

/// The address of the metadata service that most clouds have, which gives out credentials.
fn metadata_service(policy: &Policy, rule: &Rule) -> bool {
    let Rule::Egress(set) = rule else { return false };
    let Ok(address) = "169.254.169.254".parse() else { return false };
    let block =
        EgressBlock { first: address, last: address, ports: (80, 80), protocol: Protocol::Tcp };
    EgressSet::new(&[block]).le(set) && !whole_internet(policy, rule)
}

/// The report does not have to show what the host section relies on the host to say.
fn only_host_says_smt(policy: &Policy, rule: &Rule) -> bool {
    !has(rule, 1)
        && policy.rule("attestation.platform_info").is_some_and(|theirs| may_set(theirs, 0))
}

fn only_host_says_tcb(policy: &Policy, rule: &Rule) -> bool {
    !rule.is_any() && open(policy, "attestation.reported_tcb")
}

fn only_host_says_generation(policy: &Policy, rule: &Rule) -> bool {
    !rule.is_any() && open(policy, "attestation.generations")
}

fn only_host_says_chip(policy: &Policy, rule: &Rule) -> bool {
    !rule.is_any() && open(policy, "attestation.chip_allow")
}

fn any_provider(policy: &Policy, rule: &Rule) -> bool {
    rule.is_any() && policy.rule("attestation.signers").is_some_and(|signers| has(signers, 1))
}

fn secret_for_any(policy: &Policy, rule: &Rule) -> bool {
    rule.is_any() && open(policy, "attestation.measurement")
}

fn no_end(_: &Policy, rule: &Rule) -> bool {
    matches!(rule, Rule::Range(range) if range.max() == u64::MAX)
}

fn no_rate(_: &Policy, rule: &Rule) -> bool {
    matches!(rule, Rule::Limit(limit) if limit.per_second() == u64::MAX)
}

const DEBUG: &str = "a guest with debugging is admitted: the host can read all of its memory";
const MIGRATE: &str =
    "a guest with a migration agent is admitted: the agent can copy its memory away";
const SMT: &str = "a guest on a core shared with a sibling thread is admitted";
const ANY_SOFTWARE: &str =
    "any software at all is admitted: neither launch digest nor signer is pinned";
const SIGNED: &str = "no launch digest is pinned; the signer's key decides alone";
const FLOOR: &str = "a platform with no security patch level at all is admitted";
const MILAN: &str = "Milan is admitted: its signing seed can be extracted by software alone (MilanLaunchy, BadFuse), so its reports can be forged";
const BULLETIN: &str =
    "firmware below the floor of AMD-SB-3019 is admitted (SNP level: Milan 0x18, Genoa 0x17)";
const CHIP: &str = "any chip is admitted, one in the attacker's hands included";
const UNLIMITED: &str = "the resource has no ceiling";
const COUNT: &str = "the number of devices has no ceiling";
const ROOTS: &str = "any file of the host can be behind the device";
const FOREIGN: &str = "a back end without our sandbox profile is admitted";
const AUTHOR: &str = "an identity key is pinned, but not the author key that vouches for it";
const HOST_SAYS: &str =
    "only the host says so: the attestation section does not require the report to show it";
const HOST_FLAG: &str = "the host may lack this protection";
const RATE: &str = "the guest's requests have no rate";

/// Lints of single fields.
pub(super) const FIELD_LINTS: &[Lint] = &[
    lint("CM001", Error, "launch.guest_policy", debug, DEBUG),
    lint("CM001", Error, "attestation.guest_policy", debug, DEBUG),
    lint("CM002", Error, "launch.guest_policy", migrate, MIGRATE),
    lint("CM002", Error, "attestation.guest_policy", migrate, MIGRATE),
    lint("CM003", Warning, "launch.guest_policy", smt, SMT),
    lint("CM003", Warning, "attestation.guest_policy", smt, SMT),
    lint("CM003", Warning, "attestation.platform_info", platform_smt, SMT),
    lint("CM004", Error, "launch.measurement", any_launch, ANY_SOFTWARE),
    lint("CM004", Error, "attestation.measurement", any_report, ANY_SOFTWARE),
    lint("CM005", Note, "launch.measurement", signed_launch, SIGNED),
    lint("CM005", Note, "attestation.measurement", signed_report, SIGNED),
    lint("CM006", Error, "attestation.reported_tcb", no_floor, FLOOR),
    lint("CM006", Warning, "attestation.launch_tcb", no_floor, FLOOR),
    lint("CM006", Warning, "host.tcb", no_floor, FLOOR),
    lint("CM007", Warning, "attestation.reported_tcb", below_bulletin, BULLETIN),
    lint("CM007", Warning, "host.tcb", below_bulletin, BULLETIN),
    lint("CM008", Warning, "attestation.generations", milan, MILAN),
    lint("CM008", Warning, "host.generations", milan, MILAN),
    lint(
        "CM009",
        Error,
        "attestation.crl_checked",
        not_required,
        "a chain that was checked against no revocation list is admitted",
    ),
    lint(
        "CM010",
        Warning,
        "attestation.crl_age_hours",
        month,
        "a revocation list older than a month is admitted",
    ),
    lint(
        "CM011",
        Warning,
        "attestation.vmpl",
        nonzero,
        "software at a lower privilege level may speak for the guest",
    ),
    lint("CM012", Warning, "attestation.chip_allow", any, CHIP),
    lint("CM012", Note, "host.chip_allow", any, CHIP),
    lint(
        "CM013",
        Error,
        "attestation.model_root",
        permitted,
        "reports of the virtual SNP host (MODEL root) are admitted",
    ),
    lint(
        "CM014",
        Warning,
        "attestation.provisional_firmware",
        permitted,
        "the host may roll its firmware back after the report",
    ),
    lint(
        "CM015",
        Warning,
        "attestation.csp_id",
        any_provider,
        "a VLEK of any provider is admitted",
    ),
    lint("CM016", Warning, "attestation.context", any, "a report made for any purpose is admitted"),
    lint(
        "CM017",
        Warning,
        "attestation.platform_info",
        alias_open,
        "a platform that has not checked its memory for aliases is admitted",
    ),
    lint(
        "CM018",
        Warning,
        "attestation.host_data",
        any,
        "the report does not have to show the policy that the guest was started under",
    ),
    lint(
        "CM020",
        Warning,
        "launch.protection",
        unprotected,
        "guests without protection are admitted",
    ),
    lint("CM021", Warning, "launch.tenants", any, "anyone may launch guests"),
    lint("CM022", Warning, "launch.author_key", author_open_launch, AUTHOR),
    lint("CM022", Warning, "attestation.author_key", author_open_report, AUTHOR),
    lint("CM023", Warning, "launch.cmdline_allow", any, "any kernel command line is admitted"),
    lint("CM030", Warning, "resources.vcpus", no_end, UNLIMITED),
    lint("CM030", Warning, "resources.memory_mib", no_end, UNLIMITED),
    lint("CM030", Warning, "resources.disk_mib", no_end, UNLIMITED),
    lint("CM030", Warning, "resources.disk_total_mib", no_end, UNLIMITED),
    lint("CM030", Warning, "resources.queues", no_end, UNLIMITED),
    lint("CM030", Warning, "resources.cpu_percent", no_end, UNLIMITED),
    lint("CM030", Warning, "resources.cgroup_memory_mib", no_end, UNLIMITED),
    lint("CM030", Warning, "resources.pids", no_end, UNLIMITED),
    lint("CM031", Warning, "devices.block.count", no_end, COUNT),
    lint("CM031", Warning, "devices.fs.count", no_end, COUNT),
    lint("CM031", Warning, "devices.net.count", no_end, COUNT),
    lint("CM031", Warning, "devices.console.count", no_end, COUNT),
    lint("CM031", Warning, "devices.vsock.count", no_end, COUNT),
    lint("CM031", Warning, "devices.rng.count", no_end, COUNT),
    lint("CM032", Warning, "devices.block.roots", any, ROOTS),
    lint("CM032", Warning, "devices.fs.roots", any, ROOTS),
    lint("CM033", Warning, "devices.block.foreign", permitted, FOREIGN),
    lint("CM033", Warning, "devices.fs.foreign", permitted, FOREIGN),
    lint("CM033", Warning, "devices.net.foreign", permitted, FOREIGN),
    lint("CM033", Warning, "devices.console.foreign", permitted, FOREIGN),
    lint("CM033", Warning, "devices.vsock.foreign", permitted, FOREIGN),
    lint("CM033", Warning, "devices.rng.foreign", permitted, FOREIGN),
    lint(
        "CM040",
        Error,
        "network.egress",
        whole_internet,
        "every address of a family may be reached",
    ),
    lint(
        "CM041",
        Warning,
        "network.egress",
        metadata_service,
        "the metadata service of the cloud (169.254.169.254) may be reached",
    ),
    lint("CM042", Warning, "network.rate", no_rate, RATE),
    lint("CM050", Warning, "runtime.page_state_changes", no_rate, RATE),
    lint("CM050", Warning, "runtime.guest_requests", no_rate, RATE),
    lint(
        "CM051",
        Warning,
        "runtime.shared_percent",
        half,
        "more than half of the guest's memory may be shared with the host",
    ),
    lint(
        "CM052",
        Warning,
        "runtime.console",
        interactive,
        "the host may type into the guest's console",
    ),
    lint(
        "CM053",
        Error,
        "runtime.debug",
        nonzero,
        "a debugger on the host may reach into the guest",
    ),
    lint(
        "CM054",
        Warning,
        "runtime.snapshot",
        permitted,
        "an old state of the guest may be started again",
    ),
    lint(
        "CM054",
        Warning,
        "runtime.migration",
        permitted,
        "the guest may be moved to a host that the policy never judged",
    ),
    lint("CM060", Warning, "host.smt", permitted, HOST_FLAG),
    lint("CM060", Warning, "host.alias_check", not_required, HOST_FLAG),
    lint("CM060", Note, "host.tsme", not_required, HOST_FLAG),
    lint("CM060", Note, "host.ciphertext_hiding", not_required, HOST_FLAG),
    lint("CM060", Error, "host.snp", not_required, HOST_FLAG),
    lint("CM061", Warning, "host.firmware", any, "any firmware version is admitted"),
    lint("CM061", Warning, "host.kernel", any, "any kernel version is admitted"),
    lint("CM062", Warning, "host.smt", only_host_says_smt, HOST_SAYS),
    lint("CM062", Warning, "host.tcb", only_host_says_tcb, HOST_SAYS),
    lint("CM062", Warning, "host.generations", only_host_says_generation, HOST_SAYS),
    lint("CM062", Note, "host.chip_allow", only_host_says_chip, HOST_SAYS),
];

/// Lints of the fields of each grant.
pub(super) const GRANT_LINTS: &[Lint] = &[
    lint(
        "CM070",
        Error,
        "secrets.*.attested",
        not_required,
        "the secret goes to a guest that fails attestation",
    ),
    lint(
        "CM071",
        Error,
        "secrets.*.measurement",
        secret_for_any,
        "the secret goes to any software",
    ),
    lint("CM072", Warning, "secrets.*.uses", no_end, "the secret may be released without end"),
    lint("CM073", Warning, "secrets.*.window", no_end, "the secret may be released for ever"),
    lint(
        "CM074",
        Warning,
        "secrets.*.context",
        any,
        "a report made for any purpose releases the secret",
    ),
    lint(
        "CM075",
        Warning,
        "secrets.*.session_age",
        no_end,
        "a session of any age releases the secret",
    ),
    lint(
        "CM076",
        Warning,
        "secrets.*.vmpl",
        nonzero,
        "software at a lower privilege level gets the secret",
    ),
];

/// Whether a lint is about the protection of guests from the host.
pub(super) fn for_protected_guests(lint: &Lint) -> bool {
    let about_host = lint.field.starts_with("host.") && lint.field != "host.kernel";
    let about_image = lint.field.starts_with("launch.")
        && !matches!(lint.field, "launch.protection" | "launch.tenants" | "launch.cmdline_allow");
    about_host || about_image || lint.field.starts_with("runtime.")
}
