//! A time as the verifier reads, writes and asks for it: seconds since 1970. The calendar is
//! [`casemate_policy::utc`].

use casemate_policy::utc;
use std::time::{SystemTime, UNIX_EPOCH};

/// `YYYY-MM-DDThh:mm:ssZ`, for people and records. A time past the year 9999, which only a
/// certificate can claim, has no such text and is shown as a number.
#[must_use]
pub fn format(seconds: u64) -> String {
    if seconds > utc::LAST { format!("{seconds} s since 1970") } else { utc::format(seconds) }
}

/// Reads `YYYY-MM-DDThh:mm:ssZ`, `YYYY-MM-DD` (its first second) or seconds since 1970; `None` for
/// all else.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds);
    }
    // Ten digits would have been a number of seconds: what has this length here is a date or wrong.
    let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    utc::parse(&full)
}

/// This machine's clock, the only thing of this crate that asks for the time; judging takes it as
/// an argument. A clock set before 1970 counts as 1970, when no certificate is valid yet.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{format, parse};

    #[test]
    fn text_and_seconds_agree() {
        assert_eq!(parse("2026-03-22T02:39:46Z"), Some(1_774_147_186));
        assert_eq!(format(1_774_147_186), "2026-03-22T02:39:46Z");
        assert_eq!(parse("2026-03-22"), Some(1_774_137_600));
        for bad in ["yesterday", "2026-02-29", "2026-3-2", "2026-03-22T02:39:46z", "", "-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_without_a_year_of_four_digits_is_a_number() {
        assert_eq!(format(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(format(253_402_300_800), "253402300800 s since 1970");
        assert_eq!(format(u64::MAX), "18446744073709551615 s since 1970");
    }
}
