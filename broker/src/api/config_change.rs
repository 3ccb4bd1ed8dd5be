//! Changes of configs, shared by AlterConfigs and IncrementalAlterConfigs: what may be changed, resource by resource.
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

use super::config_resource::{Resource, ResourceError, repeated, resource};
use super::wire;
use crate::broker::Broker;
use crate::dynamic_config::{BrokerOverrides, Dynamic, DynamicConfigError, DynamicConfigs, Level};
use crate::error_code::{KafkaError, NONE};
use crate::group::GroupConfigError;
use crate::group::configs::GroupOverrides;
use crate::loggers::{self, LevelChange, LoggerError};
use crate::topic_config::{ConfigKind, TopicConfigError, TopicConfigs, items};
use crate::topics::TopicError;

/// Why configs are not changed.
#[derive(Debug, Error)]
pub enum AlterConfigsError {
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error(transparent)]
    Broker(#[from] DynamicConfigError),
    #[error("config operation {operation} does not exist; SET is 0, DELETE 1, APPEND 2, SUBTRACT 3")]
    UnknownOperation { operation: i8 },
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error(transparent)]
    Group(#[from] GroupConfigError),
    #[error(transparent)]
    Logger(#[from] LoggerError),
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What was set is forgotten, this takes its place.
    Replace(Vec<(String, Option<String>)>),
    /// Single configs, together or not at all.
    Alter(Vec<SingleChange>),
}

/// What is done to one config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

/// One change of one config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleChange {
    pub name: String,
    pub operation: Operation,
    pub value: Option<String>,
}

impl Change {
    /// What becomes of a topic's configs.
    pub fn of_topic(self, current: &TopicConfigs) -> Result<TopicConfigs, TopicConfigError> {
        let changes = match self {
            Change::Replace(configs) => {
                return TopicConfigs::parse(configs.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
            }
            Change::Alter(changes) => changes,
        };
        let mut configs = current.clone();
        for SingleChange { name, operation, value } in changes {
            match (operation, value) {
                (Operation::Delete, _) => configs.delete(&name)?,
                (_, None) => return Err(TopicConfigError::NoValue { name }),
                (Operation::Set, Some(value)) => configs.set(&name, &value)?,
                (Operation::Append, Some(value)) => configs.append(&name, &value)?,
                (Operation::Subtract, Some(value)) => configs.subtract(&name, &value)?,
            }
        }
        Ok(configs)
    }

    /// What becomes of what is set at one level of the broker's settings; values are checked where they are set.
    pub fn of_broker(
        self,
        dynamic: &DynamicConfigs,
        current: &BrokerOverrides,
    ) -> Result<BrokerOverrides, DynamicConfigError> {
        let (mut configs, changes) = match self {
            Change::Alter(changes) => (current.clone(), changes),
            Change::Replace(configs) => {
                let set = |(name, value)| SingleChange { name, operation: Operation::Set, value };
                (BrokerOverrides::new(), configs.into_iter().map(set).collect())
            }
        };
        for SingleChange { name, operation, value } in changes {
            let definition = dynamic.check_name(&name)?;
            let value = match (operation, value) {
                (Operation::Delete, _) => {
                    configs.remove(&name);
                    continue;
                }
                (_, None) => return Err(DynamicConfigError::NoValue { name }),
                (Operation::Set, Some(value)) => value,
                (Operation::Append, Some(value)) => {
                    let mut list = list_of(&name, definition, &configs)?;
                    let more = items(&value).filter(|item| !list.iter().any(|present| present == item));
                    let more: Vec<String> = more.map(str::to_owned).collect();
                    list.extend(more);
                    list.join(",")
                }
                (Operation::Subtract, Some(value)) => {
                    let mut list = list_of(&name, definition, &configs)?;
                    list.retain(|present| items(&value).all(|item| item != present));
                    list.join(",")
                }
            };
            configs.insert(name, value.trim().to_owned());
        }
        Ok(configs)
    }

    /// What becomes of a group's configs; the names and values are checked where they are set.
    pub fn of_group(self, current: &GroupOverrides) -> Result<GroupOverrides, GroupConfigError> {
        let (mut configs, changes) = match self {
            Change::Alter(changes) => (current.clone(), changes),
            Change::Replace(configs) => {
                let set = |(name, value)| SingleChange { name, operation: Operation::Set, value };
                (GroupOverrides::new(), configs.into_iter().map(set).collect())
            }
        };
        for SingleChange { name, operation, value } in changes {
            match (operation, value) {
                (Operation::Delete, _) => drop(configs.remove(&name)),
                (Operation::Set, Some(value)) => drop(configs.insert(name, value)),
                (Operation::Set, None) => return Err(GroupConfigError::NoValue { name }),
                (Operation::Append | Operation::Subtract, _) => return Err(GroupConfigError::NotAList { name }),
            }
        }
        Ok(configs)
    }
}

impl Change {
    /// What becomes of levels of loggers.
    pub fn of_loggers(self) -> Result<Vec<LevelChange>, LoggerError> {
        let Change::Alter(changes) = self else { return Err(LoggerError::OnlySetOrDelete) };
        let change = |change: SingleChange| match (change.operation, change.value) {
            (Operation::Set, Some(level)) => Ok(LevelChange { logger: change.name, level: Some(level) }),
            (Operation::Set, None) => Err(LoggerError::NoLevel { value: "null".to_owned() }),
            (Operation::Delete, _) => Ok(LevelChange { logger: change.name, level: None }),
            (Operation::Append | Operation::Subtract, _) => Err(LoggerError::OnlySetOrDelete),
        };
        changes.into_iter().map(change).collect()
    }
}

/// A list to add to or to take from: what is set, or else the default, as in Kafka.
fn list_of(name: &str, definition: Dynamic, set: &BrokerOverrides) -> Result<Vec<String>, DynamicConfigError> {
    match definition {
        Dynamic::TopicDefault(def) if def.allowed.kind() == ConfigKind::List => {
            Ok(items(set.get(name).map_or(def.default, String::as_str)).map(str::to_owned).collect())
        }
        Dynamic::TopicDefault(_) | Dynamic::Setting(_) | Dynamic::Accepted(_) => {
            Err(DynamicConfigError::NotAList { name: name.to_owned() })
        }
    }
}

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
    match resource(kind, name, broker.node_id())? {
        Resource::Topic(topic) => apply(broker, &topic, validate_only, change?).await,
        Resource::Broker => alter_broker(broker, Level::Broker, change?, validate_only).await,
        Resource::AllBrokers => alter_broker(broker, Level::Cluster, change?, validate_only).await,
        Resource::Loggers => Ok(alter_loggers(&change?.of_loggers()?, validate_only)?),
        Resource::Group(group) => {
            let change = change?;
            broker.group_configs.alter(&group, validate_only, |current| change.of_group(current)).await?;
            if !validate_only {
                tracing::info!(group, "group configs changed");
            }
            Ok(())
        }
    }
}

