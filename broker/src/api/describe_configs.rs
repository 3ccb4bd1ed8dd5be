//! DescribeConfigs (key 32): the configs of topics, groups, this broker and its loggers, with where each value comes from.
//!
//! Versions 1-4. KIP-133, KIP-226 (sources and synonyms), KIP-412 (loggers), KIP-569 (types and documentation, 3). Errors per resource:
//! UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUEST (another broker, a kind without configs).
use std::collections::HashSet;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use thiserror::Error;
use weir_table::ddl;

use super::config_resource::{Resource, ResourceError, resource};
use super::lookup::{self, LookupError};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::config::{Config, Secret, SettingInfo};
use crate::dynamic_config::{ACCEPTED, DynamicConfigs, Level};
use crate::error_code::KafkaError;
use crate::group::configs::{self, GroupConfigDef};
use crate::loggers::{self, Loggers};
use crate::topic_config::{ConfigKind, DescribedConfig, TABLE, TopicConfigDef};
use crate::topics::Topic;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeConfigs, 1, 4);
const TABLE_SCHEMA: &str = "weir.table.schema";

/// Where a value comes from, as the wire numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set on the group.
    Group = 8,
    /// Set for this broker at run time.
    DynamicBroker = 2,
    /// Set for all brokers at run time.
    DynamicDefaultBroker = 3,
    /// From the broker's configuration file, environment or flags.
    StaticBroker = 4,
    Default = 5,
    /// Set for a logger of this process.
    Logger = 6,
}

/// Where the value of a topic config comes from.
pub fn source_of(dynamic: &DynamicConfigs, config: &DescribedConfig) -> Source {
    if config.overridden {
        return Source::Topic;
    }
    let of_broker =
        config.definition.broker_synonym.and_then(|name| set_of_broker(dynamic, name, config.definition).next());
    of_broker.map_or(Source::Default, |(_, _, source)| source)
}

/// Name, value and source.
type Link = (String, String, Source);

/// What is set under a name at run time: for this broker, and then for all.
fn set_at_run_time(dynamic: &DynamicConfigs, name: &str) -> Vec<Link> {
    let now = dynamic.now();
    let at = |level, source| now.at(level).get(name).map(|value| (name.to_owned(), value.clone(), source));
    [at(Level::Broker, Source::DynamicBroker), at(Level::Cluster, Source::DynamicDefaultBroker)]
        .into_iter()
        .flatten()
        .collect()
}

/// What is set for topics at the level of the broker, what is in force first.
fn set_of_broker(
    dynamic: &DynamicConfigs,
    name: &str,
    definition: &TopicConfigDef,
) -> impl Iterator<Item = Link> + use<> {
    let started = dynamic.started().topic_defaults.get(definition.name);
    let started = started.map(|value| (name.to_owned(), value.clone(), Source::StaticBroker));
    set_at_run_time(dynamic, name).into_iter().chain(started)
}

/// Why a resource is not described.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DescribeConfigsError {
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// One config on its way to the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub value: String,
    pub read_only: bool,
    pub kind: ConfigKind,
    pub documentation: String,
    /// Name, value and source; the first is the one in force.
    pub chain: Vec<(String, String, Source)>,
}

