//! What the front says to its supervisor, as packets over a socket of its own (SEQPACKET).

use casemate_foreign_text::value;

/// Longest packet, in bytes.
pub const MAX_WORD: usize = 512;
/// Longest reason in it.
const REASON: usize = MAX_WORD - 1;

const LOCKED: u8 = 1;
const ENDED: u8 = 2;
const FAILED: u8 = 3;

/// A word, or what is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Its filter is in force, and it serves.
    Locked,
    /// It ends of itself, and as it should: why.
    Ended(String),
    /// It cannot go on: why.
    Failed(String),
}

impl Word {
    /// Its packet; a reason that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, reason) = match self {
            Self::Locked => (LOCKED, ""),
            Self::Ended(reason) => (ENDED, reason.as_str()),
            Self::Failed(reason) => (FAILED, reason.as_str()),
        };
        let end = reason.floor_char_boundary(REASON);
        [&[kind], reason.get(..end).unwrap_or("").as_bytes()].concat()
    }

    /// The word of a packet; None when it is none. The process that says it may be an attacker's:
    /// what it says is escaped and bounded.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (kind, reason) = packet.split_first().filter(|_| packet.len() <= MAX_WORD)?;
        let text = || Some(value(std::str::from_utf8(reason).ok()?).at_most(REASON).to_string());
        match *kind {
            LOCKED if reason.is_empty() => Some(Self::Locked),
            ENDED => Some(Self::Ended(text()?)),
            FAILED => Some(Self::Failed(text()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WORD, Word};

    #[test]
    fn every_word_survives_the_trip_and_a_long_reason_is_cut_where_a_character_ends() {
        for word in [Word::Locked, Word::Ended("asked to".into()), Word::Failed("no".into())] {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        let packet = Word::Failed("ä".repeat(MAX_WORD)).encode();
        assert!(packet.len() <= MAX_WORD && packet.len() > MAX_WORD - 3);
        assert!(matches!(Word::decode(&packet), Some(Word::Failed(_))));
        for wrong in [&b""[..], b"\x00", b"\x01x", b"\x04", b"\x02\xff", &[2; MAX_WORD + 1]] {
            assert_eq!(Word::decode(wrong), None);
        }
    }

    /// Protects the terminal of who watches a process that an attacker has.
    #[test]
    fn a_reason_steers_no_terminal() {
        let said = Word::decode(b"\x03\x1b]0;title\x07\nline").unwrap();
        let Word::Failed(text) = said else { panic!() };
        assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
    }
}
