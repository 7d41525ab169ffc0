//! The files of a result, written into a folder that has its name when all of them are there.

use super::stop::Stop;
use crate::Failure;
use casemate_result::entries::{Entries, Entry, Next};
use casemate_result::{Ending, Hash, Opener, ResultError};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the folder is not there.
#[derive(Debug)]
pub(super) enum FillError {
    /// The result.
    Result(ResultError),
    /// This machine.
    Failed(Failure),
}

impl From<ResultError> for FillError {
    fn from(error: ResultError) -> Self {
        Self::Result(error)
    }
}

/// A name that nothing has.
#[derive(Debug)]
pub(super) struct Place {
    name: PathBuf,
    /// Where the files are until they have the name.
    beside: PathBuf,
}

/// A folder that goes unless it gets its name.
struct Unnamed<'p>(&'p Path);

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}

impl Place {
    pub(super) fn new(name: &Path) -> Result<Self, Failure> {
        // `out/` is the name `out`.
        let name: PathBuf = name.components().collect();
        if name.symlink_metadata().is_ok() {
            return Err(Failure::BadInput(format!(
                "{}: there is such a file already; name another, or remove it",
                name.display()
            )));
        }
        let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
        let beside = format!(".casemate-open-{}", std::process::id());
        let beside = folder.unwrap_or(Path::new(".")).join(beside);
        Ok(Self { name, beside })
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> FillError {
        let text = format!("{}: {what}: {error}", self.name.display());
        FillError::Failed(Failure::Failed(text))
    }

    /// Writes all that `opener` gives, whose bytes must have this hash; how the workload ended.
    pub(super) fn fill<R: Read>(
        &self,
        opener: Opener<R>,
        sealed: &Hash,
    ) -> Result<Ending, FillError> {
        let stop = Stop::on_signals().map_err(|e| self.failed("signals", &e))?;
        let made = DirBuilder::new().mode(0o700).create(&self.beside);
        made.map_err(|e| self.failed("cannot be made", &e))?;
        let _unnamed = Unnamed(&self.beside);
        let mut entries = Entries::new(opener);
        let ending = loop {
            match entries.next_entry()? {
                Next::Entry(entry) => self.one(&mut entries, &entry, &stop)?,
                Next::End(ending) => break ending,
            }
        };
        // It was another file when it was judged.
        if entries.into_inner().finish()? != *sealed {
            return Err(ResultError::Changed.into());
        }
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            &self.beside,
            rustix::fs::CWD,
            &self.name,
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(|e| self.failed("cannot be given its name", &e.into()))?;
        Ok(ending)
    }

    /// The path has names only, and there is no link in this folder: nothing else is made in it.
    fn one<R: Read>(
        &self,
        entries: &mut Entries<R>,
        entry: &Entry,
        stop: &Stop,
    ) -> Result<(), FillError> {
        let path = self.beside.join(OsStr::from_bytes(&entry.path));
        let failed = |e: std::io::Error| self.failed("one of its files", &e);
        stop.check().map_err(failed)?;
        if entry.size.is_none() {
            // Whoever opens it can look into it and remove it, whatever the guest thought.
            let mode = u32::from(entry.mode | 0o700);
            return DirBuilder::new().mode(mode).create(&path).map_err(failed);
        }
        let mut file = File::create_new(&path).map_err(failed)?;
        entries.contents(|part| stop.check().and_then(|()| file.write_all(part)))?;
        file.set_permissions(Permissions::from_mode(entry.mode.into())).map_err(failed)
    }
}
