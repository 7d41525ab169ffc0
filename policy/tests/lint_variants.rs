//! Lint finds dangers by what is admitted, not by how it is written: variants of the shipped
//! examples, each with one danger just short of its plainest form, must be found, and ordinary
//! edits must not be.
//!
//! The figures are the measure: at least 195 of 200 risky variants have a finding of the right kind
//! at the right field, and none of 50 sane ones has a finding that its example does not have. They
//! cannot tell what no variant here has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    missing_docs,
    reason = "tests"
)]

use casemate_policy::Policy;
use casemate_policy::audit::{Finding, lint};
use std::collections::BTreeSet;

const PRODUCTION: &str = include_str!("../examples/production.toml");
const CI: &str = include_str!("../examples/ci.toml");
const TENANTS: &str = include_str!("../examples/multi-tenant.toml");

/// An example with some fields set to other values.
fn variant(example: &str, edits: &[(&str, &str)]) -> Policy {
    let base = Policy::load(example, "example").unwrap().canonical();
    let mut section = String::new();
    let mut left: BTreeSet<&str> = edits.iter().map(|(path, _)| *path).collect();
    let mut out = String::new();
    for line in base.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').split('.').next().unwrap().to_owned();
        }
        let name = line.split(" = ").next().unwrap();
        let path = format!("{section}.{name}");
        let edit = edits.iter().find(|(edited, _)| *edited == path);
        match edit {
            Some((path, value)) => {
                left.remove(path);
                out.push_str(&format!("{name} = {value}\n"));
            }
            None => out.push_str(&format!("{line}\n")),
        }
    }
    assert!(left.is_empty(), "no such fields: {left:?}");
    Policy::load(&out, "variant").unwrap_or_else(|error| panic!("{edits:?}: {error}"))
}

/// Findings by id and the last parts of the field, without the count of wildcards.
fn found(policy: &Policy) -> BTreeSet<(String, String)> {
    let plain = |finding: Finding| {
        let grant = finding.rule.starts_with("secrets.").then(|| {
            let field = finding.rule.rsplit('.').next().unwrap();
            format!("secrets.{field}")
        });
        (finding.id.to_owned(), grant.unwrap_or(finding.rule))
    };
    let all = lint(policy, None).into_iter().map(plain);
    all.filter(|(id, _)| id != "CM099").collect()
}

type Risky = (&'static str, Vec<(&'static str, String)>, &'static str, &'static str);

fn one(example: &'static str, path: &'static str, value: &str, id: &'static str) -> Risky {
    (example, vec![(path, value.to_owned())], id, path)
}

/// Numbers that limit nothing, from the plainest on.
fn endless() -> Vec<Risky> {
    let mut out = Vec::new();
    let numbers = ["9223372036854775807", "4611686018427387904", "1000000000000", "\"any\""];
    for number in numbers {
        for (path, value) in [
            ("resources.vcpus", format!("{{ min = 1, max = {number} }}")),
            ("resources.memory_mib", format!("{{ min = 64, max = {number} }}")),
            ("resources.disk_mib", number.to_owned()),
            ("resources.disk_total_mib", number.to_owned()),
            ("resources.queues", number.to_owned()),
            ("resources.cpu_percent", number.to_owned()),
            ("resources.cgroup_memory_mib", number.to_owned()),
            ("resources.pids", number.to_owned()),
        ] {
            out.push(one(PRODUCTION, path, &value, "CM030"));
        }
        for path in ["devices.block.count", "devices.net.count", "devices.vsock.count"] {
            out.push(one(PRODUCTION, path, number, "CM031"));
        }
        for path in ["devices.block.queues", "devices.net.queues"] {
            out.push(one(TENANTS, path, number, "CM034"));
        }
        out.push(one(PRODUCTION, "attestation.crl_age_hours", number, "CM010"));
        out.push(one(PRODUCTION, "secrets.uses", number, "CM072"));
        out.push(one(PRODUCTION, "secrets.session_age", number, "CM075"));
        let rate = format!("{{ per_second = {number}, total = {number} }}");
        out.push(one(CI, "network.rate", &rate, "CM042"));
        out.push(one(TENANTS, "runtime.guest_requests", &rate, "CM095"));
        out.push(one(PRODUCTION, "runtime.page_state_changes", &rate, "CM050"));
    }
    out.push(one(CI, "resources.vcpus", "{ min = 1, max = 100000 }", "CM030"));
    out.push(one(CI, "devices.rng.count", "4096", "CM031"));
    out
}

