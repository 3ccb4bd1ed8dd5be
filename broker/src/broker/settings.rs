//! The configuration as each part of the broker takes it.
use std::time::Duration;

use crate::config::{Config, SettingValue};
use crate::group::GroupSettings;
use crate::group::configs::{Bound, ShareBounds, TimingBounds};
use crate::group::consumer::ConsumerLimits;
use crate::group::state::GroupLimits;
use crate::topic_config::{TopicConfigError, TopicConfigs};
use crate::txn::TransactionSettings;

/// Settings of the topic of committed offsets, as Kafka makes it.
pub(super) fn offsets_configs(config: &Config) -> Result<TopicConfigs, TopicConfigError> {
    let segment_bytes = config.groups.offsets_segment.wire();
    let configs =
        [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", segment_bytes.as_str())];
    TopicConfigs::parse(configs.map(|(name, value)| (name, Some(value))))
}

/// Settings of the topic of transactional ids, as Kafka makes it.
pub(super) fn transaction_configs(config: &Config) -> Result<TopicConfigs, TopicConfigError> {
    let segment_bytes = config.transactions.state_segment.wire();
    let configs = [
        ("cleanup.policy", "compact"),
        ("compression.type", "uncompressed"),
        ("segment.bytes", segment_bytes.as_str()),
    ];
    TopicConfigs::parse(configs.map(|(name, value)| (name, Some(value))))
}

/// Settings of the topic of states of share partitions. Each record is a whole state, so it is compacted; Kafka's is trimmed.
pub(super) fn share_configs(config: &Config) -> Result<TopicConfigs, TopicConfigError> {
    let segment_bytes = config.shares.state_segment.wire();
    let configs =
        [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", segment_bytes.as_str())];
    TopicConfigs::parse(configs.map(|(name, value)| (name, Some(value))))
}

pub(super) fn transaction_settings(config: &Config) -> TransactionSettings {
    let transactions = &config.transactions;
    TransactionSettings {
        timeout_max_ms: millis(transactions.timeout_max),
        id_expiration_ms: i64::try_from(transactions.id_expiration.as_millis()).unwrap_or(i64::MAX),
        expiry_interval: transactions.expiry_interval,
        ..TransactionSettings::default()
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

pub(super) fn timing_bounds(config: &Config) -> TimingBounds {
    let groups = &config.groups;
    TimingBounds {
        session_timeout_ms: millis(groups.consumer_session_timeout),
        session_timeout_min_ms: millis(groups.consumer_min_session_timeout),
        session_timeout_max_ms: millis(groups.consumer_max_session_timeout),
        heartbeat_interval_ms: millis(groups.consumer_heartbeat_interval),
        heartbeat_interval_min_ms: millis(groups.consumer_min_heartbeat_interval),
        heartbeat_interval_max_ms: millis(groups.consumer_max_heartbeat_interval),
        prompt: groups.consumer_prompt_heartbeats,
        share: share_bounds(config),
    }
}

fn share_bounds(config: &Config) -> ShareBounds {
    let shares = &config.shares;
    let of = |default, min, max| Bound { default: millis(default), min: millis(min), max: millis(max) };
    ShareBounds {
        session_timeout_ms: of(shares.session_timeout, shares.min_session_timeout, shares.max_session_timeout),
        heartbeat_interval_ms: of(
            shares.heartbeat_interval,
            shares.min_heartbeat_interval,
            shares.max_heartbeat_interval,
        ),
        lock_ms: of(shares.lock_duration, shares.min_lock_duration, shares.max_lock_duration),
        deliveries: Bound {
            default: shares.delivery_limit,
            min: shares.min_delivery_limit,
            max: shares.max_delivery_limit,
        },
        record_locks: Bound {
            default: shares.record_locks,
            min: shares.min_record_locks,
            max: shares.max_record_locks,
        },
        sessions: shares.sessions_max,
    }
}

pub(super) fn group_settings(config: &Config) -> GroupSettings {
    let groups = &config.groups;
    GroupSettings {
        limits: GroupLimits {
            session_timeout_min_ms: millis(groups.min_session_timeout),
            session_timeout_max_ms: millis(groups.max_session_timeout),
            initial_rebalance_delay_ms: millis(groups.initial_rebalance_delay),
            max_size: groups.max_size,
        },
        consumer: ConsumerLimits {
            max_size: groups.consumer_max_size,
            assignors: groups.consumer_assignors.0.clone(),
            migration: groups.consumer_migration,
        },
        share_max_size: config.shares.max_size,
        offsets_retention_ms: i64::from(groups.offsets_retention_minutes) * 60_000,
        offset_metadata_max_bytes: groups.offset_metadata_max,
        expiry_interval: groups.offsets_retention_check,
    }
}
