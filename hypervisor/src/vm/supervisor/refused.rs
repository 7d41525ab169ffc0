//! What network devices have not let their guest send, as their processes count it: for an
//! operator's log, and for the decision log where a rule of the policy was the reason.
//!
//! A process may be its guest's by now. It can say that more was refused than was; what it says
//! costs a few events and a few records, whatever it says: see `telling` and the recorder's tally.

use super::{End, RunningVm};
use crate::vm::protocol::Denied;
use casemate_device_net::{Refusal, Refused};
use casemate_policy::NetRule;

/// The rule that refuses so; None where no policy could have admitted it.
const fn rule(why: Refusal) -> Option<NetRule> {
    match why {
        Refusal::Source => None,
        // By the rule that an end point must be named: nobody can say which one it was.
        Refusal::Unread | Refusal::Destination => Some(NetRule::Egress),
        Refusal::Rate => Some(NetRule::Rate),
    }
}

/// What one process has told, in the order of [`Refusal::ALL`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts([u64; Refusal::ALL.len()]);

impl Counts {
    /// Of a process that has told nothing yet.
    pub(super) const NONE: Self = Self([0; Refusal::ALL.len()]);

    /// The counts, in the order of [`Refusal::ALL`].
    pub(super) const fn all(self) -> [u64; Refusal::ALL.len()] {
        self.0
    }

    fn slot(&mut self, why: Refusal) -> Option<&mut u64> {
        let place = Refusal::ALL.iter().position(|known| *known == why)?;
        self.0.get_mut(place)
    }

    /// Takes a count. They only grow: a smaller one is old, or a lie.
    fn take(&mut self, Refused { why, times }: Refused) {
        if let Some(count) = self.slot(why) {
            *count = times.max(*count);
        }
    }

    /// Whether a count is twice what it was, or the first.
    fn has_doubled_since(mut self, mut before: Self, why: Refusal) -> bool {
        let now = self.slot(why).map_or(0, |count| *count);
        let then = before.slot(why).map_or(0, |count| *count);
        now >= then.saturating_mul(2).max(1) && now > then
    }

    /// One more, which its process has told in another way.
    fn one_more(&mut self, why: Refusal) {
        if let Some(count) = self.slot(why) {
            *count = count.saturating_add(1);
        }
    }
}

/// What processes with these counts have refused by a rule: a VM's records are of all of them.
fn in_all(counts: impl Iterator<Item = Counts>, of: NetRule) -> u64 {
    let of_rule = |Counts(counts)| {
        let counted = Refusal::ALL.into_iter().zip(counts);
        let counted = counted.filter(|(why, _)| rule(*why) == Some(of)).map(|(_, times)| times);
        counted.fold(0, u64::saturating_add)
    };
    counts.map(of_rule).fold(0, u64::saturating_add)
}

impl RunningVm {
    /// A network device's process has told a count.
    pub(super) fn refused(&mut self, index: usize, refused: Refused) {
        let Some(member) = self.children.get_mut(index) else { return };
        member.refused.take(refused);
        let has_doubled = member.refused.has_doubled_since(member.logged, refused.why);
        if has_doubled {
            member.logged.take(refused);
        }
        self.telling.refused(index, refused);
        // A process tells when a count has doubled. One that is its guest's tells what it likes,
        // and is not to fill the way to the recorder, which others need.
        if let Some(rule) = rule(refused.why).filter(|_| has_doubled) {
            self.log_refused(rule);
        }
    }

    /// A network device's process says that its guest opened more connections than the policy lets
    /// it, which says to end the guest: of that one too many nobody has told yet.
    pub(super) fn over_rate(&mut self, index: usize) {
        if let Some(member) = self.children.get_mut(index) {
            member.refused.one_more(Refusal::Rate);
        }
        self.log_refused(NetRule::Rate);
        self.end(End::DeniedByPolicy { rule: NetRule::Rate });
    }

    fn log_refused(&self, rule: NetRule) {
        let times = in_all(self.children.iter().map(|member| member.refused), rule);
        self.children.log(Denied { rule: rule.into(), times, pages: times });
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, NetRule, Refusal, Refused, in_all};

    fn counts(told: &[(Refusal, u64)]) -> Counts {
        let mut counts = Counts::NONE;
        told.iter().for_each(|(why, times)| counts.take(Refused { why: *why, times: *times }));
        counts
    }

    /// Protects the decision log: it has what every device of the VM refused by a rule, and no
    /// device takes back what it told. Cannot tell whether a process counts right: `net_process`
    /// does.
    #[test]
    fn refusals_of_all_devices_add_up_by_rule_and_never_shrink() {
        let first = counts(&[
            (Refusal::Source, 100),
            (Refusal::Unread, 2),
            (Refusal::Destination, 8),
            (Refusal::Destination, 4),
        ]);
        let second = counts(&[(Refusal::Destination, 1), (Refusal::Rate, 3)]);
        let all = || [first, second].into_iter();
        assert_eq!((in_all(all(), NetRule::Egress), in_all(all(), NetRule::Rate)), (11, 3));
        let mut second = second;
        second.one_more(Refusal::Rate);
        assert_eq!(in_all([second].into_iter(), NetRule::Rate), 4);
    }

    /// Protects the recorder from a device that is its guest's and tells without end: as many of
    /// its counts are passed on as a number has bits.
    #[test]
    fn counts_that_grow_by_one_are_passed_on_when_they_have_doubled() {
        let (mut all, mut logged, mut passed) = (Counts::NONE, Counts::NONE, 0);
        for times in (1..=1000).chain([1000, 7, u64::MAX, u64::MAX]) {
            let told = Refused { why: Refusal::Rate, times };
            all.take(told);
            if all.has_doubled_since(logged, Refusal::Rate) {
                logged.take(told);
                passed += 1;
            }
        }
        assert_eq!(passed, 11, "1, 2, 4 to 512, and the last");
    }

    /// Protects the supervisor from a device that is its guest's: no count that it tells wraps.
    #[test]
    fn counts_without_end_do_not_wrap() {
        let most = counts(&[(Refusal::Unread, u64::MAX), (Refusal::Destination, u64::MAX)]);
        assert_eq!(in_all([most, most].into_iter(), NetRule::Egress), u64::MAX);
        let mut most = counts(&[(Refusal::Rate, u64::MAX)]);
        most.one_more(Refusal::Rate);
        assert_eq!(in_all([most].into_iter(), NetRule::Rate), u64::MAX);
    }
}
