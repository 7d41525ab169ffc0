//! What a device process says to whoever watches it: that it is locked, and why it ends.

use casemate_foreign_text::value;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::IoSlice;
use std::os::fd::AsFd;

/// Longest message in bytes: one packet, never more.
pub const MESSAGE_SIZE: usize = 256;
/// Longest reason in bytes: a message but for its first byte.
const REASON: usize = MESSAGE_SIZE - 1;

const LOCKED: u8 = 1;
const ENDED: u8 = 2;
const FAILED: u8 = 3;

/// A message, or what is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromDevice {
    /// Its steady filter is in force.
    Locked,
    /// It ends of itself, and as it should: its front end is gone.
    Ended(String),
    /// It cannot go on: why.
    Failed(String),
}

impl FromDevice {
    /// Its bytes; a reason that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, reason) = match self {
            Self::Locked => (LOCKED, ""),
            Self::Ended(reason) => (ENDED, reason.as_str()),
            Self::Failed(reason) => (FAILED, reason.as_str()),
        };
        let mut end = reason.len().min(REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        [&[kind], reason.get(..end).unwrap_or("").as_bytes()].concat()
    }

    /// The message of a packet; None when it is none. A device process may be an attacker's: what
    /// it says is escaped and bounded.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (kind, reason) = packet.split_first()?;
        if reason.len() > REASON {
            return None;
        }
        let reason = || Some(value(std::str::from_utf8(reason).ok()?).at_most(REASON).to_string());
        match *kind {
            LOCKED if packet.len() == 1 => Some(Self::Locked),
            ENDED => Some(Self::Ended(reason()?)),
            FAILED => Some(Self::Failed(reason()?)),
            _ => None,
        }
    }

    /// Says it. A watcher that is gone, or does not read, hears nothing: the device's front end is
    /// not its business. By sendmsg, which the filter has for answers to the front end anyway.
    pub(crate) fn tell(&self, control: &impl AsFd) {
        let (bytes, flags) = (self.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let mut nothing = SendAncillaryBuffer::default();
        let _ = sendmsg(control, &[IoSlice::new(&bytes)], &mut nothing, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::{FromDevice, MESSAGE_SIZE};
    use proptest::prelude::*;

    #[test]
    fn every_message_survives_the_trip() {
        let reason = || "the front end went".to_owned();
        let all = [FromDevice::Locked, FromDevice::Ended(reason()), FromDevice::Failed(reason())];
        for message in all {
            assert_eq!(FromDevice::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn a_long_reason_is_cut_where_a_character_ends() {
        let packet = FromDevice::Failed("ä".repeat(MESSAGE_SIZE)).encode();
        assert!(packet.len() <= MESSAGE_SIZE);
        let Some(FromDevice::Failed(text)) = FromDevice::decode(&packet) else { panic!() };
        assert!(text.chars().all(|c| c == 'ä') && text.len() > MESSAGE_SIZE / 2, "{text}");
    }

    /// Protects the terminal of who watches a device that an attacker has.
    #[test]
    fn a_reason_steers_no_terminal() {
        let said = FromDevice::decode(b"\x03\x1b]0;title\x07\nline").unwrap();
        let FromDevice::Failed(text) = said else { panic!() };
        assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
    }

    proptest! {
        #[test]
        fn any_packet_is_a_message_or_none(packet in prop::collection::vec(any::<u8>(), 0..300)) {
            let known = FromDevice::decode(&packet).is_some();
            prop_assert!(!known || packet.len() <= MESSAGE_SIZE);
        }
    }
}
