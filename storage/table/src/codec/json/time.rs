//! Dates and times of ISO 8601: years 0000 to 9999 of the Gregorian calendar.

/// Two ASCII digits at `at`, at most `max`.
fn two(bytes: &[u8], at: usize, max: i64) -> Option<i64> {
    let (tens, ones) = (bytes.get(at)?.wrapping_sub(b'0'), bytes.get(at + 1)?.wrapping_sub(b'0'));
    let value = i64::from(tens) * 10 + i64::from(ones);
    (tens < 10 && ones < 10 && value <= max).then_some(value)
}

/// Days since 1970-01-01 of `YYYY-MM-DD` at the start, and its length.
pub(super) fn parse_date(bytes: &[u8]) -> Option<(i64, usize)> {
    let year = two(bytes, 0, 99)? * 100 + two(bytes, 2, 99)?;
    let (month, day) = (two(bytes, 5, 12)?, two(bytes, 8, 31)?);
    if bytes[4] != b'-' || bytes[7] != b'-' || month == 0 || day == 0 || day > days_of(year, month) {
        return None;
    }
    Some((days(year, month, day), 10))
}

/// Days since 1970-01-01; `None`: there is no such day in the years 0000 to 9999.
pub(crate) fn days_of_date(year: i64, month: i64, day: i64) -> Option<i64> {
    let exists = (0..=9999).contains(&year) && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    exists.then(|| days(year, month, day))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years begin in March here, so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of days since 1970-01-01; `None` outside of the years 0000 to 9999.
pub(crate) fn civil(days: i64) -> Option<(i64, i64, i64)> {
    // 0000-01-01 and 9999-12-31.
    if !(-719_528..=2_932_896).contains(&days) {
        return None;
    }
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Some((year, month, of_year - (153 * march + 2) / 5 + 1))
}

/// Seconds of the day, nanoseconds and length of `HH:MM:SS[.f...]` (1 to 9 digits) at the start.
pub(super) fn parse_clock(bytes: &[u8]) -> Option<(i64, i64, usize)> {
    let (hours, minutes, seconds) = (two(bytes, 0, 23)?, two(bytes, 3, 59)?, two(bytes, 6, 59)?);
    if bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60 + seconds;
    if bytes.get(8) != Some(&b'.') {
        return Some((seconds, 0, 8));
    }
    let digits = bytes[9..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let nanos =
        (0..9).fold(0, |nanos, index| nanos * 10 + if index < digits { i64::from(bytes[9 + index] - b'0') } else { 0 });
    Some((seconds, nanos, 9 + digits))
}

/// Minutes east of UTC of `Z`, `+HH:MM`, `+HHMM` or `+HH`, to the end.
pub(super) fn parse_zone(bytes: &[u8]) -> Option<i64> {
    let sign = match bytes.first()? {
        b'Z' | b'z' if bytes.len() == 1 => return Some(0),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = two(bytes, 1, 23)?;
    let minutes = match bytes.len() {
        3 => 0,
        5 => two(bytes, 3, 59)?,
        6 if bytes[3] == b':' => two(bytes, 4, 59)?,
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes))
}
