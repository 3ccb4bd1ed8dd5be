//! Producers that remember what they were acked, and the check of what is there against it.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use uuid::Uuid;
use weir_protocol::ids::{LeaderEpoch, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, BatchHeader, batches, decode};
use weir_storage::disk::CrashDisk;
use weir_storage::log::{
    AckLevel, AppendError, AppendOrigin, Durability, LogConfig, OpenError, PendingAppend, ReadError, ReadLimit,
    ReadRequest, Storage, StorageConfig, TopicSpec,
};
use weir_storage::memory::{MemoryBudget, Share, ShareLimits};

pub const TOPIC: TopicId = TopicId(Uuid::from_u128(42));
pub const PARTITIONS: i32 = 3;
pub const PRODUCERS: i64 = 4;

/// Seeds of `quick` histories; WEIRTEST_POWER_CUT_SEEDS makes it more, WEIRTEST_SEED makes it others.
pub fn seeds(quick: u64) -> std::ops::Range<u64> {
    #[allow(clippy::disallowed_methods)] // a test's own knobs
    let knob = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = knob("WEIRTEST_SEED").unwrap_or(0);
    first..first + knob("WEIRTEST_POWER_CUT_SEEDS").unwrap_or(quick)
}

/// A tail cache so small that most reads go to the disk.
fn budget() -> MemoryBudget {
    MemoryBudget::with_shares(64 << 20, |share| match share {
        Share::Tail => ShareLimits { reserved: 0, max: 8 << 10 },
        other => other.limits(64 << 20),
    })
}

pub fn config(durability: Durability) -> StorageConfig {
    StorageConfig {
        durability,
        os_sync_interval_ms: 5,
        wal_retry_interval_ms: 5,
        wal_file_bytes: 32 << 10,
        wal_max_bytes: 96 << 10,
        merge_partition_bytes: 16 << 10,
        housekeeping_interval_ms: 5,
        memory: budget(),
        commit_max_bytes: 8 << 10,
        columns: super::layout::format(),
        ..StorageConfig::default()
    }
}

pub async fn open(disk: &CrashDisk, epoch: i32) -> Result<Arc<Storage>, OpenError> {
    open_with(disk, epoch, Durability::Fsync).await
}

pub async fn open_with(disk: &CrashDisk, epoch: i32, durability: Durability) -> Result<Arc<Storage>, OpenError> {
    let log = LogConfig { retention_ms: None, layout: super::layout::layout(), ..LogConfig::default() };
    let spec = TopicSpec { topic: TOPIC, partitions: PARTITIONS, config: Arc::new(log) };
    Storage::open(Arc::new(disk.clone()), config(durability), LeaderEpoch(epoch), vec![spec], &|_| false).await
}

/// Batch number `n` of a producer: two to six records, the same bytes each time it is made.
pub fn make_batch(producer: i64, first: i64, count: i64) -> (BytesMut, BatchHeader) {
    let mut builder =
        BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(0), i32::try_from(first).unwrap());
    for n in first..first + count {
        let value = format!("{producer}:{n}:{}", "v".repeat((n % 300) as usize));
        builder.append(Some(b"k"), Some(value.as_bytes()), &[], Timestamp(1_000 + n)).unwrap();
    }
    let bytes = builder.build().unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    (BytesMut::from(&bytes[..]), header)
}

/// What one producer knows, across power cuts.
#[derive(Debug, Default)]
pub struct Producer {
    /// Records acked, by their number: partition offset.
    pub acked: BTreeMap<i64, i64>,
    /// A batch whose fate is unknown: (first record, count). Sent again after the restart.
    pub unknown: Option<(i64, i64)>,
}

pub type Producers = BTreeMap<i64, Arc<Mutex<Producer>>>;

impl Producer {
    fn next(&self) -> i64 {
        self.acked.last_key_value().map_or(0, |(n, _)| n + 1)
    }
}

pub fn partition_of(producer: i64) -> PartitionId {
    PartitionId((producer % i64::from(PARTITIONS)) as i32)
}

