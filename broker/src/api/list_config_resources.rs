//! ListConfigResources (key 74): the names of what can have configs. Version 0 was ListClientMetricsResources.
//!
//! Versions 0-1. KIP-1142. Errors: UNSUPPORTED_VERSION (a resource type that has no configs here).
use kafka_protocol::messages::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};
use kafka_protocol::messages::{ApiKey, ListConfigResourcesRequest};

use super::config_resource::{BROKER, BROKER_LOGGER, GROUP, TOPIC};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::ErrorCode;

pub const VERSIONS: Versions = Versions::new(ApiKey::ListConfigResources, 0, 1);

const CLIENT_METRICS: i8 = 16;

/// Groups are listed if something is set for them. Client metrics subscriptions do not exist here: an empty list, not an error.
pub fn handle(broker: &Broker, version: i16, request: &ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let types = match wanted_types(version, &request.resource_types) {
        Ok(types) => types,
        Err(code) => return ListConfigResourcesResponse::default().with_error_code(code.code()),
    };
    let mut resources = Vec::new();
    let mut push = |kind: i8, name: String| {
        let resource = ConfigResource::default().with_resource_name(wire(name));
        resources.push(if version >= 1 { resource.with_resource_type(kind) } else { resource });
    };
    for kind in types {
        match kind {
            TOPIC => broker.topics.all().iter().for_each(|topic| push(kind, topic.name.clone())),
            BROKER | BROKER_LOGGER => push(kind, broker.node_id().to_string()),
            GROUP => broker.group_configs.groups().into_iter().for_each(|group| push(kind, group)),
            _ => {}
        }
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}

fn wanted_types(version: i16, asked: &[i8]) -> Result<Vec<i8>, ErrorCode> {
    if version == 0 {
        return Ok(vec![CLIENT_METRICS]);
    }
    let known = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    if asked.is_empty() {
        return Ok(known.to_vec());
    }
    let mut types = asked.to_vec();
    types.sort_unstable();
    types.dedup();
    if types.iter().all(|kind| known.contains(kind)) { Ok(types) } else { Err(ErrorCode::UnsupportedVersion) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_0_is_about_client_metrics_only() {
        assert_eq!(wanted_types(0, &[]), Ok(vec![CLIENT_METRICS]));
        assert_eq!(wanted_types(1, &[]).unwrap().len(), 5);
        assert_eq!(wanted_types(1, &[4, 2, 4]), Ok(vec![2, 4]));
        assert_eq!(wanted_types(1, &[3]), Err(ErrorCode::UnsupportedVersion));
    }
}
