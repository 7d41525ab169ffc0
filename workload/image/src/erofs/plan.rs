//! Where everything will be: decided before a byte is written, since folders name their files'
//! inodes by place, and inodes their contents'.

use super::directory;
use super::{BLOCK, INODE, SLOT, SUPERBLOCK, SUPERBLOCK_SIZE, xattr};
use crate::ImageError;
use crate::bytes::{len, round_up};
use crate::tree::{Kind, NodeId, Tree};

/// Where one inode will be, and its contents.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// Offset of the inode in the image.
    pub at: u64,
    /// First block of its contents.
    pub block: u64,
    /// Whole blocks of contents elsewhere; what is left is behind the inode.
    pub blocks: u64,
    /// Bytes of its contents, as `st_size` says.
    pub size: u64,
    /// Names, or for a folder what is customary: its own two and one for each folder in it.
    pub links: u32,
    /// Its number, from one.
    pub number: u32,
}

impl Place {
    /// How folders name it.
    pub const fn nid(&self) -> u64 {
        self.at / SLOT
    }

    /// Bytes behind the inode and its attributes.
    pub const fn tail(&self) -> u64 {
        self.size.saturating_sub(self.blocks * BLOCK)
    }
}

/// Where every inode will be.
#[derive(Debug)]
pub struct Plan {
    /// Nodes in the order of their inodes; the root is the first.
    pub order: Vec<NodeId>,
    /// The folder each folder of `order` lies in; the root lies in itself.
    pub parents: Vec<NodeId>,
    /// By node number; nodes that no name leads to have none.
    places: Vec<Option<Place>>,
    /// Blocks of the image.
    pub blocks: u64,
    /// First byte behind the inodes.
    pub metadata: u64,
}

const TOO_LARGE: ImageError = ImageError::Limit { limit: u32::MAX as u64, of: "blocks" };

impl Plan {
    pub fn new(tree: &Tree) -> Result<Self, ImageError> {
        let mut plan = Self {
            order: Vec::new(),
            parents: Vec::new(),
            places: vec![None; tree.nodes()],
            blocks: 0,
            metadata: SUPERBLOCK + SUPERBLOCK_SIZE,
        };
        plan.number(tree)?;
        plan.place_inodes(tree)?;
        plan.place_contents()?;
        Ok(plan)
    }

    /// A node's place; None for one that no name leads to.
    pub fn place(&self, id: NodeId) -> Option<&Place> {
        self.places.get(id.index())?.as_ref()
    }

    fn place_mut(&mut self, id: NodeId) -> Option<&mut Place> {
        self.places.get_mut(id.index())?.as_mut()
    }

    /// Walks the tree from the root down; a list in place of recursion, since whoever wrote the
    /// layers chose how deep it is.
    fn number(&mut self, tree: &Tree) -> Result<(), ImageError> {
        let mut left = vec![(NodeId::ROOT, NodeId::ROOT)];
        while let Some((id, parent)) = left.pop() {
            if let Some(place) = self.place_mut(id) {
                // A further name of a file that has its place.
                place.links = place.links.saturating_add(1);
                continue;
            }
            let node = tree.node(id);
            let number = u32::try_from(self.order.len() + 1).map_err(|_| TOO_LARGE)?;
            let (size, links) = match &node.kind {
                Kind::Directory(_) => {
                    let folders = tree
                        .children(id)
                        .filter(|(_, child)| matches!(tree.node(*child).kind, Kind::Directory(_)));
                    let links = u32::try_from(folders.count()).map_err(|_| TOO_LARGE)?;
                    (directory::size(tree.children(id).map(|(name, _)| name)), 2 + links)
                }
                Kind::File(content) => (content.len, 1),
                Kind::Symlink(target) => (len(target), 1),
                Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => (0, 1),
            };
            let place = Place { size, links, number, ..Place::default() };
            if let Some(slot) = self.places.get_mut(id.index()) {
                *slot = Some(place);
            }
            self.order.push(id);
            self.parents.push(parent);
            // The last one pushed is the next one taken.
            let children: Vec<NodeId> = tree.children(id).map(|(_, child)| child).collect();
            left.extend(children.into_iter().rev().map(|child| (child, id)));
        }
        Ok(())
    }

    /// Inodes one behind the other, each with its attributes and the last part of its contents,
    /// where that part does not cross a block: the kernel maps one block for it
    /// (`erofs_map_blocks`, "inline data cross block boundary").
    fn place_inodes(&mut self, tree: &Tree) -> Result<(), ImageError> {
        let mut at = self.metadata;
        for id in self.order.clone() {
            let head = INODE + xattr::size(&tree.node(id).meta);
            let Some(place) = self.place_mut(id) else { continue };
            let tail = place.size % BLOCK;
            let inline = tail > 0 && head + tail <= BLOCK;
            place.blocks = if inline { place.size / BLOCK } else { place.size.div_ceil(BLOCK) };
            let room = if inline { head + tail } else { head };
            at = round_up(at, SLOT).ok_or(TOO_LARGE)?;
            if inline && at % BLOCK + room > BLOCK {
                at = round_up(at, BLOCK).ok_or(TOO_LARGE)?;
            }
            place.at = at;
            at = at.checked_add(room).ok_or(TOO_LARGE)?;
        }
        self.metadata = at;
        Ok(())
    }

    fn place_contents(&mut self) -> Result<(), ImageError> {
        let mut block = self.metadata.div_ceil(BLOCK);
        for id in self.order.clone() {
            let Some(place) = self.place_mut(id) else { continue };
            if place.blocks > 0 {
                place.block = block;
                block = block.checked_add(place.blocks).ok_or(TOO_LARGE)?;
            }
        }
        // `i_u` and the superblock have 32 bits for a block's number, of which all ones means none.
        if block >= u64::from(u32::MAX) {
            return Err(TOO_LARGE);
        }
        self.blocks = block;
        Ok(())
    }
}
