//! What a keeper says to its supervisor, one message a packet.

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::os::fd::AsFd;

/// Longest text, in bytes.
const LONGEST: usize = 2048;
/// Longest packet, in bytes.
pub const MAX_WORD: usize = 2 + LONGEST;

/// What a keeper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It is locked, and answers. What was found behind the last change of the store, and of the
    /// decision log, that anybody was told of.
    Ready {
        /// Changes of the store that were kept.
        untold: u64,
        /// Bytes of an unfinished change that were removed.
        dropped: u64,
        /// Bytes of a torn last line of the log that were removed.
        torn: u64,
    },
    /// It goes on, and something failed that its operator has to know.
    Trouble(String),
    /// It cannot go on.
    Failed {
        /// Whether what the user named is at fault; else the system is.
        bad_input: bool,
        /// Why.
        why: String,
    },
}

const READY: u8 = 1;
const TROUBLE: u8 = 2;
const FAILED: u8 = 3;

fn cut(text: &str) -> &[u8] {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default().as_bytes()
}

impl Word {
    /// The packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ready { untold, dropped, torn } => {
                let numbers = [untold, dropped, torn].map(|number| number.to_le_bytes());
                [&[READY], numbers.as_flattened()].concat()
            }
            Self::Trouble(text) => [&[TROUBLE], cut(text)].concat(),
            Self::Failed { bad_input, why } => [&[FAILED, u8::from(*bad_input)], cut(why)].concat(),
        }
    }

    /// The message in a packet.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        match packet {
            [READY, numbers @ ..] => {
                let (numbers, []) = numbers.as_chunks::<8>() else { return None };
                let [untold, dropped, torn] = <[[u8; 8]; 3]>::try_from(numbers).ok()?;
                let [untold, dropped, torn] = [untold, dropped, torn].map(u64::from_le_bytes);
                Some(Self::Ready { untold, dropped, torn })
            }
            [TROUBLE, rest @ ..] => Some(Self::Trouble(text(rest)?)),
            [FAILED, flag @ 0..=1, rest @ ..] => {
                Some(Self::Failed { bad_input: *flag == 1, why: text(rest)? })
            }
            _ => None,
        }
    }

    /// Says it. A supervisor that is gone hears nothing; one that does not listen is waited for
    /// only where `waits`.
    pub(crate) fn tell(&self, control: &impl AsFd, waits: bool) -> bool {
        let more = if waits { SendFlags::empty() } else { SendFlags::DONTWAIT };
        let packet = self.encode();
        loop {
            match send(control, &packet, SendFlags::NOSIGNAL | more) {
                Err(Errno::INTR) => {}
                sent => return sent.is_ok(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WORD, Word};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes in prop::collection::vec(0_u8..5, 0..40)) {
            if let Some(word) = Word::decode(&bytes) {
                prop_assert_eq!(word.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_still_a_text() {
        for word in [
            Word::Trouble("ä".repeat(3000)),
            Word::Failed { bad_input: true, why: "ä".repeat(3000) },
        ] {
            let packet = word.encode();
            assert!(packet.len() <= MAX_WORD);
            assert!(Word::decode(&packet).is_some());
        }
        let ready = Word::Ready { untold: 1, dropped: u64::MAX, torn: 3 };
        assert_eq!(Word::decode(&ready.encode()), Some(ready));
    }
}
