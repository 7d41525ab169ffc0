//! What a recorder and its supervisor say to each other, one message per packet.
//!
//! A record travels as the line that a log would have of it, so that there is one form and one
//! reader; number, time and hash in it mean nothing. What a vmm process reports is a few numbers.
//! Neither side trusts the other's bytes: what does not decode whole is an error of the peer.

use crate::vm::protocol::{BadMessage, Denied, rule_number};
use casemate_foreign_text::line;
use casemate_policy::RuntimeRule;
use casemate_policy::log::{DecisionRecord, DenialsRecord, Entry, MAX_LINE, Record};

/// Longest packet to a recorder: its kind and a line.
pub const LONGEST: usize = 1 + MAX_LINE;
/// Longest packet of a recorder.
pub const LONGEST_ANSWER: usize = 2 + LONGEST_TEXT;
/// Longest reason for a failure, in bytes.
const LONGEST_TEXT: usize = 4094;

/// What a supervisor asks of a recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToRecorder {
    /// Log this decision. Answered by [`FromRecorder::Done`].
    Decision(DecisionRecord),
    /// What denials by a rule will be written as, should there be some. Answered.
    MayBeDenied(DenialsRecord),
    /// All is decided: let others have the log. Answered.
    Release,
    /// The running guest was denied something.
    Denied(Denied),
    /// The VM has ended: write what is left, and end.
    End,
}

/// What a recorder says to its supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromRecorder {
    /// The log is vouched for and open. So many bytes of a torn last line were removed.
    Opened {
        /// Bytes of a torn last line that were removed.
        dropped: u64,
    },
    /// What was asked for is done, and in the log.
    Done,
    /// It is not; the process ends.
    Failed {
        /// Whether what the user named is at fault; else the system is.
        bad_input: bool,
        /// Why, as people read it.
        text: String,
    },
}

mod kind {
    pub(super) const DECISION: u8 = 1;
    pub(super) const MAY_BE_DENIED: u8 = 2;
    pub(super) const RELEASE: u8 = 3;
    pub(super) const DENIED: u8 = 4;
    pub(super) const END: u8 = 5;
    pub(super) const OPENED: u8 = 65;
    pub(super) const DONE: u8 = 66;
    pub(super) const FAILED: u8 = 67;
}

fn with_line(kind: u8, entry: Entry) -> Vec<u8> {
    let (line, _) = Record { seq: 0, time: 0, prev: [0; 32], entry }.line();
    [&[kind], line.as_bytes()].concat()
}

impl ToRecorder {
    /// The packet for this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Decision(record) => with_line(kind::DECISION, Entry::Decision(record.clone())),
            Self::MayBeDenied(record) => {
                with_line(kind::MAY_BE_DENIED, Entry::Denials(record.clone()))
            }
            Self::Release => vec![kind::RELEASE],
            Self::Denied(Denied { rule, times, pages }) => [
                &[kind::DENIED, rule_number(*rule)][..],
                &times.to_le_bytes(),
                &pages.to_le_bytes(),
            ]
            .concat(),
            Self::End => vec![kind::END],
        }
    }

    /// The message in a packet.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn decode(packet: &[u8]) -> Result<Self, BadMessage> {
        let message = match packet {
            [kind::DECISION, line @ ..] => match entry(line) {
                Some(Entry::Decision(record)) => Some(Self::Decision(record)),
                _ => None,
            },
            [kind::MAY_BE_DENIED, line @ ..] => match entry(line) {
                Some(Entry::Denials(record)) => Some(Self::MayBeDenied(record)),
                _ => None,
            },
            [kind::RELEASE] => Some(Self::Release),
            [kind::DENIED, rule, numbers @ ..] => denied(*rule, numbers).map(Self::Denied),
            [kind::END] => Some(Self::End),
            _ => None,
        };
        message.ok_or_else(|| BadMessage::of(packet))
    }
}

fn entry(line: &[u8]) -> Option<Entry> {
    let (record, _) = Record::parse(line).ok()?;
    let is_bare = record.seq == 0 && record.time == 0 && record.prev == [0; 32];
    is_bare.then_some(record.entry)
}

fn denied(rule: u8, numbers: &[u8]) -> Option<Denied> {
    let rule = RuntimeRule::ALL.into_iter().find(|known| rule_number(*known) == rule)?;
    let (numbers, []) = numbers.as_chunks() else { return None };
    let [times, pages] = *numbers else { return None };
    Some(Denied { rule, times: u64::from_le_bytes(times), pages: u64::from_le_bytes(pages) })
}

