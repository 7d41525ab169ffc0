//! Counts of what a guest was not let send, and when one is told: as the vmm process counts
//! denials, when there are twice as many as the last time, so that a guest that is refused without
//! end causes a few messages only.

use crate::filter::Refusal;

/// Frames that were not sent, for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// How many so far.
    pub times: u64,
}

/// Why a device cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Its guest opened more connections than its policy lets it, which says to end the guest.
    Rate,
    /// Its TAP was removed.
    TapGone,
}

/// Whoever watches the device's process.
pub trait Watcher: Send + 'static {
    /// Is told a count.
    fn refused(&self, refused: Refused);
    /// Is told that the device cannot go on; a process does not come back from it.
    fn over(&self, why: Over);
}

#[derive(Debug, Default)]
pub(crate) struct Tally([u64; Refusal::ALL.len()]);

impl Tally {
    /// Counts one; the count, where it is to be told now.
    pub(crate) fn add(&mut self, why: Refusal) -> Option<Refused> {
        let index = Refusal::ALL.iter().position(|known| *known == why)?;
        let times = self.0.get_mut(index)?;
        *times = times.saturating_add(1);
        times.is_power_of_two().then_some(Refused { why, times: *times })
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::Refusal;

    /// Protects who watches: frames without end are a handful of messages with exact counts.
    #[test]
    fn refusals_are_told_when_they_have_doubled() {
        let mut tally = Tally::default();
        let told: Vec<u64> = (0..1_000_000)
            .filter_map(|_| tally.add(Refusal::Destination))
            .map(|refused| refused.times)
            .collect();
        assert_eq!(told, (0..20).map(|bit| 1 << bit).collect::<Vec<u64>>());
        assert_eq!(tally.add(Refusal::Rate).unwrap().times, 1);
    }
}
