//! Where a request's head ends, and that it is made of lines.
//!
//! Looked at byte by byte, as they come, so that what is refused is refused at the same byte in
//! whatever pieces a request comes. It is stricter than the standard, which lets a line end with a
//! lone LF (RFC 9112, section 2.2): where two who read a connection differ about its lines, one of
//! them finds a request that the other did not.

use super::refusal::Refusal;

/// Longest head: request line, headers, the empty line, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;
/// Longest request line, its end included, in bytes: method, path and version.
pub const MAX_LINE: usize =
    casemate_relay::MAX_METHOD + 1 + casemate_relay::MAX_PATH + " HTTP/1.1\r\n".len();

/// How far a head was looked at.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Lines {
    /// Bytes that were looked at.
    seen: usize,
    /// Whether the request line has ended.
    has_line: bool,
}

impl Lines {
    /// Looks at what came since; the length of the head once it is there.
    pub(crate) fn look(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.seen) {
            let before = bytes.get(..self.seen).unwrap_or_default();
            self.check(before, byte)?;
            self.seen += 1;
            if byte == b'\n' {
                if before.ends_with(b"\r\n\r") {
                    return Ok(Some(self.seen));
                }
                self.has_line = true;
            }
        }
        Ok(None)
    }

    fn check(&self, before: &[u8], byte: u8) -> Result<(), Refusal> {
        if self.seen >= MAX_HEAD {
            return Err(Refusal::new(431, "the request's headers are longer than 16 KiB"));
        }
        if !self.has_line && self.seen >= MAX_LINE {
            return Err(Refusal::new(414, "the request's first line is too long"));
        }
        let after_cr = before.last() == Some(&b'\r');
        if (byte == b'\n') != after_cr {
            return Err(Refusal::new(400, "a line that does not end with CR LF"));
        }
        if byte == b'\n' && self.seen == 1 {
            return Err(Refusal::new(400, "an empty line where a request begins"));
        }
        if byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n') {
            return Err(Refusal::new(400, "a control character in the request's headers"));
        }
        Ok(())
    }
}
