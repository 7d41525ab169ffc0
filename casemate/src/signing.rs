//! What options about ID blocks name: keys that sign, and identifiers.

use crate::Failure;
use crate::files::read_file;
use casemate_attestation::hex::from_people;
use casemate_attestation::idblock::OwnerKey;
use std::path::Path;

/// An identifier of an ID block, as its option gives it.
pub fn identifier(option: &str, text: &str) -> Result<[u8; 16], Failure> {
    let bytes = from_people(text).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Failure::BadInput(format!("{option}: not 16 bytes of hexadecimal")))
}

/// A private key that signs.
pub fn key(path: &Path) -> Result<OwnerKey, Failure> {
    OwnerKey::from_file(&read_file(path)?)
        .map_err(|error| Failure::BadInput(format!("{}: {error}", path.display())))
}
