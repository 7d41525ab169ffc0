//! Extended headers of pax: records `LENGTH KEY=VALUE`, each with its own length and a line feed.

use std::collections::BTreeMap;

/// What extended headers said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extended {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<i64>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of their names and values: to count anew for each takes quadratic time.
    xattr_bytes: usize,
}

/// How star, GNU tar, Go's archive/tar and bsdtar write extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// The kernel's bounds: `XATTR_NAME_MAX`, `XATTR_SIZE_MAX`; and one of ours for all of a file.
const XATTR_NAME: usize = 255;
const XATTR_SIZE: usize = 64 * 1024;

impl Extended {
    /// Reads the records of one extended header over what is known.
    pub fn read(&mut self, mut records: &[u8]) -> Result<(), &'static str> {
        while !records.is_empty() {
            let (record, rest) = record(records).ok_or("a record of an extended header is none")?;
            records = rest;
            let split = record.iter().position(|byte| *byte == b'=');
            let (key, value) = split
                .and_then(|at| Some((record.get(..at)?, record.get(at + 1..)?)))
                .ok_or("a record of an extended header has no `=`")?;
            self.keep(key, value)?;
        }
        Ok(())
    }

    fn keep(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = |value: &[u8]| {
            let text = std::str::from_utf8(value).map_err(|_| NUMBER)?;
            if text.starts_with('+') { Err(NUMBER) } else { text.parse().map_err(|_| NUMBER) }
        };
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(seconds(value).ok_or(NUMBER)?),
            key if key.starts_with(b"GNU.sparse.") => {
                return Err("a sparse file of GNU tar: write the archive without --sparse");
            }
            key => {
                let Some(name) = key.strip_prefix(XATTR) else { return Ok(()) };
                if name.is_empty() || name.len() > XATTR_NAME || value.len() > XATTR_SIZE {
                    return Err("an extended attribute that is longer than Linux allows");
                }
                let before = self.xattrs.insert(name.to_vec(), value.to_vec());
                let gone = before.map_or(0, |before| name.len() + before.len());
                self.xattr_bytes = self.xattr_bytes + name.len() + value.len() - gone;
                if self.xattr_bytes > XATTR_SIZE {
                    return Err("more than 64 KiB of extended attributes");
                }
            }
        }
        Ok(())
    }

    /// What holds for an entry: its own headers win over the stream's.
    pub fn over(self, global: &Self) -> Self {
        let Self { path, link, size, uid, gid, mtime, xattrs, xattr_bytes } = self;
        let mut all = global.xattrs.clone();
        all.extend(xattrs);
        Self {
            path: path.or_else(|| global.path.clone()),
            link: link.or_else(|| global.link.clone()),
            size: size.or(global.size),
            uid: uid.or(global.uid),
            gid: gid.or(global.gid),
            mtime: mtime.or(global.mtime),
            xattrs: all,
            xattr_bytes,
        }
    }
}

const NUMBER: &str = "a number of an extended header is none";

/// The first record without its length and its line feed, and what follows.
fn record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = records.iter().take(8).position(|byte| *byte == b' ')?;
    let digits = std::str::from_utf8(records.get(..blank)?).ok()?;
    let len: usize = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
    let (whole, rest) = records.split_at_checked(len)?;
    let record = whole.get(blank + 1..)?.strip_suffix(b"\n")?;
    Some((record, rest))
}

/// Seconds of a time with a fraction, which is dropped, towards the past.
fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.starts_with('+') || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|b| b != b'0');
    if below { seconds.checked_sub(1) } else { Some(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_any_bytes_in_their_values() {
        let mut extended = Extended::default();
        extended.read(b"12 path=a\n=\n20 mtime=1700000000.5\n").unwrap_err();
        let mut extended = Extended::default();
        extended
            .read(b"12 path=a\n=\n22 mtime=1700000000.5\n29 SCHILY.xattr.user.a=\0\n\xff..\n")
            .unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a\n="[..]));
        assert_eq!(extended.mtime, Some(1_700_000_000));
        assert_eq!(extended.xattrs[&b"user.a"[..]], b"\0\n\xff..");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for wrong in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"6 a=bc\n",
            b"0 \n",
            b"7 abcd\n",
            b"+6 a=b\n",
            b"9999999999 a=b\n",
        ] {
            assert!(Extended::default().read(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            (seconds(b"-1.5"), seconds(b"-1.0"), seconds(b"1e3")),
            (Some(-2), Some(-1), None)
        );
    }
}
