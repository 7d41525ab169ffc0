//! Layers and archives of container images, and the disk that is made of them.

use crate::bounded;
use casemate_image::initramfs;
use casemate_image::kernel::{self, Module, modinfo};
use casemate_image::oci::{self, Blobs};
use casemate_image::overlay::{Alone, Stack};
use casemate_image::{Limits, Spool, Tree, erofs, unpack, verity};
use std::fs::File;

/// Bytes of all files of an input; files of it.
const ROOM: u64 = 256 * 1024;
const LIMITS: Limits =
    Limits { nodes: 256, xattrs: 64 * 1024, links: 64 * 1024, entries: 512, steps: 1 << 16 };

fn spool() -> Spool {
    Spool::new(&std::env::temp_dir(), ROOM).expect("a temporary file")
}

/// A file without a name.
fn disk() -> File {
    use rustix::fs::{MemfdFlags, memfd_create};
    memfd_create("disk", MemfdFlags::CLOEXEC).expect("a file in memory").into()
}

fn write(tree: &Tree, spool: &Spool) -> Option<(u64, [u8; 32])> {
    let disk = disk();
    let written = erofs::write(tree, spool, &disk).ok()?;
    let verity = verity::append(&disk, written.blocks, &[]).expect("a tree of a small disk");
    let size = disk.metadata().expect("a file").len();
    assert!(size >= written.blocks * erofs::BLOCK && written.inodes as usize <= tree.nodes());
    Some((written.blocks, verity.root))
}

/// Any bytes are a layer or an error, in bounded memory; what is a layer becomes a disk, twice the
/// same, and no path of it was one of this machine: nothing but the spool was written.
pub fn layer(data: &[u8]) {
    // An xz stream says how large its dictionary is; that is bounded, and allocated.
    let limit = if data.starts_with(b"\xfd7zXZ") { 80 << 20 } else { 2 << 20 };
    bounded(limit, || {
        let (mut tree, mut spool) = (Tree::new(LIMITS), spool());
        match unpack(data, &mut tree, &mut spool, 1) {
            Ok(_) => {
                let one = write(&tree, &spool).expect("a small tree fits");
                assert_eq!(Some(one), write(&tree, &spool));
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    });
}

/// Any bytes are a layer by itself or an error, in bounded memory; what is one becomes the same
/// disk twice, with the digest of its bytes, and can be stacked on itself or says why not.
pub fn overlay(data: &[u8]) {
    let limit = if data.starts_with(b"\xfd7zXZ") { 160 << 20 } else { 4 << 20 };
    bounded(limit, || {
        let mut spool = spool();
        let read = |spool: &mut Spool| Alone::read(data, None, LIMITS, spool);
        match (read(&mut spool), read(&mut spool)) {
            (Ok(one), Ok(other)) => {
                let first = one.write(&spool, &disk()).expect("a small tree fits");
                let second = other.write(&spool, &disk()).expect("a small tree fits");
                assert_eq!(first, second);
                let mut stack = Stack::default();
                stack.push(one).expect("nothing is below the first layer");
                let _ = stack.push(other);
                let _ = stack.file(b"/etc/passwd", ROOM, &spool).expect("it was spooled");
            }
            (Err(error), _) | (_, Err(error)) => {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    });
}

/// Any bytes are an archive of an image or an error of one line.
pub fn archive(data: &[u8]) {
    let unpacked = Blobs::archive(data, spool()).and_then(|blobs| {
        let found = oci::find(&blobs, None)?;
        found.unpack(&blobs, LIMITS, &mut spool())
    });
    if let Err(error) = unpacked {
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

/// Any bytes are a kernel's package or an error of one line, in bounded memory; what modules it has
/// come in an order in which each is behind those it needs, each once.
pub fn package(data: &[u8]) {
    // A dictionary of xz, and a module within the package that is such a stream again.
    bounded(200 << 20, || {
        let taken = kernel::package(data, spool()).and_then(|(_, store)| {
            let modules = kernel::needed(&store, kernel::Purpose::Reports, None)?;
            Ok((store, modules))
        });
        match taken {
            Ok((store, modules)) => {
                for (at, module) in modules.iter().enumerate() {
                    let info = modinfo(&module.file).expect("it was read before");
                    assert_eq!(info.name, module.name);
                    assert!(!store.is_built_in(&module.name));
                    let same = modules.iter().filter(|other| other.name == module.name);
                    assert_eq!(same.count(), 1, "{at}");
                }
            }
            Err(error) => {
                let text = error.to_string();
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    });
}

/// Any bytes are a module's description or none, and any is a file of an initramfs, whose archive
/// another reader takes apart again.
pub fn module(data: &[u8]) {
    let name = modinfo(data).map_or_else(|| "x".to_owned(), |info| info.name);
    let modules = [Module { name: name.clone(), file: data.to_vec() }];
    let archive = initramfs::write(data, &modules);
    let (mut init, mut found, mut end) = (false, false, false);
    let mut rest = &archive[..];
    while !rest.is_empty() {
        let (path, contents, next) = entry(rest);
        assert!(!end, "something behind the end");
        init |= path == "init" && contents == data;
        found |= path == format!("casemate/modules/00-{name}.ko") && contents == data;
        end = path == "TRAILER!!!";
        rest = next;
    }
    assert!(init && found && end);
}

/// The first entry of an archive as `buffer-format.rst` of Linux has it: name, contents, the rest.
fn entry(archive: &[u8]) -> (&str, &[u8], &[u8]) {
    assert_eq!(&archive[..6], b"070701");
    let number = |field: usize| {
        let digits = str::from_utf8(&archive[6 + field * 8..14 + field * 8]).unwrap();
        usize::from_str_radix(digits, 16).unwrap()
    };
    let (size, name) = (number(6), number(11));
    let content = (110 + name).next_multiple_of(4);
    let path = str::from_utf8(&archive[110..110 + name - 1]).unwrap();
    assert_eq!(archive[110 + name - 1], 0);
    (path, &archive[content..content + size], &archive[(content + size).next_multiple_of(4)..])
}

/// Any bytes are a manifest, the same again when it is written, or an error of one line.
pub fn manifest(data: &[u8]) {
    use casemate_init::device_mapper::{Buffer, Target};
    use casemate_manifest::{Manifest, RootDisk};
    match Manifest::from_bytes(data) {
        Ok(manifest) => {
            let bytes = manifest.to_bytes().expect("what was read can be written");
            assert_eq!(Manifest::from_bytes(&bytes).expect("and read again"), manifest);
        }
        Err(error) => {
            let text = casemate_foreign_text::line(error.to_string()).to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
    let Ok(line) = str::from_utf8(data) else { return };
    if let Ok(disk) = RootDisk::from_cmdline(line) {
        let word = disk.to_string();
        assert_eq!(line.split_ascii_whitespace().filter(|one| *one == word).count(), 1);
        let table = disk.verity("254:0", true);
        let target =
            Target { kind: "verity", start: 0, sectors: disk.sectors(), parameters: &table };
        let buffer = Buffer::new("root").and_then(|buffer| buffer.with_target(&target));
        assert!(buffer.is_some(), "a table has room for every disk");
    }
}
