//! Contents of a folder: blocks of entries, each of 12 bytes, then their names. Entries are sorted
//! by their names' bytes, `.` and `..` among them, over all blocks: the kernel searches by halves
//! (`fs/erofs/namei.c`).

use super::BLOCK;
use crate::Name;
use crate::bytes::len;
use crate::tree::Kind;

/// Bytes of an entry without its name.
const DIRENT: u64 = 12;

/// What an entry of a folder says.
#[derive(Debug, Clone, Copy)]
pub struct Named<'n> {
    pub name: &'n [u8],
    pub nid: u64,
    /// `EROFS_FT_…`, the same numbers as `DT_…` in another order.
    pub file_type: u8,
}

/// The type that a folder's entry has.
pub const fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) => 1,
        Kind::Directory(_) => 2,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// Names with those of the folder itself and the one it lies in, in their order. `.` and `..` come
/// before all names but those that begin with a byte below the dot, or are `.` and such a byte.
fn with_dots<'n>(names: impl Iterator<Item = &'n [u8]>) -> Vec<&'n [u8]> {
    let mut all: Vec<&[u8]> = names.chain([&b"."[..], b".."]).collect();
    all.sort_unstable();
    all
}

/// How many entries go into each block.
fn blocks(names: &[&[u8]]) -> Vec<usize> {
    let (mut blocks, mut used) = (vec![0], 0);
    for name in names {
        let need = DIRENT + len(name);
        if used + need > BLOCK {
            blocks.push(0);
            used = 0;
        }
        used += need;
        if let Some(count) = blocks.last_mut() {
            *count += 1;
        }
    }
    blocks
}

/// Bytes of a folder with these names: whole blocks, and of the last one what is used.
pub fn size<'n>(names: impl Iterator<Item = &'n Name>) -> u64 {
    let names = with_dots(names.map(Name::bytes));
    let blocks = blocks(&names);
    let last = blocks.last().copied().unwrap_or(0);
    let used = names.iter().rev().take(last).map(|name| DIRENT + len(name));
    let whole = u64::try_from(blocks.len().saturating_sub(1)).unwrap_or(u64::MAX);
    whole.saturating_mul(BLOCK).saturating_add(used.sum())
}

/// The bytes themselves. `entries` are those of [`size`]'s names and the two dots, in any order.
pub fn encode(mut entries: Vec<Named<'_>>) -> Vec<u8> {
    entries.sort_unstable_by_key(|entry| entry.name);
    let names: Vec<&[u8]> = entries.iter().map(|entry| entry.name).collect();
    let mut out = Vec::new();
    let mut rest = &entries[..];
    for count in blocks(&names) {
        // Blocks but the last are filled up: a name there ends at a zero or at the block's end.
        while !out.len().is_multiple_of(usize::try_from(BLOCK).unwrap_or(1)) {
            out.push(0);
        }
        let Some((these, others)) = rest.split_at_checked(count) else { break };
        rest = others;
        let mut name_at = DIRENT.saturating_mul(u64::try_from(count).unwrap_or(0));
        for entry in these {
            out.extend(entry.nid.to_le_bytes());
            out.extend(u16::try_from(name_at).unwrap_or(0).to_le_bytes());
            out.extend([entry.file_type, 0]);
            name_at += len(entry.name);
        }
        for entry in these {
            out.extend(entry.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_that_of_the_bytes_for_one_block_and_for_many() {
        for count in [0, 1, 2, 200, 300, 341, 5000] {
            let names: Vec<Name> = (0..count)
                .map(|i| Name::new(format!("file with number {i}").as_bytes()).unwrap())
                .collect();
            let dots = [&b"."[..], b".."];
            let entries = names.iter().map(Name::bytes).chain(dots);
            let entries = entries.map(|name| Named { name, nid: 36, file_type: 1 }).collect();
            assert_eq!(len(&encode(entries)), size(names.iter()), "{count}");
        }
    }
}
