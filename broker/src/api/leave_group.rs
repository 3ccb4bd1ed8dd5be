//! LeaveGroup (key 13): members go, without waiting for their sessions to expire.
//!
//! Versions 0-5. KIP-345 (several members at once, 3), KIP-800 (reasons, 5). Errors: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID per
//! member (before version 3 for the request), COORDINATOR_LOAD_IN_PROGRESS for the request.
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use kafka_protocol::messages::{ApiKey, LeaveGroupRequest};

use super::Versions;
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};
use crate::group::{GroupError, Leaving};

pub const VERSIONS: Versions = Versions::new(ApiKey::LeaveGroup, 0, 5);

/// First version with a list of members.
const MANY_SINCE: i16 = 3;

/// Lets the members go.
pub async fn handle(broker: &Broker, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let members = leaving(version, &request);
    let result = broker.groups.leave(&request.group_id, &members).await;
    answer(version, &request.members, result)
}

fn leaving(version: i16, request: &LeaveGroupRequest) -> Vec<Leaving> {
    if version < MANY_SINCE {
        return vec![Leaving { member_id: request.member_id.to_string(), instance_id: None }];
    }
    let one = |member: &MemberIdentity| Leaving {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
    };
    request.members.iter().map(one).collect()
}

fn answer(
    version: i16,
    members: &[MemberIdentity],
    result: Result<Vec<Result<(), GroupError>>, GroupError>,
) -> LeaveGroupResponse {
    let verdicts = match result {
        Ok(verdicts) => verdicts,
        // There is no such group, so there are no such members either.
        Err(GroupError::UnknownMemberId) => vec![Err(GroupError::UnknownMemberId); members.len().max(1)],
        Err(error) => return LeaveGroupResponse::default().with_error_code(error.wire_code()),
    };
    let mut codes = verdicts.into_iter().map(|verdict| verdict.map_or_else(|error| error.wire_code(), |()| NONE));
    if version < MANY_SINCE {
        return LeaveGroupResponse::default().with_error_code(codes.next().unwrap_or(NONE));
    }
    let members = members.iter().zip(codes).map(|(member, code)| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code)
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire;

    fn members() -> Vec<MemberIdentity> {
        ["a", "b"].map(|id| MemberIdentity::default().with_member_id(wire(id))).to_vec()
    }

    #[test]
    fn group_that_does_not_exist_knows_no_members() {
        let response = answer(5, &members(), Err(GroupError::UnknownMemberId));
        assert_eq!(response.error_code, 0);
        assert_eq!(response.members.iter().map(|m| m.error_code).collect::<Vec<_>>(), [25, 25]);
        assert_eq!(answer(2, &[], Err(GroupError::UnknownMemberId)).error_code, 25);
    }

    #[test]
    fn old_versions_answer_for_their_only_member() {
        assert_eq!(answer(1, &[], Ok(vec![Err(GroupError::FencedInstanceId)])).error_code, 82);
        assert_eq!(answer(0, &[], Ok(vec![Ok(())])).error_code, 0);
        let loading = answer(4, &members(), Err(GroupError::CoordinatorLoadInProgress));
        assert_eq!((loading.error_code, loading.members.len()), (14, 0));
    }
}
