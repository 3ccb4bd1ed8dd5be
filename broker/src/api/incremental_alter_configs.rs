//! IncrementalAlterConfigs (key 44): sets, deletes, appends to and subtracts from single configs of a topic.
//!
//! Versions 0-1. KIP-339. Errors per resource: those of AlterConfigs, and INVALID_REQUEST for an operation that does not exist.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

use super::Versions;
use super::config_change::{self, AlterConfigsError, Wanted, change_all};
use super::config_resource::{ResourceError, repeated};
use crate::broker::Broker;
use crate::topic_config::{TopicConfigError, TopicConfigs};

pub const VERSIONS: Versions = Versions::new(ApiKey::IncrementalAlterConfigs, 0, 1);

/// What is done to one config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn read(wire: i8) -> Result<Operation, AlterConfigsError> {
        match wire {
            0 => Ok(Operation::Set),
            1 => Ok(Operation::Delete),
            2 => Ok(Operation::Append),
            3 => Ok(Operation::Subtract),
            operation => Err(AlterConfigsError::UnknownOperation { operation }),
        }
    }
}

/// One change of one config.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    name: String,
    operation: Operation,
    value: Option<String>,
}

/// Alters resource by resource; the changes of one resource happen together or not at all.
pub async fn handle(broker: &Broker, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let wanted =
        request.resources.into_iter().map(|AlterConfigsResource { resource_type, resource_name, configs, .. }| {
            let change = changes(&configs)
                .map(|changes| -> config_change::Change { Box::new(move |current| changed(current, changes)) });
            Wanted { kind: resource_type, name: resource_name, change }
        });
    let outcomes = change_all(broker, request.validate_only, wanted.collect()).await;
    let responses = outcomes.into_iter().map(|outcome| {
        AlterConfigsResourceResponse::default()
            .with_resource_type(outcome.kind)
            .with_resource_name(outcome.name)
            .with_error_code(outcome.code)
            .with_error_message(outcome.message)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn changes(configs: &[AlterableConfig]) -> Result<Vec<Change>, AlterConfigsError> {
    if let Some(config) = repeated(configs.iter().map(|config| config.name.as_str())) {
        return Err(ResourceError::ConfigTwice { config: config.to_owned() }.into());
    }
    configs
        .iter()
        .map(|config| {
            Ok(Change {
                name: config.name.to_string(),
                operation: Operation::read(config.config_operation)?,
                value: config.value.as_ref().map(|value| value.to_string()),
            })
        })
        .collect()
}

fn changed(current: &TopicConfigs, changes: Vec<Change>) -> Result<TopicConfigs, TopicConfigError> {
    let mut configs = current.clone();
    for Change { name, operation, value } in changes {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::{ErrorCode, KafkaError};

    fn change(name: &'static str, operation: i8, value: Option<&'static str>) -> AlterableConfig {
        AlterableConfig::default()
            .with_name(name.into())
            .with_config_operation(operation)
            .with_value(value.map(Into::into))
    }

    fn after(changes_of: &[AlterableConfig]) -> Result<Vec<(String, String)>, AlterConfigsError> {
        let current = TopicConfigs::parse([("retention.ms", Some("5"))]).unwrap();
        let configs = changed(&current, changes(changes_of)?)?;
        Ok(configs.overrides().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn configs_that_are_not_mentioned_stay() {
        let configs = after(&[change("segment.bytes", 0, Some("2000000"))]).unwrap();
        assert_eq!(configs.len(), 2);
        assert_eq!(after(&[change("retention.ms", 1, None)]).unwrap(), []);
    }

    #[test]
    fn lists_are_appended_to_and_subtracted_from() {
        let configs = after(&[change("cleanup.policy", 2, Some("compact"))]).unwrap();
        assert!(configs.contains(&("cleanup.policy".into(), "delete,compact".into())));
        let error = after(&[change("retention.ms", 2, Some("1"))]).unwrap_err();
        assert_eq!(error.error_code(), ErrorCode::InvalidConfig);
    }

    #[test]
    fn malformed_changes_are_refused() {
        let unknown = after(&[change("retention.ms", 9, Some("1"))]).unwrap_err();
        assert_eq!(unknown.error_code(), ErrorCode::InvalidRequest);
        let null = after(&[change("retention.ms", 0, None)]).unwrap_err();
        assert_eq!(null.error_code(), ErrorCode::InvalidConfig);
        let twice = after(&[change("retention.ms", 0, Some("1")), change("retention.ms", 1, None)]).unwrap_err();
        assert_eq!(twice.error_code(), ErrorCode::InvalidRequest);
    }
}
