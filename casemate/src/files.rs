//! Small files that commands read and write whole.

use crate::out::outln;
use crate::{Failure, Outcome};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// Files over 1 MiB are refused unread.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a whole file of at most 1 MiB.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, MAX_FILE)
}

/// Reads a whole file of at most `limit` bytes, whole MiB.
pub(super) fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let fault = |error: &dyn std::fmt::Display| {
        Failure::BadInput(format!("cannot read {}: {error}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| fault(&error))?;
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| fault(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        Ok(bytes)
    } else {
        Err(fault(&format_args!("larger than {} MiB", limit >> 20)))
    }
}

/// Writes a file whole or not at all. What is no regular file, such as `/dev/stdout`, is written to: a new file in its
/// place would take it away.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Outcome {
    let fault = |error: std::io::Error| {
        Failure::Failed(format!("cannot write {}: {error}", path.display()))
    };
    if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return std::fs::write(path, bytes).map_err(fault);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    // New: in a directory that others can write, a name that is there may lead elsewhere. One that a killed process of
    // this number left is removed, not followed.
    let new = || std::fs::File::create_new(&name);
    let mut file = match new() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::remove_file(&name).and_then(|()| new())
        }
        other => other,
    }
    .map_err(fault)?;
    file.write_all(bytes).and_then(|()| std::fs::rename(&name, path)).map_err(|error| {
        let _ = std::fs::remove_file(&name);
        fault(error)
    })
}

/// Pretty JSON on stdout.
pub(super) fn print_json(value: &serde_json::Value) {
    outln!("{value:#}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::write_file;

    #[test]
    fn what_a_killed_process_left_is_neither_followed_nor_in_the_way() {
        let directory = std::env::temp_dir().join(format!("casemate-files-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let (file, other) = (directory.join("file"), directory.join("other"));
        std::fs::write(&other, "kept").unwrap();
        let left = directory.join(format!("file.new-{}", std::process::id()));
        std::os::unix::fs::symlink(&other, &left).unwrap();
        write_file(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(file.symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read(&other).unwrap(), b"kept");
        assert!(left.symlink_metadata().is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
