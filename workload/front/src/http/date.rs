//! The `Date` of an answer (RFC 9110, section 5.6.7), from which a guest sets its clock.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 31 December 9999: what four digits of a year can say.
const LAST: u64 = 253_402_300_799;

/// The date of a time in seconds since 1970.
pub(super) fn date(seconds: u64) -> String {
    let seconds = seconds.min(LAST);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut day) = (1970, days);
    while day >= days_of(year) {
        day -= days_of(year);
        year += 1;
    }
    let leap = u64::from(days_of(year) == 366);
    let mut months = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter();
    let mut month = MONTHS.iter();
    while let Some(length) = months.next().filter(|length| day >= *length) {
        day -= length;
        month.next();
    }
    let name = DAYS.iter().cycle().nth(usize::try_from(days % 7).unwrap_or(0));
    let (name, month) = (name.copied().unwrap_or(""), month.next().copied().unwrap_or(""));
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let day = day + 1;
    format!("{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

const fn days_of(year: u64) -> u64 {
    if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) {
        366
    } else {
        365
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    /// Protects a guest's clock, which is set from this. The values are GNU date's.
    #[test]
    fn dates_are_those_of_the_standard() {
        let known = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_772_323_200, "Sun, 01 Mar 2026 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (seconds, text) in known {
            assert_eq!(date(seconds), text);
        }
    }
}
