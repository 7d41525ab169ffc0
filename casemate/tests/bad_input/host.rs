//! What the host lacks, and in which order things are said.

use super::{PROGRAM, Place, assert_refused, outcome, run};
use casemate_test_support::bzimage::bzimage;
use std::path::Path;
use std::process::Command;

/// Protects: `ulimit -f` is answered with words, where the kernel would end the process by a
/// signal.
#[test]
fn a_limit_on_file_sizes_is_said_and_is_not_the_end_of_the_process() {
    let place = Place::new("fsize");
    let limited = |arguments: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -f 0; exec \"$0\" {arguments}"), PROGRAM]);
        command.current_dir(&place.0);
        command
    };
    if Path::new("/dev/kvm").exists() {
        let mut command = limited("run --protection none --kernel kernel --cmdline x");
        assert_refused(&mut command, 1, &["ulimit -f unlimited"]);
    }
    place.write("kernel", &bzimage(&[]));
    place.write("vm.toml", b"kernel = \"kernel\"\nprotection = \"sev-snp\"\n");
    assert_refused(&mut limited("measure vm.toml --save-plan p"), 1, &["p", "File too large"]);
}

/// The program in a mount namespace whose /dev is prepared by `dev`; None where that needs more
/// rights.
fn with_dev(place: &Place, dev: &str, user: &str) -> Option<Command> {
    let possible = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success());
    if !possible {
        println!("SKIPPED: no mount namespace can be made");
        return None;
    }
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs none /dev && {dev} && exec {user} \"$0\" run --protection none --kernel \"$1\""
    );
    command.args(["-m", "sh", "-c", &script, PROGRAM, &place.path("kernel")]);
    Some(command)
}

#[test]
fn a_machine_without_kvm_is_told_apart_from_a_user_without_access() {
    let place = Place::new("kvm");
    if let Some(mut command) = with_dev(&place, "true", "") {
        assert_refused(&mut command, 1, &["/dev/kvm is not there", "casemate host"]);
    }
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let readable = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "test", "-x", PROGRAM])
        .status()
        .is_ok_and(|status| status.success());
    if !readable {
        println!("SKIPPED: another user cannot run the program where it is");
        return;
    }
    if let Some(mut command) = with_dev(&place, "touch /dev/kvm && chmod 600 /dev/kvm", user) {
        assert_refused(&mut command, 1, &["/dev/kvm", "group"]);
    }
}

#[test]
fn refusals_leave_no_file_and_no_name() {
    let place = Place::new("left");
    let console = format!("file:{}", place.path("console.log"));
    let name = format!("refused-{}", std::process::id());
    place.write("kernel", b"no kernel");
    for flags in [["--vcpus", "0"], ["--vcpus", "1"]] {
        let mut command = run(&place, &flags);
        let (status, line) = outcome(command.args(["--console", &console, "--name", &name]));
        assert_eq!(status, 2, "{line}");
    }
    assert!(!Path::new(&place.path("console.log")).exists(), "a refused run made its console file");
    let names = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    assert!(!names.contains(&name), "a refused run holds its name");
}

/// Protects whoever reads the answer: what is wrong with the input is said first, then what the
/// policy says, then what the host lacks, though the host is tried first and fails at once.
#[test]
fn wrong_input_is_answered_before_a_denial_and_a_denial_before_what_the_host_lacks() {
    let place = Place::new("order");
    place.write("kernel", &bzimage(&[]));
    let strict = "--policy builtin:strict";
    // Without files of any size there is no memory for the program of the vmm process.
    for _ in 0..5 {
        for (flags, status, words) in [
            (format!("--kernel missing {strict}"), 2, "`kernel`"),
            (format!("--kernel kernel --memory 999999G {strict}"), 2, "`memory`"),
            ("--kernel kernel --policy missing".into(), 2, "--policy"),
            (format!("--kernel kernel {strict}"), 1, "the policy denies this VM"),
        ] {
            let line = format!("ulimit -f 0; exec \"$0\" run --protection none {flags}");
            let mut command = Command::new("sh");
            command.args(["-c", &line, PROGRAM]).current_dir(&place.0);
            assert_refused(&mut command, status, &[words]);
        }
    }
}

/// Protects the reason that a vmm process gives when it fails: it is told whether the process ended
/// before or after its supervisor had handed the plan over.
#[test]
fn what_the_vmm_process_failed_with_is_told_whenever_it_failed() {
    if !Path::new("/dev/kvm").exists() {
        println!("SKIPPED: no /dev/kvm");
        return;
    }
    let place = Place::new("last-words");
    // Room for the process's program, and not for guest memory, which is a file, too.
    let line = "ulimit -f 20000; exec \"$0\" run --protection none --kernel kernel --memory 64M";
    for _ in 0..20 {
        let mut command = Command::new("sh");
        command.args(["-c", line, PROGRAM]).current_dir(&place.0);
        assert_refused(&mut command, 1, &["guest RAM", "ulimit -f unlimited"]);
    }
}
