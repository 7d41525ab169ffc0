//! A layer of an image, and what proves it in the guest.

use crate::value::{Hash, number};
use std::fmt;
use std::str::FromStr;

/// A layer: what it is, and the disk that is made of it.
///
/// Written `sha256:DIFFID=verity:ROOT:BLOCKS`. Salt and identity of the disk follow from the
/// digest, so they are not written ([`crate::LAYOUT`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layer {
    /// SHA-256 of the uncompressed layer, as the image's configuration lists it.
    pub diff_id: Hash,
    /// The root hash of its disk: the one thing that a guest believes.
    pub root: Hash,
    /// Blocks of 4 KiB of its file system. The hash tree begins right behind them.
    pub blocks: u32,
}

impl fmt::Display for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}=verity:{}:{}", self.diff_id, self.root, self.blocks)
    }
}

impl FromStr for Layer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "is not sha256:DIFFID=verity:ROOT:BLOCKS";
        let (diff_id, disk) = text.split_once('=').ok_or(WHY)?;
        let diff_id = diff_id.strip_prefix("sha256:").ok_or(WHY)?;
        let (root, blocks) =
            disk.strip_prefix("verity:").and_then(|disk| disk.split_once(':')).ok_or(WHY)?;
        let blocks = number(blocks).filter(|blocks| *blocks > 0).ok_or(WHY)?;
        Ok(Self { diff_id: diff_id.parse()?, root: root.parse()?, blocks })
    }
}
