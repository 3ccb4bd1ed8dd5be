//! Encodes a ShareFetchResponse around record bytes that are never copied.
//!
//! A test compares the joined parts with the protocol crate's encoder.
use bytes::{BufMut, Bytes};
use weir_protocol::ids::TopicId;

use super::{FetchedShare, ShareFetchAnswer};
use crate::api::fetch::encode::Parts;

/// The response body as parts to be written one after the other.
pub fn encode(answer: ShareFetchAnswer) -> Vec<Bytes> {
    let estimate: usize = answer.partitions.iter().map(|(_, p)| 64 + 15 * p.acquired.len()).sum();
    let mut out = Parts::flexible_body(32 + estimate);
    out.buf.put_i32(answer.throttle_time_ms);
    put_error(&mut out, answer.error);
    out.buf.put_i32(answer.lock_timeout_ms);
    let topics = by_topic(answer.partitions);
    out.array_len(topics.len());
    for (topic, partitions) in topics {
        out.buf.put_slice(topic.0.as_bytes());
        out.array_len(partitions.len());
        for (index, partition) in partitions {
            put_partition(&mut out, index, partition);
        }
        out.no_tags();
    }
    out.array_len(0); // node endpoints: told with NOT_LEADER_OR_FOLLOWER only, and we lead every partition
    out.no_tags();
    out.finish()
}

/// Each topic once, in the order in which they come.
fn by_topic(partitions: Vec<((TopicId, i32), FetchedShare)>) -> indexmap::IndexMap<TopicId, Vec<(i32, FetchedShare)>> {
    let mut topics = indexmap::IndexMap::new();
    for ((topic, index), partition) in partitions {
        topics.entry(topic).or_insert_with(Vec::new).push((index, partition));
    }
    topics
}

fn put_error(out: &mut Parts, error: Option<(i16, String)>) {
    match error {
        None => {
            out.buf.put_i16(0);
            out.varint(0);
        }
        Some((code, message)) => {
            out.buf.put_i16(code);
            out.varint(message.len() as u32 + 1);
            out.buf.put_slice(message.as_bytes());
        }
    }
}

fn put_partition(out: &mut Parts, index: i32, partition: FetchedShare) {
    out.buf.put_i32(index);
    put_error(out, partition.error);
    put_error(out, partition.acknowledge_error);
    // The current leader, which counts with NOT_LEADER_OR_FOLLOWER only.
    out.buf.put_i32(0);
    out.buf.put_i32(0);
    out.no_tags();
    out.records(partition.records);
    out.array_len(partition.acquired.len());
    for acquired in partition.acquired {
        out.buf.put_i64(acquired.first);
        out.buf.put_i64(acquired.last);
        out.buf.put_i16(acquired.deliveries);
        out.no_tags();
    }
    out.no_tags();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::share_fetch::VERSIONS;
    use crate::api::wire;
    use crate::share::partition::Acquired;
    use bytes::BytesMut;
    use kafka_protocol::messages::ShareFetchResponse;
    use kafka_protocol::messages::share_fetch_response::{AcquiredRecords, PartitionData, ShareFetchableTopicResponse};
    use kafka_protocol::protocol::Encodable;
    use uuid::Uuid;

    #[test]
    fn parts_are_what_the_protocol_crate_writes() {
        let topic = TopicId(Uuid::from_u128(7));
        let acquired = vec![Acquired { first: 3, last: 9, deliveries: 2 }];
        let records = vec![Bytes::from_static(b"head"), Bytes::from_static(b"body")];
        let answer = ShareFetchAnswer {
            throttle_time_ms: 5,
            error: None,
            lock_timeout_ms: 30_000,
            partitions: vec![
                ((topic, 1), FetchedShare { records, acquired, ..FetchedShare::default() }),
                (
                    (topic, 2),
                    FetchedShare {
                        error: Some((3, "gone".to_owned())),
                        acknowledge_error: Some((121, "not yours".to_owned())),
                        ..FetchedShare::default()
                    },
                ),
            ],
        };
        let expected = ShareFetchResponse::default()
            .with_throttle_time_ms(5)
            .with_error_message(None)
            .with_acquisition_lock_timeout_ms(30_000)
            .with_responses(vec![ShareFetchableTopicResponse::default().with_topic_id(topic.0).with_partitions(vec![
                PartitionData::default()
                    .with_partition_index(1)
                    .with_error_message(None)
                    .with_acknowledge_error_message(None)
                    .with_records(Some(Bytes::from_static(b"headbody")))
                    .with_acquired_records(vec![
                        AcquiredRecords::default().with_first_offset(3).with_last_offset(9).with_delivery_count(2),
                    ]),
                PartitionData::default()
                    .with_partition_index(2)
                    .with_error_code(3)
                    .with_error_message(Some(wire("gone")))
                    .with_acknowledge_error_code(121)
                    .with_acknowledge_error_message(Some(wire("not yours")))
                    .with_records(Some(Bytes::new())),
            ])]);
        let mut bytes = BytesMut::new();
        expected.encode(&mut bytes, VERSIONS.max).unwrap();
        assert_eq!(encode(answer).concat(), bytes);

        let refused = ShareFetchAnswer { error: Some((122, "none".to_owned())), ..ShareFetchAnswer::default() };
        let expected = ShareFetchResponse::default().with_error_code(122).with_error_message(Some(wire("none")));
        let mut bytes = BytesMut::new();
        expected.encode(&mut bytes, VERSIONS.max).unwrap();
        assert_eq!(encode(refused).concat(), bytes);
    }
}
