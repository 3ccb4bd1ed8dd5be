//! The requests behind the rows of the authorisation table, and what their answers amount to.
use bytes::BytesMut;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData};
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_producers_request::TopicRequest as ProducersTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData as QuorumPartition, TopicData as QuorumTopic};
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource as IncrementalResource;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic};
use kafka_protocol::messages::share_fetch_request::{FetchPartition as SharePartition, FetchTopic as ShareTopic};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::*;
use weir_protocol::columnar::{AclRestriction, TAG};
use weir_protocol::records::Compression;

use crate::authorization::{Caller, Outcome};
use crate::harness::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn g() -> GroupId {
    GroupId(s("g"))
}

fn x() -> TransactionalId {
    TransactionalId(s("x"))
}

fn shown(is_there: bool) -> Outcome {
    if is_there { Outcome::Ok } else { Outcome::Hidden }
}

/// Sends the request of one row.
pub async fn outcome(caller: &Caller<'_>, api: &str, what: &str) -> Outcome {
    // "other of version 7" is about the topic `other`.
    let topic = if what.starts_with("other") { &caller.world.other } else { &caller.world.topic };
    match api {
        "Produce" | "Fetch" | "ListOffsets" | "OffsetForLeaderEpoch" | "DeleteRecords" | "DescribeProducers" => {
            records(caller, api, what, topic).await
        }
        "Metadata" | "DescribeTopicPartitions" | "CreateTopics" | "DeleteTopics" | "CreatePartitions" => {
            topics(caller, api, what, topic).await
        }
        "OffsetCommit" | "OffsetFetch" | "OffsetDelete" | "FindCoordinator" => offsets(caller, api, what, topic).await,
        "JoinGroup"
        | "Heartbeat"
        | "LeaveGroup"
        | "SyncGroup"
        | "DescribeGroups"
        | "ListGroups"
        | "DeleteGroups"
        | "ConsumerGroupHeartbeat"
        | "ConsumerGroupDescribe" => groups(caller, api, what).await,
        "ShareGroupHeartbeat"
        | "ShareGroupDescribe"
        | "ShareFetch"
        | "ShareAcknowledge"
        | "DescribeShareGroupOffsets"
        | "AlterShareGroupOffsets"
        | "DeleteShareGroupOffsets" => shares(caller, api, what, topic).await,
        "InitProducerId"
        | "AddPartitionsToTxn"
        | "AddOffsetsToTxn"
        | "EndTxn"
        | "WriteTxnMarkers"
        | "TxnOffsetCommit"
        | "DescribeTransactions"
        | "ListTransactions" => transactions(caller, api, what, topic).await,
        _ => cluster(caller, api, what, topic).await,
    }
}

async fn records(caller: &Caller<'_>, api: &str, what: &str, topic: &Topic) -> Outcome {
    let name = topic_name(&topic.name);
    match api {
        "Produce" => {
            let id = what.ends_with("as x").then(x);
            let request = produce_request(13, topic, 0, 1, batch(Compression::None, &["v"])).with_transactional_id(id);
            let answer = caller.call(13, request).await;
            Outcome::of(answer.responses.iter().flat_map(|t| &t.partition_responses).map(|p| p.error_code))
        }
        "Fetch" => fetch(caller, what, topic).await,
        "ListOffsets" => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default().with_name(name).with_partitions(vec![partition]);
            let answer = caller.call(10, ListOffsetsRequest::default().with_topics(vec![topic])).await;
            Outcome::of(answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code))
        }
        "OffsetForLeaderEpoch" => {
            let partition = OffsetForLeaderPartition::default();
            let topic = OffsetForLeaderTopic::default().with_topic(name).with_partitions(vec![partition]);
            let request = OffsetForLeaderEpochRequest::default().with_replica_id((-2).into()).with_topics(vec![topic]);
            let answer = caller.call(4, request).await;
            Outcome::of(answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code))
        }
        "DeleteRecords" => {
            let partition = DeleteRecordsPartition::default().with_offset(0);
            let topic = DeleteRecordsTopic::default().with_name(name).with_partitions(vec![partition]);
            let request = DeleteRecordsRequest::default().with_timeout_ms(1000).with_topics(vec![topic]);
            let answer = caller.call(2, request).await;
            Outcome::of(answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code))
        }
        _ => {
            let topic = ProducersTopic::default().with_name(name).with_partition_indexes(vec![0]);
            let answer = caller.call(0, DescribeProducersRequest::default().with_topics(vec![topic])).await;
            Outcome::of(answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code))
        }
    }
}

