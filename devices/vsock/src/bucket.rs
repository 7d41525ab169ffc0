//! How often something may happen: so many at once, and so many a second.

use std::time::Duration;

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    size: u32,
    per_second: u32,
    left: u32,
    /// When the tokens that are left were counted.
    at: Duration,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn full(size: u32, per_second: u32) -> Self {
        Self { size, per_second, left: size, at: Duration::ZERO }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at);
        let new = passed.as_millis().saturating_mul(self.per_second.into()) / 1000;
        if new > 0 {
            // The rest of a token is lost, less than one.
            self.at = now;
            let new = u32::try_from(new).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(new).min(self.size);
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::Bucket;
    use std::time::Duration;

    #[test]
    fn a_burst_is_bounded_and_tokens_come_back_with_time() {
        let mut bucket = Bucket::full(3, 10);
        let at = Duration::from_millis;
        assert_eq!([(); 4].map(|()| bucket.take(at(0))), [true, true, true, false]);
        assert!(!bucket.take(at(99)));
        assert!(bucket.take(at(100)) && !bucket.take(at(150)));
        assert_eq!([(); 4].map(|()| bucket.take(at(100_000))), [true, true, true, false]);
    }
}
