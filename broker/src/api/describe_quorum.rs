//! DescribeQuorum (key 55): who keeps the metadata. This broker alone does; its metadata log is told as the one voter's.
//!
//! Versions 0-2. KIP-595, KIP-836 (timestamps, 1), KIP-853 (nodes, 2). Errors: UNKNOWN_TOPIC_OR_PARTITION for everything but
//! partition 0 of `__cluster_metadata`.
use kafka_protocol::messages::describe_quorum_request::DescribeQuorumRequest;
use kafka_protocol::messages::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{ApiKey, BrokerId};

use super::{Versions, wire};
use crate::broker::{Broker, RequestContext};
use crate::error_code::ErrorCode;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeQuorum, 0, 2);

/// Kafka's name of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Offsets are revisions of the metadata store, the epoch is the broker's incarnation.
pub fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    version: i16,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let mut known = false;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            if topic.topic_name.as_str() == METADATA_TOPIC && partition.partition_index == 0 {
                known = true;
                quorum(broker, version)
            } else {
                let message = "only partition 0 of __cluster_metadata has a quorum";
                PartitionData::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(ErrorCode::UnknownTopicOrPartition.code())
                    .with_error_message((version >= 2).then(|| wire(message)))
            }
        });
        let partitions = partitions.collect();
        TopicData::default().with_topic_name(topic.topic_name).with_partitions(partitions)
    });
    let topics = topics.collect();
    let response = DescribeQuorumResponse::default().with_topics(topics).with_error_message(None);
    if version >= 2 && known { response.with_nodes(vec![node(broker, ctx)]) } else { response }
}

fn quorum(broker: &Broker, version: i16) -> PartitionData {
    let end = i64::try_from(broker.meta.revision()).unwrap_or(i64::MAX);
    let node = BrokerId(broker.node_id());
    let voter = ReplicaState::default().with_replica_id(node).with_log_end_offset(end);
    let voter = if version >= 1 {
        let now = broker.wall_clock_ms();
        voter.with_last_fetch_timestamp(now).with_last_caught_up_timestamp(now)
    } else {
        voter
    };
    PartitionData::default()
        .with_error_message(None)
        .with_leader_id(node)
        .with_leader_epoch(broker.leader_epoch().0)
        .with_high_watermark(end)
        .with_current_voters(vec![voter])
}

fn node(broker: &Broker, ctx: &RequestContext) -> Node {
    let advertised = ctx.advertised();
    let listener = Listener::default()
        // The tools take names in capitals alone, as Kafka spells them.
        .with_name(wire(ctx.listener.name.as_str().to_uppercase()))
        .with_host(wire(advertised.host.as_str()))
        .with_port(advertised.port);
    Node::default().with_node_id(BrokerId(broker.node_id())).with_listeners(vec![listener])
}
