//! Every check and lint, with what it means, an example and what to do: what `casemate policy
//! rules` prints.
//!
//! An example is a piece of a policy that the check or lint finds something in; the tests give each
//! to the engine, so that none can go stale.

use super::lint::{LINTS, all};
use super::{Level, help};
use std::collections::BTreeMap;

/// One check or lint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Stable identifier, such as `CM001`; never reused for something else.
    pub id: &'static str,
    /// How grave a finding is; of a lint that several fields share, the gravest.
    pub level: Level,
    /// What is wrong where it is found.
    pub meaning: &'static str,
    /// The fields that it looks at; none where it looks at the whole policy.
    pub fields: Vec<&'static str>,
    /// A piece of a policy in which it is found; empty where none can show it.
    pub example: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Checks of whole documents: what [`super::check`] and the loader find.
const CHECKS: [(&str, Level, &str); 6] = [
    ("CD001", Level::Error, "the document is refused"),
    ("CC001", Level::Warning, "rules of a point that together admit nothing"),
    ("CC002", Level::Warning, "a rule about devices of which none is admitted"),
    ("CC003", Level::Note, "a denial of what is not allowed in the first place"),
    (
        "CC004",
        Level::Warning,
        "a generation that is admitted without a floor, or a floor without it",
    ),
    (
        "CC005",
        Level::Warning,
        "a grant that no report which the attestation section admits can use",
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("CD001", "[lunch]"),
    ("CC001", "[launch]\ncmdline_allow = [\"a\"]\ncmdline_require = [\"b\"]"),
    ("CC002", "[devices.block]\nread_only = \"any\""),
    ("CC003", "[launch]\ncmdline_allow = [\"a*\"]\ncmdline_forbid = [\"b*\"]"),
    (
        "CC004",
        "[host]\ngenerations = [\"turin\"]\n\
         tcb = { milan = { bootloader = 1, tee = 0, snp = 1, microcode = 1 } }",
    ),
    ("CC005", "[secrets.\"x/y/z\"]\nmeasurement = \"any\""),
    ("CM001", "[launch]\nguest_policy = { may = [\"debug\"] }"),
    ("CM002", "[attestation]\nguest_policy = { may = [\"migrate_ma\"] }"),
    ("CM003", "[attestation]\nplatform_info = { may = [\"smt\"] }"),
    ("CM004", "[attestation]\nmeasurement = \"any\"\nid_key = \"any\""),
    ("CM005", "[attestation]\nmeasurement = \"any\""),
    ("CM006", "[attestation]\nreported_tcb = \"any\""),
    (
        "CM007",
        "[attestation]\n\
         reported_tcb = { genoa = { bootloader = 9, tee = 0, snp = 22, microcode = 72 } }",
    ),
    ("CM008", "[attestation]\ngenerations = [\"milan\"]"),
    ("CM009", "[attestation]\ncrl_checked = \"any\""),
    ("CM010", "[attestation]\ncrl_age_hours = 10000"),
    ("CM011", "[attestation]\nvmpl = 3"),
    ("CM012", "[attestation]\nchip_allow = \"any\""),
    ("CM013", "[attestation]\nmodel_root = \"any\""),
    ("CM014", "[attestation]\nprovisional_firmware = \"any\""),
    ("CM015", "[attestation]\ncsp_id = \"any\"\nsigners = [\"vlek\"]"),
    ("CM016", "[attestation]\ncontext = \"any\""),
    ("CM017", "[attestation]\nplatform_info = { may = [\"ecc\"] }"),
    ("CM018", "[attestation]\nhost_data = \"any\""),
    ("CM019", "[attestation]\nversions = \"any\""),
    ("CM020", "[launch]\nprotection = [\"none\"]"),
    ("CM021", "[launch]\ntenants = \"any\""),
    ("CM022", "[launch]\nauthor_key = \"any\""),
    ("CM023", "[launch]\ncmdline_allow = \"any\""),
    ("CM024", "[launch]\ncmdline_allow = [\"init*\"]"),
    ("CM025", "[launch]\nmeasurement = [\"unset\"]"),
    ("CM026", "[attestation]\nmeasurement = \"any\"\nguest_svn = 0"),
    ("CM027", "[launch]\ncmdline_allow = [\"quiet\", \"casemate.*\"]"),
    (
        "CM028",
        "[launch]\nhost_data = [\"initdata\", \
         \"f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6f6\"]",
    ),
    ("CM030", "[resources]\nmemory_mib = \"any\""),
    ("CM031", "[devices.net]\ncount = \"any\""),
    ("CM032", "[devices.block]\nroots = \"any\""),
    ("CM033", "[devices.vsock]\nforeign = \"any\""),
    ("CM034", "[devices.net]\nqueues = \"any\""),
    ("CM040", "[network]\negress = [{ cidr = \"0.0.0.0/0\", ports = 443, protocol = \"tcp\" }]"),
    (
        "CM041",
        "[network]\negress = [{ cidr = \"169.254.0.0/16\", ports = \"any\", protocol = \"tcp\" }]",
    ),
    ("CM042", "[network]\nrate = \"any\""),
    (
        "CM043",
        "[network]\negress = [{ cidr = \"127.0.0.0/8\", ports = \"any\", protocol = \"tcp\" }]",
    ),
    ("CM050", "[runtime]\nguest_requests = \"any\""),
    ("CM051", "[runtime]\nshared_percent = 51"),
    ("CM052", "[runtime]\nconsole = \"interactive\""),
    ("CM053", "[runtime]\ndebug = \"read\""),
    ("CM054", "[runtime]\nmigration = \"any\""),
    ("CM060", "[host]\nsnp = \"any\""),
    ("CM061", "[host]\nkernel = \"any\""),
    ("CM062", "[attestation]\ngenerations = \"any\"\n[host]\ngenerations = [\"turin\"]"),
    ("CM070", "[secrets.\"x/y/z\"]\nattested = \"any\""),
    (
        "CM071",
        "[secrets.\"x/y/z\"]\nmeasurement = \"any\"\n\
         [attestation]\nmeasurement = \"any\"\nid_key = \"any\"",
    ),
    ("CM072", "[secrets.\"x/y/z\"]\nuses = \"any\""),
    ("CM073", "[secrets.\"x/y/z\"]\nwindow = \"any\""),
    ("CM074", "[secrets.\"x/y/z\"]\ncontext = \"any\""),
    ("CM075", "[secrets.\"x/y/z\"]\nsession_age = \"any\""),
    ("CM076", "[secrets.\"x/y/z\"]\nvmpl = 1"),
    ("CM077", "[secrets.\"x*\"]"),
    ("CM078", "[secrets.\"x/y/z\"]\nhost_data = \"any\"\n[attestation]\nhost_data = \"any\""),
    // What no test case notices is known only where there are cases.
    ("CM090", ""),
    ("CM091", "[launch]\ntenants = [\"uid-?\"]"),
    ("CM095", "[runtime]\nguest_requests = { per_second = 1, total = 10 }"),
    ("CM096", "[secrets.\"x/y/z\"]\nattested = \"required\""),
    ("CM097", "[launch]\ntenants = [\"me\"]\n[secrets.\"x/y/z\"]\nuses = 1"),
    ("CM099", "[launch]\ntenants = \"any\""),
];

/// Every check and lint, sorted by id.
#[must_use]
pub fn catalog() -> Vec<Described> {
    let mut out: BTreeMap<&'static str, Described> = BTreeMap::new();
    let whole =
        CHECKS.into_iter().chain(LINTS).map(|(id, level, meaning)| (id, level, meaning, None));
    let lints = all().map(|lint| (lint.id, lint.level, lint.message, Some(lint.field)));
    for (id, level, meaning, field) in whole.chain(lints) {
        let example = EXAMPLES.iter().find(|(known, _)| *known == id).map_or("", |(_, text)| *text);
        let remedy = help(id).unwrap_or_default();
        let fresh = || Described { id, level, meaning, fields: Vec::new(), example, remedy };
        let described = out.entry(id).or_insert_with(fresh);
        described.level = described.level.max(level);
        described.fields.extend(field);
    }
    out.into_values().collect()
}
