use bytes::{Bytes, BytesMut};
use weir_protocol::records::{BatchBuilder, Compression, EndTxnMarker, HEADER_LEN, filler_batch};
use weir_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::*;

fn data(from: i64, batches: &[Bytes], aborted: &[(i64, i64)]) -> FetchedData {
    let mut bytes = BytesMut::new();
    batches.iter().for_each(|batch| bytes.extend_from_slice(batch));
    let aborted = aborted.iter().map(|&(producer_id, first_offset)| Aborted { producer_id, first_offset });
    FetchedData {
        topic: "t".into(),
        partition: 0,
        from,
        bytes: bytes.freeze(),
        aborted: aborted.collect(),
        columnar: None,
    }
}

fn options(isolation: Isolation) -> DecodeOptions {
    DecodeOptions { isolation, check_crcs: true, limits: DecompressLimits::default() }
}

fn batch(base: i64, values: &[&str], codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new().base_offset(Offset(base)).compression(codec, None);
    for value in values {
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"1")), (b"h", None)];
        builder.append(Some(b"key"), Some(value.as_bytes()), &headers, Timestamp(1000 + base)).unwrap();
    }
    builder.build().unwrap()
}

fn transactional(base: i64, producer: i64, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(base))
        .producer(ProducerId(producer), ProducerEpoch(0), 0)
        .transactional();
    builder.append(None, Some(value.as_bytes()), &[], Timestamp(1)).unwrap();
    builder.build().unwrap()
}

fn marker(base: i64, producer: i64, control_type: ControlType) -> Bytes {
    let marker = EndTxnMarker {
        control_type,
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(0),
        coordinator_epoch: 0,
        timestamp: Timestamp(1),
    };
    let mut bytes = BytesMut::from(&marker.to_batch().unwrap()[..]);
    weir_protocol::records::patch_base_offset_and_epoch(&mut bytes, Offset(base), LeaderEpoch(0));
    bytes.freeze()
}

fn values(data: &FetchedData, isolation: Isolation) -> Vec<(i64, String)> {
    let records = decode_records(data, &options(isolation)).unwrap();
    let value = |record: ConsumerRecord| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
    records.into_iter().map(|record| (record.offset, value(record))).collect()
}

fn owned(values: &[(i64, &str)]) -> Vec<(i64, String)> {
    values.iter().map(|&(offset, value)| (offset, value.to_owned())).collect()
}

#[test]
fn every_codec_yields_the_same_records_and_earlier_ones_are_skipped() {
    for codec in Compression::ALL {
        let data = data(11, &[batch(10, &["a", "b", "c"], codec), batch(13, &["d"], codec)], &[]);
        assert_eq!(values(&data, Isolation::ReadUncommitted), owned(&[(11, "b"), (12, "c"), (13, "d")]), "{codec:?}");
        assert_eq!(offset_after(&data).unwrap(), 14);
        let record = decode_records(&data, &options(Isolation::ReadUncommitted)).unwrap().remove(0);
        assert_eq!((record.timestamp_ms, record.key.as_deref()), (1010, Some(&b"key"[..])));
        let headers: Vec<_> = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref())).collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"h", None)]);
    }
}

#[test]
fn a_batch_cut_off_at_the_end_is_left_for_the_next_fetch() {
    let whole = batch(0, &["a"], Compression::None);
    let cut = batch(1, &["b"], Compression::None).slice(..HEADER_LEN);
    let data = data(0, &[whole, cut], &[]);
    assert_eq!(values(&data, Isolation::ReadUncommitted), owned(&[(0, "a")]));
    assert_eq!(offset_after(&data).unwrap(), 1);
}

#[test]
fn a_flipped_bit_is_reported_with_its_offset_and_never_returned() {
    let mut broken = batch(5, &["a"], Compression::None).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let data = data(5, &[Bytes::from(broken)], &[]);
    let error = decode_records(&data, &options(Isolation::ReadUncommitted)).unwrap_err();
    assert!(matches!(&error, ClientError::CorruptBatch { offset: 5, .. }), "{error}");
}

#[test]
fn fillers_and_markers_move_the_position_and_are_not_returned() {
    let filler = filler_batch(Offset(9), LeaderEpoch(0), Timestamp(1)).unwrap();
    let data = data(0, &[filler], &[]);
    assert!(values(&data, Isolation::ReadUncommitted).is_empty());
    assert_eq!(offset_after(&data).unwrap(), 10);
}

#[test]
fn aborted_data_is_hidden_until_its_marker_and_only_from_committed_readers() {
    let data = data(
        0,
        &[
            transactional(0, 7, "void"),
            transactional(1, 8, "other"),
            batch(2, &["plain"], Compression::None),
            marker(3, 7, ControlType::Abort),
            transactional(4, 7, "kept"),
            marker(5, 7, ControlType::Commit),
        ],
        &[(7, 0)],
    );
    let committed = [(1, "other"), (2, "plain"), (4, "kept")];
    assert_eq!(values(&data, Isolation::ReadCommitted), owned(&committed));
    let all = [(0, "void"), (1, "other"), (2, "plain"), (4, "kept")];
    assert_eq!(values(&data, Isolation::ReadUncommitted), owned(&all));
}
