//! `--vcpus 4`, `--vcpus 1-16`: numbers of vCPUs, each with a launch digest of its own.

use std::str::FromStr;

/// Most vCPUs that a digest is computed for: what any of the VMMs launches.
const MOST: u32 = 512;

/// One number of vCPUs, or several that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    first: u32,
    last: u32,
}

impl Counts {
    /// One vCPU.
    pub(super) const ONE: Self = Self::only(1);

    /// This number alone.
    pub(super) const fn only(count: u32) -> Self {
        Self { first: count, last: count }
    }

    /// The numbers, ascending.
    pub(super) fn each(self) -> impl Iterator<Item = u32> {
        self.first..=self.last
    }

    /// Whether there is more than one.
    #[cfg(feature = "vm")]
    pub(super) const fn several(self) -> bool {
        self.first != self.last
    }

    /// The highest.
    #[cfg(feature = "vm")]
    pub(super) const fn last(self) -> u32 {
        self.last
    }
}

impl FromStr for Counts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse().ok().filter(|count| (1..=MOST).contains(count));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("use a number from 1 to {MOST}, or a range such as 1-16")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ascending_ranges_are_read_and_nothing_else() {
        let all =
            |text: &str| text.parse::<Counts>().map(|counts| counts.each().collect::<Vec<_>>());
        assert_eq!(all("4"), Ok(vec![4]));
        assert_eq!(all("2-5"), Ok(vec![2, 3, 4, 5]));
        assert_eq!(all("7-7"), Ok(vec![7]));
        for bad in ["", "0", "-", "1-", "-3", "3-2", "1-2-3", "1-513", "4294967296", "+1-2 ", "two"]
        {
            assert!(all(bad).is_err(), "{bad}");
        }
    }
}
