//! Counts of what the policy denied a running guest, and when a count is worth telling.
//!
//! A guest can be denied something as often as it can leave the processor. So a denial is told, and
//! logged, when there were twice as many as the last time: the first, second, fourth, eighth. That
//! is at most 64 records of each rule, and one more at the end of the VM, whatever the guest does
//! and however long it runs, without a clock. The vmm process counts so that it sends little; the
//! recorder holds to it whatever it is sent.

use crate::vm::protocol::Denied;
use casemate_policy::log::DenialsRecord;
use casemate_policy::{PageRule, RuntimeRule};
use std::sync::atomic::{AtomicU64, Ordering};

/// Records of one rule that a VM can cause at most: one for each bit of a count, and its end.
pub const MOST_RECORDS: usize = 65;

/// The counts of the process in which denials happen. Its threads share it.
#[derive(Debug, Default)]
pub struct Tally([Count; PageRule::ALL.len()]);

#[derive(Debug, Default)]
struct Count {
    times: AtomicU64,
    pages: AtomicU64,
}

impl Tally {
    /// Counts a denial; gives what is to be told now, if that is something.
    pub fn add(&self, rule: PageRule, pages: u64) -> Option<Denied> {
        let count = self.of(rule)?;
        // A guest chooses the pages of each request.
        let more = |counted: u64| Some(counted.saturating_add(pages));
        let _ = count.pages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let times = count.times.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        times.is_power_of_two().then(|| Denied { times, ..count.so_far(rule) })
    }

    /// All that was counted.
    pub fn all(&self) -> impl Iterator<Item = Denied> {
        let counted =
            PageRule::ALL.into_iter().filter_map(|rule| Some(self.of(rule)?.so_far(rule)));
        counted.filter(|denied| denied.times > 0)
    }

    fn of(&self, rule: PageRule) -> Option<&Count> {
        self.0.get(index(rule.into()))
    }
}

impl Count {
    fn so_far(&self, rule: PageRule) -> Denied {
        let (times, pages) = (&self.times, &self.pages);
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Denied { rule: rule.into(), times: now(times), pages: now(pages) }
    }
}

/// Its place in [`RuntimeRule::ALL`], where those of pages come first.
fn index(rule: RuntimeRule) -> usize {
    RuntimeRule::ALL.into_iter().position(|other| other == rule).unwrap_or(usize::MAX)
}

/// The recorder's side: what it was told, and what it has written of it.
#[derive(Debug, Default)]
pub struct Told([Option<Known>; RuntimeRule::ALL.len()]);

#[derive(Debug)]
struct Known {
    /// The record as it would be now.
    record: DenialsRecord,
    /// The count of the last one that was written.
    written: u64,
}

impl Told {
    /// What denials by the rule that `record` names will be written as.
    pub fn may_be_denied(&mut self, record: DenialsRecord) {
        let rule = RuntimeRule::ALL.into_iter().find(|rule| rule.path() == record.rule);
        if let Some(place) = rule.and_then(|rule| self.0.get_mut(index(rule))) {
            let record = DenialsRecord { times: 0, amount: 0, ended: false, ..record };
            *place = Some(Known { record, written: 0 });
        }
    }

    /// The VM's start was logged up to this record.
    pub fn started_by(&mut self, start: u64) {
        self.0.iter_mut().flatten().for_each(|known| known.record.start = start);
    }

    /// Takes a count; gives the record that is to be written now, if it is one. Counts only grow: a
    /// smaller one is old.
    pub fn take(&mut self, denied: Denied) -> Option<DenialsRecord> {
        let known = self.0.get_mut(index(denied.rule))?.as_mut()?;
        let record = &mut known.record;
        record.times = record.times.max(denied.times);
        record.amount = record.amount.max(denied.pages);
        let is_old = record.times <= known.written;
        if is_old || record.times < known.written.saturating_mul(2) {
            return None;
        }
        known.written = record.times;
        Some(record.clone())
    }

