//! A process of a container: as its user, in its root, with nothing of the agent's.
//!
//! UNSAFETY: what a process does between fork and exec has no safe form.
#![allow(unsafe_code, reason = "between fork and exec")]

use crate::compare::{Environment, capabilities};
use crate::output::{Output, feed};
use casemate_pod::Container;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{
    Pid, Resource, Rlimit, chdir, ioctl_tiocsctty, pivot_root, setrlimit, setsid,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::thread::{
    CapabilitySet, Gid, LinkNameSpaceType, Uid, UnshareFlags, clear_ambient_capability_set,
    move_into_link_name_space, remove_capability_from_bounding_set, set_no_new_privs,
    set_thread_gid, set_thread_groups, set_thread_uid, unshare_unsafe,
};
use std::ffi::CString;
use std::fs::File;
use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Capabilities have numbers below this.
const CAPABILITY_NUMBERS: u32 = 64;

/// Where a process begins.
pub enum Place<'a> {
    /// In namespaces of its own, of mounts, whose root this becomes, and of processes, whose first
    /// it is: a container's own process. Whatever it has started ends with it.
    Root(&'a Path),
    /// In the namespaces of a process that runs: one beside it.
    Beside(&'a Namespaces),
}

/// Where a container's own process lives.
#[derive(Debug)]
pub struct Namespaces {
    mounts: File,
    processes: File,
}

impl Namespaces {
    fn of(pid: u32) -> Option<Self> {
        let open = |what: &str| File::open(format!("/proc/{pid}/ns/{what}")).ok();
        Some(Self { mounts: open("mnt")?, processes: open("pid")? })
    }
}

/// Connections for its streams, as far as the manifest has them.
#[derive(Debug, Default)]
pub struct Ends {
    /// What it reads.
    pub stdin: Option<File>,
    /// What it writes.
    pub stdout: Option<File>,
    /// What it complains.
    pub stderr: Option<File>,
}

impl Ends {
    /// What of them the manifest lets a container have. The others are closed.
    pub fn permitted(self, container: &Container) -> Self {
        let (input, output) = (container.stdio.input(), container.stdio.output());
        Self {
            stdin: self.stdin.filter(|_| input),
            stdout: self.stdout.filter(|_| output),
            stderr: self.stderr.filter(|_| output),
        }
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    /// Its number; that of its session and of its group as well.
    pub pid: u32,
    /// What it has written and what is not on its way yet.
    pub output: Arc<Output>,
    /// The agent's side of its terminal.
    pub terminal: Option<File>,
    /// Its namespaces.
    pub namespaces: Option<Namespaces>,
}

/// Starts `args`, as the manifest has processes of this container.
///
/// # Errors
/// What execve(2) or a step before it said.
pub fn start(
    container: &Container,
    args: &[String],
    environment: &Environment,
    place: &Place<'_>,
    ends: Ends,
    terminal: bool,
) -> Result<Started> {
    let (program, rest) = args.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(rest).env_clear();
    command.envs(environment.iter().filter_map(|entry| entry.split_once('=')));
    let output = Arc::new(Output::default());
    let terminal = if terminal {
        Some(with_terminal(&mut command, &output, ends)?)
    } else {
        with_pipes(&mut command, &output, ends)?;
        None
    };
    let confine = confine(container, place, terminal.is_some())?;
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated: what they
    // need was made before.
    unsafe { command.pre_exec(confine) };
    // The command holds the child's ends of its pipes: while it does, they have no end.
    let pid = spawn(command, place)?.id();
    Ok(Started { pid, output, terminal, namespaces: Namespaces::of(pid) })
}

/// By a thread of its own, and its last act: what it says of the namespace that its children begin
/// in holds for it alone.
fn spawn(mut command: Command, place: &Place<'_>) -> Result<Child> {
    let make = || -> Result<Child> {
        match place {
            // SAFETY: nothing changes for this thread, which ends; only children that it makes are
            // in another namespace of processes. No descriptor or memory changes its owner.
            Place::Root(_) => unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?,
            Place::Beside(Namespaces { processes, .. }) => {
                move_into_link_name_space(processes.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
            }
        }
        command.spawn()
    };
    std::thread::scope(|scope| {
        let made = std::thread::Builder::new().name("start".into()).spawn_scoped(scope, make)?;
        made.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
    })
}

/// A terminal of its own: one stream for output, and its input.
fn with_terminal(command: &mut Command, output: &Arc<Output>, ends: Ends) -> Result<File> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    // Not by its name: that is one of the agent's file systems, not of the container's.
    let user: OwnedFd = ioctl_tiocgptpeer(&master, flags)?;
    let master = File::from(master);
    command.stdin(user.try_clone()?).stdout(user.try_clone()?).stderr(user);
    output.copy(master.try_clone()?, ends.stdout)?;
    if let Some(stdin) = ends.stdin {
        feed(stdin, master.try_clone()?)?;
    }
    Ok(master)
}

fn with_pipes(command: &mut Command, output: &Arc<Output>, ends: Ends) -> Result<()> {
    let (from, to) = std::io::pipe()?;
    command.stdout(to);
    output.copy(File::from(OwnedFd::from(from)), ends.stdout)?;
    let (from, to) = std::io::pipe()?;
    command.stderr(to);
    output.copy(File::from(OwnedFd::from(from)), ends.stderr)?;
    match ends.stdin {
        Some(stdin) => {
            let (from, to) = std::io::pipe()?;
            command.stdin(from);
            feed(stdin, File::from(OwnedFd::from(to)))?;
        }
        None => {
            command.stdin(Stdio::null());
        }
    }
    Ok(())
}

/// What the process does before it becomes the program, in this order: its place first, as what it
/// needs for that it gives up afterwards.
fn confine(
    container: &Container,
    place: &Place<'_>,
    terminal: bool,
) -> Result<impl FnMut() -> Result<()> + Send + Sync + 'static> {
    let root = match place {
        Place::Root(root) => Ok(CString::new(root.as_os_str().as_encoded_bytes())?),
        Place::Beside(Namespaces { mounts, .. }) => Err(mounts.try_clone()?),
    };
    let cwd = CString::new(container.cwd.as_str())?;
    let user = &container.user;
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let kept = CapabilitySet::from_bits_retain(capabilities(container));
    let new_privileges = container.new_privileges;
    Ok(move || {
        setsid()?;
        if terminal {
            ioctl_tiocsctty(rustix::stdio::stdin().as_fd())?;
        }
        match &root {
            Ok(root) => {
                // SAFETY: this process is one thread, just forked; what is no longer shared is its
                // mounts, and no descriptor or memory changes its owner.
                unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                mount_change(c"/", private)?;
                chdir(root.as_c_str())?;
                // pivot_root(2), "pivot_root(".", ".")": the old root is over the new one, and what
                // is unmounted is the old one, so that no path leads there.
                pivot_root(c".", c".")?;
                unmount(c".", UnmountFlags::DETACH)?;
                // Of its own namespace of processes, which no other process could mount.
                let none = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                mount(c"proc", c"/proc", c"proc", none, None)?;
            }
            Err(mounts) => {
                move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
            }
        }
        chdir(cwd.as_c_str())?;
        bound_capabilities(kept)?;
        set_thread_groups(&groups)?;
        set_thread_gid(gid)?;
        set_thread_uid(uid)?;
        clear_ambient_capability_set()?;
        if !new_privileges {
            set_no_new_privs(true)?;
        }
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        Ok(())
    })
}

fn bound_capabilities(kept: CapabilitySet) -> Result<()> {
    for number in 0..CAPABILITY_NUMBERS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel has no capability of this number, nor of a higher one.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// The number of a process, as calls take it.
pub fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}
