//! The SEV-SNP launch of the unmodified program in the virtual SNP host, whose processor and
//! firmware are a MODEL.
#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{on_kernel_7, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::process::Command;
use std::time::Duration;

/// The C-bit of the MODEL; EPYC's is 51.
const CONFIG: &str = "kernel = \"KERNEL\"\nprotection = \"sev-snp\"\nmemory = \"256M\"\nvcpus = 2\n\
    cmdline = \"console=ttyS0 quiet\"\n[snp]\nc_bit = 39\n";

/// Long enough to launch and to enter the guest; whether Linux comes up is not asked here.
const COMMAND: &str = "casemate run /vm.toml --policy /policy.toml --timeline --timeout 15s; echo status=$?; \
    casemate run /vm.toml --policy /policy.toml --expect-digest WRONG; echo refused=$?; \
    casemate run --protection sev-snp --kernel /k/vmlinuz --policy /policy.toml; echo other=$?; \
    casemate run /vm.toml --timeout 5s; echo flawed=$?; \
    dmesg | grep 'launch finished'";

fn run() -> (String, Output) {
    let programs = static_programs().expect("casemate is built");
    let directory = std::env::temp_dir().join(format!("casemate-snp-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let here = directory.join("here.toml");
    let there = directory.join("there.toml");
    let kernel = casemate_e2e::kernel().canonicalize().expect("a kernel");
    std::fs::write(&here, CONFIG.replace("KERNEL", &kernel.display().to_string())).expect("here");
    std::fs::write(&there, CONFIG.replace("KERNEL", "/k/vmlinuz")).expect("there");
    let measured = Command::new(programs.join("casemate"))
        .arg("measure")
        .arg(&here)
        .output()
        .expect("casemate measure runs");
    let digest = String::from_utf8_lossy(&measured.stdout).trim().to_owned();
    let output = Host::new(Kind::Snp)
        .expect("the virtual SNP host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(&there, "/vm.toml")
        .trace(1)
        .timeout(Duration::from_secs(180))
        .run(&COMMAND.replace("WRONG", &"0".repeat(96)))
        .expect("the virtual SNP host runs");
    let _ = std::fs::remove_dir_all(&directory);
    (digest, output)
}

#[test]
fn launch_has_the_digest_that_was_measured_before_and_another_one_is_refused() {
    let (digest, output) = run();
    let all = format!("{}\n{}\n{}", output.stdout, output.stderr, output.log);
    assert_eq!(digest.len(), 96, "{digest}");
    assert!(output.stdout.contains(&format!("digest {digest}")), "{digest}\n{all}");
    assert!(all.contains("first guest instruction"), "{all}");
    assert!(output.stdout.contains("refused=2"), "{all}");
    assert!(all.contains("not the expected 0000"), "{all}");
    // Without a policy that puts up with them, published flaws of the host's kernel stop the start.
    let said = all.contains("host.flaws: found [\"snp-launch-finish\"]");
    assert!(on_kernel_7() || said && output.stdout.contains("flawed=1"), "{all}");
    // Without `snp.c_bit` the plan is for EPYC, which the MODEL is not.
    assert!(all.contains("set `snp.c_bit = 39`") && output.stdout.contains("other=1"), "{all}");
}
