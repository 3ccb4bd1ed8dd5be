//! Random histories of load, faults, kills and power cuts.
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::time::Duration;
use weir_protocol::ids::{Offset, PartitionId};
use weir_storage::disk::CrashDisk;
use weir_storage::log::{Durability, Storage};

use super::model::*;

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// What no sync covered may go.
    PowerCut,
    /// Nothing goes, but what no sync covered can still go in the next power cut.
    Kill,
}

struct History {
    seed: u64,
    durability: Durability,
    random: StdRng,
    disk: CrashDisk,
    producers: Producers,
    /// What was visible at some time, by partition: it stays (LOG-2).
    seen: Vec<Rows>,
    epoch: i32,
    acks: usize,
}

impl History {
    fn new(seed: u64, durability: Durability) -> History {
        History {
            seed,
            durability,
            random: StdRng::seed_from_u64(seed),
            disk: CrashDisk::new(),
            producers: new_producers(),
            seen: vec![Rows::new(); PARTITIONS as usize],
            epoch: 0,
            acks: 0,
        }
    }

    fn end(&mut self, end: End) {
        self.disk = match end {
            End::PowerCut => self.disk.after_power_cut(self.random.random()),
            End::Kill => self.disk.after_kill(),
        };
    }

    /// Starts on what is there. The power may go meanwhile, at any operation: what a start did must not matter.
    async fn open(&mut self, mut last: End, context: &str) -> Arc<Storage> {
        loop {
            if self.random.random_range(0..3) == 0 {
                self.disk.power_cut_after(self.random.random_range(0..90));
            }
            self.epoch += 1;
            let opened = open_with(&self.disk, self.epoch, self.durability).await;
            self.disk.power_cut_after(u64::MAX);
            match opened {
                Ok(storage) if !self.disk.is_off() => {
                    self.verify(&storage, last, context).await;
                    return storage;
                }
                Err(error) if !self.disk.is_off() => panic!("{context} after {last:?}: {error}"),
                // What it was before a kill may be lost to the power cut in the start after it.
                _ => {
                    let end = if self.random.random_range(0..3) == 0 { End::Kill } else { End::PowerCut };
                    last = if end == End::PowerCut { end } else { last };
                    self.end(end);
                    if let Ok(storage) = opened {
                        storage.shutdown().await;
                    }
                }
            }
        }
    }

    async fn verify(&mut self, storage: &Storage, last: End, context: &str) {
        if self.durability == Durability::Os && last == End::PowerCut {
            self.forget_what_was_lost(storage, context).await;
        }
        let rows = verify(storage, &self.producers, &format!("{context} after {last:?}")).await;
        for (index, (before, now)) in self.seen.iter().zip(&rows).enumerate() {
            for (offset, record) in before {
                let found = now.get(offset);
                assert_eq!(found, Some(record), "{context}: offset {offset} of partition {index} was visible");
            }
        }
        self.seen = rows;
    }

    /// Under `os` a power cut may take the newest records. What is left must still be a prefix.
    async fn forget_what_was_lost(&mut self, storage: &Storage, context: &str) {
        for (id, producer) in &self.producers {
            let rows = read_partition(storage, partition_of(*id)).await.unwrap_or_else(|e| panic!("{context}: {e}"));
            let found = rows.values().filter(|(p, _)| p == id).count() as i64;
            let mut producer = producer.lock();
            producer.acked.retain(|number, _| *number < found);
            if producer.unknown.is_some_and(|(first, _)| first > found) {
                producer.unknown = None;
            }
        }
        self.seen.iter_mut().for_each(Rows::clear);
    }

    /// Load until the power goes or the process is killed, with faults of the disk on some days.
    async fn round(&mut self, storage: Arc<Storage>, end: End, context: &str) {
        let load = Load::begin(&storage, &self.producers, self.random.random());
        // In any operation, so also between a write and its sync.
        self.disk.power_cut_after(self.random.random_range(20..1_200));
        // Each costs a retry interval.
        let mut faults = self.random.random_range(0..6u32).saturating_sub(3);
        while !self.disk.is_off() {
            if faults > 0 && self.random.random_range(0..10) == 0 {
                faults -= 1;
                self.fault().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            if let Some(producer) = load.ended() {
                panic!("{context}: producer {producer} ended early");
            }
        }
        self.end(end);
        self.acks += load.acks();
        load.end(context).await;
        // Of a process that died nothing is left: this ends its threads, and its disk is off.
        storage.shutdown().await;
    }

    async fn fault(&mut self) {
        // A background sync that failed stays failed until the next start, under `os`.
        if self.durability == Durability::Fsync && self.random.random_range(0..2) == 0 {
            self.disk.fail_next_syncs(self.random.random_range(1..4));
        } else {
            self.disk.set_free_bytes(Some(self.random.random_range(0..40_000)));
            tokio::time::sleep(Duration::from_millis(self.random.random_range(0..4))).await;
            self.disk.set_free_bytes(None);
        }
    }
}

async fn one_history(seed: u64, durability: Durability) -> usize {
    let mut history = History::new(seed, durability);
    let mut last = End::PowerCut;
    for round in 0..5 {
        let context = format!("seed {seed} round {round}");
        let storage = history.open(last, &context).await;
        last = if history.random.random_range(0..3) == 0 { End::Kill } else { End::PowerCut };
        history.round(storage, last, &context).await;
    }
    let end = format!("seed {} end", history.seed);
    history.open(last, &end).await.shutdown().await;
    history.acks
}

async fn run(quick: u64, durability: Durability) {
    let seeds = seeds(quick);
    let count = seeds.end - seeds.start;
    let mut acks = 0;
    for seed in seeds {
        acks += one_history(seed, durability).await;
    }
    assert!(acks as u64 > count * 20, "only {acks} batches were acked: the test tests little");
    println!("{count} histories under {durability:?}, {acks} acked batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acked_records_survive_power_cuts_and_kills() {
    run(50, Durability::Fsync).await;
}

/// Kills take nothing; power cuts take the end of the log, never something before what is left, and never the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_os_a_power_cut_takes_the_end_of_the_log_at_most() {
    run(25, Durability::Os).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_do_not_come_back_after_a_power_cut() {
    for seed in 0..20 {
        let (disk, producers) = filled(false).await;
        let storage = open(&disk, 2).await.unwrap();
        verify(&storage, &producers, "before").await;
        let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
        let to = Offset(partition.offsets().high_watermark.0 / 2);
        assert_eq!(storage.delete_records(&partition, Some(to)).await.unwrap(), to);
        drop(partition);
        drop(storage);
        let disk = disk.after_power_cut(seed);
        let storage = open(&disk, 3).await.unwrap();
        let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
        assert_eq!(partition.offsets().log_start, to, "seed {seed}");
        if seed >= 2 {
            break; // three outcomes of the cut are enough here; the histories above have hundreds
        }
    }
}
