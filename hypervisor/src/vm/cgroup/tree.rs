//! The groups of a VM, from their making to their end.
//!
//! They are made when nothing is decided yet, since the vmm process begins in one and may run
//! nowhere else before. So their janitor begins with them: from then on they go with the VM however
//! it ends, and also when it never begins.

use super::delegated::{Controller, Delegated};
use super::group::Group;
use super::{CgroupError, Limited, shown};
use crate::config::{Cgroup, Leaf, VmConfig};
use crate::vm::kind::ProcessKind;
use crate::vm::spawning::{begins, layers, pair};
use casemate_device_process::{
    GroupEvents, GroupPlaces, group_janitor_layers, spawn_group_janitor,
};
use casemate_diagnostics::event;
use casemate_foreign_text::value;
use casemate_sandbox::{Child, ControlGroup, Image, SandboxError, try_group};
use rustix::fs::{AtFlags, fstat, unlinkat};
use rustix::io::Errno;
use rustix::net::SocketType;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and after what time each, a group is tried again that a process has just left.
const TRIES: (u32, Duration) = (100, Duration::from_millis(10));

/// The groups of a VM. Dropped, nothing of them is left.
#[derive(Debug)]
pub(in crate::vm) struct Groups {
    /// Before the groups, so that it has ended when they go: they are removed here then.
    janitor: (Child, OwnedFd),
    leaves: Vec<(String, ControlGroup)>,
    limited: Limited,
    path: PathBuf,
    made: Made,
}

/// Directories that this process removes, unless it leaves that to a janitor.
#[derive(Debug)]
pub(in crate::vm) struct Made {
    /// Where the VM's group is.
    directory: OwnedFd,
    /// Its name.
    name: String,
    /// The groups in it.
    vm: Option<(OwnedFd, Vec<String>)>,
    left: bool,
}

impl Groups {
    /// Makes the groups of a VM in `delegated`, and starts their janitor from the program `device`.
    ///
    /// # Errors
    /// [`CgroupError`]; what was made is gone then.
    pub(in crate::vm) fn make(
        delegated: Delegated,
        (wanted, config): (&Cgroup, &VmConfig),
        with_recorder: bool,
        device: &[u8],
    ) -> Result<Self, CgroupError> {
        let Delegated { group: directory, controllers, .. } = delegated;
        let enable = |group: &Group| enable(group, wanted, &controllers);
        enable(&directory)?;
        // Behind a dot, so that no name of a VM is that of a file of the kernel's.
        let name = format!("{}.vm", config.name);
        let vm = directory.make(&name)?;
        let mut made = Made { directory: directory.directory, name, vm: None, left: false };
        let of_vm = vm.directory.try_clone().map_err(|source| failed(&vm, source))?;
        made.vm = Some((of_vm, Vec::new()));
        enable(&vm)?;
        vm.limit(wanted.vm)?;
        let mut limited = Limited::new(wanted.vm);
        let mut events = vec![vm.events("memory.events.local")];
        let mut leaves = Vec::new();
        for leaf in Leaf::all(config) {
            if leaf == Leaf::Recorder && !with_recorder {
                continue;
            }
            let name = leaf.to_string();
            let group = vm.make(&name)?;
            made.vm.iter_mut().for_each(|(_, leaves)| leaves.push(name.clone()));
            group.limit(wanted.of(leaf))?;
            events.push(group.events("memory.events"));
            limited.add(name.clone(), wanted.of(leaf));
            leaves.push((name, ControlGroup::new(group.directory)));
        }
        if let Some((leaf, group)) = leaves.first() {
            let path = vm.path.join(leaf);
            try_group(group).map_err(|e| cannot_enter(&path, &e))?;
        }
        let janitor = made.janitor(&events, config, device).map_err(CgroupError::Janitor)?;
        let path = vm.path;
        let shown = value(path.display());
        event!(DEBUG, Vm, "the control groups are made", path = shown, groups = leaves.len());
        Ok(Self { janitor, leaves, limited, path, made })
    }

    /// The group of a process.
    pub(in crate::vm) fn of(&self, leaf: Leaf<'_>) -> Option<&ControlGroup> {
        let name = leaf.to_string();
        self.leaves.iter().find_map(|(known, group)| (*known == name).then_some(group))
    }

    /// The VM's group.
    pub(in crate::vm) fn path(&self) -> &Path {
        &self.path
    }

    /// The place of a process's group among the VM's.
    pub(in crate::vm) fn place_of(&self, leaf: Leaf<'_>) -> Option<u8> {
        self.limited.place_of(&leaf.to_string())
    }

