//! Inodes and their extended attributes.

use super::plan::Place;
use super::{BLOCK, INODE, xattr};
use crate::bytes::len;
use crate::tree::{Kind, Meta};

/// The bits of `st_mode` that say what a file is (`S_IFMT`, inode(7)).
const fn format_bits(kind: &Kind) -> u16 {
    match kind {
        Kind::Fifo => 0o01_0000,
        Kind::CharDevice { .. } => 0o02_0000,
        Kind::Directory(_) => 0o04_0000,
        Kind::BlockDevice { .. } => 0o06_0000,
        Kind::File(_) => 0o10_0000,
        Kind::Symlink(_) => 0o12_0000,
    }
}

/// A device's numbers as the kernel stores them (`new_encode_dev`).
const fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// `struct erofs_inode_extended` and the attributes behind it.
pub fn encode(kind: &Kind, meta: &Meta, place: &Place) -> Vec<u8> {
    let inline = place.tail() > 0;
    // Bit 0: the extended form. From bit 1: EROFS_INODE_FLAT_PLAIN (0) or FLAT_INLINE (2).
    let format: u16 = if inline { 1 | 2 << 1 } else { 1 };
    let attributes = xattr::encode(meta);
    // The size of the attributes is (count - 1) * 4 + 12 (`erofs_xattr_ibody_size`).
    let count = len(&attributes).checked_sub(xattr::HEAD).map_or(0, |bytes| 1 + bytes / 4);
    let where_it_is = match kind {
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            device(*major, *minor)
        }
        _ if place.blocks > 0 => u32::try_from(place.block).unwrap_or(u32::MAX),
        // No block at all.
        _ if inline => u32::MAX,
        _ => 0,
    };
    let mut out = Vec::with_capacity(usize::try_from(BLOCK).unwrap_or(0));
    out.extend(format.to_le_bytes());
    out.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
    out.extend((format_bits(kind) | meta.mode & 0o7777).to_le_bytes());
    out.extend([0; 2]);
    out.extend(place.size.to_le_bytes());
    out.extend(where_it_is.to_le_bytes());
    out.extend(place.number.to_le_bytes());
    out.extend(meta.uid.to_le_bytes());
    out.extend(meta.gid.to_le_bytes());
    out.extend(meta.mtime.to_le_bytes());
    out.extend([0; 4]);
    out.extend(place.links.to_le_bytes());
    out.extend([0; 16]);
    debug_assert_eq!(len(&out), INODE);
    out.extend(attributes);
    out
}
