//! Token buckets: what a guest gets of a device.

use crate::Values;
use casemate_device_backend::{Buckets, Limits, MAX_RATE, Rate};

const RATES: &[u64] =
    &[0, 1, 2, 999, 1000, 1001, 1_000_000, MAX_RATE - 1, MAX_RATE, MAX_RATE + 1, u64::MAX];
const TIMES: &[u64] = &[0, 1, 2, 999, 1000, 1 << 40, u64::MAX];
const SIZES: &[u64] = &[0, 1, 1000, 1 << 20, 1 << 50, u64::MAX];

fn rate(values: &mut dyn Values) -> Option<Rate> {
    Rate::new(values.number(RATES), values.number(RATES))
}

fn millis(buckets: &mut Buckets) -> u64 {
    buckets.wait().map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

super::properties! {
    /// A rate exists exactly when its burst holds at least what comes in a millisecond.
    fn a_rate_and_its_burst_do_not_contradict_each_other(values) {
        let (per_second, burst) = (values.number(RATES), values.number(RATES));
        let legal = (1..=MAX_RATE).contains(&per_second)
            && (1..=MAX_RATE).contains(&burst)
            && u128::from(burst) >= u128::from(per_second) / 1000;
        assert_eq!(Rate::new(per_second, burst).is_some(), legal);
    }

    /// A full bucket admits the first request, whatever it costs.
    fn the_first_request_goes_at_once(values) {
        if let Some(rate) = rate(values) {
            let mut buckets = Buckets::full(Limits { bytes: Some(rate), operations: None });
            assert!(buckets.wait().is_none());
            buckets.spend(values.number(SIZES));
        }
    }

    /// Who waits as long as is said goes then, and does not go a millisecond before.
    fn a_wait_is_as_long_as_it_must_be(values) {
        if let Some(rate) = rate(values) {
            let mut buckets = Buckets::full(Limits { bytes: Some(rate), operations: None });
            buckets.spend(values.number(SIZES));
            let wait = millis(&mut buckets);
            if wait > 1 && wait < u64::MAX {
                buckets.pass(wait - 1);
                assert_eq!(millis(&mut buckets), 1);
                buckets.pass(1);
            } else {
                buckets.pass(wait);
            }
            assert!(wait == u64::MAX || buckets.wait().is_none());
        }
    }

    /// No time that passes and no request of any size takes a bucket beyond its burst, or panics.
    fn a_bucket_never_holds_more_than_its_burst(values) {
        if let Some(rate) = rate(values) {
            let mut buckets = Buckets::full(Limits { bytes: Some(rate), operations: None });
            buckets.spend(values.number(SIZES));
            buckets.pass(values.number(TIMES));
            buckets.pass(values.number(TIMES));
            // However long nobody asked: after the burst and one more there is a wait.
            if buckets.wait().is_none() {
                buckets.spend(rate.burst());
                buckets.spend(1);
                assert!(buckets.wait().is_some());
            }
        }
    }

    /// Limits read back as they were written, and what reads as limits has one way to be written.
    fn limits_have_one_encoding(values) {
        if values.flag() {
            let limits = Limits { bytes: rate(values), operations: rate(values) };
            assert_eq!(Limits::decode(&limits.encode()), Some(limits));
            return;
        }
        let numbers = [(); 4].map(|()| values.number(RATES).to_le_bytes());
        if let Some(limits) = Limits::decode(numbers.as_flattened()) {
            assert_eq!(&limits.encode()[..], numbers.as_flattened());
        }
    }
}
