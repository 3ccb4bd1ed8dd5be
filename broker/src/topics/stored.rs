//! Topics as they are in the metadata store, and how a start reads them back.
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use weir_protocol::ids::TopicId;
use weir_storage::log::TopicSpec;
use weir_storage::meta::{MetaError, MetadataStore, Write};

use super::{Snapshot, Topic, is_internal_name, views};
use crate::tables::{self, Schemas, TopicTable};
use crate::topic_config::{TopicConfigs, TopicDefaults};
use crate::views::StoredView;

pub(super) const TOPIC_PREFIX: &str = "topic/";
pub(super) const DELETED_PREFIX: &str = "deleted-topic/";
/// Names of deleted topics whose committed offsets are not all deleted yet.
pub(super) const FORGET_PREFIX: &str = "forget-offsets/";

/// As it is in the metadata store, JSON.
#[derive(Serialize, Deserialize)]
struct StoredTopic {
    id: Uuid,
    partitions: i32,
    #[serde(default)]
    configs: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    view: Option<StoredView>,
}

/// What the metadata store knows of topics, read before the storage engine opens.
pub struct LoadedTopics {
    pub(super) snapshot: Snapshot,
    pub(super) defaults: TopicDefaults,
    pub(super) schemas: Schemas,
    pub(super) deleted: HashSet<TopicId>,
    pub(super) forget: BTreeSet<String>,
}

impl LoadedTopics {
    /// With the built-in defaults of topic configs.
    pub fn load(meta: &dyn MetadataStore) -> Result<LoadedTopics, MetaError> {
        LoadedTopics::load_with(meta, TopicDefaults::default(), Schemas::default())
    }

    /// `defaults`: those of the broker's configuration. `schemas`: what tables may be bound to.
    pub fn load_with(
        meta: &dyn MetadataStore,
        defaults: TopicDefaults,
        schemas: Schemas,
    ) -> Result<LoadedTopics, MetaError> {
        let mut tables = tables::load(meta)?;
        let mut snapshot = Snapshot::default();
        let mut stored_views = Vec::new();
        for (key, stored) in meta.scan(TOPIC_PREFIX.as_bytes())? {
            let name = String::from_utf8_lossy(&key[TOPIC_PREFIX.len()..]).into_owned();
            let damaged = |detail: String| MetaError::Table { detail: format!("topic `{name}`: {detail}") };
            let stored: StoredTopic = serde_json::from_slice(&stored.value).map_err(|e| damaged(e.to_string()))?;
            // Configs of an older or newer version that are not valid any more must not stop the start.
            let mut configs = TopicConfigs::default().with_defaults(&defaults);
            for (config, value) in &stored.configs {
                if let Err(error) = configs.set(config, value) {
                    tracing::warn!(topic = name, %error, "a stored topic config is ignored");
                }
            }
            let settings = configs.resolve();
            let id = TopicId(stored.id);
            let table = match tables.remove(&id).unwrap_or_default() {
                _ if is_internal_name(&name) => TopicTable::default(),
                versions => tables::reload(&name, versions, &settings.table, &schemas),
            };
            let topic = Topic { id, name, partitions: stored.partitions, configs, settings, table, view: None };
            match stored.view {
                Some(view) => stored_views.push((topic, view)),
                None => snapshot.add(&Arc::new(topic)),
            }
        }
        // Sources first.
        for (topic, stored) in stored_views {
            let topic = views::reload(&snapshot, topic, &stored, &schemas);
            snapshot.add(&Arc::new(topic));
        }
        let mut deleted = HashSet::new();
        for (key, _) in meta.scan(DELETED_PREFIX.as_bytes())? {
            if let Ok(id) = Uuid::parse_str(&String::from_utf8_lossy(&key[DELETED_PREFIX.len()..])) {
                deleted.insert(TopicId(id));
            }
        }
        let named = |(key, _): (Vec<u8>, _)| String::from_utf8_lossy(&key[FORGET_PREFIX.len()..]).into_owned();
        let forget = meta.scan(FORGET_PREFIX.as_bytes())?.into_iter().map(named).collect();
        Ok(LoadedTopics { snapshot, defaults, schemas, deleted, forget })
    }

    pub fn specs(&self) -> Vec<TopicSpec> {
        self.snapshot.by_name.values().filter(|t| t.view.is_none()).map(|t| t.spec()).collect()
    }

    pub fn is_deleted(&self, topic: TopicId) -> bool {
        self.deleted.contains(&topic)
    }
}

pub(super) fn tombstone(topic: TopicId) -> Vec<u8> {
    format!("{DELETED_PREFIX}{}", topic.0).into_bytes()
}

pub(super) fn key(name: &str) -> Vec<u8> {
    format!("{TOPIC_PREFIX}{name}").into_bytes()
}

pub(super) fn forget_key(name: &str) -> Vec<u8> {
    format!("{FORGET_PREFIX}{name}").into_bytes()
}

pub(super) fn put(topic: &Topic) -> Write {
    let configs = topic.configs.overrides().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let view = topic.view.as_ref().map(|view| view.stored());
    let stored = StoredTopic { id: topic.id.0, partitions: topic.partitions, configs, view };
    // Strings and numbers always serialise.
    Write::Put(key(&topic.name), serde_json::to_vec(&stored).unwrap_or_default())
}
