use super::super::session::PartitionRef;
use super::*;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchResponse, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;
use weir_protocol::ids::{Offset, ProducerId};

use crate::api::fetch::VERSIONS;
use crate::broker::Advertised;

fn joined(parts: &[Bytes]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.iter().copied()).collect()
}

fn topic(version: i16, n: u8) -> TopicRef {
    if version >= 13 { TopicRef::Id(Uuid::from_bytes([n; 16])) } else { TopicRef::name(&format!("topic-{n}")) }
}

fn partition(topic: TopicRef, partition: i32, records: &[&'static [u8]]) -> FetchedPartition {
    FetchedPartition {
        high_watermark: 1000 + i64::from(partition),
        last_stable: 900,
        log_start: 7,
        records: records.iter().map(|chunk| Bytes::from_static(chunk)).collect(),
        ..FetchedPartition::new(PartitionRef { topic, partition })
    }
}

/// Every shape a partition can have: data in several chunks, none, an error, aborted transactions, a diverging epoch.
fn answer(version: i16) -> FetchAnswer {
    let mut aborted = partition(topic(version, 1), 2, &[b"x"]);
    aborted.aborted = Some(vec![
        weir_storage::log::AbortedTransaction { producer_id: ProducerId(9), first_offset: Offset(3) },
        weir_storage::log::AbortedTransaction { producer_id: ProducerId(10), first_offset: Offset(30) },
    ]);
    let mut none_aborted = partition(topic(version, 2), 0, &[]);
    none_aborted.aborted = Some(Vec::new());
    let mut failed = FetchedPartition::new(PartitionRef { topic: topic(version, 2), partition: 5 });
    failed.error_code = 3;
    let mut fenced = FetchedPartition::new(PartitionRef { topic: topic(version, 2), partition: 6 });
    fenced.error_code = 74;
    let mut diverging = partition(topic(version, 1), 0, &[]);
    diverging.diverging = (version >= 12).then_some((4, 77));
    FetchAnswer {
        throttle_time_ms: 12,
        error_code: 0,
        session_id: if version >= 7 { 4711 } else { 0 },
        partitions: vec![
            partition(topic(version, 1), 0, &[b"0123456789", b"", b"abc"]),
            partition(topic(version, 1), 1, &[]),
            aborted,
            none_aborted,
            failed,
            fenced,
            diverging, // topic 1 again, not next to its other partitions
        ],
        leader: leader(),
    }
}

fn leader() -> Leader {
    Leader { node_id: 3, epoch: 12, address: Advertised { host: "weir.example".to_owned(), port: 9092 } }
}

/// The same answer through the protocol crate's structs.
fn reference(version: i16, answer: &FetchAnswer) -> FetchResponse {
    let mut endpoints = Vec::new();
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for p in &answer.partitions {
        let mut entry = FetchableTopicResponse::default();
        match &p.key.topic {
            TopicRef::Name(name) => entry.topic = TopicName(StrBytes::from_string(name.to_string())),
            TopicRef::Id(id) => entry.topic_id = *id,
        }
        let data = PartitionData::default()
            .with_partition_index(p.key.partition)
            .with_error_code(p.error_code)
            .with_high_watermark(p.high_watermark)
            .with_last_stable_offset(p.last_stable)
            .with_log_start_offset(p.log_start)
            .with_preferred_read_replica((-1).into())
            .with_diverging_epoch(p.diverging.map_or_else(EpochEndOffset::default, |(epoch, end)| {
                EpochEndOffset::default().with_epoch(epoch).with_end_offset(end)
            }))
            .with_aborted_transactions(p.aborted.as_ref().map(|list| {
                list.iter()
                    .map(|a| {
                        AbortedTransaction::default()
                            .with_producer_id(a.producer_id.0.into())
                            .with_first_offset(a.first_offset.0)
                    })
                    .collect()
            }))
            .with_records(Some(Bytes::from(joined(&p.records))));
        let data = if version >= 16 && p.error_code == 74 {
            endpoints = vec![
                NodeEndpoint::default()
                    .with_node_id(BrokerId(3))
                    .with_host(StrBytes::from_static_str("weir.example"))
                    .with_port(9092),
            ];
            data.with_current_leader(LeaderIdAndEpoch::default().with_leader_id(BrokerId(3)).with_leader_epoch(12))
        } else {
            data
        };
        match topics.last_mut() {
            Some(last) if last.topic == entry.topic && last.topic_id == entry.topic_id => last.partitions.push(data),
            _ => topics.push(entry.with_partitions(vec![data])),
        }
    }
    FetchResponse::default()
        .with_throttle_time_ms(answer.throttle_time_ms)
        .with_error_code(answer.error_code)
        .with_session_id(answer.session_id)
        .with_responses(topics)
        .with_node_endpoints(endpoints)
}

#[test]
fn parts_equal_the_crates_encoding_in_every_version() {
    for version in VERSIONS.min..=VERSIONS.max {
        let answer = answer(version);
        let mut expected = BytesMut::new();
        reference(version, &answer).encode(&mut expected, version).unwrap();
        assert_eq!(joined(&encode(version, answer)), expected.to_vec(), "version {version}");
    }
}

#[test]
fn answer_without_partitions_equals_the_crates_encoding() {
    for version in VERSIONS.min..=VERSIONS.max {
        let answer =
            FetchAnswer { throttle_time_ms: 0, error_code: 0, session_id: 0, partitions: Vec::new(), leader: leader() };
        let mut expected = BytesMut::new();
        reference(version, &answer).encode(&mut expected, version).unwrap();
        assert_eq!(joined(&encode(version, answer)), expected.to_vec(), "version {version}");
    }
}

#[test]
fn record_chunks_are_passed_on_without_a_copy() {
    let chunk = Bytes::from(vec![7u8; 4096]);
    let address = chunk.as_ptr();
    let mut p = partition(topic(12, 1), 0, &[]);
    p.records = vec![chunk];
    let answer =
        FetchAnswer { throttle_time_ms: 0, error_code: 0, session_id: 0, partitions: vec![p], leader: leader() };
    let parts = encode(12, answer);
    assert!(parts.iter().any(|part| part.as_ptr() == address), "the very same memory is among the parts");
    assert_eq!(parts.len(), 3);
}

#[test]
fn long_lengths_take_several_varint_bytes() {
    let mut p = partition(topic(12, 1), 0, &[]);
    p.records = vec![Bytes::from(vec![0u8; 300_000])];
    let answer =
        FetchAnswer { throttle_time_ms: 0, error_code: 0, session_id: 0, partitions: vec![p], leader: leader() };
    let mut expected = BytesMut::new();
    reference(12, &answer).encode(&mut expected, 12).unwrap();
    assert_eq!(joined(&encode(12, answer)), expected.to_vec());
}
