//! What tests rely on when they run a command in the virtual host.
//!
//! Each test starts a host of its own. Where none can be built, they fail and say why.

use casemate_test_host::{Error, Host, Kind};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn host() -> Host {
    Host::new(Kind::Plain).unwrap().timeout(Duration::from_secs(60))
}

#[test]
fn a_command_returns_its_outputs_apart_and_its_status() {
    let output = host().run("echo to stdout; echo to stderr >&2; exit 7").unwrap();
    assert_eq!(output.status, 7);
    assert_eq!(output.stdout, "to stdout\n");
    assert!(output.stderr.ends_with("to stderr\n"), "{}", output.stderr);
    assert!(output.log.contains("Linux version"), "{}", output.log);
}

#[test]
fn files_go_in_and_come_back_unchanged() {
    let place = std::env::temp_dir().join(format!("virtual-host-test-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(place.join("in"), &bytes).unwrap();
    let output = host()
        .file(place.join("in"), "/data/in")
        .get("/tmp/out", place.join("out"))
        .run("cat /data/in > /tmp/out")
        .unwrap();
    let back = std::fs::read(place.join("out")).unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert_eq!(back, bytes);
}

#[test]
fn an_endless_command_is_a_timeout() {
    // A busy machine may not even have started the host in the shorter times.
    let said = [15, 60, 240].map(Duration::from_secs).into_iter().any(|limit| {
        let error = host().timeout(limit).run("echo before; sleep 1000").unwrap_err();
        let Error::Timeout { stdout, .. } = error else { panic!("{error}") };
        stdout == "before\n"
    });
    assert!(said);
}

#[test]
fn a_command_may_itself_exit_with_124_or_125() {
    assert_eq!(host().run("exit 124").unwrap().status, 124);
    assert_eq!(host().run("exit 125").unwrap().status, 125);
}

#[test]
fn a_host_that_goes_down_is_an_error_not_a_status() {
    let error = host().run("reboot -f").unwrap_err();
    assert!(matches!(error, Error::NoStatus { .. }), "{error}");
}

#[test]
fn kvm_pivot_root_and_an_unprivileged_user_are_there() {
    let pivot = "mkdir -p /tmp/new && mount -t tmpfs new /tmp/new && mkdir /tmp/new/old && \
                 cd /tmp/new && pivot_root . old";
    let output = host()
        .run(&format!(
            "test -c /dev/kvm && ls /k/vmlinuz && unshare -m sh -c '{pivot}' && \
             su user -c 'id -u; test -w /dev/kvm && unshare -r -m sh -c \"{pivot}\"'"
        ))
        .unwrap();
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert_eq!(output.stdout, "/k/vmlinuz\n1000\n");
}

/// The emulator's first processor may lose a guest's state (README, "Defects of the emulator").
#[test]
fn with_several_processors_nothing_runs_on_the_first() {
    let output = host().cpus(2).run("nproc; grep Cpus_allowed_list /proc/self/status").unwrap();
    assert_eq!(output.stdout, "2\nCpus_allowed_list:\t1-2\n", "{}", output.stderr);
}

/// Protects what README.md promises of the emulator: where the machine's own has the defects that
/// are named there, building a host fetches the newer one, or notes that it cannot be had. Cannot
/// tell whether the newer one has others.
#[test]
fn a_host_runs_on_an_emulator_without_the_known_defects_where_it_can_be_had() {
    if std::env::var("CASEMATE_HOST_QEMU").is_ok_and(|which| which != "usual") {
        return; // somebody asked for one of them
    }
    let place = std::env::var_os("CASEMATE_HOST_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/host"),
        PathBuf::from,
    );
    let output = host().run("true").unwrap();
    let old = output.stderr.contains("the emulator is this machine's");
    let unavailable = place.join("qemu-unavailable").exists();
    assert!(!old || unavailable, "nobody tried to fetch the newer one: {}", output.stderr);
}

/// `run` itself, with these arguments and this standard input.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn run(arguments: &[&str], input: &str) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("run");
    let mut command = Command::new(script);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Needs an emulator that can migrate a machine beside its memory (8.2): the usual one, where it
/// could be had.
#[test]
fn each_copy_of_a_frozen_host_goes_on_from_there_and_changes_nothing_for_the_others() {
    let _ = host();
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("frozen");
    let directory = empty.join("host");
    let frozen = directory.to_str().unwrap();
    // The copies share their memory's file: what one writes must not be in another.
    let command = "n=40; echo before; echo >/dev/shm/f once; exec 9<>/run/port.copy; echo here >&9; \
                   read -r asked <&9; echo $asked >>/dev/shm/f; echo $((n + asked)) $(cat /dev/shm/f); exit $asked";
    let first = run(&["--freeze", frozen, "--", command], "");
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert_eq!(first.stdout, b"before\n");
    for asked in [2, 3, 2] {
        let copy = run(&["--thaw", frozen], &format!("{asked}\n"));
        assert_eq!(copy.status.code(), Some(asked), "{copy:?}");
        assert_eq!(copy.stdout, format!("{} once {asked}\n", 40 + asked).into_bytes());
    }
    let other = run(&["--thaw", empty.to_str().unwrap()], "");
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    std::fs::remove_dir_all(empty).unwrap();
}
