//! The boot code against a malicious host: the faults of the virtual SNP host, a MODEL, with a
//! kernel of a few instructions that ends the guest with a code of its own. Every fault ends with
//! the boot code's sentence, a stop that the processor forces, or, where it can do no harm, with
//! the kernel and all of its memory accepted; where the guest can only stand still, within the time
//! that the user gave. Guests that can share a host do, so the order of a table is that of its
//! guests.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test code"
)]

mod events;
mod linux;
mod map;
mod session;

use casemate_e2e::{on_kernel_7, place, static_programs};
use casemate_test_host::{Host, Kind};
use session::{Ended, Guest, KEEP, KERNEL_REACHED, kernel, session};
use std::time::Duration;

const LIMIT: &str = "20s";
const ENDED: &str = "did not end within 20s and was ended";
/// Linux 7 looks at a private page's owner at each of its faults (`kvm_gmem_prepare_folio`), 6.12
/// at the first alone: a change that was not made stays so there, and is made by the next fault
/// here.
const MADE_UP_BY_LINUX_7: &[&str] = &["psc-drop:1", "psc-drop:3000", "psc-reorder:5"];
const REPLACED: &[&str] = &["took away or replaced a page", "triple-faulted"];
const BAD_ANSWER: &str = "answered a GHCB request with something else";

/// A fault, and what the guest or the program may say at the end.
type Fault = (&'static str, &'static [&'static str]);

/// The guest stands still, and time ends it.
const STANDS_STILL: &[Fault] = &[
    // KVM believes that the page is the guest's and runs it in vain: the host denies service.
    ("psc-drop:1", &[ENDED]),
    ("psc-drop:3000", &[ENDED]),
    ("psc-drop:1+", &[ENDED]),
    // The change that a later one waits for never comes.
    ("psc-reorder:5", &[ENDED]),
    // The RMP does not let the page be used at another address, over and over.
    ("alias:4000+", &[ENDED, "took away or replaced", "cannot be served"]),
];

/// In a host of its own each: from the host's start on, or the host has lost a page for good.
const ALONE: &[Fault] = &[
    ("fw-fail:1", &["this host cannot give"]),
    ("fw-fail:1+", &["this host cannot give"]),
    // Shared memory is other memory: the guest goes on.
    ("psc-shared-drop:1", &[KERNEL_REACHED]),
    ("psc-shared-drop:1+", &[KERNEL_REACHED]),
];

/// The guest ends by itself.
const ENDS: &[Fault] = &[
    ("", &[KERNEL_REACHED]),
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
    ("fw-fail:8", &["SNP_LAUNCH_UPDATE failed for the"]),
    ("fw-delay:8", &[KERNEL_REACHED]),
];

const CONFIG: &str =
    "kernel = \"/e2e/kernel\"\nprotection = \"sev-snp\"\nmemory = \"128M\"\n[snp]\nc_bit = 39\n";

#[test]
fn a_guest_beyond_the_policys_page_state_limits_is_refused_or_ended_as_the_policy_says() {
    let programs = static_programs().expect("casemate is built");
    let directory = place("snp-limits").expect("a directory");
    std::fs::write(directory.join("kernel"), kernel()).unwrap();
    std::fs::write(directory.join("vm.toml"), CONFIG).unwrap();
    let permissive = include_str!("../../../../policy/src/builtin/permissive.toml");
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

fn guest(fault: &Fault, limit: Option<&'static str>) -> Guest {
    Guest { name: fault.0.into(), fault: fault.0.into(), limit, ..Guest::default() }
}

/// What is wrong with how these guests ended.
fn wrong(faults: &[Fault], ended: &[Ended]) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((fault, endings), ended) in faults.iter().zip(ended) {
        println!("{fault:16} status {}: {}", ended.status, ended.said);
        let made_up = on_kernel_7() && MADE_UP_BY_LINUX_7.contains(fault);
        let endings = if made_up { &[KERNEL_REACHED] } else { *endings };
        let expected = endings.iter().any(|ending| ended.said.contains(ending));
        let happened = fault.is_empty() || ended.happened > 0;
        if !expected || !happened || ended.status == 0 || ended.left != (0, 0) {
            wrong.push(format!("{fault}: {ended:?}"));
        }
    }
    wrong
}

#[test]
fn every_fault_of_the_host_ends_in_refusal_or_does_no_harm() {
    let guests: Vec<Guest> = ENDS.iter().map(|fault| guest(fault, None)).collect();
    let (ended, output) = session("snp-faults", "", &guests);
    let wrong = wrong(ENDS, &ended);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", output.log);
}

#[test]
fn a_fault_that_denies_service_leaves_the_guest_standing_still_until_its_time_is_over() {
    let guests: Vec<Guest> = STANDS_STILL.iter().map(|fault| guest(fault, Some(LIMIT))).collect();
    let (ended, output) = session("snp-still", "", &guests);
    let wrong = wrong(STANDS_STILL, &ended);
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", output.log);
}

#[test]
fn a_host_whose_firmware_fails_or_that_loses_a_page_does_no_harm() {
    let mut all = Vec::new();
    for fault in ALONE {
        // The fault is the host's from its start on; the plan is not changed before the guest.
        let alone = Guest { fault: KEEP.into(), ..guest(fault, None) };
        let (ended, _) = session("snp-alone", fault.0, &[alone]);
        all.extend(wrong(&[*fault], &ended));
    }
    assert!(all.is_empty(), "{all:#?}");
}
