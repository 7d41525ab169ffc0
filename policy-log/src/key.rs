//! Key files: 32 bytes in hexadecimal, the secret one readable by its owner only.

use crate::LogError;
use casemate_files::{Access, SecretFile, create_key};
use casemate_policy::log::{PublicKey, SigningKey};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const WANTED: &str = "64 hexadecimal digits";

/// Makes a new key: the secret seed in `path`, the public half in `path` with `.pub` behind it,
/// neither of which may exist. Both are there in the end, or none.
///
/// # Errors
/// When one exists or cannot be written.
pub fn generate_key(path: &Path) -> Result<(PublicKey, PathBuf), LogError> {
    let mut seed = Zeroizing::new([0; 32]);
    rustix::rand::getrandom(&mut *seed, rustix::rand::GetRandomFlags::empty())
        .map_err(LogError::errno(path))?;
    let key = SigningKey::from_seed(&seed)
        .ok_or_else(|| LogError::BadFile { path: path.to_owned(), wanted: WANTED })?;
    let mut public_path = path.to_owned().into_os_string();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    // The public half first: alone it is worth nothing, and harms nobody when the removal fails.
    let public = key.public();
    create_key(&public_path, &public.0, Access::Usual)?;
    create_key(path, &seed, Access::Owner).inspect_err(|_| {
        let _ = std::fs::remove_file(&public_path);
    })?;
    Ok((public, public_path))
}

/// The file of a secret key, open and looked at, of which nothing was read: for a program that
/// starts the one that is to sign.
#[derive(Debug)]
pub struct KeyFile(SecretFile);

impl KeyFile {
    /// A key file that another process has opened; `path` is for messages.
    #[must_use]
    pub fn received(file: OwnedFd, path: &Path) -> Self {
        Self(SecretFile::received(file, path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Reads the key.
    ///
    /// # Errors
    /// When the file cannot be read or is no key.
    pub fn read(self) -> Result<SigningKey, LogError> {
        let path = self.path().to_owned();
        let seed = self.0.read_key()?;
        SigningKey::from_seed(&seed).ok_or(LogError::BadFile { path, wanted: WANTED })
    }
}

impl AsFd for KeyFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens the file of a log's secret key.
///
/// # Errors
/// When the file cannot be opened, can be used by others than its owner, or belongs to neither this
/// user nor root.
pub fn open_key(path: &Path) -> Result<KeyFile, LogError> {
    Ok(KeyFile(SecretFile::open(path)?))
}

/// Reads the secret key of a log.
///
/// # Errors
/// As [`open_key`] and [`KeyFile::read`].
pub fn read_key(path: &Path) -> Result<SigningKey, LogError> {
    open_key(path)?.read()
}

/// Reads a public key.
///
/// # Errors
/// When the file cannot be read or is no key.
pub fn read_public_key(path: &Path) -> Result<PublicKey, LogError> {
    Ok(PublicKey(casemate_files::read_public_key(path)?))
}
