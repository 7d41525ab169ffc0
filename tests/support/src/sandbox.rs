//! A test runner with one thread, which spawning needs, and helpers for tests of the sandbox.

#![allow(dead_code, reason = "each test program uses a part")]

use casemate_sandbox::{
    Action, Born, Child, Exit, FdTable, Layers, Locked, Observed, Profile, Rule, Setup, spawn, sys,
};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::process::ExitCode;

/// A test: its name says the behaviour that it protects.
pub type Test = (&'static str, fn());

/// Runs the tests whose names contain the command line's word, as the standard harness does.
pub fn main(tests: &[Test]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        for (name, _) in tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        // As root they run as an ordinary user, too: see `as_ordinary_user`.
        println!("SKIPPED: {} tests of the sandbox need root", tests.len());
        return ExitCode::SUCCESS;
    }
    let mut words = args.iter();
    let word = loop {
        match words.next() {
            // It has a value, which is no word of a test's name.
            Some(arg) if arg == "--test-threads" => drop(words.next()),
            Some(arg) if arg.starts_with('-') => {}
            word => break word,
        }
    };
    let mut failed = 0;
    println!("\nrunning {} tests", tests.len());
    for (name, test) in
        tests.iter().filter(|(name, _)| word.is_none_or(|w| name.contains(w.as_str())))
    {
        print!("test {name} ... ");
        let _ = std::io::stdout().flush();
        let outcome = catch_unwind(test);
        until_alone();
        println!("{}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += u32::from(outcome.is_err());
    }
    println!("\ntest result: {}. {failed} failed\n", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Waits until this process has one thread, as whoever starts a process must: a thread that was
/// joined is in /proc until the kernel has taken it down, a moment after it woke who joined it.
fn until_alone() {
    while std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        std::thread::yield_now();
    }
}

/// A pipe: read end, write end.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

/// Everything that can be read from a pipe.
pub fn drain(fd: OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// Confines and runs `inside`, whose exit status it returns.
pub fn confined(layers: Layers, inside: impl FnOnce(Setup) -> i32) -> Child {
    spawn(layers, |born: Born| match born.confine() {
        Ok(setup) => inside(setup),
        Err(_) => 99,
    })
    .unwrap()
}

/// Only what a process needs to say a result and end.
pub const MINIMAL: Profile =
    Profile { name: "minimal", rules: &[Rule::new(sys("exit_group"), &[], "ends the process")] };

/// Locks with the minimal profile.
pub fn lock(setup: Setup, action: Action) -> Locked {
    setup.lock(&MINIMAL, &FdTable::new(), action).unwrap()
}

/// Spawns as another user: the calling test must be root.
pub fn as_ordinary_user(test: impl FnOnce() -> i32) -> Exit {
    let no_layers = casemate_sandbox::Layer::ALL
        .into_iter()
        .fold(Layers::new("ordinary user"), Layers::without);
    let no_layers = no_layers.keep(&std::io::stdout()).keep(&std::io::stderr());
    let mut child = spawn(no_layers, |_born| {
        let id = rustix::fs::Uid::from_raw(12345);
        let group = rustix::fs::Gid::from_raw(12345);
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(group, group, group).unwrap();
        rustix::thread::set_thread_res_uid(id, id, id).unwrap();
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
            .unwrap();
        test()
    })
    .unwrap();
    child.wait().unwrap()
}

/// The calls that only some hosts need: where the clock is in the vDSO, none is made.
const DEPENDS_ON_HOST: [&str; 1] = ["clock_gettime"];
/// How reasons of rules begin that only debug builds have: the observed process may be none where
/// this test is one.
const DEPENDS_ON_BUILD: &str = "debug build: ";

/// Whether a rule must be used wherever the process runs, and however it was built.
pub fn is_always_needed(rule: &Rule) -> bool {
    !DEPENDS_ON_HOST.contains(&rule.syscall.name()) && !rule.why.starts_with(DEPENDS_ON_BUILD)
}

/// A process under one filter, that of `profile`, used every rule of it and made no other call.
pub fn assert_least(observed: &Observed, profile: &Profile) {
    assert_least_in(observed, 1, profile);
}

/// The rules of `profile` that a process used under so many filters.
pub fn used_rules(observed: &Observed, filters: usize, profile: &Profile) -> Vec<usize> {
    let usage = observed.usage(filters, profile, None).unwrap();
    let refused: Vec<_> = usage.refused.iter().map(ToString::to_string).collect();
    assert!(refused.is_empty(), "{}: {refused:?}", profile.name);
    (0..profile.rules.len()).filter(|index| !usage.unused.contains(index)).collect()
}

/// The same as [`assert_least`] of a process under so many filters, the last of which is that of
/// `profile`.
pub fn assert_least_in(observed: &Observed, filters: usize, profile: &Profile) {
    let used = used_rules(observed, filters, profile);
    let unused: Vec<_> = (profile.rules.iter().enumerate())
        .filter(|(index, rule)| !used.contains(index) && is_always_needed(rule))
        .map(|(_, rule)| (rule.syscall.name(), rule.why))
        .collect();
    assert!(unused.is_empty(), "{}: rules that nothing uses: {unused:?}", profile.name);
}

/// A process under one filter, that of `set_up`, used every rule of it that none of the profiles
/// behind it has: filters are only narrowed, so a set-up filter has what comes after it, too.
pub fn assert_least_before(observed: &Observed, set_up: &Profile, later: &[&Profile]) {
    let used = used_rules(observed, 1, set_up);
    let later: BTreeSet<_> = later.iter().flat_map(|profile| profile.syscalls()).collect();
    let unused: Vec<_> = (set_up.rules.iter().enumerate())
        .filter(|(index, rule)| !used.contains(index) && is_always_needed(rule))
        .map(|(_, rule)| (rule.syscall.name(), rule.why))
        .filter(|(name, _)| !later.contains(name))
        .collect();
    assert!(unused.is_empty(), "{}: rules that nothing uses: {unused:?}", set_up.name);
}

/// Whether the readable memory of a process has these bytes.
pub fn memory_has(pid: u32, bytes: &[u8]) -> bool {
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let (first, rest) = bytes.split_first().unwrap();
    let mut seen = 0;
    let found = maps.lines().filter(|line| !line.contains("[v")).any(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let address = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (address(from), address(to));
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        if memory.read_exact_at(&mut part, from).is_err() {
            return false;
        }
        seen += part.len();
        let mut left = &part[..];
        while let Some(at) = left.iter().position(|byte| byte == first) {
            left = &left[at + 1..];
            if left.starts_with(rest) {
                return true;
            }
        }
        false
    });
    assert!(found || seen > 500_000, "only {seen} bytes were looked at");
    found
}
