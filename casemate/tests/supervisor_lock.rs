//! The lock of the supervisor: a run in which everything happens that a supervisor serves uses
//! every rule of its profile, and makes no other call. Skipped, and said so, without /dev/kvm or
//! not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_console::{Attended, HostConsole, Messages, Signals, Timeline, attend};
use casemate_hypervisor::config::{RawConfig, RawConsole};
use casemate_hypervisor::vm::name::ask;
use casemate_hypervisor::vm::profile::SUPERVISOR;
use casemate_hypervisor::vm::{End, ProcessKind, Programs, prepare_plan};
use casemate_sandbox::{Exit, Heap, Layer, Layers, Observed, Observer, Program, spawn};
use casemate_test_support::guests::{dx, power_off};
use casemate_test_support::sandbox::assert_least;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// As the program has it.
#[global_allocator]
static HEAP: Heap = Heap::new();

static VMM: Program = Program::new("casemate-vmm", include_bytes!(env!("CASEMATE_VMM_IMAGE")));
static PROGRAMS: Programs<'_> =
    Programs { vmm: &VMM, device: include_bytes!(env!("CASEMATE_DEVICE_IMAGE")) };

/// A new terminal: the user's side and the program's side.
fn terminal() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let side = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    (File::from(master), side.into())
}

/// Replaces the process by `casemate run` in the foreground of `terminal`: the whole life of the
/// program. The guest may end as it likes.
fn whole_program(terminal: &OwnedFd, name: &str, log: &[&str]) -> i32 {
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
        .args(log)
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .exec();
    panic!("{error}");
}

/// Runs `code` as a guest, and stays with it as the program does; the user's terminal is all three
/// standard descriptors.
fn attended(terminal: &OwnedFd, code: &[u8], raw: RawConfig) -> Attended {
    rustix::stdio::dup2_stdin(terminal).unwrap();
    rustix::stdio::dup2_stdout(terminal).unwrap();
    rustix::stdio::dup2_stderr(terminal).unwrap();
    let raw = RawConfig {
        kernel: Some("unused".into()),
        protection: Some("none".into()),
        timeout: Some("2m".into()),
        grace: Some("1m".into()),
        ..raw
    };
    let config = raw.validate().unwrap();
    let prepared =
        prepare_plan(&config, casemate_test_support::guests::plan(code, 1), PROGRAMS).unwrap();
    let (signals, mut timeline) = (Signals::take_over().unwrap(), Timeline::start());
    let console = HostConsole::open(&config.console).unwrap();
    let vm = prepared.start().unwrap();
    let mut say = |line: &str| {
        let _ = writeln!(std::io::stderr(), "casemate: {line}");
    };
    attend(
        vm,
        console,
        &signals,
        &mut timeline,
        config.grace,
        Messages { say: &mut say, to: rustix::stdio::stderr(), log: None, results: None },
    )
}

/// Runs a guest that prints `>`, waits for a key, and switches off.
fn echo(terminal: &OwnedFd, name: &str) -> i32 {
    let raw = RawConfig { name: Some(name.into()), ..RawConfig::default() };
    let attended = attended(terminal, &casemate_test_support::guests::echo(), raw);
    i32::from(attended.end != End::PoweredOffAsAsked || attended.loss.is_some())
}

/// Runs a guest that fills its console file several times.
fn fill(terminal: &OwnedFd, file: &Path) -> i32 {
    let raw = RawConfig {
        console: Some(RawConsole::File(file.to_owned())),
        console_limit: Some("8K".into()),
        ..RawConfig::default()
    };
    // mov rsi, DATA; mov ecx, 30000; cld; rep outsb
    let address = casemate_test_support::guests::DATA.to_le_bytes();
    let flood =
        [&[0x48, 0xbe][..], &address, &[0xb9], &30_000_u32.to_le_bytes(), &[0xfc, 0xf3, 0x6e]];
    let code = [&dx(0x3f8)[..], &flood.concat(), &power_off()].concat();
    let attended = attended(terminal, &code, raw);
    i32::from(!matches!(attended.end, End::Stopped(_)) || attended.loss.is_some())
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
    let kinds: Vec<_> = processes.iter().map(|process| process.kind).collect();
    assert_eq!(kinds, [ProcessKind::Supervisor, ProcessKind::Vmm]);
    // As a shell's job control does: the terminal has lines while the program is stopped.
    kill_process(pid, Signal::TSTP).unwrap();
    while !has_lines(terminal) {
        std::thread::yield_now();
    }
    // The program stops itself a moment later, so it is continued until it goes on.
    while has_lines(terminal) {
        kill_process(pid, Signal::CONT).unwrap();
        std::thread::yield_now();
    }
    kill_process(pid, Signal::TERM).unwrap();
    wait_for(terminal, "asked the guest to power off");
    terminal.write_all(b"i").unwrap();
    rest(terminal)
}

/// Whether the terminal edits lines, as a shell leaves it.
fn has_lines(terminal: &File) -> bool {
    let settings = rustix::termios::tcgetattr(terminal).unwrap();
    settings.local_modes.contains(rustix::termios::LocalModes::ICANON)
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

/// The calls that the lock did not allow.
fn refused(observed: &Observed) -> Vec<String> {
    let usage = observed.usage(1, &SUPERVISOR, None).unwrap();
    usage.refused.iter().map(ToString::to_string).collect()
}

fn supervisor_profile_allows_what_is_used_and_nothing_else() {
    if casemate_test_support::guests::kvm().is_none() {
        return;
    }
    let name = format!("observed-{}", std::process::id());
    let place = std::env::temp_dir().join(format!("casemate-{name}"));
    let (mut observed, end, seen) =
        observe(|side| whole_program(side, &name, &[]), |terminal, _| rest(terminal));
    // Bad input would end it before its lock.
    assert!(matches!(end, Exit::Code(status) if status != 2), "{end:?}: {seen}");
    // With all that can be logged, to the terminal and to a file: no other call.
    let log = place.with_extension("log");
    for more in [&[][..], &["--log-file", log.to_str().unwrap(), "--log-format", "json"]] {
        let arguments = [&["--log", "trace"], more].concat();
        let (more, end, seen) =
            observe(|side| whole_program(side, &name, &arguments), |at, _| rest(at));
        assert!(matches!(end, Exit::Code(status) if status != 2), "{end:?}: {seen}");
        observed.merge(more);
    }
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains("the VM has ended"), "{logged}");
    [&place, &log].into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let asker = name.clone();
    let (more, end, seen) =
        observe(|side| echo(side, &name), move |terminal, pid| use_it(terminal, &asker, pid));
    assert_eq!(end, Exit::Code(0), "{:?}: {seen}", refused(&more));
    observed.merge(more);
    let file = std::env::temp_dir().join(format!("casemate-filled-{}", std::process::id()));
    let (more, end, seen) = observe(|side| fill(side, &file), |terminal, _| rest(terminal));
    assert_eq!(end, Exit::Code(0), "{:?}: {seen}", refused(&more));
    observed.merge(more);
    let before = file.with_extension("1");
    let sizes = [&file, &before].map(|file| std::fs::metadata(file).map_or(0, |m| m.len()));
    [&file, &before].into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
    assert_eq!(sizes, [30_000 % 8192, 8192]);
    assert_least(&observed, &SUPERVISOR);
}

fn main() -> ExitCode {
    casemate_test_support::sandbox::main(&[(
        "supervisor_profile_allows_what_is_used_and_nothing_else",
        supervisor_profile_allows_what_is_used_and_nothing_else,
    )])
}
