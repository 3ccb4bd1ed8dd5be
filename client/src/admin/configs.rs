//! Reading and changing the configuration of topics and brokers.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::{Admin, wire_text};
use crate::connection::{Connection, retrying};
use crate::error::Result;

/// What a configuration belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A topic, by name.
    Topic,
    /// A broker, by id; all of them without one.
    Broker,
    /// The loggers of a broker, by its id.
    BrokerLogger,
    /// A consumer group, by name.
    Group,
}

impl ResourceKind {
    fn wire(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::Group => 32,
        }
    }
}

/// One configurable thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConfigResource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name (or id, as text).
    pub name: String,
}

impl ConfigResource {
    /// A topic.
    pub fn topic(name: impl Into<String>) -> Self {
        Self { kind: ResourceKind::Topic, name: name.into() }
    }

    /// A broker.
    pub fn broker(id: i32) -> Self {
        Self { kind: ResourceKind::Broker, name: id.to_string() }
    }

    /// What is set for all brokers at runtime.
    pub fn all_brokers() -> Self {
        Self { kind: ResourceKind::Broker, name: String::new() }
    }

    /// The loggers of a broker, whose values are levels.
    pub fn loggers_of(id: i32) -> Self {
        Self { kind: ResourceKind::BrokerLogger, name: id.to_string() }
    }

    fn subject(&self) -> String {
        match self.kind {
            ResourceKind::Topic => format!("topic `{}`", self.name),
            ResourceKind::Broker if self.name.is_empty() => "all brokers".to_owned(),
            ResourceKind::Broker => format!("broker {}", self.name),
            ResourceKind::BrokerLogger => format!("the loggers of broker {}", self.name),
            ResourceKind::Group => format!("group `{}`", self.name),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on this broker at runtime.
    DynamicBroker,
    /// Set for all brokers at runtime.
    DynamicDefaultBroker,
    /// From the broker's configuration file.
    StaticBroker,
    /// Nobody set it.
    Default,
    /// Set for a logger.
    DynamicBrokerLogger,
    /// Another source, by its wire number.
    Other(i8),
}

impl ConfigSource {
    fn from_wire(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::DynamicBrokerLogger,
            other => Self::Other(other),
        }
    }

    /// As Kafka's tools print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "DYNAMIC_TOPIC_CONFIG",
            Self::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
            Self::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            Self::StaticBroker => "STATIC_BROKER_CONFIG",
            Self::Default => "DEFAULT_CONFIG",
            Self::DynamicBrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
            Self::Other(_) => "UNKNOWN",
        }
    }
}

/// One setting with its effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; none if it is unset or secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed at runtime.
    pub read_only: bool,
    /// Whether its value is kept secret.
    pub sensitive: bool,
    /// What it does, if the broker tells and was asked.
    pub documentation: Option<String>,
}

/// A change to one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets the value.
    Set(String, String),
    /// Returns to the default.
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Takes out of a list.
    Subtract(String, String),
}

impl ConfigChange {
    fn to_wire(&self) -> AlterableConfig {
        let (operation, name, value) = match self {
            Self::Set(name, value) => (0, name, Some(value)),
            Self::Delete(name) => (1, name, None),
            Self::Append(name, value) => (2, name, Some(value)),
            Self::Subtract(name, value) => (3, name, Some(value)),
        };
        AlterableConfig::default()
            .with_name(wire_text(name))
            .with_config_operation(operation)
            .with_value(value.map(|value| wire_text(value)))
    }
}

impl Admin {
    /// All settings of a resource, sorted by name.
    pub async fn describe_configs(&self, resource: &ConfigResource, documentation: bool) -> Result<Vec<ConfigEntry>> {
        let (response, connection) = retrying(self.client.config(), || async {
            let connection = self.connection_for(resource).await?;
            let response = connection
                .call(|version| {
                    let wanted = DescribeConfigsResource::default()
                        .with_resource_type(resource.kind.wire())
                        .with_resource_name(wire_text(&resource.name))
                        .with_configuration_keys(None);
                    DescribeConfigsRequest::default()
                        .with_resources(vec![wanted])
                        .with_include_documentation(documentation && version >= 3)
                })
                .await?;
            Ok((response, connection))
        })
        .await?;
        let mut entries = Vec::new();
        for result in &response.results {
            let detail = result.error_message.as_deref();
            connection.check::<DescribeConfigsRequest>(&resource.subject(), result.error_code, detail)?;
            entries.extend(result.configs.iter().map(entry));
        }
        entries.sort_by(|left: &ConfigEntry, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    /// Changes single settings and leaves the others as they are.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<()> {
        let (response, connection) = retrying(self.client.config(), || async {
            let connection = self.connection_for(resource).await?;
            let response = connection
                .call(|_| {
                    let altered = AlterConfigsResource::default()
                        .with_resource_type(resource.kind.wire())
                        .with_resource_name(wire_text(&resource.name))
                        .with_configs(changes.iter().map(ConfigChange::to_wire).collect());
                    IncrementalAlterConfigsRequest::default()
                        .with_resources(vec![altered])
                        .with_validate_only(validate_only)
                })
                .await?;
            Ok((response, connection))
        })
        .await?;
        for result in &response.responses {
            let detail = result.error_message.as_deref();
            connection.check::<IncrementalAlterConfigsRequest>(&resource.subject(), result.error_code, detail)?;
        }
        Ok(())
    }

    /// A broker answers only for its own configuration; topics and groups anybody can.
    async fn connection_for(&self, resource: &ConfigResource) -> Result<Connection> {
        match (resource.kind, resource.name.parse()) {
            (ResourceKind::Broker | ResourceKind::BrokerLogger, Ok(id)) => self.client.broker(id).await,
            _ => self.client.controller().await,
        }
    }
}

fn entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.as_deref().map(str::to_owned),
        source: ConfigSource::from_wire(config.config_source),
        read_only: config.read_only,
        sensitive: config.is_sensitive,
        documentation: config.documentation.as_deref().filter(|text| !text.is_empty()).map(str::to_owned),
    }
}
