//! kill -9 under load: what was acknowledged is there, nothing twice, nothing out of order.
//!
//! The oracle is what the clients of this process were acknowledged, never what weir says of itself. Producers are
//! idempotent: a batch whose answer was lost is sent again after the restart, with the same sequence.
//!
//! How to see it fail (recipe, not tried yet): with `AckLevel::Durable` answered before the WAL write (the reply moved in front of the commit in
//! `storage/src/log/commit.rs`), records are reported lost within the first cycles; with `producers.record` skipped during
//! replay (`storage/src/log/recovery.rs`), duplicates are.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::{BatchBuilder, Compression, decode};

use crate::server::{free_port, start_weir};
use crate::wire::{Connection, fetch_request, fetch_response, produce_request, produce_response, whole_batches};

const TOPIC: &str = "crash";
const PARTITIONS: i32 = 6;
const PRODUCERS: i64 = 8;

pub struct Options {
    pub weir: PathBuf,
    pub cycles: u32,
    pub seed: u64,
    /// Stop early when so many records were acknowledged.
    pub records_max: u64,
    pub durability: &'static str,
}

/// What one producer knows.
#[derive(Default)]
struct Ledger {
    /// Record number -> offset.
    acked: BTreeMap<i64, i64>,
    /// A batch without an answer: (first number, count).
    open: Option<(i64, i64)>,
}

pub struct Outcome {
    pub cycles: u32,
    pub acked: u64,
    pub compared: u64,
    pub resent: u64,
    pub slowest_restart: Duration,
}

fn partition_of(producer: i64) -> i32 {
    (producer % i64::from(PARTITIONS)) as i32
}

fn batch(id: (i64, i16), producer: i64, first: i64, count: i64) -> Result<Vec<u8>> {
    let mut builder = BatchBuilder::new().producer(ProducerId(id.0), ProducerEpoch(id.1), i32::try_from(first)?);
    if producer % 2 == 0 {
        builder = builder.compression(Compression::Lz4, None);
    }
    for number in first..first + count {
        let value = format!("{producer}:{number}:{}", "x".repeat((number * 37 % 900) as usize));
        builder.append(Some(b"key"), Some(value.as_bytes()), &[], Timestamp(1_700_000_000_000 + number))?;
    }
    Ok(builder.build()?.to_vec())
}

/// Produces until told to stop or the connection breaks.
fn produce(
    address: &str,
    producer: i64,
    id: (i64, i16),
    ledger: &Mutex<Ledger>,
    stop: &AtomicBool,
    resent: &Mutex<u64>,
    seed: u64,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut connection = Connection::open(address)?;
    let mut response = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (first, count) = {
            let mut ledger = ledger.lock().map_err(|_| anyhow::anyhow!("a producer panicked"))?;
            let next = ledger.acked.last_key_value().map_or(0, |(n, _)| n + 1);
            if ledger.open.is_some() {
                *resent.lock().map_err(|_| anyhow::anyhow!("a producer panicked"))? += 1;
            }
            let open = ledger.open.unwrap_or_else(|| (next, random.random_range(1..60)));
            ledger.open = Some(open);
            open
        };
        let bytes = batch(id, producer, first, count)?;
        let correlation = connection.next_correlation();
        connection.send(&produce_request(correlation, TOPIC, -1, &[(partition_of(producer), &bytes)]))?;
        connection.receive(&mut response)?;
        let (_, error, base) = *produce_response(&response)?.first().context("an empty produce response")?;
        match error {
            0 => {
                let mut ledger = ledger.lock().map_err(|_| anyhow::anyhow!("a producer panicked"))?;
                for i in 0..count {
                    ledger.acked.insert(first + i, base + i);
                }
                ledger.open = None;
            }
            // Retriable while starting or stopping.
            3 | 5 | 6 | 7 | 56 => std::thread::sleep(Duration::from_millis(5)),
            other => bail!("producer {producer}: batch {first} was refused with error {other}"),
        }
    }
    Ok(())
}

