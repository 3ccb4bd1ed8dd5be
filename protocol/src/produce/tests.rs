use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::protocol::{Encodable, StrBytes};
use uuid::Uuid;

use super::*;

const PREFIX: usize = 11;

fn request(version: i16) -> ProduceRequest {
    let partition = |index, records: Option<&'static [u8]>| {
        let data = PartitionProduceData::default().with_index(index).with_records(records.map(Bytes::from_static));
        if version >= 9 { data.with_unknown_tagged_field(3, Bytes::from_static(b"?")) } else { data }
    };
    let topic = |n: u8, partitions| {
        let topic = TopicProduceData::default().with_partition_data(partitions);
        if version >= 13 {
            topic.with_topic_id(Uuid::from_bytes([n; 16]))
        } else {
            topic.with_name(StrBytes::from_string(format!("topic-{n}")).into())
        }
    };
    ProduceRequest::default()
        .with_transactional_id(Some(StrBytes::from_static_str("tx").into()))
        .with_acks(-1)
        .with_timeout_ms(1500)
        .with_topic_data(vec![
            topic(1, vec![partition(0, Some(b"first batch")), partition(7, None), partition(2, Some(b""))]),
            topic(2, vec![partition(1, Some(b"another batch"))]),
            topic(3, vec![]),
        ])
}

/// A frame with something in place of the request header.
fn frame(version: i16) -> BytesMut {
    let mut out = BytesMut::from(&[0xee; PREFIX][..]);
    request(version).encode(&mut out, version).unwrap();
    out
}

fn split(frame: BytesMut, version: i16) -> Result<ProduceFrame, WireError> {
    split_produce(frame, PREFIX, version, &GuardLimits::default())
}

#[test]
fn every_version_is_split_as_the_protocol_crate_wrote_it() {
    for version in PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1 {
        let produce = split(frame(version), version).unwrap();
        assert_eq!(produce.transactional_id.as_deref(), Some("tx"));
        assert_eq!((produce.acks, produce.timeout_ms), (Acks::All, 1500));
        let names: Vec<_> = produce.topics.iter().map(|t| t.topic.clone()).collect();
        let expected = [1u8, 2, 3].map(|n| match version {
            13 => TopicRef::Id(TopicId(Uuid::from_bytes([n; 16]))),
            _ => TopicRef::Name(format!("topic-{n}")),
        });
        assert_eq!(names, expected, "version {version}");
        let partitions: Vec<Vec<_>> = produce
            .topics
            .iter()
            .map(|t| t.partitions.iter().map(|p| (p.index.0, p.records.as_deref())).collect())
            .collect();
        let first: Vec<(i32, Option<&[u8]>)> = vec![(0, Some(b"first batch")), (7, None), (2, Some(b""))];
        assert_eq!(partitions, [first, vec![(1, Some(&b"another batch"[..]))], vec![]]);
    }
}

#[test]
fn records_stay_where_they_were_in_the_frame_and_are_writable_apart() {
    for version in [3, 12, 13] {
        let frame = frame(version);
        let (start, end) = (frame.as_ptr() as usize, frame.as_ptr() as usize + frame.len());
        let mut produce = split(frame, version).unwrap();
        for partition in produce.topics.iter_mut().flat_map(|t| &mut t.partitions) {
            let Some(records) = partition.records.as_mut().filter(|r| !r.is_empty()) else { continue };
            let at = records.as_ptr() as usize;
            assert!(start <= at && at + records.len() <= end, "records were copied");
            records[0] = b'#';
        }
        let first = produce.topics[0].partitions[0].records.as_deref().unwrap();
        assert_eq!(first, b"#irst batch");
        assert_eq!(produce.topics[1].partitions[0].records.as_deref().unwrap(), b"#nother batch");
    }
}

#[test]
fn truncations_trailing_bytes_and_corruptions_are_errors_and_no_panic() {
    for version in PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1 {
        let whole = frame(version);
        for len in 0..whole.len() {
            assert!(split(BytesMut::from(&whole[..len]), version).is_err(), "version {version} cut at {len}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert_eq!(split(BytesMut::from(&longer[..]), version).unwrap_err(), WireError::TrailingBytes { bytes: 1 });
        for at in PREFIX..whole.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut bad = whole.clone();
                bad[at] = value;
                let _ = split(bad, version);
            }
        }
    }
}

#[test]
fn the_element_budget_covers_topics_and_partitions_together() {
    let limits = |max_elements| GuardLimits { max_elements };
    assert!(split_produce(frame(9), PREFIX, 9, &limits(7)).is_ok());
    let error = split_produce(frame(9), PREFIX, 9, &limits(6)).unwrap_err();
    assert_eq!(error, WireError::TooManyElements { field: "partition_data", limit: 6 });
}

#[test]
fn null_arrays_and_bad_names_are_refused() {
    let null_topics = [&[0xee; PREFIX][..], &[0, 0, 1, 0, 0, 0, 9, 0, 0]].concat();
    let error = split(BytesMut::from(&null_topics[..]), 9).unwrap_err();
    assert_eq!(error, WireError::Null { field: "topic_data" });
    let bad_name = [&[0xee; PREFIX][..], &[0, 0, 1, 0, 0, 0, 9, 2, 2, 0xff, 1, 0, 0]].concat();
    assert_eq!(split(BytesMut::from(&bad_name[..]), 9).unwrap_err(), WireError::NotUtf8 { field: "name" });
    assert_eq!(Acks::from(2), Acks::Invalid(2));
}
