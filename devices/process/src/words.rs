//! What a device process says to whoever watches it: that it is locked, what its threads are doing
//! when it is asked, and why it ends.

use crate::limits_met::LimitsMet;
use casemate_device_backend::{Limits, MAX_QUEUES, Place, Seen};
use casemate_device_net::{Refusal, Refused};
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
const BEAT: u8 = 4;
const LIMITS_MET: u8 = 5;
const REFUSED: u8 = 6;
const OVER_RATE: u8 = 7;
/// A question.
const ASK: u8 = 65;
/// Other limits.
const LIMIT: u8 = 66;

/// Threads of a device process that are told of: that which hears its front end, one for each
/// queue.
const THREADS: usize = 1 + MAX_QUEUES as usize;
/// Bytes of a question: its kind and its number.
const QUESTION: usize = 5;
/// Bytes of the longest message to a device.
pub(crate) const TOLD: usize = 1 + Limits::BYTES;
/// Bytes about one thread: its steps and its place.
const THREAD: usize = 5;
/// Bytes of the longest answer.
const ANSWER: usize = QUESTION + THREADS * THREAD;
const _: () = assert!(ANSWER <= MESSAGE_SIZE, "an answer is a message");

/// What a device process is told by whoever watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToDevice {
    /// To answer this question, by [`FromDevice::Beat`] with the same number: a heartbeat.
    Beat(u32),
    /// To hold its guest within these limits from now on.
    Limit(Limits),
}

impl ToDevice {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Beat(number) => [&[ASK][..], &number.to_le_bytes()].concat(),
            Self::Limit(limits) => [&[LIMIT][..], &limits.encode()].concat(),
        }
    }

    /// The question of a packet; None when it is none.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Self> {
        match packet {
            [ASK, number @ ..] => Some(Self::Beat(u32::from_le_bytes(number.try_into().ok()?))),
            [LIMIT, limits @ ..] => Limits::decode(limits).map(Self::Limit),
            _ => None,
        }
    }
}

/// An answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Of the question.
    pub number: u32,
    /// What is seen of each thread: of the one that hears the front end, then of each queue's.
    pub threads: Vec<Seen>,
}

/// The packet of an answer, and how long it is. Nothing is allocated: a heartbeat comes while the
/// process is at its work.
pub(crate) fn beat(number: u32, threads: impl Iterator<Item = Seen>) -> ([u8; ANSWER], usize) {
    let (mut packet, mut len) = ([0; ANSWER], 0);
    let head = std::iter::once(BEAT).chain(number.to_le_bytes());
    let threads = threads.take(THREADS);
    let about =
        threads.flat_map(|seen| seen.steps.to_le_bytes().into_iter().chain([seen.place as u8]));
    for (to, from) in packet.iter_mut().zip(head.chain(about)) {
        *to = from;
        len += 1;
    }
    (packet, len)
}

/// The answer behind a packet's kind.
fn beat_of(rest: &[u8]) -> Option<Beat> {
    let (number, threads) = rest.split_first_chunk()?;
    let (threads, more) = threads.as_chunks::<THREAD>();
    if !more.is_empty() || threads.is_empty() || threads.len() > THREADS {
        return None;
    }
    let thread = |&[a, b, c, d, place]: &[u8; THREAD]| {
        let place = Place::ALL.into_iter().find(|known| *known as u8 == place)?;
        Some(Seen { steps: u32::from_le_bytes([a, b, c, d]), place })
    };
    let threads = threads.iter().map(thread).collect::<Option<_>>()?;
    Some(Beat { number: u32::from_le_bytes(*number), threads })
}

/// Bytes of a count: its kind, why, how often.
const COUNT: usize = 10;

/// What stands for a reason in a packet.
const fn refusal_number(why: Refusal) -> u8 {
    match why {
        Refusal::Source => 0,
        Refusal::Unread => 1,
        Refusal::Destination => 2,
        Refusal::Rate => 3,
    }
}

/// The packet of a count, and how long it is, as that of a heartbeat.
pub(crate) fn refused_packet(Refused { why, times }: Refused) -> ([u8; COUNT], usize) {
    let [a, b, c, d, e, f, g, h] = times.to_le_bytes();
    ([REFUSED, refusal_number(why), a, b, c, d, e, f, g, h], COUNT)
}

/// The count behind a packet's kind. Nobody counts to none.
fn refused_of(rest: &[u8]) -> Option<Refused> {
    let (why, times) = rest.split_first()?;
    let why = Refusal::ALL.into_iter().find(|known| refusal_number(*known) == *why)?;
    let times = u64::from_le_bytes(times.try_into().ok()?);
    (times > 0).then_some(Refused { why, times })
}

/// A message, or what is no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromDevice {
    /// Its steady filter is in force.
    Locked,
    /// It ends of itself, and as it should: its front end is gone.
    Ended(String),
    /// It cannot go on: why.
    Failed(String),
    /// It was asked what its threads are doing.
    Beat(Beat),
    /// Of a janitor of control groups, before it removes them.
    LimitsMet(LimitsMet),
    /// A network device: what it has not let its guest send so far.
    Refused(Refused),
    /// A network device: its guest opened more connections than the policy lets it, which says to
    /// end the guest.
    OverRate,
}

