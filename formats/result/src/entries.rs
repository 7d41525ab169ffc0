//! What is sealed: folders and files with their paths and permissions, and nothing else.
//!
//! No tar: its readers have a dozen ways to write a name and to make a link, and whoever opens a
//! result needs none of them. An entry is a kind (one byte; zero ends the list), permissions and
//! the length of the path (two bytes each, little-endian), the path; of a file also its size (eight
//! bytes) and its bytes. Behind the list are two bytes: how the workload ended, and its status.

use crate::wire::{bytes, exactly, is_at_end};
use crate::{Cause, Ending, ResultError, Sealer};
use std::io::{Read, Write};

/// Longest path.
const MAX_PATH: usize = 4000;
/// Longest name in a path.
const MAX_NAME: usize = 255;
/// How deep folders may lie in each other.
const MAX_DEPTH: usize = 64;
/// Entries of a result, at most.
pub const MAX_ENTRIES: u64 = 1 << 20;

const END: u8 = 0;
const FOLDER: u8 = 1;
const FILE: u8 = 2;
/// Permissions that are kept: no set-user-ID, which on another machine would be somebody else's.
const MODE: u16 = 0o777;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path from the folder of results, checked: names only, no `.` nor `..`.
    pub path: Vec<u8>,
    /// Its permissions: the lower nine bits of `st_mode`.
    pub mode: u16,
    /// The size of a file; None of a folder.
    pub size: Option<u64>,
}

impl Entry {
    fn check(&self) -> Result<(), ResultError> {
        let mut depth = 0;
        let good = |name: &[u8]| {
            let plain = !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
            plain && name.len() <= MAX_NAME
        };
        let names = self.path.split(|byte| *byte == b'/').inspect(|_| depth += 1);
        let good = { names }.all(good);
        if !good || depth > MAX_DEPTH || self.path.len() > MAX_PATH {
            return Err(ResultError::Value("a file has a path that no result has"));
        }
        if self.mode > MODE {
            return Err(ResultError::Value("a file has permissions that no result has"));
        }
        Ok(())
    }
}

/// Writes an entry; of a file its contents are the next bytes.
///
/// # Errors
/// [`ResultError`].
pub fn put<W: Write>(sealer: &mut Sealer<W>, entry: &Entry) -> Result<(), ResultError> {
    entry.check()?;
    // What a reader refuses is not written.
    sealer.entries = sealer.entries.saturating_add(1);
    if sealer.entries > MAX_ENTRIES {
        return Err(ResultError::Value("it has more than a million files"));
    }
    sealer.put(&[if entry.size.is_some() { FILE } else { FOLDER }])?;
    sealer.put(&entry.mode.to_le_bytes())?;
    sealer.put(&u16::try_from(entry.path.len()).unwrap_or(u16::MAX).to_le_bytes())?;
    sealer.put(&entry.path)?;
    entry.size.map_or(Ok(()), |size| sealer.put(&size.to_le_bytes()))
}

/// Ends the list, of a workload that ended so.
///
/// # Errors
/// [`ResultError`].
pub fn end<W: Write>(sealer: &mut Sealer<W>, ending: Ending) -> Result<(), ResultError> {
    sealer.put(&[END, ending.cause.code(), ending.status])
}

/// What comes next in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A file or a folder.
    Entry(Entry),
    /// Nothing more: how the workload ended.
    End(Ending),
}

/// Reads entries.
#[derive(Debug)]
pub struct Entries<R> {
    from: R,
    left: u64,
    count: u64,
}

impl<R: Read> Entries<R> {
    /// Entries of this stream.
    pub const fn new(from: R) -> Self {
        Self { from, left: 0, count: 0 }
    }

    /// The next one, when all of the one before was read; behind the last the end, where the stream
    /// ends, too.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn next_entry(&mut self) -> Result<Next, ResultError> {
        const OF: &str = "its list of files";
        if self.left > 0 {
            return Err(ResultError::Value("a file of it was not read"));
        }
        let [kind] = bytes::<1>(&mut self.from, OF)?;
        if kind == END {
            let [cause, status] = bytes(&mut self.from, OF)?;
            let cause = Cause::from_code(cause)
                .ok_or(ResultError::Value("its workload ended in a way that is not known"))?;
            let end = Next::End(Ending { status, cause });
            return if is_at_end(&mut self.from)? { Ok(end) } else { Err(ResultError::Longer) };
        }
        self.count = self.count.saturating_add(1);
        if self.count > MAX_ENTRIES {
            return Err(ResultError::Value("it has more than a million files"));
        }
        let mode = u16::from_le_bytes(bytes(&mut self.from, OF)?);
        let len = usize::from(u16::from_le_bytes(bytes(&mut self.from, OF)?));
        let mut path = vec![0; len.min(MAX_PATH + 1)];
        exactly(&mut self.from, &mut path, OF)?;
        let size = match kind {
            FOLDER => None,
            FILE => Some(u64::from_le_bytes(bytes(&mut self.from, OF)?)),
            _ => return Err(ResultError::Value("it has an entry of a kind that is not known")),
        };
        let entry = Entry { path, mode, size };
        entry.check()?;
        self.left = size.unwrap_or(0);
        Ok(Next::Entry(entry))
    }

    /// Gives the contents of the file that came last, part by part.
    ///
    /// # Errors
    /// [`ResultError`], and what `keep` says.
    pub fn contents(
        &mut self,
        mut keep: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ResultError> {
        let mut buffer = vec![0; 64 * 1024];
        while self.left > 0 {
            let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..want).unwrap_or_default();
            exactly(&mut self.from, part, "a file of it")?;
            keep(part)?;
            self.left = self.left.saturating_sub(u64::try_from(want).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// The stream, behind the last entry.
    pub fn into_inner(self) -> R {
        self.from
    }
}
