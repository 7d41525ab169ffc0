//! A folder of this machine as the one layer of an image.
//!
//! The rule, so that the same folder makes the same bytes whoever copies it wherever: everything is
//! root's unless owners are to be kept, times are those that were given, and extended attributes
//! are left out, since half of all file systems drop them. Modes, hard links, symbolic links and
//! device nodes are as they are. Links are never followed.

use crate::path::Name;
use crate::tree::{Kind, Meta, Node, NodeId, Tree};
use crate::{ImageError, Spool};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, major, minor, openat, readlinkat, statat,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// How deep folders may lie in each other: each is open while it is read.
const MAX_DEPTH: usize = 256;

/// What becomes of owners and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rule {
    /// Owners as the folder has them; else everything is root's.
    pub keep_owners: bool,
    /// Seconds since 1970 that every file was changed at.
    pub mtime: i64,
}

/// What a walk keeps.
struct Walk<'a> {
    tree: &'a mut Tree,
    spool: &'a mut Spool,
    rule: Rule,
    /// Files with several names, by device and inode.
    seen: BTreeMap<(u64, u64), NodeId>,
}

/// Puts all that `folder` has into `tree`, below its root.
///
/// # Errors
/// [`ImageError::Io`], [`ImageError::Entry`] for what no image can have (a socket) and
/// [`ImageError::Limit`].
pub fn read(
    folder: &Path,
    rule: Rule,
    tree: &mut Tree,
    spool: &mut Spool,
) -> Result<(), ImageError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let top = rustix::fs::open(folder, flags, Mode::empty())
        .map_err(|e| ImageError::io(folder.display().to_string())(e.into()))?;
    let stat = rustix::fs::fstat(&top).map_err(|e| failed(b"/")(e.into()))?;
    let mut walk = Walk { tree, spool, rule, seen: BTreeMap::new() };
    let meta = walk.meta(&stat);
    walk.tree.describe(NodeId::ROOT, meta)?;
    walk.folder(&top, NodeId::ROOT, &mut Vec::new())
}

fn failed(path: &[u8]) -> impl FnOnce(std::io::Error) -> ImageError {
    ImageError::io(casemate_foreign_text::bytes(path).to_string())
}

impl Walk<'_> {
    fn folder(
        &mut self,
        here: &OwnedFd,
        id: NodeId,
        path: &mut Vec<Name>,
    ) -> Result<(), ImageError> {
        let whole = |path: &[Name]| {
            path.iter().flat_map(|n| [b"/", n.bytes()].concat()).collect::<Vec<u8>>()
        };
        if path.len() > MAX_DEPTH {
            return Err(ImageError::entry(
                &whole(path),
                "folders lie deeper than 256 in each other",
            ));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(here).map_err(|e| failed(&whole(path))(e.into()))? {
            let entry = entry.map_err(|e| failed(&whole(path))(e.into()))?;
            names.extend(Name::new(entry.file_name().to_bytes()));
        }
        // Files are listed in the order that the file system likes.
        names.sort_unstable();
        for name in names {
            path.push(name.clone());
            let node = self.file(here, &name, path).map_err(|error| match error {
                Failure::System(errno) => failed(&whole(path))(errno.into()),
                Failure::Image(error) => error,
                Failure::Unfit(why) => ImageError::entry(&whole(path), why),
            })?;
            self.tree.put(id, name, node, 1)?;
            path.pop();
        }
        Ok(())
    }

    fn file(
        &mut self,
        here: &OwnedFd,
        name: &Name,
        path: &mut Vec<Name>,
    ) -> Result<NodeId, Failure> {
        let open = |flags| {
            openat(here, name.bytes(), flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        };
        let stat = statat(here, name.bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let several = stat.st_nlink > 1 && kind != FileType::Directory;
        if let Some(id) = self.seen.get(&(stat.st_dev, stat.st_ino)).filter(|_| several) {
            return Ok(*id);
        }
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match kind {
            FileType::Directory => {
                let inner = open(OFlags::DIRECTORY | OFlags::RDONLY)?;
                let meta = self.meta(&stat);
                let id = self.tree.add(Node { meta, kind: Kind::Directory(BTreeMap::new()) })?;
                self.folder(&inner, id, path)?;
                return Ok(id);
            }
            FileType::RegularFile => {
                // Not waiting: what has become a FIFO since is none of ours.
                let mut file = File::from(open(OFlags::RDONLY | OFlags::NONBLOCK)?);
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let content = self.spool.take(&mut file, size)?;
                if content.len != size {
                    return Err(Failure::Unfit("the file became shorter while it was read"));
                }
                Kind::File(content)
            }
            FileType::Symlink => {
                Kind::Symlink(readlinkat(here, name.bytes(), Vec::new())?.into_bytes())
            }
            FileType::CharacterDevice => Kind::CharDevice { major: device.0, minor: device.1 },
            FileType::BlockDevice => Kind::BlockDevice { major: device.0, minor: device.1 },
            FileType::Fifo => Kind::Fifo,
            _ => return Err(Failure::Unfit("a socket cannot be part of an image")),
        };
        let meta = self.meta(&stat);
        let id = self.tree.add(Node { meta, kind })?;
        if several {
            self.seen.insert((stat.st_dev, stat.st_ino), id);
        }
        Ok(id)
    }

    fn meta(&self, stat: &Stat) -> Meta {
        let (uid, gid) = if self.rule.keep_owners { (stat.st_uid, stat.st_gid) } else { (0, 0) };
        let mode = u16::try_from(stat.st_mode & 0o7777).unwrap_or(0);
        Meta { mode, uid, gid, mtime: self.rule.mtime, xattrs: BTreeMap::new() }
    }
}

enum Failure {
    System(rustix::io::Errno),
    Image(ImageError),
    Unfit(&'static str),
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::System(errno)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}
