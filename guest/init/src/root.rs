//! The root file system: a disk of the host's, proven block by block from the root hash on the
//! measured command line, and nothing of it believed before.

use crate::mapper::Mapper;
use crate::said;
use casemate_init::device_mapper::Target;
use casemate_layout::Refusal;
use casemate_manifest::{BLOCK, MAX_SIZE, Manifest, PATH, RootDisk, SERIAL};
use rustix::fs::{CWD, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, mount_remount, unmount};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a disk may take to appear: it is there when the guest starts, and its driver finds it
/// while modules are loaded.
const DISK_WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
/// Block devices that are looked at.
const MAX_DISKS: usize = 64;
/// Where the new root is until it is the root.
const NEW: &str = "/root";
/// Name of the device.
const NAME: &str = "root";

/// A disk of the host's.
pub struct Disk {
    /// `major:minor`.
    numbers: String,
    /// Its device file.
    pub path: PathBuf,
}

/// Mounts the root that `disk` names at [`NEW`] and reads its manifest.
///
/// # Errors
/// The step that failed; why in detail is said on standard error.
pub fn mount_verified(disk: &RootDisk) -> Result<Manifest, Refusal> {
    let host = wait_for_disk(SERIAL).ok_or(Refusal::NoDisk)?;
    let mapper = Mapper::open().map_err(said(Refusal::DeviceMapper, "device mapper"))?;
    let device = mapper.create(NAME).map_err(said(Refusal::DeviceMapper, "device mapper"))?;
    // First with errors for answers: a disk that is wrong from its first block on is refused with a
    // word. Then with a panic for one, before anything else is read: a program that gets an error
    // for a file goes on without it, so with errors the host could choose files to switch off.
    load(&mapper, disk, &host, false)?;
    probe(&device, &host)?;
    load(&mapper, disk, &host, true)?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    mount(&device, NEW, "erofs", flags, None).map_err(said(Refusal::RootMount, "mount"))?;
    manifest()
}

/// The disk with this serial number; None when it does not appear.
pub fn wait_for_disk(serial: &str) -> Option<Disk> {
    let end = Instant::now() + DISK_WAIT;
    loop {
        let disk = find_disk(serial);
        if disk.is_some() || Instant::now() > end {
            return disk;
        }
        std::thread::sleep(POLL);
    }
}

/// The disk with the serial number: the first by name, of those that say so.
fn find_disk(wanted: &str) -> Option<Disk> {
    let entries = std::fs::read_dir("/sys/block").ok()?;
    let mut names: Vec<_> =
        entries.flatten().take(MAX_DISKS).map(|entry| entry.file_name()).collect();
    names.sort();
    names.into_iter().find_map(|name| {
        let folder = Path::new("/sys/block").join(&name);
        let text = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
        let serial = text("serial")?;
        if serial.trim_end_matches(['\n', '\0']) != wanted {
            return None;
        }
        let numbers = text("dev")?.trim_end().to_owned();
        Some(Disk { numbers, path: Path::new("/dev").join(name) })
    })
}

/// Reads the first block: what comes is what the root hash proves, by every level of the tree.
fn probe(device: &Path, host: &Disk) -> Result<(), Refusal> {
    const _: () = assert!(BLOCK == 4096, "a whole block is read");
    let read = |path: &Path| {
        let mut block = [0; 4096];
        File::open(path).and_then(|mut file| file.read_exact(&mut block))
    };
    match (read(device), read(&host.path)) {
        (Ok(()), _) => Ok(()),
        (Err(_), Ok(())) => Err(Refusal::RootHash),
        (Err(_), Err(e)) => Err(said(Refusal::RootRead, "the root disk")(e)),
    }
}

/// Gives the root its table, in place of the one before.
fn load(mapper: &Mapper, disk: &RootDisk, host: &Disk, panic: bool) -> Result<(), Refusal> {
    let parameters = &disk.verity(&host.numbers, panic);
    let target = Target { kind: "verity", start: 0, sectors: disk.sectors(), parameters };
    mapper.load(NAME, &target).map_err(said(Refusal::DeviceMapper, "device mapper"))
}

/// The manifest of the root that is mounted at [`NEW`]. Links are not followed: the builder wrote a
/// file in a folder of its own.
fn manifest() -> Result<Manifest, Refusal> {
    let path = format!("{NEW}{PATH}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, rustix::fs::Mode::empty());
    let file = File::from(opened.map_err(said(Refusal::Manifest, "manifest"))?);
    let mut bytes = Vec::new();
    let most = MAX_SIZE as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(said(Refusal::Manifest, "manifest"))?;
    Manifest::from_bytes(&bytes).map_err(said(Refusal::Manifest, "manifest"))
}

/// Makes the root that is mounted at [`NEW`] the root. What the initramfs had mounted, all devices
/// included, and its files are gone then.
///
/// # Errors
/// [`Refusal::RootMount`].
pub fn switch() -> Result<(), Refusal> {
    let failed = || said(Refusal::RootMount, "switch to the root disk");
    // Who has a device open could open it again by /proc/self/fd, for reading, too. Not of a mount
    // without devices: what is open stays open, and no more comes of it.
    let closed = MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_remount("/dev", closed, "").map_err(failed())?;
    for path in ["/proc", "/sys", "/dev", "/tmp"] {
        // What is in use goes when it is not any more: files that are open stay so.
        if let Err(e) = unmount(path, UnmountFlags::DETACH)
            && e != rustix::io::Errno::INVAL
        {
            return Err(failed()(e));
        }
    }
    // Memory of the initramfs is the workload's from here on.
    let _ = std::fs::remove_dir_all("/casemate");
    let _ = std::fs::remove_file("/init");
    // As switch_root(8): the initramfs itself cannot be unmounted, so the new root goes over it.
    crate::process::own_root().map_err(|e| said(Refusal::RootMount, "a root of its own")(e))?;
    rustix::process::chdir(NEW).map_err(failed())?;
    mount_move(".", "/").map_err(failed())?;
    rustix::process::chroot(".").map_err(failed())?;
    rustix::process::chdir("/").map_err(failed())
}
