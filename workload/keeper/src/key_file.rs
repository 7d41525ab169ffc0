//! Files with keys: secrets of a known form.

use base64ct::{Base64, Decoder, Encoding};
use casemate_files::{Access, FileError, SecretFile};
use casemate_foreign_text::value;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest file with a key, in bytes. A P-384 key in PEM has some 300.
const MAX_KEY: usize = 8192;

/// Why a file with a key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be opened, read or written, or is no secret.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error("{}: it is not {wanted}", value(.path.display()))]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
}

/// A file with a key, of which nothing was read: for a program that starts the one that is to have
/// the key.
#[derive(Debug)]
pub struct KeyFile(SecretFile);

impl KeyFile {
    /// Opens a file with a key.
    ///
    /// # Errors
    /// As [`SecretFile::open`].
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Ok(Self(SecretFile::open(path)?))
    }

    /// One that another process has opened; `path` is for messages.
    #[must_use]
    pub fn received(file: OwnedFd, path: &Path) -> Self {
        Self(SecretFile::received(file, path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Reads a key of 32 bytes.
    ///
    /// # Errors
    /// As [`SecretFile::read_key`].
    pub fn read_32(self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        Ok(self.0.read_key()?)
    }

    /// Reads a private key in PEM (PKCS #8, RFC 7468); its DER.
    ///
    /// # Errors
    /// [`KeyError`] when it is something else.
    pub fn read_pkcs8(self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (bytes, path) = self.whole()?;
        let wanted = "a private key in PEM (PKCS #8: BEGIN PRIVATE KEY)";
        pem(&bytes, "PRIVATE KEY").map(Zeroizing::new).ok_or_else(|| content(path, wanted))
    }

    fn whole(self) -> Result<(Zeroizing<Vec<u8>>, PathBuf), KeyError> {
        let path = self.path().to_owned();
        Ok((self.0.read(MAX_KEY)?, path))
    }
}

impl AsFd for KeyFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn content(path: PathBuf, wanted: &'static str) -> KeyError {
    KeyError::Content { path, wanted }
}

/// Makes a PEM file of these DER bytes, which must not be there yet.
///
/// # Errors
/// [`KeyError::File`].
pub fn create_pem(path: &Path, label: &str, der: &[u8], access: Access) -> Result<(), KeyError> {
    let mut lines = Zeroizing::new(vec![0; Base64::encoded_len(der)]);
    let text = Base64::encode(der, &mut lines).unwrap_or_default();
    let mut pem = Zeroizing::new(String::with_capacity(text.len() + text.len() / 32 + 128));
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    Ok(casemate_files::create(path, pem.as_bytes(), access)?)
}

/// The first object of this label in a PEM text (RFC 7468); what stands around it is no part of it.
pub(crate) fn pem(text: &[u8], label: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: Zeroizing<Vec<u8>> =
        Zeroizing::new(body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let mut decoder = Decoder::<Base64>::new(&body).ok()?;
    let mut der = vec![0; decoder.remaining_len()];
    decoder.decode(&mut der).ok()?;
    Some(der)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{KeyFile, create_pem};
    use casemate_files::Access;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("casemate-keeper-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Protects keys that can be written and not read again. Cannot tell how good they are.
    #[test]
    fn a_key_comes_back_as_it_was_written() {
        let folder = Folder::new("keys");
        for length in [1, 2, 3, 100, 2000] {
            let (path, der) = (folder.0.join(format!("pem{length}")), vec![0xa5; length]);
            create_pem(&path, "PRIVATE KEY", &der, Access::Owner).unwrap();
            let read = KeyFile::open(&path).unwrap().read_pkcs8();
            assert_eq!(*read.unwrap(), der);
        }
    }

    /// A key that others may read is no secret, and one is not used as if it were.
    #[test]
    fn a_key_that_others_may_use_or_that_is_none_is_refused() {
        let folder = Folder::new("refused");
        let path = folder.0.join("key");
        casemate_files::create_key(&path, &[7; 32], Access::Owner).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        for open in [0o640, 0o604, 0o622, 0o777] {
            mode(open);
            assert!(KeyFile::open(&path).is_err(), "{open:o}");
        }
        mode(0o600);
        for text in ["", "xy", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"a".repeat(9000)]
        {
            std::fs::write(&path, text).unwrap();
            let read = KeyFile::open(&path).unwrap().read_32();
            assert!(read.is_err(), "{text}");
            assert!(KeyFile::open(&path).unwrap().read_pkcs8().is_err(), "{text}");
        }
    }
}
