//! The files of a folder, sorted, within a bound. More than the bound is an error, not a shorter
//! list: which files are left out would be the folder's choice.

use crate::error::{FileError, Kind};
use crate::read::kind;
use std::path::{Path, PathBuf};

/// How much of a folder is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Entries in all, folders and what is no file included.
    pub files: usize,
    /// Levels of folders below the first.
    pub depth: usize,
}

/// The regular files of one folder, links to files included, sorted.
///
/// # Errors [`FileError`] when it cannot be read or has more than `limit` entries.
pub fn list(folder: &Path, limit: usize) -> Result<Vec<PathBuf>, FileError> {
    walk(folder, Bounds { files: limit, depth: 0 })
}

/// The regular files of a folder and, as deep as the bounds say, of the folders in it, sorted.
/// Links to folders are not followed: they can lead round in a circle, or out of what was named.
/// Deeper folders are an error; with a depth of 0 they are left alone.
///
/// # Errors [`FileError`] when something cannot be read or the bounds are passed.
pub fn walk(folder: &Path, bounds: Bounds) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    let mut left = bounds.files;
    let mut level = vec![folder.to_owned()];
    // Level by level, not by recursion: the depth is bounded by the loop, and the stack does not
    // grow with it.
    for depth in 0..=bounds.depth {
        let mut deeper = Vec::new();
        for folder_here in &level {
            let entries =
                std::fs::read_dir(folder_here).map_err(FileError::io("read", folder_here))?;
            for entry in entries {
                let entry = entry.map_err(FileError::io("read", folder_here))?;
                // Counted before it is looked at, whatever it is: a folder of a million sockets
                // ends here as well.
                left = left.checked_sub(1).ok_or_else(|| FileError::TooMany {
                    path: folder.to_owned(),
                    what: "files",
                    limit: bounds.files,
                })?;
                let path = entry.path();
                // By lstat, and only a link to a file is followed. What cannot be looked at, or
                // went away meanwhile, is no file.
                match look(&path) {
                    Some(Kind::File) => files.push(path),
                    Some(Kind::Directory) => deeper.push(path),
                    _ => {}
                }
            }
        }
        // With a depth of 0 only one folder was asked for, and those in it are none of its files.
        if depth == bounds.depth && depth > 0 && !deeper.is_empty() {
            let (path, limit) = (folder.to_owned(), bounds.depth);
            return Err(FileError::TooMany { path, what: "levels of folders", limit });
        }
        level = deeper;
    }
    // The system's order is that of the disk: sorted, so that the same folder gives the same result
    // everywhere.
    files.sort();
    Ok(files)
}

/// What an entry is: a link counts as a file when it leads to one, else as a link.
fn look(path: &Path) -> Option<Kind> {
    let own = kind(rustix::fs::lstat(path).ok()?.st_mode);
    if own != Kind::Link {
        return Some(own);
    }
    let target = kind(rustix::fs::stat(path).ok()?.st_mode);
    Some(if target == Kind::File { Kind::File } else { Kind::Link })
}

/// Makes a folder and those above it that are not there.
///
/// # Errors
/// [`FileError`] when it cannot be made, or is something else.
pub fn make(folder: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(folder).map_err(FileError::io("make", folder))
}
