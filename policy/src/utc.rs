//! The one calendar: UTC as text of RFC 3339 and as seconds since 1970-01-01.
//!
//! Documents, inputs, records and, through the verifier, evidence are all read and written with
//! it. It knows the proleptic Gregorian calendar and no leap seconds (POSIX.1-2024, 4.19, "Seconds
//! Since the Epoch"), so that every day has 86 400 seconds and a time has one number and one text.

const DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
///
/// The conversions count from a first of March, so that the leap day is the last of its year, and
/// from a year that 400 divides, so that the calendar's cycle begins there.
const TO_EPOCH: u64 = 719_468;
/// Days in the 400 years after which the Gregorian calendar repeats: 400 · 365 + 100 − 4 + 1.
const CYCLE: u64 = 146_097;

/// The last second that has a text of four digits for the year, `9999-12-31T23:59:59Z`.
pub const LAST: u64 = 253_402_300_799;

/// Seconds since 1970 of `2026-01-31T23:59:59Z`; `None` for any other form, an impossible date, a
/// time before 1970 or the second 60.
///
/// RFC 3339 (5.6) also has offsets, fractions, and lower-case letters; one time then has many
/// texts, of which two documents could hold different ones. Only one form is read here.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> {
        // Every slice is taken by `get`: a text of 20 bytes may have characters of several, and a
        // position within one.
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
    // `days` takes any day up to 31. The 30th of February is a number too, that of a day in March,
    // whose text is another: written back, only a date that exists gives what was read.
    (format(seconds) == text).then_some(seconds)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, for years from 1970 on; a day that
/// its month has not counts on into the next.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last. From March on, months have 31,
    // 30, 31, 30, 31 days, twice over, and then 31 and what is left: 153 days in five months, which
    // `(153 * m + 2) / 5` spreads as the calendar does.
    let y = if month <= 2 { year - 1 } else { year };
    let m = (month + 9) % 12;
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    // Years 1970 on and at most 9999 (four digits): nothing overflows. January 1970 counts as the
    // year 1969, of which the subtraction leaves day 0 and not less.
    (y * 365 + y / 4 + y / 400 + day_of_year).checked_sub(y / 100 + TO_EPOCH)
}

/// The text of RFC 3339 for a number of seconds since 1970. A time after [`LAST`] has a year of
/// more than four digits, for people to see; [`parse`] does not read it.
#[must_use]
pub fn format(seconds: u64) -> String {
    let mut out = String::with_capacity(20);
    write(&mut out, seconds);
    out.push('Z');
    out
}

/// Appends the text of [`format`] without its `Z`.
pub(crate) fn write(out: &mut String, seconds: u64) {
    let z = seconds / DAY + TO_EPOCH;
    let era = z / CYCLE;
    let day_of_era = z % CYCLE;
    // The inverse of `days`. Leap days are taken out first (one after each 4 years, 1460 days; not
    // after each 100 years, 36 524 days; but on the last day of the cycle, 146 096), so that the
    // quotient by 365 is the year also on the leap day itself.
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
        // At least one digit, at least `width`, and then as many as there are.
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
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(format(seconds), text);
        }
        assert_eq!(parse(&format(LAST)), Some(LAST));
        assert_eq!(format(LAST + 1), "10000-01-01T00:00:00Z");
        assert_eq!(parse("10000-01-01T00:00:00Z"), None);
    }

    /// Protects the arithmetic with the calendar's own rule, counted day by day; it cannot tell a
    /// wrong rule.
    #[test]
    fn each_day_of_a_cycle_follows_the_one_before() {
        let leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let mut at = 0;
        for year in 1970..2402_u64 {
            let february = if leap(year) { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, length) in (1_u64..).zip(lengths) {
                for day in 1..=length {
                    let text = format!("{year}-{month:02}-{day:02}T00:00:00Z");
                    assert_eq!((format(at), parse(&text)), (text, Some(at)));
                    at += DAY;
                }
                let after = format!("{year}-{month:02}-{:02}T00:00:00Z", length + 1);
                assert_eq!(parse(&after), None, "{after}");
            }
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
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
