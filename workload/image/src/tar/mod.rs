//! Entries of a tar stream: POSIX ustar and pax (IEEE Std 1003.1, `pax`), GNU's long names and
//! large numbers, and what was there before both.
//!
//! A reader of our own, with bounds: a header that claims a name of a gigabyte is an error here,
//! not a gigabyte. What no layer has and what readers disagree about (sparse files, volumes, types
//! that nobody knows) is refused, so that an image never depends on a guess.

mod header;
mod pax;

use crate::ImageError;
use crate::tree::Meta;
use header::{BLOCK, Header};
use pax::Extended;
use std::io::Read;

/// Longest extended header, in bytes: names, and attributes of 64 KiB.
const MAX_EXTENDED: u64 = 1 << 20;
/// Longest stream, in bytes: what the files of an image may have, and as much again as a header of
/// many blocks for each of a million of them. Without a bound an endless stream would be read for
/// ever, since entries that remove something need no room.
const MAX_STREAM: u64 = 80 << 30;
/// Headers that say more about the next one, at most in a row.
const MAX_IN_A_ROW: u32 = 8;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder, which the stream may also leave out.
    Directory,
    /// A regular file, whose contents follow.
    File,
    /// A further name of the file at this path.
    HardLink(Vec<u8>),
    /// A symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// A character device, which is kept as what it is and never opened.
    CharDevice {
        /// The number of its driver.
        major: u32,
        /// Which device of that driver.
        minor: u32,
    },
    /// A block device, which is kept as what it is and never opened.
    BlockDevice {
        /// The number of its driver.
        major: u32,
        /// Which device of that driver.
        minor: u32,
    },
    /// A named pipe, without what is in it.
    Fifo,
}

/// An entry without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as the stream has it.
    pub path: Vec<u8>,
    /// What kind of file it is, and what that kind has.
    pub kind: EntryKind,
    /// Owner, permissions and the rest.
    pub meta: Meta,
    /// Bytes of its contents; zero for all but regular files.
    pub size: u64,
}

/// Reads entries one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Bytes read so far.
    at: u64,
    /// Bytes of the present entry's contents, and of the zeros behind them, that were not read yet.
    content: u64,
    padding: u64,
    global: Extended,
    end_mark: EndMark,
    most: u64,
}

/// Whether a stream may end without the blocks of zeros that end one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndMark {
    /// It must have them: without them something is missing, and what is left would look like a
    /// whole image.
    Needed,
    /// It may end behind its last byte of contents: somebody compares its digest, so nothing is
    /// missing. Some versions of `umoci` write such layers.
    Optional,
}

impl<R: Read> Reader<R> {
    /// Entries of this stream, which is not compressed.
    pub fn new(source: R, end_mark: EndMark) -> Self {
        let global = Extended::default();
        Self { source, at: 0, content: 0, padding: 0, global, end_mark, most: MAX_STREAM }
    }

    /// The same for a stream that may have at most so many bytes.
    #[must_use]
    pub fn within(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// The next entry; None behind the last. Contents that were not read are skipped.
    ///
    /// # Errors
    /// [`ImageError::Tar`] with the offset of the header; [`ImageError::Compression`] where the
    /// stream below cannot be read.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ImageError> {
        if !self.skip_rest()? {
            return Ok(None);
        }
        let mut local = Extended::default();
        for _ in 0..=MAX_IN_A_ROW {
            let at = self.at;
            let wrong = move |why| ImageError::Tar { at, why };
            let mut block = [0; BLOCK];
            if !self.fill(&mut block)? {
                if self.end_mark == EndMark::Optional && local == Extended::default() {
                    return Ok(None);
                }
                return Err(wrong("the stream ends without its end mark: it was cut off"));
            }
            let Some(header) = Header::decode(&block).map_err(wrong)? else {
                return self.end(&block);
            };
            match header.kind {
                b'x' => {
                    let bytes = self.extension(header.size, at)?;
                    local.read(&bytes).map_err(wrong)?;
                }
                b'g' => {
                    let bytes = self.extension(header.size, at)?;
                    self.global.read(&bytes).map_err(wrong)?;
                    if !self.global.xattrs.is_empty() {
                        return Err(wrong("extended attributes for every file of the stream"));
                    }
                }
                b'L' => local.path = Some(until_zero(self.extension(header.size, at)?)),
                b'K' => local.link = Some(until_zero(self.extension(header.size, at)?)),
                _ => {
                    let entry = header.entry(&self.global, local).map_err(wrong)?;
                    self.expect(entry.size, at)?;
                    return Ok(Some(entry));
                }
            }
        }
        Err(ImageError::Tar { at: self.at, why: "extended headers without an entry" })
    }

