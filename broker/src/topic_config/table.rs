//! The table itself.
use super::Allowed;

/// One topic config.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopicConfigDef {
    pub name: &'static str,
    pub default: &'static str,
    pub allowed: Allowed,
    /// The broker-level name that Kafka shows as its synonym.
    pub broker_synonym: Option<&'static str>,
    /// A value that is valid in Kafka but cannot be had here, and why.
    pub unsupported: Option<(&'static str, &'static str)>,
    pub documentation: &'static str,
}

impl PartialEq<TopicConfigDef> for &TopicConfigDef {
    fn eq(&self, other: &TopicConfigDef) -> bool {
        self.name == other.name
    }
}

impl Eq for TopicConfigDef {}

const LONG: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;

const fn config(
    name: &'static str,
    default: &'static str,
    allowed: Allowed,
    broker_synonym: &'static str,
    documentation: &'static str,
) -> TopicConfigDef {
    let broker_synonym = if broker_synonym.is_empty() { None } else { Some(broker_synonym) };
    TopicConfigDef { name, default, allowed, broker_synonym, unsupported: None, documentation }
}

const NO_REMOTE: &str = "weir tiers into lake tables (`weir.lake.*`), not into Kafka's remote segments";

/// All topic configs, in the order of their names.
pub const TABLE: &[TopicConfigDef] = &[
    config(
        "cleanup.policy",
        "delete",
        Allowed::ListOf(&["delete", "compact"]),
        "log.cleanup.policy",
        "What becomes of old records: `delete` drops them by retention.ms and retention.bytes, `compact` keeps the last one of each key.",
    ),
    config(
        "compression.gzip.level",
        "-1",
        Allowed::Int(-1, 9),
        "compression.gzip.level",
        "Level for compression.type=gzip; -1 is the codec's default.",
    ),
    config(
        "compression.lz4.level",
        "9",
        Allowed::Int(1, 17),
        "compression.lz4.level",
        "Level for compression.type=lz4.",
    ),
    config(
        "compression.type",
        "producer",
        Allowed::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "compression.type",
        "`producer` stores batches as they come; any other value recompresses batches of another codec.",
    ),
    config(
        "compression.zstd.level",
        "3",
        Allowed::Int(-131_072, 22),
        "compression.zstd.level",
        "Level for compression.type=zstd.",
    ),
    config(
        "delete.retention.ms",
        "86400000",
        Allowed::Long(0, LONG),
        "log.cleaner.delete.retention.ms",
        "How long a compacted topic keeps tombstones, for consumers that read from the start.",
    ),
    config(
        "file.delete.delay.ms",
        "60000",
        Allowed::Long(0, LONG),
        "log.segment.delete.delay.ms",
        "Accepted. Files go when their last reader is done.",
    ),
    config(
        "flush.messages",
        "9223372036854775807",
        Allowed::Long(1, LONG),
        "log.flush.interval.messages",
        "Accepted. Durability is the broker's `durability` setting: every acks=all write is synced by default.",
    ),
    config(
        "flush.ms",
        "9223372036854775807",
        Allowed::Long(0, LONG),
        "log.flush.interval.ms",
        "Accepted, see flush.messages.",
    ),
    config("follower.replication.throttled.replicas", "", Allowed::AnyList, "", "Accepted. There is one replica."),
    config(
        "index.interval.bytes",
        "4096",
        Allowed::Int(0, INT),
        "log.index.interval.bytes",
        "Accepted. Segments have an index entry every 16 KiB.",
    ),
    config("leader.replication.throttled.replicas", "", Allowed::AnyList, "", "Accepted. There is one replica."),
    config(
        "local.retention.bytes",
        "-2",
        Allowed::Long(-2, LONG),
        "log.local.retention.bytes",
        "Accepted. Applies to Kafka's remote storage only.",
    ),
    config(
        "local.retention.ms",
        "-2",
        Allowed::Long(-2, LONG),
        "log.local.retention.ms",
        "Accepted. Applies to Kafka's remote storage only.",
    ),
    config(
        "max.compaction.lag.ms",
        "9223372036854775807",
        Allowed::Long(1, LONG),
        "log.cleaner.max.compaction.lag.ms",
        "A record is compacted at the latest after so long.",
    ),
    config(
        "max.message.bytes",
        "1048588",
        Allowed::Int(0, INT),
        "message.max.bytes",
        "The largest record batch that is accepted, after compression.",
    ),
    config(
        "message.timestamp.after.max.ms",
        "3600000",
        Allowed::Long(0, LONG),
        "log.message.timestamp.after.max.ms",
        "How far a record's timestamp may lie in the future.",
    ),
    config(
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        Allowed::Long(0, LONG),
        "log.message.timestamp.before.max.ms",
        "How far a record's timestamp may lie in the past.",
    ),
    config(
        "message.timestamp.type",
        "CreateTime",
        Allowed::OneOf(&["CreateTime", "LogAppendTime"]),
        "log.message.timestamp.type",
        "Whether records keep the producer's timestamp or get the broker's.",
    ),
    config(
        "min.cleanable.dirty.ratio",
        "0.5",
        Allowed::Ratio,
        "log.cleaner.min.cleanable.ratio",
        "Compaction begins when so much of the log was not compacted yet.",
    ),
    config(
        "min.compaction.lag.ms",
        "0",
        Allowed::Long(0, LONG),
        "log.cleaner.min.compaction.lag.ms",
        "A record is not compacted before it is so old.",
    ),
    config(
        "min.insync.replicas",
        "1",
        Allowed::Int(1, INT),
        "min.insync.replicas",
        "Accepted. acks=all waits for durable storage.",
    ),
    config("preallocate", "false", Allowed::Bool, "log.preallocate", "Accepted. WAL files are always preallocated."),
    config("remote.log.copy.disable", "false", Allowed::Bool, "", "Accepted. There is no remote log."),
    config("remote.log.delete.on.disable", "false", Allowed::Bool, "", "Accepted. There is no remote log."),
    TopicConfigDef {
        unsupported: Some(("true", NO_REMOTE)),
        ..config("remote.storage.enable", "false", Allowed::Bool, "", "Must be false.")
    },
    config(
        "retention.bytes",
        "-1",
        Allowed::Long(-1, LONG),
        "log.retention.bytes",
        "Oldest segments of a partition go above this size; -1 is unlimited.",
    ),
    config(
        "retention.ms",
        "604800000",
        Allowed::Long(-1, LONG),
        "log.retention.ms",
        "Records older than this go; -1 is unlimited.",
    ),
    config(
        "segment.bytes",
        "1073741824",
        Allowed::Int(14, INT),
        "log.segment.bytes",
        "The largest segment that merge or compaction writes.",
    ),
    config(
        "segment.index.bytes",
        "10485760",
        Allowed::Int(4, INT),
        "log.index.size.max.bytes",
        "Accepted. Indexes are part of the segment file.",
    ),
    config("segment.jitter.ms", "0", Allowed::Long(0, LONG), "log.roll.jitter.ms", "Accepted."),
    config(
        "segment.ms",
        "604800000",
        Allowed::Long(1, LONG),
        "log.roll.ms",
        "Age at which compaction may take in the newest records.",
    ),
    config(
        "unclean.leader.election.enable",
        "false",
        Allowed::Bool,
        "unclean.leader.election.enable",
        "Accepted. There is one replica.",
    ),
    config(
        "weir.cluster.by",
        "",
        Allowed::AnyList,
        "",
        "Columns of a typed topic, by name: weir.layout `column` and `both` store its rows in windows (at most 131,072 rows and 16 MiB before compression) in which rows with the same values, or neighbouring ones, lie together. A reader of one value then reads little else. Offsets do not change. Merges heed it from then on; what is stored stays as it is.",
    ),
    config(
        "weir.column.bloom.filters",
        "",
        Allowed::AnyList,
        "",
        "Columns of a typed topic, by name: weir.layout `column` and `both` store a Bloom filter of each for every row group (10 bits a distinct value, 1 % of false positives), so that predicates `column = value` and `column IN (...)` skip the row groups without it. For ids and other values of which there are many; not for floats, booleans and nested columns. Merges heed it from then on.",
    ),
    config(
        "weir.column.compression",
        "zstd",
        Allowed::OneOf(&["none", "lz4", "zstd"]),
        "",
        "Codec of the columns of weir.layout `column` and `both`.",
    ),
    config(
        "weir.column.uncompressed",
        "",
        Allowed::AnyList,
        "",
        "Columns of a typed topic, by name, that are stored without compression whatever weir.column.compression says: for columns that most predicates ask about, which are then read where they lie. Merges heed it from then on.",
    ),
    config("weir.column.zstd.level", "3", Allowed::Int(1, 22), "", "Level of weir.column.compression `zstd`."),
    config(
        "weir.fidelity",
        "exact",
        Allowed::OneOf(&["exact", "semantic"]),
        "",
        "What plain consumers of a typed topic get back once its rows are stored as columns: `exact` the bytes that were produced, `semantic` the same values. Rows stored as rows are always exact.",
    ),
    config(
        "weir.key.columns",
        "",
        Allowed::AnyList,
        "",
        "Columns that come out of the record's key, by name; all others come out of its value. Cannot change once the topic is typed.",
    ),
    config(
        "weir.key.format",
        "raw",
        Allowed::OneOf(&["raw", "json"]),
        "",
        "Form of keys if there are weir.key.columns: `raw` is one value as Kafka's serializers write it, `json` an object with the key columns.",
    ),
    config(
        "weir.lake.columns.raw",
        "false",
        Allowed::Bool,
        "",
        "The lake table of a typed topic has __key, __headers and __raw too: the record as it was produced. weir.lake.history.reads needs them for clients that fetch records and not columns; set it before the first record is tiered.",
    ),
    config(
        "weir.lake.compaction",
        "true",
        Allowed::Bool,
        "",
        "Small files of a Paimon table become large ones, and files of changes of a table with a primary key are merged, so that readers do not do it again and again. The table's own options say when: num-sorted-run.compaction-trigger (5), compaction.min.file-num (10), target-file-size (at most 96 mb). Other formats are left to other engines.",
    ),
    config(
        "weir.lake.format",
        "none",
        Allowed::OneOf(&["none", "parquet", "iceberg", "paimon"]),
        "",
        "Tiers the topic into a lake table of this format, exactly once: `parquet` is a directory of Parquet files, partitioned as Hive does it; `iceberg` is an Iceberg table (weir.lake.iceberg.catalog) and `paimon` a Paimon table in a catalog of files, of all rows or (weir.primary.key) of the last one of each key. Needs weir.lake.path.",
    ),
    config(
        "weir.lake.freshness",
        "1m",
        Allowed::Text(32),
        "",
        "A record is in the lake table at the latest so long after it was produced, if the broker keeps up: 1s to 24h, such as 30s or 5m.",
    ),
    config(
        "weir.lake.gate.max.bytes",
        "-1",
        Allowed::Long(-1, LONG),
        "",
        "weir.lake.gate.retention: bytes of the topic that are kept for the lake beyond what retention allows; beyond it the oldest are removed all the same, which is logged and counted. -1 is no limit of the topic's own. All topics together never keep more than is free on the disk.",
    ),
    config(
        "weir.lake.gate.retention",
        "false",
        Allowed::Bool,
        "",
        "Retention (retention.ms, retention.bytes) removes only what is in the lake table already. Deleting records and compaction do not wait for it.",
    ),
    config(
        "weir.lake.history.reads",
        "false",
        Allowed::Bool,
        "",
        "What the log has no more is read from the lake table, under the same offsets: fetches for columns, and fetches for records where the table has them (untyped topics, and weir.lake.columns.raw). Offsets begin where the table does. Not for tables with weir.primary.key.",
    ),
    config(
        "weir.lake.iceberg.catalog",
        "files",
        Allowed::OneOf(&["files", "rest"]),
        "",
        "Catalog of a lake table with weir.lake.format=iceberg: `files` is the table's own folder, `rest` the Iceberg REST catalog of the broker's settings `lake.iceberg.rest.*`, in which the table is <namespace>.<topic>. Set it before the first record is tiered: a table does not move from one to the other.",
    ),
    config(
        "weir.lake.namespace",
        "weir",
        Allowed::Text(128),
        "",
        "Database of the lake table, in formats that have databases.",
    ),
    config(
        "weir.lake.paimon.bucket",
        "4",
        Allowed::Int(1, 1024),
        "",
        "Buckets of each partition of a lake table with a weir.primary.key: what is written and merged together, and the most that readers do side by side. As many as let a bucket stay below some hundred megabytes. Cannot change while there is a primary key.",
    ),
    config(
        "weir.lake.partition.by",
        "",
        Allowed::Text(1024),
        "",
        "Partitions of the lake table, outermost first: columns, or year, month, day and hour of one, such as `day(__timestamp), carrier`. Cannot change once the table has data.",
    ),
    config(
        "weir.lake.path",
        "",
        Allowed::Text(1024),
        "",
        "Warehouse of the lake table: an absolute folder of the broker's machine or a place in S3 (`s3://bucket/path`, reached as the broker's settings `lake.s3.*` say), which the broker's setting `lake.roots` must allow. The table is in `<path>/<topic>/` (`parquet`), `<path>/<namespace>/<topic>/` (`iceberg`) or `<path>/<namespace>.db/<topic>/` (`paimon`).",
    ),
    config(
        "weir.lake.paused",
        "false",
        Allowed::Bool,
        "",
        "Nothing is written to the lake table while this is true; `weir lake pause` and `weir lake resume` set it. Tiering goes on where it stopped.",
    ),
    config(
        "weir.layout",
        "auto",
        Allowed::OneOf(&["auto", "row", "column", "both"]),
        "",
        "In which form merges store records: `row` as their producers framed them, `column` as Arrow files (rows beside them for weir.row.retention.ms), `both`; `auto` is `column` for typed topics and `row` for others. Less than about a megabyte at a time, and compacted topics, are rows. Every record comes back as it was produced.",
    ),
    config(
        "weir.on.invalid",
        "reject",
        Allowed::OneOf(&["reject", "dead-letter", "null"]),
        "",
        "What becomes of rows that do not fit a typed topic: `reject` refuses their batch (INVALID_RECORD), `dead-letter` stores them in `<topic>.dlq` and the others here, `null` takes nullable columns that do not fit as null.",
    ),
    config(
        "weir.on.unknown",
        "keep",
        Allowed::OneOf(&["keep", "drop", "reject"]),
        "",
        "What becomes of fields that a typed topic has no column for: plain consumers see them (`keep`), need not see them (`drop`), or the row is invalid (`reject`).",
    ),
    config(
        "weir.primary.key",
        "",
        Allowed::AnyList,
        "",
        "Columns that tell rows apart: the lake table (weir.lake.format=paimon) has the last row of each key, and a record with a null value deletes its key. They are the same columns as weir.key.columns, all NOT NULL, so that a deletion names its key and records of a key follow each other in one partition. Cannot change, and cannot be set on a topic that is already tiered with all its rows.",
    ),
    config(
        "weir.row.retention.ms",
        "0",
        Allowed::Long(0, LONG),
        "",
        "Under weir.layout `column`: how long rows are kept beside the columns, for plain consumers that follow closely.",
    ),
    config(
        "weir.table.renames",
        "",
        Allowed::AnyList,
        "",
        "Columns with another name from the next schema on, as `old:new`: when the schema has `new` instead of `old`, that is the same column, and rows and producers that use the old name are still understood. Without it the old column is dropped and a new one begins.",
    ),
    config(
        "weir.table.schema",
        "",
        Allowed::Text(weir_table::ddl::DDL_LEN_MAX),
        "",
        "Columns of a typed topic, as DDL: `id BIGINT NOT NULL, city STRING, price DECIMAL(10,2)`. A change evolves the table: columns may be added (nullable or with DEFAULT), dropped, widened, and renamed (see weir.table.renames).",
    ),
    config(
        "weir.value.format",
        "json",
        Allowed::OneOf(&["json", "avro", "protobuf"]),
        "",
        "Form of a typed topic's values: `json` objects (with or without a registry's frame), `avro` rows or `protobuf` messages, framed as weir.value.framing says.",
    ),
    config(
        "weir.value.framing",
        "registry",
        Allowed::OneOf(&["registry", "plain"]),
        "",
        "What is in front of values of weir.value.format `avro` and `protobuf`: the id that the Schema Registry gave (`registry`), or nothing, and all of them are of the subject's newest schema (`plain`). JSON rows are read with and without; of a topic with a subject, those that are made of columns (views, reads of a part) have it unless this is `plain`.",
    ),
    config(
        "weir.value.message",
        "",
        Allowed::Text(1024),
        "",
        "weir.value.format=protobuf: name of the message, in the schema's file, whose fields are the table's columns; by default the first one.",
    ),
    config(
        "weir.value.schema.subject",
        "",
        Allowed::Text(1024),
        "",
        "Subject of the Schema Registry whose newest version is the schema of a typed topic, unless weir.table.schema is set; by default `<topic>-value` for weir.value.format `avro` and `protobuf`. With `json` the columns are those of a JSON Schema: properties, NOT NULL if they are required and never null; its other rules are the serializers' to check.",
    ),
    config(
        "weir.view.select",
        "",
        Allowed::Text(crate::views::TEXT_MAX),
        "",
        "Columns that a view shows, separated by commas: `order_id, user.address.city`; empty shows values as they were produced. Of an untyped source it names parts of the record: _key, _value, _headers.",
    ),
    config(
        "weir.view.source",
        "",
        Allowed::Text(249),
        "",
        "Makes the topic a view: it stores nothing and shows rows of this topic under its partitions, offsets, timestamps and keys. Cannot be set, changed or removed once the topic exists.",
    ),
    config(
        "weir.view.where",
        "",
        Allowed::Text(crate::views::TEXT_MAX),
        "",
        "Rows that a view shows, as an SQL expression over the source's columns: `status = 'PAID' AND amount > 10`; empty shows all. `now()` is refused.",
    ),
];
