//! Damaged folders: WAL files, checkpoints, segments and the metadata log with random bytes changed, cut or filled.
//!
//! Whatever is damaged, opening and reading end in a clear error or in rows that were written; nothing panics, and nothing
//! is allocated because a length says so (a counting allocator watches). Seen failing: without the CRC of batches in
//! `segment/rows.rs` rows are served that nobody wrote (seed 17); with neither CRC nor bounds of a footer the process dies of an
//! allocation. WEIRTEST_FUZZ_SECONDS and WEIRTEST_SEED make it longer and other.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unsafe_code)] // a global allocator that counts cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;
use weir_protocol::ids::{LeaderEpoch, PartitionId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, BatchHeader, batches, decode};
use weir_storage::disk::{CrashDisk, Disk};
use weir_storage::log::{
    AckLevel, AppendOrigin, LogConfig, PendingAppend, ReadLimit, ReadRequest, Storage, StorageConfig, TopicSpec,
};
use weir_storage::meta::{EmbeddedMetadata, MetadataStore, Write};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: delegates to the system allocator; the counters do not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TOPIC: TopicId = TopicId(Uuid::from_u128(5));
/// All files together are about 300 KiB; what a damaged one may cost beyond the copies of the simulated disk.
const GROWTH_MAX: usize = 64 << 20;

fn config() -> StorageConfig {
    StorageConfig {
        wal_file_bytes: 32 << 10,
        wal_max_bytes: 128 << 10,
        merge_partition_bytes: 16 << 10,
        housekeeping_interval_ms: 5,
        ..StorageConfig::default()
    }
}

async fn open(disk: &CrashDisk) -> Result<Arc<Storage>, String> {
    let log = LogConfig { retention_ms: None, ..LogConfig::default() };
    let spec = TopicSpec { topic: TOPIC, partitions: 2, config: Arc::new(log) };
    let opened = Storage::open(Arc::new(disk.clone()), config(), LeaderEpoch(2), vec![spec], &|_| false).await;
    opened.map_err(|e| e.to_string())
}

