//! Why a file could not be read or written, with its path.

use std::fmt;
use std::path::{Path, PathBuf};

/// What a path leads to, in the words of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; only where links are not followed.
    Link,
    /// A pipe, named or not.
    Pipe,
    /// A socket.
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
    /// The system refused.
    #[error("cannot {doing} {}: {source}", Shown(path))]
    Io {
        /// `read`, `write`, …
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The path leads to something else than what can be used here.
    #[error("cannot {doing} {}: it is {found}, not {wanted}", Shown(path))]
    Unfit {
        /// `read`, `write`, …
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What it is.
        found: Kind,
        /// What it must be.
        wanted: Kind,
    },
    /// More bytes than may be read.
    #[error("cannot read {}: larger than {}", Shown(path), Size(*limit))]
    TooLarge {
        /// What.
        path: PathBuf,
        /// Bytes that it may have.
        limit: u64,
    },
    /// Not text.
    #[error("cannot read {}: not UTF-8: {source}", Shown(path))]
    NotText {
        /// What.
        path: PathBuf,
        /// Where it breaks the rules.
        source: std::string::FromUtf8Error,
    },
    /// More files than may be looked at, or deeper.
    #[error("cannot read {}: more than {limit} {what} in it", Shown(path))]
    TooMany {
        /// The folder.
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

/// A path on one line: a name may contain line feeds and what steers a terminal.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string_lossy().chars() {
            // Written backwards or not at all, the characters behind General Punctuation's marks
            // deceive as escapes do.
            let deceives = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}');
            if c.is_control() || deceives {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
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
