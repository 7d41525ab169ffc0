//! Key files: 32 bytes in hexadecimal, the secret one readable by its owner only.

use super::LogError;
use casemate_policy::lattice::{Bytes, hex};
use casemate_policy::log::{PublicKey, SigningKey};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a new key: writes the secret seed to `path`, which must not exist, and returns the public half.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn generate_key(path: &Path) -> Result<PublicKey, LogError> {
    let mut seed = [0; 32];
    let random = Path::new("/dev/urandom");
    File::open(random)
        .and_then(|mut file| file.read_exact(&mut seed))
        .map_err(LogError::io(random))?;
    let key = SigningKey::from_seed(&seed).ok_or_else(|| LogError::BadKey(path.to_owned()))?;
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = open.map_err(LogError::io(path))?;
    writeln!(file, "{}", hex(&seed)).map_err(LogError::io(path))?;
    Ok(key.public())
}

fn read_32(path: &Path) -> Result<[u8; 32], LogError> {
    let mut text = String::new();
    let file = File::open(path).map_err(LogError::io(path))?;
    file.take(4096).read_to_string(&mut text).map_err(LogError::io(path))?;
    let bytes = Bytes::from_hex(text.trim()).ok_or_else(|| LogError::BadKey(path.to_owned()))?;
    bytes.as_slice().try_into().map_err(|_| LogError::BadKey(path.to_owned()))
}

/// Reads the secret key of a log.
///
/// # Errors
/// When the file cannot be read or is no key.
pub fn read_key(path: &Path) -> Result<SigningKey, LogError> {
    SigningKey::from_seed(&read_32(path)?).ok_or_else(|| LogError::BadKey(path.to_owned()))
}

/// Reads a public key.
///
/// # Errors
/// When the file cannot be read or is no key.
pub fn read_public_key(path: &Path) -> Result<PublicKey, LogError> {
    read_32(path).map(PublicKey)
}
