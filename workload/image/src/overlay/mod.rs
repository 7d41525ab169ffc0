//! A layer by itself: the disk that a pod's guest stacks with others by overlayfs.
//!
//! An image of a workload merges all layers when it is built. A pod's images arrive one layer at a
//! time and share layers, so each layer is a disk of its own here. Tenant and node make it apart
//! from each other and must come to the same bytes: they depend on the layer's uncompressed bytes,
//! of which its digest (diffID) is the hash, and on [`LAYOUT`], and on nothing else. The file
//! system is that of images, behind it the dm-verity tree; the salt is the SHA-256 of the digest,
//! the identifier is taken from a hash of it.
//!
//! What a layer removes of those below it stands as overlayfs reads it (Linux
//! Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"): a character device
//! 0:0, and the attribute `trusted.overlay.opaque` of a folder.
//!
//! A folder that a layer needs and does not describe is root's, mode 0755, from 1970: what layers
//! below say of it is not known here.

mod stack;

pub use stack::Stack;

use crate::erofs;
use crate::hashed::{Digest, Hashed};
use crate::path::names;
use crate::tar::{EndMark, Entry, EntryKind, Reader};
use crate::tree::{Kind, Meta, Node, NodeId, Tree};
use crate::unpack::{MAX_PADDING, decompress};
use crate::verity::{self, Verity};
use crate::{Content, Dropped, ImageError, Layer, Limits, Name, Spool};
use std::fs::File;
use std::io::{BufReader, Read};

/// How layers are made into disks: a change of anything that changes a root hash is another number.
pub const LAYOUT: u32 = 1;
/// The attribute of a folder that hides all below it.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Before the digest, where the identifier is made of it: so it is no other hash's beginning.
const UUID_OF: &[u8] = b"casemate layer 1";
const WHITEOUT: &[u8] = b".wh.";
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// The one layer of its tree.
const NUMBER: u32 = 1;

/// A layer that was read.
#[derive(Debug)]
pub struct Alone {
    tree: Tree,
    diff_id: Digest,
    dropped: Dropped,
}

/// A layer's disk that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// SHA-256 of the layer's uncompressed bytes.
    pub diff_id: [u8; 32],
    /// Root hash, blocks of the file system and of the tree behind it.
    pub verity: Verity,
    /// Files of it.
    pub files: u64,
    /// What was left out.
    pub dropped: Dropped,
}

impl Alone {
    /// Reads a layer, plain or compressed by gzip, xz or zstd. The contents of its files go into
    /// `spool`, whose bound is the layer's.
    ///
    /// # Errors
    /// [`ImageError`]: what cannot be read, what is no layer, one whose uncompressed bytes have
    /// another digest than `expected`, and one that no overlay can have.
    pub fn read(
        stream: impl Read,
        expected: Option<Digest>,
        limits: Limits,
        spool: &mut Spool,
    ) -> Result<Self, ImageError> {
        let mut stream = BufReader::with_capacity(64 * 1024, stream);
        // Where no digest says that all of it is there, the stream has to.
        let end = if expected.is_some() { EndMark::Optional } else { EndMark::Needed };
        let mut reader = Reader::new(Hashed::new(decompress(&mut stream)?), end);
        let mut layer = Reading::new(limits);
        while let Some(entry) = reader.next_entry()? {
            let content = match entry.kind {
                EntryKind::File => spool.take(&mut reader.content(), entry.size)?,
                _ => Content::EMPTY,
            };
            layer.apply(entry, content)?;
        }
        let mut hashed = reader.into_source();
        let wrong = |why: String| ImageError::Compression(std::io::Error::other(why));
        let diff_id = hashed.digest_within(MAX_PADDING).map_err(wrong)?;
        if expected.is_some_and(|expected| expected != diff_id) {
            return Err(wrong("uncompressed, it has another digest than was expected".into()));
        }
        let (tree, dropped) = layer.finish()?;
        Ok(Self { tree, diff_id, dropped })
    }

    /// SHA-256 of its uncompressed bytes.
    #[must_use]
    pub fn diff_id(&self) -> [u8; 32] {
        self.diff_id.bytes()
    }

