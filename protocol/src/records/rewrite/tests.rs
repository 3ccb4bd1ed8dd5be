use super::*;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::records::{BatchBuilder, verify_crc, walk_records};

fn batch(codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(100))
        .leader_epoch(LeaderEpoch(4))
        .producer(ProducerId(9), ProducerEpoch(1), 50)
        .transactional()
        .compression(codec, None);
    for i in 0..6u8 {
        let (key, value) = ([i], [i; 40]);
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", None), (b"h", Some(b"2"))];
        builder.append(Some(&key), Some(&value), headers, Timestamp(1_000 - i64::from(i))).unwrap();
    }
    builder.build().unwrap()
}

fn keys(bytes: &[u8]) -> Vec<(i64, u8, i64)> {
    let decoded = decode(bytes, &DecompressLimits::default()).unwrap();
    let record = |r: Record<'_>| {
        assert_eq!(r.headers.len(), 2);
        (r.offset(&decoded.header).0, r.key.unwrap()[0], r.timestamp(&decoded.header).0)
    };
    decoded.records().map(|r| record(r.unwrap())).collect()
}

#[test]
fn recompression_between_all_codecs_keeps_records_and_producer_fields() {
    for from in Compression::ALL {
        for to in Compression::ALL {
            let bytes = recompress(&batch(from), to, None, &DecompressLimits::default()).unwrap();
            verify_crc(&bytes).unwrap();
            let header = BatchHeader::parse(&bytes).unwrap();
            assert_eq!(header.attributes.compression(), to);
            assert!(header.attributes.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (9, 1, 50));
            assert_eq!(header.leader_epoch, LeaderEpoch(4));
            assert_eq!(keys(&bytes), keys(&batch(Compression::None)), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn retained_records_keep_their_offsets_and_the_batch_its_range() {
    for codec in Compression::ALL {
        let keep = |h: &BatchHeader, r: &Record<'_>| r.offset(h).0 % 2 == 1;
        let Rewritten::Batch(bytes) =
            rewrite_retained(&batch(codec), &DecompressLimits::default(), WhenEmpty::Drop, keep).unwrap()
        else {
            panic!("half of the records stay");
        };
        verify_crc(&bytes).unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!((header.base_offset, header.last_offset()), (Offset(100), Offset(105)));
        assert_eq!((header.record_count, header.last_sequence()), (3, 55));
        assert_eq!(header.max_timestamp, 999, "the record at 1000 is gone");
        assert_eq!(header.attributes.compression(), codec);
        assert_eq!(keys(&bytes), [(101, 1, 999), (103, 3, 997), (105, 5, 995)]);
        assert_eq!(walk_records(&bytes, &DecompressLimits::default()).unwrap().records, 3);
    }
}

#[test]
fn all_or_nothing_retained() {
    let limits = DecompressLimits::default();
    for codec in Compression::ALL {
        let run = |when_empty, all: bool| rewrite_retained(&batch(codec), &limits, when_empty, |_, _| all).unwrap();
        assert_eq!(run(WhenEmpty::Drop, true), Rewritten::Unchanged);
        assert_eq!(run(WhenEmpty::Drop, false), Rewritten::Dropped);
        let Rewritten::Batch(bytes) = run(WhenEmpty::KeepHeader, false) else { panic!("the header is kept") };
        let header = BatchHeader::parse(&bytes).unwrap();
        verify_crc(&bytes).unwrap();
        assert_eq!((bytes.len(), header.record_count, header.last_sequence()), (HEADER_LEN, 0, 55));
        assert_eq!(header.next_offset(), Offset(106));
        assert_eq!(decode(&bytes, &limits).unwrap().records().count(), 0);
    }
}