/// Sets that leave out next to nothing.
fn nearly_all() -> Vec<Risky> {
    let mut out = Vec::new();
    for egress in [
        "[{ first = \"0.0.0.0\", last = \"255.255.255.254\", ports = \"any\", protocol = \"tcp\" }]",
        "[{ first = \"0.0.0.1\", last = \"255.255.255.255\", ports = 443, protocol = \"tcp\" }]",
        "[{ cidr = \"0.0.0.0/0\", ports = 53, protocol = \"udp\" }]",
        "[{ cidr = \"0.0.0.0/0\", protocol = \"icmp\" }]",
        "[{ cidr = \"0.0.0.0/1\", ports = 443, protocol = \"tcp\" }]",
        "[{ cidr = \"64.0.0.0/2\", ports = [1, 65535], protocol = \"tcp\" }]",
        "[{ cidr = \"1.0.0.0/8\", ports = 80, protocol = \"tcp\" }, { cidr = \"2.0.0.0/7\", ports = 80, \
         protocol = \"tcp\" }, { cidr = \"4.0.0.0/6\", ports = 80, protocol = \"tcp\" }]",
        "[{ first = \"0.0.0.0\", last = \"9.255.255.255\", ports = \"any\", protocol = \"tcp\" }, \
         { first = \"11.0.0.0\", last = \"126.255.255.255\", ports = \"any\", protocol = \"tcp\" }]",
        "[{ cidr = \"::/0\", ports = 443, protocol = \"tcp\" }]",
        "[{ cidr = \"2000::/3\", ports = \"any\", protocol = \"udp\" }]",
        "[{ first = \"::1:0:0:0\", last = \"ffff::\", ports = 1, protocol = \"tcp\" }]",
        "\"any\"",
    ] {
        for example in [PRODUCTION, CI, TENANTS] {
            out.push(one(example, "network.egress", egress, "CM040"));
        }
    }
    for egress in [
        "[{ cidr = \"169.254.169.254/32\", ports = 80, protocol = \"tcp\" }]",
        "[{ cidr = \"169.254.0.0/16\", ports = [79, 81], protocol = \"tcp\" }]",
        "[{ cidr = \"168.63.129.0/24\", ports = \"any\", protocol = \"tcp\" }]",
        "[{ cidr = \"fd00:ec2::/32\", ports = \"any\", protocol = \"tcp\" }]",
    ] {
        out.push(one(PRODUCTION, "network.egress", egress, "CM041"));
    }
    for egress in [
        "[{ cidr = \"127.0.0.0/8\", ports = \"any\", protocol = \"tcp\" }]",
        "[{ cidr = \"::1/128\", ports = [1, 100], protocol = \"tcp\" }]",
    ] {
        out.push(one(CI, "network.egress", egress, "CM043"));
    }
    let letters: Vec<String> = ('b'..='z').map(|c| format!("\"{c}*\"")).collect();
    let letters = format!("[{}]", letters.join(", "));
    for tenants in ["[\"uid-*\"]", "[\"u*\"]", "[\"uid-1*\"]", "[\"acme\", \"uid-10*\"]", &letters]
    {
        out.push(one(PRODUCTION, "launch.tenants", tenants, "CM021"));
        out.push(one(TENANTS, "launch.tenants", tenants, "CM021"));
    }
    for roots in [
        "[\"/dev\"]",
        "[\"/proc\", \"/srv/a\"]",
        "[\"/etc\"]",
        "[\"/var\"]",
        "[\"/var/lib\"]",
        "[\"/home\"]",
        "[\"/tmp\"]",
        "[\"/usr\", \"/opt\"]",
        "[\"/srv/a\", \"/tmp/images\"]",
        "[\"/dev/shm/images\"]",
        "[\"/run/user/1000\"]",
        "[\"/etc/casemate\"]",
        "[\"/proc/self/fd\"]",
        "[\"/dev\", \"/bin\", \"/etc\", \"/home\", \"/root\", \"/srv\", \"/usr\", \"/var\"]",
    ] {
        out.push(one(PRODUCTION, "devices.block.roots", roots, "CM032"));
        out.push(one(CI, "devices.block.roots", roots, "CM032"));
    }
    out.push(one(PRODUCTION, "launch.cmdline_allow", &letters, "CM023"));
    for words in [
        "[\"lockdown=*\", \"init=*\"]",
        "[\"lockdown=*\", \"init=/bin/sh\"]",
        "[\"lockdown=*\", \"rdinit=*\"]",
        "[\"lockdown=*\", \"mitigations=*\"]",
        "[\"lockdown=*\", \"systemd.*\"]",
        "[\"lockdown=*\", \"no*\"]",
        "[\"lockdown=*\", \"i*\"]",
        "[\"lockdown=*\", \"resume=*\"]",
        "[\"lockdown=*\", \"--*\"]",
        "[\"lockdown=*\", \"--\", \"--unit=*\"]",
        "[\"lockdown=*\", \"ds=*\"]",
        "[\"lockdown=*\", \"dm-mod.create=*\"]",
        "[\"lockdown=*\", \"clearcpuid=*\"]",
        "[\"lockdown=*\", \"l1tf=*\", \"mds=*\"]",
        "[\"lockdown=*\", \"systemd.set-credential=*\"]",
        "[\"lockdown=*\", \"cloud-config-url=*\"]",
        "[\"lockdown=*\", \"iomem=relaxed\"]",
        "[\"lockdown=*\", \"sysrq_always_enabled\"]",
    ] {
        out.push(one(PRODUCTION, "launch.cmdline_allow", words, "CM024"));
    }
    for context in ["\"any\"", &letters] {
        out.push(one(PRODUCTION, "attestation.context", context, "CM016"));
        out.push(one(PRODUCTION, "secrets.context", context, "CM074"));
    }
    out.push(one(TENANTS, "attestation.csp_id", "[\"\", \"CN=*\"]", "CM015"));
    out.push(one(TENANTS, "attestation.csp_id", "[\"\", \"C*\"]", "CM015"));
    out
}

