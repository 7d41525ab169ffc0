//! PID 1 of a workload: mounts what a program expects, runs it, tells the host its exit status,
//! switches off.
//!
//! The workload is the file `/casemate/workload` of the initrd: lines `arg VALUE` (the program
//! first), `env NAME=VALUE` and `disk PATH TABLE`, a read-only disk whose every block dm-verity
//! checks; one at `/` becomes the workload's root. Kernel modules in `/casemate/modules` are loaded
//! in the order of their names first. A press of the power button sends the workload SIGTERM, and SIGKILL after a
//! grace time.
//!
//! Principle: PID 1 never panics and never ends; whatever goes wrong is printed and the machine
//! switches off.

mod disks;
mod platform;
mod power_button;
mod verity;

use casemate_init::workload;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use rustix::system::RebootCommand;
use std::path::Path;
use std::time::Duration;

/// Exit status told to the host when there is no workload to run.
const NO_WORKLOAD: u8 = 127;
/// How long a workload has to end after the power button was pressed.
const GRACE: Duration = Duration::from_secs(5);

fn main() {
    if std::process::id() != 1 {
        eprintln!("casemate-init: runs only as PID 1 of a guest");
        std::process::exit(2);
    }
    mount_all();
    load_modules(Path::new("/casemate/modules"));
    platform::mark(casemate_layout::ports::mark::INIT);
    let started = workload::read(Path::new("/casemate/workload")).and_then(|workload| {
        disks::mount_all(&workload.disks)?;
        workload.start()
    });
    let status = match started {
        Ok(child) => {
            platform::mark(casemate_layout::ports::mark::WORKLOAD);
            power_button::on_press(move || stop(child));
            reap_until(child)
        }
        Err(reason) => {
            eprintln!("casemate-init: {reason}");
            NO_WORKLOAD
        }
    };
    platform::tell_status(status);
    power_off()
}

fn power_off() -> ! {
    rustix::fs::sync();
    loop {
        // Returns only when the kernel refuses; there is nothing better to do than to try again.
        if let Err(e) = rustix::system::reboot(RebootCommand::PowerOff) {
            eprintln!("casemate-init: cannot power off: {e}");
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn mount_all() {
    use rustix::mount::{MountFlags, mount};
    const MOUNTS: [(&str, &str); 4] =
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")];
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    for (kind, target) in MOUNTS {
        let _ = std::fs::create_dir_all(target);
        // devtmpfs may be mounted by the kernel already.
        if let Err(e) = mount(kind, target, kind, flags, None)
            && e != rustix::io::Errno::BUSY
        {
            eprintln!("casemate-init: cannot mount {target}: {e}");
        }
    }
}

fn load_modules(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        /// `MODULE_INIT_COMPRESSED_FILE`: the kernel decompresses it.
        const COMPRESSED: i32 = 4;
        let compressed = path.extension().is_some_and(|e| e == "xz" || e == "zst" || e == "gz");
        let loaded = std::fs::File::open(&path).map_err(|e| e.to_string()).and_then(|file| {
            rustix::system::finit_module(&file, c"", if compressed { COMPRESSED } else { 0 })
                .map_err(|e| e.to_string())
        });
        if let Err(e) = loaded {
            eprintln!("casemate-init: cannot load {}: {e}", path.display());
        }
    }
}

/// Reaps every process until `child` has ended; its exit status as a shell gives it.
fn reap_until(child: Pid) -> u8 {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => return status_byte(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return NO_WORKLOAD,
        }
    }
}

fn status_byte(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    u8::try_from(code & 0xff).unwrap_or(255)
}

/// Ends the workload; the main thread then switches off.
fn stop(child: Pid) {
    let _ = kill_process(child, Signal::TERM);
    std::thread::sleep(GRACE);
    let _ = kill_process(child, Signal::KILL);
}
