//! A tree of files: what the layers come to.
//!
//! Nodes are in one list and name each other by number, so a hard link is two names with one number
//! and nothing is freed while a name could still lead to it.

use crate::path::{Name, Step, names, steps};
use crate::{Content, ImageError};
use std::collections::{BTreeMap, VecDeque};

/// What an image may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files, folders and links, and apart from them names, of all layers together, those included
    /// that a later layer removes. A hard link is a name without a file of its own.
    pub nodes: usize,
    /// Bytes of names and values of extended attributes, of all layers together: they are kept in
    /// memory, and one header can give them to every file behind it.
    pub xattrs: u64,
    /// Bytes of the targets of symbolic links, of all layers together, which are kept in memory, too.
    pub links: u64,
    /// Entries of all layers together: also those that remove something, which need no room.
    pub entries: u64,
    /// Steps from folder to folder on the ways to all names: a link costs as many as it is long,
    /// however short the stream that has it.
    pub steps: u64,
}

impl Default for Limits {
    /// A million files: more than any image that was looked at has, and less than what hurts.
    fn default() -> Self {
        Self {
            nodes: 1 << 20,
            xattrs: 16 << 20,
            links: 64 << 20,
            entries: 4 << 20,
            steps: 64 << 20,
        }
    }
}

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The root of every tree.
    pub const ROOT: Self = Self(0);

    /// As an index of a list with one entry for each node.
    #[must_use]
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Owner, permissions and the rest that files of every kind have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with set-user-ID, set-group-ID and sticky: the lower twelve of `st_mode`.
    pub mode: u16,
    /// The owner, by number: a disk has no names of users.
    pub uid: u32,
    /// The group, by number.
    pub gid: u32,
    /// Seconds since 1970 of the last change of the contents.
    pub mtime: i64,
    /// Extended attributes by their whole names.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder, and what it has.
    Directory(BTreeMap<Name, Dentry>),
    /// A regular file and where its bytes are.
    File(Content),
    /// A symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// A character device: a number, which the guest's kernel may have a driver for.
    CharDevice {
        /// The number of its driver.
        major: u32,
        /// Which device of that driver.
        minor: u32,
    },
    /// A block device, in the same way.
    BlockDevice {
        /// The number of its driver.
        major: u32,
        /// Which device of that driver.
        minor: u32,
    },
    /// A named pipe, without what is in it.
    Fifo,
}

/// A name's meaning in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dentry {
    /// What it leads to: several names may lead to one node.
    pub node: NodeId,
    /// The layer that wrote this name last: a whiteout of the same layer leaves it alone.
    pub(crate) layer: u32,
}

/// One file, however many names it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Owner, permissions and the rest.
    pub meta: Meta,
    /// What kind of file it is, and what that kind has.
    pub kind: Kind,
}

/// A tree of files.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Node>,
    limits: Limits,
    used: Used,
}

/// What was used of the [`Limits`].
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    names: usize,
    xattrs: u64,
    links: u64,
    entries: u64,
    steps: u64,
}

/// How deep folders may lie: a path of Linux has room for 2047 names, and programs that go down a
/// tree by calling themselves need far less to fail.
const MAX_DEPTH: usize = 1024;
/// Symbolic links that are followed on one way, as Linux does (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// A folder that no layer describes: root's, mode 0755, as `docker` and `podman` make it.
fn undescribed() -> Node {
    let meta = Meta { mode: 0o755, ..Meta::default() };
    Node { meta, kind: Kind::Directory(BTreeMap::new()) }
}

