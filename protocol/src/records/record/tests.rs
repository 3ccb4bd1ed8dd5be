use super::*;

/// Length 14, no key, no value, then whatever headers follow.
fn record_with(headers: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 1, 1];
    body.extend_from_slice(headers);
    let mut out = vec![(body.len() * 2) as u8];
    out.extend_from_slice(&body);
    out
}

fn one(bytes: &[u8]) -> Result<Record<'_>, RecordError> {
    let mut records = Records::new(bytes, 1);
    let record = records.next().unwrap()?;
    match records.next() {
        None => Ok(record),
        Some(more) => more,
    }
}

#[test]
fn duplicate_header_keys_and_null_values_survive() {
    let bytes = record_with(&[6, 2, b'a', 2, b'1', 2, b'a', 1, 2, b'a', 0]);
    let record = one(&bytes).unwrap();
    let headers: Vec<_> = record.headers.iter().map(|h| (h.key, h.value)).collect();
    assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (b"a", None), (b"a", Some(b""))]);
    assert_eq!(record.raw, bytes);
}

#[test]
fn hostile_lengths_are_errors() {
    let huge = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    assert!(
        matches!(one(&record_with(&huge)), Err(RecordError::TooManyHeaders { count, .. }) if count == i32::MAX as usize)
    );
    assert!(matches!(one(&record_with(&[1])), Err(RecordError::NegativeLength { field: "header count", length: -1 })));
    assert!(matches!(one(&record_with(&[2, 1, 0])), Err(RecordError::NegativeLength { field: "header key", .. })));
    assert!(matches!(one(&record_with(&[2, 0, 3])), Err(RecordError::NegativeLength { field: "header value", .. })));
    assert!(matches!(one(&record_with(&[2, 0, 10])), Err(RecordError::Truncated { field: "header value" })));
    assert!(matches!(one(&record_with(&[0, 9])), Err(RecordError::TrailingBytes { bytes: 1 })));
    let whole_record = [huge.as_slice(), &[0; 10]].concat();
    assert!(matches!(one(&whole_record), Err(RecordError::Truncated { field: "record" })));
    assert!(matches!(one(&[1, 0, 0, 0, 0, 0, 0]), Err(RecordError::NegativeLength { field: "record length", .. })));
}

#[test]
fn more_records_than_bytes_is_an_error_and_no_allocation() {
    let bytes = record_with(&[0]);
    let mut records = Records::new(&bytes, usize::MAX);
    assert_eq!(records.size_hint(), (0, Some(2)));
    assert!(matches!(records.next(), Some(Err(RecordError::TooManyRecords { .. }))));
    assert!(records.next().is_none());
}

#[test]
fn bytes_behind_the_last_record_are_an_error() {
    let bytes = [record_with(&[0]), vec![0]].concat();
    assert_eq!(one(&bytes), Err(RecordError::TrailingBytes { bytes: 1 }));
}

#[test]
fn every_truncation_of_a_record_is_an_error() {
    let bytes = record_with(&[4, 2, b'k', 2, b'v', 2, b'k', 1]);
    for len in 0..bytes.len() {
        assert!(one(&bytes[..len]).is_err(), "{len}");
    }
    one(&bytes).unwrap();
}

#[test]
fn a_walk_refuses_deltas_that_do_not_ascend_within_the_batch() {
    let mut builder = crate::records::BatchBuilder::new();
    for _ in 0..3 {
        builder.append(None, None, &[], Timestamp(0)).unwrap();
    }
    let good = builder.build().unwrap().to_vec();
    walk_records(&good, &DecompressLimits::default()).unwrap();
    let second_delta = HEADER_LEN + 7 + 3;
    assert_eq!(good[second_delta], 2);
    for bad_delta in [0, 1, 6, 8] {
        let mut bad = good.clone();
        bad[second_delta] = bad_delta;
        let error = walk_records(&bad, &DecompressLimits::default()).unwrap_err();
        assert!(matches!(error, DecodeError::Record(RecordError::OffsetDelta { .. })), "{bad_delta}: {error}");
    }
}
