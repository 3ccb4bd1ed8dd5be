//! Every metric of the broker and of the storage engine. Add a metric here first; a test fails when code records one that
//! is not declared, or a dashboard asks for one.

/// Requests, by API.
pub mod requests {
    use crate::metrics::declare::{Kind, SECONDS, metrics_table};

    metrics_table! { "Requests";
        /// Requests answered, errors included.
        REQUESTS = "weir_requests_total", Kind::Counter, Count, ["api"];
        /// Errors told to clients, by Kafka's name of the error. A request about several partitions can carry several.
        REQUEST_ERRORS = "weir_request_errors_total", Kind::Counter, Count, ["api", "error"];
        /// Time from a request's last byte to its answer. A fetch waits for data, a join for the group: theirs include that.
        REQUEST_SECONDS = "weir_request_seconds", SECONDS, Seconds, ["api"];
        /// Bytes of requests read from clients.
        BYTES_IN = "weir_bytes_in_total", Kind::Counter, Bytes, [];
        /// Bytes of responses written to clients.
        BYTES_OUT = "weir_bytes_out_total", Kind::Counter, Bytes, [];
        /// Records produced and accepted.
        RECORDS_IN = "weir_records_in_total", Kind::Counter, Count, [];
        /// Those of them that came as Arrow streams, by the form in which they wait for their merge: `columns`, or `rows` where they
        /// are few, or their topic's rows do not become columns, or rows would not say the same.
        COLUMNAR_RECORDS_IN = "weir_columnar_records_in_total", Kind::Counter, Count, ["form"];
        /// Records fetched: those of the batches that were sent, also those before the offset that was asked for.
        RECORDS_OUT = "weir_records_out_total", Kind::Counter, Count, [];
        /// Bytes of batches produced to a topic. Only with the setting `metrics.topics`.
        TOPIC_BYTES_IN = "weir_topic_bytes_in_total", Kind::Counter, Bytes, ["topic"];
        /// Bytes of batches fetched from a topic. Only with the setting `metrics.topics`.
        TOPIC_BYTES_OUT = "weir_topic_bytes_out_total", Kind::Counter, Bytes, ["topic"];
    }
}

/// Share groups: Kafka used as a queue.
pub mod shares {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "Share groups";
        /// Records that members of share groups acquired, each delivery counted.
        RECORDS_ACQUIRED = "weir_share_records_acquired_total", Kind::Counter, Count, [];
        /// Records that members acknowledged, by what they said of them.
        RECORDS_ACKNOWLEDGED = "weir_share_records_acknowledged_total", Kind::Counter, Count, ["type"];
        /// Records that came back because the session of their member ended.
        RECORDS_RETURNED = "weir_share_records_returned_total", Kind::Counter, Count, [];
        /// Records that came back because their member did not acknowledge them in time.
        LOCKS_EXPIRED = "weir_share_locks_expired_total", Kind::Counter, Count, [];
    }
}

