//! Settings of share groups: bounds from the broker's configuration, values from the group's.
use weir_storage::log::ReadLimit;

use super::{GroupConfigError, GroupOverrides};
use crate::group::consumer::Timing;
use crate::share::partition::Terms;

pub const AUTO_OFFSET_RESET: &str = "share.auto.offset.reset";
pub const DELIVERY_COUNT_LIMIT: &str = "share.delivery.count.limit";
pub const HEARTBEAT_INTERVAL: &str = "share.heartbeat.interval.ms";
pub const ISOLATION_LEVEL: &str = "share.isolation.level";
pub const LOCK_DURATION: &str = "share.record.lock.duration.ms";
pub const MAX_RECORD_LOCKS: &str = "share.partition.max.record.locks";
pub const SESSION_TIMEOUT: &str = "share.session.timeout.ms";

/// A number with its default and what a group may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub default: i32,
    pub min: i32,
    pub max: i32,
}

/// Defaults and bounds of share groups; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareBounds {
    pub session_timeout_ms: Bound,
    pub heartbeat_interval_ms: Bound,
    pub lock_ms: Bound,
    pub deliveries: Bound,
    pub record_locks: Bound,
    /// Most share sessions of the broker.
    pub sessions: usize,
}

impl Default for ShareBounds {
    fn default() -> Self {
        ShareBounds {
            session_timeout_ms: Bound { default: 45_000, min: 45_000, max: 60_000 },
            heartbeat_interval_ms: Bound { default: 5_000, min: 5_000, max: 15_000 },
            lock_ms: Bound { default: 30_000, min: 15_000, max: 60_000 },
            deliveries: Bound { default: 5, min: 2, max: 10 },
            record_locks: Bound { default: 2_000, min: 100, max: 10_000 },
            sessions: 2_000,
        }
    }
}

/// Where a share group begins to read a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareReset {
    Earliest,
    Latest,
    /// So many milliseconds ago.
    Ago(i64),
}

/// Which records of transactions a share group gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

impl Isolation {
    /// Up to where it reads.
    pub fn limit(self) -> ReadLimit {
        match self {
            Isolation::ReadUncommitted => ReadLimit::HighWatermark,
            Isolation::ReadCommitted => ReadLimit::LastStable,
        }
    }

    fn named(name: &str) -> Option<Isolation> {
        match name {
            "read_uncommitted" => Some(Isolation::ReadUncommitted),
            "read_committed" => Some(Isolation::ReadCommitted),
            _ => None,
        }
    }
}

/// What holds for one share group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareConfig {
    pub timing: Timing,
    pub terms: Terms,
    pub reset: ShareReset,
    pub isolation: Isolation,
}

/// Every number that a group can set, with the settings that bound it.
fn numbers(bounds: &ShareBounds) -> [(&'static str, Bound, &'static str); 5] {
    [
        (
            SESSION_TIMEOUT,
            bounds.session_timeout_ms,
            "group.share.min.session.timeout.ms, group.share.max.session.timeout.ms",
        ),
        (
            HEARTBEAT_INTERVAL,
            bounds.heartbeat_interval_ms,
            "group.share.min.heartbeat.interval.ms, group.share.max.heartbeat.interval.ms",
        ),
        (
            LOCK_DURATION,
            bounds.lock_ms,
            "group.share.min.record.lock.duration.ms, group.share.max.record.lock.duration.ms",
        ),
        (
            DELIVERY_COUNT_LIMIT,
            bounds.deliveries,
            "group.share.min.delivery.count.limit, group.share.max.delivery.count.limit",
        ),
        (
            MAX_RECORD_LOCKS,
            bounds.record_locks,
            "group.share.min.partition.max.record.locks, group.share.max.partition.max.record.locks",
        ),
    ]
}

/// What holds for a group; what no longer fits the bounds is bent to them.
pub(super) fn config(set: Option<&GroupOverrides>, bounds: &ShareBounds, prompt: bool) -> ShareConfig {
    let value = |name: &str| set?.get(name).map(|value| value.trim());
    let own = |name: &str, bound: Bound| {
        let number = value(name)?.parse::<i32>().ok()?;
        Some(number.clamp(bound.min, bound.max.max(bound.min)))
    };
    let or_default = |name: &str, bound: Bound| own(name, bound).unwrap_or(bound.default);
    let interval = own(HEARTBEAT_INTERVAL, bounds.heartbeat_interval_ms);
    ShareConfig {
        timing: Timing {
            session_timeout_ms: or_default(SESSION_TIMEOUT, bounds.session_timeout_ms),
            heartbeat_interval_ms: interval.unwrap_or(bounds.heartbeat_interval_ms.default),
            prompt: prompt && interval.is_none(),
        },
        terms: Terms {
            lock_ms: i64::from(or_default(LOCK_DURATION, bounds.lock_ms)),
            max_deliveries: i16::try_from(or_default(DELIVERY_COUNT_LIMIT, bounds.deliveries)).unwrap_or(i16::MAX),
            max_in_flight: i64::from(or_default(MAX_RECORD_LOCKS, bounds.record_locks)),
        },
        reset: value(AUTO_OFFSET_RESET).and_then(reset).unwrap_or(ShareReset::Latest),
        isolation: value(ISOLATION_LEVEL).and_then(Isolation::named).unwrap_or(Isolation::ReadUncommitted),
    }
}

