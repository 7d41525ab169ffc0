//! Token buckets: how much of a device a guest gets in a second, and how much at once.
//!
//! A bucket fills with the time, up to its burst, and each request takes what it costs. A request
//! goes when there is anything left, whatever it costs, and what it takes beyond that is a debt
//! that time pays first: so what goes in the long run is exact without that a request, of a size
//! that only its guest knows, is ever cut or kept waiting for a bucket that is too small for it.
//!
//! There is no clock here: who uses a bucket says how many milliseconds have passed.

use std::time::Duration;

/// The greatest rate and burst: no product of it with a time leaves an `i128`.
pub const MAX_RATE: u64 = 1 << 50;

/// So many in a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// A rate; None where the two contradict each other: no rate, no burst, a burst that is less
    /// than comes in a millisecond, so that the rate could not be had, or more than [`MAX_RATE`].
    #[must_use]
    pub const fn new(per_second: u64, burst: u64) -> Option<Self> {
        let fits = per_second <= MAX_RATE && burst <= MAX_RATE;
        if fits && per_second > 0 && burst > 0 && burst >= per_second / 1000 {
            Some(Self { per_second, burst })
        } else {
            None
        }
    }

    /// How many in a second.
    #[must_use]
    pub const fn per_second(self) -> u64 {
        self.per_second
    }

    /// How many at once.
    #[must_use]
    pub const fn burst(self) -> u64 {
        self.burst
    }
}

/// The limits of a device; None is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that the descriptors of requests hold.
    pub bytes: Option<Rate>,
    /// Requests.
    pub operations: Option<Rate>,
}

impl Limits {
    /// Bytes of what [`Limits::encode`] gives.
    pub const BYTES: usize = 32;

    /// For a message: four numbers, two zeros where there is no limit.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let numbers =
            |rate: Option<Rate>| rate.map_or([0; 2], |rate| [rate.per_second, rate.burst]);
        let numbers = [numbers(self.bytes), numbers(self.operations)];
        let mut bytes = [0; Self::BYTES];
        let parts = numbers.as_flattened().iter().flat_map(|number| number.to_le_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Out of such a message; None where it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (numbers, _) = bytes.as_chunks::<8>();
        let rate = |per_second: &[u8; 8], burst: &[u8; 8]| match (
            u64::from_le_bytes(*per_second),
            u64::from_le_bytes(*burst),
        ) {
            (0, 0) => Some(None),
            (per_second, burst) => Rate::new(per_second, burst).map(Some),
        };
        let [a, b, c, d] = numbers else { return None };
        Some(Self { bytes: rate(a, b)?, operations: rate(c, d)? })
    }
}

/// One bucket. Tokens are counted in thousandths, of which a millisecond brings as many as a second
/// brings tokens: no rate is too small to be exact.
#[derive(Debug)]
struct Bucket {
    rate: Rate,
    left: i128,
}

impl Bucket {
    const fn full(rate: Rate) -> Self {
        Self { rate, left: rate.burst as i128 * 1000 }
    }

    fn pass(&mut self, millis: u64) {
        let new = i128::from(millis).saturating_mul(self.rate.per_second.into());
        let most = i128::from(self.rate.burst).saturating_mul(1000);
        self.left = self.left.saturating_add(new).min(most);
    }

    fn spend(&mut self, tokens: u64) {
        self.left = self.left.saturating_sub(i128::from(tokens).saturating_mul(1000));
    }

    /// Milliseconds until something is left; none when there is.
    fn wait(&self) -> u64 {
        if self.left > 0 {
            return 0;
        }
        let missing = self.left.unsigned_abs().saturating_add(1);
        u64::try_from(missing.div_ceil(self.rate.per_second.into())).unwrap_or(u64::MAX)
    }
}

