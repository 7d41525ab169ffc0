//! A vCPU that the guest did not start, while Linux runs on the others.

use crate::events::parked_vcpu_leads_nowhere;
use crate::session::{Ended, FILES};
use casemate_e2e::{initrd, place, static_programs};
use casemate_test_host::{Host, Kind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const CONFIG: &str = r#"
kernel = "/k/vmlinuz"
initrd = "/e2e/initrd"
vcpus = 2
memory = "192M"
protection = "sev-snp"
cmdline = "console=ttyS0 reboot=acpi panic=-1 quiet loglevel=4 task=cpus"
[snp]
c_bit = 39
"#;

/// The launched state of the second vCPU is run, with every event and with none, while Linux boots,
/// before and after it has started its second processor with a state of its own; each time the
/// MODEL undoes what came of it. Linux finds two processors and ends as if nothing had been. It
/// cannot tell what comes of an event for a vCPU that Linux runs.
#[test]
fn no_event_reaches_a_vcpu_that_linux_did_not_start() {
    let programs = static_programs().expect("casemate is built");
    let directory = place("snp-linux-events").expect("a directory");
    let host = Host::new(Kind::Snp).expect("the virtual SNP host can be built");
    initrd(&directory.join("initrd"), "guest-workload.sh", &[]).expect("an initrd");
    std::fs::write(directory.join("vm.toml"), CONFIG).unwrap();
    let output = host
        .file(programs.join("casemate"), "/bin/casemate")
        .file(directory.join("initrd"), "/e2e/initrd")
        .file(directory.join("vm.toml"), "/vm.toml")
        .faults("inject:1+,ap-run:1+")
        .timeout(Duration::from_secs(900))
        .run(&format!(
            "casemate run /vm.toml --policy /policy.toml >/tmp/out; s=$?; \
             cat {FILES}/trials; grep -a guest: /tmp/out; exit $s"
        ))
        .expect("the virtual SNP host runs");
    let _ = std::fs::remove_dir_all(&directory);
    println!("{}\n{}", output.stdout, output.stderr);
    assert_eq!(output.status, 0, "{}\n{}\n{}", output.stdout, output.stderr, output.log);
    assert!(output.stdout.contains("guest: 2 processors"), "{}", output.stdout);
    let ended =
        Ended { status: 0, happened: 1, said: String::new(), left: (0, 0), after: output.stdout };
    parked_vcpu_leads_nowhere(&ended);
}

/// Events for a vCPU that Linux runs are Linux's to judge (SECURITY.md, "Events for Linux"); what
/// is held here is the sweep that found out: a division error in user mode is a signal, an NMI in
/// the kernel is lived through, and what was asked once is not asked again. It cannot tell what
/// comes of any other event.
#[test]
fn a_sweep_tells_what_linux_makes_of_an_event_and_asks_nothing_twice() {
    let directory = place("snp-sweep").expect("a directory");
    let out = directory.join("out");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/snp/inject-sweep");
    let sweep = || {
        let mut command = Command::new(&script);
        command.args(["--only", "^(80000300 0 3|80000202 0 0)$"]).arg(&out);
        let output = command.output().expect("the script runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (String::from_utf8_lossy(&output.stderr).into_owned(), std::fs::read(&out).unwrap())
    };
    let (asked, first) = sweep();
    let found = String::from_utf8_lossy(&first).into_owned();
    println!("{found}");
    assert!(asked.contains("2 of 2 events"), "{asked}");
    let [division, nmi] = found.lines().collect::<Vec<_>>()[..] else { panic!("{found}") };
    assert!(division.starts_with("80000300 0 3 goes on: "), "{found}");
    assert!(division.contains("victim ended by signal 8"), "{found}");
    assert!(nmi.starts_with("80000202 0 0 goes on: ") && !nmi.contains("victim"), "{found}");
    let (asked, second) = sweep();
    assert!(asked.contains("0 of 2 events") && first == second, "{asked}");
    let _ = std::fs::remove_dir_all(&directory);
}