async fn fetch(caller: &Caller<'_>, what: &str, topic: &Topic) -> Outcome {
    let codes = |answer: &FetchResponse| {
        let partitions = answer.responses.iter().flat_map(|t| &t.partitions);
        Outcome::of(partitions.map(|p| p.error_code).collect::<Vec<_>>())
    };
    let version = if what.contains("by name") { 12 } else { 18 };
    let mut request = fetch_request(version, topic, 0, 0);
    if what.contains("replica") {
        request.replica_state.replica_id = 2.into();
    }
    if !what.contains("session") {
        return codes(&caller.call(version, request).await);
    }
    // The session is root's: what it remembers gives nobody a right, and its next request names no partition.
    request.session_epoch = 0;
    let root = caller.as_root();
    let made = root.call(version, request).await;
    assert_ne!(made.session_id, 0);
    let next = FetchRequest::default().with_session_id(made.session_id).with_session_epoch(1).with_max_bytes(1 << 20);
    codes(&caller.call(version, next).await)
}

async fn topics(caller: &Caller<'_>, api: &str, what: &str, topic: &Topic) -> Outcome {
    let name = topic_name(&topic.name);
    match api {
        "Metadata" => metadata(caller, what, topic).await,
        "DescribeTopicPartitions" => {
            let topics = if what == "all" { Vec::new() } else { vec![TopicRequest::default().with_name(name.clone())] };
            let request = DescribeTopicPartitionsRequest::default().with_topics(topics);
            let answer = caller.call(0, request.with_response_partition_limit(100)).await;
            if what == "all" {
                return shown(answer.topics.iter().any(|found| found.name.as_ref() == Some(&name)));
            }
            Outcome::of(answer.topics.iter().map(|t| t.error_code))
        }
        "CreateTopics" => {
            let name = if what == "new" { topic_name("new") } else { name };
            let topic = CreatableTopic::default().with_name(name).with_num_partitions(1).with_replication_factor(1);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(true);
            Outcome::of(caller.call(7, request).await.topics.iter().map(|t| t.error_code))
        }
        "DeleteTopics" => {
            let absent = topic_name("absent");
            let request = DeleteTopicsRequest::default().with_timeout_ms(1000);
            let answer = if what.ends_with("version 5") {
                caller.call(5, request.with_topic_names(vec![absent])).await
            } else {
                let state = DeleteTopicState::default().with_name(Some(absent));
                caller.call(6, request.with_topics(vec![state])).await
            };
            Outcome::of(answer.responses.iter().map(|t| t.error_code))
        }
        _ => {
            let topic = CreatePartitionsTopic::default().with_name(name).with_count(1);
            let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_validate_only(true);
            Outcome::of(caller.call(3, request).await.results.iter().map(|t| t.error_code))
        }
    }
}

