use super::*;
use crate::records::{ValidationLimits, validate_produced};

/// The batch of one record ("hello" -> "world") that the documentation of the kafka-protocol crate prints.
const GOLDEN: [u8; 79] = [
    0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x43, 0x0, 0x0, 0x0, 0x0, 0x2, 0x73, 0x6d, 0x29, 0x7b, 0x0,
    0x0, 0x0, 0x0, 0x0, 0x3, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x1, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0,
    0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x1, 0x22, 0x1, 0xd0, 0xf, 0x2, 0xa,
    0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa, 0x77, 0x6f, 0x72, 0x6c, 0x64, 0x0,
];

pub(in crate::records) fn valid() -> Vec<u8> {
    let header = BatchHeader {
        base_offset: Offset(0),
        batch_length: 49 + 14,
        leader_epoch: LeaderEpoch(-1),
        crc: 0,
        attributes: Attributes::default(),
        last_offset_delta: 1,
        base_timestamp: 1_000,
        max_timestamp: 1_001,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 2,
    };
    encode(header, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 2, 2, 1, 1, 0])
}

pub(in crate::records) fn encode(header: BatchHeader, body: &[u8]) -> Vec<u8> {
    let mut head = [0; HEADER_LEN];
    header.write(&mut head);
    let mut out = head.to_vec();
    out.extend_from_slice(body);
    write_crc(&mut out);
    out
}

#[test]
fn header_fields_are_read_from_golden_bytes() {
    let header = BatchHeader::parse(&GOLDEN).unwrap();
    assert_eq!(header.base_offset, Offset(0));
    assert_eq!(header.total_len(), 79);
    assert_eq!(header.crc, 0x736d_297b);
    assert_eq!(header.last_offset_delta, 3);
    assert_eq!(header.next_offset(), Offset(4));
    assert_eq!(header.record_count, 1);
    verify_crc(&GOLDEN).unwrap();
}

#[test]
fn header_survives_a_double_round_trip() {
    let header = BatchHeader::parse(&valid()).unwrap();
    let mut out = [0; HEADER_LEN];
    header.write(&mut out);
    assert_eq!(out[..], valid()[..HEADER_LEN]);
    assert_eq!(BatchHeader::parse(&out).unwrap(), header);
}

#[test]
fn every_truncation_is_an_error_and_no_panic() {
    let bytes = valid();
    for len in 0..bytes.len() {
        assert!(
            matches!(validate_produced(&bytes[..len], &ValidationLimits::default()), Err(BatchError::TooShort { .. })),
            "{len}"
        );
        assert_eq!(batches(&bytes[..len]).count(), 0);
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(increment_sequence(i32::MAX, 0), i32::MAX);
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 1, 5), 3);
    assert_eq!(increment_sequence(i32::MAX, i32::MAX), i32::MAX - 1);
    let mut header = BatchHeader::parse(&valid()).unwrap();
    assert_eq!(header.last_sequence(), -1);
    header.base_sequence = i32::MAX;
    assert_eq!(header.last_sequence(), 0);
}

#[test]
fn patching_offset_and_epoch_keeps_the_crc_valid() {
    let mut bytes = valid();
    patch_base_offset_and_epoch(&mut bytes, Offset(1 << 40), LeaderEpoch(9));
    verify_crc(&bytes).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(1 << 40), LeaderEpoch(9)));
    assert_eq!(header.last_offset(), Offset((1 << 40) + 1));
}

#[test]
fn log_append_time_changes_flag_timestamp_and_crc() {
    let mut bytes = valid();
    set_log_append_time(&mut bytes, Timestamp(77));
    verify_crc(&bytes).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, 77);
    assert_eq!(header.base_timestamp, 1_000);
    set_max_timestamp(&mut bytes, Timestamp(78));
    verify_crc(&bytes).unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().max_timestamp, 78);
}

#[test]
fn iteration_stops_at_a_partial_batch_and_reports_garbage() {
    let one = valid();
    let mut run = [one.clone(), one.clone(), one[..40].to_vec()].concat();
    let positions: Vec<usize> = batches(&run).map(|b| b.unwrap().position).collect();
    assert_eq!(positions, [0, one.len()]);
    run.truncate(2 * one.len());
    run.extend_from_slice(&[0xff; 100]);
    let mut all = batches(&run);
    assert!(all.next().unwrap().is_ok());
    assert!(all.next().unwrap().is_ok());
    assert_eq!(all.next().unwrap().unwrap_err(), BatchError::UnknownMagic { magic: -1 });
    assert!(all.next().is_none());
    assert_eq!(all.position(), 2 * one.len());
}
