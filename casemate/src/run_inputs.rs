//! What an owner gives a run and compares its results with: a nonce, and the inputs.

use crate::Failure;
use casemate_result::{Hash, Input, InputDigest, NONCE};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// A run's nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; NONCE]);

impl std::str::FromStr for Nonce {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a run's nonce is 64 hexadecimal digits; `openssl rand -hex 32` makes one";
        let bytes = casemate_attestation::hex::from_people(text).ok_or(wrong)?;
        bytes.try_into().map(Self).map_err(|_| wrong)
    }
}

/// An input's name and size, and the file.
pub fn open(path: &Path) -> Result<(Input, File), Failure> {
    let file = casemate_files::open(path).map_err(|e| Failure::BadInput(e.to_string()))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let size = file.metadata().map_err(|e| failed(path, &e))?.len();
    Ok((Input { name, size }, file))
}

/// The digest of inputs, as the guest computes it.
pub fn digest(paths: &[PathBuf]) -> Result<Hash, Failure> {
    let mut digest = InputDigest::default();
    for path in paths {
        let (input, file) = open(path)?;
        let added = digest.add(&input, &mut BufReader::new(file), |_| Ok(()));
        added.map_err(|e| failed(path, &e))?;
    }
    Ok(digest.finish())
}

/// A failure at this path.
pub fn failed(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {why}", path.display()))
}