/// Describes resource by resource.
pub fn handle(broker: &Broker, version: i16, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let shape = Shape {
        version,
        synonyms: request.include_synonyms,
        documentation: version >= 3 && request.include_documentation,
    };
    let results = request.resources.into_iter().map(|wanted| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(wanted.resource_type)
            .with_resource_name(wanted.resource_name.clone());
        match entries(broker, &wanted) {
            Ok(entries) => result
                .with_error_message(None)
                .with_configs(entries.into_iter().map(|entry| shape.encode(entry)).collect()),
            Err(error) => result.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn entries(broker: &Broker, wanted: &DescribeConfigsResource) -> Result<Vec<Entry>, DescribeConfigsError> {
    let all = match resource(wanted.resource_type, &wanted.resource_name, broker.node_id())? {
        Resource::Topic(name) => {
            let topic = lookup::topic_named(broker, &name)?;
            let entry = |config| with_columns(&topic, topic_entry(&broker.dynamic, config));
            topic.configs.describe().iter().map(entry).collect()
        }
        Resource::Broker => broker_entries(&broker.dynamic),
        Resource::AllBrokers => all_brokers_entries(&broker.dynamic),
        Resource::Loggers => loggers::installed().map(logger_entries).unwrap_or_default(),
        Resource::Group(name) => group_entries(broker, &name),
    };
    // An empty list means every config here: kafka-python and some consoles send it where they mean null.
    let keys: Option<HashSet<&str>> = wanted
        .configuration_keys
        .as_ref()
        .filter(|keys| !keys.is_empty())
        .map(|keys| keys.iter().map(|key| key.as_str()).collect());
    Ok(match keys {
        None => all,
        Some(keys) => all.into_iter().filter(|entry| keys.contains(entry.name.as_str())).collect(),
    })
}

/// A table whose columns come from the registry tells them all the same, as what its setting stands for: a client that writes columns
/// needs to know them before there is a row.
fn with_columns(topic: &Topic, mut entry: Entry) -> Entry {
    let is_default = |entry: &Entry| entry.chain.first().is_some_and(|(_, _, source)| *source == Source::Default);
    if let Some(table) = topic.table.table().filter(|_| entry.name == TABLE_SCHEMA && is_default(&entry)) {
        entry.value = ddl::print(&table.current().fields);
        entry.chain = vec![(entry.name.clone(), entry.value.clone(), Source::Default)];
    }
    entry
}

fn topic_entry(dynamic: &DynamicConfigs, config: &DescribedConfig) -> Entry {
    let definition = config.definition;
    let mut chain = Vec::new();
    if config.overridden {
        chain.push((definition.name.to_owned(), config.value.clone(), Source::Topic));
    }
    let broker_name = definition.broker_synonym.unwrap_or(definition.name);
    if let Some(name) = definition.broker_synonym {
        chain.extend(set_of_broker(dynamic, name, definition));
    }
    chain.push((broker_name.to_owned(), definition.default.to_owned(), Source::Default));
    Entry {
        name: definition.name.to_owned(),
        value: config.value.clone(),
        read_only: false,
        kind: definition.allowed.kind(),
        documentation: definition.documentation.to_owned(),
        chain,
    }
}

/// Settings of a group, whether it exists or not.
fn group_entries(broker: &Broker, group: &str) -> Vec<Entry> {
    let set = broker.group_configs.of(group);
    let entry = |definition: &GroupConfigDef| {
        let own = set.get(definition.name).map(|value| (definition.name.to_owned(), value.clone(), Source::Group));
        let of_broker = match definition.broker_synonym {
            Some(setting) => setting_chain(&broker.dynamic, setting),
            None => vec![(definition.name.to_owned(), definition.default.to_owned(), Source::Default)],
        };
        let chain: Vec<Link> = own.into_iter().chain(of_broker).collect();
        Entry {
            name: definition.name.to_owned(),
            value: chain.first().map(|(_, value, _)| value.clone()).unwrap_or_default(),
            read_only: false,
            kind: if definition.is_number { ConfigKind::Int } else { ConfigKind::String },
            documentation: definition.documentation.to_owned(),
            chain,
        }
    };
    configs::TABLE.iter().map(entry).collect()
}

fn logger_entries(loggers: &Loggers) -> Vec<Entry> {
    let entry = |(name, level): (String, &str)| Entry {
        value: level.to_owned(),
        read_only: false,
        kind: ConfigKind::String,
        documentation: "The level at which this module and those below it log.".to_owned(),
        chain: vec![(name.clone(), level.to_owned(), Source::Logger)],
        name,
    };
    loggers.describe().into_iter().map(entry).collect()
}

fn wire_value(infos: &[SettingInfo], name: &str) -> Option<String> {
    infos.iter().find(|info| info.key == name).map(|info| info.wire.clone())
}

/// One of our settings: what is set at run time, what it was started with, its default.
fn setting_chain(dynamic: &DynamicConfigs, name: &str) -> Vec<Link> {
    let started = dynamic.started();
    let mut chain = set_at_run_time(dynamic, name);
    if started.sources.contains_key(name) {
        chain.extend(wire_value(&started.infos(), name).map(|value| (name.to_owned(), value, Source::StaticBroker)));
    }
    let default = wire_value(&Config::default().infos(), name);
    chain.extend(default.map(|value| (name.to_owned(), value, Source::Default)));
    chain
}

fn kind_of(info: &SettingInfo) -> ConfigKind {
    match info.kind {
        "number" => ConfigKind::Int,
        "bytes" | "duration" => ConfigKind::Long,
        "boolean" => ConfigKind::Boolean,
        Secret::NAME => ConfigKind::Password,
        kind if kind.starts_with("list") => ConfigKind::List,
        _ => ConfigKind::String,
    }
}

/// The broker's own settings, the topic defaults by their broker names, and what is only accepted.
fn broker_entries(dynamic: &DynamicConfigs) -> Vec<Entry> {
    let started = dynamic.started();
    let entry = |name: &str, kind, documentation: String, chain: Vec<Link>| Entry {
        name: name.to_owned(),
        value: chain.first().map(|(_, value, _)| value.clone()).unwrap_or_default(),
        read_only: dynamic.check_name(name).is_err(),
        kind,
        documentation,
        chain,
    };
    let infos = started.infos();
    let own =
        infos.iter().map(|info| entry(info.key, kind_of(info), info.doc.clone(), setting_chain(dynamic, info.key)));
    // Kafka's tools look for these under Kafka's names.
    let aliases = [("broker.id", ConfigKind::Int, "node.id"), ("log.dirs", ConfigKind::String, "data.dir")]
        .into_iter()
        .map(|(name, kind, of)| {
            let chain =
                setting_chain(dynamic, of).into_iter().map(|(_, value, source)| (name.to_owned(), value, source));
            entry(name, kind, format!("The same as `{of}`."), chain.collect())
        });
    let defaults = TABLE.iter().filter_map(|definition| {
        let name = definition.broker_synonym?;
        let mut chain: Vec<Link> = set_of_broker(dynamic, name, definition).collect();
        chain.push((name.to_owned(), definition.default.to_owned(), Source::Default));
        Some(entry(name, definition.allowed.kind(), definition.documentation.to_owned(), chain))
    });
    let accepted = ACCEPTED.iter().map(|definition| {
        let mut chain = set_at_run_time(dynamic, definition.name);
        chain.push((definition.name.to_owned(), definition.default.to_owned(), Source::Default));
        entry(definition.name, definition.allowed.kind(), definition.documentation.to_owned(), chain)
    });
    own.chain(aliases).chain(defaults).chain(accepted).collect()
}

/// What is set for all brokers at run time, and nothing else.
fn all_brokers_entries(dynamic: &DynamicConfigs) -> Vec<Entry> {
    let set_for_all = |entry: &Entry| entry.chain.iter().any(|(_, _, source)| *source == Source::DynamicDefaultBroker);
    let mut entries: Vec<Entry> = broker_entries(dynamic).into_iter().filter(set_for_all).collect();
    for entry in &mut entries {
        entry.chain.retain(|(_, _, source)| *source == Source::DynamicDefaultBroker);
        entry.value = entry.chain.first().map(|(_, value, _)| value.clone()).unwrap_or_default();
    }
    entries
}

struct Shape {
    version: i16,
    synonyms: bool,
    documentation: bool,
}

impl Shape {
    fn encode(&self, entry: Entry) -> DescribeConfigsResourceResult {
        let source = entry.chain.first().map_or(Source::Default, |(_, _, source)| *source);
        let secret = entry.kind == ConfigKind::Password;
        let shown = |value: String| (!secret).then(|| wire(value));
        let mut result = DescribeConfigsResourceResult::default()
            .with_name(wire(entry.name))
            .with_value(shown(entry.value))
            .with_is_sensitive(secret)
            .with_read_only(entry.read_only)
            .with_config_source(source as i8);
        // As in Kafka, levels of loggers have none.
        if self.synonyms && source != Source::Logger {
            let synonyms = entry.chain.into_iter().map(|(name, value, source)| {
                DescribeConfigsSynonym::default()
                    .with_name(wire(name))
                    .with_value(shown(value))
                    .with_source(source as i8)
            });
            result = result.with_synonyms(synonyms.collect());
        }
        if self.version >= 3 {
            result = result.with_config_type(entry.kind as i8);
        }
        let documentation = self.documentation.then(|| wire(entry.documentation));
        if self.version >= 3 { result.with_documentation(documentation) } else { result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::topic_config::TopicConfigs;
    use weir_storage::disk::{CrashDisk, Disk};
    use weir_storage::meta::EmbeddedMetadata;

    fn started_with(pairs: &[(&str, &str)]) -> DynamicConfigs {
        let mut config = Config::default();
        for (name, value) in pairs {
            config.set(name, value, crate::config::Source::File).unwrap();
        }
        let disk: Arc<dyn Disk> = Arc::new(CrashDisk::new());
        DynamicConfigs::load(config, Arc::new(EmbeddedMetadata::open(disk, None).unwrap())).unwrap()
    }

    async fn set(dynamic: &DynamicConfigs, level: Level, pairs: &[(&str, &str)]) {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        dynamic.plan(level, |_| Ok(pairs)).await.unwrap().make().await.unwrap();
    }

    #[test]
    fn a_secret_is_told_to_be_there_and_nothing_more() {
        let dynamic = started_with(&[("lake.s3.secret.access.key", "hush"), ("lake.s3.region", "eu-north-1")]);
        let shape = Shape { version: 4, synonyms: true, documentation: true };
        let entries: Vec<_> = broker_entries(&dynamic).into_iter().map(|entry| shape.encode(entry)).collect();
        let of = |name: &str| entries.iter().find(|entry| entry.name.as_str() == name).unwrap();
        let secret = of("lake.s3.secret.access.key");
        assert!(secret.is_sensitive && secret.value.is_none() && secret.config_type == ConfigKind::Password as i8);
        assert!(!secret.synonyms.is_empty() && secret.synonyms.iter().all(|synonym| synonym.value.is_none()));
        let region = of("lake.s3.region");
        assert!(!region.is_sensitive && region.value.as_deref() == Some("eu-north-1"));
        assert!(!format!("{entries:?}").contains("hush"));
    }

    fn sources(entry: &Entry) -> Vec<(&str, Source)> {
        entry.chain.iter().map(|(_, value, source)| (value.as_str(), *source)).collect()
    }

    #[test]
    fn value_in_force_comes_first_and_its_default_after_it() {
        let dynamic = started_with(&[]);
        let configs = TopicConfigs::parse([("retention.ms", Some("77"))]).unwrap();
        let entries: Vec<Entry> = configs.describe().iter().map(|config| topic_entry(&dynamic, config)).collect();
        let entry = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        let names: Vec<&str> = entry("retention.ms").chain.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["retention.ms", "log.retention.ms"]);
        assert_eq!(entry("retention.ms").chain[0].2, Source::Topic);
        assert_eq!(entry("cleanup.policy").chain, [("log.cleanup.policy".into(), "delete".into(), Source::Default)]);
    }

    /// Seen failing: with the two levels of `set_at_run_time` exchanged.
    #[tokio::test]
    async fn levels_are_told_from_the_nearest_to_the_default() {
        let dynamic = started_with(&[("log.retention.ms", "5")]);
        let described = || {
            let defaults = Arc::new(dynamic.now().config.topic_defaults.clone());
            let configs = TopicConfigs::default().with_defaults(&defaults);
            configs.describe().into_iter().find(|config| config.definition.name == "retention.ms").unwrap()
        };
        assert_eq!((described().value.as_str(), source_of(&dynamic, &described())), ("5", Source::StaticBroker));
        set(&dynamic, Level::Cluster, &[("log.retention.ms", "6"), ("num.io.threads", "4")]).await;
        set(&dynamic, Level::Broker, &[("log.retention.ms", "7"), ("group.max.size", "3")]).await;
        assert_eq!((described().value.as_str(), source_of(&dynamic, &described())), ("7", Source::DynamicBroker));
        let chain = [
            ("7", Source::DynamicBroker),
            ("6", Source::DynamicDefaultBroker),
            ("5", Source::StaticBroker),
            ("604800000", Source::Default),
        ];
        assert_eq!(sources(&topic_entry(&dynamic, &described())), chain);
        let entries = broker_entries(&dynamic);
        let entry = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(sources(entry("log.retention.ms")), chain);
        assert_eq!(sources(entry("group.max.size")), [("3", Source::DynamicBroker), ("10000", Source::Default)]);
        assert!(!entry("group.max.size").read_only && entry("node.id").read_only && entry("log.dirs").read_only);
        let of_all: Vec<_> = all_brokers_entries(&dynamic).into_iter().map(|entry| (entry.name, entry.value)).collect();
        assert_eq!(of_all, [("log.retention.ms".into(), "6".into()), ("num.io.threads".into(), "4".into())]);
    }

    #[test]
    fn types_and_documentation_come_with_version_3() {
        use bytes::BytesMut;
        use kafka_protocol::protocol::Encodable;
        let dynamic = started_with(&[]);
        for version in VERSIONS.min..=VERSIONS.max {
            for flag in [false, true] {
                let shape = Shape { version, synonyms: flag, documentation: version >= 3 && flag };
                let configs = TopicConfigs::default().describe();
                let configs = configs.iter().map(|config| shape.encode(topic_entry(&dynamic, config))).collect();
                let result = DescribeConfigsResult::default().with_configs(configs);
                let response = DescribeConfigsResponse::default().with_results(vec![result]);
                response.encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
