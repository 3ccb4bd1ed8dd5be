use super::*;
use kafka_protocol::messages::FetchRequest;

/// A batch of `body` bytes; only what the walk looks at is filled in.
fn batch(compression: Compression, body: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; HEADER_LEN + body];
    bytes[8..12].copy_from_slice(&((HEADER_LEN - 12 + body) as i32).to_be_bytes());
    bytes[16] = 2;
    bytes[22] = compression.code();
    bytes
}

#[test]
fn zstd_is_found_behind_other_batches_however_they_are_chunked() {
    let plain = batch(Compression::Lz4, 40);
    let zstd = batch(Compression::Zstd, 10);
    let run = [plain.clone(), plain.clone(), zstd.clone()].concat();
    assert!(holds_zstd(&[Bytes::from(run)]));
    let split = vec![
        Bytes::copy_from_slice(&plain[..HEADER_LEN]),
        Bytes::copy_from_slice(&plain[HEADER_LEN..]),
        Bytes::copy_from_slice(&zstd[..HEADER_LEN]),
        Bytes::copy_from_slice(&zstd[HEADER_LEN..]),
    ];
    assert!(holds_zstd(&split));
    assert!(!holds_zstd(&[Bytes::from([plain.clone(), plain].concat())]));
    assert!(!holds_zstd(&[]));
}

#[test]
fn limits_of_the_request_are_clamped_to_ours() {
    let request = FetchRequest::default().with_max_bytes(100).with_min_bytes(500).with_max_wait_ms(-7);
    let plan = Plan::new(&request, 1000);
    assert_eq!((plan.max_bytes, plan.min_bytes, plan.max_wait), (100, 100, Duration::ZERO));
    let plan = Plan::new(&request.with_max_bytes(i32::MAX).with_isolation_level(1), 1000);
    assert_eq!((plan.max_bytes, plan.min_bytes, plan.limit), (1000, 500, ReadLimit::LastStable));
    let plan = Plan::new(&FetchRequest::default().with_max_bytes(-1).with_min_bytes(-1), 1000);
    assert_eq!((plan.max_bytes, plan.min_bytes), (0, 0));
}

#[test]
fn offsets_that_are_written_but_not_visible_are_in_range() {
    let ends =
        LogOffsets { log_start: Offset(5), last_stable: Offset(8), high_watermark: Offset(10), log_end: Offset(12) };
    for (offset, out) in [(4, true), (5, false), (10, false), (12, false), (13, true), (-1, true)] {
        assert_eq!(is_out_of_range(&ends, offset), out, "offset {offset}");
    }
}
