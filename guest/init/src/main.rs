//! PID 1 of a workload: mounts what a program expects, runs it, tells the host its exit status,
//! switches off.
//!
//! A workload is an image, whose root disk the measured command line names (`image.rs`), or a file
//! `/casemate/workload` of the initrd: lines `arg VALUE` (the program first), `env NAME=VALUE` and
//! `disk PATH TABLE`, a read-only disk whose every block dm-verity checks; one at `/` becomes the
//! workload's root. Kernel modules in `/casemate/modules` are loaded in the order of their names
//! first. A press of the power button asks the workload to end, and ends it after a grace time.
//!
//! Principle: PID 1 never panics and never ends; whatever goes wrong is told, as a code where there
//! is one, and the machine switches off. Every wait but that for the workload has a bound.

mod disks;
mod doors;
mod evidence;
mod exchange;
mod image;
mod initdata;
mod limits;
mod loopback;
mod mapper;
mod platform;
mod power_button;
mod process;
mod root;
mod secrets;
mod vsock;

use casemate_init::workload;
use casemate_layout::Refusal;
use power_button::PowerButton;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use rustix::system::RebootCommand;
use std::path::Path;
use std::time::Duration;

/// Exit status told to the host when there is no workload to run.
const NO_WORKLOAD: u8 = 127;
/// How long a workload of an initrd has to end after the power button was pressed.
const GRACE: Duration = Duration::from_secs(5);
/// How long the host has to take what was written to the console.
const DRAIN: Duration = Duration::from_secs(60);

fn main() {
    if std::process::id() != 1 {
        eprintln!("casemate-init: runs only as PID 1 of a guest");
        std::process::exit(2);
    }
    platform::open();
    let mounted = mount_all();
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if cmdline.contains("casemate.root=") {
        let ended = match mounted {
            Ok(()) => image::run(&cmdline),
            Err(()) => Err(Refusal::Mount),
        };
        match ended {
            Ok(image::Ended { status: Some(status) }) => platform::tell_status(status),
            Ok(image::Ended { status: None }) => {}
            Err(refusal) => {
                say(&refusal);
                platform::tell_refusal(refusal);
            }
        }
        power_off();
    }
    run_of_initrd()
}

/// Runs the workload of an initrd without a root disk.
fn run_of_initrd() -> ! {
    if let Err(reason) = load_modules(Path::new("/casemate/modules")) {
        say(&reason);
    }
    platform::mark(casemate_layout::ports::mark::INIT);
    let started = workload::read(Path::new("/casemate/workload")).and_then(|workload| {
        disks::mount_all(&workload.disks)?;
        workload.start()
    });
    let status = match started {
        Ok(child) => {
            platform::mark(casemate_layout::ports::mark::WORKLOAD);
            let signal = Signal::TERM.as_raw();
            PowerButton::open().on_press(move || stop(child, signal, GRACE));
            reap_until(child).byte
        }
        Err(reason) => {
            say(&reason);
            NO_WORKLOAD
        }
    };
    platform::tell_status(status);
    power_off()
}

/// One line on standard error, which is the console where there is one.
fn say(text: &dyn std::fmt::Display) {
    eprintln!("casemate-init: {text}");
}

/// Says what failed, for whoever may read the console, and gives the word for it.
fn said<E: std::fmt::Display>(refusal: Refusal, what: &str) -> impl FnOnce(E) -> Refusal {
    move |error| {
        say(&format_args!("{what}: {error}"));
        refusal
    }
}

/// Waits until what was written to the console has been sent.
///
/// A serial port takes bytes into a buffer and sends them by interrupts (`uart_write`,
/// drivers/tty/serial/serial_core.c); the kernel switches off whatever is left there. While the
/// console is open, as it is here, nobody else waits for that. A host that does not take them holds
/// this up, so the wait has a bound.
fn drain_console() {
    let (sent, wait) = std::sync::mpsc::channel();
    let drain = move || {
        // Standard output may be no terminal: then there is nothing to wait for.
        let _ = rustix::termios::tcdrain(rustix::stdio::stdout());
        let _ = sent.send(());
    };
    if std::thread::Builder::new().spawn(drain).is_ok() {
        let _ = wait.recv_timeout(DRAIN);
    }
}

fn power_off() -> ! {
    drain_console();
    rustix::fs::sync();
    loop {
        // Returns only when the kernel refuses; there is nothing better to do than to try again.
        if let Err(e) = rustix::system::reboot(RebootCommand::PowerOff) {
            say(&format_args!("cannot power off: {e}"));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Mounts the kernel's file systems; each that fails is said.
fn mount_all() -> Result<(), ()> {
    use rustix::mount::{MountFlags, mount};
    const MOUNTS: [(&str, &str); 4] =
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")];
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mut all = Ok(());
    for (kind, target) in MOUNTS {
        let _ = std::fs::create_dir_all(target);
        // devtmpfs may be mounted by the kernel already.
        if let Err(e) = mount(kind, target, kind, flags, None)
            && e != rustix::io::Errno::BUSY
        {
            say(&format_args!("cannot mount {target}: {e}"));
            all = Err(());
        }
    }
    all
}

/// Loads the modules of a folder in the order of their names: all of them, and the first failure
/// is told. A module that is there already is none.
fn load_modules(directory: &Path) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut all = Ok(());
    for path in paths {
        /// `MODULE_INIT_COMPRESSED_FILE`: the kernel decompresses it.
        const COMPRESSED: i32 = 4;
        let compressed = path.extension().is_some_and(|e| e == "xz" || e == "zst" || e == "gz");
        let load = |file: std::fs::File| {
            let flags = if compressed { COMPRESSED } else { 0 };
            match rustix::system::finit_module(&file, c"", flags) {
                Err(rustix::io::Errno::EXIST) => Ok(()),
                done => done.map_err(std::io::Error::from),
            }
        };
        if let Err(e) = std::fs::File::open(&path).and_then(load) {
            let told = format!("cannot load {}: {e}", path.display());
            // Processor features: a module for faster code that this processor lacks is no loss.
            if e.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
                continue;
            }
            all = all.and(Err(told));
        }
    }
    all
}

/// How a process ended.
struct Status {
    /// As a shell gives it.
    byte: u8,
    /// By a signal.
    killed: bool,
}

/// Reaps every process until `child` has ended.
fn reap_until(child: Pid) -> Status {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return status_of(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Status { byte: NO_WORKLOAD, killed: false },
        }
    }
}

fn status_of(status: WaitStatus) -> Status {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    let killed = status.terminating_signal().is_some();
    Status { byte: u8::try_from(code & 0xff).unwrap_or(255), killed }
}

/// Asks the workload to end, and ends it after a grace time; the main thread then switches off.
fn stop(child: Pid, signal: i32, grace: Duration) {
    let signal = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
    let _ = kill_process(child, signal);
    std::thread::sleep(grace);
    let _ = kill_process(child, Signal::KILL);
}
