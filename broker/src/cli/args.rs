//! Values of flags: offsets, times, durations, sizes, escapes. Pure functions from text to meaning.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_client::consumer::StartAt;

/// `-o` of `consume`.
pub(crate) fn parse_start(text: &str) -> Result<StartAt, String> {
    match text {
        "start" | "earliest" | "beginning" => return Ok(StartAt::Earliest),
        "end" | "latest" => return Ok(StartAt::Latest),
        _ => {}
    }
    if let Some(time) = text.strip_prefix('@') {
        return parse_time(time, now_ms()).map(StartAt::Timestamp);
    }
    match text.parse::<i64>() {
        Ok(offset) if offset >= 0 && !text.starts_with('-') => Ok(StartAt::Offset(offset)),
        Ok(before_end) => Ok(StartAt::BeforeEnd(before_end.saturating_neg())),
        Err(_) => Err("expected start, end, an offset, -N (so many before the end) or @time".into()),
    }
}

/// Where `reset-offsets` moves a group to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResetTarget {
    Earliest,
    Latest,
    Offset(i64),
    Shift(i64),
    Timestamp(i64),
}

/// `--to` of `reset-offsets`.
pub(crate) fn parse_reset_target(text: &str) -> Result<ResetTarget, String> {
    match text {
        "earliest" | "start" | "beginning" => return Ok(ResetTarget::Earliest),
        "latest" | "end" => return Ok(ResetTarget::Latest),
        _ => {}
    }
    if let Some(time) = text.strip_prefix('@') {
        return parse_time(time, now_ms()).map(ResetTarget::Timestamp);
    }
    match text.parse::<i64>() {
        Ok(shift) if text.starts_with(['+', '-']) => Ok(ResetTarget::Shift(shift)),
        Ok(offset) => Ok(ResetTarget::Offset(offset)),
        Err(_) => Err("expected earliest, latest, an offset, +N or -N (a shift), or @time".into()),
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since 1970, a date, an RFC 3339 time, or a duration back from now (`-1h`).
fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_duration(ago)?;
        return Ok(now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| "the number is too large".to_owned());
    }
    parse_rfc3339(text)
        .ok_or_else(|| "expected @milliseconds, @2024-05-31, @2024-05-31T12:00:00Z, or @-1h (so long ago)".to_owned())
}

/// `YYYY-MM-DD`, optionally `THH:MM[:SS[.fff]]` and `Z` or `+HH:MM`; UTC if no zone is given.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut date = date.splitn(3, '-');
    let year = digits(date.next()?, 4)?;
    let month = digits(date.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = digits(date.next()?, 2).filter(|day| (1..=days_in_month(year, month)).contains(day))?;
    let midnight = days_since_1970(year, month, day) * 86_400_000;
    match time {
        None => Some(midnight),
        Some(time) => Some(midnight + time_of_day_ms(time)?),
    }
}

fn time_of_day_ms(text: &str) -> Option<i64> {
    let zone_at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, zone) = text.split_at(zone_at);
    let mut parts = clock.splitn(3, ':');
    let hour = digits(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = digits(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let (second, milliseconds) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            (digits(second, 2).filter(|second| *second < 60)?, fraction_ms(fraction)?)
        }
    };
    let offset_minutes = match zone {
        "" | "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone[1..].split_once(':')?;
            sign * (digits(hours, 2)? * 60 + digits(minutes, 2)?)
        }
    };
    Some(((hour * 60 + minute - offset_minutes) * 60 + second) * 1000 + milliseconds)
}

fn fraction_ms(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{text:0<3}");
    padded[..3].parse().ok()
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let fits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar: years counted from March, so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + leap_days + day_of_year - 719_468
}

/// A number with a unit: `500ms`, `30s`, `2m`, `1h`, `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let number: f64 = number.parse().map_err(|_| "expected a number and a unit, like 500ms, 30s or 2m".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return Err("expected a unit: ms, s, m, h or d".into()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// A number of bytes, plain or with a unit: `1000000`, `64KiB`, `1MB`.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let number: usize = number.parse().map_err(|_| "expected a number of bytes, like 1000000 or 4MiB".to_owned())?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err("expected a unit: KiB, MiB, GiB, KB, MB or GB".into()),
    };
    number.checked_mul(factor).ok_or_else(|| "that is too large".to_owned())
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(text.len());
    (text[..at].trim_end(), &text[at..])
}

