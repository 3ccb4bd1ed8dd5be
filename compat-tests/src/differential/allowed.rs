//! Where weir means to answer differently from Apache Kafka. Every entry says why, and one that meets no difference any more
//! fails the test: it would hide the next one.

use std::fmt;

use super::compare::Difference;

/// An intended difference.
#[derive(Debug)]
pub struct Allowed {
    /// Part of the scenario's name.
    pub scenario: &'static str,
    /// Part of the step's name.
    pub step: &'static str,
    /// The path's end.
    pub path: &'static str,
    /// Kafka's value as JSON; `None` for any.
    pub kafka: Option<&'static str>,
    /// Weir's value as JSON; `None` for any.
    pub weir: Option<&'static str>,
    /// Why.
    pub reason: &'static str,
}

impl Allowed {
    /// True when the difference is the intended one.
    pub fn covers(&self, difference: &Difference) -> bool {
        difference.scenario.contains(self.scenario)
            && difference.step.contains(self.step)
            && difference.path.ends_with(self.path)
            && self.kafka.is_none_or(|value| difference.kafka.to_string().as_str() == value)
            && self.weir.is_none_or(|value| difference.weir.to_string().as_str() == value)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {} / {} ({})", self.scenario, self.step, self.path, self.reason)
    }
}

const fn allow(
    scenario: &'static str,
    step: &'static str,
    path: &'static str,
    kafka: Option<&'static str>,
    weir: Option<&'static str>,
    reason: &'static str,
) -> Allowed {
    Allowed { scenario, step, path, kafka, weir, reason }
}

/// All of them, in the order in which they are tried: scenario, step, path, Kafka's value, weir's value, and why.
#[rustfmt::skip]
pub const LIST: &[Allowed] = &[
    allow("create_topics", "replication factor 3", "", None, None,
        "charts and Connect ask for three replicas; weir accepts any factor and reports one replica"),
    allow("create_topics", "CreateTopics v7", "topic_id", None, None,
        "Kafka invents an id for a topic that it only validates; weir has none to tell, so later ids count differently"),
    allow("describe_configs", "no names", "config_source", Some("3"), Some("5"),
        "a new Kafka cluster sets min.insync.replicas as a dynamic default of the cluster (KIP-966); weir sets nothing by itself"),
    allow("incremental_alter_configs", "unknown operation", "error_code", Some("-1"), Some("42"),
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir says what is wrong with the request"),
    allow("incremental_alter_configs", "delete of an unknown config", "error_code", Some("0"), Some("40"),
        "weir refuses unknown configs by name in every operation: a misspelt DELETE would change nothing unnoticed"),
    allow("delete_records", "largest timestamp of deleted records", "", None, None,
        "Kafka tells an offset below the log start, where a reader gets OFFSET_OUT_OF_RANGE; weir tells that there is no record"),
    allow("fetch_versions", "zstd", "error_code", None, None,
        "zstd data for Fetch before v10 is UNSUPPORTED_COMPRESSION_TYPE, as Kafka had it until 4.0: such clients cannot read it"),
    allow("fetch_versions", "zstd", "high_watermark", None, None,
        "zstd data for Fetch before v10 is UNSUPPORTED_COMPRESSION_TYPE, as Kafka had it until 4.0: such clients cannot read it"),
    allow("fetch_versions", "zstd", "last_stable_offset", None, None,
        "zstd data for Fetch before v10 is UNSUPPORTED_COMPRESSION_TYPE, as Kafka had it until 4.0: such clients cannot read it"),
    allow("fetch_versions", "zstd", "log_start_offset", None, None,
        "zstd data for Fetch before v10 is UNSUPPORTED_COMPRESSION_TYPE, as Kafka had it until 4.0: such clients cannot read it"),
    allow("fetch_versions", "zstd", "records", None, None,
        "zstd data for Fetch before v10 is UNSUPPORTED_COMPRESSION_TYPE, as Kafka had it until 4.0: such clients cannot read it"),
    allow("fetch_errors", "unknown isolation level", "error_code", None, None,
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir reads an unknown level as read_uncommitted"),
    allow("fetch_errors", "unknown isolation level", "high_watermark", None, None,
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir reads an unknown level as read_uncommitted"),
    allow("fetch_errors", "unknown isolation level", "last_stable_offset", None, None,
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir reads an unknown level as read_uncommitted"),
    allow("fetch_errors", "unknown isolation level", "log_start_offset", None, None,
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir reads an unknown level as read_uncommitted"),
    allow("fetch_errors", "unknown isolation level", "records", None, None,
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir reads an unknown level as read_uncommitted"),
    allow("fetch_errors", "unknown isolation level", "aborted_transactions", None, None,
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir reads an unknown level as read_uncommitted"),
    allow("fetch_limits", "batches a partition", "records", None, None,
        "Kafka cuts the last batch at the byte limit, weir sends whole batches only: clients drop the rest anyway"),
    allow("fetch_session_errors", "a new session without topics", "session_id", Some("\"<session>\""), Some("0"),
        "a session of no partitions saves nothing; answering id 0 is always legal"),
    allow("", "Produce v", "log_start_offset", Some("0"), Some("-1"),
        "for a refused batch weir does not tell where the log starts; no client reads it beside an error"),
    allow("idempotent_producers", "again", "log_append_time_ms", Some("\"<clock>\""), Some("-1"),
        "for a duplicate Kafka tells the batch's own time as if it were the append time; weir answers as it did at first"),
    allow("sequence_wrap", "again", "log_append_time_ms", Some("\"<clock>\""), Some("-1"),
        "for a duplicate Kafka tells the batch's own time as if it were the append time; weir answers as it did at first"),
    allow("idempotent_producers", "a negative epoch", "error_code", Some("47"), Some("87"),
        "a negative epoch is no epoch at all: the batch is invalid, whatever the producer's state"),
    allow("produce_errors", "bytes after the batch", "", None, None,
        "Kafka acknowledges the batch and drops the bytes after it; weir does not acknowledge what it would not store"),
    allow("produce_errors", "unknown codec 5", "error_code", Some("-1"), Some("76"),
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir names the codec as unsupported"),
    allow("produce_errors", "snappy that is none", "error_code", Some("-1"), Some("87"),
        "Kafka fails with UNKNOWN_SERVER_ERROR, weir says INVALID_RECORD: no client retries either"),
    allow("produce_errors", "", "base_offset", None, None,
        "follows from the batches (bytes after the batch, log append time flag) that only Kafka accepts"),
    allow("produce_errors", "log append time flag", "", None, None,
        "Kafka clears the flag that only a broker may set and rewrites the batch; weir refuses it: no client library sets it"),
    allow("group_administration", "an empty group id", "", None, None,
        "the empty group id exists in Kafka for clients before 2.2; weir has no such group"),
    allow("offset_commit_errors", "empty group id", "error_code", Some("0"), Some("24"),
        "the empty group id exists in Kafka for clients before 2.2; weir has no such group"),
    allow("txn_lists", "open for an hour", "transaction_states", None, None,
        "Kafka takes an id without a transaction for one that has been open since 1969; weir lists what is open for so long"),
    allow("txn_life", "again", "log_append_time_ms", Some("\"<clock>\""), Some("-1"),
        "for a duplicate Kafka tells the batch's own time as if it were the append time; weir answers as it did at first"),
    allow("txn_life_v2", "commit of an empty transaction", "error_code", Some("48"), Some("51"),
        "a commit before the first record is told to retry, once: Java producers' commits can overtake their records"),
];
