//! Retention that waits for somebody, on a disk in memory. Which pieces go is in `retention.rs`.
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use uuid::Uuid;
use weir_protocol::ids::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, BatchHeader};

use super::tests::budget;
use super::*;
use crate::disk::CrashDisk;

const TOPIC: TopicId = TopicId(Uuid::from_u128(9));
const PATIENCE: Duration = Duration::from_secs(20);

fn config(max_bytes: Option<u64>) -> Arc<LogConfig> {
    Arc::new(LogConfig { retention_ms: Some(1), gate: Some(Gate { max_bytes }), ..LogConfig::default() })
}

async fn open(disk: &Arc<CrashDisk>, epoch: i32, max_bytes: Option<u64>) -> Arc<Storage> {
    let storage = StorageConfig {
        wal_file_bytes: 64 << 10,
        wal_max_bytes: 256 << 10,
        merge_partition_bytes: 16 << 10,
        housekeeping_interval_ms: 5,
        memory: budget(),
        ..StorageConfig::default()
    };
    let spec = TopicSpec { topic: TOPIC, partitions: 1, config: config(max_bytes) };
    Storage::open(disk.clone(), storage, LeaderEpoch(epoch), vec![spec], &|_| false).await.unwrap()
}

fn partition(storage: &Storage) -> Arc<Partition> {
    storage.partition(TOPIC, PartitionId(0)).unwrap()
}

/// Records that `retention.ms` has no use for, about 1 KiB each, a batch for each.
async fn append(storage: &Storage, records: usize) {
    for _ in 0..records {
        let mut builder = BatchBuilder::new();
        builder.append(None, Some(&[7; 1000]), &[], Timestamp(1000)).unwrap();
        let bytes = builder.build().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let partition = partition(storage);
        let batch = BytesMut::from(&bytes[..]);
        let pending = PendingAppend::rows(partition, batch, header, AppendOrigin::Client);
        storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
    }
}

async fn until(what: &str, partition: &Partition, right: impl Fn(&Partition) -> bool) {
    let begun = Instant::now();
    while !right(partition) {
        assert!(begun.elapsed() < PATIENCE, "{what}: {:?} {:?}", partition.offsets(), partition.gate());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// So many rounds of retention that whatever may go is gone.
async fn rounds() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

fn log_start(partition: &Partition) -> i64 {
    partition.offsets().log_start.0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_released_stays_and_what_was_goes() {
    let storage = open(&Arc::new(CrashDisk::new()), 1, None).await;
    let partition = partition(&storage);
    append(&storage, 100).await;
    rounds().await;
    assert_eq!(log_start(&partition), 0, "nobody said what is needed");
    until("kept bytes are told", &partition, |p| p.gate().held_bytes > 100_000).await;
    partition.release_below(Offset(60));
    until("what was released goes", &partition, |p| log_start(p) > 0).await;
    rounds().await;
    assert!(log_start(&partition) <= 60, "{}", log_start(&partition));
    partition.release_below(Offset(100));
    until("all of it goes", &partition, |p| log_start(p) == 100).await;
    until("nothing is kept", &partition, |p| p.gate() == GateFigures::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_limit_the_gate_gives_up_the_oldest_and_counts_them() {
    let storage = open(&Arc::new(CrashDisk::new()), 1, Some(50_000)).await;
    let partition = partition(&storage);
    append(&storage, 30).await;
    rounds().await;
    assert_eq!((log_start(&partition), partition.gate().dropped), (0, 0), "within the limit");
    append(&storage, 200).await;
    until("the oldest go", &partition, |p| log_start(p) > 0 && p.gate().held_bytes <= 50_000).await;
    assert_eq!(partition.gate().dropped, log_start(&partition).unsigned_abs());
    // A config without the gate keeps nothing.
    storage.update_config(TOPIC, Arc::new(LogConfig { retention_ms: Some(1), ..LogConfig::default() }));
    until("no gate", &partition, |p| log_start(p) == 230).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_keeps_no_more_than_is_free_on_the_disk() {
    let disk = Arc::new(CrashDisk::new());
    let storage = open(&disk, 1, None).await;
    let partition = partition(&storage);
    append(&storage, 100).await;
    rounds().await;
    assert_eq!(log_start(&partition), 0);
    disk.set_free_bytes(Some(70_000));
    until("the oldest go", &partition, |p| p.gate().dropped > 0).await;
    disk.set_free_bytes(None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_keeps_everything_again_and_deleting_records_waits_for_nobody() {
    let disk = Arc::new(CrashDisk::new());
    let storage = open(&disk, 1, None).await;
    append(&storage, 20).await;
    partition(&storage).release_below(Offset(10));
    rounds().await;
    let start = log_start(&partition(&storage));
    storage.shutdown().await;
    drop(storage);
    let storage = open(&disk, 2, None).await;
    append(&storage, 50).await;
    rounds().await;
    let partition = partition(&storage);
    assert_eq!(log_start(&partition), start, "what was released before is not known");
    assert_eq!(storage.delete_records(&partition, Some(Offset(40))).await.unwrap(), Offset(40));
    assert_eq!(log_start(&partition), 40);
    partition.release_below(Offset(70));
    until("all of it goes", &partition, |p| log_start(p) == 70).await;
    partition.hold();
    append(&storage, 50).await;
    rounds().await;
    assert_eq!(log_start(&partition), 70);
}
