//! Changes of configs, shared by AlterConfigs and IncrementalAlterConfigs: what may be changed, resource by resource.
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

use super::config_resource::{Resource, ResourceError, repeated, resource};
use super::wire;
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};
use crate::topic_config::{TopicConfigError, TopicConfigs};
use crate::topics::TopicError;

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

/// What becomes of a topic's configs.
pub type Change = Box<dyn FnOnce(&TopicConfigs) -> Result<TopicConfigs, TopicConfigError> + Send>;

/// One resource of a request.
pub struct Wanted {
    /// As on the wire.
    pub kind: i8,
    pub name: StrBytes,
    /// An error if the request does not say what to do.
    pub change: Result<Change, AlterConfigsError>,
}

/// What became of one resource, as the wire has it.
pub struct Outcome {
    pub kind: i8,
    pub name: StrBytes,
    pub code: i16,
    pub message: Option<StrBytes>,
}

/// Changes resource by resource, in order; nothing at all if one is named twice.
pub async fn change_all(broker: &Broker, validate_only: bool, resources: Vec<Wanted>) -> Vec<Outcome> {
    let twice = twice(resources.iter().map(|r| (r.kind, r.name.as_str())));
    let mut outcomes = Vec::with_capacity(resources.len());
    for Wanted { kind, name, change } in resources {
        let result = match &twice {
            Some(error) => Err(error.clone().into()),
            None => alter(broker, kind, &name, change, validate_only).await,
        };
        let (code, message) = match result {
            Ok(()) => (NONE, None),
            Err(error) => (error.wire_code(), Some(wire(error.to_string()))),
        };
        outcomes.push(Outcome { kind, name, code, message });
    }
    outcomes
}

async fn alter(
    broker: &Broker,
    kind: i8,
    name: &str,
    change: Result<Change, AlterConfigsError>,
    validate_only: bool,
) -> Result<(), AlterConfigsError> {
    let topic = alterable(kind, name, broker.node_id())?;
    apply(broker, &topic, validate_only, change?).await
}

/// A resource that is in the request twice: which of the two would win?
fn twice<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> Option<ResourceError> {
    let names: Vec<String> = resources.map(|(kind, name)| format!("{kind}:{name}")).collect();
    let name = repeated(names.iter().map(String::as_str))?.to_owned();
    Some(ResourceError::NamedTwice { name })
}

/// The topic whose configs are to be changed.
fn alterable(kind: i8, name: &str, this: i32) -> Result<String, AlterConfigsError> {
    match resource(kind, name, this)? {
        Resource::Topic(name) => Ok(name),
        Resource::Broker | Resource::AllBrokers => Err(AlterConfigsError::BrokerSettings),
    }
}

/// Makes the change, or only says whether it could be made.
async fn apply(broker: &Broker, topic: &str, validate_only: bool, change: Change) -> Result<(), AlterConfigsError> {
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
