//! ListGroups (key 16): the groups of this broker.
//!
//! Versions 0-5. KIP-518 (states, 4), KIP-848 (types, 5). Errors: COORDINATOR_LOAD_IN_PROGRESS (the list would be incomplete).
use kafka_protocol::messages::list_groups_response::{ListGroupsResponse, ListedGroup};
use kafka_protocol::messages::{ApiKey, GroupId, ListGroupsRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::ErrorCode;
use crate::group::coordinator::GroupDescription;

pub const VERSIONS: Versions = Versions::new(ApiKey::ListGroups, 0, 5);

/// Lists what passes the filters.
pub fn handle(broker: &Broker, version: i16, request: &ListGroupsRequest) -> ListGroupsResponse {
    if !broker.groups.is_ready() {
        return ListGroupsResponse::default().with_error_code(ErrorCode::CoordinatorLoadInProgress.code());
    }
    let groups = broker.groups.list().into_iter().filter(|group| passes(group, request));
    ListGroupsResponse::default().with_groups(groups.map(|group| listed(version, group)).collect())
}

/// Empty filters let everything through; case does not matter.
fn passes(group: &GroupDescription, request: &ListGroupsRequest) -> bool {
    let any =
        |filter: &[StrBytes], value: &str| filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(value));
    any(&request.states_filter, group.state) && any(&request.types_filter, group.group_type.name())
}

fn listed(version: i16, group: GroupDescription) -> ListedGroup {
    let group_type = group.group_type.name();
    let response =
        ListedGroup::default().with_group_id(GroupId(wire(group.group))).with_protocol_type(wire(group.protocol_type));
    let response = if version >= 4 { response.with_group_state(wire(group.state)) } else { response };
    if version >= 5 { response.with_group_type(wire(group_type)) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Phase;
    use crate::group::coordinator::GroupType;

    fn group(phase: Phase) -> GroupDescription {
        GroupDescription {
            group: "g".into(),
            group_type: GroupType::Classic,
            state: phase.name(),
            protocol_type: "consumer".into(),
            protocol_name: "range".into(),
            members: Vec::new(),
        }
    }

    #[test]
    fn filters_are_by_state_and_type_whatever_the_case() {
        let by_state = |state: &'static str| ListGroupsRequest::default().with_states_filter(vec![state.into()]);
        assert!(passes(&group(Phase::Stable), &ListGroupsRequest::default()));
        assert!(passes(&group(Phase::Stable), &by_state("stable")));
        assert!(!passes(&group(Phase::Empty), &by_state("Stable")));
        let by_type = |kind: &'static str| ListGroupsRequest::default().with_types_filter(vec![kind.into()]);
        assert!(passes(&group(Phase::Empty), &by_type("Classic")));
        assert!(!passes(&group(Phase::Empty), &by_type("consumer")));
    }
}
