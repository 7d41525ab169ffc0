//! One header block of an entry, in any of the forms that tar had.

use super::pax::Extended;
use super::{Entry, EntryKind};
use crate::path::PATH_MAX;
use crate::tree::Meta;

/// Bytes of a block.
pub const BLOCK: usize = 512;

/// A header whose checksum holds.
#[derive(Debug)]
pub struct Header {
    path: Vec<u8>,
    link: Vec<u8>,
    mode: u64,
    uid: u64,
    gid: u64,
    mtime: i64,
    device: (u64, u64),
    pub size: u64,
    pub kind: u8,
}

/// Offsets and lengths of IEEE Std 1003.1, "ustar Header Block".
struct Field(usize, usize);
const NAME: Field = Field(0, 100);
const MODE: Field = Field(100, 8);
const UID: Field = Field(108, 8);
const GID: Field = Field(116, 8);
const SIZE: Field = Field(124, 12);
const MTIME: Field = Field(136, 12);
const CHECKSUM: Field = Field(148, 8);
const TYPE: usize = 156;
const LINK: Field = Field(157, 100);
const MAGIC: Field = Field(257, 8);
const MAJOR: Field = Field(329, 8);
const MINOR: Field = Field(337, 8);
const PREFIX: Field = Field(345, 155);

impl Field {
    fn of<'b>(&self, block: &'b [u8; BLOCK]) -> &'b [u8] {
        block.get(self.0..self.0 + self.1).unwrap_or_default()
    }

    fn text(&self, block: &[u8; BLOCK]) -> Vec<u8> {
        let bytes = self.of(block);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.get(..end).unwrap_or_default().to_vec()
    }

    fn number(&self, block: &[u8; BLOCK]) -> Result<u64, &'static str> {
        u64::try_from(number(self.of(block))?).map_err(|_| "a number below zero")
    }
}

impl Header {
    /// Decodes a block; None for one of zeros, which ends the stream.
    pub fn decode(block: &[u8; BLOCK]) -> Result<Option<Self>, &'static str> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum of all bytes, with blanks in place of the sum itself.
        let blank = CHECKSUM.0..CHECKSUM.0 + CHECKSUM.1;
        let byte = |(at, byte): (usize, &u8)| if blank.contains(&at) { b' ' } else { *byte };
        let sum: u64 = block.iter().enumerate().map(byte).map(u64::from).sum();
        if CHECKSUM.number(block) != Ok(sum) {
            return Err("no tar header: its checksum is wrong");
        }
        let magic = MAGIC.of(block);
        let posix = magic.starts_with(b"ustar\0");
        let gnu = magic == b"ustar  \0";
        let mut path = NAME.text(block);
        // GNU has other things where POSIX has the beginning of a long path.
        let prefix = if posix { PREFIX.text(block) } else { Vec::new() };
        if !prefix.is_empty() {
            path = [&prefix[..], b"/", &path].concat();
        }
        let device =
            if posix || gnu { (MAJOR.number(block)?, MINOR.number(block)?) } else { (0, 0) };
        Ok(Some(Self {
            path,
            link: LINK.text(block),
            mode: MODE.number(block)?,
            uid: UID.number(block)?,
            gid: GID.number(block)?,
            mtime: number(MTIME.of(block))?,
            device,
            size: SIZE.number(block)?,
            kind: block.get(TYPE).copied().unwrap_or(0),
        }))
    }

    /// The entry that this header and what was said before it describe.
    pub fn entry(self, global: &Extended, local: Extended) -> Result<Entry, &'static str> {
        let extended = local.over(global);
        let path = extended.path.unwrap_or(self.path);
        let link = extended.link.unwrap_or(self.link);
        if path.len() > PATH_MAX || link.len() > PATH_MAX {
            return Err("a path of more than 4095 bytes");
        }
        let size = extended.size.unwrap_or(self.size);
        let device = || -> Result<(u32, u32), &'static str> {
            // The kernel's own widths (include/linux/kdev_t.h): 12 and 20 bits.
            let (major, minor) = self.device;
            let fits = major < 1 << 12 && minor < 1 << 20;
            let number = |n: u64| u32::try_from(n).map_err(|_| "device numbers that are none");
            if fits {
                Ok((number(major)?, number(minor)?))
            } else {
                Err("device numbers that are none")
            }
        };
        let kind = match self.kind {
            // Before POSIX, folders were files whose name ends with a slash. What such a folder
            // "contains" some readers skip and others read as entries.
            0 | b'0' if path.ends_with(b"/") && size == 0 => EntryKind::Directory,
            0 | b'0' if path.ends_with(b"/") => {
                return Err("a file with a folder's name: readers disagree about what it is");
            }
            0 | b'0' | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => {
                let (major, minor) = device()?;
                EntryKind::CharDevice { major, minor }
            }
            b'4' => {
                let (major, minor) = device()?;
                EntryKind::BlockDevice { major, minor }
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => return Err("a sparse file of GNU tar: write the archive without --sparse"),
            _ => return Err("an entry of a type that is not known"),
        };
        let id = |extended: Option<u64>, header: u64| {
            u32::try_from(extended.unwrap_or(header))
                .map_err(|_| "an owner that is no 32-bit number")
        };
        let meta = Meta {
            mode: u16::try_from(self.mode & 0o7777).unwrap_or(0),
            uid: id(extended.uid, self.uid)?,
            gid: id(extended.gid, self.gid)?,
            mtime: extended.mtime.unwrap_or(self.mtime),
            xattrs: extended.xattrs,
        };
        // Only files have contents: others' sizes mean nothing, and writers disagree about them.
        let size = if kind == EntryKind::File { size } else { 0 };
        Ok(Entry { path, kind, meta, size })
    }
}

/// A number: octal digits between blanks and zeros, or, where the first bit is set, GNU's 256-based
/// one of two's complement.
fn number(field: &[u8]) -> Result<i64, &'static str> {
    const WRONG: &str = "a number that is none";
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            // The bit that marks the form is not one of the number; the next one is its sign.
            let start = if first & 0x40 != 0 {
                i128::from(first | 0x80) - 256
            } else {
                i128::from(first & 0x3f)
            };
            let value = rest.iter().try_fold(start, |value, byte| {
                value.checked_mul(256)?.checked_add(i128::from(*byte))
            });
            value.and_then(|value| i64::try_from(value).ok()).ok_or(WRONG)
        }
        _ => {
            let blank = |byte: &u8| matches!(byte, b' ' | 0);
            let digits = field.iter().skip_while(|byte| blank(byte));
            let mut value = 0_i64;
            let mut ended = false;
            for byte in digits {
                match byte {
                    b'0'..=b'7' if !ended => {
                        let digit = i64::from(byte - b'0');
                        value =
                            value.checked_mul(8).and_then(|v| v.checked_add(digit)).ok_or(WRONG)?;
                    }
                    byte if blank(byte) => ended = true,
                    _ => return Err(WRONG),
                }
            }
            Ok(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_of_both_forms_are_read_and_others_refused() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert_eq!(number(&[0xff; 12]), Ok(-1));
        for wrong in [&b"000 644\0"[..], b"0000648\0", b"-000644\0", b"0x00644\0"] {
            assert!(number(wrong).is_err(), "{wrong:?}");
        }
        assert!(number(&[0x80, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
    }
}
