//! Heartbeat (key 12): a member is alive, and learns whether the group rebalances.
//!
//! Versions 0-4. KIP-345 (3). Errors: UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID,
//! COORDINATOR_LOAD_IN_PROGRESS.
use kafka_protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse};
use weir_protocol::ids::Generation;

use super::Versions;
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};
use crate::group::GroupError;

pub const VERSIONS: Versions = Versions::new(ApiKey::Heartbeat, 0, 4);

/// Renews the member's session.
pub fn handle(broker: &Broker, request: &HeartbeatRequest) -> HeartbeatResponse {
    let instance = request.group_instance_id.as_deref();
    let beat = match broker.groups.heartbeat(
        &request.group_id,
        &request.member_id,
        instance,
        Generation(request.generation_id),
    ) {
        // While its group is being loaded a member must not be told to go away; it keeps its session meanwhile.
        Err(GroupError::CoordinatorLoadInProgress) => Ok(()),
        other => other,
    };
    HeartbeatResponse::default().with_error_code(beat.map_or_else(|error| error.wire_code(), |()| NONE))
}
