//! One directory in place of the empty root, for a process that has something to do in it.
//!
//! The process is in that directory when it makes it its root: its parent's copy goes there before
//! the image begins, as the user who may, so nothing on the way has to be open to the user that the
//! process becomes. It is bound without what is mounted below.

use super::refusal::{Refusal, refused};
use landlock::{AccessFs, BitFlags};
use rustix::process::chdir;
use std::path::Path;

/// What a process may do in the one directory that it sees. Everything else that the running kernel
/// can deny is denied there, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDirectory {
    /// Connect to sockets; the directory is read-only.
    Connect,
    /// Remove what is not a directory.
    Remove,
    /// Remove directories.
    RemoveFolders,
}

impl InDirectory {
    /// Every one.
    pub(super) const ALL: [Self; 3] = [Self::Connect, Self::Remove, Self::RemoveFolders];

    /// Its number in a packet; 0 is none.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Connect => 1,
            Self::Remove => 2,
            Self::RemoveFolders => 3,
        }
    }

    /// The right that landlock leaves. Kernels before ABI 9 do not handle connecting by a path:
    /// there the root is all that bounds it.
    pub(super) fn access(self) -> BitFlags<AccessFs> {
        match self {
            Self::Connect => AccessFs::ResolveUnix.into(),
            Self::Remove => AccessFs::RemoveFile.into(),
            Self::RemoveFolders => AccessFs::RemoveDir.into(),
        }
    }

    /// Whether the directory stays as it is.
    pub(super) const fn is_read_only(self) -> bool {
        matches!(self, Self::Connect)
    }

    /// In words.
    pub(super) const fn details(self) -> &'static str {
        match self {
            Self::Connect => "one directory, to connect in",
            Self::Remove => "one directory, to remove from",
            Self::RemoveFolders => "one directory, to remove folders from",
        }
    }
}

/// Goes to the directory, in the copy that will be the process.
pub(super) fn enter(directory: Option<&Path>) -> Result<(), Refusal> {
    directory.map_or(Ok(()), |path| chdir(path).map_err(refused("chdir(its directory)")))
}