    /// The records of the VM's end: one for each rule that denied something.
    pub fn last(&mut self) -> Vec<DenialsRecord> {
        let known = std::mem::take(&mut self.0).into_iter().flatten();
        let denied = known.map(|known| known.record).filter(|record| record.times > 0);
        denied.map(|record| DenialsRecord { ended: true, ..record }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_RECORDS, Tally, Told};
    use crate::vm::protocol::Denied;
    use casemate_policy::log::DenialsRecord;
    use casemate_policy::{PageRule, Policy, RuntimeRule};
    use proptest::prelude::*;

    fn told() -> Told {
        let mut told = Told::default();
        for rule in RuntimeRule::ALL {
            let record = DenialsRecord::none_yet(&Policy::builtin_strict(), rule, "vm");
            told.may_be_denied(record);
        }
        told.started_by(7);
        told
    }

    /// Protects the host's disk from a guest that is denied without end. Cannot tell how long a
    /// record is: the policy's tests bound that.
    #[test]
    fn denials_without_end_are_a_handful_of_records_with_exact_counts() {
        let (tally, mut told) = (Tally::default(), told());
        let mut records = Vec::new();
        for n in 0..1_000_000_u64 {
            let denied = tally.add(PageRule::Changes, 3);
            assert_eq!(denied.is_some(), (n + 1).is_power_of_two());
            records.extend(denied.and_then(|denied| told.take(denied)));
        }
        let times: Vec<u64> = records.iter().map(|record| record.times).collect();
        assert_eq!(times, (0..20).map(|bit| 1 << bit).collect::<Vec<u64>>());
        tally.all().for_each(|denied| drop(told.take(denied)));
        let last = told.last();
        assert_eq!(last.len(), 1, "nothing is said of a rule that denied nothing");
        let of = |record: &DenialsRecord| (record.times, record.amount, record.ended, record.start);
        assert_eq!(of(&last[0]), (1_000_000, 3_000_000, true, 7));
        assert!(told.last().is_empty(), "the end comes once");
    }

    #[test]
    fn counts_of_several_threads_are_told_once_each() {
        let tally = Tally::default();
        let told = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        told.lock().unwrap().extend(tally.add(PageRule::Shared, u64::MAX));
                    }
                });
            }
        });
        let mut times: Vec<u64> = told.into_inner().unwrap().iter().map(|d| d.times).collect();
        times.sort_unstable();
        assert_eq!(times, (0..12).map(|bit| 1 << bit).collect::<Vec<u64>>());
        let all: Vec<Denied> = tally.all().collect();
        let exact = Denied { rule: PageRule::Shared.into(), times: 4000, pages: u64::MAX };
        assert_eq!(all, [exact]);
    }

    /// Every size of number, and the largest ones.
    fn count() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), (0..64_u32).prop_map(|bit| 1 << bit), u64::MAX - 2..=u64::MAX]
    }

    proptest! {
        /// Whatever a process that somebody took over sends.
        #[test]
        fn no_stream_of_counts_makes_more_records_than_a_count_has_bits(
            stream in proptest::collection::vec((any::<bool>(), count(), any::<u64>()), 0..400),
            steps in 0_u64..400,
        ) {
            let mut told = told();
            let slow = (0..steps).map(|step| (true, step, 1));
            let mut records = [0_usize; 2];
            for (changes, times, pages) in slow.chain(stream) {
                let rule = if changes { PageRule::Changes } else { PageRule::Shared };
                if let Some(record) = told.take(Denied { rule: rule.into(), times, pages }) {
                    prop_assert!(record.times > 0);
                    records[usize::from(changes)] += 1;
                }
            }
            for record in told.last() {
                records[usize::from(record.rule == PageRule::Changes.path())] += 1;
            }
            prop_assert!(records.iter().all(|count| *count <= MOST_RECORDS), "{records:?}");
        }
    }
}
