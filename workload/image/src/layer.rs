//! One layer on top of those before it, by the rules of the OCI image specification (layer.md,
//! "Applying changesets") where it has some, and of `umoci` where it has none.

use crate::path::{Name, names};
use crate::tar::{Entry, EntryKind};
use crate::tree::{Kind, Meta, Node, NodeId, Tree};
use crate::{Content, ImageError};
use std::collections::{BTreeMap, BTreeSet};

/// A name that begins so removes, in the layers below, the name that follows.
const WHITEOUT: &[u8] = b".wh.";
/// What an AUFS of old kept beside files, and the mark of a folder that hides all below it.
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What was left out, by a rule that is written down: an extended attribute that is neither the
/// file's capabilities nor a user's. Labels and hashes of the machine that built the layer
/// (`security.selinux`, `security.ima`) mean nothing in the guest; access control lists and what
/// overlay file systems note (`trusted.*`) belong to file systems that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// How many attributes were left out.
    pub xattrs: u64,
}

/// A layer that is being applied.
#[derive(Debug)]
pub struct Layer<'t> {
    tree: &'t mut Tree,
    number: u32,
    dropped: Dropped,
    /// Folders in which nothing of the layers below is left: nobody looks there again, so a layer
    /// of marks costs what one look at the tree costs, however many there are.
    hidden: BTreeSet<NodeId>,
}

impl<'t> Layer<'t> {
    /// Layer `number`, counted from 1, on top of what `tree` has.
    pub fn new(tree: &'t mut Tree, number: u32) -> Self {
        Self { tree, number, dropped: Dropped::default(), hidden: BTreeSet::new() }
    }

