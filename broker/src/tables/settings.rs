//! The topic configs that concern tables, as values.
use weir_table::codec::{Fidelity, OnUnknown};
use weir_table::table::{FormatKind, Framing, OnInvalid};

use crate::topic_config::{TopicConfigs, items};

/// `weir.key.format`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// One value as Kafka's serializers write it.
    #[default]
    Raw,
    /// A row with the key columns.
    Row(FormatKind),
}

/// What makes a topic a table. Admitted values only; whether they make a table together, `plan` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSettings {
    /// `weir.table.schema`.
    pub ddl: Option<String>,
    /// `weir.table.renames`: old and new names, as written.
    pub renames: Vec<String>,
    /// `weir.value.format`.
    pub format: FormatKind,
    /// `weir.value.framing`.
    pub framing: Framing,
    /// `weir.value.message`.
    pub message: Option<String>,
    /// `weir.value.schema.subject`.
    pub subject: Option<String>,
    /// `weir.key.columns`.
    pub key_columns: Vec<String>,
    /// `weir.key.format`.
    pub key_kind: KeyKind,
    /// `weir.cluster.by`.
    pub cluster_by: Vec<String>,
    /// `weir.column.bloom.filters`.
    pub bloom_filters: Vec<String>,
    /// `weir.column.uncompressed`.
    pub uncompressed: Vec<String>,
    /// `weir.on.invalid`.
    pub on_invalid: OnInvalid,
    /// `weir.on.unknown`.
    pub on_unknown: OnUnknown,
    /// `weir.fidelity`.
    pub fidelity: Fidelity,
    /// `weir.primary.key`.
    pub primary_key: Vec<String>,
    /// A record without value deletes: `cleanup.policy` has `compact`, or there is a primary key.
    pub tombstones: bool,
}

fn text(configs: &TopicConfigs, name: &str) -> Option<String> {
    Some(configs.get(name)).filter(|text| !text.is_empty()).map(str::to_owned)
}

impl TableSettings {
    /// Those of a topic's configs.
    pub fn of(configs: &TopicConfigs, compacted: bool) -> TableSettings {
        let primary_key: Vec<String> = items(configs.get("weir.primary.key")).map(str::to_owned).collect();
        TableSettings {
            ddl: text(configs, "weir.table.schema"),
            renames: items(configs.get("weir.table.renames")).map(str::to_owned).collect(),
            format: match configs.get("weir.value.format") {
                "avro" => FormatKind::Avro,
                "protobuf" => FormatKind::Protobuf,
                _ => FormatKind::Json,
            },
            framing: match configs.get("weir.value.framing") {
                "plain" => Framing::Plain,
                _ => Framing::Registry,
            },
            message: text(configs, "weir.value.message"),
            subject: text(configs, "weir.value.schema.subject"),
            key_columns: items(configs.get("weir.key.columns")).map(str::to_owned).collect(),
            key_kind: match configs.get("weir.key.format") {
                "json" => KeyKind::Row(FormatKind::Json),
                _ => KeyKind::Raw,
            },
            cluster_by: items(configs.get("weir.cluster.by")).map(str::to_owned).collect(),
            bloom_filters: items(configs.get("weir.column.bloom.filters")).map(str::to_owned).collect(),
            uncompressed: items(configs.get("weir.column.uncompressed")).map(str::to_owned).collect(),
            on_invalid: match configs.get("weir.on.invalid") {
                "dead-letter" => OnInvalid::DeadLetter,
                "null" => OnInvalid::Null,
                _ => OnInvalid::Reject,
            },
            on_unknown: match configs.get("weir.on.unknown") {
                "drop" => OnUnknown::Drop,
                "reject" => OnUnknown::Reject,
                _ => OnUnknown::Keep,
            },
            fidelity: match configs.get("weir.fidelity") {
                "semantic" => Fidelity::Semantic,
                _ => Fidelity::Exact,
            },
            tombstones: compacted || !primary_key.is_empty(),
            primary_key,
        }
    }

    /// Whether the topic is to be a table.
    pub fn is_typed(&self) -> bool {
        self.ddl.is_some() || self.subject.is_some() || self.needs_registry()
    }

    /// Whether rows cannot be read without a schema of the Schema Registry.
    pub fn needs_registry(&self) -> bool {
        self.format != FormatKind::Json
    }

    /// The subject of the Schema Registry that the values of topic `topic` are bound to.
    pub fn subject_of(&self, topic: &str) -> Option<String> {
        let default = || self.needs_registry().then(|| weir_registry::Registry::value_subject(topic));
        self.subject.clone().or_else(default)
    }
}