    /// Writes its disk to `out`, an empty file: the file system, then the tree.
    ///
    /// # Errors
    /// [`ImageError::Limit`] and [`ImageError::Io`]; `out` is of no use then.
    pub fn write(&self, spool: &Spool, out: &File) -> Result<Disk, ImageError> {
        let diff_id = self.diff_id.bytes();
        let mut of = UUID_OF.to_vec();
        of.extend(diff_id);
        let mut uuid = [0; 16];
        uuid.copy_from_slice(Digest::of(&of).bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
        // Version 8, "custom", and the variant of RFC 9562 (section 5.8).
        for (at, keep, set) in [(6, 0x0f, 0x80), (8, 0x3f, 0x80)] {
            if let Some(byte) = uuid.get_mut(at) {
                *byte = *byte & keep | set;
            }
        }
        let written = erofs::write_as(&self.tree, spool, out, uuid)?;
        let salt = Digest::of(&diff_id).bytes();
        let verity = verity::append(out, written.blocks, &salt)?;
        Ok(Disk { diff_id, verity, files: written.inodes, dropped: self.dropped })
    }
}

/// A layer that is being read.
struct Reading {
    tree: Tree,
    limits: Limits,
    dropped: Dropped,
    /// Names that are removed, by the folder they were in.
    removed: Vec<(NodeId, Name)>,
    opaque: Vec<NodeId>,
}

impl Reading {
    fn new(limits: Limits) -> Self {
        let (removed, opaque) = (Vec::new(), Vec::new());
        Self { tree: Tree::new(limits), limits, dropped: Dropped::default(), removed, opaque }
    }

    fn apply(&mut self, entry: Entry, content: Content) -> Result<(), ImageError> {
        let path = names(&entry.path)?;
        let Some((name, parents)) = path.split_last() else { return self.add(entry, content) };
        let name = name.bytes();
        if name.starts_with(RESERVED) {
            self.tree.entry()?;
            if name == OPAQUE_MARK {
                let folder = self.tree.folder(parents, &entry.path, Some(NUMBER))?;
                if folder == NodeId::ROOT {
                    let why = "the root of a layer cannot hide the layers below it in an overlay";
                    return Err(ImageError::entry(&entry.path, why));
                }
                self.opaque.push(folder);
            }
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            self.tree.entry()?;
            let none = || ImageError::entry(&entry.path, "a whiteout that names no file");
            let hidden = Name::new(hidden).ok_or_else(none)?;
            let folder = self.tree.folder(parents, &entry.path, Some(NUMBER))?;
            // Each becomes a file, and is kept until then.
            if self.removed.len() >= self.limits.nodes {
                let limit = self.limits.nodes as u64;
                return Err(ImageError::Limit { limit, of: "names that it removes" });
            }
            self.removed.push((folder, hidden));
            return Ok(());
        }
        if matches!(entry.kind, EntryKind::CharDevice { major: 0, minor: 0 }) {
            let why = "a character device 0:0, which an overlay takes for a file that is removed";
            return Err(ImageError::entry(&entry.path, why));
        }
        self.add(entry, content)
    }

    fn add(&mut self, entry: Entry, content: Content) -> Result<(), ImageError> {
        let mut layer = Layer::new(&mut self.tree, NUMBER);
        layer.apply(entry, content)?;
        self.dropped.xattrs += layer.dropped().xattrs;
        Ok(())
    }

    /// Whiteouts concern layers below alone, so what this layer has under such a name stays,
    /// whatever the order of entries: a file covers by itself what was there, a folder has to hide
    /// it.
    fn finish(mut self) -> Result<(Tree, Dropped), ImageError> {
        for (folder, name) in std::mem::take(&mut self.removed) {
            match self.tree.dentry(folder, &name).map(|dentry| dentry.node) {
                Some(id) if matches!(self.tree.node(id).kind, Kind::Directory(_)) => {
                    self.opaque.push(id);
                }
                Some(_) => {}
                None => {
                    let kind = Kind::CharDevice { major: 0, minor: 0 };
                    let id = self.tree.add(Node { meta: Meta::default(), kind })?;
                    self.tree.put(folder, name, id, NUMBER)?;
                }
            }
        }
        for folder in std::mem::take(&mut self.opaque) {
            let mut meta = self.tree.node(folder).meta.clone();
            if meta.xattrs.insert(OPAQUE.to_vec(), b"y".to_vec()).is_none() {
                self.tree.describe(folder, meta)?;
            }
        }
        Ok((self.tree, self.dropped))
    }
}
