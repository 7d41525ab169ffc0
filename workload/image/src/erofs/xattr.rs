//! Extended attributes of a file, behind its inode.

use crate::bytes::len;
use crate::tree::Meta;

/// `struct erofs_xattr_ibody_header`, before the first attribute.
pub const HEAD: u64 = 12;
/// Prefixes of names that are written as a number (`EROFS_XATTR_INDEX_…`). No other names are in a
/// tree, see [`crate::Dropped`]; `trusted.` has only the mark of [`crate::overlay`].
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];

fn prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?)))
}

/// Bytes of a file's attributes, their header included; none without attributes.
pub fn size(meta: &Meta) -> u64 {
    let one = |(name, value): (&Vec<u8>, &Vec<u8>)| {
        prefix(name).map_or(0, |(_, rest)| (4 + len(rest) + len(value)).next_multiple_of(4))
    };
    let all: u64 = meta.xattrs.iter().map(one).sum();
    if all == 0 { 0 } else { HEAD + all }
}

/// `struct erofs_xattr_entry`, one for each attribute in the order of their names' bytes.
pub fn encode(meta: &Meta) -> Vec<u8> {
    if size(meta) == 0 {
        return Vec::new();
    }
    let mut out = vec![0; 12];
    for (name, value) in &meta.xattrs {
        let Some((index, rest)) = prefix(name) else { continue };
        out.push(u8::try_from(rest.len()).unwrap_or(u8::MAX));
        out.push(index);
        out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend(rest);
        out.extend(value);
        while !out.len().is_multiple_of(4) {
            out.push(0);
        }
    }
    out
}
