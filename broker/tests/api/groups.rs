//! Classic groups and offsets over the wire, in every version.
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};

use crate::harness::*;

fn group(name: &str) -> GroupId {
    GroupId(s(name))
}

fn join_request(group_name: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(s("range")).with_metadata(Bytes::from_static(b"meta"));
    JoinGroupRequest::default()
        .with_group_id(group(group_name))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(s(member))
        .with_protocol_type(s("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins as a dynamic member, with the second request that version 4 introduced.
async fn join(client: &mut Client, version: i16, group_name: &str) -> JoinGroupResponse {
    let mut request = join_request(group_name, "");
    if version == 0 {
        request.rebalance_timeout_ms = -1;
    }
    let response = client.call(version, &request).await;
    if version < 4 {
        return response;
    }
    assert_eq!(response.error_code, 79, "v{version} asks for the member id that it gives");
    let member = response.member_id.to_string();
    client.call(version, &request.with_member_id(s(&member))).await
}

async fn sync(
    client: &mut Client,
    version: i16,
    group_name: &str,
    joined: &JoinGroupResponse,
    bytes: &'static [u8],
) -> Bytes {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(bytes));
    let mut request = SyncGroupRequest::default()
        .with_group_id(group(group_name))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request.protocol_type = Some(s("consumer"));
        request.protocol_name = Some(s("range"));
    }
    let response = client.call(version, &request).await;
    assert_eq!(response.error_code, 0, "sync v{version}");
    response.assignment
}

fn commit_request(group_name: &str, generation: i32, member: &str, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(s("note")));
    let entry = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(group_name))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(s(member))
        .with_retention_time_ms(-1)
        .with_topics(vec![entry])
}

async fn commit(client: &mut Client, version: i16, request: &OffsetCommitRequest) -> i16 {
    client.call(version, request).await.topics[0].partitions[0].error_code
}

