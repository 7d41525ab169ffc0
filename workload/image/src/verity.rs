//! The dm-verity tree of a disk: a hash of each block, hashes of those hashes, up to one.
//!
//! Format 1 without a superblock (Linux Documentation/admin-guide/device-mapper/verity.rst, and the
//! wiki page of cryptsetup that it names): SHA-256 over the salt and a block of 4 KiB, 128 digests
//! a block, filled up with zeros; the highest level comes first. The guest reads no parameter of it
//! from the disk: all are fixed, or on the measured command line.

use crate::ImageError;
use crate::bytes::len;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of a block, of data and of digests.
pub const BLOCK: u64 = 4096;
/// Digests in a block.
const IN_BLOCK: u64 = 128;
/// The SHA-256 of a salted block.
pub type Digest = [u8; 32];
/// Bytes that are read and hashed at a time.
const PIECE: usize = 256 * 1024;

/// A tree that was written behind its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verity {
    /// What proves the whole disk.
    pub root: Digest,
    /// Blocks of data, which are also the number of the first block of the tree.
    pub data_blocks: u64,
    /// Blocks of the tree.
    pub tree_blocks: u64,
}

/// A level that is being filled.
struct Level {
    /// Where its next block goes.
    at: u64,
    block: Vec<u8>,
}

/// Writes the tree of the first `data_blocks` blocks of `disk` behind them. One pass over the data;
/// memory holds a block of each level.
///
/// # Errors
/// [`ImageError::Io`], and [`ImageError::Limit`] for no block at all or more than a device has.
pub fn append(disk: &File, data_blocks: u64, salt: &[u8]) -> Result<Verity, ImageError> {
    let sizes = levels(data_blocks)?;
    let tree_blocks: u64 = sizes.iter().sum();
    // The lowest level is the last on the disk.
    let mut at = data_blocks + tree_blocks;
    let mut all: Vec<Level> = Vec::new();
    for size in &sizes {
        at -= size;
        all.push(Level { at, block: Vec::new() });
    }
    let mut piece = vec![0; PIECE];
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    let mut root = [0; 32];
    let mut read = 0;
    let bytes = data_blocks.saturating_mul(BLOCK);
    while read < bytes {
        let want = usize::try_from(bytes - read).unwrap_or(PIECE).min(PIECE);
        let part = piece.get_mut(..want).unwrap_or_default();
        disk.read_exact_at(part, read).map_err(ImageError::io("the image"))?;
        for block in part.chunks_exact(block) {
            root = hash(salt, block);
            add(disk, &mut all, salt, &mut root)?;
        }
        read += len(part);
    }
    // What is not full is filled up with zeros, from the lowest level on.
    for lowest in 0..all.len() {
        let Some((level, above)) = all.get_mut(lowest..).and_then(|all| all.split_first_mut())
        else {
            break;
        };
        if !level.block.is_empty() {
            root = finish(disk, level, salt)?;
            add(disk, above, salt, &mut root)?;
        }
    }
    Ok(Verity { root, data_blocks, tree_blocks })
}

/// Adds a digest to the lowest level; a block that is full goes to the disk, its digest to the next
/// level. `last` becomes the digest of the highest block that was completed.
fn add(disk: &File, all: &mut [Level], salt: &[u8], last: &mut Digest) -> Result<(), ImageError> {
    for level in all {
        level.block.extend(*last);
        if len(&level.block) < BLOCK {
            return Ok(());
        }
        *last = finish(disk, level, salt)?;
    }
    Ok(())
}

fn finish(disk: &File, level: &mut Level, salt: &[u8]) -> Result<Digest, ImageError> {
    level.block.resize(usize::try_from(BLOCK).unwrap_or(0), 0);
    disk.write_all_at(&level.block, level.at.saturating_mul(BLOCK))
        .map_err(ImageError::io("the image"))?;
    let digest = hash(salt, &level.block);
    level.at += 1;
    level.block.clear();
    Ok(digest)
}

fn hash(salt: &[u8], block: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(block);
    context.finish().as_ref().first_chunk().copied().unwrap_or([0; 32])
}

/// Blocks of each level, from the lowest to the one that is one block.
fn levels(data_blocks: u64) -> Result<Vec<u64>, ImageError> {
    // The kernel's sector_t, of 512 bytes.
    const MOST: u64 = 1 << 52;
    if data_blocks == 0 || data_blocks > MOST {
        return Err(ImageError::Limit { limit: MOST, of: "blocks, or has none" });
    }
    let mut sizes = Vec::new();
    let mut blocks = data_blocks;
    while blocks > 1 {
        blocks = blocks.div_ceil(IN_BLOCK);
        sizes.push(blocks);
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::levels;

    #[test]
    fn levels_end_with_one_block() {
        assert!(levels(1).unwrap().is_empty());
        assert_eq!(levels(2).unwrap(), [1]);
        assert_eq!(levels(128).unwrap(), [1]);
        assert_eq!(levels(129).unwrap(), [2, 1]);
        assert_eq!(levels(128 * 128 + 1).unwrap(), [129, 2, 1]);
        assert!(levels(0).is_err());
    }
}