async fn metadata(caller: &Caller<'_>, what: &str, topic: &Topic) -> Outcome {
    let name = topic_name(&topic.name);
    let named = |name: TopicName| Some(vec![MetadataRequestTopic::default().with_name(Some(name))]);
    // The field that only version 4 and later have is true by default, and in older ones.
    let oldest = MetadataRequest::default();
    let request = MetadataRequest::default().with_allow_auto_topic_creation(false);
    let has = |answer: &MetadataResponse| shown(answer.topics.iter().any(|t| t.name.as_ref() == Some(&name)));
    let codes = |answer: &MetadataResponse| Outcome::of(answer.topics.iter().map(|t| t.error_code).collect::<Vec<_>>());
    match what {
        "t" => codes(&caller.call(13, request.with_topics(named(name))).await),
        "t by id" => {
            let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(topic.id);
            let answer = caller.call(13, request.with_topics(Some(vec![by_id]))).await;
            let told = answer.topics[0].name.is_some();
            let outcome = codes(&answer);
            assert_eq!(told, outcome == Outcome::Ok, "an id tells no name to those who may not know it");
            outcome
        }
        "all" => has(&caller.call(13, request.with_topics(None)).await),
        "all of version 0" => has(&caller.call(0, oldest.with_topics(Some(Vec::new()))).await),
        "t of version 0" => {
            let answer = caller.call(0, oldest.with_topics(named(name))).await;
            assert_eq!(answer.topics.len(), 1, "nobody who asked for one topic is told of others");
            codes(&answer)
        }
        "created by asking" => {
            let new = topic_name(&format!("new-{}", caller.name));
            let request = request.with_allow_auto_topic_creation(true).with_topics(named(new.clone()));
            let outcome = codes(&caller.call(13, request).await);
            let exists = caller.world.broker.topics.get(&new).is_some();
            assert_eq!(exists, outcome == Outcome::Ok, "{}", caller.name);
            outcome
        }
        "operations of t" => {
            let request = request.with_topics(named(name)).with_include_topic_authorized_operations(true);
            let answer = caller.call(13, request).await;
            match codes(&answer) {
                Outcome::Ok => Outcome::Operations(answer.topics[0].topic_authorized_operations),
                refused => refused,
            }
        }
        _ => {
            let request = request.with_topics(Some(Vec::new())).with_include_cluster_authorized_operations(true);
            Outcome::Operations(caller.call(10, request).await.cluster_authorized_operations)
        }
    }
}

async fn offsets(caller: &Caller<'_>, api: &str, what: &str, topic: &Topic) -> Outcome {
    let name = topic_name(&topic.name);
    match api {
        "OffsetCommit" => {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(0);
            let topic = OffsetCommitRequestTopic::default().with_name(name).with_partitions(vec![partition]);
            let request = OffsetCommitRequest::default()
                .with_group_id(g())
                .with_generation_id_or_member_epoch(-1)
                .with_topics(vec![topic]);
            let answer = caller.call(8, request).await;
            Outcome::of(answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code))
        }
        "OffsetFetch" if what.contains("of version") => {
            let topic = OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![0]);
            let request = OffsetFetchRequest::default().with_group_id(g()).with_topics(Some(vec![topic]));
            let version = if what.ends_with("version 1") { 1 } else { 7 };
            let answer = caller.call(version, request).await;
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
            Outcome::of(partitions.chain([answer.error_code]))
        }
        "OffsetFetch" => {
            let topic = OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![0]);
            let topics = if what == "all" { None } else { Some(vec![topic]) };
            let group = OffsetFetchRequestGroup::default().with_group_id(g()).with_member_id(None).with_topics(topics);
            let answer = caller.call(9, OffsetFetchRequest::default().with_groups(vec![group])).await;
            let group = &answer.groups[0];
            let partitions = group.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
            Outcome::of(partitions.chain([group.error_code]))
        }
        "OffsetDelete" => {
            // A partition that does not exist: nothing is deleted.
            let partition = OffsetDeleteRequestPartition::default().with_partition_index(99);
            let topic = OffsetDeleteRequestTopic::default().with_name(name).with_partitions(vec![partition]);
            let request = OffsetDeleteRequest::default().with_group_id(g()).with_topics(vec![topic]);
            let answer = caller.call(0, request).await;
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
            Outcome::of(partitions.chain([answer.error_code]))
        }
        _ if what.ends_with("version 3") => {
            Outcome::of([caller.call(3, FindCoordinatorRequest::default().with_key(s("g"))).await.error_code])
        }
        _ => {
            let request = FindCoordinatorRequest::default()
                .with_key_type(i8::from(what == "x"))
                .with_coordinator_keys(vec![s(what)]);
            Outcome::of(caller.call(6, request).await.coordinators.iter().map(|c| c.error_code))
        }
    }
}