/// Fetches that carry columns and predicates.
pub mod scans {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "Columnar fetch and views";
        /// Partitions answered out of a scan: with columns, or as a view.
        SCANS = "weir_scans_total", Kind::Counter, Count, [];
        /// Stored bytes that scans looked at.
        SCAN_BYTES_SCANNED = "weir_scan_bytes_scanned_total", Kind::Counter, Bytes, [];
        /// Bytes of Arrow streams, and of batches of views, that scans returned.
        SCAN_BYTES_RETURNED = "weir_scan_bytes_returned_total", Kind::Counter, Bytes, [];
        /// Rows that scans looked at.
        SCAN_ROWS_SCANNED = "weir_scan_rows_scanned_total", Kind::Counter, Count, [];
        /// Rows that matched and were returned.
        SCAN_ROWS_RETURNED = "weir_scan_rows_returned_total", Kind::Counter, Count, [];
        /// Rows that did not match.
        SCAN_ROWS_FILTERED = "weir_scan_rows_filtered_total", Kind::Counter, Count, [];
        /// Rows whose predicate raised an error; they are not returned.
        SCAN_ROWS_ERRORED = "weir_scan_rows_errored_total", Kind::Counter, Count, [];
        /// Rows that another scan had decoded already.
        SCAN_ROWS_CACHED = "weir_scan_rows_cached_total", Kind::Counter, Count, [];
        /// Row groups of column segments that statistics ruled out: nothing of them was read.
        SCAN_GROUPS_PRUNED = "weir_scan_row_groups_pruned_total", Kind::Counter, Count, [];
        /// Row groups that were returned as they are stored.
        SCAN_GROUPS_SLICED = "weir_scan_row_groups_sliced_total", Kind::Counter, Count, [];
        /// Row groups that were decoded.
        SCAN_GROUPS_DECODED = "weir_scan_row_groups_decoded_total", Kind::Counter, Count, [];
        /// Microseconds spent on predicates.
        SCAN_PREDICATE_US = "weir_scan_predicate_microseconds_total", Kind::Counter, Count, [];
        /// Stored bytes of a topic that scans looked at. This and the following ones only with the setting `metrics.topics`.
        TOPIC_SCAN_BYTES_SCANNED = "weir_topic_scan_bytes_scanned_total", Kind::Counter, Bytes, ["topic"];
        /// Bytes that scans of a topic returned.
        TOPIC_SCAN_BYTES_RETURNED = "weir_topic_scan_bytes_returned_total", Kind::Counter, Bytes, ["topic"];
        /// Rows of a topic that scans looked at.
        TOPIC_SCAN_ROWS_SCANNED = "weir_topic_scan_rows_scanned_total", Kind::Counter, Count, ["topic"];
        /// Rows of a topic that matched and were returned.
        TOPIC_SCAN_ROWS_RETURNED = "weir_topic_scan_rows_returned_total", Kind::Counter, Count, ["topic"];
        /// Rows of a topic that did not match.
        TOPIC_SCAN_ROWS_FILTERED = "weir_topic_scan_rows_filtered_total", Kind::Counter, Count, ["topic"];
        /// Rows of a topic whose predicate raised an error.
        TOPIC_SCAN_ROWS_ERRORED = "weir_topic_scan_rows_errored_total", Kind::Counter, Count, ["topic"];
        /// Rows of a topic that another scan had decoded already.
        TOPIC_SCAN_ROWS_CACHED = "weir_topic_scan_rows_cached_total", Kind::Counter, Count, ["topic"];
        /// Row groups of a topic that statistics ruled out.
        TOPIC_SCAN_GROUPS_PRUNED = "weir_topic_scan_row_groups_pruned_total", Kind::Counter, Count, ["topic"];
        /// Row groups of a topic that were returned as they are stored.
        TOPIC_SCAN_GROUPS_SLICED = "weir_topic_scan_row_groups_sliced_total", Kind::Counter, Count, ["topic"];
        /// Row groups of a topic that were decoded.
        TOPIC_SCAN_GROUPS_DECODED = "weir_topic_scan_row_groups_decoded_total", Kind::Counter, Count, ["topic"];
        /// Microseconds spent on predicates over a topic.
        TOPIC_SCAN_PREDICATE_US = "weir_topic_scan_predicate_microseconds_total", Kind::Counter, Count, ["topic"];
    }
}

/// TLS, SASL and connections that have not authenticated.
pub mod security {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "TLS and authentication";
        /// SASL exchanges that ended, by mechanism and outcome: `accepted` or `refused`.
        AUTHENTICATIONS = "weir_authentications_total", Kind::Counter, Count, ["mechanism", "outcome"];
        /// TLS handshakes of Kafka clients, by outcome: `accepted`, `refused`.
        TLS_HANDSHAKES = "weir_tls_handshakes_total", Kind::Counter, Count, ["outcome"];
        /// Times that changed certificates were read, by outcome: `done`, `refused`.
        TLS_RELOADS = "weir_tls_reloads_total", Kind::Counter, Count, ["outcome"];
        /// Connections that did not authenticate in time (setting `connections.authentication.timeout.ms`).
        AUTHENTICATION_TIMEOUTS = "weir_authentication_timeouts_total", Kind::Counter, Count, [];
        /// Connections closed because their client did not authenticate again in time.
        SESSIONS_EXPIRED = "weir_sessions_expired_total", Kind::Counter, Count, [];
        /// Connections closed because their principal had as many as it may (setting `max.connections.per.principal`).
        PRINCIPAL_CONNECTIONS_REFUSED = "weir_principal_connections_refused_total", Kind::Counter, Count, [];
    }
}

