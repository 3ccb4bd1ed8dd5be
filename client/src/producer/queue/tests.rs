use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::sync::oneshot;
use weir_protocol::records::{BatchHeader, verify_crc};

use super::*;

const FIRST: Identity = Identity { id: 7, epoch: 0 };
const SECOND: Identity = Identity { id: 7, epoch: 1 };

fn queue() -> Queue {
    let limits = Limits {
        batch_bytes_max: 200,
        in_flight_max: 5,
        linger: Duration::from_millis(5),
        delivery_timeout: Duration::from_secs(60),
        codec: (Compression::None, None),
        idempotent: true,
    };
    Queue::new(limits, Backoff::new(Duration::from_millis(100), Duration::from_millis(100)))
}

fn append(queue: &mut Queue, value: &'static str, now: Instant) -> oneshot::Receiver<Outcome> {
    let (reply, outcome) = oneshot::channel();
    let record = Pending {
        key: None,
        value: Some(Bytes::from_static(value.as_bytes())),
        headers: Vec::new(),
        timestamp_ms: 1,
        reply,
        permit: None,
    };
    queue.append(record, value.len(), now);
    outcome
}

/// Appends records as a batch of their own.
fn batch(queue: &mut Queue, records: usize, now: Instant) -> Vec<oneshot::Receiver<Outcome>> {
    let outcomes = (0..records).map(|_| append(queue, "value", now)).collect();
    queue.seal();
    outcomes
}

fn take(queue: &mut Queue, identity: Identity, now: Instant) -> Option<(Order, BatchHeader)> {
    let (order, bytes) = queue.take(Some(identity), now)?;
    verify_crc(&bytes).unwrap();
    Some((order, BatchHeader::parse(&bytes).unwrap()))
}

fn sequence(header: &BatchHeader) -> (i16, i32) {
    (header.producer_epoch, header.base_sequence)
}

fn refused(code: ResponseError) -> Outcome {
    Err(ClientError::Broker { broker: "b".into(), api: ApiKey::Produce, subject: "t-0".into(), code, detail: None })
}

fn written(offset: i64) -> Outcome {
    Ok(Placed { offset: Some(offset), append_time_ms: None })
}

#[tokio::test]
async fn a_batch_leaves_when_it_is_full_or_lingered() {
    let (now, mut queue) = (Instant::now(), queue());
    let _kept: Vec<_> = (0..60).map(|_| append(&mut queue, "0123456789", now)).collect();
    assert!(queue.can_send(Some(FIRST), now), "sixty records of ten bytes fill a batch of 200");
    while take(&mut queue, FIRST, now).is_some() {}
    let mut lingering = self::queue();
    let _outcome = append(&mut lingering, "x", now);
    lingering.seal_due(now + Duration::from_millis(4));
    assert!(!lingering.can_send(Some(FIRST), now));
    assert_eq!(lingering.next_wake(), Some(now + Duration::from_millis(5)));
    lingering.seal_due(now + Duration::from_millis(5));
    assert!(lingering.can_send(Some(FIRST), now));
}

#[tokio::test]
async fn five_batches_are_in_flight_with_consecutive_sequences() {
    let (now, mut queue) = (Instant::now(), queue());
    let _kept: Vec<_> = (0..7).map(|_| batch(&mut queue, 3, now)).collect();
    let taken: Vec<_> = std::iter::from_fn(|| take(&mut queue, FIRST, now)).collect();
    assert_eq!(taken.iter().map(|(_, header)| header.base_sequence).collect::<Vec<_>>(), [0, 3, 6, 9, 12]);
    assert_eq!(queue.answered(taken[0].0, written(0), now), Consequence::None);
    assert_eq!(take(&mut queue, FIRST, now).unwrap().1.base_sequence, 15);
}

#[tokio::test]
async fn records_learn_their_offsets() {
    let (now, mut queue) = (Instant::now(), queue());
    let outcomes = batch(&mut queue, 3, now);
    let (order, _) = take(&mut queue, FIRST, now).unwrap();
    queue.answered(order, written(40), now);
    for (index, outcome) in (0..).zip(outcomes) {
        assert_eq!(outcome.await.unwrap().unwrap().offset, Some(40 + index));
    }
    assert!(queue.is_empty());
}

/// The first of three batches fails; the broker refuses the other two as out of order. All are repeated, one at a time, oldest
/// first, under their old numbers.
#[tokio::test]
async fn after_a_passing_failure_everything_is_repeated_in_order() {
    let (now, mut queue) = (Instant::now(), queue());
    let _kept: Vec<_> = (0..4).map(|_| batch(&mut queue, 1, now)).collect();
    let taken: Vec<_> = (0..3).map(|_| take(&mut queue, FIRST, now).unwrap()).collect();
    queue.answered(taken[0].0, refused(ResponseError::NotLeaderOrFollower), now);
    let later = now + Duration::from_secs(1);
    assert!(take(&mut queue, FIRST, later).is_none(), "two are still in flight");
    queue.answered(taken[1].0, refused(ResponseError::OutOfOrderSequenceNumber), now);
    queue.answered(taken[2].0, refused(ResponseError::OutOfOrderSequenceNumber), now);
    assert!(take(&mut queue, FIRST, now).is_none(), "the pause after a failure");
    for expected in 0..4 {
        let (order, header) = take(&mut queue, FIRST, later).unwrap();
        assert_eq!(sequence(&header), (0, expected));
        if expected < 2 {
            assert!(take(&mut queue, FIRST, later).is_none(), "repeats go one by one");
        }
        queue.answered(order, written(i64::from(expected)), later);
    }
    assert!(queue.is_empty());
}

