//! A control group (cgroup v2) in which a process begins.
//!
//! A process that is moved there afterwards has run outside meanwhile, and what it has charged by
//! then stays charged to the group that it came from (Linux
//! Documentation/admin-guide/cgroup-v2.rst, "Memory Ownership"). So it is copied into the group: no
//! instruction of it runs outside.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// A control group, by a descriptor of its directory: it stays the same one, whatever becomes of
/// its name.
#[derive(Debug, Clone)]
pub struct ControlGroup(Arc<OwnedFd>);

impl ControlGroup {
    /// The group of this directory.
    #[must_use]
    pub fn new(directory: OwnedFd) -> Self {
        Self(Arc::new(directory))
    }

    pub(super) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