async fn groups(caller: &Caller<'_>, api: &str, what: &str) -> Outcome {
    match api {
        "JoinGroup" => {
            let request = JoinGroupRequest::default().with_group_id(g()).with_session_timeout_ms(1);
            Outcome::of([caller.call(9, request).await.error_code])
        }
        "Heartbeat" => Outcome::of([caller.call(4, HeartbeatRequest::default().with_group_id(g())).await.error_code]),
        "LeaveGroup" => {
            let request = LeaveGroupRequest::default().with_group_id(g()).with_members(vec![MemberIdentity::default()]);
            Outcome::of([caller.call(5, request).await.error_code])
        }
        "SyncGroup" => Outcome::of([caller.call(5, SyncGroupRequest::default().with_group_id(g())).await.error_code]),
        "DescribeGroups" => {
            let request = DescribeGroupsRequest::default().with_groups(vec![g()]);
            let answer =
                caller.call(6, request.with_include_authorized_operations(what.starts_with("operations"))).await;
            match Outcome::of([answer.groups[0].error_code]) {
                Outcome::Ok if what.starts_with("operations") => {
                    Outcome::Operations(answer.groups[0].authorized_operations)
                }
                outcome => outcome,
            }
        }
        "ListGroups" => {
            let answer = caller.call(5, ListGroupsRequest::default()).await;
            shown(answer.groups.iter().any(|group| group.group_id == g()))
        }
        "DeleteGroups" => {
            let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(s("absent"))]);
            Outcome::of(caller.call(2, request).await.results.iter().map(|r| r.error_code))
        }
        "ConsumerGroupHeartbeat" => {
            let name = if what.ends_with("other") { "other" } else { "t" };
            let request = ConsumerGroupHeartbeatRequest::default()
                .with_group_id(g())
                .with_member_id(s("nobody"))
                .with_member_epoch(7)
                .with_subscribed_topic_names(Some(vec![topic_name(name)]));
            Outcome::of([caller.call(1, request).await.error_code])
        }
        _ => {
            let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![g()]);
            Outcome::of(caller.call(1, request).await.groups.iter().map(|group| group.error_code))
        }
    }
}

async fn shares(caller: &Caller<'_>, api: &str, what: &str, topic: &Topic) -> Outcome {
    let name = topic_name(if what.ends_with("other") { "other" } else { "t" });
    match api {
        "ShareGroupHeartbeat" => {
            let request = ShareGroupHeartbeatRequest::default().with_group_id(g()).with_member_id(s("nobody"));
            let request = request.with_member_epoch(7).with_subscribed_topic_names(Some(vec![name]));
            Outcome::of([caller.call(1, request).await.error_code])
        }
        "ShareGroupDescribe" => {
            let request = ShareGroupDescribeRequest::default().with_group_ids(vec![g()]);
            Outcome::of(caller.call(1, request).await.groups.iter().map(|group| group.error_code))
        }
        "ShareFetch" => {
            let topic = ShareTopic::default().with_topic_id(topic.id).with_partitions(vec![SharePartition::default()]);
            let answer = caller.call(1, share_fetch(vec![topic])).await;
            let partitions = answer.responses.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
            Outcome::of(std::iter::once(answer.error_code).chain(partitions))
        }
        "ShareAcknowledge" => {
            caller.call(1, share_fetch(Vec::new())).await;
            let partitions = vec![AcknowledgePartition::default()];
            let topic = AcknowledgeTopic::default().with_topic_id(topic.id).with_partitions(partitions);
            let request = ShareAcknowledgeRequest::default().with_group_id(Some(g())).with_member_id(Some(s("m")));
            let answer = caller.call(1, request.with_share_session_epoch(1).with_topics(vec![topic])).await;
            let partitions = answer.responses.iter().flat_map(|t| &t.partitions).map(|p| p.error_code);
            Outcome::of(std::iter::once(answer.error_code).chain(partitions))
        }
        "DescribeShareGroupOffsets" => {
            let group = DescribeShareGroupOffsetsRequestGroup::default().with_group_id(g()).with_topics(None);
            let answer = caller.call(0, DescribeShareGroupOffsetsRequest::default().with_groups(vec![group])).await;
            Outcome::of(answer.groups.iter().map(|group| group.error_code))
        }
        "AlterShareGroupOffsets" => {
            let topic = AlterShareGroupOffsetsRequestTopic::default().with_topic_name(name);
            let request = AlterShareGroupOffsetsRequest::default().with_group_id(g()).with_topics(vec![topic]);
            Outcome::of([caller.call(0, request).await.error_code])
        }
        _ => {
            let topic = DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(name);
            let request = DeleteShareGroupOffsetsRequest::default().with_group_id(g()).with_topics(vec![topic]);
            Outcome::of([caller.call(0, request).await.error_code])
        }
    }
}

