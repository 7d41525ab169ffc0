//! The packets between a parent and its child, for who fuzzes their decoders.

use super::start::Start;
use super::wire::Message;

/// What bytes are as a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// It is no packet of ours.
    Nonsense,
    /// A child's report or failure.
    FromChild,
    /// What a parent sends an image at its start.
    ToImage,
}

/// Decodes bytes as a packet from a child, then as one to an image. Where one decodes, encoding
/// gives a packet that means the same, and for a start the same bytes; a broken promise panics.
///
/// # Panics
/// When a decoder breaks that promise.
#[must_use]
#[allow(clippy::panic, reason = "the oracle of a fuzz target")]
pub fn decode_packet(bytes: &[u8]) -> Packet {
    if let Some(message) = Message::decode(bytes) {
        // Texts were made fit to print, so the bytes can differ; once fit, they stay.
        let again = Message::decode(&message.encode());
        assert!(again.is_some(), "{message:?} does not survive");
        return Packet::FromChild;
    }
    match Start::decode(bytes) {
        Some((start, ids)) => {
            assert!(start.encode(ids) == bytes, "{start:?} has two spellings");
            Packet::ToImage
        }
        None => Packet::Nonsense,
    }
}
