//! The memory fence: a process that maps the guest's memory file reaches the pages that are there,
//! and cannot make the host hold another.
//!
//! A file in memory grows by whoever touches it: a load from a hole, even through a read-only
//! mapping, allocates the page (`shmem_fault` in mm/shmem.c asks for SGP_CACHE). Of a confidential
//! guest the holes are the pages that it keeps private; a device process that touched them all
//! would double the host's memory, and one that merely races with a conversion would hold a page
//! twice. So the process registers its own mapping with a userfaultfd, for missing pages, with
//! UFFD_FEATURE_SIGBUS: then a hole is SIGBUS for loads and stores, and EFAULT for system calls
//! (`handle_userfault` in fs/userfaultfd.c); pages that the guest has touched work as ever, and
//! one that is punched out later is a hole again. Nobody answers the userfaultfd, nothing is
//! copied, and no message follows a page's state.
//!
//! UFFD_USER_MODE_ONLY needs no privilege, whatever `vm.unprivileged_userfaultfd` says
//! (Linux 5.11). The fence lasts as long as the descriptor and the mapping: a locked process must
//! have no call by which it could close the one, or unmap, move or register the other anew.

use super::SandboxError;
use super::layer::Layer;
use super::refusal::Refusal;
use super::sys;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

/// A process's fence. It is made before the first filter, and covers memory when that has come.
///
/// The descriptor is never closed, since the fence would go with it: dropping this lifts nothing.
#[derive(Debug)]
pub struct Fence(Option<RawFd>);

impl Fence {
    /// The fence of a process that has none: it covers nothing.
    pub(super) const NONE: Self = Self(None);

    /// Makes a fence that covers nothing yet.
    pub(super) fn new() -> Result<Self, Refusal> {
        Ok(Self(Some(make()?.into_raw_fd())))
    }

    /// Whether what is covered is fenced.
    #[must_use]
    pub const fn is_in_force(&self) -> bool {
        self.0.is_some()
    }

    /// Its descriptor, for a table of descriptors; none where the process has no fence.
    pub fn descriptor(&self) -> impl Iterator<Item = RawFd> + use<> {
        self.0.into_iter()
    }

    /// Fences `len` bytes of this process's memory from address `start` on, both multiples of the
    /// page size: a mapping of a memory file. Does nothing where the process has no fence, which
    /// its report said.
    ///
    /// # Errors
    /// [`SandboxError::Layer`]: no mapping, one of another kind, or one that is fenced by somebody
    /// else. The memory is not fenced then, and the process must not go on.
    pub fn cover(&self, start: usize, len: usize) -> Result<(), SandboxError> {
        let Some(fd) = self.0 else { return Ok(()) };
        sys::userfaultfd_register(fd, start, len)
            .map_err(|e| SandboxError::layer(Layer::MemoryFence, e.call, e.source))
    }
}

/// Whether the kernel gives a fence, asked by making one.
pub(super) fn available() -> Result<String, Refusal> {
    make().map(|_| "when it has the guest's memory".into())
}

fn make() -> Result<OwnedFd, Refusal> {
    let fd = sys::userfaultfd()?;
    sys::userfaultfd_features(&fd)?;
    Ok(fd)
}
