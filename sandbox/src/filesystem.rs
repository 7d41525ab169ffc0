//! An empty, read-only root, or one that is a single directory.

use super::directory::InDirectory;
use super::namespace::OwnMounts;
use super::refusal::{Refusal, refused};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::mount::{mount, mount_bind, mount_change, mount_move, mount_remount, unmount};
use rustix::process::{chdir, chroot, pivot_root};

/// Where the empty file system is mounted first: a directory that every system has. It is covered
/// in this mount namespace only.
const PLACE: &str = "/proc";

/// Makes an empty, read-only tmpfs the root of this process's mount namespace; with `sees` the
/// directory that the process is in.
///
/// Every process of that namespace loses its files by it: hence the proof that they are this
/// process's alone, which is made just before and used up.
pub(super) fn lock(_: OwnMounts, sees: Option<InDirectory>) -> Result<String, Refusal> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(refused("mount(/, MS_REC | MS_PRIVATE)"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match sees {
        None => {
            let flags = flags | MountFlags::RDONLY;
            mount("none", PLACE, "tmpfs", flags, c"size=4k,nr_inodes=1,mode=0555")
                .map_err(refused("mount(tmpfs)"))?;
        }
        Some(sees) => {
            mount_bind(".", PLACE).map_err(refused("mount(its directory, MS_BIND)"))?;
            let read_only = if sees.is_read_only() { MountFlags::RDONLY } else { flags };
            mount_remount(PLACE, MountFlags::BIND | flags | read_only, c"")
                .map_err(refused("mount(its directory, MS_REMOUNT)"))?;
        }
    }
    let details = |how: &str| match sees {
        None => how.to_owned(),
        Some(sees) => format!("{how}; {}", sees.details()),
    };
    chdir(PLACE).map_err(refused("chdir(new root)"))?;
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and is
    // taken away.
    match pivot_root(".", ".") {
        Ok(()) => {
            unmount(".", UnmountFlags::DETACH).map_err(refused("umount(old root)"))?;
            chdir("/").map_err(refused("chdir(/)"))?;
            Ok(details("pivot_root"))
        }
        // The root is an initramfs or a plain directory, which cannot be moved: cover it. Nothing
        // leads below, because no descriptor of a directory is left and CAP_SYS_CHROOT goes with
        // the other capabilities.
        Err(Errno::INVAL) => {
            mount_move(".", "/").map_err(refused("mount(tmpfs, /, MS_MOVE)"))?;
            chroot(".").map_err(refused("chroot(tmpfs)"))?;
            chdir("/").map_err(refused("chdir(/)"))?;
            Ok(details("chroot, because the root cannot be moved"))
        }
        Err(e) => Err(Refusal::new("pivot_root", e)),
    }
}