/// Client quotas.
pub mod quotas {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "Client quotas";
        /// Times that a client was throttled, or a connection closed, because of a quota.
        QUOTA_THROTTLES = "weir_quota_throttles_total", Kind::Counter, Count, ["quota"];
        /// Milliseconds for which clients were told to be silent, together.
        QUOTA_THROTTLE_MS = "weir_quota_throttle_milliseconds_total", Kind::Counter, Count, ["quota"];
    }
}

/// Connections and memory budgets of the network layer.
pub mod connections {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "Connections and memory budgets";
        /// Open Kafka connections.
        CONNECTIONS = "weir_connections", Kind::Gauge, Count, [];
        /// Kafka connections accepted.
        CONNECTIONS_ACCEPTED = "weir_connections_total", Kind::Counter, Count, [];
        /// Connections closed at once because of a limit on their number.
        CONNECTIONS_REFUSED = "weir_connections_refused_total", Kind::Counter, Count, [];
        /// The budget of all buffers together (setting `memory.limit`).
        MEMORY_LIMIT = "weir_memory_limit_bytes", Kind::Gauge, Bytes, [];
        /// Bytes of the budget in use, by share: `tail` (newest data, gives way to others), `requests`, `responses`, `decode`
        /// (decompression), `writes` (not yet durable), `internal` (the same of internal topics), `merge` (and compaction).
        MEMORY_USED = "weir_memory_bytes", Kind::Gauge, Bytes, ["share"];
        /// Bytes that belong to a share; nobody else can use them.
        MEMORY_RESERVED = "weir_memory_share_reserved_bytes", Kind::Gauge, Bytes, ["share"];
        /// Most bytes that a share may use.
        MEMORY_MAX = "weir_memory_share_max_bytes", Kind::Gauge, Bytes, ["share"];
        /// Reservations of a share that wait for memory now.
        MEMORY_WAITING = "weir_memory_waiting", Kind::Gauge, Count, ["share"];
        /// Bytes that requests and responses in progress hold of their budget.
        INFLIGHT_BYTES = "weir_inflight_bytes", Kind::Gauge, Bytes, [];
        /// The budget of requests and responses in progress; connections wait when it is used up.
        INFLIGHT_BYTES_LIMIT = "weir_inflight_bytes_limit", Kind::Gauge, Bytes, [];
    }
}

/// Consumer groups; computed when they are asked for.
pub mod groups {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "Consumer groups";
        /// Members of a group.
        GROUP_MEMBERS = "weir_group_members", Kind::Gauge, Count, ["group"];
        /// Records between a group's committed offset and the end of the partition.
        GROUP_LAG_RECORDS = "weir_group_lag_records", Kind::Gauge, Count, ["group", "topic", "partition"];
        /// Age of the first record that a group has not committed; 0 when it has committed everything.
        GROUP_LAG_SECONDS = "weir_group_lag_seconds", Kind::Gauge, Seconds, ["group", "topic", "partition"];
    }
}

/// The Schema Registry; recorded in the crate `weir-registry`.
pub mod registry {
    use crate::metrics::declare::{Kind, SECONDS, metrics_table};

    metrics_table! { "Schema Registry";
        /// Requests answered.
        REQUESTS = "weir_registry_requests_total", Kind::Counter, Count, ["endpoint", "status"];
        /// Time from a request's headers to its answer.
        REQUEST_SECONDS = "weir_registry_request_seconds", SECONDS, Seconds, ["endpoint"];
        /// Registrations refused because the schema is not compatible with an earlier one.
        INCOMPATIBLE = "weir_registry_incompatible_total", Kind::Counter, Count, [];
        /// Schemas that have an id.
        SCHEMAS = "weir_registry_schemas", Kind::Gauge, Count, [];
        /// Subjects with a version that is not deleted.
        SUBJECTS = "weir_registry_subjects", Kind::Gauge, Count, [];
    }
}

/// Transactions.
pub mod transactions {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "Transactions";
        /// Transactions that ended with all their markers, by `result`: `committed` or `aborted`.
        TRANSACTIONS = "weir_transactions_total", Kind::Counter, Count, ["result"];
        /// Transactions that are open, or whose markers are being written.
        TRANSACTIONS_OPEN = "weir_transactions_open", Kind::Gauge, Count, [];
        /// Age of the oldest of them; readers of committed data wait for it.
        TRANSACTIONS_OLDEST_SECONDS = "weir_transactions_oldest_seconds", Kind::Gauge, Seconds, [];
    }
}

