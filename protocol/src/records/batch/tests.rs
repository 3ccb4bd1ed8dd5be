use super::*;

/// The batch of one record ("hello" -> "world") that the documentation of the kafka-protocol crate prints.
const GOLDEN: [u8; 79] = [
    0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x43, 0x0, 0x0, 0x0, 0x0, 0x2, 0x73, 0x6d, 0x29, 0x7b, 0x0,
    0x0, 0x0, 0x0, 0x0, 0x3, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x1, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0,
    0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x1, 0x22, 0x1, 0xd0, 0xf, 0x2, 0xa,
    0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa, 0x77, 0x6f, 0x72, 0x6c, 0x64, 0x0,
];

fn valid() -> Vec<u8> {
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

fn encode(header: BatchHeader, body: &[u8]) -> Vec<u8> {
    let mut head = [0; HEADER_LEN];
    header.write(&mut head);
    let mut out = head.to_vec();
    out.extend_from_slice(body);
    write_crc(&mut out);
    out
}

fn altered(change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let bytes = valid();
    let mut header = BatchHeader::parse(&bytes).unwrap();
    change(&mut header);
    encode(header, &bytes[HEADER_LEN..])
}

fn check(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    validate_produced(bytes, &ValidationLimits::default())
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
fn a_sound_batch_is_accepted() {
    assert_eq!(check(&valid()).unwrap().record_count, 2);
}

#[test]
fn every_truncation_is_an_error_and_no_panic() {
    let bytes = valid();
    for len in 0..bytes.len() {
        assert!(matches!(check(&bytes[..len]), Err(BatchError::TooShort { .. })), "{len}");
        assert_eq!(batches(&bytes[..len]).count(), 0);
    }
}

#[test]
fn each_flipped_bit_that_the_crc_covers_is_noticed() {
    let bytes = valid();
    for bit in MAGIC_AT * 8..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&bad).is_err(), "bit {bit}");
    }
}

#[test]
fn old_message_formats_are_named() {
    for magic in [0u8, 1] {
        let mut bytes = vec![0; 26];
        bytes[MAGIC_AT] = magic;
        assert_eq!(check(&bytes), Err(BatchError::OldMagic { magic: magic as i8 }));
    }
    let mut bytes = valid();
    bytes[MAGIC_AT] = 3;
    assert_eq!(check(&bytes), Err(BatchError::UnknownMagic { magic: 3 }));
}

#[test]
fn lengths_must_match_the_bytes_exactly() {
    let mut two = valid();
    two.extend_from_slice(&valid());
    assert_eq!(check(&two), Err(BatchError::TrailingBytes { bytes: valid().len() }));
    for batch_length in [i32::MIN, -1, 0, 48] {
        assert_eq!(check(&altered(|h| h.batch_length = batch_length)), Err(BatchError::BadLength { batch_length }));
    }
    assert!(matches!(check(&altered(|h| h.batch_length = i32::MAX)), Err(BatchError::TooShort { .. })));
    let limits = ValidationLimits { max_batch_bytes: 74, ..ValidationLimits::default() };
    assert_eq!(validate_produced(&valid(), &limits), Err(BatchError::TooLarge { bytes: 75, limit: 74 }));
}

#[test]
fn counts_must_fit_offsets_and_bytes() {
    for (record_count, last_offset_delta) in
        [(0, 0), (0, -1), (1, 1), (3, 2), (-1, 1), (2, -1), (i32::MAX, i32::MAX - 1)]
    {
        let bad = altered(|h| (h.record_count, h.last_offset_delta) = (record_count, last_offset_delta));
        assert!(matches!(check(&bad), Err(BatchError::CountMismatch { .. })), "{record_count} {last_offset_delta}");
    }
    let compressed = altered(|h| {
        h.attributes = Attributes::new(Compression::Zstd);
        (h.record_count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1);
    });
    assert!(matches!(check(&compressed), Err(BatchError::CountMismatch { .. })));
}

#[test]
fn flags_that_clients_may_not_set_are_refused() {
    let with = |attributes| check(&altered(|h| h.attributes = attributes));
    let plain = Attributes::default();
    assert_eq!(with(plain.with_control(true)), Err(BatchError::ControlBatch));
    let stamped = with(plain.with_timestamp_type(TimestampType::LogAppendTime));
    assert_eq!(stamped, Err(BatchError::BrokerOnlyAttributes { attributes: 8 }));
    assert_eq!(with(Attributes(0x40)), Err(BatchError::BrokerOnlyAttributes { attributes: 0x40 }));
    assert_eq!(with(Attributes(5)), Err(BatchError::UnknownCompression { codec: 5 }));
}

#[test]
fn producer_fields_must_agree() {
    let with = |id, epoch, sequence, transactional| {
        check(&altered(|h| {
            (h.producer_id, h.producer_epoch, h.base_sequence) = (id, epoch, sequence);
            h.attributes = h.attributes.with_transactional(transactional);
        }))
        .is_ok()
    };
    assert!(with(7, 0, 0, false));
    assert!(with(7, 0, i32::MAX, true));
    assert!(with(-1, 0, 0, false), "what sarama and kafkajs send");
    assert!(!with(-1, -1, -1, true));
    assert!(!with(7, -1, 0, false));
    assert!(!with(7, 0, -1, false));
    assert!(!with(-2, 0, 0, false));
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
    let header = check(&bytes).unwrap();
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
