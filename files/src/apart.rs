//! Files of one command that must be different ones.
//!
//! A command that is told to write to what it also reads, or to two outputs that are one file,
//! would destroy what its user has: a key, a kernel, a disk, a log. Two names say nothing about
//! that, since links, mounts and ways through other folders lead to one file. So each name is
//! followed to what it leads to, and what is there is compared: device and inode; of a block device
//! its number, since it may have several nodes; of what is not there yet its folder and its name in
//! it.

use rustix::fs::{FileType, Stat, fstat, stat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    File {
        device: u64,
        inode: u64,
    },
    Block {
        number: u64,
    },
    /// Nothing yet: what will be made has this folder and name.
    Missing {
        device: u64,
        inode: u64,
        name: OsString,
    },
}

impl Id {
    /// `None` of what is neither kept nor lost by writing: a terminal, a pipe, `/dev/null`.
    fn of(there: &Stat) -> Option<Self> {
        match FileType::from_raw_mode(there.st_mode) {
            FileType::RegularFile => Some(Self::File { device: there.st_dev, inode: there.st_ino }),
            FileType::BlockDevice => Some(Self::Block { number: there.st_rdev }),
            _ => None,
        }
    }

    fn at(path: &Path) -> Option<Self> {
        match stat(path) {
            Ok(there) => Self::of(&there),
            Err(Errno::NOENT) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = stat(folder.unwrap_or(Path::new("."))).ok()?;
                let name = path.file_name()?.to_owned();
                Some(Self::Missing { device: folder.st_dev, inode: folder.st_ino, name })
            }
            // Who opens it says why that cannot be.
            Err(_) => None,
        }
    }
}

/// Two names of one file, of which at least one is written to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{written} and {other} are one file, which would be written over: name another one")]
pub struct SameFile {
    /// What is written to, as the user calls it.
    pub written: String,
    /// What else it is.
    pub other: String,
}

#[derive(Debug)]
struct Named {
    key: String,
    id: Id,
    written: bool,
}

/// The files of a command, each with what its user calls it: a flag, a key of the configuration.
#[derive(Debug, Default)]
pub struct Apart(Vec<Named>);

impl Apart {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A file that is only read. Two that are read may be one.
    ///
    /// # Errors
    /// [`SameFile`] when it is written to, too.
    pub fn read(&mut self, key: impl Into<String>, path: &Path) -> Result<(), SameFile> {
        self.add(key.into(), Id::at(path), false, false)
    }

    /// A file that is written to, whether it is there yet or not.
    ///
    /// # Errors
    /// [`SameFile`] when it is anything else, too.
    pub fn written(&mut self, key: impl Into<String>, path: &Path) -> Result<(), SameFile> {
        self.add(key.into(), Id::at(path), true, false)
    }

    /// A file that is written to, by its descriptor: whatever its name leads to by now.
    ///
    /// # Errors
    /// [`SameFile`] when it is anything else, too.
    pub fn opened(&mut self, key: impl Into<String>, file: impl AsFd) -> Result<(), SameFile> {
        self.add(key.into(), fstat(file).ok().and_then(|there| Id::of(&there)), true, true)
    }

    /// `again`: what was named under this key before is opened now.
    fn add(
        &mut self,
        key: String,
        id: Option<Id>,
        written: bool,
        again: bool,
    ) -> Result<(), SameFile> {
        let Some(id) = id else { return Ok(()) };
        let same = self.0.iter().find(|named| {
            named.id == id && !(again && named.key == key) && (named.written || written)
        });
        match same {
            None => {
                self.0.push(Named { key, id, written });
                Ok(())
            }
            Some(named) if written => Err(SameFile { written: key, other: named.key.clone() }),
            Some(named) => Err(SameFile { written: named.key.clone(), other: key }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::Apart;
    use std::fs::{File, create_dir, hard_link, remove_dir_all};
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("apart-{test}-{}", std::process::id()));
            let _ = remove_dir_all(&path);
            create_dir(&path).unwrap();
            Self(path)
        }
        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = remove_dir_all(&self.0);
        }
    }

    /// Protects a file from being written over by whatever way its name is reached. Cannot tell of
    /// one that becomes another between the look and the opening: its descriptor is asked then.
    #[test]
    fn a_file_that_is_written_is_nothing_else_whatever_it_is_called() {
        let place = Place::new("names");
        File::create(place.at("key")).unwrap();
        hard_link(place.at("key"), place.at("hard")).unwrap();
        symlink("key", place.at("soft")).unwrap();
        symlink(&place.0, place.at("folder")).unwrap();
        for other in ["key", "hard", "soft", "folder/key", "./key", "folder/soft"] {
            let other = place.at(other);
            for written_first in [false, true] {
                let mut apart = Apart::default();
                let (first, second) = (place.at("key"), other.as_path());
                let error = if written_first {
                    apart.written("--out", &first).unwrap();
                    apart.read("--key", second).unwrap_err()
                } else {
                    apart.read("--key", &first).unwrap();
                    apart.written("--out", second).unwrap_err()
                };
                let text = error.to_string();
                assert!(text.starts_with("--out and --key are one file"), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_there_yet_is_one_file_under_one_name_in_one_folder() {
        let place = Place::new("missing");
        symlink(&place.0, place.at("folder")).unwrap();
        let mut apart = Apart::default();
        apart.written("--log", &place.at("new")).unwrap();
        apart.written("--head", &place.at("newer")).unwrap();
        apart.written("--console", &place.at("folder/new")).unwrap_err();
        // It is there by now, and its descriptor is the same file as its name.
        let file = File::create(place.at("new")).unwrap();
        apart.opened("--log", &file).unwrap();
        apart.opened("--console", &file).unwrap_err();
    }

    #[test]
    fn files_that_are_only_read_and_devices_may_be_one() {
        let place = Place::new("read");
        File::create(place.at("one")).unwrap();
        let mut apart = Apart::default();
        apart.read("--kernel", &place.at("one")).unwrap();
        apart.read("--initrd", &place.at("one")).unwrap();
        apart.written("--log", Path::new("/dev/null")).unwrap();
        apart.written("--head", Path::new("/dev/null")).unwrap();
        apart.written("--lost", &place.at("no-folder/file")).unwrap();
    }
}