/// Tiering into lake tables; recorded in the crate `weir-lake-sink`, lags computed when they are asked for.
pub mod lake {
    use crate::metrics::declare::{Kind, SECONDS, metrics_table};

    metrics_table! { "Lake tables";
        /// Commits to lake tables.
        COMMITS = "weir_lake_commits_total", Kind::Counter, Count, [];
        /// Rounds that failed; they are tried again.
        FAILURES = "weir_lake_failures_total", Kind::Counter, Count, [];
        /// Rows committed to lake tables.
        ROWS = "weir_lake_rows_total", Kind::Counter, Count, [];
        /// Data files committed to lake tables.
        FILES = "weir_lake_files_total", Kind::Counter, Count, [];
        /// Bytes of these files.
        BYTES = "weir_lake_bytes_total", Kind::Counter, Bytes, [];
        /// Commits that made large files of small ones or merged changes of keys.
        COMPACTIONS = "weir_lake_compactions_total", Kind::Counter, Count, [];
        /// Data files that compactions read and took out of their tables.
        COMPACTED_FILES = "weir_lake_compacted_files_total", Kind::Counter, Count, [];
        /// Bytes of these files.
        COMPACTED_BYTES = "weir_lake_compacted_bytes_total", Kind::Counter, Bytes, [];
        /// Compactions that failed; they are tried again after the next round.
        COMPACTION_FAILURES = "weir_lake_compaction_failures_total", Kind::Counter, Count, [];
        /// Offsets that the log had lost (retention, DeleteRecords) before they were tiered.
        LOST = "weir_lake_lost_records_total", Kind::Counter, Count, [];
        /// Stored records that cannot be decoded and are in no table.
        UNREADABLE = "weir_lake_unreadable_records_total", Kind::Counter, Count, [];
        /// Time of one round: scan, encode, write, commit.
        ROUND_SECONDS = "weir_lake_round_seconds", SECONDS, Seconds, [];
        /// Records that are visible in the log and not in the lake yet.
        LAG_RECORDS = "weir_lake_lag_records", Kind::Gauge, Count, ["topic"];
        /// For how long a table has been behind the log; 0 if it is not.
        LAG_SECONDS = "weir_lake_lag_seconds", Kind::Gauge, Seconds, ["topic"];
        /// 1 for the state that a table is in: `starting`, `running`, `retrying` after a failure, or `paused` until somebody
        /// looks at the error that `weir lake status` shows, or resumes it.
        STATE = "weir_lake_state", Kind::Gauge, Count, ["topic", "state"];
        /// Bytes that retention would have removed and that are kept until they are in the lake (`weir.lake.gate.retention`).
        GATE_HELD_BYTES = "weir_lake_gate_held_bytes", Kind::Gauge, Bytes, ["topic"];
        /// Records that were removed before they were in the lake because too much was kept for it, since the process started.
        GATE_DROPPED = "weir_lake_gate_dropped_records", Kind::Gauge, Count, ["topic"];
    }
}

/// The storage engine; recorded in the crate `weir-storage`.
pub mod storage {
    use crate::metrics::declare::{BYTES, Kind, SECONDS, metrics_table};