/// Digests, masks, levels and times.
fn weakened() -> Vec<Risky> {
    let key = "\"d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4\"";
    let signed = format!("[{key}, \"unset\"]");
    let mut out = Vec::new();
    for section in ["launch", "attestation"] {
        let path = |name: &str| -> &'static str {
            match (section, name) {
                ("launch", "measurement") => "launch.measurement",
                ("launch", "id_key") => "launch.id_key",
                ("launch", "guest_policy") => "launch.guest_policy",
                ("launch", "guest_svn") => "launch.guest_svn",
                ("launch", "author_key") => "launch.author_key",
                ("launch", _) => "launch.host_data",
                (_, "measurement") => "attestation.measurement",
                (_, "id_key") => "attestation.id_key",
                (_, "guest_policy") => "attestation.guest_policy",
                (_, "guest_svn") => "attestation.guest_svn",
                (_, "author_key") => "attestation.author_key",
                _ => "attestation.host_data",
            }
        };
        let software = path("measurement");
        for id_key in ["\"any\"", "[\"unset\"]", &signed] {
            let edits = vec![(software, "\"any\"".to_owned()), (path("id_key"), id_key.to_owned())];
            out.push((PRODUCTION, edits, "CM004", software));
        }
        let aged = vec![(software, "\"any\"".to_owned()), (path("guest_svn"), "0".to_owned())];
        out.push((PRODUCTION, aged, "CM026", path("guest_svn")));
        out.push(one(PRODUCTION, software, "[\"unset\"]", "CM025"));
        out.push(one(PRODUCTION, path("author_key"), "\"any\"", "CM022"));
        out.push(one(PRODUCTION, path("host_data"), "[\"unset\"]", "CM018"));
        out.push(one(PRODUCTION, path("host_data"), "\"any\"", "CM018"));
        for (mask, id) in [
            ("{ may = [\"debug\"] }", "CM001"),
            ("{ must = [\"debug\"], may = [] }", "CM001"),
            ("{ may = \"any\", must_not = [\"smt\"] }", "CM001"),
            ("{ may = \"any\", must_not = [\"debug\", \"smt\"] }", "CM002"),
            ("{ may = [\"smt\", \"single_socket\"] }", "CM003"),
        ] {
            out.push(one(PRODUCTION, path("guest_policy"), mask, id));
        }
    }
    let floors = |fmc: u8, rest: u8, snp: u8, microcode: u8| {
        format!(
            "{{ genoa = {{ bootloader = 10, tee = 0, snp = 23, microcode = 84 }}, turin = {{ fmc = {fmc}, \
             bootloader = {rest}, tee = {rest}, snp = {snp}, microcode = {microcode} }} }}"
        )
    };
    for path in ["attestation.reported_tcb", "attestation.launch_tcb", "host.tcb"] {
        for floor in [
            floors(0, 0, 0, 1),
            floors(1, 0, 0, 0),
            floors(1, 1, 1, 1),
            floors(0, 0, 4, 0),
            floors(255, 255, 0, 255),
            "\"any\"".to_owned(),
        ] {
            out.push(one(PRODUCTION, path, &floor, "CM006"));
        }
    }
    let old = "{ genoa = { bootloader = 10, tee = 0, snp = 22, microcode = 84 } }";
    out.push(one(PRODUCTION, "attestation.reported_tcb", old, "CM007"));
    for generations in ["[\"milan\", \"turin\"]", "\"any\""] {
        out.push(one(PRODUCTION, "attestation.generations", generations, "CM008"));
        out.push(one(PRODUCTION, "host.generations", generations, "CM008"));
    }
    out.push(one(PRODUCTION, "attestation.chip_allow", "[\"unset\"]", "CM012"));
    out.push(one(PRODUCTION, "attestation.chip_allow", "\"any\"", "CM012"));
    out.push(one(PRODUCTION, "attestation.crl_age_hours", "1000", "CM010"));
    out.push(one(PRODUCTION, "attestation.versions", "{ min = 2, max = 5 }", "CM019"));
    out.push(one(PRODUCTION, "attestation.versions", "{ min = 0, max = 5 }", "CM019"));
    for value in ["\"any\"", "\"forbidden\""] {
        out.push(one(PRODUCTION, "attestation.crl_checked", value, "CM009"));
        out.push(one(PRODUCTION, "secrets.attested", value, "CM070"));
        out.push(one(PRODUCTION, "host.snp", value, "CM060"));
    }
    let clear = "{ must = [], may = [\"tsme\", \"alias_check_complete\"] }";
    out.push(one(PRODUCTION, "attestation.platform_info", clear, "CM017"));
    let smt = "{ must = [\"alias_check_complete\"], may = [\"smt\"] }";
    out.push(one(PRODUCTION, "attestation.platform_info", smt, "CM003"));
    out.push(one(PRODUCTION, "host.kernel", "\"0.0.1\"", "CM061"));
    out.push(one(PRODUCTION, "host.kernel", "\"4.19\"", "CM061"));
    out.push(one(PRODUCTION, "host.firmware", "\"1\"", "CM061"));
    for window in [
        "{ from = \"1970-01-01T00:00:00Z\", until = \"9999-12-31T23:59:59Z\" }",
        "{ from = \"2026-01-01T00:00:00Z\", until = \"2099-12-31T23:59:59Z\" }",
        "{ from = \"any\", until = \"2060-01-01T00:00:00Z\" }",
        "{ from = \"2026-01-01T00:00:00Z\", until = \"any\" }",
    ] {
        out.push(one(PRODUCTION, "secrets.window", window, "CM073"));
    }
    for percent in ["51", "100", "9223372036854775807"] {
        out.push(one(TENANTS, "runtime.shared_percent", percent, "CM051"));
    }
    for (path, value, id) in [
        ("runtime.console", "\"interactive\"", "CM052"),
        ("runtime.debug", "\"read\"", "CM053"),
        ("runtime.debug", "\"any\"", "CM053"),
        ("runtime.snapshot", "\"any\"", "CM054"),
        ("runtime.migration", "\"required\"", "CM054"),
        ("attestation.vmpl", "1", "CM011"),
        ("attestation.vmpl", "3", "CM011"),
        ("attestation.model_root", "\"any\"", "CM013"),
        ("attestation.provisional_firmware", "\"any\"", "CM014"),
        ("launch.protection", "[\"sev-snp\", \"none\"]", "CM020"),
    ] {
        out.push(one(PRODUCTION, path, value, id));
        out.push(one(TENANTS, path, value, id));
    }
    out.push(one(PRODUCTION, "secrets.vmpl", "3", "CM076"));
    out.push(one(PRODUCTION, "secrets.measurement", "[\"unset\"]", "CM025"));
    let any = || "\"any\"".to_owned();
    let open = vec![
        ("secrets.measurement", any()),
        ("attestation.measurement", any()),
        ("attestation.id_key", signed.clone()),
    ];
    out.push((PRODUCTION, open, "CM071", "secrets.measurement"));
    out
}

