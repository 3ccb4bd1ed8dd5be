//! IncrementalAlterConfigs (key 44): sets, deletes, appends to and subtracts from single configs of a topic.
//!
//! Versions 0-1. KIP-339. Errors per resource: those of AlterConfigs, and INVALID_REQUEST for an operation that does not exist.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterableConfig, IncrementalAlterConfigsRequest};
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

use super::Versions;
use super::config_change::{AlterConfigsError, Change, Operation, SingleChange, Wanted, change_all};
use super::config_resource::{ResourceError, repeated};
use crate::broker::Broker;

pub const VERSIONS: Versions = Versions::new(ApiKey::IncrementalAlterConfigs, 0, 1);

fn operation(wire: i8) -> Result<Operation, AlterConfigsError> {
    match wire {
        0 => Ok(Operation::Set),
        1 => Ok(Operation::Delete),
        2 => Ok(Operation::Append),
        3 => Ok(Operation::Subtract),
        operation => Err(AlterConfigsError::UnknownOperation { operation }),
    }
}

/// Alters resource by resource; the changes of one resource happen together or not at all.
pub async fn handle(broker: &Broker, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let wanted = request.resources.into_iter().map(|resource| Wanted {
        kind: resource.resource_type,
        name: resource.resource_name,
        change: changes(&resource.configs).map(Change::Alter),
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

fn changes(configs: &[AlterableConfig]) -> Result<Vec<SingleChange>, AlterConfigsError> {
    if let Some(config) = repeated(configs.iter().map(|config| config.name.as_str())) {
        return Err(ResourceError::ConfigTwice { config: config.to_owned() }.into());
    }
    configs
        .iter()
        .map(|config| {
            Ok(SingleChange {
                name: config.name.to_string(),
                operation: operation(config.config_operation)?,
                value: config.value.as_ref().map(|value| value.to_string()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::{ErrorCode, KafkaError};
    use crate::topic_config::TopicConfigs;

    fn change(name: &'static str, operation: i8, value: Option<&'static str>) -> AlterableConfig {
        AlterableConfig::default()
            .with_name(name.into())
            .with_config_operation(operation)
            .with_value(value.map(Into::into))
    }

    fn after(changes_of: &[AlterableConfig]) -> Result<Vec<(String, String)>, AlterConfigsError> {
        let current = TopicConfigs::parse([("retention.ms", Some("5"))]).unwrap();
        let configs = Change::Alter(changes(changes_of)?).of_topic(&current)?;
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
        assert_eq!(null.error_code(), ErrorCode::InvalidRequest);
        let twice = after(&[change("retention.ms", 0, Some("1")), change("retention.ms", 1, None)]).unwrap_err();
        assert_eq!(twice.error_code(), ErrorCode::InvalidRequest);
    }
}
