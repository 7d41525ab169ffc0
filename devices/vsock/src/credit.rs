//! How much each side may send (virtio 1.2, 5.10.6.3): counters modulo 2^32, of which the guest's
//! are what it alleges.

use crate::packet::Credit;

/// A guest has taken bytes that were never sent, or has sent more than there was room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lie;

/// Bytes for the guest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ToGuest {
    /// Sent since the connection began.
    sent: u32,
    /// Of those, what the guest has taken out of its buffer.
    taken: u32,
    /// The guest's buffer, as it said last.
    size: u32,
}

impl ToGuest {
    /// Hears what the guest says with each of its packets. One that was overtaken by a newer one
    /// changes nothing but the size; a count beyond what was sent is a lie.
    pub(crate) const fn hear(&mut self, credit: Credit) -> Result<(), Lie> {
        // A buffer that shrinks below what is in flight leaves no room, see `room`.
        self.size = credit.size;
        let ahead = credit.taken.wrapping_sub(self.taken);
        if ahead > u32::MAX / 2 {
            return Ok(());
        }
        if ahead > self.in_flight() {
            return Err(Lie);
        }
        self.taken = credit.taken;
        Ok(())
    }

    const fn in_flight(&self) -> u32 {
        self.sent.wrapping_sub(self.taken)
    }

    /// What can be sent now.
    pub(crate) const fn room(&self) -> u32 {
        self.size.saturating_sub(self.in_flight())
    }

    /// So many bytes were sent, at most as many as there was room for.
    pub(crate) const fn send(&mut self, bytes: u32) {
        self.sent = self.sent.wrapping_add(bytes);
    }
}

/// Bytes of the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FromGuest {
    size: u32,
    received: u32,
    /// Of those, what the host's side has taken.
    taken: u32,
    /// The last count that the guest was told.
    told: u32,
}

impl FromGuest {
    pub(crate) const fn new(size: u32) -> Self {
        Self { size, received: 0, taken: 0, told: 0 }
    }

    /// Receives so many bytes.
    pub(crate) fn receive(&mut self, bytes: u32) -> Result<(), Lie> {
        let held = self.received.wrapping_sub(self.taken);
        held.checked_add(bytes).filter(|held| *held <= self.size).ok_or(Lie)?;
        self.received = self.received.wrapping_add(bytes);
        Ok(())
    }

    /// The host's side has taken so many.
    pub(crate) const fn take(&mut self, bytes: u32) {
        self.taken = self.taken.wrapping_add(bytes);
    }

    /// Whether the guest may wait for news: a quarter of the buffer has become free since it was
    /// told last. One that has used up all of it is told at the latest when half is free again.
    pub(crate) const fn is_news(&self) -> bool {
        self.taken.wrapping_sub(self.told) >= self.size / 4
    }

    /// What the guest is told with each packet.
    pub(crate) const fn tell(&mut self) -> Credit {
        self.told = self.taken;
        Credit { size: self.size, taken: self.taken }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests count small numbers, or mean to wrap")]
mod tests {
    use super::{FromGuest, Lie, ToGuest};
    use crate::packet::Credit;
    use proptest::prelude::*;

    /// Protects the host from a guest that shrinks its buffer under what is in flight, and from one
    /// that has taken what was never sent.
    #[test]
    fn a_buffer_that_shrinks_leaves_no_room_and_a_count_beyond_what_was_sent_is_a_lie() {
        let mut credit = ToGuest::default();
        assert_eq!(credit.room(), 0);
        credit.hear(Credit { size: 1000, taken: 0 }).unwrap();
        credit.send(600);
        credit.hear(Credit { size: 500, taken: 0 }).unwrap();
        assert_eq!(credit.room(), 0);
        credit.hear(Credit { size: 500, taken: 200 }).unwrap();
        assert_eq!(credit.room(), 100);
        // One that was overtaken.
        credit.hear(Credit { size: 500, taken: 100 }).unwrap();
        assert_eq!(credit.room(), 100);
        assert_eq!(credit.hear(Credit { size: 500, taken: 601 }), Err(Lie));
        assert_eq!(credit.hear(Credit { size: u32::MAX, taken: 600 }), Ok(()));
        assert_eq!(credit.room(), u32::MAX);
    }

    proptest! {
        /// Against counters that do not wrap.
        #[test]
        fn counts_that_wrap_are_as_good_as_long_ones(
            start in any::<u32>(),
            steps in prop::collection::vec((any::<bool>(), 0_u32..70_000), 1..200),
        ) {
            let mut credit = FromGuest { size: 65_536, received: start, taken: start, told: start };
            let (mut received, mut taken, mut told) = (0_u64, 0_u64, 0_u64);
            for (sends, bytes) in steps {
                if sends {
                    let fits = received - taken + u64::from(bytes) <= 65_536;
                    prop_assert_eq!(credit.receive(bytes).is_ok(), fits);
                    received += if fits { u64::from(bytes) } else { 0 };
                } else {
                    let bytes = bytes.min((received - taken) as u32);
                    credit.take(bytes);
                    taken += u64::from(bytes);
                }
                prop_assert_eq!(credit.is_news(), taken - told >= 16_384);
                if credit.is_news() {
                    let now = credit.tell();
                    told = taken;
                    prop_assert_eq!(now.taken, start.wrapping_add(taken as u32));
                }
                // Who waits for room is told of it in the end.
                prop_assert!(received - told < 65_536 || received > taken);
            }
        }
    }
}
