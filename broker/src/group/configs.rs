//! Settings of single groups (the GROUP config resource): how often members heartbeat and when they count as dead, and how a
//! share group reads.
//!
//! Kept in the metadata store, one entry a group; read with every heartbeat and fetch, so a change holds at once.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use weir_storage::meta::{MetaError, MetadataStore, Write};

use super::consumer::Timing;

pub mod share;

pub use share::{Bound, Isolation, ShareBounds, ShareConfig, ShareReset};

const PREFIX: &str = "group-config/";

/// One setting of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupConfigDef {
    pub name: &'static str,
    /// The broker's setting that it overrides; `None`: the broker has none, `default` holds.
    pub broker_synonym: Option<&'static str>,
    pub default: &'static str,
    pub is_number: bool,
    pub documentation: &'static str,
}

pub const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
pub const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";

/// Every setting that a group can have.
pub const TABLE: [GroupConfigDef; 9] = [
    number(
        HEARTBEAT_INTERVAL,
        "group.consumer.heartbeat.interval.ms",
        "How often members of the consumer protocol heartbeat; once set, the broker asks for no other interval.",
    ),
    number(
        SESSION_TIMEOUT,
        "group.consumer.session.timeout.ms",
        "A member of the consumer protocol that is silent for so long is out of its group.",
    ),
    text(
        share::AUTO_OFFSET_RESET,
        "latest",
        "Where a share group begins to read a partition: `earliest`, `latest`, or `by_duration:` and an ISO 8601 duration, which is so long ago.",
    ),
    number(
        share::DELIVERY_COUNT_LIMIT,
        "group.share.delivery.count.limit",
        "A record of a share group that was delivered so often and not accepted is given up.",
    ),
    number(
        share::HEARTBEAT_INTERVAL,
        "group.share.heartbeat.interval.ms",
        "How often members of a share group heartbeat; once set, the broker asks for no other interval.",
    ),
    text(
        share::ISOLATION_LEVEL,
        "read_uncommitted",
        "Whether a share group gets records of transactions that are open or were aborted (`read_uncommitted`) or not (`read_committed`).",
    ),
    number(
        share::MAX_RECORD_LOCKS,
        "group.share.partition.max.record.locks",
        "Most records of a partition that a share group has in flight.",
    ),
    number(
        share::LOCK_DURATION,
        "group.share.record.lock.duration.ms",
        "For how long a member of a share group has a record before others may have it.",
    ),
    number(
        share::SESSION_TIMEOUT,
        "group.share.session.timeout.ms",
        "A member of a share group that is silent for so long is out of its group.",
    ),
];

const fn number(name: &'static str, synonym: &'static str, documentation: &'static str) -> GroupConfigDef {
    GroupConfigDef { name, broker_synonym: Some(synonym), default: "", is_number: true, documentation }
}

const fn text(name: &'static str, default: &'static str, documentation: &'static str) -> GroupConfigDef {
    GroupConfigDef { name, broker_synonym: None, default, is_number: false, documentation }
}

/// Defaults and bounds, from the broker's configuration; milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimingBounds {
    pub session_timeout_ms: i32,
    pub session_timeout_min_ms: i32,
    pub session_timeout_max_ms: i32,
    pub heartbeat_interval_ms: i32,
    pub heartbeat_interval_min_ms: i32,
    pub heartbeat_interval_max_ms: i32,
    /// Whether the broker may ask for shorter intervals than these; see [`Timing::interval`].
    pub prompt: bool,
    pub share: ShareBounds,
}

impl Default for TimingBounds {
    fn default() -> Self {
        TimingBounds {
            session_timeout_ms: 45_000,
            session_timeout_min_ms: 45_000,
            session_timeout_max_ms: 60_000,
            heartbeat_interval_ms: 5_000,
            heartbeat_interval_min_ms: 5_000,
            heartbeat_interval_max_ms: 15_000,
            prompt: true,
            share: ShareBounds::default(),
        }
    }
}

