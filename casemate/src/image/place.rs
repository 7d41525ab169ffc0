//! Where an image comes to be: nothing has its name before it is whole, and nothing of a build that
//! fails is left.

use crate::Failure;
use casemate_image::{ImageError, Spool};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Contents of all layers together, those included that later ones replace.
const MAX_BYTES: u64 = 64 << 30;

/// A folder for files without names.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// The one for temporary files.
    #[cfg(feature = "vm")]
    pub fn of_system() -> Self {
        Self { folder: std::env::temp_dir() }
    }

    /// Its path.
    #[cfg(feature = "vm")]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Room for the contents of files.
    pub fn room(&self) -> Result<Spool, ImageError> {
        Spool::new(&self.folder, MAX_BYTES)
    }

    /// A file without a name: it goes with this process, however that ends.
    pub fn nameless(&self) -> Result<File, Failure> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let opened = open(&self.folder, flags, mode).map_err(|errno| {
            let why = std::io::Error::from(errno);
            Failure::Failed(format!("{}: no file can be made there: {why}", self.folder.display()))
        });
        Ok(File::from(opened?))
    }

    /// The same with these bytes.
    #[cfg(feature = "vm")]
    pub fn nameless_with(&self, bytes: &[u8]) -> Result<File, Failure> {
        use std::io::Write;
        let mut file = self.nameless()?;
        let written = file.write_all(bytes);
        written.map_err(|e| Failure::Failed(format!("{}: {e}", self.folder.display())))?;
        Ok(file)
    }
}

/// A name that nothing has yet, and the folder that it is to be in.
#[derive(Debug)]
pub(crate) struct Place {
    name: PathBuf,
    /// The folder that it is to be in.
    pub scratch: Scratch,
}

#[allow(clippy::needless_pass_by_value, reason = "it maps errors")]
pub(crate) fn failure(error: ImageError) -> Failure {
    if error.is_bad_input() {
        Failure::BadInput(error.to_string())
    } else {
        Failure::Failed(error.to_string())
    }
}

impl Place {
    /// # Errors
    /// [`Failure::BadInput`] when something has the name already.
    pub fn new(name: &Path) -> Result<Self, Failure> {
        // `app.img/` is the name `app.img`, which is not there.
        let text = name.as_os_str().as_encoded_bytes();
        let name = if text.ends_with(b"/") { name.components().collect() } else { name.to_owned() };
        let folder = match name.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if name.symlink_metadata().is_ok() {
            return Err(Failure::BadInput(format!(
                "{}: there is such a file already; name another, or remove it",
                name.display()
            )));
        }
        Ok(Self { name, scratch: Scratch { folder } })
    }

    /// Gives a file without a name this one.
    pub fn name_file(&self, file: &File) -> Result<(), Failure> {
        self.link(file, &self.name)
    }

    fn link(&self, file: &File, name: &Path) -> Result<(), Failure> {
        file.sync_all().map_err(|e| Failure::Failed(format!("{}: {e}", self.name.display())))?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, &unnamed, CWD, name, AtFlags::SYMLINK_FOLLOW)
            .map_err(|e| self.failed("cannot be given its name", e))
    }

    fn failed(&self, what: &str, errno: rustix::io::Errno) -> Failure {
        let why = std::io::Error::from(errno);
        Failure::Failed(format!("{}: {what}: {why}", self.name.display()))
    }

    /// Makes the folder of this name: `fill` puts files into one of another name, which gets this
    /// one when all of them are there.
    ///
    /// # Errors
    /// [`Failure`]; the folder is gone then.
    #[cfg(feature = "vm")]
    pub fn name_folder(
        &self,
        fill: impl FnOnce(&Unnamed<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let beside = self.scratch.folder.join(format!(".casemate-image-{}", std::process::id()));
        std::fs::create_dir(&beside)
            .map_err(|e| Failure::Failed(format!("{}: cannot be made: {e}", beside.display())))?;
        let unnamed = Unnamed { place: self, path: beside };
        fill(&unnamed)?;
        // Not over something that has come meanwhile.
        rustix::fs::renameat_with(
            CWD,
            &unnamed.path,
            CWD,
            &self.name,
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(|e| self.failed("cannot be given its name", e))
    }
}

/// A folder that has not its name yet; it is removed when it does not get it.
#[cfg(feature = "vm")]
#[derive(Debug)]
pub(crate) struct Unnamed<'p> {
    place: &'p Place,
    path: PathBuf,
}

#[cfg(feature = "vm")]
impl Unnamed<'_> {
    /// Puts a file without a name into it.
    pub fn link(&self, file: &File, name: &str) -> Result<(), Failure> {
        self.place.link(file, &self.path.join(name))
    }

    /// Puts a file with these bytes into it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        casemate_files::create(&self.path.join(name), bytes, casemate_files::Access::Usual)
            .map_err(|e| Failure::Failed(e.to_string()))
    }
}

#[cfg(feature = "vm")]
impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        // After the last step nothing has this name any more.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
