//! What a config request is about: topics, groups, this broker and its loggers have configs, other kinds of resources do not.
use thiserror::Error;

use crate::topics;

/// A resource with configs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    Topic(String),
    /// This broker.
    Broker,
    /// The defaults of all brokers (an empty broker name).
    AllBrokers,
    /// The loggers of this broker.
    Loggers,
    /// A group of consumers, whether it exists or not.
    Group(String),
}

/// Why a resource has no configs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResourceError {
    #[error("`{name}` is not a topic name")]
    InvalidTopic { name: String },
    #[error("the name of the topic is empty; there are no defaults of all topics, name a topic")]
    NoTopicName,
    #[error("this is broker {this}; `{name}` is another one, or none")]
    OtherBroker { name: String, this: i32 },
    #[error(
        "resources of type {kind} have no configs here; topics (2), brokers (4), loggers of brokers (8) and groups (32) do"
    )]
    NoConfigs { kind: i8 },
    #[error("a group needs a name")]
    NamelessGroup,
    #[error("resource `{name}` is in the request more than once")]
    NamedTwice { name: String },
    #[error("config `{config}` is in the request more than once")]
    ConfigTwice { config: String },
}

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const GROUP: i8 = 32;

/// Reads type and name as they are on the wire.
pub fn resource(kind: i8, name: &str, this: i32) -> Result<Resource, ResourceError> {
    match kind {
        TOPIC if topics::is_valid_name(name) => Ok(Resource::Topic(name.to_owned())),
        TOPIC if name.is_empty() => Err(ResourceError::NoTopicName),
        TOPIC => Err(ResourceError::InvalidTopic { name: name.to_owned() }),
        BROKER if name.is_empty() => Ok(Resource::AllBrokers),
        BROKER if name == this.to_string() => Ok(Resource::Broker),
        BROKER_LOGGER if name == this.to_string() => Ok(Resource::Loggers),
        BROKER | BROKER_LOGGER => Err(ResourceError::OtherBroker { name: name.to_owned(), this }),
        GROUP if name.is_empty() => Err(ResourceError::NamelessGroup),
        GROUP => Ok(Resource::Group(name.to_owned())),
        kind => Err(ResourceError::NoConfigs { kind }),
    }
}

/// The first item that comes twice.
pub fn repeated<'a>(items: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    items.into_iter().find(|item| !seen.insert(*item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_this_broker_have_configs() {
        assert_eq!(resource(TOPIC, "t", 1), Ok(Resource::Topic("t".into())));
        assert_eq!(resource(BROKER, "1", 1), Ok(Resource::Broker));
        assert_eq!(resource(BROKER, "", 1), Ok(Resource::AllBrokers));
        assert!(matches!(resource(BROKER, "2", 1), Err(ResourceError::OtherBroker { .. })));
        assert!(matches!(resource(TOPIC, "a b", 1), Err(ResourceError::InvalidTopic { .. })));
        assert_eq!(resource(BROKER_LOGGER, "1", 1), Ok(Resource::Loggers));
        assert!(matches!(resource(BROKER_LOGGER, "", 1), Err(ResourceError::OtherBroker { .. })));
        assert_eq!(resource(16, "1", 1), Err(ResourceError::NoConfigs { kind: 16 }));
    }

    #[test]
    fn repetition_is_found() {
        assert_eq!(repeated(["a", "b", "a"]), Some("a"));
        assert_eq!(repeated(["a", "b"]), None);
    }
}
