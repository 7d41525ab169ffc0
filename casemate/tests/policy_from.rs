//! `casemate policy from` as a user meets it: protects that the policy written for a VM admits that
//! VM when it starts and refuses it with one thing changed, and that a log gives the same. Cannot
//! tell what a booted guest asks later; nothing here boots.
#![cfg(feature = "vm")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "test code")]

use casemate_test_support::bzimage::bzimage;
use std::fs::{File, read_dir, read_to_string, write};
use std::path::PathBuf;
use std::process::Command;

/// A folder with a kernel, a disk and a configuration, removed at the end.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const VM: &str = "protection = \"none\"\nkernel = \"kernel\"\nmemory = \"64M\"\n\
                  cmdline = \"console=ttyS0 quiet\"\nname = \"from\"\nconsole = { file = \"console\" }\n\
                  [[disk]]\npath = \"disk\"\nread_only = true\n";

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("casemate-from-{test}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&place.0);
        std::fs::create_dir(&place.0).unwrap();
        write(place.0.join("kernel"), bzimage(&[])).unwrap();
        write(place.0.join("disk"), vec![0; 1 << 20]).unwrap();
        write(place.0.join("vm.toml"), VM).unwrap();
        place
    }

    fn casemate(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        let out = command.args(args).current_dir(&self.0).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
    }

    fn text(&self, name: &str) -> String {
        read_to_string(self.0.join(name)).unwrap()
    }
}

#[test]
fn a_policy_from_a_configuration_says_what_the_configuration_is() {
    let place = Place::new("says");
    let (status, out, err) = place.casemate(&["policy", "from", "vm.toml", "-o", "p.toml"]);
    assert_eq!((status, &*err), (0, ""), "{out}");
    assert!(out.contains("for you to decide; next: casemate policy lint p.toml"), "{out}");
    let text = place.text("p.toml");
    for line in [
        "protection = [\"none\"]",
        "cmdline_allow = [\"console=ttyS0\", \"quiet\"]",
        "cmdline_require = [\"console=ttyS0\", \"quiet\"]",
        "vcpus = { min = 1, max = 1 }",
        "memory_mib = { min = 64, max = 64 }",
        "block.count = 1",
        "block.read_only = \"required\"",
        "vsock.count = 0",
        "console = \"output\"",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert_eq!(place.casemate(&["policy", "check", "p.toml"]).0, 0);
    // What is there already is not written over.
    let (status, _, err) = place.casemate(&["policy", "from", "vm.toml", "-o", "p.toml"]);
    assert_eq!(status, 2, "{err}");
    assert_eq!(place.text("p.toml"), text);
    // Nothing was started, and nothing but the policy is there.
    assert_eq!(read_dir(&place.0).unwrap().count(), 4, "kernel, disk, configuration, policy");
}

/// Needs /dev/kvm: a start asks the policy while its vmm process sets the VM up.
#[test]
fn a_start_is_admitted_by_its_own_policy_and_not_with_one_thing_changed() {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        println!("SKIPPED: no /dev/kvm");
        return;
    }
    let place = Place::new("start");
    assert_eq!(place.casemate(&["policy", "from", "vm.toml", "-o", "p.toml"]).0, 0);
    let run = |more: &[&str]| {
        let own = ["run", "vm.toml", "--timeout", "20s", "--policy", "p.toml"];
        let all: Vec<&str> = own.iter().chain(more).copied().collect();
        place.casemate(&all)
    };
    let (_, _, err) = run(&["--decision-log", "log"]);
    assert!(!err.contains("denies"), "{err}");
    let changed: [&[&str]; 4] = [
        &["--memory", "65M"],
        &["--vcpus", "2"],
        &["--cmdline", "console=ttyS0 quiet init=/x"],
        &["--disk", "path=disk"],
    ];
    for more in changed {
        let (status, _, err) = run(more);
        assert_eq!(status, 1, "{more:?}: {err}");
        assert!(err.contains("the policy denies this VM"), "{more:?}: {err}");
    }
    // What was logged of that start gives a policy that decides alike.
    assert_eq!(place.casemate(&["policy", "from", "log", "-o", "q.toml"]).0, 0);
    let (status, out, _) = place.casemate(&["policy", "diff", "p.toml", "q.toml"]);
    assert_eq!(status, 0, "{out}");
    assert_eq!(place.casemate(&["policy", "diff", "q.toml", "p.toml"]).0, 0);
}

#[test]
fn what_denied_is_left_out_and_said_and_an_edited_log_gives_nothing() {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        println!("SKIPPED: no /dev/kvm");
        return;
    }
    let place = Place::new("denied");
    let args = ["run", "vm.toml", "--policy", "builtin:strict", "--decision-log", "log"];
    assert_eq!(place.casemate(&args).0, 1);
    let (status, _, err) = place.casemate(&["policy", "from", "log"]);
    assert_eq!(status, 2, "nothing was allowed: {err}");
    assert!(err.contains("decisions that denied are left out"), "{err}");
    assert!(err.contains("there is no decision to write a policy from"), "{err}");
    let (status, out, err) = place.casemate(&["policy", "from", "log", "--with-denied"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("[host]"), "{out}");
    let edited = place.text("log").replacen("\"deny\"", "\"allow\"", 1);
    write(place.0.join("log"), edited).unwrap();
    let (status, out, err) = place.casemate(&["policy", "from", "log"]);
    assert_eq!(status, 1, "{err}");
    assert!(err.contains("the log is not whole") && !out.contains("[host]"), "{out}{err}");
}

#[test]
fn sources_that_are_none_are_one_line_and_status_2() {
    let place = Place::new("bad");
    write(place.0.join("bad.toml"), "kernel = 7\n").unwrap();
    write(place.0.join("bad.json"), "{\"point\": \"nowhere\"}").unwrap();
    write(place.0.join("secret.json"), "{\"point\": \"secrets\", \"secrets.resource\": \"a/b/c\"}")
        .unwrap();
    // Who names a key means a log: nothing that stands in its place becomes a policy.
    let access = r#"{"point": "access", "runtime": {"console": "none", "debug": "none"}}"#;
    write(place.0.join("input.json"), access).unwrap();
    assert_eq!(place.casemate(&["policy", "from", "input.json"]).0, 0);
    for source in ["vm.toml", "input.json", "."] {
        for more in [&["--key", "k"][..], &["--with-denied"]] {
            let (status, out, err) = place.casemate(&[&["policy", "from", source], more].concat());
            assert_eq!((status, out.len()), (2, 0), "{source}: {out}{err}");
            assert!(err.contains("no decision log"), "{source}: {err}");
        }
    }
    for source in ["missing.toml", "bad.toml", "bad.json", "secret.json", "."] {
        let (status, out, err) = place.casemate(&["policy", "from", source]);
        assert_eq!((status, out.len()), (2, 0), "{source}: {out}{err}");
        assert_eq!(err.lines().count(), 1, "{source}: {err}");
    }
}
