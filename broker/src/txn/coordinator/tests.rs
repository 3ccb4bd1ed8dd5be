//! The coordinator over a log in memory and markers that can be made to fail, with the real clock.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64};

use parking_lot::Mutex;
use weir_protocol::ids::{Offset, ProducerEpoch};
use weir_protocol::records::{ControlType, EndTxnMarker};
use weir_storage::log::AppendError;

use super::*;
use crate::group::coordinator::{LogEntry, LogRecord, TransactionalWriter};
use crate::txn::markers::MarkersLeft;

#[derive(Default)]
struct World {
    log: Mutex<HashMap<i32, Vec<LogRecord>>>,
    ids: AtomicI64,
    markers: Mutex<Vec<(EndTxnMarker, PartitionName)>>,
    markers_fail: AtomicBool,
    writes_fail: AtomicBool,
}

#[async_trait]
impl OffsetsLog for World {
    fn partitions(&self) -> i32 {
        4
    }

    async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, String> {
        if self.writes_fail.load(Ordering::Relaxed) {
            return Err("the disk is full".to_owned());
        }
        self.log.lock().entry(partition).or_default().extend(records);
        Ok(Offset(0))
    }

    async fn append_transactional(
        &self,
        _: i32,
        _: Vec<LogRecord>,
        _: TransactionalWriter,
    ) -> Result<Offset, AppendError> {
        Err(AppendError::ShuttingDown)
    }

    async fn read_all(&self, partition: i32, visit: &mut (dyn FnMut(LogEntry) + Send)) -> Result<(), String> {
        for (key, value) in self.log.lock().get(&partition).cloned().unwrap_or_default() {
            visit(LogEntry::Record { offset: Offset(0), key, value, transaction_of: None });
        }
        Ok(())
    }
}

#[async_trait]
impl ProducerIdSource for World {
    async fn fresh(&self) -> Result<ProducerId, String> {
        Ok(ProducerId(self.ids.fetch_add(1, Ordering::Relaxed)))
    }
}

#[async_trait]
impl MarkerSink for World {
    async fn write(&self, marker: EndTxnMarker, partitions: &[PartitionName]) -> Result<(), MarkersLeft> {
        if self.markers_fail.load(Ordering::Relaxed) {
            return Err(MarkersLeft::Retry(partitions.to_vec()));
        }
        self.markers.lock().extend(partitions.iter().map(|partition| (marker, partition.clone())));
        Ok(())
    }
}

async fn start(world: &Arc<World>, settings: TransactionSettings) -> Transactions {
    let transactions = Transactions::start(settings, world.clone(), world.clone(), world.clone(), 5);
    while !transactions.is_ready() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    transactions
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen within 5 s");
}

fn partition(number: i32) -> PartitionName {
    ("t".to_owned(), number)
}

fn marked(world: &World) -> Vec<(ControlType, i16, PartitionName)> {
    let markers = world.markers.lock();
    markers.iter().map(|(marker, name)| (marker.control_type, marker.producer_epoch.0, name.clone())).collect()
}

#[tokio::test]
async fn a_commit_writes_a_marker_to_each_partition_and_the_next_transaction_waits_for_them() {
    let world = Arc::new(World::default());
    let txns = start(&world, TransactionSettings::default()).await;
    let who = txns.init_producer_id("id", 60_000, None).await.unwrap();
    txns.add_partitions("id", who, Protocol::V1, &[partition(0), partition(1)]).await.unwrap();
    assert_eq!(txns.end("id", who, true, Protocol::V1).await, Ok(who));
    txns.add_partitions("id", who, Protocol::V1, &[partition(2)]).await.unwrap();
    let commit = |number| (ControlType::Commit, 0, partition(number));
    assert_eq!(marked(&world), [commit(0), commit(1)]);
    assert_eq!(world.markers.lock()[0].0.coordinator_epoch, 5);
}

#[tokio::test]
async fn protocol_2_gives_a_new_epoch_with_each_end() {
    let world = Arc::new(World::default());
    let txns = start(&world, TransactionSettings::default()).await;
    let who = txns.init_producer_id("id", 60_000, None).await.unwrap();
    txns.add_partitions("id", who, Protocol::V2, &[partition(0)]).await.unwrap();
    let next = txns.end("id", who, true, Protocol::V2).await.unwrap();
    assert_eq!(next, Who { epoch: ProducerEpoch(1), ..who });
    assert_eq!(txns.end("id", who, true, Protocol::V2).await, Ok(next), "a retry waits and is told the same");
    assert_eq!(marked(&world), [(ControlType::Commit, 1, partition(0))], "the marker fences late batches");
}

