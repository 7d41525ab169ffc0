//! Every field of the reference is enforced by the part that its "Enforced by" names: for each a
//! policy is built that this field alone refuses, and the part refuses.
//!
//! The real program decides; of the network the rules do that its device's process is given, whose
//! tests are `net_process`. Cannot tell what a host with SNP would report; `host/facts.rs` holds
//! the rules about it to a host's words, and the virtual SNP host's tests run them.
#![cfg(feature = "vm")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "test code")]

use casemate_policy::fields::{Enforcer, GRANT_FIELDS, enforcer};
use casemate_policy::lattice::{Endpoint, Protocol};
use casemate_policy::{Counter, Field, Key, Point, Policy, Verdict};
use casemate_test_support::bzimage::bzimage;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

const REFERENCE: &str = include_str!("../../docs/policy-fields.md");
const CONFIDENTIAL: &[&str] = &["run", "--protection", "sev-snp"];

/// A folder with a kernel.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("casemate-enforced-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let place = Self(path);
        std::fs::write(place.path("kernel"), bzimage(&[])).unwrap();
        place
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fields() -> Vec<(Point, &'static Field)> {
    let of = |point: Point| point.fields().iter().map(move |field| (point, field));
    Point::ALL.into_iter().flat_map(of).collect()
}

/// A policy in which everything is admitted, but for these rules.
fn policy(rules: &[(&str, &str)]) -> String {
    let mut text = "schema_version = 1\nmin_engine = \"0.1.0\"\n".to_owned();
    for (_, field) in fields() {
        let stated = rules.iter().find(|(path, _)| *path == field.path);
        let rule = match stated {
            Some((_, rule)) => *rule,
            None if field.key == Key::Setting => continue,
            None => "\"any\"",
        };
        text.push_str(&format!("{} = {rule}\n", field.path));
    }
    text
}

