//! The boot code against a malicious host: the faults of the virtual SNP host, a MODEL, with a
//! kernel of a few instructions that ends the guest with a code of its own. Every fault ends with
//! the boot code's sentence, a stop that the processor forces, or, where it can do no harm, with
//! the kernel and all of its memory accepted; always within the time that the user gave.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use casemate_e2e::{on_kernel_7, place, static_programs};
use casemate_test_host::{Host, Kind};
use std::time::{Duration, Instant};

/// A bzImage that ends the guest by the GHCB MSR protocol with set 2, code 0x2a.
fn kernel() -> Vec<u8> {
    // mov ecx, 0xc0010130; mov eax, 0x2a2100; xor edx, edx; wrmsr; vmgexit; hlt
    const CODE: &[u8] = &[
        0xb9, 0x30, 0x01, 0x01, 0xc0, 0xb8, 0x00, 0x21, 0x2a, 0x00, 0x31, 0xd2, 0x0f, 0x30, 0xf3,
        0x0f, 0x01, 0xd9, 0xf4,
    ];
    casemate_test_support::bzimage::bzimage(&[(0x1f4, &[0x80]), (1024 + 0x200, CODE)])
}

const KERNEL_REACHED: &str = "GHCB reason set 2, code 0x2a";
const LIMIT: &str = "30s";
const ENDED: &str = "did not end within 30s and was ended";
/// Linux 7 looks at a private page's owner at each of its faults (`kvm_gmem_prepare_folio`), 6.12
/// at the first alone: a change that was not made stays so there, and is made by the next fault
/// here.
const MADE_UP_BY_LINUX_7: &[&str] = &["psc-drop:1", "psc-drop:3000", "psc-reorder:5"];
const REPLACED: &[&str] = &["took away or replaced a page", "triple-faulted"];
const BAD_ANSWER: &str = "answered a GHCB request with something else";

/// What the guest or the program may say at the end, for each fault.
const FAULTS: &[(&str, &[&str])] = &[
    ("", &[KERNEL_REACHED]),
    // KVM believes that the page is the guest's and runs it in vain: the host denies service, and
    // time ends it.
    ("psc-drop:1", &[ENDED]),
    ("psc-drop:3000", &[ENDED]),
    ("psc-drop:1+", &[ENDED]),
    // Shared memory is other memory: the guest goes on, and the host has lost a page.
    ("psc-shared-drop:1", &[KERNEL_REACHED]),
    ("psc-shared-drop:1+", &[KERNEL_REACHED]),
    // The change that a later one waits for never comes.
    ("psc-reorder:5", &[ENDED]),
    // A page that is made private again is not valid any more; the first requests are marks, which
    // change nothing.
    ("psc-repeat:1", REPLACED),
    ("psc-repeat:5", REPLACED),
    ("psc-lie:1", &[KERNEL_REACHED]),
    ("psc-lie:5", &["refused to make a staging page private", BAD_ANSWER]),
    ("psc-lie:1+", &["refused to make a staging page private", BAD_ANSWER]),
    // The page that came instead is not valid, which raises #VC; where it is the boot code's stack,
    // a triple fault.
    ("remap:1", REPLACED),
    ("remap:5", REPLACED),
    ("remap:4000", REPLACED),
    ("replay:5", REPLACED),
    ("replay:4000", REPLACED),
    // The RMP does not let the page be used at another address; KVM maps the right one then.
    ("alias:5", &[KERNEL_REACHED]),
    ("alias:4000+", &[ENDED, "took away or replaced", "cannot be served"]),
    // What the page says is not measured, but the firmware's; the boot code and Linux take less,
    // never more, from it.
    ("cpuid-page:1", &[KERNEL_REACHED]),
    ("ghcb:1", &[BAD_ANSWER, "refused to make a staging page private"]),
    ("ghcb:1+", &[BAD_ANSWER, "refused to make a staging page private"]),
    // The first read says that the request was understood, the next that it was refused; pages are
    // never taken on trust.
    ("ghcb-late:1", &["refused to make a staging page private"]),
    ("ghcb-late:1+", &["refused to make a staging page private"]),
    // The first three answers are those to marks, which mean nothing; the fourth registers the
    // GHCB.
    ("ghcb-msr:1", &[KERNEL_REACHED]),
    ("ghcb-msr:4", &[BAD_ANSWER]),
    ("ghcb-msr:5", &[BAD_ANSWER, "refused to make a staging page private"]),
    ("ghcb-msr:1+", &[BAD_ANSWER]),
    ("fw-fail:1", &["this host cannot give"]),
    ("fw-fail:8", &["SNP_LAUNCH_UPDATE failed for the"]),
    ("fw-fail:1+", &["this host cannot give"]),
    ("fw-delay:8", &[KERNEL_REACHED]),
];

