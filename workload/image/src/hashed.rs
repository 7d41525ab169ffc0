//! Bytes that are hashed while they are read.

use ring::digest::{Context, SHA256, digest};
use std::io::Read;

/// A SHA-256, by which OCI names everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_ring(&digest(&SHA256, bytes))
    }

    /// The digest that a text such as `sha256:e3b0…` names; None for one of another kind. Only
    /// lower case is one (OCI, descriptor.md): a second spelling would be a second name.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64)?;
        let mut bytes = [0; 32];
        for (to, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *to = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(bytes))
    }

    /// The 32 bytes of it.
    pub const fn bytes(self) -> [u8; 32] {
        self.0
    }

    fn from_ring(digest: &ring::digest::Digest) -> Self {
        Self(digest.as_ref().first_chunk().copied().unwrap_or([0; 32]))
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A reader that knows the digest and the number of what came through it.
pub struct Hashed<R> {
    source: R,
    context: Context,
    len: u64,
}

impl<R: Read> Hashed<R> {
    pub fn new(source: R) -> Self {
        Self { source, context: Context::new(&SHA256), len: 0 }
    }

    /// Reads what is left, and compares.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn finish(&mut self, expected: Digest, size: u64) -> Result<(), String> {
        self.drain(size.saturating_sub(self.len).saturating_add(1))?;
        if self.len != size {
            return Err(format!("it has another size than {size} bytes"));
        }
        self.is(expected)
            .then_some(())
            .ok_or_else(|| "its bytes are not those of its digest".into())
    }

    /// The same without a size: reads at most `most` bytes more.
    ///
    /// # Errors
    /// As [`Hashed::finish`].
    pub fn finish_within(&mut self, expected: Digest, most: u64) -> Result<(), String> {
        let right = self.digest_within(most)? == expected;
        right
            .then_some(())
            .ok_or_else(|| "uncompressed, it is not what the configuration lists".into())
    }

    /// Reads what is left, at most `most` bytes more, and gives the digest of all of it.
    ///
    /// # Errors
    /// As [`Hashed::finish`].
    pub fn digest_within(&mut self, most: u64) -> Result<Digest, String> {
        let end = self.len.saturating_add(most);
        self.drain(most.saturating_add(1))?;
        if self.len > end {
            return Err("too much follows its end".into());
        }
        Ok(Digest::from_ring(&self.context.clone().finish()))
    }

    fn is(&self, expected: Digest) -> bool {
        Digest::from_ring(&self.context.clone().finish()) == expected
    }

    fn drain(&mut self, most: u64) -> Result<(), String> {
        let drained = std::io::copy(&mut self.by_ref().take(most), &mut std::io::sink());
        drained.map(|_| ()).map_err(|e| casemate_foreign_text::line(&e.to_string()).to_string())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.source.read(buffer)?;
        let bytes = buffer.get(..got).unwrap_or_default();
        self.context.update(bytes);
        self.len = self.len.saturating_add(crate::bytes::len(bytes));
        Ok(got)
    }
}
