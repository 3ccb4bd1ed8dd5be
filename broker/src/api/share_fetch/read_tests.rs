use weir_protocol::ids::ProducerEpoch;
use weir_protocol::records::{BatchBuilder, HEADER_LEN};

use super::*;

/// A batch of `count` records at `base`, of a producer's transaction or of nobody's.
fn batch(base: i64, count: i64, transaction_of: Option<i64>) -> Bytes {
    let mut builder = BatchBuilder::new().base_offset(Offset(base));
    if let Some(producer) = transaction_of {
        builder = builder.producer(ProducerId(producer), ProducerEpoch(0), 0).transactional();
    }
    for n in 0..count {
        builder.append(None, Some(b"value"), &[], Timestamp(n)).unwrap();
    }
    builder.build().unwrap()
}

fn acquired(ranges: &[(i64, i64)]) -> Vec<Acquired> {
    ranges.iter().map(|(first, last)| Acquired { first: *first, last: *last, deliveries: 1 }).collect()
}

#[test]
fn only_batches_with_acquired_records_are_sent_whatever_the_chunks() {
    let all = [batch(0, 5, None), batch(5, 5, None), batch(10, 5, None), batch(15, 5, None)];
    let whole: Bytes = all.concat().into();
    let split = all[1].split_at(HEADER_LEN);
    let (head, body) = (Bytes::copy_from_slice(split.0), Bytes::copy_from_slice(split.1));
    for chunks in [
        vec![whole.clone()],
        all.to_vec(),
        vec![all[0].clone(), head, body, Bytes::from([&all[2][..], &all[3][..]].concat())],
    ] {
        let batches = batches_of(&chunks, &[]);
        let offsets: Vec<_> = batches.iter().map(|b| (b.fetched.first, b.fetched.last)).collect();
        assert_eq!(offsets, [(0, 4), (5, 9), (10, 14), (15, 19)]);
        let of = |ranges: &[(i64, i64)]| only_acquired(&chunks, &batches, &acquired(ranges)).concat();
        assert_eq!(of(&[(0, 19)]), whole);
        assert_eq!(of(&[(7, 7)]), all[1]);
        assert_eq!(of(&[(4, 4), (16, 17)]), [&all[0][..], &all[3][..]].concat());
        assert!(of(&[]).is_empty());
    }
}

#[test]
fn aborted_records_are_nobodys_and_the_next_transaction_of_their_producer_is_read() {
    let marker = {
        let producer = BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), -1).base_offset(Offset(4));
        let mut builder = producer.transactional().control();
        builder.append(Some(b"\0\0\0\0"), Some(b"\0\0\0\0\0\0"), &[], Timestamp(0)).unwrap();
        builder.build().unwrap()
    };
    let chunks = [batch(0, 2, Some(7)), batch(2, 2, Some(8)), marker, batch(5, 2, Some(7))];
    let aborted = [AbortedTransaction { producer_id: ProducerId(7), first_offset: Offset(0) }];
    let readable: Vec<bool> = batches_of(&chunks, &aborted).iter().map(|batch| batch.fetched.readable).collect();
    assert_eq!(readable, [false, true, false, true]);
}