fn count(found: usize, all: usize, wanted: usize) {
    println!("{found} of {all} risky variants found");
    assert!(found * 200 >= wanted * all, "{found} of {all}");
}

#[test]
fn at_least_195_of_200_risky_variants_have_a_finding_of_the_right_kind() {
    let all: Vec<Risky> = endless().into_iter().chain(nearly_all()).chain(weakened()).collect();
    assert!(all.len() >= 200, "{}", all.len());
    let mut hits = 0;
    for (example, edits, id, field) in &all {
        let edits: Vec<(&str, &str)> = edits.iter().map(|(p, v)| (*p, v.as_str())).collect();
        let wanted = ((*id).to_owned(), (*field).to_owned());
        let base = found(&Policy::load(example, "example").unwrap());
        assert!(!base.contains(&wanted), "the example has {wanted:?} itself: no variant");
        let policy = variant(example, &edits);
        let here = found(&policy);
        if here.contains(&wanted) {
            hits += 1;
        } else {
            println!("not found: {wanted:?} in {edits:?}: {here:?}");
        }
    }
    count(hits, all.len(), 195);
}

/// Protects a guest from being opened to an attack that Linux closes unless its command line asks
/// otherwise: an interrupt 0x80 that the host injects is a system call with 32-bit calls on.
#[test]
fn a_word_that_opens_a_guest_to_the_interrupts_of_its_host_is_found() {
    for words in ["ia32_emulation=on", "ia32_emulation=1", "ia32_emulation=*", "ia32*"] {
        let words = format!("[\"lockdown=*\", \"{words}\"]");
        let found = found(&variant(PRODUCTION, &[("launch.cmdline_allow", &words)]));
        let right = ("CM024".to_owned(), "launch.cmdline_allow".to_owned());
        assert!(found.contains(&right), "{words}: {found:?}");
    }
    let off = variant(
        PRODUCTION,
        &[("launch.cmdline_allow", "[\"lockdown=*\", \"ia32_emulation=off\"]")],
    );
    assert!(found(&off).iter().all(|(id, _)| id != "CM024"));
}

