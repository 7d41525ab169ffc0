//! Small files that commands read and write whole.

use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_files::{Access, Apart, FileError, SameFile};
use casemate_foreign_text::value;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files over 1 MiB are refused unread.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a whole file of at most 1 MiB; `-` is standard input.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, MAX_FILE)
}

/// Reads a whole file of at most `limit` bytes; `-` is standard input.
pub(super) fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    was_read(path);
    casemate_files::read_input(path, limit).map_err(|error| bad_input(&error))
}

/// What users call standard input or output.
const STANDARD: &str = "-";

/// What this command has read and written so far.
static USED: Mutex<Apart> = Mutex::new(Apart::new());

fn used() -> MutexGuard<'static, Apart> {
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes down that a command reads a file: what it writes afterwards is none of those. `-` and
/// what is no file are none.
pub(super) fn was_read(path: &Path) {
    if path == Path::new(STANDARD) {
        return;
    }
    // That it was written before, by this very command, is no harm to it.
    let _ = used().read(format!("the input {}", value(path.display())), path);
}

/// Stores of certificates that this command reads, by their real paths.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes down that a command reads a store of certificates: what it writes afterwards is none.
pub(super) fn store_was_read(path: &Path) {
    if let Ok(path) = path.canonicalize() {
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }
}

/// The store of these of which a file of this path would be. All of its files are `.der`.
fn store_around(path: &Path) -> Option<PathBuf> {
    path.extension().filter(|extension| *extension == "der")?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok()?;
    let folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    folders.iter().find(|folder| parent.starts_with(folder)).cloned()
}

/// Refuses an output that this command has read, or written already as another output: a report, a
/// key, a kernel, a certificate would be lost.
pub(super) fn may_write(what: &str, path: &Path) -> Outcome {
    if path == Path::new(STANDARD) {
        return Ok(());
    }
    if let Some(folder) = store_around(path) {
        return Err(Failure::BadInput(format!(
            "{what} {} is in {}, a store of certificates that this command reads: name another place",
            value(path.display()),
            value(folder.display())
        )));
    }
    let what = format!("{what} {}", value(path.display()));
    keep_apart(|used| used.written(what, path))
}

/// Has all files of a group of options named at once, among those that this command uses.
pub(super) fn keep_apart(name: impl FnOnce(&mut Apart) -> Result<(), SameFile>) -> Outcome {
    name(&mut used()).map_err(|error| Failure::BadInput(error.to_string()))
}

/// A file that the user named and that cannot be used as it is.
pub(super) fn bad_input(error: &FileError) -> Failure {
    Failure::BadInput(error.to_string())
}

/// Writes a file whole or not at all; `-`, pipes and devices are written to.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Outcome {
    may_write("the output", path)?;
    put_file(path, bytes)
}

/// The same of a file that was asked about before, see [`may_write`].
pub(super) fn put_file(path: &Path, bytes: &[u8]) -> Outcome {
    casemate_files::write_output(path, bytes, Access::Usual)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// Pretty JSON on stdout, with nothing in it that a terminal obeys.
pub(super) fn print_json(value: &serde_json::Value) {
    outln!("{}", casemate_foreign_text::json(&format!("{value:#}")));
}
