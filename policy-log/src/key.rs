//! Key files: 32 bytes in hexadecimal, the secret one readable by its owner only.

use crate::LogError;
use casemate_files::Access;
use casemate_policy::lattice::{Bytes, hex};
use casemate_policy::log::{PublicKey, SigningKey};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const WANTED: &str = "64 hexadecimal digits";
/// Longest key file: 64 digits and white space around them.
const MAX_KEY: u64 = 4096;

/// Makes a new key: the secret seed in `path`, the public half in `path` with `.pub` behind it,
/// neither of which may exist. Both are there in the end, or none.
///
/// # Errors
/// When one exists or cannot be written.
pub fn generate_key(path: &Path) -> Result<(PublicKey, PathBuf), LogError> {
    let mut seed = [0; 32];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(LogError::errno(path))?;
    let key = SigningKey::from_seed(&seed)
        .ok_or_else(|| LogError::BadFile { path: path.to_owned(), wanted: WANTED })?;
    let mut public_path = path.to_owned().into_os_string();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    // The public half first: alone it is worth nothing, and harms nobody when the removal fails.
    let public = key.public();
    casemate_files::create(&public_path, line(&public.0).as_bytes(), Access::Usual)?;
    casemate_files::create(path, line(&seed).as_bytes(), Access::Owner).inspect_err(|_| {
        let _ = std::fs::remove_file(&public_path);
    })?;
    Ok((public, public_path))
}

fn line(bytes: &[u8]) -> String {
    format!("{}\n", hex(bytes))
}

fn parse_32(file: File, path: &Path) -> Result<[u8; 32], LogError> {
    let bad = || LogError::BadFile { path: path.to_owned(), wanted: WANTED };
    let mut bytes = Vec::new();
    file.take(MAX_KEY).read_to_end(&mut bytes).map_err(LogError::io(path))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad())?;
    let bytes = Bytes::from_hex(text.trim()).ok_or_else(bad)?;
    bytes.as_slice().try_into().map_err(|_| bad())
}

/// The file of a secret key, open and looked at, of which nothing was read: for a program that
/// starts the one that is to sign.
#[derive(Debug)]
pub struct KeyFile {
    file: File,
    path: PathBuf,
}

impl KeyFile {
    /// A key file that another process has opened; `path` is for messages.
    #[must_use]
    pub fn received(file: OwnedFd, path: &Path) -> Self {
        Self { file: file.into(), path: path.to_owned() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the key.
    ///
    /// # Errors
    /// When the file cannot be read or is no key.
    pub fn read(self) -> Result<SigningKey, LogError> {
        let Self { file, path } = self;
        let seed = parse_32(file, &path)?;
        SigningKey::from_seed(&seed).ok_or(LogError::BadFile { path, wanted: WANTED })
    }
}

impl AsFd for KeyFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens the file of a log's secret key.
///
/// # Errors
/// When the file cannot be opened, can be used by others than its owner, or belongs to neither this
/// user nor root.
pub fn open_key(path: &Path) -> Result<KeyFile, LogError> {
    let file = casemate_files::open(path)?;
    // Of what was opened, not of the path, which may lead elsewhere by now.
    let there = rustix::fs::fstat(&file).map_err(LogError::errno(path))?;
    let mode = there.st_mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(LogError::OpenKey { path: path.to_owned(), mode });
    }
    let own = rustix::process::geteuid().as_raw();
    if there.st_uid != own && there.st_uid != 0 {
        return Err(LogError::ForeignKey { path: path.to_owned(), owner: there.st_uid });
    }
    Ok(KeyFile { file, path: path.to_owned() })
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
    parse_32(casemate_files::open(path)?, path).map(PublicKey)
}
