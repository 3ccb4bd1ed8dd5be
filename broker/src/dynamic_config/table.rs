//! Which settings can be changed at run time: every broker-level default of a topic config, the settings of ours that are read
//! again, and names of Kafka's that have nothing to act on here.
use thiserror::Error;

use crate::topic_config::{Allowed, TABLE, TopicConfigDef};

/// Settings of ours that are read again after a change. Their types and bounds are those of the configuration file.
pub const SETTINGS: &[&str] = &[
    "group.consumer.assignors",
    "group.consumer.heartbeat.interval.ms",
    "group.consumer.max.heartbeat.interval.ms",
    "group.consumer.max.session.timeout.ms",
    "group.consumer.max.size",
    "group.consumer.migration.policy",
    "group.consumer.min.heartbeat.interval.ms",
    "group.consumer.min.session.timeout.ms",
    "group.consumer.prompt.heartbeats",
    "group.consumer.session.timeout.ms",
    "group.initial.rebalance.delay.ms",
    "group.max.session.timeout.ms",
    "group.max.size",
    "group.min.session.timeout.ms",
    "group.share.delivery.count.limit",
    "group.share.heartbeat.interval.ms",
    "group.share.max.delivery.count.limit",
    "group.share.max.heartbeat.interval.ms",
    "group.share.max.partition.max.record.locks",
    "group.share.max.record.lock.duration.ms",
    "group.share.max.session.timeout.ms",
    "group.share.max.share.sessions",
    "group.share.max.size",
    "group.share.min.delivery.count.limit",
    "group.share.min.heartbeat.interval.ms",
    "group.share.min.partition.max.record.locks",
    "group.share.min.record.lock.duration.ms",
    "group.share.min.session.timeout.ms",
    "group.share.partition.max.record.locks",
    "group.share.record.lock.duration.ms",
    "group.share.session.timeout.ms",
    "max.connections.per.ip",
    "max.connections.per.principal",
    "max.connections.total",
    "offset.metadata.max.bytes",
    "offsets.retention.minutes",
    "producer.id.expiration.ms",
];

/// A config that Kafka's brokers change at run time and that tools set, with nothing to act on here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AcceptedDef {
    pub name: &'static str,
    pub default: &'static str,
    pub allowed: Allowed,
    pub documentation: &'static str,
}

const fn accepted(
    name: &'static str,
    default: &'static str,
    allowed: Allowed,
    documentation: &'static str,
) -> AcceptedDef {
    AcceptedDef { name, default, allowed, documentation }
}

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const THREADS: &str = "Accepted. Threads follow from the number of cores.";
const CLEANER: &str = "Accepted. Compaction draws on `memory.limit` and on the threads for computation.";
const ONE_REPLICA: &str = "Accepted. There is one replica, so nothing is replicated.";

/// In the order of their names.
pub const ACCEPTED: &[AcceptedDef] = &[
    accepted("background.threads", "10", Allowed::Int(1, INT), THREADS),
    accepted("follower.replication.throttled.rate", "9223372036854775807", Allowed::Long(0, LONG), ONE_REPLICA),
    accepted("leader.replication.throttled.rate", "9223372036854775807", Allowed::Long(0, LONG), ONE_REPLICA),
    accepted("log.cleaner.backoff.ms", "15000", Allowed::Long(0, LONG), CLEANER),
    accepted("log.cleaner.dedupe.buffer.size", "134217728", Allowed::Long(0, LONG), CLEANER),
    accepted("log.cleaner.io.buffer.load.factor", "0.9", Allowed::Ratio, CLEANER),
    accepted("log.cleaner.io.buffer.size", "524288", Allowed::Int(0, INT), CLEANER),
    accepted("log.cleaner.threads", "1", Allowed::Int(0, INT), CLEANER),
    accepted("num.io.threads", "8", Allowed::Int(1, INT), THREADS),
    accepted("num.network.threads", "3", Allowed::Int(1, INT), THREADS),
    accepted("num.recovery.threads.per.data.dir", "2", Allowed::Int(1, INT), THREADS),
    accepted("num.replica.fetchers", "1", Allowed::Int(0, INT), ONE_REPLICA),
    accepted(
        "replica.alter.log.dirs.io.max.bytes.per.second",
        "9223372036854775807",
        Allowed::Long(0, LONG),
        "Accepted. There is one data folder.",
    ),
];

/// What a setting that can be changed is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Dynamic {
    /// What topics have that do not set it themselves.
    TopicDefault(&'static TopicConfigDef),
    /// One of [`SETTINGS`].
    Setting(&'static str),
    Accepted(&'static AcceptedDef),
}

/// Why a name cannot be changed at run time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotDynamic {
    #[error("unknown setting `{name}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<String> },
    #[error(
        "setting `{name}` is read at start and cannot be changed at run time; change the configuration file, the environment or the flags, and restart"
    )]
    ReadOnly { name: String },
}

/// The definition of a setting that can be changed at run time; `known` are the names of all settings.
pub fn definition(name: &str, known: &[String]) -> Result<Dynamic, NotDynamic> {
    if let Some(def) = TABLE.iter().find(|def| def.broker_synonym == Some(name)) {
        return Ok(Dynamic::TopicDefault(def));
    }
    if let Some(setting) = SETTINGS.iter().find(|setting| **setting == name) {
        return Ok(Dynamic::Setting(setting));
    }
    if let Some(def) = ACCEPTED.iter().find(|def| def.name == name) {
        return Ok(Dynamic::Accepted(def));
    }
    // Kafka's names for what has another one here.
    if known.iter().any(|known| known == name) || matches!(name, "broker.id" | "log.dirs") {
        return Err(NotDynamic::ReadOnly { name: name.to_owned() });
    }
    let candidates = known.iter().map(String::as_str).chain(ACCEPTED.iter().map(|def| def.name));
    let nearest = crate::config::nearest(name, candidates).map(|(_, name)| name);
    Err(NotDynamic::Unknown { name: name.to_owned(), nearest })
}
