//! What the files of an image contain, put aside until it is known which of them remain.
//!
//! A later layer can replace or remove what an earlier one brought, and the place of a file's bytes
//! in the image depends on all files before it. So contents go to a file without a name first, one
//! behind the other, and memory holds where they are. Compressed layers are so read once.

use crate::ImageError;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a file's bytes are in a [`Spool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    offset: u64,
    /// How many there are.
    pub len: u64,
}

impl Content {
    /// Contents of no byte, which are in no file.
    pub const EMPTY: Self = Self { offset: 0, len: 0 };
}

/// The contents of an image's files.
#[derive(Debug)]
pub struct Spool {
    file: File,
    len: u64,
    limit: u64,
}

const CHUNK: usize = 64 * 1024;

impl Spool {
    /// An empty one in `folder`, for at most `limit` bytes. Its file has no name: nothing is left
    /// of it, however the process ends.
    ///
    /// # Errors
    /// [`ImageError::Io`], as where the file system has no files without names.
    pub fn new(folder: &Path, limit: u64) -> Result<Self, ImageError> {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = open(folder, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| {
            ImageError::io(format!("a temporary file in {}", folder.display()))(errno.into())
        })?;
        Ok(Self { file: file.into(), len: 0, limit })
    }

    /// Takes all that `from` has, at most `most` bytes.
    ///
    /// # Errors
    /// [`ImageError::Limit`] when the image's bound is passed; errors of `from` as they are, as
    /// [`ImageError::Compression`].
    pub fn take(&mut self, from: &mut dyn Read, most: u64) -> Result<Content, ImageError> {
        let offset = self.len;
        let mut buffer = vec![0; CHUNK];
        let mut left = most;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let Some(part) = buffer.get_mut(..want) else { break };
            let got = match from.read(part) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(ImageError::Compression(e)),
            };
            let bytes = part.get(..got).unwrap_or_default();
            left -= crate::bytes::len(bytes);
            self.len = self.len.saturating_add(crate::bytes::len(bytes));
            if self.len > self.limit {
                let of = "bytes in its layers";
                return Err(ImageError::Limit { limit: self.limit, of });
            }
            self.file.write_all(bytes).map_err(ImageError::io("a temporary file"))?;
        }
        Ok(Content { offset, len: self.len - offset })
    }

    /// Reads bytes of a content from `at` on, exactly as many as `into` has.
    ///
    /// # Errors
    /// [`ImageError::Io`].
    pub fn read(&self, content: Content, at: u64, into: &mut [u8]) -> Result<(), ImageError> {
        let inside = at.checked_add(crate::bytes::len(into)).is_some_and(|end| end <= content.len);
        debug_assert!(inside, "a read beyond a content");
        self.file
            .read_exact_at(into, content.offset.saturating_add(at))
            .map_err(ImageError::io("a temporary file"))
    }
}
