//! A workload that is an image: from the kernel's entry to its end, in order.

use crate::exchange::Exchange;
use crate::limits::Limits;
use crate::power_button::PowerButton;
use crate::{
    Status, doors, initdata, load_modules, loopback, platform, process, reap_until, root, say,
    secrets, stop,
};
use casemate_layout::{Refusal, ports::mark};
use casemate_manifest::{Console, Manifest, RootDisk};
use casemate_result::{Cause, Ending};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, Timespec, clock_settime};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a workload has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// Signals that whoever is in the guest may send to PID 1, for the workload.
const FORWARDED: [i32; 6] = [
    signal_hook::consts::SIGHUP,
    signal_hook::consts::SIGINT,
    signal_hook::consts::SIGQUIT,
    signal_hook::consts::SIGTERM,
    signal_hook::consts::SIGUSR1,
    signal_hook::consts::SIGUSR2,
];

/// How a workload ended, as far as the host may know.
pub struct Ended {
    /// Its exit status; None where the image lets nobody know.
    pub status: Option<u8>,
}

/// Runs the image whose root disk the command line names.
///
/// # Errors
/// Why nothing was started.
pub fn run(cmdline: &str) -> Result<Ended, Refusal> {
    let disk = RootDisk::from_cmdline(cmdline).map_err(|e| {
        say(&e);
        Refusal::Cmdline
    })?;
    load_modules(Path::new("/casemate/modules")).map_err(|e| {
        say(&e);
        Refusal::Module
    })?;
    platform::mark(mark::INIT);
    // Open before devices are out of reach.
    let button = PowerButton::open();
    let write_only = |path| File::options().write(true).open(path);
    let port = write_only("/dev/ttyS0");
    // PID 1's own descriptors of it are the kernel's, and can be read from as well.
    let console = write_only("/dev/console");
    let manifest = root::mount_verified(&disk)?;
    speak(&manifest, port);
    let recipients = &manifest.results.recipients;
    let exchange = if recipients.is_empty() { None } else { Some(Exchange::open()?) };
    let ask = manifest.broker.as_ref().map(initdata::of_launch).transpose()?;
    root::switch()?;
    doors::prepare()?;
    loopback::up().map_err(|e| {
        say(&format_args!("the loopback interface: {e}"));
        Refusal::Prepare
    })?;
    secrets::folder()?;
    at_least(manifest.time_floor);
    match ask {
        Some(broker) => secrets::fetch(&manifest, broker)?,
        None => secrets::clock_is(secrets::Clock::Host)?,
    }
    doors::close()?;
    let begin = |exchange: Exchange| exchange.begin(recipients, &manifest.process.user);
    let run = exchange.map(begin).transpose()?;
    // When the inputs are in memory: what is left of it is the workload's.
    let limits = Limits::set()?;
    let console = console.ok().filter(|_| manifest.console == Console::Public);
    let ending = start(&manifest, button, limits, console.as_ref())?;
    run.map_or(Ok(()), |run| run.deliver(ending))?;
    let told = manifest.console != Console::None;
    Ok(Ended { status: told.then_some(ending.status) })
}

/// From here on the manifest says who hears: where PID 1 may speak and the kernel may not, standard
/// error is the serial port, which is no console then.
fn speak(manifest: &Manifest, port: std::io::Result<File>) {
    if manifest.debug {
        say(&"this is a DEBUG image: its console is everybody's");
    }
    if manifest.console == Console::Status
        && let Ok(port) = port
    {
        let _ = rustix::stdio::dup2_stderr(port);
    }
}

/// Sets the clock to the least that it can be. It is the host's otherwise, and may say 1970.
fn at_least(floor: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    if let (true, Ok(seconds)) = (now < floor, i64::try_from(floor)) {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        if let Err(e) = clock_settime(ClockId::Realtime, time) {
            say(&format_args!("cannot set the clock: {e}"));
        }
    }
}

fn start(
    manifest: &Manifest,
    button: PowerButton,
    limits: Limits,
    console: Option<&File>,
) -> Result<Ending, Refusal> {
    // Before the workload is there: a signal that comes early waits in the pipe of the handler.
    let signals = Signals::new(FORWARDED).map_err(|e| {
        say(&format_args!("signals: {e}"));
        Refusal::Internal
    })?;
    platform::mark(mark::WORKLOAD);
    let child = process::start(&manifest.process, &limits, console).map_err(|e| {
        say(&format_args!("cannot start the workload: {e}"));
        Refusal::Program
    })?;
    forward(signals, child);
    let signal = i32::from(manifest.process.stop_signal);
    button.on_press(move || stop(child, signal, GRACE));
    let Status { byte: status, killed } = reap_until(child);
    let cause = match (limits.ran_out(), killed) {
        (true, _) => Cause::Memory,
        (false, true) => Cause::Signal,
        (false, false) => Cause::Exit,
    };
    let ending = Ending { status, cause };
    if cause != Cause::Exit {
        say(&format_args!("the workload {ending}"));
    }
    Ok(ending)
}

/// Passes signals on, on a thread of its own, as long as the guest runs.
fn forward(mut signals: Signals, child: Pid) {
    let pass_on = move || {
        for number in signals.forever() {
            if let Some(signal) = Signal::from_named_raw(number) {
                let _ = kill_process(child, signal);
            }
        }
    };
    let _ = std::thread::Builder::new().name("signals".into()).spawn(pass_on);
}
