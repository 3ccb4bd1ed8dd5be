//! Vectors, limits and hostile bytes.
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::ids::{ProducerEpoch, ProducerId};

const TOPIC: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

fn fetch() -> ColumnarFetch {
    ColumnarFetch {
        format: ResultFormat::ArrowIpc,
        codecs: AcceptedCodecs { lz4: true, zstd: true },
        order: ScanOrder::Offset,
        max_scan_bytes: None,
        topics: vec![ColumnarTopic {
            topic_id: TOPIC,
            read_schema: None,
            projection: Some(vec!["carrier".to_owned(), "dep_delay".to_owned()]),
            predicate: Some("dep_delay > 60".into()),
            change_types: ChangeTypes::ALL,
        }],
    }
}

fn result() -> ColumnarResult {
    ColumnarResult {
        schema_id: 1,
        next_fetch_offset: 1000,
        rows_scanned: 600,
        rows_returned: 2,
        rows_errored: 1,
        bytes_scanned: 65_536,
        batches: vec![BatchRange {
            first_offset: 410,
            last_offset: 998,
            rows: 3,
            skip_head: 1,
            skip_tail: 0,
            dense: false,
        }],
        crc32c: 0xdead_beef,
        error_message: None,
    }
}

fn produce() -> ColumnarProduce {
    ColumnarProduce {
        schema_id: 1,
        producer: Some((ProducerId(4000), ProducerEpoch(2), 17)),
        transactional: true,
        crc32c: 0x0102_0304,
    }
}

fn restriction() -> AclRestriction {
    AclRestriction {
        columns: Some(vec!["order_id".to_owned(), "amount".to_owned()]),
        filter: Some("country = 'DE'".to_owned()),
        problem: None,
    }
}

fn bytes_of(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.to_vec()
}

/// A vector is hex digits; spaces, line ends and everything behind `#` are for the reader.
fn vector(text: &str) -> Vec<u8> {
    let digits: String = text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect();
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// The published vectors are what another implementation is written against. Seen failing when `Order` was left out.
#[test]
fn structs_encode_to_the_published_vectors_and_back() {
    let bytes = vector(include_str!("../../vectors/columnar-fetch.hex"));
    assert_eq!(bytes_of(|out| fetch().encode(out)), bytes);
    assert_eq!(ColumnarFetch::decode(&bytes).unwrap(), fetch());

    let bytes = vector(include_str!("../../vectors/columnar-result.hex"));
    assert_eq!(bytes_of(|out| result().encode(out)), bytes);
    assert_eq!(ColumnarResult::decode(&bytes).unwrap(), result());

    let bytes = vector(include_str!("../../vectors/columnar-produce.hex"));
    assert_eq!(bytes_of(|out| produce().encode(out)), bytes);
    assert_eq!(ColumnarProduce::decode(&bytes).unwrap(), produce());

    let bytes = vector(include_str!("../../vectors/acl-restriction.hex"));
    assert_eq!(bytes_of(|out| restriction().encode(out)), bytes);
    assert_eq!(AclRestriction::decode(&bytes).unwrap(), restriction());
    let everything = AclRestriction { problem: Some("gone".to_owned()), ..AclRestriction::default() };
    assert_eq!(AclRestriction::decode(&bytes_of(|out| everything.encode(out))).unwrap(), everything);
}

#[test]
fn values_without_a_meaning_are_refused_by_name() {
    let good = bytes_of(|out| fetch().encode(out));
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        ColumnarFetch::decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 2), ColumnarError::UnsupportedVersion { got: 2 });
    assert_eq!(with(0, 0), ColumnarError::UnsupportedVersion { got: 0 });
    for (at, byte, name) in
        [(1, 2, "ResultFormat"), (2, 4, "AcceptedCodecs"), (3, 9, "Order"), (4, 0x80, "MaxScanBytes")]
    {
        assert!(with(at, byte).to_string().contains(name), "{name}: {}", with(at, byte));
    }
    let substrait = bytes_of(|out| fetch().encode(out)).iter().rposition(|b| *b == 1).unwrap();
    assert!(with(substrait, 2).to_string().contains("PredicateKind"));
    let mut twice = fetch();
    twice.topics.push(twice.topics[0].clone());
    let bytes = bytes_of(|out| twice.encode(out));
    assert_eq!(ColumnarFetch::decode(&bytes), Err(ColumnarError::TopicTwice { topic: TOPIC }));
}

#[test]
fn unknown_tags_inside_of_the_structs_are_skipped() {
    let mut bytes = bytes_of(|out| fetch().encode(out));
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend([1, 7, 3, b'a', b'b', b'c']); // one tag, number 7, three bytes
    assert_eq!(ColumnarFetch::decode(&bytes).unwrap(), fetch());
}

#[test]
fn change_types_are_a_mask() {
    let deletes = ChangeTypes::from_mask(8).unwrap();
    assert_eq!([0, 1, 2, 3, 4, -1].map(|t| deletes.wants(t)), [false, false, false, true, false, false]);
    assert_eq!(ChangeTypes::from_mask(0), Some(ChangeTypes::ALL));
    assert_eq!(ChangeTypes::from_mask(16), None);
}

proptest! {
    /// Truncated, flipped and extended bytes: an error or a struct, no panic, no allocation that the length does not justify.
    #[test]
    fn any_bytes_decode_or_are_refused(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        which in 0..4,
    ) {
        let mut bytes = match which {
            0 => bytes_of(|out| fetch().encode(out)),
            1 => bytes_of(|out| result().encode(out)),
            2 => bytes_of(|out| restriction().encode(out)),
            _ => bytes_of(|out| produce().encode(out)),
        };
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let end = cut.index(bytes.len() + 1);
        for bytes in [&bytes[..], &bytes[..end]] {
            if let Ok(fetch) = ColumnarFetch::decode(bytes) {
                prop_assert_eq!(ColumnarFetch::decode(&bytes_of(|out| fetch.encode(out))), Ok(fetch));
            }
            if let Ok(result) = ColumnarResult::decode(bytes) {
                prop_assert_eq!(ColumnarResult::decode(&bytes_of(|out| result.encode(out))), Ok(result));
            }
            if let Ok(found) = AclRestriction::decode(bytes) {
                prop_assert_eq!(AclRestriction::decode(&bytes_of(|out| found.encode(out))), Ok(found));
            }
            if let Ok(produce) = ColumnarProduce::decode(bytes) {
                prop_assert_eq!(ColumnarProduce::decode(&bytes_of(|out| produce.encode(out))), Ok(produce));
            }
        }
    }
}
