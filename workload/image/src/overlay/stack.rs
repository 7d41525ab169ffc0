//! Layers on top of each other, as overlayfs shows them: for what has to be looked up in an image
//! before any guest has it.

use super::{Alone, OPAQUE};
use crate::path::{Name, Step, names, steps};
use crate::tree::{Kind, NodeId, Tree};
use crate::{ImageError, Spool};
use std::collections::VecDeque;

/// Symbolic links on one way, as Linux follows them (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// The layers of an image, the lowest first.
#[derive(Debug, Default)]
pub struct Stack {
    trees: Vec<Tree>,
}

/// A folder of a stack: the folders that it is merged of, the highest first, by layer.
type Merged = Vec<(usize, NodeId)>;

impl Stack {
    /// Puts a layer on top.
    ///
    /// # Errors
    /// [`ImageError::Entry`] for a layer that has a folder where the layers below have a symbolic
    /// link: whoever made it put its files where the link leads, and an overlay would put a folder
    /// over the link.
    pub fn push(&mut self, layer: Alone) -> Result<(), ImageError> {
        let top = layer.tree;
        let mut left = vec![(NodeId::ROOT, self.roots(), Vec::new())];
        while let Some((folder, below, path)) = left.pop() {
            if below.is_empty() || is_opaque(&top, folder) {
                continue;
            }
            for (name, child) in top.children(folder) {
                if !matches!(top.node(child).kind, Kind::Directory(_)) {
                    continue;
                }
                let path = [&path, &b"/"[..], name.bytes()].concat();
                match self.step(&below, name) {
                    Some(Found::Folder(merged)) => left.push((child, merged, path)),
                    // An opaque folder takes the name for itself.
                    Some(Found::File(layer, id))
                        if matches!(self.kind(layer, id), Some(Kind::Symlink(_)))
                            && !is_opaque(&top, child) =>
                    {
                        let why = "a folder here, and a symbolic link in the layers below: an \
                                   overlay would hide the link, and what the layer has would not \
                                   be where it was put";
                        return Err(ImageError::entry(&path, why));
                    }
                    _ => {}
                }
            }
        }
        self.trees.push(top);
        Ok(())
    }

    /// The contents of a regular file, links followed within the stack; None where there is none,
    /// or one of more than `most` bytes.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn file(
        &self,
        path: &[u8],
        most: u64,
        spool: &Spool,
    ) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(Found::File(layer, id)) = self.find(path) else { return Ok(None) };
        let Some(Kind::File(content)) = self.kind(layer, id) else { return Ok(None) };
        let Some(size) = usize::try_from(content.len).ok().filter(|_| content.len <= most) else {
            return Ok(None);
        };
        let mut bytes = vec![0; size];
        spool.read(*content, 0, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Whether a path leads to a regular file that somebody may execute.
    #[must_use]
    pub fn runs(&self, path: &[u8]) -> bool {
        let Some(Found::File(layer, id)) = self.find(path) else { return false };
        let node = self.trees.get(layer).map(|tree| tree.node(id));
        node.is_some_and(|node| matches!(node.kind, Kind::File(_)) && node.meta.mode & 0o111 != 0)
    }

    fn kind(&self, layer: usize, id: NodeId) -> Option<&Kind> {
        self.trees.get(layer).map(|tree| &tree.node(id).kind)
    }

    fn roots(&self) -> Merged {
        (0..self.trees.len()).rev().map(|layer| (layer, NodeId::ROOT)).collect()
    }

    /// What a name in a folder is: what the highest layer has there. A folder goes on in the layers
    /// below, as far as those have folders and none of them is opaque.
    fn step(&self, folder: &Merged, name: &Name) -> Option<Found> {
        let mut merged = Merged::new();
        for (layer, id) in folder {
            let Some(tree) = self.trees.get(*layer) else { continue };
            let Some(dentry) = tree.dentry(*id, name) else { continue };
            match &tree.node(dentry.node).kind {
                Kind::Directory(_) => {
                    merged.push((*layer, dentry.node));
                    if is_opaque(tree, dentry.node) {
                        break;
                    }
                }
                _ if !merged.is_empty() => break,
                Kind::CharDevice { major: 0, minor: 0 } => return None,
                _ => return Some(Found::File(*layer, dentry.node)),
            }
        }
        (!merged.is_empty()).then_some(Found::Folder(merged))
    }

    fn find(&self, path: &[u8]) -> Option<Found> {
        let mut left: VecDeque<Step> = names(path).ok()?.into_iter().map(Step::Down).collect();
        let mut way = vec![self.roots()];
        let mut links = 0;
        while let Some(step) = left.pop_front() {
            let Step::Down(name) = step else {
                // The root's parent is the root.
                way.truncate(way.len().saturating_sub(1).max(1));
                continue;
            };
            match self.step(way.last()?, &name)? {
                Found::Folder(merged) => way.push(merged),
                Found::File(layer, id) => match self.kind(layer, id)? {
                    Kind::Symlink(target) => {
                        links += 1;
                        let (absolute, steps) = steps(target).ok()?;
                        if links > MAX_LINKS {
                            return None;
                        }
                        if absolute {
                            way.truncate(1);
                        }
                        steps.into_iter().rev().for_each(|step| left.push_front(step));
                    }
                    _ if left.is_empty() => return Some(Found::File(layer, id)),
                    _ => return None,
                },
            }
        }
        way.pop().map(Found::Folder)
    }
}

/// What a path leads to.
enum Found {
    Folder(Merged),
    File(usize, NodeId),
}

fn is_opaque(tree: &Tree, folder: NodeId) -> bool {
    tree.node(folder).meta.xattrs.contains_key(OPAQUE)
}