/// `name=value`; the value may be empty and may contain `=`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected name=value".into()),
    }
}

/// Resolves `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH`.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next() {
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('r') => bytes.push(b'\r'),
            Some('0') => bytes.push(0),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let high = rest.next().and_then(|digit| digit.to_digit(16));
                let low = rest.next().and_then(|digit| digit.to_digit(16));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err("`\\x` needs two hexadecimal digits".into());
                };
                bytes.push((high * 16 + low) as u8);
            }
            Some(other) => return Err(format!("`\\{other}` is no escape; there are \\n \\t \\r \\0 \\xHH and \\\\")),
            None => return Err("a `\\` at the end escapes nothing".into()),
        }
    }
    Ok(bytes)
}

/// A delimiter or separator: at least one byte.
pub(crate) fn parse_separator(text: &str) -> Result<Vec<u8>, String> {
    let bytes = unescape(text)?;
    if bytes.is_empty() { Err("it is empty".into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_words_offsets_distances_and_times() {
        assert_eq!(parse_start("start"), Ok(StartAt::Earliest));
        assert_eq!(parse_start("end"), Ok(StartAt::Latest));
        assert_eq!(parse_start("0"), Ok(StartAt::Offset(0)));
        assert_eq!(parse_start("42"), Ok(StartAt::Offset(42)));
        assert_eq!(parse_start("-5"), Ok(StartAt::BeforeEnd(5)));
        assert_eq!(parse_start("@1700000000000"), Ok(StartAt::Timestamp(1_700_000_000_000)));
        assert!(parse_start("sometime").is_err() && parse_start("@").is_err() && parse_start("").is_err());
    }

    #[test]
    fn reset_targets_tell_offsets_from_shifts() {
        assert_eq!(parse_reset_target("earliest"), Ok(ResetTarget::Earliest));
        assert_eq!(parse_reset_target("7"), Ok(ResetTarget::Offset(7)));
        assert_eq!(parse_reset_target("+7"), Ok(ResetTarget::Shift(7)));
        assert_eq!(parse_reset_target("-7"), Ok(ResetTarget::Shift(-7)));
        assert!(parse_reset_target("soon").is_err());
    }

    #[test]
    fn times_are_milliseconds_dates_zones_or_ago() {
        let cases = [
            ("0", 0),
            ("1970-01-01", 0),
            ("1970-01-02T00:00:00Z", 86_400_000),
            ("2024-02-29", 1_709_164_800_000),
            ("2013-01-01T05:15:00.25-05:00", 1_357_035_300_250),
            ("2000-03-01 00:00", 951_868_800_000),
            ("1969-12-31T23:59:59Z", -1_000),
            ("-1h", 6_400_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text, 10_000_000), Ok(expected), "{text}");
        }
        for text in ["", "2023-02-29", "2024-13-01", "2024-1-1", "2024-01-01T24:00", "2024-01-01T10", "-1", "12h"] {
            assert!(parse_time(text, 0).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_need_known_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert!(parse_duration("5").is_err() && parse_duration("-5s").is_err() && parse_duration("5y").is_err());
        assert_eq!(parse_bytes("4MiB"), Ok(4 << 20));
        assert_eq!(parse_bytes("1 kB"), Ok(1000));
        assert_eq!(parse_bytes("17"), Ok(17));
        assert!(parse_bytes("x").is_err() && parse_bytes("1TB").is_err() && parse_bytes("99999999999GiB").is_err());
    }

    #[test]
    fn escapes_are_resolved_and_unknown_ones_refused() {
        assert_eq!(unescape(r"a\tb\n\x00\\é").unwrap(), "a\tb\n\0\\é".as_bytes());
        for text in [r"\q", r"\", r"\x1", r"\xzz"] {
            assert!(unescape(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_pair("a="), Ok(("a".into(), String::new())));
        assert!(parse_pair("a").is_err() && parse_pair("=b").is_err());
    }
}
