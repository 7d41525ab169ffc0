//! Where the modules of a kernel are, by name: files of a folder, or of a package that was put
//! aside. Which are built into the kernel instead.

use super::modinfo::{is_name, normal};
use crate::{Content, ImageError, Spool, unpack};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Largest module, uncompressed; the largest of Debian's have some MiB.
const MAX_MODULE: u64 = 64 << 20;
/// Files of a folder of modules, and levels of folders in it.
const BOUNDS: casemate_files::Bounds = casemate_files::Bounds { files: 100_000, depth: 16 };

/// The modules of a kernel.
#[derive(Debug, Default)]
pub struct Store {
    files: BTreeMap<String, Place>,
    built_in: BTreeSet<String>,
    /// No module was given at all: what a guest needs is built in, or it does not start.
    all_built_in: bool,
    spool: Option<Spool>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Spooled { path: String, content: Content },
}

/// The name of the module in a file of this path; None for a file that is no module.
#[must_use]
pub fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".xz").or_else(|| file.strip_suffix(".zst"));
    let stem = stem.or_else(|| file.strip_suffix(".gz")).unwrap_or(file);
    stem.strip_suffix(".ko").map(normal).filter(|name| is_name(name))
}

impl Store {
    /// A kernel that has all it needs built in.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self { all_built_in: true, ..Self::default() }
    }

    /// The modules in a folder such as `/lib/modules/6.12.0`.
    ///
    /// # Errors
    /// [`ImageError`] when it cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self, ImageError> {
        let failed = |e: casemate_files::FileError| ImageError::Source(e.to_string());
        let mut store = Self::default();
        for path in casemate_files::walk(folder, BOUNDS).map_err(failed)? {
            if let Some(name) = path.to_str().and_then(module_name) {
                store.add(name, Place::File(path))?;
            }
        }
        let list = folder.join("modules.builtin");
        if list.exists() {
            store.built_in(&casemate_files::read(&list, super::MAX_LIST).map_err(failed)?);
        }
        Ok(store)
    }

    /// Adds a file of a package.
    pub(super) fn add_spooled(&mut self, path: &str, content: Content) -> Result<(), ImageError> {
        match module_name(path) {
            Some(name) => self.add(name, Place::Spooled { path: path.to_owned(), content }),
            None => Ok(()),
        }
    }

    /// Keeps what the contents of [`Store::add_spooled`] are in.
    pub(super) fn keep(&mut self, spool: Spool) {
        self.spool = Some(spool);
    }

    /// Which of two files a kernel's own tools would take is decided by configuration that is not
    /// here.
    fn add(&mut self, name: String, place: Place) -> Result<(), ImageError> {
        let shown = name.clone();
        match self.files.insert(name, place) {
            None => Ok(()),
            Some(_) => Err(ImageError::kernel(shown, "two files have this module")),
        }
    }

    /// Takes the list `modules.builtin`: a path of each module that was built in.
    pub(super) fn built_in(&mut self, list: &[u8]) {
        let text = String::from_utf8_lossy(list);
        self.built_in.extend(text.lines().filter_map(module_name));
    }

    /// Whether the kernel has this module within itself.
    #[must_use]
    pub fn is_built_in(&self, name: &str) -> bool {
        self.all_built_in || self.built_in.contains(name)
    }

    /// The file of a module, uncompressed; None where there is none.
    ///
    /// # Errors
    /// [`ImageError`] when it cannot be read, or is too large.
    pub fn module(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let (path, stored) = match (self.files.get(name), &self.spool) {
            (None, _) => return Ok(None),
            (Some(Place::File(path)), _) => {
                let bytes = casemate_files::read(path, MAX_MODULE);
                let bytes = bytes.map_err(|e| ImageError::Source(e.to_string()))?;
                (path.display().to_string(), bytes)
            }
            (Some(Place::Spooled { path, content }), Some(spool)) => {
                let size = usize::try_from(content.len).ok().filter(|_| content.len <= MAX_MODULE);
                let size = size.ok_or_else(|| ImageError::kernel(path, "more than 64 MiB"))?;
                let mut bytes = vec![0; size];
                spool.read(*content, 0, &mut bytes)?;
                (path.clone(), bytes)
            }
            (Some(Place::Spooled { path, .. }), None) => {
                debug_assert!(false, "contents without their spool");
                return Err(ImageError::kernel(path, "it was not kept"));
            }
        };
        let mut stored = BufReader::new(stored.as_slice());
        let mut plain = unpack::decompress(&mut stored)?;
        super::bounded(&mut plain.by_ref(), MAX_MODULE, &path).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_module_is_the_kernels_whatever_its_file_is() {
        let name = |path| module_name(path);
        assert_eq!(name("kernel/drivers/md/dm-mod.ko.xz").as_deref(), Some("dm_mod"));
        assert_eq!(name("erofs.ko").as_deref(), Some("erofs"));
        assert_eq!(name("a/b.ko.gz").as_deref(), Some("b"));
        for none in ["modules.dep", "a.ko/b", "x.ko.bz2", ".ko", "a b.ko"] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn two_files_of_one_name_are_refused() {
        let mut store = Store::default();
        store.add_spooled("a/x-y.ko", Content::EMPTY).unwrap();
        assert!(store.add_spooled("b/x_y.ko.xz", Content::EMPTY).is_err());
    }
}