impl FromDevice {
    /// Its bytes; a reason that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, reason) = match self {
            Self::Beat(Beat { number, threads }) => {
                let (packet, len) = beat(*number, threads.iter().copied());
                return packet.into_iter().take(len).collect();
            }
            Self::LimitsMet(met) => return [&[LIMITS_MET], &met.encode()[..]].concat(),
            Self::Refused(refused) => {
                let (packet, len) = refused_packet(*refused);
                return packet.into_iter().take(len).collect();
            }
            Self::Locked => (LOCKED, ""),
            Self::OverRate => (OVER_RATE, ""),
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
        let rest = reason;
        let reason = || Some(value(std::str::from_utf8(reason).ok()?).at_most(REASON).to_string());
        match *kind {
            LOCKED if packet.len() == 1 => Some(Self::Locked),
            OVER_RATE if packet.len() == 1 => Some(Self::OverRate),
            BEAT => beat_of(rest).map(Self::Beat),
            LIMITS_MET => LimitsMet::decode(rest).map(Self::LimitsMet),
            REFUSED => refused_of(rest).map(Self::Refused),
            ENDED => Some(Self::Ended(reason()?)),
            FAILED => Some(Self::Failed(reason()?)),
            _ => None,
        }
    }

    /// Says it. A watcher that is gone, or does not read, hears nothing: the device's front end is
    /// not its business. By sendmsg, which the filter has for answers to the front end anyway.
    pub(crate) fn tell(&self, control: &impl AsFd) {
        send(control, &self.encode());
    }
}

/// Sends a packet, if it fits.
pub(crate) fn send(control: &impl AsFd, packet: &[u8]) {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut nothing = SendAncillaryBuffer::default();
    let _ = sendmsg(control, &[IoSlice::new(packet)], &mut nothing, flags);
}

#[cfg(test)]
mod tests {
    use super::{Beat, FromDevice, LimitsMet, MESSAGE_SIZE, THREADS, TOLD, ToDevice};
    use casemate_device_backend::{Limits, Place, Rate, Seen};
    use casemate_device_net::{Refusal, Refused};
    use proptest::prelude::*;

    #[test]
    fn every_message_survives_the_trip() {
        let reason = || "the front end went".to_owned();
        let words = [FromDevice::Ended(reason()), FromDevice::Failed(reason())];
        let met = FromDevice::LimitsMet(LimitsMet { killed: 1, memory: 2, pids: 4 });
        let short = [FromDevice::Locked, FromDevice::OverRate, met];
        for message in words.into_iter().chain(short) {
            assert_eq!(FromDevice::decode(&message.encode()), Some(message));
        }
    }

    /// Protects a disk that takes long from being taken for one that hangs, and the other way
    /// round: what is seen of each thread arrives, of as many as there can be.
    #[test]
    fn every_question_and_every_answer_survives_the_trip() {
        let asked = ToDevice::Beat(0x0102_0304);
        assert_eq!(ToDevice::decode(&asked.encode()), Some(asked));
        let rate = Rate::new(7, 9);
        let limited = ToDevice::Limit(Limits { bytes: None, operations: rate });
        assert!(limited.encode().len() == TOLD && rate.is_some());
        assert_eq!(ToDevice::decode(&limited.encode()), Some(limited));
        assert_eq!(ToDevice::decode(&limited.encode()[..TOLD - 1]), None);
        for threads in 1..=THREADS {
            let places = Place::ALL.into_iter().cycle().zip([u32::MAX, 0, 1].into_iter().cycle());
            let seen = places.map(|(place, steps)| Seen { steps, place }).take(threads);
            let beat = FromDevice::Beat(Beat { number: 7, threads: seen.collect() });
            assert_eq!(FromDevice::decode(&beat.encode()), Some(beat));
        }
        // Nothing about any thread, half of one, one too many, a place that there is not.
        for len in [0, 4, 9, 5 * (THREADS + 1)] {
            let packet = [&[4, 0, 0, 0, 0][..], &vec![0; len]].concat();
            assert_eq!(FromDevice::decode(&packet), None, "{len}");
        }
        assert_eq!(FromDevice::decode(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 3]), None);
    }

    /// Protects the decision log: a count arrives as it was sent.
    #[test]
    fn every_count_of_what_was_refused_survives_the_trip() {
        for why in Refusal::ALL {
            let message = FromDevice::Refused(Refused { why, times: u64::MAX - 1 });
            let packet = message.encode();
            assert_eq!(FromDevice::decode(&packet), Some(message));
            assert_eq!(FromDevice::decode(&packet[..9]), None);
        }
        assert_eq!(FromDevice::decode(&[5, 4, 1, 0, 0, 0, 0, 0, 0, 0]), None, "no such reason");
        assert_eq!(FromDevice::decode(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None, "counted to none");
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
