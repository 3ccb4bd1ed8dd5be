//! Producers of one partition, batch by batch, without a log.
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::BatchBuilder;

use super::*;

const NOW: i64 = 1_000;

fn batch(producer: i64, epoch: i16, sequence: i32, offset: i64, transactional: bool) -> BatchHeader {
    let mut builder = BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    if transactional {
        builder = builder.transactional();
    }
    builder.append(Some(b"k"), Some(b"v"), &[], Timestamp(NOW)).unwrap();
    let mut header = BatchHeader::parse(&builder.build().unwrap()).unwrap();
    header.base_offset = Offset(offset);
    header
}

fn marker(commit: bool) -> Marker {
    Marker { commit, coordinator_epoch: 3 }
}

fn end(producers: &mut Producers, producer: i64, epoch: i16, offset: i64, commit: bool) {
    producers.record_marker(&batch(producer, epoch, 0, offset, true), marker(commit), NOW);
}

fn aborted(producers: &Producers, from: i64, to: i64) -> Vec<(i64, i64)> {
    producers.aborted_in(Offset(from), Offset(to)).map(|a| (a.producer_id, a.first_offset)).collect()
}

/// A late batch of an ended transaction would hold the last stable offset for ever (KIP-890).
///
/// Seen failing: with `check` ignoring the guard, the late batch is appended.
#[test]
fn a_transaction_opens_only_with_a_guard_taken_after_the_last_marker() {
    let mut producers = Producers::default();
    let first = batch(7, 0, 0, 10, true);
    assert_eq!(producers.check(&first, None), Verdict::NoTransaction);
    let guard = producers.transaction_guard(7, 0).unwrap();
    assert_eq!(producers.check(&first, Some(guard)), Verdict::Append);
    producers.record(&first, None, NOW);
    assert_eq!(producers.transaction_guard(7, 0), None, "open here: no need to ask the coordinator");
    let second = batch(7, 0, 1, 11, true);
    assert_eq!(producers.check(&second, None), Verdict::Append);
    assert_eq!(producers.check(&batch(7, 0, 1, 11, false), None), Verdict::NotTransactional);
    end(&mut producers, 7, 0, 11, true);
    assert_eq!(producers.check(&second, None), Verdict::NoTransaction);
    assert_eq!(producers.check(&second, Some(guard)), Verdict::NoTransaction, "the guard is older than the marker");
    assert_eq!(producers.check(&first, Some(guard)), Verdict::Duplicate(producers.by_id[&7].batches[0]));
    let fresh = producers.transaction_guard(7, 0).unwrap();
    assert_eq!(producers.check(&second, Some(fresh)), Verdict::Append);
}

#[test]
fn a_marker_of_the_next_epoch_fences_late_batches_and_starts_at_sequence_zero() {
    let mut producers = Producers::default();
    producers.record(&batch(7, 4, 0, 0, true), None, NOW);
    end(&mut producers, 7, 5, 1, true);
    let guard = producers.transaction_guard(7, 5);
    assert_eq!(producers.check(&batch(7, 4, 1, 2, true), guard), Verdict::StaleEpoch { current: 5 });
    assert_eq!(producers.check(&batch(7, 5, 1, 2, true), guard), Verdict::OutOfOrder { expected: 0 });
    assert_eq!(producers.check(&batch(7, 5, 0, 2, true), guard), Verdict::Append);
    let late = batch(7, 4, 0, 2, true);
    assert_eq!(producers.check_marker(&late, marker(false)), Verdict::StaleEpoch { current: 5 });
    let old = Marker { commit: true, coordinator_epoch: 2 };
    assert_eq!(producers.check_marker(&batch(7, 5, 0, 2, true), old), Verdict::StaleCoordinator { current: 3 });
}

#[test]
fn the_last_stable_offset_waits_for_the_first_open_transaction_and_for_its_marker_to_be_durable() {
    let mut producers = Producers::default();
    producers.record(&batch(1, 0, 0, 5, true), None, NOW);
    producers.record(&batch(2, 0, 0, 8, true), None, NOW);
    assert_eq!(producers.last_stable(Offset(4)), Offset(4));
    assert_eq!(producers.last_stable(Offset(9)), Offset(5));
    end(&mut producers, 1, 0, 9, true);
    assert_eq!(producers.last_stable(Offset(9)), Offset(5), "the marker at 9 is not durable yet");
    assert_eq!(producers.last_stable(Offset(10)), Offset(8));
    end(&mut producers, 2, 0, 10, false);
    assert_eq!(producers.last_stable(Offset(11)), Offset(11));
}

#[test]
fn aborted_transactions_are_found_by_any_range_that_touches_them() {
    let mut producers = Producers::default();
    producers.record(&batch(1, 0, 0, 0, true), None, NOW); // a long one around all others
    for (producer, first) in [(2, 10), (3, 20), (4, 30)] {
        producers.record(&batch(producer, 0, 0, first, true), None, NOW);
        end(&mut producers, producer, 0, first + 5, producer == 3);
    }
    end(&mut producers, 1, 0, 40, false);
    assert_eq!(aborted(&producers, 0, 41), [(2, 10), (4, 30), (1, 0)]);
    assert_eq!(aborted(&producers, 16, 30), [(1, 0)]);
    assert_eq!(aborted(&producers, 15, 31), [(2, 10), (4, 30), (1, 0)], "the marker at 15 belongs to it");
    assert_eq!(aborted(&producers, 41, 50), []);
    let copy: Producers = serde_json::from_str(&serde_json::to_string(&producers).unwrap()).unwrap();
    assert_eq!(aborted(&copy.restored(), 16, 30), [(1, 0)]);
    producers.truncate_front(Offset(36));
    assert_eq!(aborted(&producers, 0, 41), [(1, 0)]);
}

#[test]
fn open_transactions_come_back_from_a_checkpoint_and_do_not_expire() {
    let mut producers = Producers::default();
    producers.record(&batch(1, 0, 0, 3, true), None, NOW);
    producers.record(&batch(2, 0, 0, 4, false), None, NOW);
    let json = serde_json::to_string(&producers).unwrap();
    let mut copy = serde_json::from_str::<Producers>(&json).unwrap().restored();
    assert_eq!(copy, producers);
    copy.expire(NOW + 1);
    assert_eq!(copy.iter().map(|(id, _)| id).collect::<Vec<_>>(), [1]);
    assert_eq!(copy.last_stable(Offset(9)), Offset(3));
}