/// Opens a share session.
fn share_fetch(topics: Vec<ShareTopic>) -> ShareFetchRequest {
    ShareFetchRequest::default()
        .with_group_id(Some(g()))
        .with_member_id(Some(s("m")))
        .with_max_records(10)
        .with_topics(topics)
}

async fn transactions(caller: &Caller<'_>, api: &str, what: &str, topic: &Topic) -> Outcome {
    let name = topic_name(&topic.name);
    match api {
        "InitProducerId" => {
            let id = (what == "x").then(x);
            let request = InitProducerIdRequest::default().with_transactional_id(id);
            Outcome::of([caller.call(5, request.with_transaction_timeout_ms(60_000)).await.error_code])
        }
        "AddPartitionsToTxn" => {
            let topic = AddPartitionsToTxnTopic::default().with_name(name).with_partitions(vec![0]);
            if what.ends_with("broker") {
                let txn = AddPartitionsToTxnTransaction::default().with_transactional_id(x()).with_topics(vec![topic]);
                let answer = caller.call(5, AddPartitionsToTxnRequest::default().with_transactions(vec![txn])).await;
                return Outcome::of([answer.error_code]);
            }
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(x())
                .with_v3_and_below_producer_id(77.into())
                .with_v3_and_below_topics(vec![topic]);
            let answer = caller.call(3, request).await;
            let results = answer.results_by_topic_v3_and_below.iter().flat_map(|t| &t.results_by_partition);
            Outcome::of(results.map(|partition| partition.partition_error_code))
        }
        "AddOffsetsToTxn" => {
            let request = AddOffsetsToTxnRequest::default().with_transactional_id(x()).with_group_id(g());
            Outcome::of([caller.call(4, request.with_producer_id(77.into())).await.error_code])
        }
        "EndTxn" => {
            let request = EndTxnRequest::default().with_transactional_id(x()).with_producer_id(77.into());
            Outcome::of([caller.call(5, request).await.error_code])
        }
        "WriteTxnMarkers" => {
            let topic = WritableTxnMarkerTopic::default().with_name(name).with_partition_indexes(vec![99]);
            let marker = WritableTxnMarker::default().with_producer_id(77.into()).with_topics(vec![topic]);
            let answer = caller.call(1, WriteTxnMarkersRequest::default().with_markers(vec![marker])).await;
            let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
            Outcome::of(topics.flat_map(|topic| &topic.partitions).map(|partition| partition.error_code))
        }
        "TxnOffsetCommit" => {
            let partition = TxnOffsetCommitRequestPartition::default();
            let topic = TxnOffsetCommitRequestTopic::default().with_name(name).with_partitions(vec![partition]);
            let request = TxnOffsetCommitRequest::default()
                .with_transactional_id(x())
                .with_group_id(g())
                .with_producer_id(77.into())
                .with_topics(vec![topic]);
            let answer = caller.call(5, request).await;
            Outcome::of(answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code))
        }
        "DescribeTransactions" => {
            let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![x()]);
            Outcome::of(caller.call(0, request).await.transaction_states.iter().map(|state| state.error_code))
        }
        _ => {
            let request =
                ListTransactionsRequest::default().with_duration_filter(-1).with_transactional_id_pattern(None);
            let answer = caller.call(1, request).await;
            shown(answer.transaction_states.iter().any(|state| state.transactional_id == x()))
        }
    }
}