impl FromRecorder {
    /// The packet for this message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Opened { dropped } => [&[kind::OPENED], &dropped.to_le_bytes()[..]].concat(),
            Self::Done => vec![kind::DONE],
            Self::Failed { bad_input, text } => {
                let mut end = text.len().min(LONGEST_TEXT);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                let text = text.get(..end).unwrap_or_default();
                [&[kind::FAILED, u8::from(*bad_input)], text.as_bytes()].concat()
            }
        }
    }

    /// The message in a packet. The text of a failure is made fit to stand in a line of ours.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn decode(packet: &[u8]) -> Result<Self, BadMessage> {
        let message = match packet {
            [kind::OPENED, dropped @ ..] => {
                let dropped = dropped.try_into().ok().map(u64::from_le_bytes);
                dropped.map(|dropped| Self::Opened { dropped })
            }
            [kind::DONE] => Some(Self::Done),
            [kind::FAILED, bad @ 0..=1, text @ ..] if packet.len() <= LONGEST_ANSWER => {
                let text = std::str::from_utf8(text).ok();
                text.map(|text| Self::Failed { bad_input: *bad == 1, text: line(text).to_string() })
            }
            _ => None,
        };
        message.ok_or_else(|| BadMessage::of(packet))
    }
}

#[cfg(test)]
mod tests {
    use super::{FromRecorder, LONGEST, LONGEST_ANSWER, ToRecorder};
    use crate::vm::protocol::Denied;
    use casemate_policy::log::{DecisionRecord, DenialsRecord};
    use casemate_policy::{Facts, Point, Policy, RuntimeRule};
    use proptest::prelude::*;

    fn messages() -> Vec<ToRecorder> {
        let (policy, facts) = (Policy::builtin_strict(), Facts::new().command_line("a=b c"));
        let decision = policy.decide(Point::Launch, &facts);
        let record = DecisionRecord::new(policy.hash(), Point::Launch, &facts, &decision);
        let denied = |rule| Denied { rule, times: u64::MAX, pages: 1 };
        let may = |rule| DenialsRecord::none_yet(&policy, rule, "vm");
        let mut all = vec![ToRecorder::Decision(record), ToRecorder::Release, ToRecorder::End];
        all.extend(RuntimeRule::ALL.map(|rule| ToRecorder::Denied(denied(rule))));
        all.extend(RuntimeRule::ALL.map(|rule| ToRecorder::MayBeDenied(may(rule))));
        all
    }

    /// Also writes the seeds of the fuzz target, where its folder is named.
    #[test]
    fn every_message_survives_the_trip_and_none_with_a_byte_more_or_less() {
        for (index, message) in messages().into_iter().enumerate() {
            let packet = message.encode();
            assert!(packet.len() <= LONGEST);
            assert_eq!(ToRecorder::decode(&packet), Ok(message));
            for len in 0..packet.len() {
                assert!(ToRecorder::decode(&packet[..len]).is_err(), "{len}");
            }
            assert!(ToRecorder::decode(&[&packet[..], b" "].concat()).is_err());
            if let Some(folder) = std::env::var_os("CASEMATE_WRITE_SEEDS") {
                let file = std::path::Path::new(&folder).join(format!("to-recorder-{index}"));
                std::fs::write(file, packet).unwrap();
            }
        }
        for message in [FromRecorder::Opened { dropped: 9 }, FromRecorder::Done] {
            assert_eq!(FromRecorder::decode(&message.encode()), Ok(message));
        }
    }

    /// Protects the user's terminal from who took over a recorder.
    #[test]
    fn a_reason_is_bounded_one_line_and_commands_nothing() {
        let text = format!("\u{1b}[2J\n{}", "\u{10ffff}".repeat(5000));
        let packet = FromRecorder::Failed { bad_input: true, text }.encode();
        assert!(packet.len() <= LONGEST_ANSWER);
        let Ok(FromRecorder::Failed { bad_input: true, text }) = FromRecorder::decode(&packet)
        else {
            panic!("no failure")
        };
        assert!(!text.chars().any(char::is_control), "{text}");
    }

    proptest! {
        #[test]
        fn any_packet_is_a_message_or_an_error(
            packet in proptest::collection::vec(any::<u8>(), 0..300),
            which in 0_usize..11, at in any::<proptest::sample::Index>(), byte in any::<u8>(),
        ) {
            let _ = (ToRecorder::decode(&packet), FromRecorder::decode(&packet));
            let mut altered = messages()[which].encode();
            let at = at.index(altered.len());
            altered[at] = byte;
            if let Ok(message) = ToRecorder::decode(&altered) {
                prop_assert_eq!(message.encode(), altered);
            }
        }
    }
}
