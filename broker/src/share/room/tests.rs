//! The room over a log in memory: what is answered is stored, what is stored comes back, who waits is woken.
//!
//! Seen failing: with acknowledged records stored as available ones (the restart).
use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;
use weir_protocol::ids::Offset;
use weir_storage::log::AppendError;

use super::*;
use crate::group::configs::TimingBounds;
use crate::group::coordinator::TransactionalWriter;

/// Keeps every record; can be told to fail.
#[derive(Default)]
struct MemoryLog {
    records: Mutex<Vec<(i32, LogRecord)>>,
    fails: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl OffsetsLog for MemoryLog {
    fn partitions(&self) -> i32 {
        4
    }

    async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, String> {
        tokio::task::yield_now().await;
        if self.fails.load(Ordering::Relaxed) {
            return Err("full".to_owned());
        }
        self.records.lock().extend(records.into_iter().map(|record| (partition, record)));
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
        let records: Vec<(i32, LogRecord)> = self.records.lock().clone();
        for (_, (key, value)) in records.into_iter().filter(|(of, _)| *of == partition) {
            visit(LogEntry::Record { offset: Offset(0), key, value, transaction_of: None });
        }
        Ok(())
    }
}

const WISH: Wish = Wish { max_records: 100, batch_size: 100 };

fn key(partition: i32) -> ShareKey {
    ShareKey { group: "g".into(), topic: TopicId(Uuid::from_u128(1)), partition }
}

async fn started(log: &Arc<MemoryLog>) -> Shares {
    let configs = Arc::new(GroupConfigs::in_memory(TimingBounds::default()));
    let shares = Shares::start(log.clone(), configs, 1);
    while !shares.is_ready() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shares
}

async fn acquire(shares: &Shares, cell: &Arc<Cell>, member: &str, first: i64, last: i64) -> i64 {
    let fetched = [FetchedBatch { first, last, readable: true }];
    shares.acquire(cell, &Arc::from(member), WISH, first, &fetched).iter().map(Acquired::count).sum()
}

async fn acknowledge(shares: &Shares, member: &str, first: i64, last: i64) -> Result<(), ShareError> {
    let batch = AckBatch { first, last, types: vec![1] };
    shares.acknowledge(&key(0), member, &[batch])?.1.wait().await
}

#[tokio::test]
async fn what_was_acknowledged_is_done_with_after_a_restart_and_the_rest_comes_again() {
    let log = Arc::new(MemoryLog::default());
    let shares = started(&log).await;
    let cell = shares.open(&key(0), async || Some(100)).await.unwrap();
    assert_eq!(log.records.lock().len(), 1, "where it begins is stored before anything is given out");
    assert_eq!(acquire(&shares, &cell, "a", 100, 109).await, 10);
    acknowledge(&shares, "a", 102, 104).await.unwrap();
    drop(shares);

    let shares = started(&log).await;
    let cell = shares.open(&key(0), async || panic!("it has begun")).await.unwrap();
    assert_eq!(cell.look(|p| (p.start(), p.next())), Some((100, 105)));
    let fetched = [FetchedBatch { first: 100, last: 109, readable: true }];
    let got = shares.acquire(&cell, &Arc::from("b"), WISH, 100, &fetched);
    let got: Vec<_> = got.iter().map(|a| (a.first, a.last, a.deliveries)).collect();
    assert_eq!(got, [(100, 101, 1), (105, 109, 1)]);
}

#[tokio::test]
async fn what_cannot_be_stored_is_answered_so_and_stored_later() {
    let log = Arc::new(MemoryLog::default());
    let shares = started(&log).await;
    let cell = shares.open(&key(0), async || Some(0)).await.unwrap();
    acquire(&shares, &cell, "a", 0, 9).await;
    log.fails.store(true, Ordering::Relaxed);
    assert_eq!(acknowledge(&shares, "a", 0, 4).await, Err(ShareError::NotAvailable));
    log.fails.store(false, Ordering::Relaxed);
    acknowledge(&shares, "a", 5, 7).await.unwrap();
    let shares = started(&log).await;
    let cell = shares.find(&key(0)).unwrap().unwrap();
    assert_eq!(cell.look(SharePartition::start), Some(8), "the later record has all of it");
}

#[tokio::test]
async fn many_acknowledgements_at_a_time_cost_few_records() {
    let log = Arc::new(MemoryLog::default());
    let shares = started(&log).await;
    let cell = shares.open(&key(0), async || Some(0)).await.unwrap();
    acquire(&shares, &cell, "a", 0, 99).await;
    let before = log.records.lock().len();
    let durable: Vec<_> = (0..100)
        .map(|n| shares.acknowledge(&key(0), "a", &[AckBatch { first: n, last: n, types: vec![1] }]).unwrap().1)
        .collect();
    for durable in durable {
        durable.wait().await.unwrap();
    }
    assert!(log.records.lock().len() - before <= 2, "{}", log.records.lock().len());
    assert_eq!(cell.look(SharePartition::start), Some(100));
}

#[tokio::test]
async fn who_waits_for_records_is_woken_when_some_come_back() {
    let log = Arc::new(MemoryLog::default());
    let shares = started(&log).await;
    let cell = shares.open(&key(0), async || Some(0)).await.unwrap();
    acquire(&shares, &cell, "a", 0, 9).await;
    let waiter = Arc::new(Notify::new());
    cell.watch(&waiter);
    let session = SessionKey { group: "g".into(), member: "a".into() };
    assert_eq!(shares.end_session(&session, &[(key(0).topic, 0), (key(0).topic, 7)], false), 10);
    tokio::time::timeout(Duration::from_secs(5), waiter.notified()).await.unwrap();
    assert_eq!(acquire(&shares, &cell, "b", 0, 9).await, 10);
}

#[tokio::test]
async fn offsets_are_told_set_and_deleted_for_good() {
    let log = Arc::new(MemoryLog::default());
    let shares = started(&log).await;
    for partition in 0..3 {
        shares.open(&key(partition), async || Some(5)).await.unwrap();
    }
    shares.set_start(&key(1), 77).await.unwrap();
    let starts = |shares: &Shares| -> Vec<_> {
        shares.of_group("g").unwrap().iter().map(|(_, partition, offsets)| (*partition, offsets.start)).collect()
    };
    assert_eq!(starts(&shares), [(0, Some(5)), (1, Some(77)), (2, Some(5))]);
    assert_eq!(starts(&started(&log).await), starts(&shares));
    assert_eq!(shares.delete("other", None).await, Ok(false));
    assert_eq!(shares.delete("g", Some(TopicId(Uuid::from_u128(2)))).await, Ok(false));
    assert_eq!(shares.delete("g", Some(key(0).topic)).await, Ok(true));
    assert!(starts(&shares).is_empty() && starts(&started(&log).await).is_empty());
    assert_eq!(shares.offsets(&key(0)), Ok(None));
    let cell = shares.open(&key(0), async || Some(9)).await.unwrap();
    assert_eq!(cell.look(SharePartition::start), Some(9), "it may begin again");
}

#[tokio::test]
async fn records_that_do_not_decode_are_passed_over() {
    let log = Arc::new(MemoryLog::default());
    let good = started(&log).await;
    good.open(&key(0), async || Some(5)).await.unwrap();
    let partition = log.records.lock()[0].0;
    for bad in [(Bytes::from_static(b"\0\0\0"), None), (Bytes::new(), None)] {
        log.records.lock().push((partition, bad));
    }
    let mut other = records::encode_key(&key(0)).to_vec();
    other[1] = 1;
    log.records.lock().push((partition, (other.into(), Some(Bytes::from_static(b"an update of Kafka's")))));
    let cell = started(&log).await.find(&key(0)).unwrap().unwrap();
    assert_eq!(cell.look(SharePartition::start), Some(5));
}
