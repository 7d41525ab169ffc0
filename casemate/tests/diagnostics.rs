//! The log for operators, as the program is run. Protects: nothing is logged unless it is asked
//! for, and then what is said to the user stays as it is; events of locked processes stand in their
//! spans; every line can be read by a parser and commands no terminal. Cannot tell whether an
//! operator finds what they look for. With a guest where there is /dev/kvm.
#![cfg(feature = "vm")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

use casemate_policy::{Key, Point};
use casemate_test_support::guests::{elf_kernel, kvm, power_off};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with a kernel, and the program run in it.
struct Place(PathBuf);

struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("casemate-log-{test}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&place.0);
        std::fs::create_dir_all(&place.0).unwrap();
        std::fs::write(place.0.join("k"), elf_kernel(&power_off())).unwrap();
        place
    }

    fn casemate(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
            .current_dir(&self.0)
            .args(arguments)
            .env_remove("CASEMATE_LOG")
            .env_remove("CASEMATE_LOG_FORMAT")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            status: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Runs a guest of a few instructions. Whatever becomes of it on this machine's KVM.
    fn guest(&self, more: &[&str], variables: &[(&str, &str)]) -> Ran {
        let usual = ["run", "--protection", "none", "--memory", "64M", "--timeout", "2m"];
        let guest = ["--name", &self.name(), "--kernel", "k"];
        self.casemate(&[&usual[..], &guest, more].concat(), variables)
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Lines for the user, and those of the log: objects.
fn apart(err: &str) -> (Vec<&str>, Vec<Value>) {
    let (log, user): (Vec<&str>, Vec<&str>) = err.lines().partition(|line| line.starts_with('{'));
    (user, log.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The names of an event's spans.
fn spans(event: &Value) -> Vec<&str> {
    let spans = event["spans"].as_array().unwrap();
    spans.iter().map(|span| span["span"].as_str().unwrap()).collect()
}

#[test]
fn nothing_is_logged_unless_it_is_asked_for_and_users_are_told_the_same() {
    if kvm().is_none() {
        return;
    }
    let place = Place::new("default");
    let quiet = place.guest(&[], &[]);
    let (user, log) = apart(&quiet.err);
    assert_eq!(log, [Value::Null; 0]);
    assert!(user.iter().all(|line| line.starts_with("casemate: ")), "{}", quiet.err);
    for (more, variables) in [
        (&["--log-format", "json"][..], &[("CASEMATE_LOG", "trace")][..]),
        (&["--log", "off"], &[("CASEMATE_LOG", "trace")]),
        (&[], &[("CASEMATE_LOG", ""), ("CASEMATE_LOG_FORMAT", "json")]),
        (&["--log-file", "log"], &[]),
    ] {
        let ran = place.guest(more, variables);
        let (same, log) = apart(&ran.err);
        assert_eq!(same, user, "{more:?}");
        assert_eq!((ran.status, &ran.out), (quiet.status, &quiet.out), "{more:?}");
        assert_eq!(log.is_empty(), more != ["--log-format", "json"], "{more:?}");
    }
    let file = std::fs::read_to_string(place.0.join("log")).unwrap();
    assert!(file.contains(" INFO  vm vm{named="), "{file}");
}

#[test]
fn events_stand_in_the_spans_of_the_vm_its_processes_and_its_vcpus() {
    if kvm().is_none() {
        return;
    }
    let place = Place::new("spans");
    let ran = place.guest(&["--log-format=json", "--vcpus", "2"], &[("CASEMATE_LOG", "debug")]);
    let (_, log) = apart(&ran.err);
    let of = |text: &str, spans_of: &[&str]| {
        let found = log.iter().filter(|event| event["text"] == text && spans(event) == spans_of);
        found.collect::<Vec<_>>()
    };
    for text in ["a VM is asked for", "the launch is planned", "the policy admits the VM"] {
        assert_eq!(of(text, &["vm"]).len(), 1, "{text}: {}", ran.err);
    }
    let started = of("the process serves the VM", &["vm", "process"]);
    let kinds: Vec<_> = started.iter().map(|event| event["spans"][1]["kind"].clone()).collect();
    assert_eq!(kinds, ["supervisor", "vmm"]);
    let pid = &started[1]["spans"][1]["pid"];
    for text in ["it is in its namespaces", "the guest starts", "the process has ended"] {
        let event = of(text, &["vm", "process"]);
        assert_eq!(&event[0]["spans"][1]["pid"], pid, "{text}");
    }
    assert_eq!(of("the process is confined", &["vm", "process"]).len(), 2);
    let exits = of("exits of the vCPU", &["vm", "process", "vcpu"]);
    let indices: Vec<_> = exits.iter().map(|event| event["spans"][2]["index"].clone()).collect();
    assert_eq!(indices, [0, 1]);
    assert!(exits[0]["fields"]["io_out"].as_u64().unwrap() > 0, "{}", ran.err);
    assert_eq!(of("the vCPU has ended the VM", &["vm", "process", "vcpu"]).len(), 1);
    assert_eq!(of("the VM has ended", &["vm"]).len(), 1);
    for event in &log {
        let keys: Vec<_> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["area", "fields", "level", "spans", "text", "time"]);
        assert!(spans(event).is_empty() || event["spans"][0]["named"] == place.name());
    }
}

#[test]
fn hostile_text_is_escaped_and_forges_no_line_and_no_field() {
    let place = Place::new("hostile");
    let forged = "k\n2026-01-01T00:00:00Z INFO  vm: forged\u{1b}]0;t\u{7}\u{202e}\" vcpus=64";
    for form in ["text", "json"] {
        let arguments = ["--log=trace", "--log-format", form, "run", "--kernel", forged];
        let ran = place.casemate(&[&arguments[..], &["--protection", "none"]].concat(), &[]);
        assert_eq!(ran.status, 2, "{}", ran.err);
        assert!(ran.err.lines().flat_map(str::chars).all(casemate_foreign_text::is_plain));
        let about: Vec<_> =
            ran.err.lines().filter(|line| line.contains("a VM is asked for")).collect();
        assert_eq!(about.len(), 1, "{}", ran.err);
        assert!(!ran.err.lines().any(|line| line.starts_with("2026-01-01")), "{}", ran.err);
        let kernel = "k\\n2026-01-01T00:00:00Z INFO  vm: forged\\u{1b}]0;t\\u{7}\\u{202e}";
        match form {
            "text" => assert!(
                about[0].contains(&format!("kernel=\"{kernel}\\\" vcpus=64\" vcpus=1 ")),
                "{about:?}"
            ),
            _ => {
                let event: Value = serde_json::from_str(about[0]).unwrap();
                assert_eq!(event["fields"]["kernel"], format!("{kernel}\" vcpus=64"));
                assert_eq!(event["fields"]["vcpus"], 1);
            }
        }
    }
}

#[test]
fn what_cannot_be_understood_is_one_line_and_status_2() {
    let place = Place::new("refused");
    std::fs::create_dir(place.0.join("folder")).unwrap();
    std::os::unix::fs::symlink("k", place.0.join("link")).unwrap();
    std::fs::write(place.0.join("key"), "0123456789abcdef\n").unwrap();
    for (arguments, variables, said) in [
        (&["--log", "loud"][..], &[][..], "--log: loud is neither a level"),
        (&["--log", "casemate=info"], &[], "--log: casemate=info is neither"),
        (&["--log="], &[], "--log:  is neither"),
        (&[], &[("CASEMATE_LOG", "\u{1b}[2J")], "CASEMATE_LOG: \\u{1b}[2J is neither"),
        (&[], &[("CASEMATE_LOG_FORMAT", "xml")], "CASEMATE_LOG_FORMAT: xml is neither"),
        (&["--log-format", "JSON"], &[], "--log-format: JSON is neither"),
        (&["--log-file", "folder"], &[], "--log-file: cannot write folder: it is a directory"),
        (&["--log-file", "link"], &[], "--log-file: cannot write link: it is a symbolic link"),
        (&["--log-file", "no/log"], &[], "--log-file: cannot write no/log: "),
        (&["--log-file", "key"], &[], "--log-file: cannot write key: something else is in it"),
    ] {
        let ran = place.casemate(&[arguments, &["policy", "init"]].concat(), variables);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{said}: {}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(ran.err.starts_with(&format!("casemate: {said}")), "{}", ran.err);
    }
    let key = std::fs::read(place.0.join("key")).unwrap();
    assert_eq!(key, b"0123456789abcdef\n", "nothing was added to what is no log");
    // A flag wins over its variable, which is then not looked at.
    let ran = place.casemate(&["policy", "init", "--log", "off"], &[("CASEMATE_LOG", "loud")]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

#[test]
fn a_file_is_added_to_by_every_run_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("file");
    let file = place.0.join("log");
    for _ in 0..2 {
        let arguments = ["--log", "program=debug", "--log-file", "log", "policy", "init"];
        assert_eq!(place.casemate(&arguments, &[]).status, 0);
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let begun = text.lines().filter(|line| line.contains("a command begins")).count();
    assert_eq!((begun, text.lines().count()), (2, 4), "{text}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Protects secrets that programs take from a kernel command line: users are told what a policy
/// found in it and what a parser stumbled over, an operator's log is not.
#[test]
fn no_part_of_a_kernel_command_line_is_logged() {
    let place = Place::new("secret");
    let mut policy = "schema_version = 1\nmin_engine = \"0.1.0\"\n".to_owned();
    let fields = Point::ALL.into_iter().flat_map(Point::fields);
    for field in fields.filter(|field| field.key != Key::Setting) {
        let rule = if field.path == "launch.cmdline_allow" { "nothing" } else { "any" };
        policy.push_str(&format!("{} = \"{rule}\"\n", field.path));
    }
    std::fs::write(place.0.join("policy.toml"), policy).unwrap();
    std::fs::write(place.0.join("vm.toml"), "cmdline = \"token=hush\" x\n").unwrap();
    let log = ["--log", "trace", "--log-file", "log", "run"];
    let denied = ["--protection", "none", "--kernel", "k", "--policy", "policy.toml"];
    let denied = [&log[..], &denied, &["--cmdline", "token=hush"]].concat();
    for (arguments, status) in [(denied, 1), ([&log[..], &["vm.toml"]].concat(), 2)] {
        let ran = place.casemate(&arguments, &[]);
        assert_eq!(ran.status, status, "{}", ran.err);
        assert!(ran.err.contains("token=hush"), "else this could not tell: {}", ran.err);
    }
    let logged = std::fs::read_to_string(place.0.join("log")).unwrap();
    assert!(logged.contains("the policy denies the VM rules=launch.cmdline_allow"), "{logged}");
    assert!(!logged.contains("hush"), "{logged}");
}

#[test]
fn a_verifier_tells_which_certificate_it_chose_and_what_failed() {
    let place = Place::new("evidence");
    let vector = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/reports");
        folder.join(name).to_str().unwrap().to_owned()
    };
    let (report, cert) = (vector("ms_turin.bin"), vector("ms_turin.vcek.der"));
    let verify = ["attest", "verify", &report, "--cert", &cert, "--at", "2026-06-01"];
    let quiet = place.casemate(&verify, &[]);
    let variables = [("CASEMATE_LOG", "evidence=debug"), ("CASEMATE_LOG_FORMAT", "json")];
    let ran = place.casemate(&verify, &variables);
    assert_eq!((ran.status, ran.out), (quiet.status, quiet.out));
    let (_, log) = apart(&ran.err);
    let fields = |text: &str| {
        let event = log.iter().find(|event| event["text"] == text);
        event.map(|event| event["fields"].clone()).unwrap_or_default()
    };
    let chosen = fields("an endorsement certificate is chosen");
    assert_eq!(chosen, serde_json::json!({ "candidates": 1, "issuer": "SEV-Turin" }));
    assert_eq!(fields("revocation lists are chosen"), serde_json::json!({ "vcek": 0, "vlek": 0 }));
    assert_eq!(fields("a verdict")["verdict"], "AUTHENTIC");
}

/// Protects who asks which processes a VM had: they are told of from their beginning, before
/// anything is decided, to their end.
#[test]
fn every_process_is_told_of_from_its_beginning_to_its_end() {
    if kvm().is_none() {
        return;
    }
    let place = Place::new("processes");
    let more = ["--decision-log", "decisions", "--log", "debug", "--log-format", "json"];
    let ran = place.guest(&more, &[]);
    let (_, log) = apart(&ran.err);
    let at = |text: &str| log.iter().position(|event| event["text"] == text).unwrap();
    let of = |text: &str| log.iter().filter(|event| event["text"] == text).collect::<Vec<_>>();
    let begun: Vec<_> = of("a process begins").iter().map(|e| e["fields"].clone()).collect();
    let kinds: Vec<_> = begun.iter().map(|fields| fields["kind"].clone()).collect();
    assert_eq!(kinds, ["vmm", "recorder"], "{}", ran.err);
    assert!(at("a process begins") < at("the policy admits the VM"), "{}", ran.err);
    assert!(at("the decision log is open") < at("the policy decides"), "{}", ran.err);
    let ended: Vec<_> =
        of("the process has ended").iter().map(|event| event["spans"][1].clone()).collect();
    for fields in begun {
        assert!(ended.iter().any(|span| span["pid"] == fields["pid"]), "{fields}: {}", ran.err);
    }
}