/// Why a group's configs are not changed.
#[derive(Debug, Error)]
pub enum GroupConfigError {
    #[error("groups have no config `{name}`; they have {}", TABLE.map(|def| def.name).join(", "))]
    Unknown { name: String },
    #[error("config `{name}` needs a value")]
    NoValue { name: String },
    #[error("config `{name}` is not a list: give it a value instead of adding to it or taking from it")]
    NotAList { name: String },
    #[error("`{value}` for {name}: it must be a number from {min} to {max} (`{setting}`)")]
    Invalid { name: &'static str, value: String, min: i32, max: i32, setting: &'static str },
    #[error("`{value}` for {name}: it must be {allowed}")]
    InvalidText { name: &'static str, value: String, allowed: &'static str },
    #[error(
        "{kind}.session.timeout.ms ({session_ms}) must be greater than {kind}.heartbeat.interval.ms ({interval_ms})"
    )]
    SessionTooShort { kind: &'static str, session_ms: i32, interval_ms: i32 },
    #[error("a group needs a name")]
    NoName,
    #[error(transparent)]
    Metadata(#[from] MetaError),
}

/// What is set for a group: config to value, as it was given.
pub type GroupOverrides = BTreeMap<String, String>;

/// All of them.
pub struct GroupConfigs {
    bounds: ArcSwap<TimingBounds>,
    /// `None` in tests: nothing is kept.
    meta: Option<Arc<dyn MetadataStore>>,
    by_group: ArcSwap<HashMap<String, GroupOverrides>>,
    changes: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for GroupConfigs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupConfigs({})", self.by_group.load().len())
    }
}

impl GroupConfigs {
    /// Nothing is set, and nothing is kept.
    pub fn in_memory(bounds: TimingBounds) -> GroupConfigs {
        GroupConfigs {
            bounds: ArcSwap::from_pointee(bounds),
            meta: None,
            by_group: ArcSwap::default(),
            changes: tokio::sync::Mutex::default(),
        }
    }

    /// What the metadata store knows. What no longer fits the broker's bounds is bent to them when it is used.
    pub fn load(bounds: TimingBounds, meta: Arc<dyn MetadataStore>) -> Result<GroupConfigs, MetaError> {
        let mut by_group = HashMap::new();
        for (key, stored) in meta.scan(PREFIX.as_bytes())? {
            let name = String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned();
            match serde_json::from_slice::<GroupOverrides>(&stored.value) {
                Ok(overrides) => drop(by_group.insert(name, overrides)),
                Err(error) => tracing::warn!(group = name, %error, "stored configs of a group are ignored"),
            }
        }
        let by_group = ArcSwap::from_pointee(by_group);
        let bounds = ArcSwap::from_pointee(bounds);
        Ok(GroupConfigs { bounds, meta: Some(meta), by_group, changes: tokio::sync::Mutex::default() })
    }

    pub fn bounds(&self) -> TimingBounds {
        **self.bounds.load()
    }

    /// From now on these hold; what is set for groups is bent to them when it is used.
    pub fn set_bounds(&self, bounds: TimingBounds) {
        self.bounds.store(Arc::new(bounds));
    }

    /// What is set for a group.
    pub fn of(&self, group: &str) -> GroupOverrides {
        self.by_group.load().get(group).cloned().unwrap_or_default()
    }

    /// Groups for which something is set, in order.
    pub fn groups(&self) -> Vec<String> {
        let mut names: Vec<String> = self.by_group.load().keys().cloned().collect();
        names.sort();
        names
    }

    /// The timeouts that hold for a group.
    pub fn timing(&self, group: &str) -> Timing {
        let by_group = self.by_group.load();
        let bounds = self.bounds();
        let set = |name: &str, min: i32, max: i32| {
            let value = by_group.get(group)?.get(name)?.parse::<i32>().ok()?;
            Some(value.clamp(min, max))
        };
        let session = set(SESSION_TIMEOUT, bounds.session_timeout_min_ms, bounds.session_timeout_max_ms);
        let interval = set(HEARTBEAT_INTERVAL, bounds.heartbeat_interval_min_ms, bounds.heartbeat_interval_max_ms);
        Timing {
            session_timeout_ms: session.unwrap_or(bounds.session_timeout_ms),
            heartbeat_interval_ms: interval.unwrap_or(bounds.heartbeat_interval_ms),
            prompt: bounds.prompt && interval.is_none(),
        }
    }

    /// What holds for a share group.
    pub fn share(&self, group: &str) -> ShareConfig {
        let by_group = self.by_group.load();
        let bounds = self.bounds();
        share::config(by_group.get(group), &bounds.share, bounds.prompt)
    }

