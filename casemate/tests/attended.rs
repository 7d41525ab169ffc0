//! What a user of a running VM sees and can do: keys, signals, the terminal, lost output. Each test
//! runs the real supervisor, locked, with a guest of a few instructions, in a session and terminal
//! of its own.
//!
//! They cannot tell how a stock kernel's driver uses the serial port (tests/e2e does), nor what a
//! terminal emulator makes of what it is shown. Skipped, and said so, without /dev/kvm or not as
//! root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_console::{Cause, HostConsole, Messages, Signals, Timeline, attend};
use casemate_hypervisor::config::{RawConfig, RawConsole};
use casemate_hypervisor::vm::{End, Programs, prepare_plan};
use casemate_sandbox::{Child, Exit, Layer, Layers, Program, spawn};
use casemate_test_support::guests::{DATA, dx, kvm, out, plan, power_off};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

static VMM: Program = Program::new("casemate-vmm", include_bytes!(env!("CASEMATE_VMM_IMAGE")));
static PROGRAMS: Programs<'_> =
    Programs { vmm: &VMM, device: include_bytes!(env!("CASEMATE_DEVICE_IMAGE")) };

/// What the session's process ends with, so that a test can tell.
const SUCCESS: i32 = 0;
const PANICKED: i32 = 101;
const AS_ASKED: i32 = 40;
const KILLED: i32 = 41;
const GRACE_OVER: i32 = 42;
const OTHER: i32 = 43;
const TOO_SLOW: i32 = 50;
const READER_GONE: i32 = 51;
const CANNOT_WRITE: i32 = 52;
const LOST_AT_THE_END: i32 = 53;

fn print(text: &[u8]) -> Vec<u8> {
    let bytes = text.iter().flat_map(|byte| out(*byte));
    dx(0x3f8).into_iter().chain(bytes).collect()
}

/// Prints `>`, then every byte that comes, until `~`; then switches off.
fn echo() -> Vec<u8> {
    // 1: mov dx, 0x3fd; 2: in al, dx; test al, 1; jz 2b; mov dx, 0x3f8; in al, dx; out dx, al;
    // cmp al, '~'; jne 1b
    let wait = [&dx(0x3fd)[..], &[0xec, 0xa8, 1, 0x74, 0xfb]].concat();
    let copy = [&dx(0x3f8)[..], &[0xec, 0xee, 0x3c, b'~']].concat();
    let back = u8::try_from(256 - (wait.len() + copy.len() + 2)).unwrap();
    [print(b">"), wait, copy, vec![0x75, back], power_off()].concat()
}

/// Prints `>` and hears nothing any more: no interrupt, so no power button.
fn deaf() -> Vec<u8> {
    // cli; hlt; jmp to itself
    [print(b">"), vec![0xfa, 0xf4, 0xeb, 0xfd]].concat()
}

/// Prints `count` zero bytes, then switches off.
fn flood(count: u32) -> Vec<u8> {
    // mov rsi, DATA; mov ecx, count; cld; rep outsb
    let from = [&[0x48, 0xbe][..], &DATA.to_le_bytes(), &[0xb9], &count.to_le_bytes()].concat();
    [dx(0x3f8), from, vec![0xfc, 0xf3, 0x6e], power_off()].concat()
}

/// A user at a terminal, in which the program runs.
struct Session {
    child: Child,
    at: File,
    before: Termios,
    seen: Vec<u8>,
}

/// What the process of a session does before it stays with its VM.
type Prepare<'a> = &'a dyn Fn();

impl Session {
    /// Starts `code` with standard descriptors that `prepare` may replace.
    fn start(code: &[u8], raw: RawConfig, prepare: Prepare<'_>) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let side = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let side = OwnedFd::from(side);
        let before = tcgetattr(&side).unwrap();
        let no_layers = Layer::ALL.into_iter().fold(Layers::new("session"), Layers::without);
        let child = spawn(no_layers, |_born| {
            rustix::process::ioctl_tiocsctty(&side).unwrap();
            rustix::stdio::dup2_stdin(&side).unwrap();
            rustix::stdio::dup2_stdout(&side).unwrap();
            rustix::stdio::dup2_stderr(&side).unwrap();
            prepare();
            stay_with(code, raw)
        });
        Self { child: child.unwrap(), at: File::from(master), before, seen: Vec::new() }
    }

