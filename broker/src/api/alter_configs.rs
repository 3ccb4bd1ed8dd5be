//! AlterConfigs (key 33): replaces every config that is set on a topic. Old clients use it; newer ones alter incrementally.
//!
//! Versions 0-2. KIP-133. Errors per resource: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION, INVALID_CONFIG,
//! INVALID_REQUEST (a setting of the broker that is read at start, or a value that it does not take; a kind without configs;
//! something named twice). Groups, this broker and the defaults of all brokers can be altered as well as topics.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use kafka_protocol::messages::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};

use super::Versions;
use super::config_change::{AlterConfigsError, Change, Wanted, change_all};
use super::config_resource::{ResourceError, repeated};
use crate::broker::Broker;

pub const VERSIONS: Versions = Versions::new(ApiKey::AlterConfigs, 0, 2);

/// Alters resource by resource.
pub async fn handle(broker: &Broker, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let wanted = request.resources.into_iter().map(|resource| Wanted {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        change: replacement(&resource),
    });
    let outcomes = change_all(broker, request.validate_only, wanted.collect()).await;
    let responses = outcomes.into_iter().map(|outcome| {
        AlterConfigsResourceResponse::default()
            .with_resource_type(outcome.kind)
            .with_resource_name(outcome.name)
            .with_error_code(outcome.code)
            .with_error_message(outcome.message)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

fn replacement(resource: &AlterConfigsResource) -> Result<Change, AlterConfigsError> {
    if let Some(config) = repeated(resource.configs.iter().map(|config| config.name.as_str())) {
        return Err(ResourceError::ConfigTwice { config: config.to_owned() }.into());
    }
    let configs = resource.configs.iter().map(|c| (c.name.to_string(), c.value.as_ref().map(|v| v.to_string())));
    Ok(Change::Replace(configs.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic_config::TopicConfigs;
    use kafka_protocol::messages::alter_configs_request::AlterableConfig;

    fn resource(configs: &[(&'static str, Option<&'static str>)]) -> AlterConfigsResource {
        let configs = configs.iter().map(|(name, value)| {
            AlterableConfig::default().with_name((*name).into()).with_value(value.map(Into::into))
        });
        AlterConfigsResource::default().with_configs(configs.collect())
    }

    #[test]
    fn what_is_not_mentioned_goes_back_to_its_default() {
        let change = replacement(&resource(&[("segment.bytes", Some("2000000"))])).unwrap();
        let configs = change.of_topic(&TopicConfigs::parse([("retention.ms", Some("5"))]).unwrap()).unwrap();
        assert_eq!(configs.overrides().collect::<Vec<_>>(), [("segment.bytes", "2000000")]);
    }

    #[test]
    fn config_named_twice_is_refused() {
        let twice = replacement(&resource(&[("retention.ms", Some("5")), ("retention.ms", Some("6"))]));
        assert!(matches!(twice, Err(AlterConfigsError::Resource(ResourceError::ConfigTwice { .. }))));
    }
}
