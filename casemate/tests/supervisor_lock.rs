//! The lock of the supervisor: a run in which everything happens that a supervisor serves uses every rule of its
//! profile, and makes no other call. Skipped, and said so, without /dev/kvm or not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_hypervisor::config::RawConfig;
use casemate_hypervisor::vm::name::ask;
use casemate_hypervisor::vm::profile::SUPERVISOR;
use casemate_hypervisor::vm::timeline::Timeline;
use casemate_hypervisor::vm::{End, run_plan};
use casemate_sandbox::{Exit, Layer, Layers, Observed, Observer, spawn};
use casemate_test_support::sandbox::assert_least;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// A new terminal: the user's side and the program's side.
fn terminal() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let side = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    (File::from(master), side.into())
}

/// Replaces the process by `casemate run` in the foreground of `terminal`: the whole life of the program. The guest
/// may end as it likes.
fn whole_program(terminal: &OwnedFd, name: &str) -> i32 {
    let kernel = std::env::temp_dir().join(format!("casemate-{name}"));
    std::fs::write(
        &kernel,
        casemate_test_support::guests::elf_kernel(&casemate_test_support::guests::power_off()),
    )
    .unwrap();
    let side = || terminal.try_clone().unwrap();
    let error = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["run", "--protection", "none", "--memory", "64M", "--timeout", "1m"])
        .args(["--timeline", "--name", name, "--kernel"])
        .arg(kernel)
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .exec();
    panic!("{error}");
}

/// Runs a guest that prints `>`, waits for a key, and switches off.
fn echo(terminal: &OwnedFd, name: &str) -> i32 {
    rustix::stdio::dup2_stdin(terminal).unwrap();
    rustix::stdio::dup2_stdout(terminal).unwrap();
    rustix::stdio::dup2_stderr(terminal).unwrap();
    let raw = RawConfig {
        name: Some(name.into()),
        kernel: Some("unused".into()),
        protection: Some("none".into()),
        timeout: Some("2m".into()),
        ..RawConfig::default()
    };
    let plan = casemate_test_support::guests::plan(&casemate_test_support::guests::echo(), 1);
    let (end, _) = run_plan(&raw.validate().unwrap(), plan, Timeline::start()).unwrap();
    i32::from(end != End::PoweredOffAsAsked)
}

/// What a user does: waits for the guest, asks who runs it, asks it to power off, presses a key.
fn use_it(terminal: &mut File, name: &str, pid: Pid) -> String {
    let mut seen = String::new();
    let mut wait_for = |terminal: &mut File, text: &str| {
        let mut bytes = [0; 256];
        while !seen.contains(text) {
            // The terminal is gone with its last user.
            let Ok(len @ 1..) = terminal.read(&mut bytes) else { break };
            seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        seen.clone()
    };
    let seen = wait_for(terminal, ">");
    let processes = ask(name).unwrap_or_else(|e| panic!("{e}: {seen}"));
    assert!(processes.contains("supervisor"), "{processes}");
    kill_process(pid, Signal::TERM).unwrap();
    wait_for(terminal, "asked the guest to power off");
    terminal.write_all(b"i").unwrap();
    rest(terminal)
}

/// Reads until nobody has the terminal open.
fn rest(terminal: &mut File) -> String {
    let mut seen = Vec::new();
    let _ = terminal.read_to_end(&mut seen);
    String::from_utf8_lossy(&seen).into_owned()
}

/// Observes `body`, a supervisor in a terminal of its own, while `user` sits at it.
fn observe(
    body: impl FnOnce(&OwnedFd) -> i32,
    user: impl FnOnce(&mut File, Pid) -> String + Send + 'static,
) -> (Observed, Exit, String) {
    let (mut at, side) = terminal();
    let (wait, go) = casemate_test_support::sandbox::pipe();
    let no_layers = Layer::ALL.into_iter().fold(Layers::new("supervisor"), Layers::without);
    let mut child = spawn(no_layers, |_born| {
        rustix::io::read(&wait, &mut [0_u8]).unwrap();
        rustix::process::ioctl_tiocsctty(&side).unwrap();
        body(&side)
    })
    .unwrap();
    drop(side);
    let pid = Pid::from_raw(child.pid().cast_signed()).unwrap();
    let observer = Observer::attach(&child).unwrap();
    rustix::io::write(&go, &[1]).unwrap();
    let user = std::thread::spawn(move || user(&mut at, pid));
    let observed = observer.finish().unwrap();
    (observed, child.wait().unwrap(), user.join().unwrap())
}

fn supervisor_profile_allows_what_is_used_and_nothing_else() {
    if casemate_test_support::guests::kvm().is_none() {
        return;
    }
    let name = format!("observed-{}", std::process::id());
    let (mut observed, end, seen) =
        observe(|side| whole_program(side, &name), |terminal, _| rest(terminal));
    let _ = std::fs::remove_file(std::env::temp_dir().join(format!("casemate-{name}")));
    // Bad input would end it before its lock.
    assert!(matches!(end, Exit::Code(status) if status != 2), "{end:?}: {seen}");
    let asker = name.clone();
    let (more, end, seen) =
        observe(|side| echo(side, &name), move |terminal, pid| use_it(terminal, &asker, pid));
    assert_eq!(end, Exit::Code(0), "{seen}");
    observed.merge(more);
    assert_least(&observed, &SUPERVISOR);
}

fn main() -> ExitCode {
    casemate_test_support::sandbox::main(&[(
        "supervisor_profile_allows_what_is_used_and_nothing_else",
        supervisor_profile_allows_what_is_used_and_nothing_else,
    )])
}
