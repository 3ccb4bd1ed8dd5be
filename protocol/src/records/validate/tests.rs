use super::*;
use crate::records::batch::tests::{encode, valid};
use crate::records::batch::{Attributes, CRC_COVERS_FROM, HEADER_LEN, MAGIC_AT, write_crc};

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
fn a_sound_batch_is_accepted() {
    assert_eq!(check(&valid()).unwrap().record_count, 2);
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
    assert_eq!(with(Attributes::from_bits(0x40).unwrap()), Err(BatchError::BrokerOnlyAttributes { attributes: 0x40 }));
    let mut unknown_codec = valid();
    unknown_codec[CRC_COVERS_FROM + 1] = 5;
    write_crc(&mut unknown_codec);
    assert_eq!(check(&unknown_codec), Err(BatchError::UnknownCompression { codec: 5 }));
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
