//! `ar` archives, as far as Debian packages are some (deb(5)): members one behind the other, each
//! behind a header of 60 bytes of text, on even offsets.
//!
//! A reader of our own: the format is one header, and what an archive of object files has beside
//! that (tables of symbols and of long names) no package has, so it is refused.

use crate::ImageError;
use std::io::Read;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// A member without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Bytes of its contents.
    pub size: u64,
}

/// Reads members one after the other.
#[derive(Debug)]
pub struct Archive<R> {
    source: R,
    /// Bytes of the present member that were not read yet, and whether one more fills it up.
    left: u64,
    odd: bool,
}

fn wrong(why: &str) -> ImageError {
    ImageError::kernel("the package", why)
}

impl<R: Read> Archive<R> {
    /// The archive in `source`.
    ///
    /// # Errors
    /// [`ImageError`] when it does not begin as one.
    pub fn new(mut source: R) -> Result<Self, ImageError> {
        let mut magic = [0; MAGIC.len()];
        let read = source.read_exact(&mut magic);
        match read {
            Ok(()) if magic == MAGIC => Ok(Self { source, left: 0, odd: false }),
            Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
                Err(ImageError::Compression(e))
            }
            _ => Err(wrong("it is no Debian package: it does not begin as an `ar` archive")),
        }
    }

    /// The next member; None behind the last. Contents that were not read are skipped.
    ///
    /// # Errors
    /// [`ImageError`] for a header that is none, and for an archive that was cut off.
    pub fn next_member(&mut self) -> Result<Option<Member>, ImageError> {
        let skip = self.left + u64::from(self.odd);
        let skipped = std::io::copy(&mut self.source.by_ref().take(skip), &mut std::io::sink())
            .map_err(ImageError::Compression)?;
        // The byte that fills up the last member may be missing, as some writers do.
        if skipped < self.left {
            return Err(wrong("it was cut off within a member"));
        }
        (self.left, self.odd) = (0, false);
        let mut header = Vec::with_capacity(HEADER);
        let read = self.source.by_ref().take(HEADER as u64).read_to_end(&mut header);
        match read.map_err(ImageError::Compression)? {
            0 => return Ok(None),
            HEADER => {}
            _ => return Err(wrong("it was cut off within a header")),
        }
        let member = decode(&header).ok_or_else(|| wrong("it has a header that is none"))?;
        (self.left, self.odd) = (member.size, member.size % 2 == 1);
        Ok(Some(member))
    }

    /// The contents of the member that was read last.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { archive: self }
    }
}

/// Name 16, time 12, user 6, group 6, mode 8, size 10 bytes, each filled up with spaces; then two
/// bytes that are always the same.
fn decode(header: &[u8]) -> Option<Member> {
    let field = |from: usize, to: usize| {
        str::from_utf8(header.get(from..to)?).ok().map(|text| text.trim_end_matches(' '))
    };
    if header.get(58..60)? != b"`\n" {
        return None;
    }
    let name = field(0, 16)?;
    // System V ends names with a slash; those that begin with one, or with `#1/`, are tables and
    // references to them.
    let name = name.strip_suffix('/').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || !name.bytes().all(plain) {
        return None;
    }
    let size = field(48, 58)?;
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Member { name: name.to_owned(), size: size.parse().ok()? })
}

/// The contents of a member: no byte of the next one.
#[derive(Debug)]
pub struct Content<'a, R> {
    archive: &'a mut Archive<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.archive.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..most).filter(|part| !part.is_empty()) else {
            return Ok(0);
        };
        let got = self.archive.source.read(part)?;
        if got == 0 {
            let why = "the package was cut off within a member";
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, why));
        }
        self.archive.left =
            self.archive.left.saturating_sub(u64::try_from(got).unwrap_or(u64::MAX));
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, content: &str) -> String {
        let padding = if content.len() % 2 == 1 { "\n" } else { "" };
        let size = content.len();
        format!("{name:16}{:12}{:6}{:6}{:8}{size:<10}`\n{content}{padding}", 0, 0, 0, 100_644)
    }

    #[test]
    fn members_are_read_in_their_order_whether_or_not_their_contents_are() {
        let bytes = format!("!<arch>\n{}{}", member("debian-binary", "2.0\n"), member("a/", "x"));
        let mut archive = Archive::new(bytes.as_bytes()).unwrap();
        assert_eq!(archive.next_member().unwrap().unwrap().name, "debian-binary");
        let next = archive.next_member().unwrap().unwrap();
        assert_eq!((next.name.as_str(), next.size), ("a", 1));
        let mut content = String::new();
        archive.content().read_to_string(&mut content).unwrap();
        assert_eq!(content, "x");
        assert_eq!(archive.next_member().unwrap(), None);
    }

    #[test]
    fn what_is_cut_off_or_has_a_table_is_refused() {
        let whole = format!("!<arch>\n{}", member("data", "four"));
        let all = |bytes: &[u8]| {
            let mut archive = Archive::new(bytes)?;
            while archive.next_member()?.is_some() {}
            Ok::<_, ImageError>(())
        };
        assert!(all(whole.as_bytes()).is_ok());
        for end in (1..whole.len()).filter(|end| *end != MAGIC.len()) {
            assert!(all(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
        for name in ["//", "/", "#1/20", "", "a b"] {
            assert!(all(format!("!<arch>\n{}", member(name, "four")).as_bytes()).is_err());
        }
        let signed = whole.replacen("4         `", "+4        `", 1);
        assert!(all(signed.as_bytes()).is_err());
    }
}
