//! The control groups of a VM's processes (cgroup v2), and the limits that the kernel keeps there.
//!
//! Below the directory that the user names, which is delegated to the user, each VM has a group
//! `NAME.vm`, and below that each of its processes one of its own, in which it begins. The
//! supervisor and the janitors stay where they were started: they have to be there when nothing of
//! the VM is. Nothing is made before the directory was looked at ([`delegated`]); what was made
//! goes when the VM is over ([`tree`]), by a janitor of its own once that is there. Source: Linux
//! Documentation/admin-guide/cgroup-v2.rst.

mod delegated;
mod group;
mod met;
mod tree;

pub(super) use delegated::Delegated;
pub(super) use met::Limited;
pub use met::RanOut;
pub(super) use tree::{Groups, Made};

use crate::config::Leaf;
use casemate_foreign_text::{line, value};
use casemate_sandbox::Layers;
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// Why the control groups cannot be had. Each message names the key, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The directory cannot be opened.
    #[error("`cgroup.directory`: {directory} cannot be opened: {}", line(why))]
    Open {
        /// The directory, escaped.
        directory: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// It is no control group.
    #[error("`cgroup.directory`: {directory} is no control group of version 2: {remedy}")]
    NoGroup {
        /// The directory, escaped.
        directory: String,
        /// Where one can be made.
        remedy: String,
    },
    /// It is not the user's.
    #[error("`cgroup.directory`: {directory} is not delegated to this user ({why}): {DELEGATE}")]
    NotDelegated {
        /// The directory, escaped.
        directory: String,
        /// What says so.
        why: String,
    },
    /// A controller is not there.
    #[error(
        "`{key}` needs the controller {controller}, which {directory} does not have: write \
         +{controller} to cgroup.subtree_control of the group above it"
    )]
    Controller {
        /// The key of the limit.
        key: &'static str,
        /// The controller.
        controller: &'static str,
        /// The directory, escaped.
        directory: String,
    },
    /// Processes are in it, or it is one of threads.
    #[error("`cgroup.directory`: {directory} cannot have groups with limits: {why}")]
    Occupied {
        /// The directory, escaped.
        directory: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// The group of a VM of that name is there.
    #[error(
        "`cgroup.directory`: {path} is there: a VM of that name has it, or it was left when all \
         processes of one were killed; then remove it (`rmdir` of the directories in it, and of it)"
    )]
    There {
        /// The group, escaped.
        path: String,
    },
    /// Something cannot be made or read.
    #[error("`cgroup.directory`: {path}: {source}")]
    Make {
        /// What, escaped.
        path: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The kernel has not taken a limit.
    #[error("`cgroup.directory`: {path} is \"{}\" after \"{wanted}\" was written", value(found))]
    NotTaken {
        /// The file, escaped.
        path: String,
        /// What was written.
        wanted: String,
        /// What is read there.
        found: String,
    },
    /// No process can be started there.
    #[error("`cgroup.directory`: no process can be started in {path}: {why}")]
    Enter {
        /// The group, escaped.
        path: String,
        /// Why, and what to do.
        why: String,
    },
    /// Their janitor cannot be started.
    #[error("the janitor of the control groups cannot be started: {0}")]
    Janitor(#[source] io::Error),
}

/// What has to be done about a directory that is not delegated.
const DELEGATE: &str = "`chown` it, its cgroup.procs and cgroup.subtree_control, or start this \
                        program in a unit of your own that is (`systemd-run --user -p \
                        Delegate=yes`)";

impl CgroupError {
    /// Whether what the user named is at fault, not the host.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::NotTaken { .. } | Self::Janitor(_))
    }

    fn make(path: &Path, errno: Errno) -> Self {
        Self::Make { path: shown(path), source: errno.into() }
    }
}

/// A path, fit to be printed.
fn shown(path: &Path) -> String {
    value(path.display()).to_string()
}

/// Has a process begin in its group, where there are groups.
pub(super) fn enter(layers: Layers, groups: Option<&Groups>, leaf: Leaf<'_>) -> Layers {
    match groups.and_then(|groups| groups.of(leaf)) {
        Some(group) => layers.in_group(group),
        None => layers,
    }
}