/// A folder with WAL files, segments, a checkpoint and metadata; and what it holds.
async fn folder() -> (CrashDisk, BTreeMap<(i32, i64), Vec<u8>>) {
    let disk = CrashDisk::new();
    let meta = EmbeddedMetadata::open(Arc::new(disk.clone()), None).unwrap();
    for i in 0..50u8 {
        meta.transact(Vec::new(), vec![Write::Put(vec![b'k', i], vec![i; 20])]).await.unwrap();
    }
    let storage = open(&disk).await.unwrap();
    let mut rows = BTreeMap::new();
    for i in 0..300i64 {
        let partition = storage.partition(TOPIC, PartitionId((i % 2) as i32)).unwrap();
        let value = format!("{i}:{}", "v".repeat((i % 600) as usize)).into_bytes();
        let mut builder = BatchBuilder::new();
        builder.append(Some(b"k"), Some(&value), &[], Timestamp(1_000 + i)).unwrap();
        let bytes = builder.build().unwrap();
        let header = BatchHeader::parse(&bytes).unwrap();
        let batch = BytesMut::from(&bytes[..]);
        let pending = PendingAppend::rows(partition, batch, header, AppendOrigin::Client);
        let appended = storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
        rows.insert(((i % 2) as i32, appended.base_offset.0), value);
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    storage.shutdown().await;
    drop(storage);
    (disk.after_power_cut(1), rows)
}

async fn read_everything(storage: &Arc<Storage>, rows: &BTreeMap<(i32, i64), Vec<u8>>, context: &str) {
    for index in 0..2 {
        let Some(partition) = storage.partition(TOPIC, PartitionId(index)) else { continue };
        let mut offset = partition.offsets().log_start;
        loop {
            let request = ReadRequest { offset, max_bytes: 8_000, at_least_one: true, limit: ReadLimit::HighWatermark };
            let Ok(outcome) = partition.read(request).await else { break };
            if outcome.bytes == 0 {
                break;
            }
            for batch in batches(&outcome.chunks.concat()) {
                let batch = batch.unwrap();
                let decoded = decode(batch.bytes, &Default::default()).unwrap();
                for record in decoded.records() {
                    let record = record.unwrap();
                    let at = record.offset(&batch.header).0;
                    let expected = rows.get(&(index, at)).map(Vec::as_slice);
                    assert_eq!(record.value, expected, "{context}: partition {index} offset {at}");
                }
                offset = batch.header.next_offset();
            }
        }
        let _ = partition.offset_for_timestamp(Timestamp(1_100)).await;
        let _ = partition.offset_of_max_timestamp().await;
    }
}

/// Changes one file of the folder.
fn damage(disk: &CrashDisk, dir: &str, random: &mut StdRng) -> String {
    let mut names = disk.list(dir).unwrap();
    names.sort();
    let Some(name) = names.get(random.random_range(0..names.len().max(1))) else { return String::new() };
    let path = format!("{dir}/{name}");
    let file = disk.open(&path).unwrap();
    let len = file.len().unwrap().max(1);
    let mut heads = Vec::new();
    if dir == "wal" {
        let mut bytes = vec![0; len as usize];
        // The file of a simulated disk is as long as it says.
        file.read_at(0, &mut bytes).unwrap();
        heads.extend(bytes.windows(4).enumerate().filter(|(_, four)| *four == b"WCMT").map(|(at, _)| at as u64));
    }
    for _ in 0..random.random_range(1..4) {
        // What commits say of their entries (whose, where, of which kind) is in no batch's own checksum.
        if !heads.is_empty() && random.random_bool(0.5) {
            let at = heads[random.random_range(0..heads.len())] + random.random_range(48..100);
            file.write_at(at.min(len - 1), &[&[random.random()]]).unwrap();
            continue;
        }
        let at = random.random_range(0..len);
        match random.random_range(0..5) {
            0 => file.write_at(at, &[&[random.random()]]).unwrap(),
            1 => file.write_at(at, &[&[0xFF; 8][..random.random_range(1..=8)]]).unwrap(),
            2 => file.write_at(at, &[&[0; 512]]).unwrap(),
            3 => file.set_len(at).unwrap(),
            // Near the end lie the trailers and the newest records.
            _ => file.write_at(len.saturating_sub(random.random_range(1..64)), &[&[random.random()]]).unwrap(),
        }
    }
    file.sync_all().unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_folders_end_in_errors_or_in_rows_that_were_written() {
    #[allow(clippy::disallowed_methods)] // a test's own knobs
    let knob = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seconds = knob("WEIRTEST_FUZZ_SECONDS").unwrap_or(4);
    let (disk, rows) = folder().await;
    for dir in ["wal", "segments", "manifest", "meta"] {
        assert!(!disk.list(dir).unwrap().is_empty(), "the folder has files in {dir}");
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let first = knob("WEIRTEST_SEED").unwrap_or(1);
    let (mut seed, mut refused, mut opened) = (first, 0, 0);
    while Instant::now() < until {
        let mut random = StdRng::seed_from_u64(seed);
        let copy = disk.after_power_cut(0);
        let dir = ["wal", "segments", "manifest", "meta"][(seed % 4) as usize];
        let path = damage(&copy, dir, &mut random);
        let context = format!("seed {seed}, {path}");
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        if dir == "meta" {
            match EmbeddedMetadata::open(Arc::new(copy.clone()), None) {
                Ok(store) => {
                    opened += 1;
                    for (key, value) in store.scan(b"k").unwrap() {
                        assert_eq!(value.value, vec![key[1]; 20], "{context}");
                    }
                }
                Err(_) => refused += 1,
            }
        } else {
            match open(&copy).await {
                Ok(storage) => {
                    opened += 1;
                    read_everything(&storage, &rows, &context).await;
                }
                Err(_) => refused += 1,
            }
        }
        let growth = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        assert!(growth < GROWTH_MAX, "{context}: {growth} bytes were allocated");
        seed += 1;
    }
    assert!(refused > 5 && opened > 5, "{opened} opened, {refused} refused: the test tests little");
    println!("{} folders: {opened} opened, {refused} refused", seed - first);
}