impl Tree {
    /// A tree with its root only.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { nodes: vec![undescribed()], limits, used: Used::default() }
    }

    /// How many nodes there are, those included that no name leads to any more.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// A node; the root for a number of another tree.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        // A tree is never without its root, and numbers are made by this tree only.
        self.nodes.get(id.index()).unwrap_or_else(|| {
            debug_assert!(false, "a node of another tree");
            ROOT_OF_NOTHING.get_or_init(undescribed)
        })
    }

    /// What a folder has, in the order of its names' bytes; nothing where it is no folder.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = (&Name, NodeId)> {
        let all = match &self.node(id).kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        };
        all.into_iter().flatten().map(|(name, dentry)| (name, dentry.node))
    }

    /// The node at a path, links followed within the tree as the kernel would follow them there.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<NodeId> {
        let mut way = Way::new(&names(path).ok()?);
        while let Some(step) = way.next() {
            let Step::Down(name) = step else {
                way.up();
                continue;
            };
            let dentry = self.dentry(way.at(), &name)?;
            match &self.node(dentry.node).kind {
                Kind::Symlink(target) => way.follow(target).ok()?,
                _ => way.down(dentry.node),
            }
        }
        Some(way.at())
    }

    pub(crate) fn dentry(&self, folder: NodeId, name: &Name) -> Option<Dentry> {
        match &self.node(folder).kind {
            Kind::Directory(children) => children.get(name).copied(),
            _ => None,
        }
    }

    pub(crate) fn children_mut(&mut self, id: NodeId) -> Option<&mut BTreeMap<Name, Dentry>> {
        match &mut self.nodes.get_mut(id.index())?.kind {
            Kind::Directory(children) => Some(children),
            _ => None,
        }
    }

    pub(crate) fn add(&mut self, node: Node) -> Result<NodeId, ImageError> {
        self.count(&node.meta)?;
        if let Kind::Symlink(target) = &node.kind {
            self.used.links = self.used.links.saturating_add(crate::bytes::len(target));
            if self.used.links > self.limits.links {
                let of = "bytes of symbolic links";
                return Err(ImageError::Limit { limit: self.limits.links, of });
            }
        }
        let limit = self.limits.nodes;
        let full = ImageError::Limit { limit: limit as u64, of: "files" };
        if self.nodes.len() >= limit {
            return Err(full);
        }
        let id = u32::try_from(self.nodes.len()).map_err(|_| full)?;
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    /// Gives a node its name, or a further one; what had the name before loses it.
    pub(crate) fn put(
        &mut self,
        folder: NodeId,
        name: Name,
        node: NodeId,
        layer: u32,
    ) -> Result<(), ImageError> {
        let before = self.children_mut(folder).and_then(|c| c.insert(name, Dentry { node, layer }));
        if before.is_none() {
            self.used.names += 1;
            if self.used.names > self.limits.nodes {
                return Err(ImageError::Limit { limit: self.limits.nodes as u64, of: "names" });
            }
        }
        Ok(())
    }

    /// Describes a node, again perhaps.
    pub(crate) fn describe(&mut self, id: NodeId, meta: Meta) -> Result<(), ImageError> {
        self.count(&meta)?;
        if let Some(node) = self.nodes.get_mut(id.index()) {
            node.meta = meta;
        }
        Ok(())
    }

    fn count(&mut self, meta: &Meta) -> Result<(), ImageError> {
        let one = |(name, value): (&Vec<u8>, &Vec<u8>)| {
            crate::bytes::len(name) + crate::bytes::len(value)
        };
        self.used.xattrs = self.used.xattrs.saturating_add(meta.xattrs.iter().map(one).sum());
        if self.used.xattrs > self.limits.xattrs {
            let of = "bytes of extended attributes";
            return Err(ImageError::Limit { limit: self.limits.xattrs, of });
        }
        Ok(())
    }

    /// Counts an entry of a layer, whatever it does.
    pub(crate) fn entry(&mut self) -> Result<(), ImageError> {
        self.used.entries = self.used.entries.saturating_add(1);
        if self.used.entries > self.limits.entries {
            return Err(ImageError::Limit {
                limit: self.limits.entries,
                of: "entries in its layers",
            });
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), ImageError> {
        self.used.steps += 1;
        if self.used.steps > self.limits.steps {
            let of = "steps on the ways to its files";
            return Err(ImageError::Limit { limit: self.limits.steps, of });
        }
        Ok(())
    }

    /// The folder at `path`. Links on the way are followed within the tree: that is where the files
    /// of a layer come to lie that was made on a tree with such a link (`lib` → `usr/lib`).
    /// Folders that are missing are made where `layer` says who makes them.
    pub(crate) fn folder(
        &mut self,
        path: &[Name],
        whole: &[u8],
        layer: Option<u32>,
    ) -> Result<NodeId, ImageError> {
        let mut way = Way::new(path);
        while let Some(step) = way.next() {
            self.step()?;
            let Step::Down(name) = step else {
                way.up();
                continue;
            };
            if way.depth() > MAX_DEPTH {
                return Err(ImageError::entry(whole, "folders lie deeper than 1024 in each other"));
            }
            let Some(dentry) = self.dentry(way.at(), &name) else {
                let layer =
                    layer.ok_or_else(|| ImageError::entry(whole, "there is no such file"))?;
                let made = self.add(undescribed())?;
                self.put(way.at(), name, made, layer)?;
                way.down(made);
                continue;
            };
            match &self.node(dentry.node).kind {
                Kind::Directory(_) => {
                    // What lies in it makes it one of the layer's own.
                    if let Some(layer) = layer {
                        self.put(way.at(), name, dentry.node, layer)?;
                    }
                    way.down(dentry.node);
                }
                Kind::Symlink(target) => {
                    let target = target.clone();
                    way.follow(&target).map_err(|why| ImageError::entry(whole, why))?;
                }
                _ => return Err(ImageError::entry(whole, "a part of the path is no folder")),
            }
        }
        Ok(way.at())
    }
}

static ROOT_OF_NOTHING: std::sync::OnceLock<Node> = std::sync::OnceLock::new();

/// A way through a tree: where it has come to and what is still to go.
struct Way {
    /// From the root; never empty.
    stack: Vec<NodeId>,
    left: VecDeque<Step>,
    links: u32,
}

impl Way {
    fn new(path: &[Name]) -> Self {
        let left = path.iter().cloned().map(Step::Down).collect();
        Self { stack: vec![NodeId::ROOT], left, links: 0 }
    }

    fn at(&self) -> NodeId {
        self.stack.last().copied().unwrap_or(NodeId::ROOT)
    }

    fn depth(&self) -> usize {
        self.stack.len()
    }

    fn next(&mut self) -> Option<Step> {
        self.left.pop_front()
    }

    /// The root's parent is the root.
    fn up(&mut self) {
        if self.stack.len() > 1 {
            self.stack.pop();
        }
    }

    fn down(&mut self, node: NodeId) {
        self.stack.push(node);
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), &'static str> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err("too many symbolic links on the way");
        }
        let (absolute, steps) =
            steps(target).map_err(|_| "a symbolic link on the way is no path")?;
        if absolute {
            self.stack.truncate(1);
        }
        for step in steps.into_iter().rev() {
            self.left.push_front(step);
        }
        Ok(())
    }
}