/// Logged at a level that is seldom off, so that the log tells why it became quiet.
fn alter_loggers(changes: &[LevelChange], validate_only: bool) -> Result<(), LoggerError> {
    let reason = || "logging has not begun".to_owned();
    let loggers = loggers::installed().ok_or_else(|| LoggerError::Refused { reason: reason() })?;
    if !validate_only {
        tracing::warn!(?changes, "levels of loggers are changed");
    }
    loggers.alter(changes, validate_only)
}

/// A resource that is in the request twice: which of the two would win?
fn twice<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> Option<ResourceError> {
    let names: Vec<String> = resources.map(|(kind, name)| format!("{kind}:{name}")).collect();
    let name = repeated(names.iter().map(String::as_str))?.to_owned();
    Some(ResourceError::NamedTwice { name })
}

async fn alter_broker(
    broker: &Broker,
    level: Level,
    change: Change,
    validate_only: bool,
) -> Result<(), AlterConfigsError> {
    let planned = broker.dynamic.plan(level, |now| change.of_broker(&broker.dynamic, now.at(level))).await?;
    if !validate_only {
        broker.change_settings(planned).await?;
        tracing::info!(?level, "settings changed");
    }
    Ok(())
}

/// Makes the change, or only says whether it could be made.
async fn apply(broker: &Broker, topic: &str, validate_only: bool, change: Change) -> Result<(), AlterConfigsError> {
    if validate_only {
        let current = broker.topics.get(topic).ok_or_else(|| TopicError::Unknown { name: topic.to_owned() })?;
        broker.topics.plan_configs(&current, change.of_topic(&current.configs)?)?;
    } else {
        let altered = broker.topics.alter_configs(topic, |current| change.of_topic(current)).await?;
        match altered.view {
            Some(_) => broker.topics.register_view(topic).await?,
            None => broker.topics.register_views(),
        }
        tracing::info!(topic, "topic configs changed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_named_twice_are_noticed() {
        assert!(twice([(2, "a"), (2, "b"), (2, "a")].into_iter()).is_some());
        assert!(twice([(2, "1"), (4, "1")].into_iter()).is_none());
    }
}