    /// Their janitor with its control socket, themselves, and what their limits are: for the
    /// supervisor of the VM.
    pub(in crate::vm) fn into_parts(self) -> ((Child, OwnedFd), Made, Limited) {
        (self.janitor, self.made, self.limited)
    }
}

/// Lets groups in `group` have limits.
fn enable(group: &Group, wanted: &Cgroup, controllers: &[String]) -> Result<(), CgroupError> {
    const FILE: &str = "cgroup.subtree_control";
    for controller in Controller::ALL {
        if !controllers.iter().any(|name| name == controller.name) {
            continue;
        }
        let written = group.write(FILE, &format!("+{}", controller.name));
        // Whether a limit needs it or not: such a group is none for groups of processes.
        if matches!(written, Err(Errno::BUSY | Errno::OPNOTSUPP)) {
            return Err(CgroupError::Occupied {
                directory: shown(&group.path),
                why: "processes are in it, which a group with groups below it cannot have: start \
                      them, and this program, in a group beside it or below it",
            });
        }
        // Without a limit that needs it, it is there for what was used, or it is not.
        if !controller.is_needed(wanted) {
            continue;
        }
        written.map_err(|errno| CgroupError::make(&group.path.join(FILE), errno))?;
        if !group.names(FILE)?.iter().any(|name| name == controller.name) {
            let wanted = format!("+{}", controller.name);
            let found = group.names(FILE)?.join(" ");
            return Err(CgroupError::NotTaken { path: group.file(FILE), wanted, found });
        }
    }
    Ok(())
}

fn failed(group: &Group, source: io::Error) -> CgroupError {
    CgroupError::Make { path: shown(&group.path), source }
}

/// Why no process can be started in the group `path`.
///
/// A process that starts another one in a group has to be allowed to move one there: to write to
/// cgroup.procs of that group and of the lowest one above both (cgroup-v2.rst, "Delegation
/// Containment").
fn cannot_enter(path: &Path, e: &io::Error) -> CgroupError {
    let why = match e.raw_os_error() {
        Some(libc::EACCES) => {
            "this program was started outside of what is delegated to this user: \
                               the lowest group above both is not this user's; start it in a \
                               group of the same delegated tree (`systemd-run --user --scope`)"
                .to_owned()
        }
        Some(libc::ENOSYS | libc::E2BIG | libc::EINVAL) => {
            format!("this kernel cannot (Linux 5.7 and later can): {e}")
        }
        Some(libc::EAGAIN) => format!("a limit of processes is met, here or above: {e}"),
        _ => e.to_string(),
    };
    CgroupError::Enter { path: shown(path), why }
}

impl Made {
    /// Starts the janitor of the groups.
    fn janitor(
        &self,
        events: &[GroupEvents],
        config: &VmConfig,
        device: &[u8],
    ) -> io::Result<(Child, OwnedFd)> {
        let sandbox = |e: SandboxError| io::Error::other(e.to_string());
        let image = Image::new("casemate-device", device).map_err(sandbox)?;
        let (control, its_control) = pair(SocketType::SEQPACKET)?;
        let (vm, leaves) = self.vm.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let found = fstat(vm)?;
        let places = GroupPlaces {
            name: self.name.clone().into_bytes(),
            device: found.st_dev,
            inode: found.st_ino,
            leaves: leaves.iter().map(|leaf| leaf.clone().into_bytes()).collect(),
        };
        // By its path, since the process has mounts of its own, and binds none of others. A group
        // cannot be renamed; should another be there, it has not the one with that inode.
        let link = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        let directory = std::fs::read_link(link)?;
        let layers = layers(group_janitor_layers(&directory), config);
        let child = spawn_group_janitor(&image, layers, (&places, events), &its_control, |child| {
            begins(ProcessKind::GroupJanitor, child);
        });
        Ok((child.map_err(sandbox)?, control))
    }

    /// Leaves them to the janitor.
    pub(in crate::vm) fn leave(mut self) {
        self.left = true;
    }
}

/// As long as this process is not locked; one that is has left them before.
impl Drop for Made {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let (times, pause) = TRIES;
        let remove = |directory: &OwnedFd, name: &str| {
            for _ in 0..times {
                match unlinkat(directory, name, AtFlags::REMOVEDIR) {
                    Err(Errno::BUSY | Errno::INTR) => std::thread::sleep(pause),
                    _ => return,
                }
            }
        };
        if let Some((vm, leaves)) = &self.vm {
            leaves.iter().for_each(|leaf| remove(vm, leaf));
        }
        remove(&self.directory, &self.name);
    }
}
