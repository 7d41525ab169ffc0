//! What tests rely on when they run a command in the virtual host.
//!
//! Each test starts a host of its own. Where none can be built, they fail and say why.

use casemate_test_host::{Error, Host, Kind};
use std::path::{Path, PathBuf};
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