/// The committed offset of partition 0; -1 = none.
async fn committed(client: &mut Client, version: i16, group_name: &str, topic: &str) -> (i16, i64) {
    if version >= 8 {
        let entry = OffsetFetchRequestTopics::default().with_name(topic_name(topic)).with_partition_indexes(vec![0]);
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group(group_name))
            .with_member_id(None)
            .with_member_epoch(-1)
            .with_topics(Some(vec![entry]));
        let response = client.call(version, &OffsetFetchRequest::default().with_groups(vec![asked])).await;
        let found = &response.groups[0].topics[0].partitions[0];
        return (found.error_code, found.committed_offset);
    }
    let entry = OffsetFetchRequestTopic::default().with_name(topic_name(topic)).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_group_id(group(group_name)).with_topics(Some(vec![entry]));
    let response = client.call(version, &request).await;
    let found = &response.topics[0].partitions[0];
    (found.error_code, found.committed_offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn member_joins_syncs_commits_and_leaves_in_every_version() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    for version in 0..=9 {
        let name = format!("g{version}");
        let joined = join(&mut client, version, &name).await;
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "join v{version}");
        assert_eq!((&joined.leader, joined.members.len()), (&joined.member_id, 1));
        assert_eq!(joined.members[0].metadata, Bytes::from_static(b"meta"));
        assert_eq!(sync(&mut client, version.min(5), &name, &joined, b"mine").await, Bytes::from_static(b"mine"));
        let member = joined.member_id.to_string();
        let beat = HeartbeatRequest::default()
            .with_group_id(group(&name))
            .with_generation_id(1)
            .with_member_id(joined.member_id.clone());
        assert_eq!(client.call(version.min(4), &beat).await.error_code, 0);
        let old = beat.clone().with_generation_id(0);
        assert_eq!(client.call(version.min(4), &old).await.error_code, 22);
        let stranger = beat.with_member_id(s("nobody"));
        assert_eq!(client.call(version.min(4), &stranger).await.error_code, 25);
        let commit_version = version.max(2);
        let request = commit_request(&name, 1, &member, "t", 41 + i64::from(version));
        assert_eq!(commit(&mut client, commit_version, &request).await, 0, "commit v{commit_version}");
        let stale = commit_request(&name, 7, &member, "t", 1);
        assert_eq!(commit(&mut client, commit_version, &stale).await, 22);
        assert_eq!(committed(&mut client, version.max(1), &name, "t").await, (0, 41 + i64::from(version)));
        assert_eq!(committed(&mut client, version.max(1), &name, "other").await, (0, -1));
        let leave_version = version.min(5);
        let leave = LeaveGroupRequest::default().with_group_id(group(&name));
        let leave = if leave_version >= 3 {
            leave.with_members(vec![MemberIdentity::default().with_member_id(joined.member_id.clone())])
        } else {
            leave.with_member_id(joined.member_id.clone())
        };
        let left = client.call(leave_version, &leave).await;
        assert_eq!(left.error_code, 0, "leave v{leave_version}");
        assert!(left.members.iter().all(|m| m.error_code == 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_member_triggers_a_rebalance_and_only_the_leader_gets_the_members() {
    let broker = TestBroker::start().await;
    let mut one = Client::connect(&broker).await;
    let mut two = Client::connect(&broker).await;
    let first = join(&mut one, 9, "g").await;
    sync(&mut one, 5, "g", &first, b"all").await;
    let asked = two.call(9, &join_request("g", "")).await;
    let waiting = two.send(9, &join_request("g", &asked.member_id)).await;
    let beat = HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(1)
        .with_member_id(first.member_id.clone());
    let mut code = 0;
    for _ in 0..100 {
        code = one.call(4, &beat).await.error_code;
        if code != 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(code, 27, "REBALANCE_IN_PROGRESS");
    let again = one.call(9, &join_request("g", &first.member_id)).await;
    let second = two.receive::<JoinGroupRequest>(9, waiting).await;
    assert_eq!((again.generation_id, second.generation_id), (2, 2));
    assert_eq!(again.leader, second.leader);
    let (leader, follower) = if again.leader == again.member_id { (&again, &second) } else { (&second, &again) };
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn standalone_commit_goes_into_an_empty_group_only() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(commit(&mut client, 9, &commit_request("solo", -1, "", "t", 5)).await, 0);
    assert_eq!(committed(&mut client, 9, "solo", "t").await, (0, 5));
    let joined = join(&mut client, 9, "busy").await;
    sync(&mut client, 5, "busy", &joined, b"x").await;
    assert_eq!(commit(&mut client, 9, &commit_request("busy", -1, "", "t", 5)).await, 25);
    assert_eq!(commit(&mut client, 9, &commit_request("solo", -1, "", "missing", 5)).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_described_and_deleted() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    commit(&mut client, 9, &commit_request("empty", -1, "", "t", 5)).await;
    let joined = join(&mut client, 9, "live").await;
    sync(&mut client, 5, "live", &joined, b"mine").await;
    for version in 0..=5 {
        let listed = client.call(version, &ListGroupsRequest::default()).await;
        let mut names: Vec<String> = listed.groups.iter().map(|g| g.group_id.to_string()).collect();
        names.sort();
        assert_eq!(names, ["empty", "live"], "v{version}");
    }
    let stable = ListGroupsRequest::default().with_states_filter(vec![s("Stable")]);
    let listed = client.call(4, &stable).await;
    assert_eq!((listed.groups.len(), listed.groups[0].group_state.as_str()), (1, "Stable"));
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default().with_groups(vec![group("live"), group("empty"), group("none")]);
        let described = client.call(version, &request).await;
        let live = &described.groups[0];
        assert_eq!((live.group_state.as_str(), live.protocol_data.as_str()), ("Stable", "range"), "v{version}");
        assert_eq!(live.members[0].member_assignment, Bytes::from_static(b"mine"));
        assert_eq!(live.members[0].client_id.as_str(), "api-test");
        assert_eq!(described.groups[1].group_state.as_str(), "Empty");
        assert_eq!(described.groups[2].group_state.as_str(), "Dead");
        assert_eq!(described.groups[2].error_code, if version >= 6 { 69 } else { 0 });
    }
    let names = vec![group("empty"), group("live"), group("none")];
    let deleted = client.call(2, &DeleteGroupsRequest::default().with_groups_names(names)).await;
    let codes: Vec<i16> = deleted.results.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [0, 68, 69]);
    assert_eq!(committed(&mut client, 9, "empty", "t").await, (0, -1));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_disappear_when_deleted_or_with_their_topic() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    for topic in ["a", "b"] {
        client.create_topic(topic, 1, &[]).await;
        assert_eq!(commit(&mut client, 9, &commit_request("g", -1, "", topic, 5)).await, 0);
    }
    let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
    let entry = OffsetDeleteRequestTopic::default().with_name(topic_name("a")).with_partitions(vec![partition]);
    let request = OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![entry]);
    let response = client.call(0, &request).await;
    assert_eq!((response.error_code, response.topics[0].partitions[0].error_code), (0, 0));
    assert_eq!(committed(&mut client, 9, "g", "a").await, (0, -1));
    assert_eq!(committed(&mut client, 9, "g", "b").await, (0, 5));
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name("b")]).with_timeout_ms(5000);
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    client.create_topic("b", 1, &[]).await;
    assert_eq!(committed(&mut client, 9, "g", "b").await, (0, -1), "a new topic of the same name starts afresh");
}