/// The buckets of a device.
#[derive(Debug, Default)]
pub struct Buckets {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Buckets {
    /// Full ones.
    #[must_use]
    pub fn full(limits: Limits) -> Self {
        Self {
            bytes: limits.bytes.map(Bucket::full),
            operations: limits.operations.map(Bucket::full),
        }
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Bucket> {
        self.bytes.iter_mut().chain(&mut self.operations)
    }

    /// So many milliseconds have passed.
    pub fn pass(&mut self, millis: u64) {
        self.each().for_each(|bucket| bucket.pass(millis));
    }

    /// Takes what a request of so many bytes costs.
    pub fn spend(&mut self, bytes: u64) {
        self.bytes.iter_mut().for_each(|bucket| bucket.spend(bytes));
        self.operations.iter_mut().for_each(|bucket| bucket.spend(1));
    }

    /// How long the next request has to wait; None when it goes now.
    pub fn wait(&mut self) -> Option<Duration> {
        let millis = self.each().map(|bucket| bucket.wait()).max().unwrap_or(0);
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

#[cfg(test)]
mod tests {
    //! Protects a host from a guest that wants more of a device than it has been given, and a guest
    //! from getting less. The clock is given; what a real one does is not seen here.

    use super::{Buckets, Limits, MAX_RATE, Rate};
    use proptest::prelude::*;
    use std::time::Duration;

    fn rate() -> impl Strategy<Value = Rate> {
        let near = (1..2000_u64, 1..4000_u64);
        let any = (1..=MAX_RATE, 1..=MAX_RATE);
        prop_oneof![near, any].prop_filter_map("contradicts itself", |(a, b)| Rate::new(a, b))
    }

    proptest! {
        #[test]
        fn no_more_goes_than_the_burst_and_the_rate_and_one_request(
            rate in rate(),
            steps in prop::collection::vec((0..5000_u64, 1..=1_u64 << 40), 1..80),
        ) {
            let limits = Limits { bytes: Some(rate), operations: None };
            let mut buckets = Buckets::full(limits);
            let (mut millis, mut gone) = (0_u128, 0_u128);
            for (passed, bytes) in steps {
                buckets.pass(passed);
                millis += u128::from(passed);
                if buckets.wait().is_none() {
                    let admitted =
                        u128::from(rate.burst()) * 1000 + millis * u128::from(rate.per_second());
                    prop_assert!(gone * 1000 < admitted, "before this request");
                    buckets.spend(bytes);
                    gone += u128::from(bytes);
                }
            }
        }

        /// And no less: who waits as long as is said goes then, and would not have gone before.
        #[test]
        fn a_wait_is_as_long_as_it_must_be_and_no_longer(
            bytes in rate(), operations in rate(), sizes in prop::collection::vec(0..1_u64 << 50, 1..40),
        ) {
            let mut buckets =
                Buckets::full(Limits { bytes: Some(bytes), operations: Some(operations) });
            for size in sizes {
                if let Some(wait) = buckets.wait() {
                    let millis = u64::try_from(wait.as_millis()).unwrap();
                    buckets.pass(millis - 1);
                    prop_assert_eq!(buckets.wait(), Some(Duration::from_millis(1)));
                    buckets.pass(1);
                    prop_assert_eq!(buckets.wait(), None);
                }
                buckets.spend(size);
            }
        }

        #[test]
        fn limits_survive_the_trip_and_nothing_else_is_one(bytes in any::<[u8; 32]>(), a in rate(), b in rate()) {
            let all = [(None, None), (Some(a), None), (None, Some(b)), (Some(a), Some(b))];
            for (bytes, operations) in all {
                let limits = Limits { bytes, operations };
                prop_assert_eq!(Limits::decode(&limits.encode()), Some(limits));
                prop_assert_eq!(Limits::decode(&limits.encode()[1..]), None);
            }
            if let Some(limits) = Limits::decode(&bytes) {
                prop_assert_eq!(limits.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_rate_and_a_burst_that_contradict_each_other_are_none() {
        let none = [(0, 1), (1, 0), (1_000_000, 999), (MAX_RATE + 1, MAX_RATE)];
        for (per_second, burst) in none.into_iter().chain([(1, MAX_RATE + 1)]) {
            assert_eq!(Rate::new(per_second, burst), None, "{per_second} {burst}");
        }
        assert!(Rate::new(1_000_000, 1000).is_some() && Rate::new(MAX_RATE, MAX_RATE).is_some());
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let mut buckets = Buckets::full(Limits::default());
        buckets.spend(u64::MAX);
        assert_eq!(buckets.wait(), None);
    }
}
