//! Layers and archives of container images, and the disk that is made of them.

use crate::bounded;
use casemate_image::oci::{self, Blobs};
use casemate_image::{Limits, Spool, Tree, erofs, unpack, verity};
use std::fs::File;

/// Bytes of all files of an input; files of it.
const ROOM: u64 = 256 * 1024;
const LIMITS: Limits = Limits { nodes: 256, xattrs: 64 * 1024, steps: 1 << 16 };

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
    bounded(2 << 20, || {
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
