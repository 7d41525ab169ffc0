//! What a driver asks: a length of 16 bits, and so many bytes.

use casemate_device_queue::{GuestMemory, Readable};
use casemate_values::Guest;

/// Bytes that are said back at most.
pub const WORDS: usize = 64;

/// What was said: at most [`WORDS`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    bytes: [u8; WORDS],
    len: usize,
}

impl Said {
    /// The bytes that were said, as many as the driver alleged and the chain had.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Parses a request. The length is what the driver alleges; how many bytes there are is what the
/// chain says, and the two must agree.
pub fn parse<M: GuestMemory>(readable: &mut Readable<'_, M>) -> Option<Said> {
    let len = Guest::new(u16::from_le_bytes(readable.take()?));
    let len = len.at_most(WORDS as u64, "the words of a request").ok()?;
    let len = usize::try_from(len).ok().filter(|len| *len == readable.len() as usize)?;
    let mut bytes = [0; WORDS];
    for byte in bytes.iter_mut().take(len) {
        [*byte] = readable.take()?;
    }
    Some(Said { bytes, len })
}
