use kafka_protocol::records as kp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::records::{
    DecompressLimits, ValidationLimits, decode, decompress, patch_base_offset_and_epoch, validate_produced,
    walk_records,
};

#[derive(Clone, Debug)]
struct Row {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: i64,
}

fn row() -> impl Strategy<Value = Row> {
    let bytes = || option::of(vec(any::<u8>(), 0..60));
    (bytes(), bytes(), vec(("[a-c]{0,2}", bytes()), 0..4), -1i64..2_000_000_000_000)
        .prop_map(|(key, value, headers, timestamp)| Row { key, value, headers, timestamp })
}

fn codec() -> impl Strategy<Value = Compression> {
    (0usize..5).prop_map(|i| Compression::ALL[i])
}

fn build(rows: &[Row], codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(77))
        .leader_epoch(LeaderEpoch(5))
        .producer(ProducerId(12), ProducerEpoch(3), 1000)
        .compression(codec, None);
    for row in rows {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            row.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())).collect();
        builder.append(row.key.as_deref(), row.value.as_deref(), &headers, Timestamp(row.timestamp)).unwrap();
    }
    builder.build().unwrap()
}

fn read(bytes: &[u8]) -> Vec<Row> {
    let batch = decode(bytes, &DecompressLimits::default()).unwrap();
    batch
        .records()
        .map(|record| {
            let record = record.unwrap();
            let header = |h: crate::records::Header<'_>| {
                (String::from_utf8(h.key.to_vec()).unwrap(), h.value.map(<[u8]>::to_vec))
            };
            Row {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(header).collect(),
                timestamp: record.timestamp(&batch.header).0,
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn built_batches_survive_a_double_round_trip(rows in vec(row(), 1..12), codec in codec()) {
        let bytes = build(&rows, codec);
        // A producer's base offset is 0; the broker gives the real one.
        let mut produced = bytes.to_vec();
        patch_base_offset_and_epoch(&mut produced, Offset(0), LeaderEpoch(-1));
        let header = validate_produced(&produced, &ValidationLimits::default()).unwrap();
        prop_assert_eq!(header.record_count as usize, rows.len());
        let back = read(&bytes);
        prop_assert_eq!(format!("{back:?}"), format!("{rows:?}"));
        prop_assert_eq!(build(&back, codec), bytes);
    }

    #[test]
    fn the_protocol_crate_reads_what_we_build(rows in vec(row(), 1..12), codec in codec()) {
        let mut bytes = build(&rows, codec);
        let open = |packed: &mut Bytes, theirs: kp::Compression| {
            let ours = Compression::from_code(theirs as u8).unwrap();
            Ok(Bytes::from(decompress(ours, packed, &DecompressLimits::default())?))
        };
        let set = kp::RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(open)).unwrap();
        prop_assert_eq!(set.records.len(), rows.len());
        for (i, (theirs, row)) in set.records.iter().zip(&rows).enumerate() {
            prop_assert_eq!(theirs.key.as_deref(), row.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), row.value.as_deref());
            prop_assert_eq!(theirs.timestamp, row.timestamp);
            prop_assert_eq!(theirs.offset, 77 + i as i64);
            prop_assert_eq!(theirs.sequence, 1000 + i as i32);
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch), (12, 3));
            // Their map keeps the last of duplicate keys.
            for (key, value) in &theirs.headers {
                let last = row.headers.iter().rev().find(|(k, _)| k.as_bytes() == key.as_bytes()).unwrap();
                prop_assert_eq!(value.as_deref(), last.1.as_deref());
            }
        }
    }

    #[test]
    fn a_walk_agrees_with_the_rows(rows in vec(row(), 1..12), codec in codec()) {
        let summary = walk_records(&build(&rows, codec), &DecompressLimits::default()).unwrap();
        prop_assert_eq!(summary.records, rows.len());
        prop_assert_eq!(summary.max_timestamp.0, rows.iter().map(|r| r.timestamp).max().unwrap());
        prop_assert_eq!(summary.min_timestamp.0, rows.iter().map(|r| r.timestamp).min().unwrap());
        let first_max = rows.iter().position(|r| r.timestamp == summary.max_timestamp.0).unwrap();
        prop_assert_eq!(summary.max_timestamp_offset_delta as usize, first_max);
        prop_assert_eq!(summary.first_null_key, rows.iter().position(|r| r.key.is_none()));
    }
}

#[test]
fn a_batch_without_records_is_refused() {
    assert_eq!(BatchBuilder::new().build(), Err(BuildError::Empty));
}

#[test]
fn gaps_are_kept_and_going_back_is_refused() {
    let mut builder = BatchBuilder::new();
    builder.append_at(3, None, None, &[], Timestamp(5)).unwrap();
    let error = builder.append_at(3, None, None, &[], Timestamp(5)).unwrap_err();
    assert!(matches!(error, BuildError::Record(RecordError::OffsetDelta { index: 1, offset_delta: 3, .. })));
    builder.append(None, None, &[], Timestamp(5)).unwrap();
    let bytes = builder.build().unwrap();
    let batch = decode(&bytes, &DecompressLimits::default()).unwrap();
    assert_eq!(batch.header.last_offset_delta, 4);
    let deltas: Vec<i32> = batch.records().map(|r| r.unwrap().offset_delta).collect();
    assert_eq!(deltas, [3, 4]);
}

#[test]
fn log_append_time_is_what_every_record_reports() {
    let mut builder = BatchBuilder::new().log_append_time(Timestamp(500));
    builder.append(None, Some(b"a"), &[], Timestamp(900)).unwrap();
    builder.append(None, Some(b"b"), &[], Timestamp(901)).unwrap();
    let bytes = builder.build().unwrap();
    let summary = walk_records(&bytes, &DecompressLimits::default()).unwrap();
    assert_eq!((summary.min_timestamp, summary.max_timestamp), (Timestamp(500), Timestamp(500)));
    assert_eq!(summary.max_timestamp_offset_delta, 0);
}