#[test]
fn none_of_50_sane_variants_has_a_finding_that_its_example_does_not_have() {
    let digest = |byte: &str, len: usize| format!("\"{}\"", byte.repeat(len));
    let two = format!("[{}, {}]", digest("a1", 48), digest("a2", 48));
    let hashes = format!("[{}, {}]", digest("f6", 32), digest("f7", 32));
    let keys = format!("[{}, {}]", digest("d4", 48), digest("d5", 48));
    let p = |path: &'static str, value: &str| one(PRODUCTION, path, value, "");
    let t = |path: &'static str, value: &str| one(TENANTS, path, value, "");
    let c = |path: &'static str, value: &str| one(CI, path, value, "");
    let sane: Vec<Risky> = vec![
        p("resources.vcpus", "{ min = 1, max = 256 }"),
        p("resources.memory_mib", "{ min = 64, max = 4194304 }"),
        p("resources.disk_mib", "4194304"),
        p("resources.disk_total_mib", "16777216"),
        p("resources.queues", "256"),
        p("resources.cpu_percent", "25600"),
        p("resources.pids", "4096"),
        p("devices.block.count", "16"),
        p("devices.net.count", "4"),
        p("devices.block.queues", "64"),
        p("devices.block.roots", "[\"/var/lib/casemate/acme\", \"/srv/images\"]"),
        p("devices.block.roots", "[\"/dev/acme-vg\"]"),
        p("devices.block.roots", "[\"/mnt/disks/acme\"]"),
        p("launch.tenants", "[\"acme\", \"acme-test\"]"),
        p("launch.tenants", "[\"acme-*\"]"),
        p("launch.tenants", "[\"uid-1000\", \"uid-1001\"]"),
        p("launch.measurement", &two),
        p("launch.host_data", &hashes),
        p("launch.id_key", &keys),
        p("launch.cmdline_allow", "[\"console=*\", \"lockdown=*\", \"ro\", \"root=/dev/vda\"]"),
        p("launch.cmdline_allow", "[\"quiet\", \"lockdown=confidentiality\", \"root=UUID=*\"]"),
        p("launch.guest_svn", "8"),
        p("launch.guest_policy", "{ must = [\"single_socket\"], may = [\"aes_256_xts\"] }"),
        p("network.egress", "[{ cidr = \"10.0.0.0/8\", ports = \"any\", protocol = \"tcp\" }]"),
        p("network.egress", "[{ cidr = \"192.168.0.0/16\", ports = 443, protocol = \"tcp\" }]"),
        p("network.egress", "[{ cidr = \"203.0.113.0/24\", ports = \"any\", protocol = \"tcp\" }]"),
        p("network.egress", "[{ cidr = \"52.0.0.0/10\", ports = 443, protocol = \"tcp\" }]"),
        p("network.egress", "[{ cidr = \"2001:db8::/32\", ports = 443, protocol = \"tcp\" }]"),
        p("network.egress", "[{ cidr = \"fd12:3456::/32\", ports = 22, protocol = \"tcp\" }]"),
        p("network.egress", "[]"),
        p("network.rate", "{ per_second = 1000, total = \"any\" }"),
        p("runtime.page_state_changes", "{ per_second = 4194304, total = \"any\" }"),
        p("runtime.shared_percent", "50"),
        p("runtime.console", "\"none\""),
        p("attestation.crl_age_hours", "720"),
        p("attestation.versions", "{ min = 3, max = 6 }"),
        p("attestation.measurement", &two),
        p("attestation.signers", "[\"vcek\", \"vlek\"]"),
        p("attestation.context", "[\"casemate-kbs-v1\", \"casemate-kbs-v2\"]"),
        p("secrets.uses", "10000"),
        p("secrets.session_age", "3600"),
        p("secrets.window", "{ from = \"any\", until = \"2030-01-01T00:00:00Z\" }"),
        p("host.kernel", "\"6.18\""),
        p("host.firmware", "\"1.58\""),
        t("launch.tenants", "[\"blue\", \"green\", \"red-*\", \"grey-*\"]"),
        t("attestation.csp_id", "[\"\", \"CN=cc-us-east-2.amazonaws.com\"]"),
        t("devices.block.roots", "[\"/srv/tenants\", \"/srv/shared\"]"),
        c("resources.memory_mib", "{ min = 64, max = 65536 }"),
        c("network.rate", "{ per_second = 500, total = 1000000 }"),
        c("devices.block.roots", "[\"/var/lib/ci/images\"]"),
    ];
    assert!(sane.len() >= 50, "{}", sane.len());
    for (example, edits, _, _) in &sane {
        let edits: Vec<(&str, &str)> = edits.iter().map(|(p, v)| (*p, v.as_str())).collect();
        let base = found(&Policy::load(example, "example").unwrap());
        let new: Vec<_> = found(&variant(example, &edits)).difference(&base).cloned().collect();
        assert!(new.is_empty(), "{edits:?}: {new:?}");
    }
}

/// A witness is an input, not an opinion: the engine admits each that lint shows as admitted.
#[test]
fn every_witness_of_a_lint_is_admitted_by_the_engine() {
    let mut shown = 0;
    for (example, edits, _, _) in endless().into_iter().chain(nearly_all()).chain(weakened()) {
        let edits: Vec<(&str, &str)> = edits.iter().map(|(p, v)| (*p, v.as_str())).collect();
        let policy = variant(example, &edits);
        for finding in lint(&policy, None) {
            let Some(input) = finding.witness.as_ref().and_then(|w| w.input.as_ref()) else {
                continue;
            };
            let decision = policy.decide(input.point.unwrap(), &input.facts);
            assert!(decision.is_allow(), "{finding}: {decision}");
            shown += 1;
        }
    }
    assert!(shown > 500, "{shown}");
}