#[tokio::test]
async fn a_takeover_aborts_the_open_transaction_and_answers_when_that_is_done() {
    let world = Arc::new(World::default());
    let txns = start(&world, TransactionSettings::default()).await;
    let first = txns.init_producer_id("id", 60_000, None).await.unwrap();
    txns.add_partitions("id", first, Protocol::V1, &[partition(0)]).await.unwrap();
    let second = txns.init_producer_id("id", 60_000, None).await.unwrap();
    assert_eq!(second, Who { epoch: ProducerEpoch(2), ..first });
    assert_eq!(marked(&world), [(ControlType::Abort, 1, partition(0))]);
    assert_eq!(txns.end("id", first, true, Protocol::V1).await, Err(TxnError::ProducerFenced));
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let world = Arc::new(World::default());
    let txns = start(&world, TransactionSettings::default()).await;
    let who = txns.init_producer_id("id", 50, None).await.unwrap();
    txns.add_partitions("id", who, Protocol::V1, &[partition(0)]).await.unwrap();
    assert_eq!(txns.sample().open, 1);
    until("the abort", || !marked(&world).is_empty()).await;
    assert_eq!(marked(&world), [(ControlType::Abort, 1, partition(0))]);
    assert_eq!(txns.end("id", who, true, Protocol::V1).await, Err(TxnError::ProducerFenced));
    until("the end", || txns.sample().open == 0).await;
}

#[tokio::test]
async fn what_was_decided_is_finished_by_the_next_coordinator() {
    let world = Arc::new(World::default());
    let who = {
        let txns = start(&world, TransactionSettings::default()).await;
        let who = txns.init_producer_id("id", 60_000, None).await.unwrap();
        txns.add_partitions("id", who, Protocol::V2, &[partition(0)]).await.unwrap();
        world.markers_fail.store(true, Ordering::Relaxed);
        txns.end("id", who, true, Protocol::V2).await.unwrap();
        let next = Who { epoch: ProducerEpoch(1), ..who };
        let waited = txns.add_partitions("id", next, Protocol::V2, &[partition(1)]).await;
        assert_eq!(waited, Err(TxnError::ConcurrentTransactions));
        // The broker dies: what the log has is what counts.
        world.writes_fail.store(true, Ordering::Relaxed);
        who
    };
    let copy = Arc::new(World { log: Mutex::new(world.log.lock().clone()), ..World::default() });
    let txns = start(&copy, TransactionSettings::default()).await;
    until("the commit", || !marked(&copy).is_empty()).await;
    assert_eq!(marked(&copy), [(ControlType::Commit, 1, partition(0))]);
    let next = Who { epoch: ProducerEpoch(1), ..who };
    assert_eq!(txns.end("id", who, true, Protocol::V2).await, Ok(next), "the answer that was lost");
    txns.add_partitions("id", next, Protocol::V2, &[partition(1)]).await.unwrap();
}

#[tokio::test]
async fn nothing_happens_that_could_not_be_written() {
    let world = Arc::new(World::default());
    let txns = start(&world, TransactionSettings::default()).await;
    let who = txns.init_producer_id("id", 60_000, None).await.unwrap();
    txns.add_partitions("id", who, Protocol::V1, &[partition(0)]).await.unwrap();
    world.writes_fail.store(true, Ordering::Relaxed);
    assert_eq!(txns.end("id", who, true, Protocol::V1).await, Err(TxnError::CoordinatorNotAvailable));
    assert!(marked(&world).is_empty(), "no marker without a durable decision");
    world.writes_fail.store(false, Ordering::Relaxed);
    assert_eq!(txns.end("id", who, true, Protocol::V1).await, Ok(who));
}

#[tokio::test]
async fn unused_ids_are_forgotten_for_good() {
    let world = Arc::new(World::default());
    let settings = TransactionSettings {
        id_expiration_ms: 0,
        expiry_interval: Duration::from_millis(20),
        ..TransactionSettings::default()
    };
    let txns = start(&world, settings).await;
    let who = txns.init_producer_id("id", 60_000, None).await.unwrap();
    until("the end of the id", || txns.list().is_empty()).await;
    assert_eq!(txns.end("id", who, true, Protocol::V1).await, Err(TxnError::InvalidProducerIdMapping));
    let again = start(&world, TransactionSettings::default()).await;
    assert!(again.list().is_empty(), "the tombstone counts");
}

#[tokio::test]
async fn timeouts_outside_of_the_bounds_and_empty_ids_are_refused() {
    let txns = start(&Arc::new(World::default()), TransactionSettings::default()).await;
    for timeout_ms in [0, -1, 900_001] {
        let refused = txns.init_producer_id("id", timeout_ms, None).await;
        assert_eq!(refused, Err(TxnError::InvalidTransactionTimeout { got_ms: timeout_ms, max_ms: 900_000 }));
    }
    assert_eq!(txns.init_producer_id("", 1_000, None).await, Err(TxnError::EmptyTransactionalId));
    assert_eq!(txns.describe("x").unwrap_err(), TxnError::TransactionalIdNotFound { id: "x".to_owned() });
}
