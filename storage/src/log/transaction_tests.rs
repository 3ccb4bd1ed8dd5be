//! Transactions as the log sees them: open, ended, listed; through merge, compaction and restart.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use uuid::Uuid;
use weir_protocol::ids::{LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, BatchHeader, ControlType, EndTxnMarker, batches, decode};

use super::*;
use crate::disk::OsDisk;

const TOPIC: TopicId = TopicId(Uuid::from_u128(9));

async fn open(dir: &std::path::Path, epoch: i32, log: &LogConfig) -> Arc<Storage> {
    let disk = Arc::new(OsDisk::open(dir).unwrap());
    let spec = TopicSpec { topic: TOPIC, partitions: 1, config: Arc::new(log.clone()) };
    let config = StorageConfig {
        wal_file_bytes: 64 << 10,
        wal_max_bytes: 128 << 10,
        merge_partition_bytes: 8 << 10,
        housekeeping_interval_ms: 10,
        memory: super::tests::budget(),
        ..StorageConfig::default()
    };
    Storage::open(disk, config, LeaderEpoch(epoch), vec![spec], &|_| false).await.unwrap()
}

async fn submit(storage: &Storage, bytes: Bytes, origin: AppendOrigin) -> Result<Appended, AppendError> {
    let header = BatchHeader::parse(&bytes).unwrap();
    let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
    let pending = PendingAppend::rows(partition, BytesMut::from(&bytes[..]), header, origin);
    storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0)
}

/// A client that writes transactions one after the other, as the coordinator allows it.
struct Producer {
    id: i64,
    sequence: i32,
}

impl Producer {
    async fn write(&mut self, storage: &Storage, key: &str, value: &str) -> i64 {
        let (id, epoch) = (ProducerId(self.id), ProducerEpoch(0));
        let mut builder = BatchBuilder::new().producer(id, epoch, self.sequence).transactional();
        builder.append(Some(key.as_bytes()), Some(value.as_bytes()), &[], Timestamp(5_000)).unwrap();
        let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
        let origin = partition.transaction_guard(id, epoch).map_or(AppendOrigin::Client, AppendOrigin::Verified);
        self.sequence += 1;
        submit(storage, builder.build().unwrap(), origin).await.unwrap().base_offset.0
    }

    async fn end(&self, storage: &Storage, control_type: ControlType) -> i64 {
        let marker = EndTxnMarker {
            control_type,
            producer_id: ProducerId(self.id),
            producer_epoch: ProducerEpoch(0),
            coordinator_epoch: 1,
            timestamp: Timestamp(5_000),
        };
        submit(storage, marker.to_batch().unwrap(), AppendOrigin::Coordinator).await.unwrap().base_offset.0
    }
}

/// Reads as a Java consumer with read_committed does: hides batches of listed producers up to their abort marker.
async fn read_committed(storage: &Storage) -> Vec<(i64, String, String)> {
    let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
    let mut offset = partition.offsets().log_start;
    let mut out = Vec::new();
    loop {
        let request = ReadRequest { offset, max_bytes: 3_000, at_least_one: true, limit: ReadLimit::LastStable };
        let outcome = partition.read(request).await.unwrap();
        if outcome.bytes == 0 {
            return out;
        }
        let mut aborted = outcome.aborted;
        aborted.sort_by_key(|a| a.first_offset);
        let mut hidden: HashMap<i64, ()> = HashMap::new();
        let all: Bytes = outcome.chunks.concat().into();
        for batch in batches(&all) {
            let batch = batch.unwrap();
            aborted.retain(|a| {
                let due = a.first_offset <= batch.header.last_offset();
                if due {
                    hidden.insert(a.producer_id.0, ());
                }
                !due
            });
            let decoded = decode(batch.bytes, &Default::default()).unwrap();
            for record in decoded.records() {
                let record = record.unwrap();
                if batch.header.attributes.is_control() {
                    if ControlType::from_key(record.key.unwrap()) == Some(ControlType::Abort) {
                        hidden.remove(&batch.header.producer_id);
                    }
                } else if !hidden.contains_key(&batch.header.producer_id) {
                    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
                    out.push((record.offset(&batch.header).0, text(record.key), text(record.value)));
                }
            }
            offset = batch.header.next_offset();
        }
    }
}