fn config() -> String {
    format!(
        "kernel = \"/e2e/kernel\"\nprotection = \"sev-snp\"\nmemory = \"64M\"\ntimeout = \"{LIMIT}\"\n[snp]\nc_bit = 39\n"
    )
}

#[test]
fn a_guest_beyond_the_policys_page_state_limits_is_refused_or_ended_as_the_policy_says() {
    let programs = static_programs().expect("casemate is built");
    let directory = place("snp-limits").expect("a directory");
    std::fs::write(directory.join("kernel"), kernel()).unwrap();
    std::fs::write(directory.join("vm.toml"), config()).unwrap();
    let permissive = include_str!("../../../policy/src/builtin/permissive.toml");
    let any = "page_state_changes = \"any\"";
    assert!(permissive.contains(any));
    let mut host = Host::new(Kind::Snp)
        .expect("the virtual SNP host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(directory.join("kernel"), "/e2e/kernel")
        .file(directory.join("vm.toml"), "/vm.toml");
    for action in ["deny", "kill"] {
        let limits = format!(
            "page_state_changes = {{ per_second = \"any\", total = 10 }}\non_page_state = \"{action}\""
        );
        let file = directory.join(action);
        let policy = permissive.replace(any, &limits).replace("[\"none\"]", "[\"sev-snp\"]");
        std::fs::write(&file, policy).unwrap();
        host = host.file(&file, &format!("/{action}.toml"));
    }
    // What is denied while the guest runs is in the log, with the exact count.
    let command = "for a in deny kill; do casemate log key /$a.key; \
        casemate run /vm.toml --policy /$a.toml --name vm-$a \
            --decision-log /$a.log --log-key /$a.key --log-head /$a.head; echo $a=$?; \
        casemate log verify /$a.log --key /$a.key.pub --head-file /$a.head --closed; \
        echo $a-verified=$?; casemate log show /$a.log --point page-state; done";
    let output = host.timeout(Duration::from_secs(240)).run(command).expect("the host runs");
    let _ = std::fs::remove_dir_all(&directory);
    let all = format!("{}{}", output.stdout, output.stderr);
    println!("{all}");
    assert!(output.stdout.contains("deny=3") && output.stdout.contains("kill=3"), "{all}");
    assert!(all.contains("the host refused to make a staging page private"), "{all}");
    assert!(all.contains("beyond the policy's limits on page states"), "{all}");
    for action in ["deny", "kill"] {
        assert!(output.stdout.contains(&format!("{action}-verified=0")), "{all}");
        let logged = format!("page-state {action} while VM vm-{action} ran, started by record ");
        let last = output.stdout.lines().rfind(|line| line.contains(&logged));
        assert!(last.is_some_and(|line| line.contains("until its end")), "{all}");
    }
    assert!(all.contains("runtime.page_state_changes, with "), "{all}");
}

#[test]
fn every_fault_of_the_host_ends_in_refusal_or_does_no_harm() {
    let programs = static_programs().expect("casemate is built");
    let directory = place("snp-faults").expect("a directory");
    let file = directory.join("kernel");
    std::fs::write(&file, kernel()).unwrap();
    let mut wrong = Vec::new();
    for (fault, endings) in FAULTS {
        let mut host = Host::new(Kind::Snp)
            .expect("the virtual SNP host can be built")
            .file(programs.join("casemate"), "/bin/casemate")
            .file(&file, "/e2e/kernel")
            .timeout(Duration::from_secs(180));
        if !fault.is_empty() {
            host = host.faults(fault);
        }
        std::fs::write(
            directory.join("vm.toml"),
            format!("kernel = \"/e2e/kernel\"\nprotection = \"sev-snp\"\nmemory = \"64M\"\ntimeout = \"{LIMIT}\"\n[snp]\nc_bit = 39\n"),
        )
        .unwrap();
        let before = Instant::now();
        let output = host
            .file(directory.join("vm.toml"), "/vm.toml")
            .run("casemate run /vm.toml --policy /policy.toml; s=$?; pidof casemate; exit $s")
            .expect("the virtual SNP host runs");
        let said = output.stderr.lines().rfind(|line| line.starts_with("casemate:")).unwrap_or("");
        println!("{fault:16} {:3} s, status {}: {said}", before.elapsed().as_secs(), output.status);
        let made_up = on_kernel_7() && MADE_UP_BY_LINUX_7.contains(fault);
        let endings = if made_up { &[KERNEL_REACHED] } else { *endings };
        let expected = endings.iter().any(|ending| said.contains(ending));
        let happened = fault.is_empty() || output.log.contains("FAULT ");
        if !expected || !happened || output.status == 0 || !output.stdout.is_empty() {
            wrong.push(format!("{fault}: {} {said:?}, fault happened: {happened}", output.status));
        }
    }
    let _ = std::fs::remove_dir_all(&directory);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
