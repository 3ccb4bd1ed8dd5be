use super::*;
use weir_protocol::records::BatchBuilder;

use crate::error_code::KafkaError;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const HOUR_MS: i64 = 3_600_000;

fn rules() -> Rules {
    Rules {
        max_batch_bytes: 1 << 20,
        compression: None,
        keys_required: false,
        log_append_time: false,
        before_max_ms: None,
        decompress: DecompressLimits::default(),
        after_max_ms: Some(HOUR_MS),
    }
}

/// A batch of records (key, timestamp).
fn batch(codec: Compression, records: &[(Option<&str>, i64)]) -> BytesMut {
    let mut builder = BatchBuilder::new().compression(codec, None);
    for (key, timestamp) in records {
        builder.append(key.map(str::as_bytes), Some(b"value"), &[], Timestamp(*timestamp)).unwrap();
    }
    BytesMut::from(builder.build().unwrap())
}

/// Both steps, as a produce does them.
fn validate(version: i16, mut bytes: BytesMut, rules: &Rules) -> Result<(BytesMut, BatchHeader), ValidateError> {
    let (header, _) = shallow(version, &bytes, rules)?;
    let header = deep(&mut bytes, header, rules, NOW, |_, _, _| {})?;
    Ok((bytes, header))
}

#[test]
fn sound_batches_of_every_codec_pass_untouched() {
    for codec in Compression::ALL {
        let bytes = batch(codec, &[(Some("k"), NOW.0), (None, NOW.0 - 5)]);
        let (out, header) = validate(9, bytes.clone(), &rules()).unwrap();
        assert_eq!(out, bytes, "{codec:?}");
        assert_eq!(header.record_count, 2);
    }
}