fn offsets(storage: &Storage) -> LogOffsets {
    storage.partition(TOPIC, PartitionId(0)).unwrap().offsets()
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_readers_stop_at_the_first_open_transaction_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogConfig { retention_ms: None, ..LogConfig::default() };
    let (mut one, mut two) = (Producer { id: 1, sequence: 0 }, Producer { id: 2, sequence: 0 });
    {
        let storage = open(dir.path(), 1, &log).await;
        one.write(&storage, "a", "kept").await;
        two.write(&storage, "b", "never").await;
        one.end(&storage, ControlType::Commit).await;
        assert_eq!(offsets(&storage).last_stable, Offset(1));
        assert_eq!(read_committed(&storage).await, [(0, "a".into(), "kept".into())]);
        storage.shutdown().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let storage = open(dir.path(), 2, &log).await;
    assert_eq!((offsets(&storage).last_stable, offsets(&storage).high_watermark), (Offset(1), Offset(3)));
    let late = two.write(&storage, "b", "nor this").await;
    two.end(&storage, ControlType::Abort).await;
    one.write(&storage, "c", "kept too").await;
    one.end(&storage, ControlType::Commit).await;
    assert_eq!(late, 3);
    assert_eq!(read_committed(&storage).await, [(0, "a".into(), "kept".into()), (5, "c".into(), "kept too".into())]);
}

/// Seen failing: with aborted batches mapped like others, the committed value of a key was gone.
#[tokio::test(flavor = "multi_thread")]
async fn compaction_lets_no_aborted_record_supersede_a_committed_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogConfig {
        cleanup: CleanupPolicy { delete: false, compact: true },
        min_cleanable_dirty_ratio: 0.1,
        delete_retention_ms: 0,
        segment_ms: 1,
        ..LogConfig::default()
    };
    let filler = "x".repeat(300);
    let mut committed: HashMap<String, i64> = HashMap::new();
    let mut producers = [Producer { id: 1, sequence: 0 }, Producer { id: 2, sequence: 0 }];
    for epoch in 1..=2 {
        let storage = open(dir.path(), epoch, &log).await;
        for round in 0..120 {
            let key = format!("key{}", round % 7);
            for (index, producer) in producers.iter_mut().enumerate() {
                let commit = (round + index) % 2 == 0;
                let at = producer.write(&storage, &key, &format!("{commit}{filler}")).await;
                if commit {
                    committed.insert(key.clone(), at);
                    producer.end(&storage, ControlType::Commit).await;
                } else {
                    producer.end(&storage, ControlType::Abort).await;
                }
            }
        }
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let rows = read_committed(&storage).await;
            assert!(rows.iter().all(|(_, _, value)| value.starts_with("true")), "an aborted record is visible");
            for (key, at) in &committed {
                assert!(
                    rows.iter().any(|row| row.0 == *at && row.1 == *key),
                    "the last committed value of {key} is gone"
                );
            }
            if rows.len() <= committed.len() + 2 {
                break;
            }
            assert!(Instant::now() < limit, "{} rows are left", rows.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        storage.shutdown().await;
        drop(storage);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// As in Kafka: after a commit the largest timestamp is the marker's. Seen failing with control batches passed over.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_is_found_by_time_like_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path(), 1, &LogConfig::default()).await;
    let mut producer = Producer { id: 7, sequence: 0 };
    producer.write(&storage, "k", "v").await;
    let marker = EndTxnMarker {
        control_type: ControlType::Commit,
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(0),
        coordinator_epoch: 1,
        timestamp: Timestamp(6_000),
    };
    let marker = submit(&storage, marker.to_batch().unwrap(), AppendOrigin::Coordinator).await.unwrap().base_offset;
    let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
    let max = partition.offset_of_max_timestamp().await.unwrap().unwrap();
    let after = partition.offset_for_timestamp(Timestamp(5_500)).await.unwrap().unwrap();
    for found in [max, after] {
        assert_eq!((found.offset, found.timestamp), (marker, Timestamp(6_000)));
    }
    assert_eq!(partition.offset_for_timestamp(Timestamp(5_000)).await.unwrap().unwrap().offset, Offset(0));
}
