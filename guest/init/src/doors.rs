//! What a workload finds, and what it does not: file systems with nothing in them that opens a way
//! into the kernel, and settings that nobody can take back.
//!
//! Root without capabilities still owns the files of `/proc/sys`: a core pattern that names a
//! program would make it the kernel's. So they are read-only, too, and by a mount that needs
//! `CAP_SYS_ADMIN` to change.

use casemate_layout::Refusal;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, symlink};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};
use std::ffi::CStr;

/// Kernel, target, flags, options of each file system. Sizes are bounded: what fills them would
/// take the guest's memory. `/sys` is read-only, and nobody sees a process that it could not trace:
/// not by group 0 either, as with `invisible`.
const MOUNTS: [(&str, &str, MountFlags, Option<&CStr>); 7] = [
    ("proc", "/proc", CLOSED, Some(c"hidepid=ptraceable")),
    ("sysfs", "/sys", CLOSED.union(MountFlags::RDONLY), None),
    ("tmpfs", "/dev", MountFlags::NOSUID.union(MountFlags::NOEXEC), Some(c"mode=755,size=64k")),
    (
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID.union(MountFlags::NOEXEC),
        Some(c"mode=620,ptmxmode=666"),
    ),
    ("tmpfs", "/dev/shm", CLOSED, Some(c"mode=1777,size=25%")),
    ("tmpfs", "/run", MountFlags::NOSUID.union(MountFlags::NODEV), Some(c"mode=755,size=25%")),
    ("tmpfs", "/tmp", MountFlags::NOSUID.union(MountFlags::NODEV), Some(c"mode=1777,size=25%")),
];
const CLOSED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// The devices of a workload, by the numbers of Linux' admin-guide/devices.txt.
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Settings, and what each closes. One that a kernel does not have is a door that it does not have:
/// it was built without modules, without kexec.
const SETTINGS: [(&str, &str); 13] = [
    // No module any more: all that are needed are loaded.
    ("kernel/modules_disabled", "1"),
    // Programs that the kernel starts by itself, as root: none of a module, others without a
    // capability.
    ("kernel/modprobe", ""),
    ("kernel/usermodehelper/bset", "0 0"),
    ("kernel/usermodehelper/inheritable", "0 0"),
    // In a user namespace of its own everybody has all capabilities.
    ("user/max_user_namespaces", "0"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/sysrq", "0"),
    // A core would be written by the kernel to where a program says.
    ("kernel/core_pattern", ""),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/perf_event_paranoid", "3"),
];

/// Mounts what a workload needs, in the root that is in place.
///
/// # Errors
/// [`Refusal::Prepare`].
pub fn prepare() -> Result<(), Refusal> {
    let failed = |what: &str, e: Errno| {
        eprintln!("casemate-init: {what}: {e}");
        Refusal::Prepare
    };
    for (kind, target, flags, options) in MOUNTS {
        if target.starts_with("/dev/") {
            rustix::fs::mkdir(target, Mode::from_raw_mode(0o755)).map_err(|e| failed(target, e))?;
        }
        mount(kind, target, kind, flags, options).map_err(|e| failed(target, e))?;
    }
    for (path, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(major, minor))
            .and_then(|()| rustix::fs::chmod(path, mode))
            .map_err(|e| failed(path, e))?;
    }
    for (to, path) in LINKS {
        symlink(to, path).map_err(|e| failed(path, e))?;
    }
    // What somebody mounts elsewhere does not come here.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| failed("/", e))
}

/// Closes what is open into the kernel, for good.
///
/// # Errors
/// [`Refusal::Doors`]: one that cannot be closed is not left open.
pub fn close() -> Result<(), Refusal> {
    let failed = |what: &str, e: &dyn std::fmt::Display| {
        eprintln!("casemate-init: {what}: {e}");
        Refusal::Doors
    };
    for (name, value) in SETTINGS {
        set(&format!("/proc/sys/{name}"), value).map_err(|e| failed(name, &e))?;
    }
    lockdown().map_err(|e| failed("lockdown", &e))?;
    // A mount over itself, then read-only: the second flags are the mount's, not the file system's.
    let again = MountFlags::BIND | MountFlags::RDONLY | CLOSED;
    mount_bind("/proc/sys", "/proc/sys")
        .and_then(|()| mount_remount("/proc/sys", again, ""))
        .map_err(|e| failed("/proc/sys", &e))?;
    // Settings elsewhere that belong to root and ask for no capability.
    for path in ["/proc/acpi", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/scsi"] {
        match mount_bind(path, path) {
            Ok(()) => mount_remount(path, again, "").map_err(|e| failed(path, &e))?,
            Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(path, &e)),
        }
    }
    for path in ["/proc/sysrq-trigger", "/proc/kcore"] {
        match mount_bind("/dev/null", path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(failed(path, &e)),
        }
    }
    Ok(())
}

fn set(path: &str, value: &str) -> std::io::Result<()> {
    use std::io::Write;
    match std::fs::OpenOptions::new().write(true).open(path) {
        // A line, since a write of nothing is none.
        Ok(mut file) => file.write_all(format!("{value}\n").as_bytes()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// The kernel's own lock against its root (kernel_lockdown(7)): no port, no memory, no message to a
/// processor's registers. It is an offer of the kernel's, by its security module: where there is
/// none, capabilities that the workload does not have are what is left.
fn lockdown() -> std::io::Result<()> {
    const FOLDER: &str = "/sys/kernel/security";
    match mount("securityfs", FOLDER, "securityfs", CLOSED, None) {
        Ok(()) => {}
        Err(Errno::NODEV | Errno::NOENT) => return Ok(()),
        Err(e) => return Err(e.into()),
    }
    let set = set(&format!("{FOLDER}/lockdown"), "integrity");
    unmount(FOLDER, UnmountFlags::DETACH)?;
    set
}
