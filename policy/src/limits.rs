//! Stateful points: limits on what a running guest does. State goes in and comes out, so every
//! decision replays from a log; time is a number that the caller brings.

use crate::decide::Verdict;
use crate::fields::Point;
use crate::lattice::{Lattice, Limit, Usage};
use crate::policy::Policy;
use crate::rule::Rule;
use crate::runtime_rule::PageRule;

/// Nanoseconds of a window.
const SECOND: u64 = 1_000_000_000;

/// What was used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    window: u64,
    usage: Usage,
}

impl Counter {
    /// A counter of which nothing is used, in the first second of its clock.
    #[must_use]
    pub const fn new() -> Self {
        Self { window: 0, usage: Usage { in_second: 0, total: 0 } }
    }

    /// What was used so far, in this second and in all.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// The counter after `amount` more at `now`, nanoseconds of a clock that does not go back.
    /// Should the clock go back all the same, the old window goes on: that cannot admit more.
    #[must_use]
    pub const fn add(self, now: u64, amount: u64) -> Self {
        let window = now / SECOND;
        // A window is a second by the clock's own count, not a second since the first use: two
        // limits then have an exact meet (see `Limit`).
        let fresh = window > self.window;
        let in_second = if fresh { amount } else { self.usage.in_second.saturating_add(amount) };
        Self {
            window: if fresh { window } else { self.window },
            usage: Usage { in_second, total: self.usage.total.saturating_add(amount) },
        }
    }
}

/// One limit of a policy, ready for a hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimit {
    pub(crate) limit: Limit,
    pub(crate) on_denied: Verdict,
}

impl RequestLimit {
    /// Decides whether `amount` more may be used at `now` nanoseconds, and returns the counter to
    /// go on with. A request that is not allowed uses nothing.
    #[must_use]
    #[inline]
    pub fn step(&self, counter: Counter, now: u64, amount: u64) -> (Verdict, Counter) {
        // Added before it is judged: a usage includes the request. A refused one leaves the counter
        // as it was, so that refused requests do not use up what others may have.
        let after = counter.add(now, amount);
        if self.limit.admits(&after.usage) {
            (Verdict::Allow, after)
        } else {
            (self.on_denied, counter)
        }
    }
}

/// What a denial can be, in the order of [`PageStateLimits::to_bytes`].
pub(crate) const VERDICTS: [Verdict; 3] = [Verdict::Deny, Verdict::Throttle, Verdict::Kill];

/// The limits on page-state changes, ready for the vCPU loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageStateLimits {
    changes: RequestLimit,
    shared_percent: u64,
}

impl PageStateLimits {
    /// Bytes of the limits on their way to another process.
    pub const BYTES: usize = 25;

    /// The limits for another process, which has no policy: per second, in all, percent,
    /// little-endian, and what a denial is.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let RequestLimit { limit, on_denied } = self.changes;
        let words = [limit.per_second(), limit.total(), self.shared_percent];
        let denied = VERDICTS.iter().position(|verdict| *verdict == on_denied).unwrap_or(0);
        let all = words.into_iter().flat_map(u64::to_le_bytes);
        let mut bytes = [0; Self::BYTES];
        for (to, from) in bytes.iter_mut().zip(all.chain([u8::try_from(denied).unwrap_or(0)])) {
            *to = from;
        }
        bytes
    }

    /// The limits in these bytes; None when no policy has such limits.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [words @ .., denied] = bytes;
        // 24 bytes are three words exactly; the last byte is the kind of denial.
        let mut words = words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let (per_second, total, shared_percent) = (words.next()?, words.next()?, words.next()?);
        let on_denied = *VERDICTS.get(usize::from(*denied))?;
        let limit = Limit::new(per_second, total);
        // One limit has one spelling, that of `Limit::new`.
        let known = (limit.per_second(), limit.total()) == (per_second, total);
        let changes = RequestLimit { limit, on_denied };
        known.then_some(Self { changes, shared_percent })
    }

    /// Decides whether `pages` may change state at `now` nanoseconds, after which `shared` of `all`
    /// pages of the guest are shared. Returns the counter to go on with.
    #[must_use]
    #[inline]
    pub fn step(
        &self,
        counter: Counter,
        now: u64,
        pages: u64,
        shared: u64,
        all: u64,
    ) -> (Verdict, Counter) {
        if self.is_over_share(shared, all) {
            return (self.changes.on_denied, counter);
        }
        self.changes.step(counter, now, pages)
    }

    /// Whether `shared` of `all` pages of a guest may be shared at once.
    #[must_use]
    pub fn admits_share(&self, shared: u64, all: u64) -> bool {
        !self.is_over_share(shared, all)
    }

    /// How many of a hundred pages may be shared; beyond 100 where all may.
    #[must_use]
    pub const fn shared_percent(&self) -> u64 {
        self.shared_percent
    }

    /// The rule that denies what [`PageStateLimits::step`] does not allow with these numbers.
    #[must_use]
    pub fn denied_by(&self, shared: u64, all: u64) -> PageRule {
        if self.is_over_share(shared, all) { PageRule::Shared } else { PageRule::Changes }
    }

    /// Not shared / all <= percent / 100, in numbers that cannot overflow.
    fn is_over_share(&self, shared: u64, all: u64) -> bool {
        u128::from(shared) * 100 > u128::from(all) * u128::from(self.shared_percent)
    }
}

