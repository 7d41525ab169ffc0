//! The files of an image: a folder, or the entries of a tar archive, by name.

use crate::tar::{EndMark, EntryKind, Reader};
use crate::{Content, ImageError, Spool, unpack};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

/// Entries of an archive: documents and layers.
const MAX_ENTRIES: usize = 64 * 1024;
/// Names of an archive that lead to another: old `docker save` wrote layers that other images have
/// as links.
const MAX_LINKS: u32 = 8;

/// Files by their names within an image's folder or archive.
#[derive(Debug)]
pub enum Blobs {
    /// A folder, whose files are opened when they are asked for.
    Folder(PathBuf),
    /// An archive, unpacked into a file without a name.
    Archive {
        /// What its files have.
        spool: Spool,
        /// Its files and links by name.
        files: BTreeMap<Vec<u8>, Blob>,
    },
}

/// A file of an archive.
#[derive(Debug, Clone)]
pub enum Blob {
    /// Where its bytes are in the spool.
    File(Content),
    /// Another name, from the folder that this one is in.
    Link(Vec<u8>),
}

impl Blobs {
    /// The files of an archive, which may be compressed. Room for its contents is in `spool`, which
    /// keeps them.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn archive(stream: impl Read, mut spool: Spool) -> Result<Self, ImageError> {
        let mut stream = std::io::BufReader::new(stream);
        let mut reader = Reader::new(unpack::decompress(&mut stream)?, EndMark::Needed);
        let mut files = BTreeMap::new();
        while let Some(entry) = reader.next_entry()? {
            if files.len() >= MAX_ENTRIES {
                return Err(ImageError::Limit {
                    limit: MAX_ENTRIES as u64,
                    of: "files in an archive",
                });
            }
            let name = plain(&entry.path);
            let blob = match entry.kind {
                EntryKind::File => Blob::File(spool.take(&mut reader.content(), entry.size)?),
                EntryKind::Symlink(target) => Blob::Link(beside(&name, &target)),
                EntryKind::HardLink(target) => Blob::Link(plain(&target)),
                _ => continue,
            };
            if files.insert(name, blob).is_some() {
                // Which of two is meant depends on the reader.
                return Err(ImageError::entry(
                    &entry.path,
                    "the archive has two files of this name",
                ));
            }
        }
        Ok(Self::Archive { spool, files })
    }

    /// Whether there is such a file.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).is_file(),
            Self::Archive { files, .. } => files.contains_key(name.as_bytes()),
        }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`ImageError::Layout`] when there is none, or none that can be read.
    pub fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, ImageError> {
        let none = |why: String| super::layout(name, why);
        match self {
            Self::Folder(folder) => {
                // Names come from documents: none leads out of the folder.
                crate::path::names(name.as_bytes()).map_err(|e| none(e.to_string()))?;
                let file = casemate_files::open(&folder.join(name.trim_start_matches('/')));
                Ok(Box::new(file.map_err(|e| none(e.to_string()))?))
            }
            Self::Archive { spool, files } => {
                let mut at = name.as_bytes();
                for _ in 0..MAX_LINKS {
                    match files.get(at) {
                        Some(Blob::File(content)) => {
                            return Ok(Box::new(Piece { spool, content: *content, at: 0 }));
                        }
                        Some(Blob::Link(target)) => at = target,
                        None => return Err(none("the archive has no such file".into())),
                    }
                }
                Err(none("links that lead to links".into()))
            }
        }
    }
}

/// A name without the `./` that some write.
fn plain(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.collect::<Vec<_>>().join(&b'/')
}

/// Where a link leads that lies beside `name`.
fn beside(name: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// A content as a stream.
struct Piece<'s> {
    spool: &'s Spool,
    content: Content,
    at: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.content.len - self.at).unwrap_or(usize::MAX);
        let want = left.min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        self.spool.read(self.content, self.at, part).map_err(std::io::Error::other)?;
        self.at += crate::bytes::len(part);
        Ok(want)
    }
}
