//! `casemate run --dry-run` as a user meets it: it tells what a start would do, ends as a start
//! would end, and leaves nothing. Cannot tell whether a start succeeds: only a start can.
#![cfg(feature = "vm")]
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use casemate_test_support::bzimage::bzimage;
use serde_json::Value;
use std::fs::{File, read_dir, write};
use std::path::PathBuf;
use std::process::Command;

/// A folder with a kernel, a disk and a configuration, removed at the end.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const VM: &str = "protection = \"none\"\nkernel = \"kernel\"\nmemory = \"64M\"\nname = \"dry\"\n\
                  console = { file = \"console\" }\nvirtio_console = true\n[rng]\ntrust_host = false\n\
                  [[disk]]\npath = \"disk\"\nname = \"data\"\nstandby = true\n\
                  [vsock]\npath = \"vm.sock\"\nports = [52]\n";

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("casemate-dry-{test}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&place.0);
        std::fs::create_dir(&place.0).unwrap();
        // So that another user gets in, who root's connector is.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&place.0, mode).unwrap();
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
}

/// Whether this host has what a plain VM needs: else a start ends with 1, and so does this.
fn kvm() -> bool {
    File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Protects who looks before they start: every process is there with what it would be given, and
/// afterwards there is nothing that was not there before.
#[test]
fn a_dry_run_tells_of_every_process_and_leaves_nothing() {
    let place = Place::new("tells");
    let before = read_dir(&place.0).unwrap().count();
    let log = ["--decision-log", "log.jsonl"];
    let words = [&["run", "vm.toml", "--dry-run", "--json"][..], &log].concat();
    let (status, out, err) = place.casemate(&words);
    assert_eq!(status, i32::from(!kvm()), "{err}");
    let dry: Value = serde_json::from_str(&out).unwrap();
    let processes = dry["processes"].as_array().unwrap();
    let kinds: Vec<&str> = processes.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    let expected = [
        "vmm",
        "recorder",
        "block",
        "block-standby",
        "connector",
        "vsock",
        "janitor",
        "console",
        "rng",
        "supervisor",
    ];
    assert_eq!(kinds, expected);
    for process in processes {
        let rules = process["rules"].as_array().unwrap();
        assert!(rules.iter().any(|rule| rule["syscall"] == "exit_group"), "{process}");
        assert_eq!(process["layers"].as_array().unwrap().len(), 22);
        assert!(!process["descriptors"].as_array().unwrap().is_empty());
        let of = |name: &str| {
            let layers = process["layers"].as_array().unwrap().iter();
            layers.clone().find(|layer| layer["layer"] == name).unwrap()["need"].clone()
        };
        assert_eq!(of("seccomp"), "required");
    }
    let points: Vec<&Value> =
        dry["decisions"].as_array().unwrap().iter().map(|one| &one["point"]).collect();
    assert_eq!(points, ["host", "launch", "resources", "devices", "access"]);
    assert_eq!((&dry["admitted"], &dry["launch-digest"]), (&true.into(), &Value::Null));
    assert_eq!(read_dir(&place.0).unwrap().count(), before, "no socket, log, console or lock");
    let (status, text, _) = place.casemate(&["run", "vm.toml", "--dry-run"]);
    assert_eq!(status, i32::from(!kvm()));
    assert!(text.ends_with("nothing was started\n") && text.contains("process block (block-data)"));
    assert_eq!(read_dir(&place.0).unwrap().count(), before);
}

/// Protects scripts: what a start refuses a dry run refuses, with the same line and status.
#[test]
fn a_dry_run_ends_as_a_start_that_is_refused() {
    let place = Place::new("ends");
    // No sockets: a start that comes as far as its policy must not make them.
    write(place.0.join("plain.toml"), VM.split("[vsock]").next().unwrap()).unwrap();
    write(place.0.join("bad.toml"), "vcpus = \"many\"\n").unwrap();
    write(place.0.join("no-kernel.toml"), "protection = \"none\"\nkernel = \"gone\"\n").unwrap();
    write(place.0.join("policy.toml"), "schema_version = 1\n[lunch]\n").unwrap();
    for (words, expected) in [
        (&["plain.toml", "--policy", "builtin:strict"][..], 1),
        (&["plain.toml", "--policy", "policy.toml"], 2),
        (&["bad.toml"], 2),
        (&["no-kernel.toml"], 2),
    ] {
        let (status, _, said) = place.casemate(&[&["run"], words].concat());
        assert_eq!(status, expected, "{said}");
        let (status, out, dry) = place.casemate(&[&["run"], words, &["--dry-run"]].concat());
        assert_eq!((status, &dry), (expected, &said), "{words:?}");
        assert_eq!(out.contains("nothing was started"), expected == 1, "{out}");
    }
}