    fn at_a_terminal(code: &[u8]) -> Self {
        Self::start(code, RawConfig::default(), &|| ())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.pid().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn types(&mut self, keys: &[u8]) {
        self.at.write_all(keys).unwrap();
    }

    /// Reads until the terminal has shown `text`.
    fn sees(&mut self, text: &[u8]) {
        let mut bytes = [0; 256];
        while !self.seen.windows(text.len()).any(|window| window == text) {
            match self.at.read(&mut bytes) {
                Ok(len @ 1..) => self.seen.extend_from_slice(&bytes[..len]),
                _ => panic!("{:?} not in {:?}", text.escape_ascii().to_string(), self.shown()),
            }
        }
    }

    fn shown(&self) -> String {
        self.seen.escape_ascii().to_string()
    }

    /// Whether the terminal edits lines, as the user's shell left it.
    fn has_lines(&self) -> bool {
        tcgetattr(&self.at).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Waits for the end; its status.
    fn ends(&mut self) -> i32 {
        // The hold on the terminal keeps what is written last readable, so that is read first.
        let mut bytes = [0; 256];
        let settings = loop {
            if let Some(exit) = self.child.wait_at_most(10).unwrap() {
                break exit;
            }
            let flags = rustix::fs::OFlags::NONBLOCK;
            rustix::fs::fcntl_setfl(&self.at, flags).unwrap();
            if let Ok(len @ 1..) = self.at.read(&mut bytes) {
                self.seen.extend_from_slice(&bytes[..len]);
            }
        };
        while let Ok(len @ 1..) = self.at.read(&mut bytes) {
            self.seen.extend_from_slice(&bytes[..len]);
        }
        match settings {
            Exit::Code(code) => code,
            other => panic!("{other}: {}", self.shown()),
        }
    }

    /// Asserts that the terminal has the settings that it had before.
    fn is_as_found(&self, after: &str) {
        let now = tcgetattr(&self.at).unwrap();
        let modes = |t: &Termios| (t.input_modes, t.output_modes, t.local_modes, t.control_modes);
        assert_eq!(modes(&now), modes(&self.before), "after {after}: {}", self.shown());
    }
}

/// What `casemate run` does from the plan on.
fn stay_with(code: &[u8], raw: RawConfig) -> i32 {
    let raw = RawConfig {
        kernel: Some("unused".into()),
        protection: Some("none".into()),
        timeout: Some("3m".into()),
        ..raw
    };
    let config = raw.validate().unwrap();
    let prepared = prepare_plan(&config, plan(code, 1), PROGRAMS).unwrap();
    let (signals, mut timeline) = (Signals::take_over().unwrap(), Timeline::start());
    let console = HostConsole::open(&config.console).unwrap();
    let vm = prepared.start().unwrap();
    let mut say = |line: &str| {
        // A panic on purpose, in the locked process.
        let on_purpose = PANIC.load(std::sync::atomic::Ordering::Relaxed);
        assert!(!(line.starts_with("keys:") && on_purpose), "on purpose");
        let _ = writeln!(std::io::stderr(), "casemate: {line}\r");
    };
    let attended = attend(
        vm,
        console,
        &signals,
        &mut timeline,
        config.grace,
        Messages { say: &mut say, to: rustix::stdio::stderr(), log: None, results: None },
    );
    if let Some(loss) = attended.loss {
        let _ = writeln!(std::io::stderr(), "casemate: {loss}\r");
        return match loss.cause {
            Cause::TooSlow(_) => TOO_SLOW,
            Cause::ReaderGone => READER_GONE,
            Cause::CannotWrite { .. } => CANNOT_WRITE,
            Cause::Ended => LOST_AT_THE_END,
        };
    }
    match attended.end {
        End::Stopped(stop) if stop.is_success() => SUCCESS,
        End::PoweredOffAsAsked => AS_ASKED,
        End::Killed => KILLED,
        End::GraceOver(_) => GRACE_OVER,
        other => {
            let _ = writeln!(std::io::stderr(), "{other:?}");
            OTHER
        }
    }
}

fn raw_console() -> RawConfig {
    RawConfig { console: Some(RawConsole::Raw), ..RawConfig::default() }
}

/// Protects what a user types: Enter is CR, flow control and the line editor's keys are the
/// guest's.
fn keys_reach_the_guest_as_they_are_typed() {
    let Some(_) = kvm() else { return };
    let mut user = Session::start(&echo(), raw_console(), &|| ());
    user.sees(b">");
    // The escape key twice is one of it; behind it `c`, `z` and `\` are keys that stay the
    // terminal's.
    user.types(b"a\r\x13\x11\x16\x0f\x04\x15\x17\x7f\x01\x01\x01c\x01z\x01\\b~");
    user.sees(b"a\r\x13\x11\x16\x0f\x04\x15\x17\x7f\x01\x03\x1a\x1cb~");
    assert_eq!(user.ends(), SUCCESS, "{}", user.shown());
    user.is_as_found("a guest's end");
    assert!(user.shown().contains("Ctrl-A x ends the VM"), "{}", user.shown());
}

/// Protects the user's shell: however the program ends, the terminal is as it was. SIGKILL is the
/// one end after which nothing can be done.
fn the_terminal_is_set_back_by_every_end() {
    let Some(_) = kvm() else { return };
    type End = fn(&mut Session);
    let grace = || RawConfig { grace: Some("200ms".into()), ..RawConfig::default() };
    let ends: [(&str, i32, End); 6] = [
        ("SIGHUP", GRACE_OVER, |user| user.signal(Signal::HUP)),
        ("SIGTERM", GRACE_OVER, |user| user.signal(Signal::TERM)),
        ("Ctrl-C", GRACE_OVER, |user| user.types(b"\x03")),
        ("Ctrl-\\", KILLED, |user| user.types(b"\x1c")),
        ("Ctrl-A x", KILLED, |user| user.types(b"\x01x")),
        ("Ctrl-A p", GRACE_OVER, |user| user.types(b"\x01p")),
    ];
    for (name, status, end) in ends {
        let mut user = Session::start(&deaf(), grace(), &|| ());
        user.sees(b">");
        assert!(!user.has_lines(), "{name}");
        end(&mut user);
        assert_eq!(user.ends(), status, "{name}: {}", user.shown());
        user.is_as_found(name);
    }
}

/// The released program ends at a panic without unwinding; here the hook alone sets back, too,
/// since it runs before anything is unwound.
fn a_panic_sets_the_terminal_back() {
    let Some(_) = kvm() else { return };
    let mut user = Session::start(&echo(), RawConfig::default(), &panic_later);
    assert_eq!(user.ends(), PANICKED, "{}", user.shown());
    user.is_as_found("a panic");
}

fn panic_later() {
    PANIC.store(true, std::sync::atomic::Ordering::Relaxed);
}
static PANIC: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Protects job control: a stopped program leaves the shell its terminal, a continued one takes it
/// again.
fn a_stopped_program_gives_the_terminal_back_and_takes_it_again_when_continued() {
    let Some(_) = kvm() else { return };
    let mut user = Session::start(&echo(), raw_console(), &|| ());
    user.sees(b">");
    user.types(b"\x1a");
    while !user.has_lines() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    user.is_as_found("Ctrl-Z");
    // It stops itself a moment later, so it is continued until it goes on.
    while user.has_lines() {
        user.signal(Signal::CONT);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    user.types(b"on\r~");
    user.sees(b"on\r~");
    assert_eq!(user.ends(), SUCCESS, "{}", user.shown());
    user.is_as_found("the end");
}

/// Protects the user's clipboard, title and shell: what a guest sends to act on the terminal stays
/// away.
fn a_terminal_gets_nothing_from_a_guest_that_could_act_on_it() {
    let Some(_) = kvm() else { return };
    let acts =
        b"<\x1b]52;c;cHduZWQ=\x07\x1b]0;pwned\x07\x1b[21t\x1b[6n\x1bP$qm\x1b\\\x05\x1b[1mok\x1b[m>";
    let code = [print(acts), power_off()].concat();
    let mut user = Session::at_a_terminal(&code);
    user.sees(b"<\x1b[1mok\x1b[m>");
    assert_eq!(user.ends(), SUCCESS, "{}", user.shown());
    assert!(user.shown().contains("--console raw"), "{}", user.shown());
    let mut user = Session::start(&code, raw_console(), &|| ());
    user.sees(acts);
    assert_eq!(user.ends(), SUCCESS, "{}", user.shown());
}

/// Protects who asks a VM to end, `timeout` for one: a guest that does not listen is ended all the
/// same.
fn a_guest_that_ignores_its_power_button_is_ended_after_the_grace() {
    let Some(_) = kvm() else { return };
    let raw = RawConfig { grace: Some("300ms".into()), ..RawConfig::default() };
    let mut user = Session::start(&deaf(), raw, &|| ());
    user.sees(b">");
    user.signal(Signal::TERM);
    user.sees(b"asked the guest to power off");
    assert_eq!(user.ends(), GRACE_OVER, "{}", user.shown());
}

/// Output of which the buffers between a guest and its reader hold a part only.
const FLOOD: u32 = 500_000;

fn standard_output_to(file: File) -> impl Fn() {
    move || rustix::stdio::dup2_stdout(&file).unwrap()
}

/// Protects results, which come back by this channel alone: a reader that comes late gets every
/// byte.
fn a_reader_that_comes_late_gets_every_byte() {
    let Some(_) = kvm() else { return };
    let (read, write) = casemate_test_support::sandbox::pipe();
    let prepare = standard_output_to(write.into());
    let mut user = Session::start(&flood(FLOOD), RawConfig::default(), &prepare);
    drop(prepare);
    // Until it can do nothing but wait: the time it takes for that decides nothing.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let mut bytes = Vec::new();
    File::from(read).read_to_end(&mut bytes).unwrap();
    assert_eq!((user.ends(), bytes.len()), (SUCCESS, FLOOD as usize), "{}", user.shown());
}

/// Protects who waits for the end: bytes that cannot be delivered have words and a status by their
/// cause.
fn bytes_that_are_lost_are_counted_and_say_why() {
    let Some(_) = kvm() else { return };
    let full = File::options().write(true).open("/dev/full").unwrap();
    let prepare = standard_output_to(full);
    let mut user = Session::start(&flood(FLOOD), RawConfig::default(), &prepare);
    assert_eq!(user.ends(), CANNOT_WRITE, "{}", user.shown());
    let words = ["No space left on device", "casemate: 500000 bytes of the guest"];
    assert!(words.iter().all(|word| user.shown().contains(word)), "{}", user.shown());

    let (read, write) = casemate_test_support::sandbox::pipe();
    drop(read);
    let prepare = standard_output_to(write.into());
    let mut user = Session::start(&flood(FLOOD), RawConfig::default(), &prepare);
    assert_eq!(user.ends(), READER_GONE, "{}", user.shown());
    assert!(user.shown().contains("its reader has closed its end"), "{}", user.shown());

    let (_read, write) = casemate_test_support::sandbox::pipe();
    let prepare = standard_output_to(write.into());
    let raw = RawConfig { console_wait: Some("200ms".into()), ..RawConfig::default() };
    let mut user = Session::start(&flood(FLOOD), raw, &prepare);
    assert_eq!(user.ends(), TOO_SLOW, "{}", user.shown());
    assert!(user.shown().contains("its reader took nothing for 200ms"), "{}", user.shown());
}

/// Protects who ends a VM whose reader hangs: ending waits for nobody.
fn ending_a_vm_waits_for_no_reader() {
    let Some(_) = kvm() else { return };
    let (read, write) = casemate_test_support::sandbox::pipe();
    let prepare = standard_output_to(write.into());
    let mut user = Session::start(&flood(FLOOD), RawConfig::default(), &prepare);
    // Until the pipe is full, however large it is: nothing comes any more.
    let (mut before, mut now) = (0, 0);
    while now == 0 || now != before {
        std::thread::sleep(std::time::Duration::from_millis(700));
        (before, now) = (now, rustix::io::ioctl_fionread(&read).unwrap());
    }
    user.signal(Signal::QUIT);
    assert_eq!(user.ends(), LOST_AT_THE_END, "{}", user.shown());
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        keys_reach_the_guest_as_they_are_typed,
        the_terminal_is_set_back_by_every_end,
        a_panic_sets_the_terminal_back,
        a_stopped_program_gives_the_terminal_back_and_takes_it_again_when_continued,
        a_terminal_gets_nothing_from_a_guest_that_could_act_on_it,
        a_guest_that_ignores_its_power_button_is_ended_after_the_grace,
        a_reader_that_comes_late_gets_every_byte,
        bytes_that_are_lost_are_counted_and_say_why,
        ending_a_vm_waits_for_no_reader,
    ])
}
