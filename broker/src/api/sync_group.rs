//! SyncGroup (key 14): the leader hands in the assignment, every member gets its part.
//!
//! Versions 0-5. KIP-345 (3), KIP-559 (protocol type and name, mandatory from 5 on). Errors: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION,
//! REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID, INCONSISTENT_GROUP_PROTOCOL, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::{ApiKey, SyncGroupRequest, SyncGroupResponse};
use weir_protocol::ids::Generation;

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::group::{GroupError, SyncRequest, Synced};

pub const VERSIONS: Versions = Versions::new(ApiKey::SyncGroup, 0, 5);

/// Syncs; the answer comes when the leader's assignment is durable.
pub async fn handle(broker: &Broker, version: i16, request: SyncGroupRequest) -> SyncGroupResponse {
    let group = request.group_id.to_string();
    if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return answer(version, Err(GroupError::InconsistentGroupProtocol));
    }
    let request = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: Generation(request.generation_id),
        protocol_type: request.protocol_type.map(|text| text.to_string()),
        protocol_name: request.protocol_name.map(|text| text.to_string()),
        assignments: request.assignments.into_iter().map(|a| (a.member_id.to_string(), a.assignment)).collect(),
    };
    answer(version, broker.groups.sync(&group, request).await)
}

fn answer(version: i16, synced: Result<Synced, GroupError>) -> SyncGroupResponse {
    match synced {
        Err(error) => SyncGroupResponse::default().with_error_code(error.wire_code()),
        Ok(synced) => {
            let response = SyncGroupResponse::default().with_assignment(synced.assignment);
            if version < 5 {
                return response;
            }
            response
                .with_protocol_type(synced.protocol_type.map(wire))
                .with_protocol_name(synced.protocol_name.map(wire))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::protocol::Encodable;

    #[test]
    fn every_version_encodes_success_and_error() {
        let synced = Synced {
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignment: Bytes::from_static(b"x"),
        };
        for version in VERSIONS.min..=VERSIONS.max {
            for result in [Ok(synced.clone()), Err(GroupError::RebalanceInProgress)] {
                answer(version, result).encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