/// Reads a partition from the start and checks it against the ledgers of its producers.
fn verify(address: &str, partition: i32, ledgers: &[Arc<Mutex<Ledger>>]) -> Result<u64> {
    let mut connection = Connection::open(address)?;
    let mut offset = 0;
    let mut response = Vec::new();
    let mut seen: BTreeMap<i64, i64> = BTreeMap::new();
    let mut compared = 0;
    let end = connection.list_offset(TOPIC, partition, -1)?;
    while offset < end {
        let correlation = connection.next_correlation();
        connection.send(&fetch_request(correlation, TOPIC, &[(partition, offset)], 100, 4 << 20))?;
        connection.receive(&mut response)?;
        let fetched = fetch_response(&response)?;
        let part = fetched.first().context("an empty fetch response")?;
        ensure!(part.error == 0, "fetch of partition {partition} at {offset}: error {}", part.error);
        ensure!(!part.records.is_empty(), "partition {partition}: nothing at offset {offset}, below the end {end}");
        for (base, next, bytes) in whole_batches(part.records) {
            ensure!(base == offset, "partition {partition}: offset {base} follows {offset}");
            let decoded = decode(bytes, &Default::default())?;
            for record in decoded.records() {
                let record = record?;
                let at = record.offset(&decoded.header).0;
                let value = std::str::from_utf8(record.value.context("a null value")?)?;
                let mut parts = value.splitn(3, ':');
                let producer: i64 = parts.next().context("no producer")?.parse()?;
                let number: i64 = parts.next().context("no number")?.parse()?;
                let expected = seen.entry(producer).or_insert(0);
                ensure!(
                    number == *expected,
                    "partition {partition} offset {at}: producer {producer} record {number}, expected {expected}: lost, doubled or reordered"
                );
                *expected += 1;
                let ledger = ledgers[producer as usize].lock().map_err(|_| anyhow::anyhow!("a producer panicked"))?;
                if let Some(acked) = ledger.acked.get(&number) {
                    ensure!(*acked == at, "record {producer}:{number} was acked at {acked} and is at {at}");
                    compared += 1;
                }
            }
            offset = next;
        }
    }
    for (producer, ledger) in ledgers.iter().enumerate() {
        if partition_of(producer as i64) != partition {
            continue;
        }
        let ledger = ledger.lock().map_err(|_| anyhow::anyhow!("a producer panicked"))?;
        let acked = ledger.acked.len() as i64;
        let found = seen.get(&(producer as i64)).copied().unwrap_or(0);
        ensure!(found >= acked, "producer {producer}: {acked} records acked, {found} found");
    }
    Ok(compared)
}

/// Runs the cycles; fails with the first thing that is wrong.
pub fn run(options: &Options) -> Result<Outcome> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let folder = std::env::temp_dir().join(format!("weir-crash-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let result = cycles(options, &folder, &mut random);
    if result.is_ok() {
        std::fs::remove_dir_all(&folder)?;
    } else {
        eprintln!("data folder kept: {}", folder.display());
    }
    result
}

fn cycles(options: &Options, folder: &Path, random: &mut StdRng) -> Result<Outcome> {
    let ledgers: Vec<Arc<Mutex<Ledger>>> = (0..PRODUCERS).map(|_| Arc::default()).collect();
    let mut ids: Vec<(i64, i16)> = Vec::new();
    let resent = Arc::new(Mutex::new(0));
    let mut outcome = Outcome { cycles: 0, acked: 0, compared: 0, resent: 0, slowest_restart: Duration::ZERO };
    // Small files, so that merges, rolls and checkpoints happen within a cycle.
    let extra = [
        "--durability",
        options.durability,
        "--set",
        "wal.file.bytes=1MiB",
        "--set",
        "wal.max.bytes=4MiB",
        "--set",
        "merge.partition.bytes=512KiB",
    ];
    for cycle in 0..=options.cycles {
        let mut server = start_weir(&options.weir, &folder.join("data"), free_port()?, None, &extra)?;
        outcome.slowest_restart = outcome.slowest_restart.max(server.ready_after);
        if cycle == 0 {
            let mut connection = Connection::open(&server.address)?;
            connection.create_topic(TOPIC, PARTITIONS, &[])?;
            for _ in 0..PRODUCERS {
                ids.push(connection.producer_id()?);
            }
        }
        for partition in 0..PARTITIONS {
            let compared = verify(&server.address, partition, &ledgers)
                .with_context(|| format!("seed {} cycle {cycle}", options.seed))?;
            outcome.compared = if partition == 0 { compared } else { outcome.compared + compared };
        }
        if cycle == options.cycles || outcome.compared >= options.records_max {
            break;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (address, ledger, stop) =
                    (server.address.clone(), ledgers[producer as usize].clone(), stop.clone());
                let (id, resent, seed) = (ids[producer as usize], resent.clone(), random.random());
                std::thread::spawn(move || produce(&address, producer, id, &ledger, &stop, &resent, seed))
            })
            .collect();
        let until = Instant::now() + Duration::from_millis(random.random_range(150..1_500));
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
            ensure!(server.is_alive(), "weir ended by itself in cycle {cycle}");
        }
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            match thread.join() {
                // The connection breaks when the broker is killed: that is the test.
                Ok(Err(error)) if error.downcast_ref::<std::io::Error>().is_some() => {}
                Ok(result) => result?,
                Err(_) => bail!("a producer panicked"),
            }
        }
        outcome.cycles += 1;
    }
    outcome.acked = ledgers.iter().map(|l| l.lock().map_or(0, |l| l.acked.len() as u64)).sum();
    outcome.resent = *resent.lock().map_err(|_| anyhow::anyhow!("a producer panicked"))?;
    ensure!(
        outcome.acked > u64::from(outcome.cycles) * 100,
        "only {} records were acked: the test tests little",
        outcome.acked
    );
    Ok(outcome)
}
