//! DescribeGroups (key 15): state, protocol and members of classic groups.
//!
//! Versions 0-6. KIP-345 (instance ids, 4), KIP-430 (authorized operations, 3), KIP-1043 (GROUP_ID_NOT_FOUND, 6). Errors per
//! group: GROUP_ID_NOT_FOUND (before 6 a group that does not exist is `Dead`), COORDINATOR_LOAD_IN_PROGRESS.
use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::{
    DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, GroupId};

use super::{Versions, authorized, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::group::coordinator::{GroupDescription, GroupType, MemberDescription};
use crate::group::{GroupError, Phase};

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeGroups, 0, 6);

/// First version that tells a missing group from a dead one.
const NOT_FOUND_SINCE: i16 = 6;

/// Describes group by group.
pub fn handle(broker: &Broker, version: i16, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let operations = authorized::if_asked(version >= 3 && request.include_authorized_operations, authorized::GROUP);
    let groups = request.groups.into_iter().map(|group| {
        let description = broker.groups.describe(&group);
        answer(version, group, description).with_authorized_operations(operations)
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn answer(version: i16, group: GroupId, description: Result<Option<GroupDescription>, GroupError>) -> DescribedGroup {
    let response = DescribedGroup::default().with_group_id(group);
    let description = match description {
        Ok(Some(description)) if description.group_type == GroupType::Classic => description,
        // For this API there is no such group: ConsumerGroupDescribe knows it.
        Ok(_) => {
            let dead = response.with_group_state(wire(Phase::Dead.name()));
            if version < NOT_FOUND_SINCE {
                return dead;
            }
            let message = format!("Group {} not found.", dead.group_id.as_str());
            return dead.with_error_code(ErrorCode::GroupIdNotFound.code()).with_error_message(Some(wire(message)));
        }
        Err(error) => return response.with_error_code(error.wire_code()),
    };
    // Between generations there is no protocol, and what members subscribed to is in flux.
    let stable = description.state == Phase::Stable.name();
    let members = description.members.into_iter().map(|found| member(version, found, stable));
    response
        .with_group_state(wire(description.state))
        .with_protocol_type(wire(description.protocol_type))
        .with_protocol_data(if stable { wire(description.protocol_name) } else { wire("") })
        .with_members(members.collect())
}

fn member(version: i16, found: MemberDescription, stable: bool) -> DescribedGroupMember {
    let shown = |bytes: Bytes| if stable { bytes } else { Bytes::new() };
    let response = DescribedGroupMember::default()
        .with_member_id(wire(found.member_id))
        .with_client_id(wire(found.client_id))
        .with_client_host(wire(found.client_host))
        .with_member_metadata(shown(found.metadata))
        .with_member_assignment(shown(found.assignment));
    if version >= 4 { response.with_group_instance_id(found.instance_id.map(wire)) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    fn described(phase: Phase) -> GroupDescription {
        let member = MemberDescription {
            member_id: "m".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            metadata: Bytes::from_static(b"meta"),
            assignment: Bytes::from_static(b"mine"),
        };
        GroupDescription {
            group: "g".into(),
            group_type: GroupType::Classic,
            state: phase.name(),
            protocol_type: "consumer".into(),
            protocol_name: "range".into(),
            members: vec![member],
        }
    }

    #[test]
    fn group_that_does_not_exist_is_dead_and_from_6_on_an_error() {
        let old = answer(5, GroupId(wire("g")), Ok(None));
        assert_eq!((old.error_code, old.group_state.as_str()), (0, "Dead"));
        let new = answer(6, GroupId(wire("g")), Ok(None));
        assert_eq!((new.error_code, new.group_state.as_str()), (69, "Dead"));
        assert!(new.error_message.is_some());
    }

    #[test]
    fn protocol_and_metadata_are_shown_while_the_group_is_stable() {
        let stable = answer(5, GroupId(wire("g")), Ok(Some(described(Phase::Stable))));
        assert_eq!((stable.protocol_data.as_str(), &stable.members[0].member_metadata[..]), ("range", &b"meta"[..]));
        let moving = answer(5, GroupId(wire("g")), Ok(Some(described(Phase::PreparingRebalance))));
        assert_eq!((moving.protocol_data.as_str(), moving.members[0].member_metadata.len()), ("", 0));
    }

    #[test]
    fn every_version_encodes_every_answer() {
        for version in VERSIONS.min..=VERSIONS.max {
            for description in
                [Ok(None), Ok(Some(described(Phase::Stable))), Err(GroupError::CoordinatorLoadInProgress)]
            {
                let group = answer(version, GroupId(wire("g")), description);
                let response = DescribeGroupsResponse::default().with_groups(vec![group]);
                response.encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