fn casemate(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

fn run(place: &Place, arguments: &[&str], rules: &[(&str, &str)]) -> (i32, String) {
    let file = place.path("policy.toml");
    std::fs::write(&file, policy(rules)).unwrap();
    let (kernel, file) = (place.path("kernel"), file.to_str().unwrap().to_owned());
    let flags = ["--kernel", kernel.to_str().unwrap(), "--policy", &file, "--timeout", "1s"];
    casemate(&[arguments, &flags].concat())
}

fn verify(place: &Place, rules: &[(&str, &str)]) -> (i32, String) {
    let file = place.path("policy.toml");
    std::fs::write(&file, policy(rules)).unwrap();
    let vector = |name: &str| {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/reports").join(name);
        path.to_str().unwrap().to_owned()
    };
    let (report, cert) = (vector("ms_turin.bin"), vector("ms_turin.vcek.der"));
    casemate(&[
        "attest",
        "verify",
        &report,
        "--cert",
        &cert,
        "--at",
        "2026-06-01",
        "--policy",
        file.to_str().unwrap(),
    ])
}

/// The policy says no, and names this field and no other.
fn assert_denied(field: &str, outcome: &(i32, String)) {
    let (status, text) = outcome;
    assert_eq!(*status, 1, "{field}: {text}");
    assert!(text.contains(&format!("{field}: ")), "{field}: {text}");
    let others = fields().into_iter().filter(|(_, other)| other.path != field);
    for (_, other) in others {
        assert!(
            !text.contains(&format!("{}: ", other.path)),
            "{field}, and {}: {text}",
            other.path
        );
    }
}

/// A configuration that needs what no part serves is refused when it is read.
fn assert_no_such_configuration(place: &Place, section: &str, lines: &[&str]) {
    for line in lines {
        let file = place.path("vm.toml");
        std::fs::write(&file, format!("kernel = \"kernel\"\nprotection = \"none\"\n{line}\n"))
            .unwrap();
        let (status, text) = casemate(&["run", file.to_str().unwrap()]);
        assert_eq!(status, 2, "[{section}] {line}: {text}");
        assert!(text.contains("unknown field"), "[{section}] {line}: {text}");
    }
}

/// `Enforced by` of each field in the reference.
fn documented() -> Vec<(String, String)> {
    let sections = REFERENCE.split("\n### `").skip(1);
    let read = |section: &str| {
        let (path, rest) = section.split_once("`\n").unwrap();
        let by = rest.lines().find_map(|line| line.strip_prefix("- Enforced by: "));
        // What a secret's name is, is no rule.
        assert!(by.is_some() || path == "secrets.resource", "{path}");
        Some((path.to_owned(), by?.to_owned()))
    };
    sections.filter_map(read).collect()
}

#[test]
fn the_reference_names_every_field_and_its_enforcer() {
    let mut wanted: Vec<(String, String)> = fields()
        .into_iter()
        .map(|(point, field)| (field.path.to_owned(), enforcer(point, field.key).text().to_owned()))
        .collect();
    let grant = |field: &Field| (field.path.to_owned(), Enforcer::Broker.text().to_owned());
    wanted.extend(GRANT_FIELDS.iter().map(grant));
    let mut found = documented();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn every_field_alone_is_refused_by_the_part_that_enforces_it() {
    let place = Place::new("fields");
    let plain = &["run", "--protection", "none"];
    std::fs::write(place.path("disk.img"), vec![0; 1 << 20]).unwrap();
    let disk = format!("path={}", place.path("disk.img").display());
    let with_disk = ["run", "--protection", "none", "--disk", &disk];
    let streams = format!("cid=3,path={}", place.path("streams").display());
    let with_streams = ["run", "--protection", "none", "--vsock", &streams];
    // Nothing else stands in the way: without the one rule the policy is not what refuses.
    let (_, text) = run(&place, CONFIDENTIAL, &[]);
    assert!(!text.contains("the policy denies"), "{text}");
    let (_, text) = verify(&place, &[]);
    assert!(!text.contains("POLICY FAILED"), "{text}");
    for (point, field) in fields() {
        let path = field.path;
        let nothing = [(path, "\"nothing\"")];
        match (enforcer(point, field.key), field.key) {
            // What a denial does, where something is denied.
            (_, Key::Setting) => setting(&place, path),
            (_, Key::HostFlaws) => flaws(&place),
            (
                Enforcer::HostAtStart
                | Enforcer::Start
                | Enforcer::ControlGroup
                | Enforcer::OpenFiles
                | Enforcer::Devices,
                key,
            ) => {
                let of_disks = path.starts_with("devices.block.") || path == "resources.disk_mib";
                let of_a_list = matches!(point, Point::Devices | Point::Resources);
                if of_disks {
                    assert_denied(path, &run(&place, &with_disk, &nothing));
                } else if path.starts_with("devices.vsock.") {
                    assert_denied(path, &run(&place, &with_streams, &nothing));
                } else if path.starts_with("devices.console.") {
                    let with_console = ["run", "--protection", "none", "--virtio-console"];
                    assert_denied(path, &run(&place, &with_console, &nothing));
                } else if path.starts_with("devices.net.") {
                    let tap = format!("tap=cme{},create", std::process::id());
                    let with_net = ["run", "--protection", "none", "--net", &tap];
                    assert_denied(path, &run(&place, &with_net, &nothing));
                } else if path.starts_with("devices.rng.") {
                    let with_rng = ["run", "--protection", "none", "--rng"];
                    assert_denied(path, &run(&place, &with_rng, &nothing));
                } else if !key.kind().is_list() || !of_a_list {
                    assert_denied(path, &run(&place, plain, &nothing));
                }
                // Of other kinds there is no device whose path or size could be refused.
            }
            (Enforcer::StartWithoutFacts, _) => {
                for rule in ["\"nothing\"", "{ per_second = 4, total = 1000 }"] {
                    let outcome = run(&place, CONFIDENTIAL, &[(path, rule)]);
                    assert_denied(path, &outcome);
                    assert!(outcome.1.contains("only \"any\" can be kept"), "{}", outcome.1);
                }
            }
            (Enforcer::PageStates, _) => page_states(path),
            (Enforcer::Verifier, _) => assert_denied(path, &verify(&place, &nothing)),
            (Enforcer::Network, _) => network(path),
            (Enforcer::Broker, _) => {}
        }
    }
    let devices = ["[[devices]]", "[block]", "[[fs]]"];
    assert_no_such_configuration(&place, "devices", &devices);
    assert_no_such_configuration(
        &place,
        "network",
        &["[network]", "egress = []", "[[net]]\negress = []"],
    );
    assert_no_such_configuration(&place, "secrets", &["[secrets]", "secret = \"x\"", "[kbs]"]);
}

/// The vmm process asks these limits on each change; the virtual SNP host's
/// `a_guest_beyond_the_policys_page_state_limits_is_refused_or_ended_as_the_policy_says` runs a
/// guest against them.
fn page_states(path: &str) {
    let text = policy(&[(path, "\"nothing\""), ("runtime.on_page_state", "\"deny\"")]);
    let limits = Policy::load(&text, "test").unwrap().page_state_limits();
    let (verdict, _) = limits.step(Counter::new(), 0, 1, 1, 100);
    assert_eq!(verdict, Verdict::Deny, "{path}");
    let free = Policy::load(&policy(&[]), "test").unwrap().page_state_limits();
    assert_eq!(free.step(Counter::new(), 0, 1, 1, 100).0, Verdict::Allow, "{path}");
}

/// The process of a network device is given these rules and asks them of each new flow; the tests
/// of that process (`net_process`) have it over a TAP.
fn network(path: &str) {
    let all = "[{ cidr = \"0.0.0.0/0\", ports = \"any\", protocol = \"tcp\" }]";
    let free = [("network.egress", all), ("network.rate", "{ per_second = 9, total = 9 }")];
    let to =
        Endpoint { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: 1, protocol: Protocol::Tcp };
    let decided = |rules: &[(&str, &str)]| {
        let rules = Policy::load(&policy(rules), "test").unwrap().network_rules();
        rules.admits(&to) && rules.rate().step(Counter::new(), 0, 1).0 == Verdict::Allow
    };
    assert!(decided(&free), "{path}");
    let nothing: Vec<_> = free.iter().filter(|(other, _)| *other != path).copied().collect();
    let nothing = [&nothing[..], &[(path, "\"nothing\"")]].concat();
    assert!(!decided(&nothing), "{path}");
}

/// Only of a host that has a flaw can one be refused; `host/facts.rs` has the versions.
fn flaws(place: &Place) {
    let (_, survey) = casemate(&["host"]);
    if !survey.contains("are refused unless the policy's `host.flaws` names") {
        println!("SKIPPED host.flaws: this machine's kernel has none that is known");
        return;
    }
    let nothing = [("host.flaws", "\"nothing\"")];
    assert_denied("host.flaws", &run(place, CONFIDENTIAL, &nothing));
    let (_, text) = run(place, &["run", "--protection", "none"], &nothing);
    assert!(!text.contains("the policy denies"), "a plain guest is not concerned: {text}");
}

/// A setting shows in the verdict of what its section denies.
fn setting(place: &Place, path: &str) {
    for action in ["deny", "kill"] {
        let rule = format!("\"{action}\"");
        let denied = match path {
            "runtime.on_page_state" => {
                let rules = [(path, rule.as_str()), ("runtime.page_state_changes", "\"nothing\"")];
                let limits = Policy::load(&policy(&rules), "test").unwrap().page_state_limits();
                limits.step(Counter::new(), 0, 1, 1, 100).0.name().to_owned()
            }
            "runtime.on_guest_request" => {
                let rules = [(path, rule.as_str()), ("runtime.guest_requests", "\"nothing\"")];
                run(place, CONFIDENTIAL, &rules).1
            }
            "runtime.on_access" => {
                let rules = [(path, rule.as_str()), ("runtime.console", "\"none\"")];
                run(place, &["run", "--protection", "none"], &rules).1
            }
            "network.on_rate" => {
                let rules = [(path, rule.as_str()), ("network.rate", "\"nothing\"")];
                let rules = Policy::load(&policy(&rules), "test").unwrap().network_rules();
                rules.rate().step(Counter::new(), 0, 1).0.name().to_owned()
            }
            other => panic!("{other} is a setting that no test knows"),
        };
        let said = denied == action || denied.contains(&format!("denies this VM: {action}: "));
        assert!(said, "{path} = {action}: {denied}");
    }
}

#[test]
fn a_policy_that_demands_another_host_admits_nothing_here() {
    // A document that once admitted a plain guest, of which only sections that nobody asked said
    // no.
    let place = Place::new("host");
    let rules = [
        ("host.kernel", "\"99.0\""),
        ("host.firmware", "\"99.0\""),
        ("host.chip_allow", "[\"2222222222222222\"]"),
    ];
    let (status, text) = run(&place, &["run", "--protection", "none"], &rules);
    assert_eq!(status, 1, "{text}");
    for (rule, _) in rules {
        assert!(text.contains(rule), "{rule}: {text}");
    }
    let console = [("runtime.console", "\"none\"")];
    let (status, text) = run(&place, &["run", "--protection", "none"], &console);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("runtime.console: found \"interactive\""), "{text}");
}

/// Protects what a policy says about paths: it is about the file that was opened.
#[test]
fn roots_are_held_against_what_was_opened_and_not_against_what_was_written() {
    let place = Place::new("roots");
    for folder in ["allowed", "secret"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
        std::fs::write(place.path(folder).join("disk.img"), vec![0; 1 << 20]).unwrap();
    }
    let link = place.path("allowed").join("link.img");
    std::os::unix::fs::symlink(place.path("secret").join("disk.img"), &link).unwrap();
    let allowed = std::fs::canonicalize(place.path("allowed")).unwrap();
    let roots = format!("[{:?}]", allowed.to_str().unwrap());
    let with = |disk: &Path, more: &str| {
        let disk = format!("path={}{more}", disk.display());
        let arguments = ["run", "--protection", "none", "--disk", &disk];
        run(&place, &arguments, &[("devices.block.roots", &roots)])
    };
    assert_denied("devices.block.roots", &with(&link, ",ro"));
    assert_denied("devices.block.roots", &with(&place.path("secret").join("disk.img"), ""));
    let (_, text) = with(&place.path("allowed").join("disk.img"), "");
    assert!(!text.contains("the policy denies"), "{text}");
}

#[test]
fn disks_that_cannot_be_used_are_bad_input_with_their_name_and_nothing_starts() {
    let place = Place::new("disks");
    let image = |name: &str, bytes: usize| {
        std::fs::write(place.path(name), vec![0; bytes]).unwrap();
        place.path(name).to_str().unwrap().to_owned()
    };
    let folder = place.0.to_str().unwrap();
    for (disk, what) in [
        (format!("path={folder}/none"), "No such file"),
        (format!("path={folder}"), "a directory"),
        (format!("path={}", image("empty", 0)), "is empty"),
        (format!("path={}", image("odd", 700)), "not a multiple"),
        (format!("path={},serial=123456789012345678901", image("long", 512)), "`disk.serial`"),
        ("ro".to_owned(), "`disk` is"),
    ] {
        let (status, text) = run(&place, &["run", "--protection", "none", "--disk", &disk], &[]);
        assert_eq!(status, 2, "{disk}: {text}");
        assert!(text.contains(what) && text.lines().count() <= 2, "{disk}: {text}");
    }
    let twice = format!("path={}", image("twice", 512));
    let (status, text) =
        run(&place, &["run", "--protection", "none", "--disk", &twice, "--disk", &twice], &[]);
    assert_eq!(status, 2, "{text}");
    let same = "the disk `disk1` and the disk `disk0` are one file";
    assert!(text.contains(same), "{text}");
}
