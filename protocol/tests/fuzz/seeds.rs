//! Undamaged inputs, made in code.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use weir_protocol::records::{BatchBuilder, Compression};
use weir_protocol::{ProducerEpoch, ProducerId, Timestamp};

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

/// Batches of all codecs, with headers, nulls and repeated text.
pub fn batches() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for codec in Compression::ALL {
        for rows in [1, 3, 40] {
            let mut builder = BatchBuilder::new().compression(codec, None);
            if rows == 3 {
                builder = builder.producer(ProducerId(8), ProducerEpoch(0), i32::MAX - 1).transactional();
            }
            for i in 0..rows {
                let value = format!("value {i} of a row that repeats itself, repeats itself");
                let headers: &[(&[u8], Option<&[u8]>)] = &[(b"trace", Some(b"1")), (b"trace", None)];
                let key = [i as u8];
                builder
                    .append((i % 3 > 0).then_some(&key), Some(value.as_bytes()), headers, Timestamp(i))
                    .expect("deltas ascend");
            }
            out.push(builder.build().expect("it has records").to_vec());
        }
    }
    out
}

/// A request as key, version, body: what the fuzzer damages is the body behind four bytes of key and version.
fn push<R: Request>(out: &mut Vec<Vec<u8>>, request: &R, versions: impl IntoIterator<Item = i16>) {
    for version in versions {
        let mut body = BytesMut::new();
        body.extend_from_slice(&R::KEY.to_be_bytes());
        body.extend_from_slice(&version.to_be_bytes());
        request.encode(&mut body, version).unwrap_or_else(|e| panic!("key {} v{version}: {e:#}", R::KEY));
        out.push(body.to_vec());
    }
}

pub fn requests() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    push(&mut out, &fetch(4), [4, 7, 9, 11]);
    push(&mut out, &fetch(12), [12]);
    push(&mut out, &fetch(18), [13, 15, 17, 18]);
    push(&mut out, &ApiVersionsRequest::default().with_client_software_name(text("fuzz")), [3, 4]);
    let topic = |name: &str| metadata_request::MetadataRequestTopic::default().with_name(Some(text(name).into()));
    push(&mut out, &MetadataRequest::default().with_topics(Some(vec![topic("a"), topic("b")])), [0, 5, 9, 12, 13]);
    push(&mut out, &offset_commit(), [2, 5, 7, 8, 9]);
    push(&mut out, &join_group(), [5, 6, 9]);
    push(&mut out, &create_topics(), [2, 5, 7]);
    push(&mut out, &alter_client_quotas(), [0, 1]);
    let cursor = describe_topic_partitions_request::Cursor::default().with_topic_name(text("t").into());
    push(&mut out, &DescribeTopicPartitionsRequest::default().with_cursor(Some(cursor)), [0]);
    let mechanism = SaslHandshakeRequest::default().with_mechanism(text("PLAIN"));
    push(&mut out, &mechanism, [0, 1]);
    let partitions = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
        .with_name(text("t").into())
        .with_partitions(vec![1, 2, 3]);
    push(&mut out, &AddPartitionsToTxnRequest::default().with_v3_and_below_topics(vec![partitions]), [0, 3]);
    out
}

fn fetch(version: i16) -> FetchRequest {
    let partition = |n| fetch_request::FetchPartition::default().with_partition(n).with_fetch_offset(1 << 33);
    let topic = |n: u8| {
        let topic = fetch_request::FetchTopic::default().with_partitions(vec![partition(0), partition(1)]);
        match version {
            13.. => topic.with_topic_id(uuid::Uuid::from_bytes([n; 16])),
            _ => topic.with_topic(text("topic").into()),
        }
    };
    let request = FetchRequest::default().with_max_wait_ms(500).with_topics(vec![topic(1), topic(2)]);
    match version {
        12.. => request.with_cluster_id(Some(text("cluster"))).with_unknown_tagged_field(77, Bytes::from_static(b"x")),
        _ => request,
    }
}

fn offset_commit() -> OffsetCommitRequest {
    let partition = |n| {
        offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(n)
            .with_committed_offset(7)
            .with_committed_metadata(Some(text("note")))
    };
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(text("topic").into())
        .with_partitions(vec![partition(0), partition(1)]);
    OffsetCommitRequest::default().with_group_id(text("group").into()).with_topics(vec![topic.clone(), topic])
}

fn join_group() -> JoinGroupRequest {
    let protocol = |name: &str| {
        join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::from_static(&[0, 1, 0, 0, 0, 1, 0, 1, b't']))
    };
    JoinGroupRequest::default()
        .with_group_id(text("group").into())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range"), protocol("roundrobin")])
}

fn create_topics() -> CreateTopicsRequest {
    let config = create_topics_request::CreatableTopicConfig::default()
        .with_name(text("cleanup.policy"))
        .with_value(Some(text("compact")));
    let assignment =
        create_topics_request::CreatableReplicaAssignment::default().with_broker_ids(vec![1.into(), 2.into()]);
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(text("topic").into())
        .with_configs(vec![config.clone(), config])
        .with_assignments(vec![assignment.clone(), assignment]);
    CreateTopicsRequest::default().with_topics(vec![topic.clone(), topic])
}

fn alter_client_quotas() -> AlterClientQuotasRequest {
    use alter_client_quotas_request::{EntityData, EntryData, OpData};
    let entity = EntityData::default().with_entity_type(text("user")).with_entity_name(Some(text("u")));
    let op = OpData::default().with_key(text("consumer_byte_rate")).with_value(1.5);
    let entry = EntryData::default().with_entity(vec![entity.clone(), entity]).with_ops(vec![op.clone(), op]);
    AlterClientQuotasRequest::default().with_entries(vec![entry.clone(), entry])
}

/// Produce requests behind four bytes of key and version.
pub fn produce() -> Vec<Vec<u8>> {
    use produce_request::{PartitionProduceData, TopicProduceData};
    let mut out = Vec::new();
    for version in 3..=13 {
        let partition = |n| {
            let records = (n != 1).then(|| Bytes::from(batches()[n as usize].clone()));
            PartitionProduceData::default().with_index(n).with_records(records)
        };
        let topic = TopicProduceData::default().with_partition_data(vec![partition(0), partition(1), partition(2)]);
        let topic = match version {
            13 => topic.with_topic_id(uuid::Uuid::from_bytes([9; 16])),
            _ => topic.with_name(text("topic").into()),
        };
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic.clone(), topic]);
        push(&mut out, &request, [version]);
    }
    out
}
