//! Limits by control groups, kept by a stock kernel: each is read back; who meets one is told by
//! name; the policy is asked about those that hold; an ordinary user has them; no group is left,
//! however a VM ends. Cannot tell how much processor time a share is, which the kernel's own tests
//! do.

#![allow(clippy::expect_used, reason = "test code")]

use casemate_e2e::{Boot, place};
use casemate_test_host::Host;

static BOOT: Boot = Boot::new("cgroup", with_policy);

/// A policy that admits any VM without protection whose limits are at most 256 MiB, four processors
/// and 64 processes.
fn with_policy(host: Host) -> Host {
    let policy = include_str!("../../../policy/src/builtin/permissive.toml")
        .replace("cgroup_memory_mib = \"any\"", "cgroup_memory_mib = 256")
        .replace("cpu_percent = \"any\"", "cpu_percent = 400")
        .replace("pids = \"any\"", "pids = 64");
    let file = place("cgroup-policy").expect("a folder").join("policy.toml");
    std::fs::write(&file, policy).expect("a policy");
    host.file(file, "/e2e/policy.toml")
}

#[test]
fn limits_are_what_the_kernel_has_in_force_while_the_vm_runs() {
    let left = BOOT.scenario("groups");
    assert_eq!(left.status, 4, "{}", left.err);
    let files = left.file("files");
    for line in [
        "groups.vm/memory.max: 536870912",
        "groups.vm/pids.max: 64",
        "groups.vm/cpu.max: 400000 100000",
        "groups.vm/cpu.weight: 50",
        "groups.vm/vmm/pids.max: 32",
        "groups.vm/vmm/cpu.weight: 200",
        "groups.vm/rng/pids.max: max",
    ] {
        assert!(files.lines().any(|found| found == line), "no {line} in\n{files}");
    }
    let members = left.file("members");
    for line in [
        "casemate-vmm: 0::/vms/groups.vm/vmm",
        "casemate-device: 0::/vms/groups.vm/rng",
        // The janitor, and the supervisor.
        "casemate-device: 0::/",
        "casemate: 0::/",
    ] {
        assert!(members.lines().any(|found| found == line), "no {line} in\n{members}");
    }
    let shown = left.file("shown");
    assert!(shown.contains("== vmm\ncontrol group      /vms/groups.vm/vmm\n"), "{shown}");
    assert!(shown.contains("== group-janitor\n"), "{shown}");
    assert!(!left.file("check").contains("WEAKER"), "{}", left.file("check"));
    let inspected = left.file("inspect");
    for words in ["M used, at most 512M", "at most 400 % of a processor", "at most 64\n"] {
        assert!(inspected.contains(words), "no {words:?} in\n{inspected}");
    }
    assert_eq!((left.remains.as_str(), left.file("dirs").as_str()), ("", ""));
}

#[test]
fn a_vm_that_meets_its_memory_limit_ends_and_the_limit_is_named() {
    for (name, key) in
        [("memory", "`cgroup.memory`, 100M"), ("process-memory", "`cgroup.process.memory`, 100M")]
    {
        let left = BOOT.scenario(name);
        assert_eq!(left.status, 1, "{}", left.err);
        assert!(!left.out.contains("there is no more"), "{}", left.out);
        let says = "the vmm process was killed by the kernel:";
        assert!(left.err.contains(says) && left.err.contains(key), "{}", left.err);
        assert_eq!((left.remains.as_str(), left.file("dirs").as_str()), ("", ""), "{name}");
    }
}

#[test]
fn a_vm_that_may_not_have_its_threads_does_not_start_and_the_limit_is_named() {
    let left = BOOT.scenario("pids");
    assert_eq!(left.status, 1, "{}", left.err);
    assert!(
        left.err.contains("`cgroup.process.pids` of block-disk0, 1, was too few"),
        "{}",
        left.err
    );
    assert_eq!((left.remains.as_str(), left.file("dirs").as_str()), ("", ""));
}

#[test]
fn groups_are_gone_when_a_supervisor_is_killed() {
    let left = BOOT.scenario("killed");
    assert_eq!(left.status, 128 + 9, "{}", left.err);
    let during = left.file("during");
    assert!(during.contains("/vms/killed.vm/vmm/") && during.contains("/rng/"), "{during}");
    assert_eq!((left.remains.as_str(), left.file("dirs").as_str()), ("", ""));
}

#[test]
fn the_policy_is_asked_about_the_limits_that_hold_in_the_vms_group() {
    for name in ["admitted", "above"] {
        let left = BOOT.scenario(name);
        assert_eq!(left.status, 0, "{name}: {}", left.err);
        assert_eq!((left.remains.as_str(), left.file("dirs").as_str()), ("", ""), "{name}");
    }
    let left = BOOT.scenario("denied");
    assert_ne!(left.status, 0, "{}", left.err);
    assert!(left.err.contains("resources.cgroup_memory_mib"), "{}", left.err);
    assert_eq!((left.remains.as_str(), left.file("dirs").as_str()), ("", ""));
}

#[test]
fn an_ordinary_user_has_limits_where_a_group_is_delegated_and_is_told_where_not() {
    let inside = BOOT.scenario("inside");
    assert_eq!(inside.status, 0, "{}", inside.err);
    assert!(inside.out.contains("guest: task hello"), "{}", inside.out);
    let outside = BOOT.scenario("outside");
    assert_eq!(outside.status, 2, "{}", outside.err);
    let says = "started outside of what is delegated to this user";
    assert!(outside.err.contains(says) && outside.err.contains("systemd-run"), "{}", outside.err);
    let busy = BOOT.scenario("busy");
    assert_eq!(busy.status, 2, "{}", busy.err);
    assert!(busy.err.contains("processes are in it"), "{}", busy.err);
    for left in [inside, outside] {
        assert_eq!((left.remains.as_str(), left.file("dirs").as_str()), ("", ""));
    }
}