    /// Replaces what is set for a group by what `change` makes of it, durably; with `validate_only` says whether it could.
    pub async fn alter(
        &self,
        group: &str,
        validate_only: bool,
        change: impl FnOnce(&GroupOverrides) -> Result<GroupOverrides, GroupConfigError> + Send,
    ) -> Result<(), GroupConfigError> {
        if group.is_empty() {
            return Err(GroupConfigError::NoName);
        }
        let _one_at_a_time = self.changes.lock().await;
        let next = change(&self.of(group))?;
        self.validate(&next)?;
        if validate_only {
            return Ok(());
        }
        let key = format!("{PREFIX}{group}").into_bytes();
        // A map of strings always serialises.
        let value = serde_json::to_vec(&next).unwrap_or_default();
        let write = if next.is_empty() { Write::Delete(key) } else { Write::Put(key, value) };
        if let Some(meta) = &self.meta {
            meta.transact(Vec::new(), vec![write]).await?;
        }
        let mut all = HashMap::clone(&self.by_group.load());
        if next.is_empty() {
            drop(all.remove(group))
        } else {
            drop(all.insert(group.to_owned(), next))
        }
        self.by_group.store(Arc::new(all));
        Ok(())
    }

    fn validate(&self, overrides: &GroupOverrides) -> Result<(), GroupConfigError> {
        let bounds = self.bounds();
        let check = |name: &'static str, min, max, setting, default| {
            let Some(value) = overrides.get(name) else { return Ok(default) };
            let invalid = || GroupConfigError::Invalid { name, value: value.clone(), min, max, setting };
            value.trim().parse::<i32>().ok().filter(|v| (min..=max).contains(v)).ok_or_else(invalid)
        };
        if let Some(name) = overrides.keys().find(|name| TABLE.iter().all(|def| def.name != **name)) {
            return Err(GroupConfigError::Unknown { name: name.clone() });
        }
        let session_ms = check(
            SESSION_TIMEOUT,
            bounds.session_timeout_min_ms,
            bounds.session_timeout_max_ms,
            "group.consumer.min.session.timeout.ms, group.consumer.max.session.timeout.ms",
            bounds.session_timeout_ms,
        )?;
        let interval_ms = check(
            HEARTBEAT_INTERVAL,
            bounds.heartbeat_interval_min_ms,
            bounds.heartbeat_interval_max_ms,
            "group.consumer.min.heartbeat.interval.ms, group.consumer.max.heartbeat.interval.ms",
            bounds.heartbeat_interval_ms,
        )?;
        if session_ms <= interval_ms {
            return Err(GroupConfigError::SessionTooShort { kind: "consumer", session_ms, interval_ms });
        }
        share::validate(overrides, &bounds.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> GroupOverrides {
        [(name.to_owned(), value.to_owned())].into()
    }

    #[tokio::test]
    async fn what_is_set_holds_at_once_and_only_for_that_group() {
        let configs = GroupConfigs::in_memory(TimingBounds::default());
        assert!(configs.timing("g").prompt);
        configs.alter("g", false, |_| Ok(set(HEARTBEAT_INTERVAL, "7000"))).await.unwrap();
        let timing = configs.timing("g");
        assert_eq!((timing.heartbeat_interval_ms, timing.session_timeout_ms, timing.prompt), (7_000, 45_000, false));
        assert_eq!(configs.timing("h").heartbeat_interval_ms, 5_000);
        configs.alter("g", true, |_| Ok(GroupOverrides::new())).await.unwrap();
        assert_eq!(configs.groups(), ["g"], "that was a question");
        configs.alter("g", false, |_| Ok(GroupOverrides::new())).await.unwrap();
        assert!(configs.groups().is_empty());
    }

    #[tokio::test]
    async fn values_out_of_bounds_and_unknown_configs_are_refused() {
        let configs =
            GroupConfigs::in_memory(TimingBounds { session_timeout_min_ms: 5_000, ..TimingBounds::default() });
        let alter =
            async |overrides: GroupOverrides| configs.alter("g", false, move |_| Ok(overrides)).await.unwrap_err();
        assert!(matches!(alter(set(HEARTBEAT_INTERVAL, "4999")).await, GroupConfigError::Invalid { .. }));
        assert!(matches!(alter(set(SESSION_TIMEOUT, "x")).await, GroupConfigError::Invalid { .. }));
        assert!(matches!(alter(set("retention.ms", "1")).await, GroupConfigError::Unknown { .. }));
        assert!(matches!(alter(set(SESSION_TIMEOUT, "5000")).await, GroupConfigError::SessionTooShort { .. }));
    }
}
