//! Files with secrets: nobody but their owner may use them, and what is read of them is wiped.

use crate::Access;
use crate::error::FileError;
use rustix::fs::fstat;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A file with a secret, open and looked at, of which nothing was read: for a program that uses it,
/// or that starts the one that is to have it.
#[derive(Debug)]
pub struct SecretFile {
    file: File,
    path: PathBuf,
}

impl SecretFile {
    /// Opens a regular file that nobody but its owner, who is this user or root, may use. Who may
    /// read a secret may have read it; who may write it says what this program is to believe.
    ///
    /// # Errors
    /// As [`crate::open`]; [`FileError::Shared`], [`FileError::Foreign`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = crate::open(path)?;
        // Of what was opened, not of the path, which may lead elsewhere by now.
        let there = fstat(&file).map_err(|errno| FileError::io("read", path)(errno.into()))?;
        let mode = there.st_mode & 0o777;
        if mode & 0o077 != 0 {
            return Err(FileError::Shared { path: path.to_owned(), mode });
        }
        let own = rustix::process::geteuid().as_raw();
        if there.st_uid != own && there.st_uid != 0 {
            return Err(FileError::Foreign { path: path.to_owned(), owner: there.st_uid });
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// One that another process has opened; `path` is for messages.
    #[must_use]
    pub fn received(file: OwnedFd, path: &Path) -> Self {
        Self { file: file.into(), path: path.to_owned() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A key of 32 bytes, written as 64 hexadecimal digits.
    ///
    /// # Errors
    /// As [`read_secret`]; [`FileError::NoKey`].
    pub fn read_key(self) -> Result<Zeroizing<[u8; 32]>, FileError> {
        let text = read_secret(self.file, &self.path, MAX_KEY)?;
        key_of(&text).ok_or(FileError::NoKey { path: self.path, wanted: KEY })
    }

    /// All bytes, at most `limit`, which are wiped when they are no longer needed.
    ///
    /// # Errors
    /// As [`read_secret`].
    pub fn read(self, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
        read_secret(self.file, &self.path, limit)
    }
}

impl AsFd for SecretFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What a key is written as.
const KEY: &str = "a key of 64 hexadecimal digits";
/// Longest file of one: its digits and white space around them.
const MAX_KEY: usize = 4096;

/// A key of 32 bytes that everybody may read.
///
/// # Errors
/// As [`crate::read`]; [`FileError::NoKey`].
pub fn read_public_key(path: &Path) -> Result<[u8; 32], FileError> {
    let text = crate::read(path, MAX_KEY as u64)?;
    let key = key_of(&text).ok_or_else(|| FileError::NoKey { path: path.to_owned(), wanted: KEY });
    key.map(|key| *key)
}

fn key_of(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let (pairs, rest) = text.trim_ascii().as_chunks::<2>();
    let mut key = Zeroizing::new([0; 32]);
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (to, [high, low]) in key.iter_mut().zip(pairs) {
        *to = digit(*high)? << 4 | digit(*low)?;
    }
    (pairs.len() == key.len() && rest.is_empty()).then_some(key)
}

/// Makes a file with a key of 32 bytes, as they are read again; there must be none yet.
///
/// # Errors
/// As [`crate::create`].
pub fn create_key(path: &Path, key: &[u8; 32], access: Access) -> Result<(), FileError> {
    // Of its whole length from the beginning: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * key.len() + 1));
    for byte in key {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    crate::create(path, text.as_bytes(), access)
}

/// All bytes of what is open, at most `limit`, in one piece of memory that is wiped; `path` is for
/// messages.
///
/// # Errors
/// [`FileError::Io`], [`FileError::TooLarge`].
pub fn read_secret(
    mut from: impl Read,
    path: &Path,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // Made once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(vec![0; limit.saturating_add(1)]);
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::io("read", path)(error)),
        }
    }
    if length > limit {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{SecretFile, create_key, read_public_key, read_secret};
    use crate::{Access, FileError, create};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A secret that others may read is none, and one that others may write is theirs. Cannot tell
    /// who has read it before.
    #[test]
    fn a_secret_that_others_may_use_is_refused() {
        let name = format!("casemate-secret-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        create(&path, b"secret", Access::Owner).unwrap();
        assert_eq!(**SecretFile::open(&path).unwrap().read(6).unwrap(), *b"secret");
        let short = SecretFile::open(&path).unwrap().read(5);
        assert!(matches!(short, Err(FileError::TooLarge { limit: 5, .. })));
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o777] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let opened = SecretFile::open(&path);
            assert!(matches!(opened, Err(FileError::Shared { .. })), "{mode:o}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    /// Protects keys that can be written and not read again. Cannot tell how good they are.
    #[test]
    fn a_key_comes_back_as_it_was_written_and_what_is_none_is_refused() {
        let path = std::env::temp_dir().join(format!("casemate-key-{}", std::process::id()));
        let key: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap());
        create_key(&path, &key, Access::Owner).unwrap();
        assert_eq!(*SecretFile::open(&path).unwrap().read_key().unwrap(), key);
        assert!(create_key(&path, &key, Access::Owner).is_err(), "it was written over");
        assert_eq!(read_public_key(&path).unwrap(), key);
        let texts = ["", "xy", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"a".repeat(66)];
        for text in texts.into_iter().chain([&*"+a".repeat(32), &"a".repeat(9000)]) {
            std::fs::write(&path, text).unwrap();
            assert!(SecretFile::open(&path).unwrap().read_key().is_err(), "{text}");
            assert!(read_public_key(&path).is_err(), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    /// What arrives in pieces is read to its end.
    #[test]
    fn a_secret_is_read_whole() {
        struct Pieces<'a>(&'a [u8]);
        impl std::io::Read for Pieces<'_> {
            fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
                let length = to.len().min(3).min(self.0.len());
                let (now, later) = self.0.split_at(length);
                to.iter_mut().zip(now).for_each(|(to, byte)| *to = *byte);
                self.0 = later;
                Ok(length)
            }
        }
        let bytes = [7; 1000];
        let read = |limit| read_secret(Pieces(&bytes), Path::new("it"), limit);
        assert_eq!(**read(1000).unwrap(), bytes);
        assert!(read(999).is_err());
    }
}
