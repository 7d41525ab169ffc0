//! Seconds since 1970 and the one text form used here, `YYYY-MM-DDThh:mm:ssZ`.

use der::DateTime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Text for people and records; a time past year 9999 is shown as a number.
#[must_use]
pub fn format(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds))
        .map_or_else(|_| format!("{seconds} s since 1970"), |time| time.to_string())
}

/// Reads `YYYY-MM-DDThh:mm:ssZ`, `YYYY-MM-DD` or seconds since 1970.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds);
    }
    let full = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    full.parse::<DateTime>().ok().map(|time| time.unix_duration().as_secs())
}

/// The present time of this machine.
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
        assert_eq!(parse("yesterday"), None);
    }
}
