//! A Debian package of a kernel, read without dpkg (deb(5)): of its files the kernel, its modules
//! and the list of what is built in. Nothing in it is run, and no path of it is opened here.

use super::ar::Archive;
use super::store::Store;
use crate::tar::{EndMark, EntryKind, Reader};
use crate::{ImageError, Spool, unpack};
use std::io::{BufReader, Read};

/// Entries of a package, at most: a kernel with all its modules has some thousands.
const MAX_ENTRIES: u32 = 200_000;

fn wrong(why: impl Into<String>) -> ImageError {
    ImageError::kernel("the package", why)
}

/// Kernel and modules of the package in `stream`. The modules' files are put aside in `spool`, as
/// they are: which of them are needed is known when all have been seen.
///
/// # Errors
/// [`ImageError`] when it is no package, or has not one kernel.
pub fn read(stream: impl Read, spool: Spool) -> Result<(Vec<u8>, Store), ImageError> {
    let mut archive = Archive::new(BufReader::with_capacity(64 * 1024, stream))?;
    let first = archive.next_member()?;
    let mut version = [0; 2];
    let begins = archive.content().read_exact(&mut version).is_ok() && version == *b"2.";
    if first.is_none_or(|member| member.name != "debian-binary") || !begins {
        return Err(wrong("it is no Debian package of version 2"));
    }
    while let Some(member) = archive.next_member()? {
        match member.name.as_str() {
            "data.tar" | "data.tar.gz" | "data.tar.xz" | "data.tar.zst" => {
                let mut stream = BufReader::with_capacity(64 * 1024, archive.content());
                let mut reader = Reader::new(unpack::decompress(&mut stream)?, EndMark::Needed);
                return Contents::new(spool).all(&mut reader);
            }
            // Before the data: what dpkg would run, which is nobody's here.
            _ => {}
        }
    }
    Err(wrong("it has no member data.tar"))
}

/// What was found of a package.
struct Contents {
    store: Store,
    spool: Spool,
    kernel: Option<Vec<u8>>,
    release: Option<String>,
}

/// A file that matters.
enum Wanted {
    Kernel,
    BuiltIn,
    Module,
}

impl Contents {
    fn new(spool: Spool) -> Self {
        Self { store: Store::default(), spool, kernel: None, release: None }
    }

    fn all<R: Read>(mut self, reader: &mut Reader<R>) -> Result<(Vec<u8>, Store), ImageError> {
        let mut left = MAX_ENTRIES;
        while let Some(entry) = reader.next_entry()? {
            left = left.checked_sub(1).ok_or_else(|| wrong("it has more than 200000 files"))?;
            if entry.kind != EntryKind::File {
                continue;
            }
            let Ok(path) = str::from_utf8(&entry.path) else { continue };
            let path = path.strip_prefix("./").unwrap_or(path);
            let path = path.strip_prefix("usr/").unwrap_or(path);
            match self.wanted(path)? {
                Some(Wanted::Kernel) => {
                    if self.kernel.is_some() {
                        return Err(wrong("it has two kernels"));
                    }
                    let content = &mut reader.content();
                    self.kernel = Some(super::bounded(content, super::MAX_KERNEL, path)?);
                }
                Some(Wanted::BuiltIn) => {
                    let content = &mut reader.content();
                    self.store.built_in(&super::bounded(content, super::MAX_LIST, path)?);
                }
                Some(Wanted::Module) => {
                    let content = self.spool.take(&mut reader.content(), entry.size)?;
                    self.store.add_spooled(path, content)?;
                }
                None => {}
            }
        }
        let kernel = self.kernel.ok_or_else(|| wrong("it has no kernel: name a linux-image"))?;
        self.store.keep(self.spool);
        Ok((kernel, self.store))
    }

    /// Which of the files that matter a path is.
    fn wanted(&mut self, path: &str) -> Result<Option<Wanted>, ImageError> {
        if path.strip_prefix("boot/vmlinuz-").is_some_and(|rest| !rest.contains('/')) {
            return Ok(Some(Wanted::Kernel));
        }
        let Some((release, file)) =
            path.strip_prefix("lib/modules/").and_then(|rest| rest.split_once('/'))
        else {
            return Ok(None);
        };
        // Modules of two kernels would have the same names.
        let known = self.release.get_or_insert_with(|| release.to_owned());
        if known != release {
            return Err(wrong("it has modules of two kernels"));
        }
        Ok(match file {
            "vmlinuz" => Some(Wanted::Kernel),
            "modules.builtin" => Some(Wanted::BuiltIn),
            _ => super::store::module_name(file).map(|_| Wanted::Module),
        })
    }
}
