//! Writes an image: metadata in the order of its places, contents block by block. Memory holds one
//! folder or one piece of a file at a time.

use super::directory::{self, Named, file_type};
use super::plan::{Place, Plan};
use super::{BLOCK, SUPERBLOCK, SUPERBLOCK_SIZE, Written, crc32c, inode};
use crate::bytes::len;
use crate::tree::{Kind, NodeId, Tree};
use crate::{ImageError, Spool};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// `EROFS_SUPER_MAGIC_V1`, the first word of a superblock.
const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock has a checksum; files have times of their own.
const COMPATIBLE: u32 = 1 | 2;
/// Read and written at once.
const PIECE: usize = 256 * 1024;

/// Writes `tree` to `out`, an empty file, with the contents that are in `spool`.
///
/// # Errors
/// [`ImageError::Limit`] for a tree that is too large for the format; [`ImageError::Io`].
pub fn write(tree: &Tree, spool: &Spool, out: &File) -> Result<Written, ImageError> {
    write_as(tree, spool, out, [0; 16])
}

/// The same with an identifier.
///
/// # Errors
/// As [`write()`].
pub fn write_as(
    tree: &Tree,
    spool: &Spool,
    out: &File,
    uuid: [u8; 16],
) -> Result<Written, ImageError> {
    let plan = Plan::new(tree)?;
    let bytes = plan.blocks.saturating_mul(BLOCK);
    out.set_len(bytes).map_err(failed())?;
    for (id, parent) in plan.order.iter().zip(&plan.parents) {
        let Some(place) = plan.place(*id) else { continue };
        let node = tree.node(*id);
        let head = inode::encode(&node.kind, &node.meta, place);
        put(out, place.at, &head)?;
        let tail_at = place.at + len(&head);
        match &node.kind {
            Kind::Directory(_) => {
                contents(out, place, tail_at, &folder(tree, &plan, *id, *parent))?;
            }
            Kind::Symlink(target) => contents(out, place, tail_at, target)?,
            Kind::File(content) => {
                let mut piece = vec![0; PIECE.min(usize::try_from(place.size).unwrap_or(PIECE))];
                let mut at = 0;
                while at < place.size {
                    let left = usize::try_from(place.size - at).unwrap_or(PIECE);
                    // A piece ends where the part behind the inode begins.
                    let body = (place.blocks * BLOCK).saturating_sub(at);
                    let want = left.min(piece.len());
                    let want = match usize::try_from(body) {
                        Ok(body) if body > 0 => want.min(body),
                        _ => want,
                    };
                    let part = piece.get_mut(..want).unwrap_or_default();
                    spool.read(*content, at, part)?;
                    let to = if body > 0 { place.block * BLOCK + at } else { tail_at };
                    put(out, to, part)?;
                    at += len(part);
                }
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {}
        }
    }
    superblock(out, &plan, uuid)?;
    let inodes = u64::try_from(plan.order.len()).unwrap_or(u64::MAX);
    Ok(Written { blocks: plan.blocks, inodes })
}

fn failed() -> impl FnOnce(std::io::Error) -> ImageError {
    ImageError::io("the image")
}

fn put(out: &File, at: u64, bytes: &[u8]) -> Result<(), ImageError> {
    out.write_all_at(bytes, at).map_err(failed())
}

/// Contents that are in memory: whole blocks to their place, the rest behind the inode.
fn contents(out: &File, place: &Place, tail_at: u64, bytes: &[u8]) -> Result<(), ImageError> {
    debug_assert_eq!(len(bytes), place.size);
    let body = usize::try_from(place.blocks * BLOCK).unwrap_or(usize::MAX).min(bytes.len());
    let (body, tail) = bytes.split_at_checked(body).unwrap_or((bytes, &[]));
    if !body.is_empty() {
        put(out, place.block * BLOCK, body)?;
    }
    put(out, tail_at, tail)
}

fn folder(tree: &Tree, plan: &Plan, id: NodeId, parent: NodeId) -> Vec<u8> {
    let named = |name, id: NodeId| Named {
        name,
        nid: plan.place(id).map_or(0, Place::nid),
        file_type: file_type(&tree.node(id).kind),
    };
    let mut entries: Vec<Named<'_>> =
        tree.children(id).map(|(name, child)| named(name.bytes(), child)).collect();
    entries.extend([named(b".", id), named(b"..", parent)]);
    directory::encode(entries)
}

/// `struct erofs_super_block`. No time: an image is known by its root hash.
fn superblock(out: &File, plan: &Plan, uuid: [u8; 16]) -> Result<(), ImageError> {
    let root = plan.place(NodeId::ROOT).map_or(0, Place::nid);
    let inodes = u64::try_from(plan.order.len()).unwrap_or(u64::MAX);
    let encode = |checksum: u32| {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(checksum.to_le_bytes());
        bytes.extend(COMPATIBLE.to_le_bytes());
        // Blocks of 1 << 12 bytes; no further slots.
        bytes.extend([12, 0]);
        bytes.extend(u16::try_from(root).unwrap_or(0).to_le_bytes());
        bytes.extend(inodes.to_le_bytes());
        // The time of building, in seconds and nanoseconds.
        bytes.extend([0; 12]);
        bytes.extend(u32::try_from(plan.blocks).unwrap_or(u32::MAX).to_le_bytes());
        // Inodes are counted from the first block, attributes have no area of their own.
        bytes.extend([0; 8]);
        bytes.extend(uuid);
        // No name, no incompatible feature, nothing else.
        bytes.resize(128, 0);
        bytes
    };
    debug_assert_eq!(len(&encode(0)), SUPERBLOCK_SIZE);
    // The checksum covers the rest of the block that the superblock is in, with itself zero.
    let mut block = vec![0; usize::try_from(BLOCK - SUPERBLOCK).unwrap_or(0)];
    out.read_exact_at(&mut block, SUPERBLOCK).map_err(failed())?;
    for (to, byte) in block.iter_mut().zip(encode(0)) {
        *to = byte;
    }
    put(out, SUPERBLOCK, &encode(crc32c(&block)))
}