/// What follows a batch that was given up cannot be accepted under its old number, and is numbered anew in a new epoch.
#[tokio::test]
async fn giving_a_batch_up_renumbers_what_follows_in_a_new_epoch() {
    let (now, mut queue) = (Instant::now(), queue());
    let mut outcomes: Vec<_> = (0..3).map(|_| batch(&mut queue, 2, now)).collect();
    let taken: Vec<_> = (0..2).map(|_| take(&mut queue, FIRST, now).unwrap()).collect();
    assert_eq!(queue.answered(taken[0].0, refused(ResponseError::InvalidRecord), now), Consequence::BumpEpoch);
    let failed = outcomes.remove(0).remove(0).await.unwrap();
    assert_eq!(failed.unwrap_err().code(), Some(ResponseError::InvalidRecord));
    let follows = queue.answered(taken[1].0, refused(ResponseError::OutOfOrderSequenceNumber), now);
    assert_eq!(follows, Consequence::None);
    let later = now + Duration::from_secs(1);
    assert!(take(&mut queue, FIRST, later).is_none(), "the old epoch is not used any more");
    for expected in [0, 2] {
        let (order, header) = take(&mut queue, SECOND, later).unwrap();
        assert_eq!(sequence(&header), (1, expected));
        queue.answered(order, written(9), later);
    }
}

/// Another partition's trouble raised the epoch. A batch whose fate is unknown here keeps its old number, because only under
/// that the broker recognises it; the next new batch starts the new epoch.
#[tokio::test]
async fn a_batch_of_unknown_fate_keeps_its_identity_over_an_epoch_bump() {
    let (now, mut queue) = (Instant::now(), queue());
    let _kept: Vec<_> = (0..2).map(|_| batch(&mut queue, 1, now)).collect();
    let (order, _) = take(&mut queue, FIRST, now).unwrap();
    let lost = ClientError::Disconnected { broker: "b".into(), reason: "gone".into() };
    queue.answered(order, Err(lost), now);
    let later = now + Duration::from_secs(1);
    let (order, header) = take(&mut queue, SECOND, later).unwrap();
    assert_eq!(sequence(&header), (0, 0));
    queue.answered(order, written(0), later);
    assert_eq!(sequence(&take(&mut queue, SECOND, later).unwrap().1), (1, 0));
}

#[tokio::test]
async fn a_duplicate_counts_as_written() {
    let (now, mut queue) = (Instant::now(), queue());
    let outcomes = batch(&mut queue, 1, now);
    let (order, _) = take(&mut queue, FIRST, now).unwrap();
    assert_eq!(queue.answered(order, refused(ResponseError::DuplicateSequenceNumber), now), Consequence::None);
    for outcome in outcomes {
        assert_eq!(outcome.await.unwrap().unwrap().offset, None);
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved_and_keeps_its_sequence() {
    let (now, mut queue) = (Instant::now(), queue());
    let outcomes = batch(&mut queue, 5, now);
    let (order, _) = take(&mut queue, FIRST, now).unwrap();
    assert_eq!(queue.answered(order, refused(ResponseError::MessageTooLarge), now), Consequence::None);
    let (order, header) = take(&mut queue, FIRST, now).unwrap();
    assert_eq!((header.base_sequence, header.record_count), (0, 2));
    queue.answered(order, written(10), now);
    let (order, header) = take(&mut queue, FIRST, now).unwrap();
    assert_eq!((header.base_sequence, header.record_count), (2, 3));
    queue.answered(order, written(12), now);
    for (index, outcome) in (0..).zip(outcomes) {
        assert_eq!(outcome.await.unwrap().unwrap().offset, Some(10 + index));
    }
}

#[tokio::test]
async fn an_unknown_producer_id_asks_for_a_new_identity_and_repeats_under_it() {
    let (now, mut queue) = (Instant::now(), queue());
    let _kept = batch(&mut queue, 1, now);
    let (order, _) = take(&mut queue, FIRST, now).unwrap();
    let consequence = queue.answered(order, refused(ResponseError::UnknownProducerId), now);
    assert_eq!(consequence, Consequence::NewIdentity);
    let later = now + Duration::from_secs(1);
    let fresh = Identity { id: 8, epoch: 0 };
    let (_, header) = take(&mut queue, fresh, later).unwrap();
    assert_eq!((header.producer_id, header.base_sequence), (8, 0));
}

#[tokio::test]
async fn what_waits_longer_than_the_delivery_timeout_fails_with_the_last_reason() {
    let (now, mut queue) = (Instant::now(), queue());
    let mut outcomes = batch(&mut queue, 1, now);
    outcomes.extend(batch(&mut queue, 1, now));
    let (order, _) = take(&mut queue, FIRST, now).unwrap();
    queue.answered(order, refused(ResponseError::NotEnoughReplicas), now);
    assert_eq!(queue.expire("t", 0, now + Duration::from_secs(59)), Consequence::None);
    assert_eq!(queue.expire("t", 0, now + Duration::from_secs(60)), Consequence::BumpEpoch);
    let first = outcomes.remove(0).await.unwrap().unwrap_err();
    assert_eq!(first.code(), Some(ResponseError::NotEnoughReplicas));
    assert!(matches!(outcomes.remove(0).await.unwrap(), Err(ClientError::DeliveryTimeout { .. })));
    assert!(queue.is_empty());
}
