//! A writer of EROFS, the kernel's read-only file system, uncompressed.
//!
//! Formats: Linux `fs/erofs/erofs_fs.h`; the documentation "EROFS - Enhanced Read-Only File System"
//! of the kernel. Of all that the format allows, an image has one form of each thing: extended
//! inodes, plain data, the last part of a file behind its inode where it fits there, extended
//! attributes with their inode, no device table, no compression. A reader that knows only these
//! reads every image, and there is one image for each tree.
//!
//! Order: superblock, inodes from the root down in the order of their names' bytes, then contents
//! in the same order. The numbers of inodes (`i_ino`) count from one in that order.

mod directory;
mod inode;
mod plan;
mod write;
mod xattr;

pub use write::{write, write_as};

/// Bytes of a block.
pub const BLOCK: u64 = 4096;
/// Bytes of the unit in which inodes are numbered (`islotbits` 5).
const SLOT: u64 = 32;
/// Where the superblock is.
const SUPERBLOCK: u64 = 1024;
/// Bytes of the superblock, without extensions.
const SUPERBLOCK_SIZE: u64 = 128;
/// Bytes of an extended inode.
const INODE: u64 = 64;

/// What was written, for whoever appends to it or tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Blocks of 4 KiB: the size of the file system.
    pub blocks: u64,
    /// Files, each counted once however many names it has.
    pub inodes: u64,
}

/// CRC-32C as EROFS uses it for its superblock: from all ones, not inverted in the end
/// (`erofs_superblock_csum_verify`).
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            crc >> 1 ^ carry
        })
    })
}

#[cfg(test)]
mod tests {
    /// The check value of CRC-32C (RFC 3720, B.4) is the inverse of what EROFS stores.
    #[test]
    fn checksum_is_crc32c_without_its_last_inversion() {
        assert_eq!(!super::crc32c(b"123456789"), 0xe306_9283);
    }
}
