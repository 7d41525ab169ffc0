//! Which namespace a process is in, told by the kernel, and the proof that one is not its caller's.

use super::refusal::{Refusal, refused};
use super::sys;
use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};
use rustix::io::Errno;

/// `NSFS_MAGIC`, `linux/magic.h`: the file system of namespaces. Whatever else is mounted at /proc,
/// a file of it is a namespace.
const NSFS: i64 = 0x6e73_6673;

/// A namespace's identity: no two that live at the same time have the same (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NamespaceId {
    device: u64,
    inode: u64,
}

impl NamespaceId {
    /// Device and inode, for a packet.
    pub(super) const fn parts(self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// The identity of these parts.
    pub(super) const fn from_parts(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }

    /// The mount namespace of the calling process.
    ///
    /// The path is only the way to it. That it led to a mount namespace is asked of the open file,
    /// so that a /proc that is none of the kernel's gives an error and not some number.
    pub(super) fn of_mounts() -> Result<Self, Refusal> {
        const PATH: &str = "/proc/self/ns/mnt";
        let file = open(PATH, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(refused("open(/proc/self/ns/mnt): is /proc mounted?"))?;
        let found = fstatfs(&file).map_err(refused("fstatfs(/proc/self/ns/mnt)"))?;
        let kind = sys::namespace_kind(&file);
        if found.f_type != NSFS || kind.ok() != Some(libc::CLONE_NEWNS) {
            return Err(Refusal::new("/proc/self/ns/mnt is no mount namespace", Errno::INVAL));
        }
        let file = fstat(&file).map_err(refused("fstat(/proc/self/ns/mnt)"))?;
        Ok(Self { device: file.st_dev, inode: file.st_ino })
    }
}

/// The proof that the calling process's mounts are not its caller's. Who changes mounts takes one.
#[derive(Debug)]
pub(super) struct OwnMounts(());

impl OwnMounts {
    /// Compares this process's mount namespace with that of the process that spawned it, as they
    /// are now.
    ///
    /// A process that was not spawned has no caller to be compared with: its mounts are those it
    /// was started with, and others use them. Nor does it help that a mount namespace was asked
    /// for, since it can be optional. Only the kernel knows what came of it.
    pub(super) fn proven(callers: Option<NamespaceId>) -> Result<Self, Refusal> {
        match callers {
            Some(callers) if NamespaceId::of_mounts()? != callers => Ok(Self(())),
            Some(_) => Err(Refusal::new(
                "changing the root: the mount namespace is the caller's own",
                Errno::PERM,
            )),
            None => Err(Refusal::new(
                "changing the root: it is not known whose mount namespace this is",
                Errno::PERM,
            )),
        }
    }
}
