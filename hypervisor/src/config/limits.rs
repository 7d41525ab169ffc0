//! How much of a device its guest gets: `bandwidth`, and `iops` of a disk or `packets` of a network
//! device, each with what may come at once.

use super::{ConfigError, parse_size};
use casemate_device_process::{Limits, MAX_RATE, Rate};
use casemate_foreign_text::value;

/// Limits as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawLimits {
    /// Bytes in a second, such as "50M".
    pub bandwidth: Option<String>,
    /// Bytes at once.
    pub bandwidth_burst: Option<String>,
    /// Requests in a second, or frames.
    pub operations: Option<u64>,
    /// Requests at once, or frames.
    pub operations_burst: Option<u64>,
    /// What its operations are called.
    pub of: LimitsOf,
}

/// What limits are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitsOf {
    /// A disk, whose operations are requests.
    #[default]
    Disk,
    /// A network device, whose operations are frames.
    Net,
}

impl LimitsOf {
    /// The keys of a configuration: bytes, bytes at once, operations, operations at once.
    const fn keys(self) -> [&'static str; 4] {
        match self {
            Self::Disk => {
                ["disk.bandwidth", "disk.bandwidth_burst", "disk.iops", "disk.iops_burst"]
            }
            Self::Net => {
                ["net.bandwidth", "net.bandwidth_burst", "net.packets", "net.packets_burst"]
            }
        }
    }

    /// What to write for limits in one line.
    pub(super) const fn flags(self) -> &'static str {
        match self {
            Self::Disk => "[,bandwidth=SIZE][,bandwidth_burst=SIZE][,iops=N][,iops_burst=N]",
            Self::Net => "[,bandwidth=SIZE][,bandwidth_burst=SIZE][,packets=N][,packets_burst=N]",
        }
    }
}

impl RawLimits {
    /// The limits of words such as `iops=500`, each once; the word `none` alone takes every limit
    /// away. Words about frames are of a network device, all others of a disk.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_words(words: &[String]) -> Result<Self, ConfigError> {
        let of_net = words.iter().any(|word| word.starts_with("packets"));
        let of = if of_net { LimitsOf::Net } else { LimitsOf::Disk };
        let mut limits = Self { of, ..Self::default() };
        if let [none] = words
            && none == "none"
        {
            return Ok(limits);
        }
        for word in words {
            let taken = word.split_once('=').is_some_and(|(key, text)| limits.take(key, text));
            if !taken {
                let remedy = "write bandwidth=SIZE, bandwidth_burst=SIZE, and of a disk iops=N, \
                              iops_burst=N, of a network device packets=N, packets_burst=N, each \
                              at most once, or `none` alone";
                let shown = format!("\"{}\"", value(word).at_most(64));
                return Err(ConfigError::invalid("limit", shown, remedy));
            }
        }
        Ok(limits)
    }

    /// Takes one; false when it is none, or was there already.
    pub(super) fn take(&mut self, key: &str, text: &str) -> bool {
        let text_of =
            |slot: &mut Option<String>| !text.is_empty() && slot.replace(text.to_owned()).is_none();
        let number_of = |slot: &mut Option<u64>| {
            // `parse` would take a sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(number) if digits => slot.replace(number).is_none(),
                _ => false,
            }
        };
        let keys = self.of.keys().map(|known| known.rsplit('.').next().unwrap_or(known));
        match keys.iter().position(|known| *known == key) {
            Some(0) => text_of(&mut self.bandwidth),
            Some(1) => text_of(&mut self.bandwidth_burst),
            Some(2) => number_of(&mut self.operations),
            Some(3) => number_of(&mut self.operations_burst),
            _ => false,
        }
    }

    /// Checks them.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for limits that contradict each other.
    pub fn check(&self) -> Result<Limits, ConfigError> {
        let size = |field, text: &Option<String>| {
            text.as_deref().map(|text| parse_size(field, text)).transpose()
        };
        let [bandwidth, burst, each, each_burst] = self.of.keys();
        let bytes = (size(bandwidth, &self.bandwidth)?, size(burst, &self.bandwidth_burst)?);
        let operations = (self.operations, self.operations_burst);
        Ok(Limits {
            bytes: rate((bandwidth, burst), bytes)?,
            operations: rate((each, each_burst), operations)?,
        })
    }
}

/// A rate of its two keys. Without a burst, as much at once as comes in a second.
fn rate(
    (field, burst_field): (&'static str, &'static str),
    written: (Option<u64>, Option<u64>),
) -> Result<Option<Rate>, ConfigError> {
    let (per_second, burst) = match written {
        (None, None) => return Ok(None),
        (None, Some(burst)) => {
            let remedy = format!("it is what `{field}` lets through at once: write that, too");
            return Err(ConfigError::invalid(burst_field, burst, remedy));
        }
        (Some(per_second), burst) => (per_second, burst.unwrap_or(per_second)),
    };
    if let Some(rate) = Rate::new(per_second, burst) {
        return Ok(Some(rate));
    }
    if !(1..=MAX_RATE).contains(&per_second) {
        let remedy = format!("use 1 to {MAX_RATE}, or leave it out for no limit");
        return Err(ConfigError::invalid(field, per_second, remedy));
    }
    let least = (per_second / 1000).max(1);
    let remedy = format!(
        "`{field}` is {per_second}, which could not be had with that: use {least} to {MAX_RATE}"
    );
    Err(ConfigError::invalid(burst_field, burst, remedy))
}

#[cfg(test)]
mod tests {
    use super::RawLimits;
    use casemate_device_process::{Limits, Rate};

    fn limits(words: &str) -> Result<Limits, String> {
        let words: Vec<_> = words.split_whitespace().map(String::from).collect();
        let raw = RawLimits::from_words(&words).map_err(|e| e.to_string())?;
        raw.check().map_err(|e| e.to_string())
    }

    #[test]
    fn a_burst_is_what_comes_in_a_second_unless_it_is_written() {
        let all = limits("iops=500 bandwidth=20M bandwidth_burst=1G").unwrap();
        assert_eq!(all.operations, Rate::new(500, 500));
        assert_eq!(all.bytes, Rate::new(20 << 20, 1 << 30));
        assert_eq!(limits("none"), Ok(Limits::default()));
        let of_net = limits("packets=500 packets_burst=9 bandwidth=20M").unwrap();
        assert_eq!(of_net.operations, Rate::new(500, 9));
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused_by_key() {
        for (words, field) in [
            ("iops_burst=5", "disk.iops_burst"),
            ("bandwidth_burst=5M", "disk.bandwidth_burst"),
            ("iops=0", "disk.iops"),
            ("iops=5 iops_burst=0", "disk.iops_burst"),
            ("iops=1000000 iops_burst=999", "disk.iops_burst"),
            ("bandwidth=0", "disk.bandwidth"),
            ("bandwidth=lots", "disk.bandwidth"),
            ("bandwidth=99999999T", "disk.bandwidth"),
            ("iops=1 iops=2", "limit"),
            ("iops=1 packets=2", "limit"),
            ("packets=0", "net.packets"),
            ("packets=1 bandwidth_burst=5M", "net.bandwidth_burst"),
            ("iops=-1", "limit"),
            ("iops=+1", "limit"),
            ("iops", "limit"),
            ("none iops=1", "limit"),
            ("\u{1b}[2J=1", "limit"),
        ] {
            let error = limits(words).unwrap_err();
            assert!(error.starts_with(&format!("`{field}` is")), "{words}: {error}");
            assert!(!error.contains('\u{1b}'), "{error}");
        }
    }
}