pub(super) fn validate(overrides: &GroupOverrides, bounds: &ShareBounds) -> Result<(), GroupConfigError> {
    for (name, Bound { min, max, .. }, setting) in numbers(bounds) {
        let Some(value) = overrides.get(name) else { continue };
        if !value.trim().parse::<i32>().is_ok_and(|number| (min..=max).contains(&number)) {
            return Err(GroupConfigError::Invalid { name, value: value.clone(), min, max, setting });
        }
    }
    let check = |name: &'static str, is_valid: fn(&str) -> bool, allowed: &'static str| match overrides.get(name) {
        Some(value) if !is_valid(value.trim()) => {
            Err(GroupConfigError::InvalidText { name, value: value.clone(), allowed })
        }
        _ => Ok(()),
    };
    let resets = "earliest, latest, or by_duration: and an ISO 8601 duration such as by_duration:PT1H";
    check(AUTO_OFFSET_RESET, |value| reset(value).is_some(), resets)?;
    check(ISOLATION_LEVEL, |value| Isolation::named(value).is_some(), "read_committed or read_uncommitted")?;
    let Timing { session_timeout_ms: session_ms, heartbeat_interval_ms: interval_ms, .. } =
        config(Some(overrides), bounds, false).timing;
    if session_ms <= interval_ms {
        return Err(GroupConfigError::SessionTooShort { kind: "share", session_ms, interval_ms });
    }
    Ok(())
}

fn reset(value: &str) -> Option<ShareReset> {
    match value {
        "earliest" => Some(ShareReset::Earliest),
        "latest" => Some(ShareReset::Latest),
        _ => duration_ms(value.strip_prefix("by_duration:")?).map(ShareReset::Ago),
    }
}

/// Milliseconds of an ISO 8601 duration of days and smaller units (`P1DT2H3M4.5S`), as Java reads them; not negative.
fn duration_ms(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let rest = text.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    let mut add = |amount: &str, unit_ms: i64| {
        let amount: i64 = amount.parse().ok().filter(|amount| *amount >= 0)?;
        total = total.checked_add(amount.checked_mul(unit_ms)?)?;
        Some(())
    };
    if !days.is_empty() {
        add(days.strip_suffix('D')?, 86_400_000)?;
    }
    let mut rest = time;
    for (unit, unit_ms) in [('H', 3_600_000), ('M', 60_000), ('S', 1_000)] {
        let Some((amount, after)) = rest.split_once(unit) else { continue };
        rest = after;
        match (unit, amount.split_once('.')) {
            ('S', Some((whole, fraction))) => {
                if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                add(whole, unit_ms)?;
                let millis: String = fraction.chars().chain("00".chars()).take(3).collect();
                add(&millis, 1)?;
            }
            _ => add(amount, unit_ms)?,
        }
    }
    rest.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::configs::{GroupConfigs, TimingBounds};

    #[test]
    fn durations_are_read_as_java_reads_them() {
        for (text, ms) in [
            ("PT1H", 3_600_000),
            ("P1D", 86_400_000),
            ("P2DT3H4M5.5S", 2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5_500),
            ("pt0.001s", 1),
            ("PT0S", 0),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for bad in ["", "P", "PT", "P1", "1H", "PT-1H", "PT1H1D", "PT1.5H", "PT1M1H", "P1DT", "PT9999999999999999999S"]
        {
            assert_eq!(duration_ms(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn settings_of_share_groups_are_checked_and_hold_at_once() {
        let configs = GroupConfigs::in_memory(TimingBounds::default());
        let set = |pairs: &[(&str, &str)]| -> GroupOverrides {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let before = configs.share("g");
        assert_eq!((before.terms.lock_ms, before.terms.max_deliveries, before.terms.max_in_flight), (30_000, 5, 2_000));
        assert_eq!((before.reset, before.isolation), (ShareReset::Latest, Isolation::ReadUncommitted));
        let good = set(&[
            (AUTO_OFFSET_RESET, "by_duration:PT1M"),
            (ISOLATION_LEVEL, "read_committed"),
            (LOCK_DURATION, "15000"),
            (DELIVERY_COUNT_LIMIT, "2"),
        ]);
        configs.alter("g", false, |_| Ok(good)).await.unwrap();
        let after = configs.share("g");
        assert_eq!((after.terms.lock_ms, after.terms.max_deliveries), (15_000, 2));
        assert_eq!((after.reset, after.isolation), (ShareReset::Ago(60_000), Isolation::ReadCommitted));
        for (name, value) in [
            (AUTO_OFFSET_RESET, "none"),
            (AUTO_OFFSET_RESET, "by_duration:-PT1H"),
            (ISOLATION_LEVEL, "READ"),
            (LOCK_DURATION, "14999"),
            (DELIVERY_COUNT_LIMIT, "1"),
            (SESSION_TIMEOUT, "60001"),
            (MAX_RECORD_LOCKS, "x"),
        ] {
            let bad = set(&[(name, value)]);
            assert!(configs.alter("g", true, |_| Ok(bad)).await.is_err(), "{name}={value}");
        }
    }
}
