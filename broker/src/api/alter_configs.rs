//! AlterConfigs (key 33): replaces every config that is set on a topic. Old clients use it; newer ones alter incrementally.
//!
//! Versions 0-2. KIP-133. Errors per resource: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_CONFIG,
//! INVALID_REQUEST (a broker: its settings are read at start; a kind without configs; something named twice).
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use kafka_protocol::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};
use thiserror::Error;

use super::config_resource::{Resource, ResourceError, repeated, resource};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::topic_config::{TopicConfigError, TopicConfigs};
use crate::topics::TopicError;

pub const VERSIONS: Versions = Versions::new(ApiKey::AlterConfigs, 0, 2);

/// Why configs are not changed.
#[derive(Debug, Error)]
pub enum AlterConfigsError {
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error(
        "settings of brokers are read at start; change the configuration file, the environment or the flags, and restart"
    )]
    BrokerSettings,
    #[error("config operation {operation} does not exist; SET is 0, DELETE 1, APPEND 2, SUBTRACT 3")]
    UnknownOperation { operation: i8 },
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    #[error(transparent)]
    Topic(#[from] TopicError),
}

/// Alters resource by resource.
pub async fn handle(broker: &Broker, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    let twice = twice(request.resources.iter().map(|r| (r.resource_type, r.resource_name.as_str())));
    for wanted in request.resources {
        let result = match &twice {
            Some(error) => Err(error.clone().into()),
            None => alter(broker, &wanted, request.validate_only).await,
        };
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(wanted.resource_type)
            .with_resource_name(wanted.resource_name);
        responses.push(match result {
            Ok(()) => response.with_error_message(None),
            Err(error) => response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
        });
    }
    AlterConfigsResponse::default().with_responses(responses)
}

/// A resource that is in the request twice: which of the two would win?
pub fn twice<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> Option<ResourceError> {
    let names: Vec<String> = resources.map(|(kind, name)| format!("{kind}:{name}")).collect();
    let name = repeated(names.iter().map(String::as_str))?.to_owned();
    Some(ResourceError::NamedTwice { name })
}

/// The topic whose configs are to be changed.
pub fn alterable(kind: i8, name: &str, this: i32) -> Result<String, AlterConfigsError> {
    match resource(kind, name, this)? {
        Resource::Topic(name) => Ok(name),
        Resource::Broker | Resource::AllBrokers => Err(AlterConfigsError::BrokerSettings),
    }
}

async fn alter(broker: &Broker, wanted: &AlterConfigsResource, validate_only: bool) -> Result<(), AlterConfigsError> {
    let topic = alterable(wanted.resource_type, &wanted.resource_name, broker.node_id())?;
    if let Some(config) = repeated(wanted.configs.iter().map(|config| config.name.as_str())) {
        return Err(ResourceError::ConfigTwice { config: config.to_owned() }.into());
    }
    let replacement = TopicConfigs::parse(wanted.configs.iter().map(|c| (c.name.as_str(), c.value.as_deref())))?;
    apply(broker, &topic, validate_only, move |_| Ok(replacement)).await
}

/// Makes the change, or only says whether it could be made.
pub async fn apply(
    broker: &Broker,
    topic: &str,
    validate_only: bool,
    change: impl FnOnce(&TopicConfigs) -> Result<TopicConfigs, TopicConfigError> + Send,
) -> Result<(), AlterConfigsError> {
    if validate_only {
        let current = broker.topics.get(topic).ok_or_else(|| TopicError::Unknown { name: topic.to_owned() })?;
        change(&current.configs)?.validate()?;
    } else {
        broker.topics.alter_configs(topic, change).await?;
        tracing::info!(topic, "topic configs changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_topics_are_altered() {
        assert_eq!(alterable(2, "t", 1).unwrap(), "t");
        assert!(matches!(alterable(4, "1", 1), Err(AlterConfigsError::BrokerSettings)));
        assert!(matches!(alterable(4, "", 1), Err(AlterConfigsError::BrokerSettings)));
        assert!(matches!(alterable(8, "1", 1), Err(AlterConfigsError::Resource(_))));
    }

    #[test]
    fn resources_named_twice_are_noticed() {
        assert!(twice([(2, "a"), (2, "b"), (2, "a")].into_iter()).is_some());
        assert!(twice([(2, "1"), (4, "1")].into_iter()).is_none());
    }
}
