//! Small files that commands read and write whole.

use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_files::{Access, FileError};
use std::path::Path;

/// Files over 1 MiB are refused unread.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a whole file of at most 1 MiB; `-` is standard input.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, MAX_FILE)
}

/// Reads a whole file of at most `limit` bytes; `-` is standard input.
pub(super) fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    casemate_files::read_input(path, limit).map_err(|error| bad_input(&error))
}

/// A file that the user named and that cannot be used as it is.
pub(super) fn bad_input(error: &FileError) -> Failure {
    Failure::BadInput(error.to_string())
}

/// Writes a file whole or not at all; `-`, pipes and devices are written to.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Outcome {
    casemate_files::write_output(path, bytes, Access::Usual)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// Pretty JSON on stdout, with nothing in it that a terminal obeys.
pub(super) fn print_json(value: &serde_json::Value) {
    outln!("{}", casemate_foreign_text::json(&format!("{value:#}")));
}
