//! The workload's process: as its user, with nothing of PID 1's.
//!
//! UNSAFETY: what a process does between fork and exec has no safe form.
#![allow(unsafe_code, reason = "between fork and exec; a signal for every process")]

use crate::limits::Limits;
use crate::platform;
use casemate_manifest::Process;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, setrlimit, wait};
use rustix::thread::{
    CapabilitySet, Gid, Uid, UnshareFlags, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_no_new_privs, set_thread_gid, set_thread_groups,
    set_thread_uid, unshare_unsafe,
};
use std::fs::File;
use std::io::Result;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a workload that is root may have: what container runtimes give by default, without devices
/// (`MKNOD`) and the audit log, of which a guest has none.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SETFCAP);
/// Capabilities have numbers below this.
const CAPABILITY_NUMBERS: u32 = 64;

/// Starts the program of a manifest, within its limits. Standard output and error are `console`,
/// which is open for writing alone; nobody's where there is none.
///
/// # Errors
/// What execve(2) or a step before it said.
pub fn start(process: &Process, limits: &Limits, console: Option<&File>) -> Result<Pid> {
    let Process { program, args, env, user, working_dir, .. } = process;
    let mut command = Command::new(program);
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    command.current_dir(working_dir);
    let stdio = || console.map_or_else(|| Ok(Stdio::null()), |c| c.try_clone().map(Stdio::from));
    // What comes in by the console is the host's, whatever the image lets out by it.
    command.stdin(Stdio::null()).stdout(stdio()?).stderr(stdio()?);
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let entry = limits.entry()?;
    let become_user = move || {
        // First: all that it costs from here on is the workload's.
        rustix::io::write(&entry, b"0")?;
        platform::close()?;
        bound_capabilities()?;
        set_thread_groups(&groups)?;
        set_thread_gid(gid)?;
        set_thread_uid(uid)?;
        clear_ambient_capability_set()?;
        // Neither a set-user-ID program nor a file's capabilities give any of it back.
        set_no_new_privs(true)?;
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Core, none)?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated: `groups`
    // was made before.
    unsafe { command.pre_exec(become_user) };
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// Gives PID 1 a root of its own. Until then kernel threads share it (`kernel_thread` with
/// `CLONE_FS` in init/main.c), and programs that the kernel starts by itself, such as
/// /sbin/request-key, as root with all capabilities, would be the image's.
///
/// # Errors
/// The errno of unshare(2).
pub fn own_root() -> Result<()> {
    // SAFETY: what is no longer shared is a root, a working directory and a umask; no descriptor
    // and no memory changes its owner.
    unsafe { unshare_unsafe(UnshareFlags::FS) }?;
    Ok(())
}

fn bound_capabilities() -> Result<()> {
    for number in 0..CAPABILITY_NUMBERS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if CAPABILITIES.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel has no capability of this number, nor of a higher one.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// How long processes may take to end when they are killed: one in a call that cannot be
/// interrupted ends when that does.
const END: Duration = Duration::from_secs(10);

/// Ends every process but this one, and waits for them; false when one is left.
pub fn end_all() -> bool {
    let end = Instant::now() + END;
    loop {
        // Each time: a process may have made another one meanwhile.
        // SAFETY: kill takes two integers and touches no memory; -1 means every process but PID 1,
        // which is this one.
        let _ = unsafe { kill(-1, Signal::KILL.as_raw()) };
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) if Instant::now() > end => return false,
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            // No child is left; and whose parent ends becomes one of PID 1.
            Err(_) => return true,
        }
    }
}

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}
