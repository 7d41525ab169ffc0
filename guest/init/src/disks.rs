//! The workload's disks, mounted where its description says.
//!
//! EROFS alone, the one that `casemate image root` makes: a file system that is never written has
//! little to get wrong, and dm-verity refuses a block of any other image before it is looked at.

use crate::mapper::Mapper;
use casemate_init::device_mapper::Target;
use casemate_init::workload::Disk;
use rustix::mount::{MountFlags, mount, mount_move};
use std::path::{Path, PathBuf};

/// Where the root is before it is the root.
const NEW_ROOT: &str = "/casemate/root";
/// What is mounted already and goes along.
const KEPT: [&str; 4] = ["/proc", "/sys", "/dev", "/tmp"];

/// Mounts all disks; one at `/` becomes the root of this process and of the workload.
///
/// # Errors
/// A sentence: without one of its disks a workload is not started.
pub fn mount_all(disks: &[Disk]) -> Result<(), String> {
    for (number, disk) in disks.iter().enumerate() {
        let is_root = disk.path == "/";
        let place = if is_root { NEW_ROOT } else { disk.path.as_str() };
        if is_root {
            std::fs::create_dir_all(place).map_err(|e| format!("cannot make {place}: {e}"))?;
        }
        let device = device(&format!("disk{number}"), disk)?;
        let flags = MountFlags::RDONLY | MountFlags::NODEV;
        mount(&device, place, "erofs", flags, None)
            .map_err(|e| format!("cannot mount {} at {}: {e}", device.display(), disk.path))?;
        if is_root {
            enter(NEW_ROOT).map_err(|e| format!("cannot enter the root disk: {e}"))?;
        }
    }
    Ok(())
}

/// Makes the device of a disk; its path.
fn device(name: &str, disk: &Disk) -> Result<PathBuf, String> {
    let wrong = |what: &str, e: std::io::Error| format!("disk {}: {what}: {e}", disk.path);
    let Disk { start, sectors, parameters, .. } = disk;
    let mapper = Mapper::open().map_err(|e| wrong("no device mapper (module dm-mod)", e))?;
    let device = mapper.create(name).map_err(|e| wrong("cannot be made", e))?;
    let target = Target { kind: "verity", start: *start, sectors: *sectors, parameters };
    mapper
        .load(name, &target)
        .map_err(|e| wrong("its table is refused (the kernel's log says why)", e))?;
    Ok(device)
}

/// Makes a mounted file system the root, as `switch_root` does: the initrd's file system cannot be
/// unmounted, so the new one is moved over it.
fn enter(root: &str) -> rustix::io::Result<()> {
    for kept in KEPT {
        mount_move(kept, Path::new(root).join(kept.trim_start_matches('/')))?;
    }
    rustix::process::chdir(root)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")
}
