//! The form of every message: how its fields lie in a packet.

use casemate_values::Shown;

/// Bytes of every message.
pub const MESSAGE_SIZE: usize = 256;
/// Bytes before its words or text.
pub(super) const HEAD: usize = 8;
const _: () = assert!(HEAD + 8 * crate::exits::EXITS.len() <= MESSAGE_SIZE, "counts fit");

/// A packet is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other process sent a message that makes no sense (kind {kind}, {len} bytes)")]
pub struct BadMessage {
    kind: u8,
    len: usize,
}

impl BadMessage {
    pub(in crate::vm) fn of(packet: &[u8]) -> Self {
        Self { kind: packet.first().copied().unwrap_or(0), len: packet.len() }
    }
}

/// Layout: kind u8, subkind u8, two bytes of padding, a u32, then three u64 (or text).
/// Little-endian.
pub(super) struct Fields {
    pub(super) kind: u8,
    pub(super) sub: u8,
    pub(super) small: u32,
    pub(super) words: [u64; 3],
}

impl Fields {
    pub(super) const fn new(kind: u8, sub: u8) -> Self {
        Self { kind, sub, small: 0, words: [0; 3] }
    }
    pub(super) const fn small(mut self, small: u32) -> Self {
        self.small = small;
        self
    }
    pub(super) const fn words(mut self, first: u64, second: u64) -> Self {
        self.words = [first, second, 0];
        self
    }

    pub(super) fn encode(&self) -> [u8; MESSAGE_SIZE] {
        let mut bytes = [0; MESSAGE_SIZE];
        let fields = [self.kind, self.sub, 0, 0]
            .into_iter()
            .chain(self.small.to_le_bytes())
            .chain(self.words.into_iter().flat_map(u64::to_le_bytes));
        for (to, byte) in bytes.iter_mut().zip(fields) {
            *to = byte;
        }
        bytes
    }

    /// The same with other contents than words, as many as fit.
    pub(super) fn encode_with(&self, contents: impl Iterator<Item = u8>) -> [u8; MESSAGE_SIZE] {
        let mut bytes = self.encode();
        for (to, byte) in bytes.iter_mut().skip(HEAD).zip(contents) {
            *to = byte;
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8; MESSAGE_SIZE]) -> Self {
        let [kind, sub, _, _, a, b, c, d, ..] = *bytes;
        let small = u32::from_le_bytes([a, b, c, d]);
        Self { kind, sub, small, words: words(bytes) }
    }
}

/// The first words behind a message's head.
pub(super) fn words<const N: usize>(bytes: &[u8; MESSAGE_SIZE]) -> [u64; N] {
    let chunks = bytes.get(HEAD..).unwrap_or(&[]).chunks_exact(8);
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = chunk.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    }
    words
}

/// A guest's number as a word of a message.
pub(super) const fn word(shown: Shown) -> u64 {
    u64::from_le_bytes(shown.to_message())
}

/// The reverse of [`word`].
pub(super) const fn shown(word: u64) -> Shown {
    Shown::from_message(word.to_le_bytes())
}
