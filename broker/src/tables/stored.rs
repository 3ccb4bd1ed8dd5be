//! Schema versions in the metadata store: `table/<topic id>/<version>`, JSON, one entry each, written with the topic's entry.
//!
//! An entry never changes; all go with their topic.
use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;
use weir_protocol::ids::TopicId;
use weir_storage::meta::{MetaError, MetadataStore, Write};
use weir_table::TableSchema;

const PREFIX: &str = "table/";

fn key(topic: TopicId, version: i32) -> Vec<u8> {
    // Sorted as numbers are.
    format!("{PREFIX}{}/{version:010}", topic.0).into_bytes()
}

/// The versions of all topics, ascending.
pub fn load(meta: &dyn MetadataStore) -> Result<HashMap<TopicId, Vec<Arc<TableSchema>>>, MetaError> {
    let mut tables: HashMap<TopicId, Vec<Arc<TableSchema>>> = HashMap::new();
    for (key, stored) in meta.scan(PREFIX.as_bytes())? {
        let name = String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned();
        let damaged = |detail: String| MetaError::Table { detail: format!("schema `{name}`: {detail}") };
        let topic = name.split_once('/').and_then(|(topic, _)| Uuid::parse_str(topic).ok());
        let topic = topic.ok_or_else(|| damaged("the key has no topic id".to_owned()))?;
        let schema: TableSchema = serde_json::from_slice(&stored.value).map_err(|e| damaged(e.to_string()))?;
        schema.validate().map_err(|e| damaged(e.to_string()))?;
        tables.entry(TopicId(topic)).or_default().push(Arc::new(schema));
    }
    for versions in tables.values_mut() {
        versions.sort_by_key(|schema| schema.version);
    }
    Ok(tables)
}

/// Makes the versions durable that are new.
pub fn writes<'a>(
    topic: TopicId,
    before: &'a [Arc<TableSchema>],
    now: &'a [Arc<TableSchema>],
) -> impl Iterator<Item = Write> + use<'a> {
    // Versions are only ever added.
    now.iter().skip(before.len()).map(move |schema| {
        // Strings and numbers always serialise.
        Write::Put(key(topic, schema.version), serde_json::to_vec(&**schema).unwrap_or_default())
    })
}

/// Forgets all versions.
pub fn removals(topic: TopicId, versions: &[Arc<TableSchema>]) -> impl Iterator<Item = Write> + use<'_> {
    versions.iter().map(move |schema| Write::Delete(key(topic, schema.version)))
}