#[test]
fn only_large_compressed_batches_leave_the_connections_thread() {
    let value = "x".repeat(4 * SMALL_BATCH_BYTES);
    let plain = batch(Compression::None, &[(Some(&value), 17)]);
    let small = batch(Compression::Lz4, &[(Some("k"), 17)]);
    let large = {
        let keys: Vec<String> = (0..2000u64).map(|i| format!("{:x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        let records: Vec<(Option<&str>, i64)> = keys.iter().map(|key| (Some(key.as_str()), 17)).collect();
        batch(Compression::Lz4, &records)
    };
    let depth_of = |bytes: &BytesMut, rules: Rules| shallow(9, bytes, &rules).unwrap().1;
    assert_eq!(depth_of(&plain, rules()), Depth::Here);
    assert_eq!(depth_of(&small, rules()), Depth::Here);
    assert_eq!(depth_of(&large, rules()), Depth::Costly);
    assert_eq!(depth_of(&small, Rules { compression: Some((Compression::Lz4, None)), ..rules() }), Depth::Here);
    assert_eq!(depth_of(&small, Rules { compression: Some((Compression::Zstd, Some(3))), ..rules() }), Depth::Costly);
}

/// The differential test showed them accepted while compressed batches were appended unopened.
#[test]
fn compressed_bytes_that_are_no_records_are_refused_although_the_crc_is_right() {
    for codec in Compression::ALL.into_iter().filter(|codec| *codec != Compression::None) {
        let mut garbage = batch(Compression::None, &[(Some("k"), NOW.0), (None, NOW.0)]);
        garbage[22] |= codec.code(); // the low byte of the attributes
        set_max_timestamp(&mut garbage, NOW); // writes a fresh CRC
        let error = validate(9, garbage, &rules()).unwrap_err();
        assert_eq!(error.error_code(), crate::error_code::ErrorCode::InvalidRecord, "{codec:?}: {error}");
        // Sound compression around one record too few.
        let mut short = batch(codec, &[(Some("k"), NOW.0), (None, NOW.0)]);
        short[60] = 3; // the count's last byte
        short[26] = 2; // the last offset delta's
        set_max_timestamp(&mut short, NOW);
        let error = validate(9, short, &rules()).unwrap_err();
        assert_eq!(error.error_code(), crate::error_code::ErrorCode::InvalidRecord, "{codec:?}: {error}");
    }
}

#[test]
fn record_without_key_is_named_on_a_compacted_topic() {
    for codec in [Compression::None, Compression::Zstd] {
        let bytes = batch(codec, &[(Some("a"), NOW.0), (None, NOW.0), (Some("c"), NOW.0), (None, NOW.0)]);
        let error = validate(9, bytes, &Rules { keys_required: true, ..rules() }).unwrap_err();
        let indexes: Vec<i32> = error.refused().iter().map(|r| r.index).collect();
        assert_eq!(indexes, [1, 3], "{codec:?}");
        assert!(matches!(error, ValidateError::NullKeys { .. }));
    }
}

#[test]
fn timestamps_beyond_the_bounds_are_named() {
    let bytes = batch(Compression::Gzip, &[(None, NOW.0 - 100), (None, NOW.0), (None, NOW.0 + 100), (None, -1)]);
    let bounds = Rules { before_max_ms: Some(99), after_max_ms: Some(99), ..rules() };
    let error = validate(9, bytes.clone(), &bounds).unwrap_err();
    assert!(matches!(error, ValidateError::Timestamps { .. }));
    let indexes: Vec<i32> = error.refused().iter().map(|r| r.index).collect();
    assert_eq!(indexes, [0, 2], "-1 means no timestamp and passes");
    assert!(error.refused()[1].reason.contains("message.timestamp.after.max.ms"));
    let wide = Rules { before_max_ms: Some(100), after_max_ms: Some(100), ..rules() };
    assert!(validate(9, bytes.clone(), &wide).is_ok());
    assert!(validate(9, bytes, &Rules { log_append_time: true, ..bounds }).is_ok());
}

#[test]
fn zstd_needs_version_7() {
    let bytes = batch(Compression::Zstd, &[(None, NOW.0)]);
    assert_eq!(validate(6, bytes.clone(), &rules()).unwrap_err(), ValidateError::ZstdTooEarly { version: 6 });
    assert!(validate(7, bytes, &rules()).is_ok());
}

#[test]
fn other_compression_type_recompresses_and_keeps_the_records() {
    for target in Compression::ALL {
        let bytes = batch(Compression::Snappy, &[(Some("a"), NOW.0), (Some("b"), NOW.0 - 1)]);
        let (out, header) =
            validate(9, bytes.clone(), &Rules { compression: Some((target, None)), ..rules() }).unwrap();
        assert_eq!(header.attributes.compression(), target);
        assert_eq!(header, BatchHeader::parse(&out).unwrap());
        let keys = |bytes: &[u8]| -> Vec<Option<Vec<u8>>> {
            let decoded = decode(bytes, &DecompressLimits::default()).unwrap();
            decoded.records().map(|r| r.unwrap().key.map(<[u8]>::to_vec)).collect()
        };
        assert_eq!(keys(&out), keys(&bytes));
        validate_produced(&out, &ValidationLimits::default()).unwrap();
    }
}

#[test]
fn batch_that_grows_beyond_the_limit_by_recompression_is_too_large() {
    let value = "x".repeat(10_000);
    let mut builder = BatchBuilder::new().compression(Compression::Gzip, None);
    builder.append(None, Some(value.as_bytes()), &[], NOW).unwrap();
    let bytes = BytesMut::from(builder.build().unwrap());
    let tight = Rules { max_batch_bytes: 1000, ..rules() };
    assert!(validate(9, bytes.clone(), &tight).is_ok());
    let error = validate(9, bytes, &Rules { compression: Some((Compression::None, None)), ..tight }).unwrap_err();
    assert!(matches!(error, ValidateError::Batch(BatchError::TooLarge { limit: 1000, .. })));
}

#[test]
fn malformed_record_in_a_plain_batch_is_refused_although_the_crc_is_right() {
    let mut bytes = batch(Compression::None, &[(Some("k"), NOW.0), (Some("l"), NOW.0)]);
    bytes[61] = 0x02; // the first record claims one byte
    set_max_timestamp(&mut bytes, NOW); // writes a fresh CRC
    assert!(matches!(validate(9, bytes, &rules()), Err(ValidateError::Records(DecodeError::Record(_)))));
}

#[test]
fn wrong_max_timestamp_of_the_header_is_corrected() {
    let mut bytes = batch(Compression::None, &[(None, NOW.0 - 7), (None, NOW.0 - 9)]);
    set_max_timestamp(&mut bytes, Timestamp(NOW.0 - 2));
    let (out, header) = validate(9, bytes, &rules()).unwrap();
    assert_eq!(header.max_timestamp, NOW.0 - 7);
    validate_produced(&out, &ValidationLimits::default()).unwrap();
}

#[test]
fn missing_and_damaged_batches_are_refused() {
    assert_eq!(validate(9, BytesMut::new(), &rules()).unwrap_err(), ValidateError::NoBatch);
    let mut bytes = batch(Compression::None, &[(None, NOW.0)]);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(validate(9, bytes, &rules()), Err(ValidateError::Batch(BatchError::CrcMismatch { .. }))));
    let twice = [batch(Compression::None, &[(None, 1)]), batch(Compression::None, &[(None, 1)])].concat();
    let error = validate(9, BytesMut::from(&twice[..]), &rules()).unwrap_err();
    assert!(matches!(error, ValidateError::Batch(BatchError::TrailingBytes { .. })));
}
