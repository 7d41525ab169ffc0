//! Sizes ("256M") and durations ("90s") as people write them.

use super::ConfigError;
use serde::Deserializer;
use serde::de::{Error, Visitor};
use std::fmt;
use std::time::Duration;

fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

/// Bytes of `text`: digits with K, M, G or T (powers of 1024); digits alone are MiB.
///
/// # Errors
/// [`ConfigError::Invalid`] for `field`.
pub fn parse_size(field: &'static str, text: &str) -> Result<u64, ConfigError> {
    let wrong =
        || ConfigError::invalid(field, format!("{text:?}"), "use a size such as 256M or 2G");
    let (digits, unit) = split(text.trim());
    let shift = match unit.trim().trim_end_matches(['B', 'i', 'b']) {
        "K" | "k" => 10,
        "" | "M" | "m" => 20,
        "G" | "g" => 30,
        "T" | "t" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A duration: digits with ms, s, m or h; digits alone are seconds.
///
/// # Errors
/// [`ConfigError::Invalid`] for `field`.
pub fn parse_duration(field: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = || {
        let remedy = "use a duration such as 500ms, 90s, 10m or 2h";
        ConfigError::invalid(field, format!("{text:?}"), remedy)
    };
    let (digits, unit) = split(text.trim());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let millis =
        number.checked_mul(millis).filter(|ms| (1..=1 << 40).contains(ms)).ok_or_else(wrong)?;
    Ok(Duration::from_millis(millis))
}

/// A text with a unit; a bare number is told to have quotes and a unit, since `256` would leave
/// open 256 of what.
pub(super) fn with_unit<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    struct Reader;
    impl Visitor<'_> for Reader {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text in quotes with a unit, such as \"256M\" or \"90s\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_any(Reader).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_never_wrap() {
        assert_eq!(parse_size("memory", "256M").unwrap(), 256 << 20);
        assert_eq!(parse_size("memory", "2 GiB").unwrap(), 2 << 30);
        assert_eq!(parse_size("memory", "512").unwrap(), 512 << 20);
        for bad in ["", "M", "1X", "-1M", "99999999999999T", "1.5G"] {
            assert!(parse_size("memory", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("timeout", "1500ms").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("timeout", "2m").unwrap(), Duration::from_secs(120));
        for bad in ["", "s", "0s", "5y", "99999999999999999999s"] {
            assert!(parse_duration("timeout", bad).is_err(), "{bad}");
        }
    }
}
