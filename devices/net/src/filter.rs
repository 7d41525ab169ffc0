//! What a guest may send: decided about each frame, and about each flow once.

use crate::flows::Flows;
use crate::frame::{Content, Frame, Ip};
use crate::header::Checked;
use casemate_policy::{Counter, NetworkRules, Verdict as Decided};
use std::time::Duration;

/// Why a frame is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It says that it is another card's.
    Source,
    /// It cannot be read, so that nobody can say where it goes.
    Unread,
    /// The policy does not let the guest go there.
    Destination,
    /// The guest has opened too many connections.
    Rate,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Source, Self::Unread, Self::Destination, Self::Rate];
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Sent,
    /// It is not, and its guest hears nothing.
    Refused(Refusal),
    /// It is to be asked about again, not before this time: what comes behind it waits, too.
    Waits(Duration),
    /// The guest has broken a rule for which the policy ends it.
    Ends,
}

/// The rules of one device, and the flows that it knows.
#[derive(Debug)]
pub struct Filter {
    mac: [u8; 6],
    /// None where nothing is denied but another card's address.
    rules: Option<NetworkRules>,
    counter: Counter,
    flows: Flows,
}

const SECOND: Duration = Duration::from_secs(1);

impl Filter {
    /// The filter of a device with this address.
    #[must_use]
    pub fn new(mac: [u8; 6], rules: &NetworkRules) -> Self {
        let rules = (!rules.is_any()).then(|| rules.clone());
        Self { mac, rules, counter: Counter::new(), flows: Flows::new() }
    }

    /// Decides about a frame of the guest of `len` bytes, which begins with the bytes of `head` and
    /// goes to the kernel with this header; `now` is of a clock that does not go back.
    pub fn outgoing(
        &mut self,
        frame: &Frame,
        header: &Checked,
        (head, len): (&[u8], usize),
        now: Duration,
    ) -> Verdict {
        if frame.source != self.mac {
            return Verdict::Refused(Refusal::Source);
        }
        match frame.content(head, len) {
            // Who answers for another card takes its packets.
            Ok(Content::Arp(sender)) if sender != self.mac => Verdict::Refused(Refusal::Source),
            // Without it there is no IPv4, and it goes no further than the link.
            Ok(Content::Arp(_)) => Verdict::Sent,
            Ok(Content::Ip(packet)) if self.rules.is_none() || header.leaves(&packet) => {
                self.packet(&packet, now)
            }
            // Nobody can say for which card ARP speaks that is not read: of other hardware, which
            // Linux hears too, or behind a tag; nor what a frame of IEEE 802.3 carries, whose kind
            // is behind its own header (SNAP). Whatever the policy, so no rule of it is the reason.
            Err(_) if frame.is_arp() || frame.is_of_802_3() => Verdict::Refused(Refusal::Source),
            Err(_) if self.rules.is_none() => Verdict::Sent,
            Ok(_) | Err(_) => Verdict::Refused(Refusal::Unread),
        }
    }

    fn packet(&mut self, packet: &Ip, now: Duration) -> Verdict {
        let Some(rules) = &self.rules else { return Verdict::Sent };
        let flow = packet.flow_out();
        if packet.is_of_the_link() || self.flows.uses(&flow, now) {
            return Verdict::Sent;
        }
        if !rules.admits(&packet.endpoint()) {
            return Verdict::Refused(Refusal::Destination);
        }
        let step = |at: Duration| {
            let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
            rules.rate().step(self.counter, nanos, 1)
        };
        let (decided, counter) = step(now);
        let next = Duration::from_secs(now.as_secs().saturating_add(1));
        match decided {
            Decided::Allow => {
                self.counter = counter;
                self.flows.learn(flow, now);
                Verdict::Sent
            }
            Decided::Kill => Verdict::Ends,
            // A wait that no second ends is none: the ceiling in all is reached.
            Decided::Throttle if step(next.max(now + SECOND)).0 == Decided::Allow => {
                Verdict::Waits(next)
            }
            Decided::Throttle | Decided::Deny => Verdict::Refused(Refusal::Rate),
        }
    }

    /// Takes note of a frame for the guest, which it may answer wherever that goes: somebody else
    /// has begun, or goes on.
    pub fn incoming(&mut self, head: &[u8], len: usize, now: Duration) {
        if self.rules.is_none() {
            return;
        }
        // A bridge gives a card what is for others, too, while it does not know where they are: who
        // hears that may not answer in their place.
        let frame = Frame::of(head).ok().filter(|frame| frame.destination == self.mac);
        let content = frame.and_then(|frame| frame.content(head, len).ok());
        if let Some(Content::Ip(packet)) = content {
            let flow = packet.flow_in();
            if !self.flows.uses(&flow, now) {
                self.flows.learn(flow, now);
            }
        }
    }
}