/// Sends batches until the power goes.
pub async fn produce(
    storage: Arc<Storage>,
    id: i64,
    producer: Arc<Mutex<Producer>>,
    mut random: StdRng,
    acks: Arc<AtomicUsize>,
) {
    loop {
        let (first, count) = {
            let mut state = producer.lock();
            let batch = state.unknown.unwrap_or_else(|| (state.next(), random.random_range(2..=6)));
            state.unknown = Some(batch);
            batch
        };
        let (batch, header) = make_batch(id, first, count);
        let partition = storage.partition(TOPIC, partition_of(id)).unwrap();
        let pending = PendingAppend::rows(partition, batch, header, AppendOrigin::Client);
        let result = storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0);
        match result {
            Ok(appended) => {
                let mut state = producer.lock();
                for i in 0..count {
                    state.acked.insert(first + i, appended.base_offset.0 + i);
                }
                state.unknown = None;
                acks.fetch_add(1, Ordering::Relaxed);
            }
            Err(AppendError::DiskFull | AppendError::LogUnavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(AppendError::ShuttingDown) => return,
            Err(error) => panic!("producer {id} batch {first}: {error}"),
        }
        if random.random_range(0..4) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Records by offset: (producer, number).
pub type Rows = BTreeMap<i64, (i64, i64)>;

/// All visible records of a partition.
pub async fn read_partition(storage: &Storage, partition: PartitionId) -> Result<Rows, ReadError> {
    let partition = storage.partition(TOPIC, partition).unwrap();
    let mut rows = BTreeMap::new();
    let mut offset = partition.offsets().log_start;
    loop {
        let request = ReadRequest { offset, max_bytes: 6_000, at_least_one: true, limit: ReadLimit::HighWatermark };
        let outcome = partition.read(request).await?;
        if outcome.bytes == 0 {
            assert_eq!(offset, partition.offsets().high_watermark, "reading reaches the high watermark");
            return Ok(rows);
        }
        let all = outcome.chunks.concat();
        for batch in batches(&all) {
            let batch = batch.unwrap();
            let decoded = decode(batch.bytes, &Default::default()).unwrap();
            for record in decoded.records() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                let mut parts = value.splitn(3, ':');
                let producer: i64 = parts.next().unwrap().parse().unwrap();
                let number: i64 = parts.next().unwrap().parse().unwrap();
                assert_eq!(parts.next().unwrap().len() as i64, number % 300, "bytes of the value");
                let at = record.offset(&batch.header).0;
                assert!(rows.insert(at, (producer, number)).is_none(), "offset {at} twice");
            }
            offset = batch.header.next_offset();
        }
    }
}

/// Reads everything and checks it against what the producers know; returns it by partition.
pub async fn verify(storage: &Storage, producers: &Producers, context: &str) -> Vec<Rows> {
    let mut all = Vec::new();
    for index in 0..PARTITIONS {
        let rows = read_partition(storage, PartitionId(index)).await.unwrap_or_else(|e| panic!("{context}: {e}"));
        let offsets: Vec<i64> = rows.keys().copied().collect();
        let expected: Vec<i64> = (0..rows.len() as i64).collect();
        assert_eq!(offsets, expected, "{context}: offsets of partition {index} are contiguous");
        for (id, producer) in producers.iter().filter(|(id, _)| partition_of(**id) == PartitionId(index)) {
            let producer = producer.lock();
            for (number, offset) in &producer.acked {
                assert_eq!(
                    rows.get(offset),
                    Some(&(*id, *number)),
                    "{context}: acked record {id}:{number} at {offset} is gone"
                );
            }
            let numbers: Vec<i64> = rows.values().filter(|(p, _)| p == id).map(|(_, n)| *n).collect();
            let in_order: Vec<i64> = (0..numbers.len() as i64).collect();
            assert_eq!(numbers, in_order, "{context}: records of producer {id} in order, none twice");
        }
        all.push(rows);
    }
    all
}

pub fn new_producers() -> Producers {
    (0..PRODUCERS).map(|id| (id, Arc::default())).collect()
}

/// The producers at work.
pub struct Load {
    pub acks: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn begin(storage: &Arc<Storage>, producers: &Producers, seed: u64) -> Load {
        let acks = Arc::new(AtomicUsize::new(0));
        let spawn = |(id, producer): (&i64, &Arc<Mutex<Producer>>)| {
            let random = StdRng::seed_from_u64(seed.wrapping_add(*id as u64));
            tokio::spawn(produce(storage.clone(), *id, producer.clone(), random, acks.clone()))
        };
        let tasks = producers.iter().map(spawn).collect();
        Load { acks, tasks }
    }

    pub fn acks(&self) -> usize {
        self.acks.load(Ordering::Relaxed)
    }

    /// A producer that gave up.
    pub fn ended(&self) -> Option<usize> {
        self.tasks.iter().position(JoinHandle::is_finished)
    }

    /// Ends it; fails with what a producer failed with.
    pub async fn end(self, context: &str) {
        for task in self.tasks {
            task.abort();
            if let Err(error) = task.await {
                assert!(error.is_cancelled(), "{context}: {error}");
            }
        }
    }
}

pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < limit, "{what} within 10 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A disk with a few hundred acked records, cleanly closed or not.
pub async fn filled(clean: bool) -> (CrashDisk, Producers) {
    let disk = CrashDisk::new();
    let storage = open(&disk, 1).await.unwrap();
    let producers = new_producers();
    let load = Load::begin(&storage, &producers, 0);
    wait_for("acks", async || load.acks() > 300).await;
    load.end("filled").await;
    wait_for("segments", async || storage.status().segment_bytes > 0).await;
    if clean {
        storage.shutdown().await;
    }
    drop(storage);
    (disk.after_power_cut(3), producers)
}
