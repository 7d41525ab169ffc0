//! Conversion of a confidential VM's pages from private to shared and back: private pages are in
//! guest_memfds, shared ones in the mapped memory file.
//!
//! A conversion tells KVM first and then gives up the side that is left, so that memory is never
//! held twice and nothing stale comes back when the page returns. All of a range is checked, and
//! the policy asked, before its first page changes. One conversion at a time: two of the same page
//! could give up both sides.

use super::{
    GpaRange, PAGE_BYTES, PAGE_SIZE, PageMap, PageStateTotals, PageStates, Refusal, Visibility,
};
use casemate_policy::{Counter, PageStateLimits, Verdict};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a conversion does to memory.
pub trait Sides: Send + Sync {
    /// Sets what KVM believes of every page of `range`.
    ///
    /// # Errors
    /// The errno.
    fn set_private(&self, range: GpaRange, private: bool) -> Result<(), i32>;
    /// Gives up what one side holds of `range`.
    ///
    /// # Errors
    /// The errno.
    fn give_up(&self, range: GpaRange, side: Visibility) -> Result<(), i32>;
    /// Writes to the shared side; whether `gpa` and the length are right.
    fn write(&self, gpa: u64, bytes: &[u8]) -> bool;
}

/// The page states of one confidential VM.
#[derive(Debug)]
pub struct PrivateRam<S> {
    sides: S,
    limits: PageStateLimits,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    map: PageMap,
    used: Counter,
    totals: PageStateTotals,
}

impl<S: Sides> PrivateRam<S> {
    /// The states in `map`, of what `sides` changes, within the policy's `limits`.
    #[must_use]
    pub fn new(sides: S, map: PageMap, limits: PageStateLimits) -> Self {
        let state =
            Mutex::new(State { map, used: Counter::new(), totals: PageStateTotals::default() });
        Self { sides, limits, start: Instant::now(), state }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the map.
    pub fn with_map<T>(&self, look: impl FnOnce(&PageMap) -> T) -> T {
        look(&self.state().map)
    }
}

/// Asks the policy about a conversion, and counts it.
fn admit(
    state: &mut State,
    limits: &PageStateLimits,
    now: u64,
    range: GpaRange,
    to: Visibility,
) -> Result<(), Refusal> {
    let pages = range.pages();
    // A ceiling on what is shared never stands in the way of sharing less.
    let shared_after = match to {
        Visibility::Private => 0,
        Visibility::Shared => state.map.shared() + pages - state.map.shared_in(range),
    };
    let all = state.map.pages();
    let (verdict, used) = limits.step(state.used, now, pages, shared_after, all);
    let rule = limits.denied_by(shared_after, all);
    match verdict {
        Verdict::Allow => {
            state.used = used;
            Ok(())
        }
        Verdict::Throttle => Err(Refusal::RateLimit(rule)),
        Verdict::Deny => Err(Refusal::Denied(rule)),
        Verdict::Kill => Err(Refusal::Killed(rule)),
    }
}

impl<S: Sides> PrivateRam<S> {
    fn change(
        &self,
        state: &mut State,
        now: u64,
        range: GpaRange,
        to: Visibility,
    ) -> Result<u64, Refusal> {
        if !state.map.covers(range) {
            return Err(Refusal::NotRam);
        }
        admit(state, &self.limits, now, range, to)?;
        let private = to == Visibility::Private;
        self.sides.set_private(range, private).map_err(Refusal::Kernel)?;
        let given_up = if private { Visibility::Shared } else { Visibility::Private };
        self.sides.give_up(range, given_up).map_err(|errno| {
            // What KVM believes must be what the guest is told, page by page: the range may have
            // been of both kinds.
            for gpa in (range.start()..range.end()).step_by(PAGE_BYTES) {
                if let Ok(page) = GpaRange::new(gpa, PAGE_SIZE) {
                    let was_private = state.map.shared_in(page) == 0;
                    let _ = self.sides.set_private(page, was_private);
                }
            }
            Refusal::Kernel(errno)
        })?;
        Ok(state.map.set(range, to))
    }
}

impl<S: Sides> PageStates for PrivateRam<S> {
    fn convert(&self, range: GpaRange, to: Visibility) -> Result<u64, Refusal> {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.state();
        let changed = self.change(&mut state, now, range, to);
        state.totals.count(to, changed);
        changed
    }

    fn write_shared(&self, gpa: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let state = self.state();
        let start = gpa - gpa % PAGE_SIZE;
        let size = (bytes.len() as u64)
            .checked_add(gpa - start)
            .and_then(|size| size.max(1).checked_next_multiple_of(PAGE_SIZE));
        let range = size.and_then(|size| GpaRange::new(start, size).ok());
        let range = range.filter(|range| state.map.covers(*range)).ok_or(Refusal::NotRam)?;
        if state.map.shared_in(range) != range.pages() {
            return Err(Refusal::NotShared);
        }
        if self.sides.write(gpa, bytes) { Ok(()) } else { Err(Refusal::NotRam) }
    }