    /// A block of zeros was read: the end, which is two of them (`zeros` has room for the second).
    /// Entries behind a single one some readers take and others do not.
    fn end(&mut self, zeros: &[u8; BLOCK]) -> Result<Option<Entry>, ImageError> {
        let mut second = *zeros;
        let at = self.at;
        if self.fill(&mut second)? && second != *zeros {
            let why = "a lone block of zeros: what follows it is an entry to some readers only";
            return Err(ImageError::Tar { at, why });
        }
        Ok(None)
    }

    /// The contents of the entry that was read last.
    pub fn content(&mut self) -> Contents<'_, R> {
        Contents { reader: self }
    }

    /// The stream, behind what was read of it.
    pub fn into_source(self) -> R {
        self.source
    }

    /// Contents of this size follow the header at `header`.
    fn expect(&mut self, size: u64, header: u64) -> Result<(), ImageError> {
        let none = ImageError::Tar { at: header, why: "the size is no size" };
        let whole = size.checked_next_multiple_of(BLOCK as u64).ok_or(none)?;
        self.bound(self.at.saturating_add(whole))?;
        self.content = size;
        self.padding = whole.saturating_sub(size);
        Ok(())
    }

    fn bound(&self, end: u64) -> Result<(), ImageError> {
        if end > self.most {
            return Err(ImageError::Limit { limit: self.most, of: "bytes in a tar stream" });
        }
        Ok(())
    }

    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, ImageError> {
        let wrong = |why| ImageError::Tar { at, why };
        if size > MAX_EXTENDED {
            return Err(wrong("an extended header of more than 1 MiB"));
        }
        self.expect(size, at)?;
        let mut bytes = Vec::new();
        self.content().read_to_end(&mut bytes).map_err(ImageError::Compression)?;
        self.skip_rest()?;
        Ok(bytes)
    }

    /// Skips what was not read of an entry; false where the stream ends within the zeros behind it
    /// and may.
    fn skip_rest(&mut self) -> Result<bool, ImageError> {
        let mut left = self.content.saturating_add(self.padding);
        let mut padding = self.padding;
        (self.content, self.padding) = (0, 0);
        let mut buffer = [0; 8 * BLOCK];
        while left > 0 {
            // The zeros are read apart, so that it is known which of both the end is in.
            let want = if left > padding { left - padding } else { left };
            let want = usize::try_from(want).unwrap_or(buffer.len()).min(buffer.len());
            let part = buffer.get_mut(..want).unwrap_or_default();
            if !self.fill(part)? {
                if left <= padding && self.end_mark == EndMark::Optional {
                    return Ok(false);
                }
                let why = "the stream ends within an entry: it was cut off";
                return Err(ImageError::Tar { at: self.at, why });
            }
            left -= crate::bytes::len(part);
            padding = padding.min(left);
        }
        Ok(true)
    }

    /// Fills `buffer`; false where the stream ends before its first byte.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, ImageError> {
        self.bound(self.at)?;
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => {
                    let why = "the stream ends within a block: it was cut off";
                    return Err(ImageError::Tar { at: self.at, why });
                }
                Ok(got) => {
                    filled += got;
                    self.at = self.at.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(ImageError::Compression(e)),
            }
        }
        Ok(true)
    }
}

/// GNU's long names end with a zero.
fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// The contents of an entry: no byte of the next one.
#[derive(Debug)]
pub struct Contents<'r, R> {
    reader: &'r mut Reader<R>,
}

impl<R: Read> Read for Contents<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let reader = &mut *self.reader;
        let most = usize::try_from(reader.content).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..most).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let got = reader.source.read(part)?;
        if got == 0 {
            let why = "the stream ends within a file: it was cut off";
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why));
        }
        let read = u64::try_from(got).unwrap_or(u64::MAX);
        reader.content = reader.content.saturating_sub(read);
        reader.at = reader.at.saturating_add(read);
        Ok(got)
    }
}
