//! Bytes as Kafka's generated serialisers write them.
use super::*;

fn snapshot() -> Snapshot {
    Snapshot {
        producer_id: ProducerId(7),
        epoch: ProducerEpoch(3),
        last_epoch: None,
        previous_producer_id: None,
        next_producer_id: None,
        timeout_ms: 60_000,
        phase: Phase::Ongoing,
        partitions: BTreeSet::from([("t".to_owned(), 0), ("t".to_owned(), 2)]),
        started_at: Some(Timestamp(5)),
        updated_at: Timestamp(6),
        protocol: Protocol::V1,
    }
}

#[test]
fn the_key_is_a_version_and_the_id() {
    assert_eq!(encode_key("ab")[..], [0, 0, 0, 2, b'a', b'b']);
    assert_eq!(decode_key(encode_key("ab")).unwrap(), "ab");
    assert_eq!(decode_key(Bytes::from_static(&[0, 9, 0, 0])), Err(RecordFormatError::UnknownVersion(9)));
}

#[test]
fn values_have_the_fields_of_version_1() {
    let expected = [
        0, 1, // version
        0, 0, 0, 0, 0, 0, 0, 7, // producer id
        0, 3, // epoch
        0, 0, 0xea, 0x60, // timeout
        1,    // Ongoing
        2, 2, b't', 3, 0, 0, 0, 0, 0, 0, 0, 2, 0, // partitions 0 and 2 of t
        0, 0, 0, 0, 0, 0, 0, 6, // last update
        0, 0, 0, 0, 0, 0, 0, 5, // start
        0, // no tags
    ];
    assert_eq!(encode_value(&snapshot())[..], expected);
    assert_eq!(decode_value(encode_value(&snapshot())).unwrap(), snapshot());
}

#[test]
fn version_0_of_older_brokers_is_read() {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i64(7);
    bytes.put_i16(3);
    bytes.put_i32(60_000);
    bytes.put_i8(1);
    bytes.put_i32(1);
    bytes.put_i16(1);
    bytes.put_u8(b't');
    bytes.put_i32(2);
    bytes.put_i32(0);
    bytes.put_i32(2);
    bytes.put_i64(6);
    bytes.put_i64(5);
    assert_eq!(decode_value(bytes.freeze()).unwrap(), snapshot());
}

#[test]
fn every_phase_and_tag_comes_back_with_the_epoch_that_a_retry_would_name() {
    for phase in Phase::ALL {
        let full = Snapshot {
            phase,
            partitions: BTreeSet::new(),
            previous_producer_id: Some(ProducerId(1)),
            next_producer_id: Some(ProducerId(9)),
            protocol: Protocol::V2,
            ..snapshot()
        };
        let back = decode_value(encode_value(&full)).unwrap();
        let ended = !matches!(phase, Phase::Empty | Phase::Ongoing | Phase::Dead);
        assert_eq!(back.last_epoch, ended.then_some(ProducerEpoch(2)), "{phase:?}");
        assert_eq!(Snapshot { last_epoch: None, ..back }, full);
    }
    let replaced = Snapshot {
        phase: Phase::CompleteCommit,
        partitions: BTreeSet::new(),
        epoch: ProducerEpoch(0),
        previous_producer_id: Some(ProducerId(1)),
        protocol: Protocol::V2,
        ..snapshot()
    };
    assert_eq!(decode_value(encode_value(&replaced)).unwrap().last_epoch, Some(ProducerEpoch(i16::MAX - 1)));
}

#[test]
fn what_is_cut_off_or_hostile_is_an_error() {
    let bytes = encode_value(&Snapshot { protocol: Protocol::V2, ..snapshot() });
    for cut in 0..bytes.len() {
        assert!(decode_value(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let mut hostile = BytesMut::from(&bytes[..17]);
    hostile.put_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]); // four billion topics
    assert_eq!(decode_value(hostile.freeze()), Err(RecordFormatError::Truncated));
}
