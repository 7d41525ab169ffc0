//! The directory that the user names, as it is before anything is made in it: whether it is a
//! control group, whether it is this user's, and whether it has what the limits need.

use super::group::Group;
use super::{CgroupError, shown};
use crate::config::{Cgroup, GroupLimits};
use crate::host::cgroup::{self, CgroupLimits, read};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, accessat, fstat, openat2};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::os::fd::AsFd;
use std::path::Path;

/// A controller: its name, the key of the first limit that needs it, and whether a group's limits
/// do.
pub(super) struct Controller {
    pub(super) name: &'static str,
    key: &'static str,
    is_needed: fn(&GroupLimits) -> bool,
}

impl Controller {
    /// Every one that is used. Memory first: the others are for threads, too, and a group that has
    /// processes takes them as the root of a group of threads, in which no group can be one of
    /// processes any more (cgroup-v2.rst, "Threads").
    pub(super) const ALL: [Self; 3] = [
        Self { name: "memory", key: "cgroup.memory", is_needed: |limits| limits.memory.is_some() },
        Self {
            name: "cpu",
            key: "cgroup.cpu_percent` or `cgroup.cpu_weight",
            is_needed: |limits| limits.cpu_weight.is_some() || limits.cpu_percent.is_some(),
        },
        Self { name: "pids", key: "cgroup.pids", is_needed: |limits| limits.pids.is_some() },
    ];

    /// Whether a limit needs it. Where none does it is for what was used, and may be missing.
    pub(super) fn is_needed(&self, wanted: &Cgroup) -> bool {
        wanted.limited().any(|limits| (self.is_needed)(&limits))
    }
}

/// A directory in which the groups of a VM can be made.
#[derive(Debug)]
pub(in crate::vm) struct Delegated {
    pub(super) group: Group,
    /// What it has.
    pub(super) controllers: Vec<String>,
    /// What holds there: the least of its limits and of those above.
    limits: CgroupLimits,
}

impl Delegated {
    /// Looks at the directory, and changes nothing.
    ///
    /// # Errors
    /// [`CgroupError`].
    pub(in crate::vm) fn look(wanted: &Cgroup) -> Result<Self, CgroupError> {
        let path = &*wanted.directory;
        let group = open(path)?;
        let directory = shown(path);
        // The root of all groups has no type, and may have processes beside groups.
        if let Ok(kind) = read(&group.directory, "cgroup.type")
            && kind.trim() != "domain"
        {
            let why = "it is one of threads (its cgroup.type is not `domain`): name another";
            return Err(CgroupError::Occupied { directory, why });
        }
        check_user(&group, &directory)?;
        let controllers = group.names("cgroup.controllers")?;
        for controller in Controller::ALL {
            let has = controllers.iter().any(|name| name == controller.name);
            if !has && controller.is_needed(wanted) {
                let (key, controller) = (controller.key, controller.name);
                return Err(CgroupError::Controller { key, controller, directory });
            }
        }
        let limits = cgroup::limits_at(group.directory.as_fd());
        let limits = limits.ok_or_else(|| CgroupError::Make {
            path: directory,
            source: std::io::Error::other("its limits, or those above it, make no sense"),
        })?;
        Ok(Self { group, controllers, limits })
    }

    /// What holds for the VM's processes together once its groups are made, for the policy.
    pub(in crate::vm) fn limits(&self, wanted: &Cgroup) -> CgroupLimits {
        let GroupLimits { cpu_percent, memory, pids, .. } = wanted.vm;
        let unlimited = |number: Option<u64>| number.unwrap_or(cgroup::UNLIMITED);
        self.limits.least(CgroupLimits {
            cpu_percent: unlimited(cpu_percent),
            memory_mib: unlimited(memory.map(|bytes| bytes >> 20)),
            pids: unlimited(pids),
        })
    }
}

/// Opens the directory, by no symbolic link: whoever may change one chooses in which group the
/// processes run.
fn open(path: &Path) -> Result<Group, CgroupError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    let directory = opened.map_err(|errno| {
        let why = match errno {
            Errno::LOOP => "a symbolic link is on the way: name the directory itself".to_owned(),
            Errno::NOENT => format!("it is not there: {}", where_to_make_one()),
            Errno::NOTDIR => format!("it is no directory: {}", where_to_make_one()),
            errno => errno.to_string(),
        };
        CgroupError::Open { directory: shown(path), why }
    })?;
    if !cgroup::is_group(&directory) {
        let remedy = where_to_make_one();
        return Err(CgroupError::NoGroup { directory: shown(path), remedy });
    }
    Ok(Group { directory, path: path.to_owned() })
}

fn where_to_make_one() -> String {
    match std::fs::read_to_string("/proc/self/mountinfo").ok().as_deref().map(cgroup::mount_point) {
        Some(Some(root)) => format!("make one below {} (`mkdir`)", shown(Path::new(&root))),
        _ => "this host has none mounted (`mount -t cgroup2 none /sys/fs/cgroup`)".to_owned(),
    }
}

/// Whether this user has the directory, who is also the one as whom the janitor removes what is
/// made there: a janitor of root's has no privilege by which it could in another user's directory.
fn check_user(group: &Group, directory: &str) -> Result<(), CgroupError> {
    let not = |why: String| Err(CgroupError::NotDelegated { directory: directory.to_owned(), why });
    let owner = fstat(&group.directory).map_err(|e| CgroupError::make(&group.path, e))?.st_uid;
    let user = geteuid().as_raw();
    if owner != user {
        return not(format!("it is user {owner}'s, and this is user {user}"));
    }
    for file in [".", "cgroup.subtree_control"] {
        if let Err(errno) = accessat(&group.directory, file, Access::WRITE_OK, AtFlags::EACCESS) {
            let what = if file == "." { "it" } else { file };
            return not(format!("{what} cannot be written: {errno}"));
        }
    }
    Ok(())
}