/// Type and name of the resource of a row about configs.
fn config_resource(what: &str) -> (i8, &str) {
    match what {
        "the broker" => (BROKER, "1"),
        "g" => (GROUP, "g"),
        topic => (TOPIC, topic),
    }
}

async fn cluster(caller: &Caller<'_>, api: &str, what: &str, topic: &Topic) -> Outcome {
    let name = topic_name(&topic.name);
    let (kind, resource) = config_resource(what);
    match api {
        "ApiVersions" => {
            let request =
                ApiVersionsRequest::default().with_client_software_name(s("t")).with_client_software_version(s("1"));
            Outcome::of([caller.call(4, request).await.error_code])
        }
        "SaslHandshake" => Outcome::of([caller.call(1, SaslHandshakeRequest::default()).await.error_code]),
        "SaslAuthenticate" => Outcome::of([caller.call(2, SaslAuthenticateRequest::default()).await.error_code]),
        "DescribeUserScramCredentials" => {
            let request = DescribeUserScramCredentialsRequest::default().with_users(None);
            Outcome::of([caller.call(0, request).await.error_code])
        }
        "AlterUserScramCredentials" => {
            let deletion = alter_user_scram_credentials_request::ScramCredentialDeletion::default();
            let deletion = deletion.with_name(s("somebody")).with_mechanism(1);
            let request = AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion]);
            Outcome::of(caller.call(0, request).await.results.iter().map(|result| result.error_code))
        }
        "DescribeConfigs" => {
            let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(s(resource));
            let request =
                DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)]);
            Outcome::of(caller.call(4, request).await.results.iter().map(|r| r.error_code))
        }
        "AlterConfigs" => {
            let resource = AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(resource));
            let request = AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
            Outcome::of(caller.call(2, request).await.responses.iter().map(|r| r.error_code))
        }
        "IncrementalAlterConfigs" => {
            let resource = IncrementalResource::default().with_resource_type(kind).with_resource_name(s(resource));
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            let answer = caller.call(1, request.with_validate_only(true)).await;
            Outcome::of(answer.responses.iter().map(|r| r.error_code))
        }
        "DescribeAcls" => {
            let request = DescribeAclsRequest::default()
                .with_resource_type_filter(1)
                .with_pattern_type_filter(1)
                .with_operation(1)
                .with_permission_type(1);
            Outcome::of([caller.call(3, request).await.error_code])
        }
        "CreateAcls" => {
            let binding = AclCreation::default()
                .with_resource_type(3)
                .with_resource_name(s("made-by-the-table"))
                .with_resource_pattern_type(3)
                .with_principal(s("User:somebody"))
                .with_host(s("*"))
                .with_operation(3)
                .with_permission_type(3);
            let binding = match what {
                "some columns of t" => {
                    let part = AclRestriction { columns: Some(vec!["_key".to_owned()]), ..AclRestriction::default() };
                    let mut tag = BytesMut::new();
                    part.encode(&mut tag);
                    binding
                        .with_resource_type(2)
                        .with_resource_name(s("t"))
                        .with_unknown_tagged_fields([(TAG, tag.freeze())].into())
                }
                _ => binding,
            };
            let answer = caller.call(3, CreateAclsRequest::default().with_creations(vec![binding])).await;
            Outcome::of(answer.results.iter().map(|r| r.error_code))
        }
        "DeleteAcls" => {
            let filter = DeleteAclsFilter::default()
                .with_resource_type_filter(1)
                .with_pattern_type_filter(1)
                .with_principal_filter(Some(s("User:absent")))
                .with_operation(1)
                .with_permission_type(1);
            let answer = caller.call(3, DeleteAclsRequest::default().with_filters(vec![filter])).await;
            Outcome::of(answer.filter_results.iter().map(|r| r.error_code))
        }
        "DescribeClientQuotas" => {
            Outcome::of([caller.call(1, DescribeClientQuotasRequest::default()).await.error_code])
        }
        "AlterClientQuotas" => {
            let user = EntityData::default().with_entity_type(s("user")).with_entity_name(Some(s("somebody")));
            let entry = EntryData::default().with_entity(vec![user]);
            let request = AlterClientQuotasRequest::default().with_entries(vec![entry]).with_validate_only(true);
            Outcome::of(caller.call(1, request).await.entries.iter().map(|entry| entry.error_code))
        }
        "AlterReplicaLogDirs" => {
            let topic = AlterReplicaLogDirTopic::default().with_name(name).with_partitions(vec![0]);
            let dir = AlterReplicaLogDir::default().with_path(s("/nowhere")).with_topics(vec![topic]);
            let answer = caller.call(2, AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])).await;
            Outcome::of(answer.results.iter().flat_map(|r| &r.partitions).map(|p| p.error_code))
        }
        "DescribeLogDirs" => {
            let version = if what.ends_with("version 1") { 1 } else { 4 };
            let answer = caller.call(version, DescribeLogDirsRequest::default().with_topics(None)).await;
            let refused = Outcome::of(answer.results.iter().map(|r| r.error_code).chain([answer.error_code]));
            let topics = answer.results.iter().map(|r| r.topics.len()).sum::<usize>();
            assert_eq!(topics > 0, refused == Outcome::Ok, "no sizes for those who may not see them");
            refused
        }
        "ElectLeaders" => {
            let topic = TopicPartitions::default().with_topic(name).with_partitions(vec![0]);
            let answer = caller.call(2, ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic]))).await;
            let results = answer.replica_election_results.iter().flat_map(|r| &r.partition_result);
            Outcome::of(results.map(|p| p.error_code).chain([answer.error_code]))
        }
        "AlterPartitionReassignments" => {
            let partition = ReassignablePartition::default().with_replicas(None);
            let topic = ReassignableTopic::default().with_name(name).with_partitions(vec![partition]);
            let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
            Outcome::of([caller.call(1, request).await.error_code])
        }
        "ListPartitionReassignments" => {
            let request = ListPartitionReassignmentsRequest::default().with_topics(None);
            Outcome::of([caller.call(0, request).await.error_code])
        }
        "DescribeQuorum" => {
            let topic = QuorumTopic::default()
                .with_topic_name(topic_name("__cluster_metadata"))
                .with_partitions(vec![QuorumPartition::default()]);
            Outcome::of([caller.call(2, DescribeQuorumRequest::default().with_topics(vec![topic])).await.error_code])
        }
        "UpdateFeatures" => Outcome::of([caller.call(1, UpdateFeaturesRequest::default()).await.error_code]),
        "DescribeCluster" => {
            let asked = what.starts_with("operations");
            let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(asked);
            let answer = caller.call(1, request.with_endpoint_type(1)).await;
            if asked {
                Outcome::Operations(answer.cluster_authorized_operations)
            } else {
                Outcome::of([answer.error_code])
            }
        }
        "ListConfigResources" => Outcome::of([caller.call(1, ListConfigResourcesRequest::default()).await.error_code]),
        other => panic!("no request is made for {other}, {what}"),
    }
}
