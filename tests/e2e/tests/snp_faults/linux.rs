//! A vCPU that the guest did not start, while Linux runs on the others.

use crate::events::parked_vcpu_leads_nowhere;
use crate::session::{Ended, FILES};
use casemate_e2e::{initrd, place, static_programs};
use casemate_test_host::{Host, Kind};
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