    metrics_table! { "Storage";
        /// Time of one group commit of the write-ahead log, from its first batch to durable.
        WAL_COMMIT_SECONDS = "weir_wal_commit_seconds", SECONDS, Seconds, [];
        /// Bytes of one group commit.
        WAL_COMMIT_BYTES = "weir_wal_commit_bytes", BYTES, Bytes, [];
        /// Time of one fdatasync of the write-ahead log.
        WAL_FSYNC_SECONDS = "weir_wal_fsync_seconds", SECONDS, Seconds, [];
        /// Failed writes and syncs of the write-ahead log; each makes it abandon a file.
        WAL_FAILURES = "weir_wal_failures_total", Kind::Counter, Count, [];
        /// Size of all files of the write-ahead log.
        WAL_BYTES = "weir_wal_bytes", Kind::Gauge, Bytes, [];
        /// 1 while the write-ahead log is larger than `wal.throttle.bytes`, so that produce waits for merges.
        WAL_FULL = "weir_wal_full", Kind::Gauge, Count, [];
        /// Produce requests that waited for room in the write-ahead log.
        WAL_WAITS = "weir_wal_waits_total", Kind::Counter, Count, [];
        /// Bytes that merges wrote into segments and bundles.
        MERGE_BYTES = "weir_merge_bytes_total", Kind::Counter, Bytes, [];
        /// Merges that failed and will be tried again.
        MERGE_FAILURES = "weir_merge_failures_total", Kind::Counter, Count, [];
        /// Merges whose records could not become columns and were stored as rows.
        MERGE_COLUMN_FAILURES = "weir_merge_column_failures_total", Kind::Counter, Count, [];
        /// Rows of column files that were decoded once, when they were produced.
        MERGE_KEPT_ROWS = "weir_merge_kept_rows_total", Kind::Counter, Count, [];
        /// Rows of column files that were columns before: they came so, or were in a small file that a merge took in.
        MERGE_COLUMN_ROWS = "weir_merge_column_rows_total", Kind::Counter, Count, [];
        /// Bytes that log compaction wrote into segments.
        COMPACTION_BYTES = "weir_compaction_bytes_total", Kind::Counter, Bytes, [];
        /// Compactions that failed and will be tried again.
        COMPACTION_FAILURES = "weir_compaction_failures_total", Kind::Counter, Count, [];
        /// Records that retention removed although `weir.lake.gate.retention` kept them for the lake: more was kept than
        /// `weir.lake.gate.max.bytes` or the disk allows.
        GATE_DROPPED_RECORDS = "weir_retention_gate_dropped_records_total", Kind::Counter, Count, [];
        /// Bytes of these.
        GATE_DROPPED_BYTES = "weir_retention_gate_dropped_bytes_total", Kind::Counter, Bytes, [];
        /// Bytes of batches appended to partitions.
        BYTES_INGESTED = "weir_storage_bytes_ingested_total", Kind::Counter, Bytes, [];
        /// Bytes written to the device: write-ahead log, merges, checkpoints.
        BYTES_WRITTEN = "weir_storage_bytes_written_total", Kind::Counter, Bytes, [];
        /// Bytes written to the device for each byte appended, since the process started.
        WRITE_AMPLIFICATION = "weir_write_amplification", Kind::Gauge, Ratio, [];
        /// Reservations of a share that had to wait for memory.
        MEMORY_WAITS = "weir_memory_waits_total", Kind::Counter, Count, ["share"];
        /// Time that work waited for a thread of the pool for computations.
        CPU_QUEUE_SECONDS = "weir_cpu_queue_seconds", SECONDS, Seconds, ["priority"];
        /// Time that work took on the pool for computations: `request` (decoding and recompressing of produced batches) or
        /// `background` (merge, compaction).
        CPU_RUN_SECONDS = "weir_cpu_run_seconds", SECONDS, Seconds, ["priority"];
        /// Newest data of all partitions that is kept in memory for readers.
        TAIL_CACHE_BYTES = "weir_tail_cache_bytes", Kind::Gauge, Bytes, [];
        /// Free space of the device under the data folder.
        DISK_FREE_BYTES = "weir_disk_free_bytes", Kind::Gauge, Bytes, [];
    }
}

/// The process.
pub mod process {
    use crate::metrics::declare::{Kind, metrics_table};

    metrics_table! { "Process";
        /// Always 1; the label tells the version.
        BUILD_INFO = "weir_build_info", Kind::Gauge, Count, ["version"];
        /// 1 while the broker is ready, 0 while it starts or refuses writes.
        READY = "weir_ready", Kind::Gauge, Count, [];
        /// When the process started, in seconds since 1970.
        START_TIME = "weir_process_start_time_seconds", Kind::Gauge, Seconds, [];
        /// Memory of the process that is in RAM.
        RESIDENT_BYTES = "weir_process_resident_bytes", Kind::Gauge, Bytes, [];
        /// Bytes that the allocator has handed out.
        ALLOCATED_BYTES = "weir_process_allocated_bytes", Kind::Gauge, Bytes, [];
        /// Open file descriptors, sockets included.
        OPEN_FILES = "weir_process_open_files", Kind::Gauge, Count, [];
    }
}

/// Everything, in the order of the documentation.
pub const SUBSYSTEMS: &[crate::metrics::Subsystem] = &[
    requests::TABLE,
    scans::TABLE,
    shares::TABLE,
    security::TABLE,
    quotas::TABLE,
    connections::TABLE,
    groups::TABLE,
    transactions::TABLE,
    registry::TABLE,
    lake::TABLE,
    storage::TABLE,
    process::TABLE,
];
