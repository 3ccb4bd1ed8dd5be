//! DeleteGroups (key 42): groups without members, with all their offsets.
//!
//! Versions 0-2. KIP-229, KIP-932 (a share group goes with what it has done with its topics). Errors per group: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP, COORDINATOR_LOAD_IN_PROGRESS,
//! COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};
use kafka_protocol::messages::{ApiKey, DeleteGroupsRequest};

use super::Versions;
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};
use crate::group::GroupError;
use crate::group::coordinator::ShareGroupNow;

pub const VERSIONS: Versions = Versions::new(ApiKey::DeleteGroups, 0, 2);

/// Deletes group by group.
pub async fn handle(broker: &Broker, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let deleted = delete(broker, &group).await;
        if deleted.is_ok() {
            tracing::info!(group = %*group, "group deleted");
        }
        let code = deleted.map_or_else(|error| error.wire_code(), |()| NONE);
        results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(code));
    }
    DeleteGroupsResponse::default().with_results(results)
}

/// What a share group has done with its topics goes first: a group of the same name must not take it over.
async fn delete(broker: &Broker, group: &str) -> Result<(), GroupError> {
    if broker.groups.share_group(group)? == ShareGroupNow::Empty && broker.shares.delete(group, None).await.is_err() {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    broker.groups.delete(group).await
}
