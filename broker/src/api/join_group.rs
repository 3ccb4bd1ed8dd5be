//! JoinGroup (key 11): a member asks to be part of the next generation and waits until it begins.
//!
//! Versions 0-9; 0 and 1 stay advertised because librdkafka looks for them. KIP-62 (rebalance timeout, 1), KIP-345 (static
//! members, 5), KIP-394 (member ids, 4), KIP-559 (protocol type, 7), KIP-800 (reasons, 8), KIP-814 (skip assignment, 9).
//! Errors: MEMBER_ID_REQUIRED, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, INCONSISTENT_GROUP_PROTOCOL, INVALID_SESSION_TIMEOUT,
//! INVALID_GROUP_ID, GROUP_MAX_SIZE_REACHED, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE.
use kafka_protocol::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};
use kafka_protocol::messages::{ApiKey, JoinGroupRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{Versions, wire};
use crate::broker::{Broker, RequestContext};
use crate::error_code::KafkaError;
use crate::group::{GroupError, JoinRequest, Joined};

pub const VERSIONS: Versions = Versions::new(ApiKey::JoinGroup, 0, 9);

/// Joins; the answer comes when the join phase ends.
pub async fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    version: i16,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    if let Some(reason) = request.reason.as_ref().filter(|reason| !reason.is_empty()) {
        tracing::info!(group = %*request.group_id, member = %request.member_id, %reason, "member joins");
    }
    let group = request.group_id.to_string();
    let member_id = request.member_id.clone();
    let joined = broker.groups.join(&group, plan(ctx, version, request)).await;
    answer(version, member_id, joined)
}

fn plan(ctx: &RequestContext, version: i16, request: JoinGroupRequest) -> JoinRequest {
    let instance_id = request.group_instance_id.map(|id| id.to_string());
    let client_id = ctx.client_id.clone().unwrap_or_default();
    let name = instance_id.as_deref().unwrap_or(&client_id);
    JoinRequest {
        new_member_id: format!("{name}-{}", Uuid::new_v4()),
        member_id: request.member_id.to_string(),
        // Dynamic members come back with the id they are given; a static member is known by its instance id.
        require_known_member_id: version >= 4 && instance_id.is_none(),
        instance_id,
        client_id,
        client_host: ctx.client_host(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version >= 1 { request.rebalance_timeout_ms } else { request.session_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(|p| (p.name.to_string(), p.metadata)).collect(),
        supports_skip_assignment: version >= 9,
    }
}

fn answer(version: i16, member_id: StrBytes, joined: Result<Joined, GroupError>) -> JoinGroupResponse {
    // From 7 on "no protocol" is null, before it is empty.
    let protocol_name = |name: Option<String>| match name {
        None if version < 7 => Some(StrBytes::default()),
        name => name.map(wire),
    };
    let joined = match joined {
        Ok(joined) => joined,
        Err(error) => {
            let member_id = match &error {
                GroupError::MemberIdRequired { member_id } => wire(member_id.as_str()),
                _ => member_id,
            };
            return JoinGroupResponse::default()
                .with_error_code(error.wire_code())
                .with_member_id(member_id)
                .with_protocol_name(protocol_name(None));
        }
    };
    let members = joined.members.into_iter().map(|(id, instance, metadata)| {
        let member = JoinGroupResponseMember::default().with_member_id(wire(id)).with_metadata(metadata);
        if version >= 5 { member.with_group_instance_id(instance.map(wire)) } else { member }
    });
    let response = JoinGroupResponse::default()
        .with_generation_id(joined.generation.0)
        .with_protocol_name(protocol_name(joined.protocol_name))
        .with_leader(wire(joined.leader))
        .with_member_id(wire(joined.member_id))
        .with_members(members.collect())
        .with_skip_assignment(version >= 9 && joined.skip_assignment);
    if version >= 7 { response.with_protocol_type(joined.protocol_type.map(wire)) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::protocol::Encodable;
    use weir_protocol::ids::Generation;

    fn joined() -> Joined {
        Joined {
            generation: Generation(3),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            leader: "a".into(),
            member_id: "a".into(),
            skip_assignment: true,
            members: vec![("a".into(), Some("i".into()), Bytes::from_static(b"m"))],
        }
    }

    #[test]
    fn every_version_encodes_success_and_error() {
        for version in VERSIONS.min..=VERSIONS.max {
            for result in [Ok(joined()), Err(GroupError::UnknownMemberId)] {
                answer(version, wire("a"), result).encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }

    #[test]
    fn required_member_id_is_in_the_answer() {
        let error = GroupError::MemberIdRequired { member_id: "given".into() };
        let response = answer(9, wire(""), Err(error));
        assert_eq!((response.error_code, response.member_id.as_str(), response.generation_id), (79, "given", -1));
    }

    #[test]
    fn missing_protocol_is_empty_before_version_7_and_null_after() {
        let protocol = |version| answer(version, wire("a"), Err(GroupError::IllegalGeneration)).protocol_name;
        assert_eq!(protocol(6), Some(wire("")));
        assert_eq!(protocol(7), None);
    }
}
