//! Protects the image format: what is written is read back by readers that nobody here wrote, the
//! kernel of this machine and `fsck.erofs`, owners, modes, links, devices and attributes included;
//! the verity tree is that of `veritysetup`. Cannot tell what a kernel of another version does.
//!
//! Mounting takes root and a kernel with EROFS and loop devices; where there is none, the test says
//! SKIPPED.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use casemate_image::{Limits, Spool, Tree, erofs, unpack, verity};
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-image-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn entry(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(999);
    header.set_gid(998);
    header.set_mtime(1_700_000_000);
    header
}

/// Every kind of file, sizes around every border, a folder of several blocks.
fn sample() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for size in [0, 1, 100, 4000, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 300_000] {
        let bytes: Vec<u8> = (0..size).map(|i: u32| (i * 7 + size) as u8).collect();
        let mut header = entry(tar::EntryType::Regular, 0o640, u64::from(size));
        tar.append_data(&mut header, format!("sizes/{size}"), &bytes[..]).unwrap();
    }
    for i in 0..700 {
        let path = format!("many/a file whose number is {i}");
        tar.append_data(&mut entry(tar::EntryType::Regular, 0o600, 0), path, &[][..]).unwrap();
    }
    let mut device = entry(tar::EntryType::Block, 0o660, 0);
    device.set_device_major(8).unwrap();
    device.set_device_minor(300).unwrap();
    tar.append_data(&mut device, "disk", &[][..]).unwrap();
    let mut device = entry(tar::EntryType::Char, 0o666, 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    tar.append_data(&mut device, "null", &[][..]).unwrap();
    tar.append_data(&mut entry(tar::EntryType::Fifo, 0o644, 0), "pipe", &[][..]).unwrap();
    tar.append_data(&mut entry(tar::EntryType::Regular, 0o4755, 3), "setuid", &b"abc"[..]).unwrap();
    tar.append_link(&mut entry(tar::EntryType::Link, 0o4755, 0), "further/name", "setuid").unwrap();
    tar.append_link(&mut entry(tar::EntryType::Symlink, 0o777, 0), "link", "sizes/100").unwrap();
    let long = "x".repeat(3000);
    tar.append_link(&mut entry(tar::EntryType::Symlink, 0o777, 0), "long", &long).unwrap();
    tar.append_data(&mut entry(tar::EntryType::Directory, 0o1777, 0), "tmp/", &[][..]).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let attributes = [
        ("SCHILY.xattr.security.capability", &capability[..]),
        ("SCHILY.xattr.user.note", b"a note"),
    ];
    tar.append_pax_extensions(attributes).unwrap();
    tar.append_data(&mut entry(tar::EntryType::Regular, 0o755, 2), "ping", &b"hi"[..]).unwrap();
    tar.into_inner().unwrap()
}

fn image(place: &Path, name: &str) -> (PathBuf, erofs::Written, verity::Verity) {
    let mut tree = Tree::new(Limits::default());
    let mut spool = Spool::new(place, 1 << 30).unwrap();
    unpack(&sample()[..], &mut tree, &mut spool, 1).unwrap();
    let path = place.join(name);
    let out = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let written = erofs::write(&tree, &spool, &out).unwrap();
    let verity = verity::append(&out, written.blocks, &[0; 32]).unwrap();
    (path, written, verity)
}

#[test]
fn the_same_layers_are_the_same_bytes() {
    let place = Place::new("same");
    let (one, written, verity) = image(&place.0, "one");
    let (two, ..) = image(&place.0, "two");
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(two).unwrap());
    let size = one.metadata().unwrap().len();
    assert_eq!(size, (written.blocks + verity.tree_blocks) * 4096);
}

/// A mount that ends with the test.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn the_kernel_reads_back_what_was_written() {
    let place = Place::new("mount");
    let (image, ..) = image(&place.0, "image");
    let at = place.0.join("mnt");
    std::fs::create_dir(&at).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "erofs", "-o", "ro,loop"]).args([&image, &at]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: EROFS cannot be mounted here (needs root and the kernel's modules)");
        return;
    }
    let _mount = Mount(at.clone());
    for size in [0_u32, 1, 100, 4000, 4031, 4032, 4033, 4095, 4096, 4097, 8192, 300_000] {
        let found = std::fs::read(at.join(format!("sizes/{size}"))).unwrap();
        let expected: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
        assert!(found == expected, "{size}");
    }
    let many = std::fs::read_dir(at.join("many")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(many.count(), 700);
    for i in 0..700 {
        assert!(at.join(format!("many/a file whose number is {i}")).is_file(), "{i}");
    }
    let meta = |path: &str| std::fs::symlink_metadata(at.join(path)).unwrap();
    let disk = meta("disk");
    assert!(disk.file_type().is_block_device());
    assert_eq!(disk.rdev(), rustix::fs::makedev(8, 300));
    assert!(meta("null").file_type().is_char_device() && meta("pipe").file_type().is_fifo());
    let setuid = meta("setuid");
    assert_eq!((setuid.mode() & 0o7777, setuid.uid(), setuid.gid()), (0o4755, 999, 998));
    assert_eq!((setuid.nlink(), setuid.mtime()), (2, 1_700_000_000));
    assert_eq!(meta("further/name").ino(), setuid.ino());
    assert_eq!((meta("further").uid(), meta("further").mode() & 0o7777), (0, 0o755));
    assert_eq!(meta("tmp").mode() & 0o7777, 0o1777);
    assert_eq!(std::fs::read_link(at.join("link")).unwrap(), Path::new("sizes/100"));
    assert_eq!(std::fs::read_link(at.join("long")).unwrap().as_os_str().len(), 3000);
    let mut value = [0; 64];
    let len = rustix::fs::getxattr(at.join("ping"), "security.capability", &mut value).unwrap();
    assert_eq!((len, value[0], value[5]), (20, 1, 4));
    let len = rustix::fs::getxattr(at.join("ping"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..len], b"a note");
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 11);
}

#[test]
fn fsck_finds_nothing_wrong() {
    let place = Place::new("fsck");
    let (image, ..) = image(&place.0, "image");
    match Command::new("fsck.erofs").arg(&image).output() {
        Err(_) => println!("SKIPPED: no fsck.erofs (package erofs-utils)"),
        // Version 1.5 says nothing of a good image.
        Ok(output) => assert!(output.status.success() && output.stderr.is_empty(), "{output:?}"),
    }
}

/// The tree of `veritysetup format --no-superblock` of cryptsetup 2.6.1 with a salt of 32 zeros, of
/// 300 blocks of which block i has the byte i.
#[test]
fn the_verity_tree_is_that_of_veritysetup() {
    let place = Place::new("verity");
    let path = place.0.join("disk");
    let disk = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    let data: Vec<u8> = (0..300_u32).flat_map(|i| [i as u8; 4096]).collect();
    std::os::unix::fs::FileExt::write_all_at(&disk, &data, 0).unwrap();
    let tree = verity::append(&disk, 300, &[0; 32]).unwrap();
    assert_eq!((tree.data_blocks, tree.tree_blocks), (300, 4));
    match Command::new("veritysetup")
        .args(["verify", "--no-superblock", "--hash=sha256", "--data-block-size=4096"])
        .args(["--hash-block-size=4096", "--data-blocks=300", "--hash-offset=1228800"])
        .arg(format!("--salt={}", "00".repeat(32)))
        .args([&path, &path])
        .arg(hex(&tree.root))
        .output()
    {
        Err(_) => println!("SKIPPED: no veritysetup (package cryptsetup-bin)"),
        Ok(output) => assert!(output.status.success(), "{output:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
