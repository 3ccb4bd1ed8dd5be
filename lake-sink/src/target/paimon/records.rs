//! The schemas of the records of manifests and manifest lists, as Paimon's Java writers give them, so that every reader takes them.
use serde_json::{Value, json};

fn field_of(name: &str, avro_type: Value) -> Value {
    json!({ "name": name, "type": avro_type })
}

fn optional(name: &str, avro_type: Value) -> Value {
    json!({ "name": name, "type": ["null", avro_type], "default": null })
}

fn stats_schema(name: &str) -> Value {
    let counts = json!({ "type": "array", "items": ["null", "long"] });
    let fields = [
        field_of("_MIN_VALUES", json!("bytes")),
        field_of("_MAX_VALUES", json!("bytes")),
        optional("_NULL_COUNTS", counts),
    ];
    json!({ "type": "record", "name": name, "fields": fields })
}

fn file_schema() -> Value {
    let strings = || json!({ "type": "array", "items": "string" });
    let fields = [
        field_of("_FILE_NAME", json!("string")),
        field_of("_FILE_SIZE", json!("long")),
        field_of("_ROW_COUNT", json!("long")),
        field_of("_MIN_KEY", json!("bytes")),
        field_of("_MAX_KEY", json!("bytes")),
        field_of("_KEY_STATS", stats_schema("record__FILE__KEY_STATS")),
        field_of("_VALUE_STATS", stats_schema("record__FILE__VALUE_STATS")),
        field_of("_MIN_SEQUENCE_NUMBER", json!("long")),
        field_of("_MAX_SEQUENCE_NUMBER", json!("long")),
        field_of("_SCHEMA_ID", json!("long")),
        field_of("_LEVEL", json!("int")),
        field_of("_EXTRA_FILES", strings()),
        optional("_CREATION_TIME", json!({ "type": "long", "logicalType": "timestamp-millis" })),
        optional("_DELETE_ROW_COUNT", json!("long")),
        optional("_EMBEDDED_FILE_INDEX", json!("bytes")),
        optional("_FILE_SOURCE", json!("int")),
        optional("_VALUE_STATS_COLS", strings()),
        optional("_EXTERNAL_PATH", json!("string")),
        optional("_FIRST_ROW_ID", json!("long")),
        optional("_WRITE_COLS", strings()),
    ];
    json!({ "type": "record", "name": "record__FILE", "fields": fields })
}

/// A manifest's records: files that are added or taken out.
pub fn entry() -> Value {
    let fields = [
        field_of("_VERSION", json!("int")),
        field_of("_KIND", json!("int")),
        field_of("_PARTITION", json!("bytes")),
        field_of("_BUCKET", json!("int")),
        field_of("_TOTAL_BUCKETS", json!("int")),
        field_of("_FILE", file_schema()),
    ];
    json!({ "type": "record", "name": "record", "namespace": "org.apache.paimon.avro.generated", "fields": fields })
}

/// A list's records: manifests.
pub fn list() -> Value {
    let fields = [
        field_of("_VERSION", json!("int")),
        field_of("_FILE_NAME", json!("string")),
        field_of("_FILE_SIZE", json!("long")),
        field_of("_NUM_ADDED_FILES", json!("long")),
        field_of("_NUM_DELETED_FILES", json!("long")),
        field_of("_PARTITION_STATS", stats_schema("record__PARTITION_STATS")),
        field_of("_SCHEMA_ID", json!("long")),
    ];
    json!({ "type": "record", "name": "record", "namespace": "org.apache.paimon.avro.generated", "fields": fields })
}
