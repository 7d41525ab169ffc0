//! Why a file could not be read or written, with its path.

use casemate_foreign_text::{Foreign, value};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a path leads to, in the words of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file, the only kind that is read twice.
    File,
    /// A directory, which is listed and never read as a file.
    Directory,
    /// A symbolic link; only where links are not followed.
    Link,
    /// A pipe, named (FIFO) or made by a shell.
    Pipe,
    /// A socket in the file system.
    Socket,
    /// A character or block device.
    Device,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Pipe => "a pipe (FIFO)",
            Self::Socket => "a socket",
            Self::Device => "a device",
        })
    }
}

/// Why a file could not be read or written. Every message is one line that names the path.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused to do it, with its reason.
    #[error("cannot {doing} {}: {source}", path_text(path))]
    Io {
        /// What was tried, as a verb behind "cannot": `read`, `write`.
        doing: &'static str,
        /// The path as the caller gave it, or one below it.
        path: PathBuf,
        /// The error of the system call, which knows no path.
        source: std::io::Error,
    },
    /// The path leads to something else than what can be used here.
    #[error("cannot {doing} {}: it is {found}, not {wanted}", path_text(path))]
    Unfit {
        /// What was tried, as a verb behind "cannot": `read`, `write`.
        doing: &'static str,
        /// The path that leads to it.
        path: PathBuf,
        /// What it is there.
        found: Kind,
        /// What it must be.
        wanted: Kind,
    },
    /// More bytes than may be read.
    #[error("cannot read {}: larger than {}", path_text(path), Size(*limit))]
    TooLarge {
        /// The file, of which no more than `limit` and one byte was read.
        path: PathBuf,
        /// Bytes that it may have.
        limit: u64,
    },
    /// Bytes that are not UTF-8 where text is read.
    #[error("cannot read {}: not UTF-8: {source}", path_text(path))]
    NotText {
        /// The file, which was read to its end.
        path: PathBuf,
        /// Where it breaks the rules.
        source: std::string::FromUtf8Error,
    },
    /// A secret that others can read is not secret.
    #[error(
        "{}: others than its owner can use this secret (mode {mode:03o}): make a new one; if \
         nobody can have read it, `chmod 600` is enough",
        path_text(path)
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// Its permissions, of which some are for others.
        mode: u32,
    },
    /// A file of which a key was expected.
    #[error("{}: expected {wanted}", path_text(path))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A secret that belongs to somebody else.
    #[error(
        "{}: this secret belongs to user {owner}: it must be this user's, or root's",
        path_text(path)
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The user whose file it is.
        owner: u32,
    },
    /// More files than may be looked at, or deeper.
    #[error("cannot read {}: more than {limit} {what} in it", path_text(path))]
    TooMany {
        /// The folder that was named, not the one below it where the count ended.
        path: PathBuf,
        /// `files` or `levels of folders`.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

impl FileError {
    /// Whether there is nothing under this path.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    pub(crate) fn io(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// A path in a message: a name may contain line feeds and what steers a terminal.
fn path_text(path: &Path) -> Foreign<std::path::Display<'_>> {
    // Nothing at all would look like a fault of the message.
    let path = if path.as_os_str().is_empty() { Path::new("an empty path") } else { path };
    value(path.display()).at_most(4096)
}

/// Bytes in the largest unit that divides them.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n.trailing_zeros() >= 20 => write!(f, "{} MiB", n >> 20),
            n if n > 0 && n.trailing_zeros() >= 10 => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}