    fn totals(&self) -> Option<PageStateTotals> {
        Some(self.state().totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::RamMap;
    use casemate_policy::{PageRule, Policy};
    use std::sync::atomic::{AtomicI32, Ordering};

    /// What KVM would hold: the attribute of each page.
    struct Recorder {
        attributes: Mutex<Vec<bool>>,
        given_up: Mutex<Vec<(GpaRange, Visibility)>>,
        punch_error: AtomicI32,
    }
    impl Sides for &Recorder {
        fn set_private(&self, range: GpaRange, private: bool) -> Result<(), i32> {
            let at = |gpa: u64| usize::try_from(gpa / PAGE_SIZE).unwrap();
            self.attributes.lock().unwrap()[at(range.start())..at(range.end())].fill(private);
            Ok(())
        }
        fn give_up(&self, range: GpaRange, side: Visibility) -> Result<(), i32> {
            self.given_up.lock().unwrap().push((range, side));
            match self.punch_error.load(Ordering::Relaxed) {
                0 => Ok(()),
                errno => Err(errno),
            }
        }
        fn write(&self, _: u64, _: &[u8]) -> bool {
            true
        }
    }

    const PAGES: u64 = 64;

    fn recorder() -> Recorder {
        Recorder {
            attributes: Mutex::new(vec![true; 64]),
            given_up: Mutex::default(),
            punch_error: AtomicI32::new(0),
        }
    }
    fn limits(runtime: &str) -> PageStateLimits {
        let text = format!("schema_version = 1\nmin_engine = \"0.1.0\"\n[runtime]\n{runtime}\n");
        Policy::load(&text, "test").unwrap().page_state_limits()
    }
    fn states<'a>(recorder: &'a Recorder, runtime: &str) -> PrivateRam<&'a Recorder> {
        let map = PageMap::new(RamMap::new(PAGES * PAGE_SIZE).unwrap(), &[]);
        PrivateRam::new(recorder, map, limits(runtime))
    }
    fn range(page: u64, pages: u64) -> GpaRange {
        GpaRange::new(page * PAGE_SIZE, pages * PAGE_SIZE).unwrap()
    }
    const ANY: &str = "page_state_changes = \"any\"\nshared_percent = \"any\"";

    #[test]
    fn a_conversion_gives_up_the_other_side_of_exactly_its_range() {
        let recorder = recorder();
        let states = states(&recorder, ANY);
        assert_eq!(states.convert(range(3, 5), Visibility::Shared), Ok(5));
        assert_eq!(states.convert(range(4, 1), Visibility::Private), Ok(1));
        assert_eq!(states.convert(range(3, 5), Visibility::Shared), Ok(1));
        let given_up = recorder.given_up.lock().unwrap().clone();
        let (private, shared) = (Visibility::Private, Visibility::Shared);
        assert_eq!(
            given_up,
            [(range(3, 5), private), (range(4, 1), shared), (range(3, 5), private)]
        );
        assert_eq!(states.convert(range(60, 5), Visibility::Shared), Err(Refusal::NotRam));
        assert_eq!(
            recorder.given_up.lock().unwrap().len(),
            3,
            "nothing of a refused range changes"
        );
        let totals = PageStateTotals { to_private: 1, to_shared: 6, refused: 1 };
        assert_eq!(states.totals(), Some(totals));
    }

    #[test]
    fn after_a_failed_conversion_kvm_believes_what_the_guest_was_told() {
        let recorder = recorder();
        let states = states(&recorder, ANY);
        states.convert(range(2, 2), Visibility::Shared).unwrap();
        let before = recorder.attributes.lock().unwrap().clone();
        recorder.punch_error.store(libc::ENOMEM, Ordering::Relaxed);
        let refused = states.convert(range(0, 6), Visibility::Shared);
        assert_eq!(refused, Err(Refusal::Kernel(libc::ENOMEM)));
        assert_eq!(*recorder.attributes.lock().unwrap(), before);
        assert_eq!(states.with_map(PageMap::shared), 2);
    }

    #[test]
    fn the_policy_says_how_many_changes_how_much_is_shared_and_what_happens_beyond() {
        type Refuse = fn(PageRule) -> Refusal;
        let actions: [(&str, Refuse); 3] = [
            ("deny", Refusal::Denied),
            ("throttle", Refusal::RateLimit),
            ("kill", Refusal::Killed),
        ];
        for (action, refusal) in actions {
            let recorder = recorder();
            let runtime = format!(
                "page_state_changes = {{ per_second = \"any\", total = 40 }}\nshared_percent = 25\non_page_state = \"{action}\""
            );
            let states = states(&recorder, &runtime);
            let (ceiling, total) = (refusal(PageRule::Shared), refusal(PageRule::Changes));
            assert_eq!(states.convert(range(0, 16), Visibility::Shared), Ok(16));
            assert_eq!(states.convert(range(16, 1), Visibility::Shared), Err(ceiling), "ceiling");
            // Again what is shared already is no more than before.
            assert_eq!(states.convert(range(0, 16), Visibility::Shared), Ok(0));
            assert_eq!(states.convert(range(0, 8), Visibility::Private), Ok(8), "less is shared");
            assert_eq!(states.convert(range(0, 1), Visibility::Private), Err(total), "total");
        }
    }

    #[test]
    fn nothing_is_written_to_a_page_that_is_private_or_not_there() {
        let recorder = recorder();
        let states = states(&recorder, ANY);
        states.convert(range(1, 2), Visibility::Shared).unwrap();
        assert_eq!(states.write_shared(PAGE_SIZE, &[1; 8192]), Ok(()));
        assert_eq!(states.write_shared(PAGE_SIZE, &[1; 8193]), Err(Refusal::NotShared));
        assert_eq!(states.write_shared(PAGE_SIZE - 1, &[1; 2]), Err(Refusal::NotShared));
        assert_eq!(states.write_shared(u64::MAX - 4095, &[1; 4097]), Err(Refusal::NotRam));
        assert_eq!(states.write_shared(PAGES * PAGE_SIZE, &[1]), Err(Refusal::NotRam));
    }
}