impl Policy {
    /// The limits on page-state changes, ready for a process without a policy.
    #[must_use]
    pub fn page_state_limits(&self) -> PageStateLimits {
        let shared_percent = match self.rule(PageRule::Shared.path()) {
            // A rule of another kind, or one that admits nothing, is no sharing at all: the strict
            // side.
            Some(Rule::Range(range)) if !range.is_empty() => range.max(),
            _ => 0,
        };
        let changes = self.limit(Point::PageState, PageRule::Changes.path());
        PageStateLimits { changes, shared_percent }
    }

    /// The limit on requests to the security processor, as [`Policy::page_state_limits`].
    #[must_use]
    pub fn guest_request_limit(&self) -> RequestLimit {
        self.limit(Point::GuestRequest, "runtime.guest_requests")
    }

    /// The limit on new connections, as [`Policy::page_state_limits`].
    #[must_use]
    pub fn connection_limit(&self) -> RequestLimit {
        self.limit(Point::EgressRate, "network.rate")
    }

    fn limit(&self, point: Point, path: &str) -> RequestLimit {
        let limit = match self.rule(path) {
            Some(Rule::Limit(limit)) => *limit,
            _ => Limit::bottom(),
        };
        RequestLimit { limit, on_denied: self.on_denied(point) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u64, total: u64) -> RequestLimit {
        RequestLimit { limit: Limit::new(per_second, total), on_denied: Verdict::Throttle }
    }

    #[test]
    fn a_window_ends_with_its_second_and_the_total_does_not() {
        let limit = limit(2, 3);
        let (v1, c) = limit.step(Counter::new(), 0, 2);
        let (v2, c) = limit.step(c, SECOND - 1, 1);
        let (v3, c) = limit.step(c, SECOND, 1);
        let (v4, _) = limit.step(c, 9 * SECOND, 1);
        assert_eq!(
            [v1, v2, v3, v4],
            [Verdict::Allow, Verdict::Throttle, Verdict::Allow, Verdict::Throttle]
        );
    }

    #[test]
    fn a_denied_request_uses_nothing_and_counts_cannot_wrap() {
        let limit = limit(10, 10);
        let (verdict, counter) = limit.step(Counter::new(), 0, u64::MAX);
        assert_eq!((verdict, counter), (Verdict::Throttle, Counter::new()));
        let (_, counter) = limit.step(counter, 0, 1);
        assert_eq!(limit.step(counter, 0, u64::MAX).0, Verdict::Throttle);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_open_a_new_window() {
        let limit = limit(1, 10);
        let (_, counter) = limit.step(Counter::new(), 5 * SECOND, 1);
        assert_eq!(limit.step(counter, SECOND, 1).0, Verdict::Throttle);
    }

    #[test]
    fn the_shared_ceiling_is_exact_at_its_edge() {
        let limits = PageStateLimits { changes: limit(100, 100), shared_percent: 50 };
        assert_eq!(limits.step(Counter::new(), 0, 1, 50, 100).0, Verdict::Allow);
        assert_eq!(limits.step(Counter::new(), 0, 1, 51, 100).0, Verdict::Throttle);
        assert_eq!(limits.step(Counter::new(), 0, 1, 1, 0).0, Verdict::Throttle);
        assert_eq!(limits.step(Counter::new(), 0, 1, u64::MAX, u64::MAX).0, Verdict::Throttle);
    }
}
