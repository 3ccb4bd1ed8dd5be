//! DescribeConfigs (key 32): the configs of topics, groups and of this broker, with where each value comes from.
//!
//! Versions 1-4. KIP-133, KIP-226 (sources and synonyms), KIP-569 (types and documentation, 3). Errors per resource:
//! UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_REQUEST (another broker, a kind without configs).
use std::collections::HashSet;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use thiserror::Error;

use super::config_resource::{Resource, ResourceError, resource};
use super::lookup::{self, LookupError};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::group::configs::{self, GroupConfigDef};
use crate::topic_config::{ConfigKind, DescribedConfig, TABLE};

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeConfigs, 1, 4);

/// Where a value comes from, as the wire numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set on the group.
    Group = 8,
    /// From the broker's configuration file, environment or flags.
    StaticBroker = 4,
    Default = 5,
}

/// Where the value of a topic config comes from.
pub fn source_of(config: &DescribedConfig) -> Source {
    match (config.overridden, &config.inherited) {
        (true, _) => Source::Topic,
        (false, Some(_)) => Source::StaticBroker,
        (false, None) => Source::Default,
    }
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
            topic.configs.describe().iter().map(topic_entry).collect()
        }
        Resource::Broker => broker_entries(broker),
        // Nothing is set for all brokers at run time.
        Resource::AllBrokers => Vec::new(),
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

fn topic_entry(config: &DescribedConfig) -> Entry {
    let definition = config.definition;
    let mut chain = Vec::new();
    if config.overridden {
        chain.push((definition.name.to_owned(), config.value.clone(), Source::Topic));
    }
    let broker_name = definition.broker_synonym.unwrap_or(definition.name);
    if let Some(inherited) = &config.inherited {
        chain.push((broker_name.to_owned(), inherited.clone(), Source::StaticBroker));
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
    let infos = broker.config.infos();
    let entry = |definition: &GroupConfigDef| {
        let synonym = definition.broker_synonym;
        let of_broker = infos.iter().find(|info| info.key == synonym).map(|info| info.wire.clone());
        let is_set = broker.config.sources.contains_key(synonym);
        let source = if is_set { Source::StaticBroker } else { Source::Default };
        let own = set.get(definition.name).map(|value| (definition.name.to_owned(), value.clone(), Source::Group));
        let chain: Vec<_> = own.into_iter().chain(of_broker.map(|value| (synonym.to_owned(), value, source))).collect();
        Entry {
            name: definition.name.to_owned(),
            value: chain.first().map(|(_, value, _)| value.clone()).unwrap_or_default(),
            read_only: false,
            kind: ConfigKind::Int,
            documentation: definition.documentation.to_owned(),
            chain,
        }
    };
    configs::TABLE.iter().map(entry).collect()
}

/// The broker's own settings, and the topic defaults by their broker names. All are read from the configuration at start.
fn broker_entries(broker: &Broker) -> Vec<Entry> {
    let config = &broker.config;
    let source = |key: &str| if config.sources.contains_key(key) { Source::StaticBroker } else { Source::Default };
    let entry = |name: &str, value: String, kind, documentation: String, source| Entry {
        name: name.to_owned(),
        read_only: true,
        kind,
        documentation,
        chain: vec![(name.to_owned(), value.clone(), source)],
        value,
    };
    let own = config.infos().into_iter().map(|info| {
        let kind = match info.kind {
            "number" => ConfigKind::Int,
            "bytes" | "duration" => ConfigKind::Long,
            "boolean" => ConfigKind::Boolean,
            kind if kind.starts_with("list") => ConfigKind::List,
            _ => ConfigKind::String,
        };
        entry(info.key, info.wire, kind, info.doc, source(info.key))
    });
    // Kafka's tools look for these under Kafka's names.
    let aliases = [
        ("broker.id", broker.node_id().to_string(), ConfigKind::Int, "node.id"),
        ("log.dirs", broker.settings.data_dir.display().to_string(), ConfigKind::String, "data.dir"),
    ]
    .into_iter()
    .map(|(name, value, kind, of)| entry(name, value, kind, format!("The same as `{of}`."), source(of)));
    let defaults = TABLE.iter().filter_map(|definition| {
        let name = definition.broker_synonym?;
        let set = config.topic_defaults.get(definition.name);
        let source = if set.is_some() { Source::StaticBroker } else { Source::Default };
        let value = set.cloned().unwrap_or_else(|| definition.default.to_owned());
        Some(entry(name, value, definition.allowed.kind(), definition.documentation.to_owned(), source))
    });
    let own = own.chain(aliases);
    own.chain(defaults).collect()
}

struct Shape {
    version: i16,
    synonyms: bool,
    documentation: bool,
}

impl Shape {
    fn encode(&self, entry: Entry) -> DescribeConfigsResourceResult {
        let source = entry.chain.first().map_or(Source::Default, |(_, _, source)| *source);
        let mut result = DescribeConfigsResourceResult::default()
            .with_name(wire(entry.name))
            .with_value(Some(wire(entry.value)))
            .with_read_only(entry.read_only)
            .with_config_source(source as i8);
        if self.synonyms {
            let synonyms = entry.chain.into_iter().map(|(name, value, source)| {
                DescribeConfigsSynonym::default()
                    .with_name(wire(name))
                    .with_value(Some(wire(value)))
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
    use crate::topic_config::TopicConfigs;

    #[test]
    fn value_in_force_comes_first_and_its_default_after_it() {
        let configs = TopicConfigs::parse([("retention.ms", Some("77"))]).unwrap();
        let entries: Vec<Entry> = configs.describe().iter().map(topic_entry).collect();
        let entry = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        let names: Vec<&str> = entry("retention.ms").chain.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["retention.ms", "log.retention.ms"]);
        assert_eq!(entry("retention.ms").chain[0].2, Source::Topic);
        assert_eq!(entry("cleanup.policy").chain, [("log.cleanup.policy".into(), "delete".into(), Source::Default)]);
    }

    #[test]
    fn default_of_the_broker_is_in_force_where_the_topic_sets_nothing() {
        let defaults = std::sync::Arc::new([("retention.ms".to_owned(), "5".to_owned())].into());
        let configs = TopicConfigs::parse([("segment.ms", Some("77"))]).unwrap().with_defaults(&defaults);
        assert_eq!(configs.resolve().log.retention_ms, Some(5));
        let described = configs.describe();
        let retention = described.iter().find(|config| config.definition.name == "retention.ms").unwrap();
        assert_eq!((retention.value.as_str(), source_of(retention)), ("5", Source::StaticBroker));
        let sources: Vec<Source> = topic_entry(retention).chain.into_iter().map(|(_, _, source)| source).collect();
        assert_eq!(sources, [Source::StaticBroker, Source::Default]);
    }

    #[test]
    fn types_and_documentation_come_with_version_3() {
        use bytes::BytesMut;
        use kafka_protocol::protocol::Encodable;
        for version in VERSIONS.min..=VERSIONS.max {
            for flag in [false, true] {
                let shape = Shape { version, synonyms: flag, documentation: version >= 3 && flag };
                let configs = TopicConfigs::default().describe();
                let configs = configs.iter().map(|config| shape.encode(topic_entry(config))).collect();
                let result = DescribeConfigsResult::default().with_configs(configs);
                let response = DescribeConfigsResponse::default().with_results(vec![result]);
                response.encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