    /// What was left out so far.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Applies one entry, whose contents are `content`.
    ///
    /// # Errors
    /// [`ImageError::Entry`] with the entry's path; [`ImageError::Limit`].
    pub fn apply(&mut self, entry: Entry, content: Content) -> Result<(), ImageError> {
        self.tree.entry()?;
        let path = names(&entry.path)?;
        let Some((name, parents)) = path.split_last() else {
            return self.root(entry);
        };
        if name.bytes().starts_with(RESERVED) {
            if name.bytes() == OPAQUE {
                let folder = self.tree.folder(parents, &entry.path, Some(self.number))?;
                self.hide_below(folder);
            }
            return Ok(());
        }
        if let Some(hidden) = name.bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(parents, hidden, &entry.path);
        }
        let folder = self.tree.folder(parents, &entry.path, Some(self.number))?;
        let node = match entry.kind {
            EntryKind::Directory => {
                let meta = self.meta(entry.meta);
                return self.directory(folder, name, meta);
            }
            EntryKind::HardLink(target) => self.link(&target, &entry.path)?,
            EntryKind::File => self.add(entry.meta, Kind::File(content))?,
            EntryKind::Symlink(target) => {
                if target.is_empty() || target.len() > crate::path::PATH_MAX || target.contains(&0)
                {
                    let why = "a symbolic link's target is empty, too long, or has a zero byte";
                    return Err(ImageError::entry(&entry.path, why));
                }
                self.add(entry.meta, Kind::Symlink(target))?
            }
            EntryKind::CharDevice { major, minor } => {
                self.add(entry.meta, Kind::CharDevice { major, minor })?
            }
            EntryKind::BlockDevice { major, minor } => {
                self.add(entry.meta, Kind::BlockDevice { major, minor })?
            }
            EntryKind::Fifo => self.add(entry.meta, Kind::Fifo)?,
        };
        // What had the name before, a folder with all it has included, is replaced.
        self.tree.put(folder, name.clone(), node, self.number)
    }

    /// The root is there before any layer: it can be described, and nothing else.
    fn root(&mut self, entry: Entry) -> Result<(), ImageError> {
        if !matches!(entry.kind, EntryKind::Directory) {
            return Err(ImageError::entry(&entry.path, "the root is a folder"));
        }
        let meta = self.meta(entry.meta);
        self.tree.describe(NodeId::ROOT, meta)
    }

    fn add(&mut self, meta: Meta, kind: Kind) -> Result<NodeId, ImageError> {
        let meta = self.meta(meta);
        self.tree.add(Node { meta, kind })
    }

    /// A folder that is there already keeps what it has.
    fn directory(&mut self, folder: NodeId, name: &Name, meta: Meta) -> Result<(), ImageError> {
        let there = self.tree.dentry(folder, name).map(|dentry| dentry.node);
        let there = there.filter(|id| matches!(self.tree.node(*id).kind, Kind::Directory(_)));
        let node = match there {
            Some(id) => id,
            None => self
                .tree
                .add(Node { meta: Meta::default(), kind: Kind::Directory(BTreeMap::new()) })?,
        };
        self.tree.describe(node, meta)?;
        self.tree.put(folder, name.clone(), node, self.number)
    }

    /// A further name of a file that is there. Its path is one of the layer, like any other.
    fn link(&mut self, target: &[u8], of: &[u8]) -> Result<NodeId, ImageError> {
        let none = || ImageError::entry(of, "a hard link to a file that is not there");
        let path = names(target)?;
        let (name, parents) = path.split_last().ok_or_else(none)?;
        let folder = self.tree.folder(parents, of, None)?;
        let node = self.tree.dentry(folder, name).ok_or_else(none)?.node;
        match self.tree.node(node).kind {
            Kind::Directory(_) => Err(ImageError::entry(of, "a hard link to a folder")),
            _ => Ok(node),
        }
    }

    /// Removes a name of the layers below. The specification: whiteouts "MUST only apply to
    /// resources in lower/parent layers", so the order of entries in a layer does not matter.
    fn whiteout(&mut self, parents: &[Name], hidden: &[u8], of: &[u8]) -> Result<(), ImageError> {
        let name = Name::new(hidden)
            .ok_or_else(|| ImageError::entry(of, "a whiteout that names no file"))?;
        // A whiteout in a folder that is not there hides nothing, and makes none.
        let Ok(folder) = self.tree.folder(parents, of, None) else { return Ok(()) };
        self.hide(folder, &name);
        Ok(())
    }

    /// Removes what layers below have under a name; what this layer wrote stays, and the folders it
    /// lies in.
    fn hide(&mut self, folder: NodeId, name: &Name) {
        let Some(dentry) = self.tree.dentry(folder, name) else { return };
        if matches!(self.tree.node(dentry.node).kind, Kind::Directory(_)) {
            self.hide_below(dentry.node);
        }
        let empty = self.tree.children(dentry.node).next().is_none();
        if let Some(children) = self.tree.children_mut(folder)
            && dentry.layer < self.number
            && empty
        {
            children.remove(name);
        }
    }

    /// The same for all that a folder has, at any depth. Without recursion: layers decide how deep
    /// folders lie.
    fn hide_below(&mut self, top: NodeId) {
        // Folders from the top down, so that each is behind the one it lies in.
        let mut folders = Vec::new();
        if self.number > 1 && self.hidden.insert(top) {
            folders.push(top);
        }
        let mut next = 0;
        while let Some(folder) = folders.get(next).copied() {
            let children = self.tree.children(folder).map(|(_, id)| id);
            let inner: Vec<NodeId> = children
                .filter(|id| matches!(self.tree.node(*id).kind, Kind::Directory(_)))
                .collect();
            folders.extend(inner.into_iter().filter(|id| self.hidden.insert(*id)));
            next += 1;
        }
        while let Some(folder) = folders.pop() {
            let doomed: Vec<Name> = self
                .tree
                .children(folder)
                .filter(|(name, id)| {
                    let layer = self.tree.dentry(folder, name).map_or(0, |dentry| dentry.layer);
                    layer < self.number && self.tree.children(*id).next().is_none()
                })
                .map(|(name, _)| name.clone())
                .collect();
            if let Some(children) = self.tree.children_mut(folder) {
                for name in doomed {
                    children.remove(&name);
                }
            }
        }
    }

    /// Leaves out the attributes that [`Dropped`] names.
    fn meta(&mut self, mut meta: Meta) -> Meta {
        let before = meta.xattrs.len();
        meta.xattrs.retain(|name, _| name == b"security.capability" || name.starts_with(b"user."));
        let lost = before.saturating_sub(meta.xattrs.len());
        self.dropped.xattrs += u64::try_from(lost).unwrap_or(0);
        meta
    }
}
