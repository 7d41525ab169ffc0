//! UTC times as RFC 3339 text and as seconds since 1970-01-01.

const DAY: u64 = 86_400;

/// Seconds of `2026-01-31T23:59:59Z`; `None` for any other form, an impossible date, or before 1970.
pub(crate) fn parse_utc(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let at = |index: usize, byte: u8| bytes.get(index) == Some(&byte);
    let separators =
        at(4, b'-') && at(7, b'-') && at(10, b'T') && at(13, b':') && at(16, b':') && at(19, b'Z');
    if bytes.len() != 20 || !separators {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
    (format_utc(seconds) == text).then_some(seconds)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, for years from 1970 on.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last.
    let y = if month <= 2 { year - 1 } else { year };
    let m = (month + 9) % 12;
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    (y * 365 + y / 4 + y / 400 + day_of_year).checked_sub(y / 100 + 719_468)
}

/// RFC 3339 text of a number of seconds; years above 9999 are shown as they are.
pub(crate) fn format_utc(seconds: u64) -> String {
    let mut out = String::with_capacity(20);
    write_utc(&mut out, seconds);
    out.push('Z');
    out
}

/// Appends the text of [`format_utc`] without its `Z`.
pub(crate) fn write_utc(out: &mut String, seconds: u64) {
    let z = seconds / DAY + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * m + 2) / 5 + 1;
    let month = if m < 10 { m + 3 } else { m - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let s = seconds % DAY;
    let parts = [
        (year, 4, None),
        (month, 2, Some('-')),
        (day, 2, Some('-')),
        (s / 3600, 2, Some('T')),
        (s / 60 % 60, 2, Some(':')),
        (s % 60, 2, Some(':')),
    ];
    for (number, width, before) in parts {
        out.extend(before);
        write_padded(out, number, width);
    }
}

/// Appends a number in decimal, with zeros before it up to `width` digits.
pub(crate) fn write_padded(out: &mut String, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut rest = number;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        if rest == 0 && used >= width.max(1) {
            break;
        }
        *slot = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
        used += 1;
    }
    let text = digits.get(digits.len() - used..).unwrap_or_default();
    out.push_str(std::str::from_utf8(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-25T15:33:37Z", 1_795_620_817),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(parse_utc(text), Some(seconds), "{text}");
            assert_eq!(format_utc(seconds), text);
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 1, 9, 10, 99, 1234, 1_000_000, u64::MAX] {
            for width in [0, 1, 2, 6] {
                let mut out = String::from("x");
                write_padded(&mut out, number, width);
                assert_eq!(out, format!("x{number:0width$}"));
            }
        }
    }

    #[test]
    fn impossible_times_are_refused() {
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01",
            "",
            "2026-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-01-01T00:00:00+",
            "２026-01-01T00:00:0Z",
        ] {
            assert_eq!(parse_utc(text), None, "{text}");
        }
    }
}
