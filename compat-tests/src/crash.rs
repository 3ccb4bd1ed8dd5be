//! kill -9 under load: what was acknowledged is there, nothing twice, nothing out of order, and what a consumer saw stays.
//!
//! The oracle is what the clients of this process were acknowledged, never what weir says of itself. Producers are
//! idempotent: a batch whose answer was lost is sent again after the restart, with the same sequence. A consumer for each
//! partition follows the end of the log meanwhile. After each kill what was not compared before is; everything is after every
//! 25th and the last. With a folder given, a run that was stopped goes on where it was.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::{BatchBuilder, Compression, decode};

use crate::server::{Server, free_port, start_weir};
use crate::wire::{Connection, fetch_request, fetch_response, produce_request, produce_response, whole_batches};
use ledger::{Ledger, Ledgers, Seen, locked};

mod ledger;

const TOPIC: &str = "crash";
const PARTITIONS: i32 = 6;
const PRODUCERS: i64 = 8;
/// Everything is compared after so many kills, otherwise what is new.
const COMPARE_ALL: u32 = 25;

pub struct Options {
    pub weir: PathBuf,
    /// Kills at least.
    pub cycles: u32,
    pub seed: u64,
    /// There are more kills until so many records were acknowledged.
    pub records: u64,
    pub durability: &'static str,
    /// The topic is typed, and merges store it in this `weir.layout`.
    pub layout: Option<String>,
    /// Kept until the run has passed; a run that finds one there goes on with it.
    pub folder: Option<PathBuf>,
}

#[derive(Default)]
pub struct Outcome {
    pub seed: u64,
    /// Kills that an earlier run had done.
    pub resumed_at: u32,
    pub cycles: u32,
    pub acked: u64,
    pub compared: u64,
    pub resent: u64,
    pub slowest_restart: Duration,
}

fn partition_of(producer: i64) -> i32 {
    (producer % i64::from(PARTITIONS)) as i32
}

/// The columns of the typed topic.
const SCHEMA: &str = "producer BIGINT NOT NULL, number BIGINT NOT NULL, padding STRING";

/// What a record holds. Of a typed topic it is JSON in several shapes, some of which no shape reproduces.
fn value_of(typed: bool, producer: i64, number: i64) -> String {
    let padding = "x".repeat((number * 37 % 300) as usize);
    match (typed, number % 50) {
        (false, _) => format!("{producer}:{number}:{padding}"),
        (true, 7) => format!("{{ \"producer\" :{producer}, \"padding\":\"\\u0078{padding}\",\"number\": {number}}}"),
        (true, 1..20) => format!("{{\"number\": {number}, \"producer\": {producer}, \"padding\": \"{padding}\"}}"),
        (true, _) => format!("{{\"producer\":{producer},\"number\":{number},\"padding\":\"{padding}\"}}"),
    }
}

/// One of the producers.
#[derive(Clone, Copy)]
struct Producer {
    number: i64,
    /// Producer id and epoch.
    id: (i64, i16),
    typed: bool,
}

fn batch(Producer { number: producer, id, typed }: Producer, first: i64, count: i64) -> Result<Vec<u8>> {
    let mut builder = BatchBuilder::new().producer(ProducerId(id.0), ProducerEpoch(id.1), i32::try_from(first)?);
    if producer % 2 == 0 {
        builder = builder.compression(Compression::Lz4, None);
    }
    for number in first..first + count {
        let value = value_of(typed, producer, number);
        builder.append(Some(b"key"), Some(value.as_bytes()), &[], Timestamp(1_700_000_000_000 + number))?;
    }
    Ok(builder.build()?.to_vec())
}

/// Produces until told to stop or the connection breaks.
fn produce(
    address: &str,
    producer: Producer,
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
            let mut ledger = locked(ledger)?;
            if ledger.open.is_some() {
                *locked(resent)? += 1;
            }
            let open = ledger.open.unwrap_or_else(|| (ledger.acked.len() as i64, random.random_range(1..200)));
            ledger.open = Some(open);
            open
        };
        let bytes = batch(producer, first, count)?;
        let correlation = connection.next_correlation();
        connection.send(&produce_request(correlation, TOPIC, -1, &[(partition_of(producer.number), &bytes)]))?;
        connection.receive(&mut response)?;
        let (_, error, base) = *produce_response(&response)?.first().context("an empty produce response")?;
        match error {
            0 => {
                let mut ledger = locked(ledger)?;
                ledger.acked.extend(base..base + count);
                ledger.open = None;
            }
            // Retriable: while starting or stopping, or while the log is full.
            3 | 5 | 6 | 7 | 19 | 56 => std::thread::sleep(Duration::from_millis(5)),
            other => bail!("producer {}: batch {first} was refused with error {other}", producer.number),
        }
    }
    Ok(())
}

/// Follows the end of a partition and remembers the last record it saw.
fn follow(address: &str, partition: i32, seen: &Mutex<Option<Seen>>, stop: &AtomicBool) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let mut offset = connection.list_offset(TOPIC, partition, -1)?;
    let mut response = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let correlation = connection.next_correlation();
        connection.send(&fetch_request(correlation, TOPIC, &[(partition, offset)], 100, 1 << 20))?;
        connection.receive(&mut response)?;
        let fetched = fetch_response(&response)?;
        let part = fetched.first().context("an empty fetch response")?;
        ensure!(part.error == 0, "fetch of partition {partition} at {offset}: error {}", part.error);
        for (base, next, bytes) in whole_batches(part.records) {
            ensure!(base == offset, "partition {partition}: offset {base} follows {offset}");
            let decoded = decode(bytes, &Default::default())?;
            let last = decoded.records().last().context("an empty batch")??;
            let (producer, number) = parse(last.value)?;
            *locked(seen)? = Some((last.offset(&decoded.header).0, producer, number));
            offset = next;
        }
    }
    Ok(())
}

/// Producer and number of a record, every byte of which was looked at.
fn parse(value: Option<&[u8]>) -> Result<(i64, i64)> {
    let value = std::str::from_utf8(value.context("a null value")?)?;
    let typed = value.starts_with('{');
    let (producer, number) = if typed {
        let json: serde_json::Value = serde_json::from_str(value)?;
        (json["producer"].as_i64(), json["number"].as_i64())
    } else {
        let mut parts = value.splitn(3, ':');
        let mut number = || parts.next().and_then(|part| part.parse().ok());
        (number(), number())
    };
    let (producer, number) = (producer.context("no producer")?, number.context("no number")?);
    ensure!(value == value_of(typed, producer, number), "record {producer}:{number} came back as {value}");
    Ok((producer, number))
}

/// How far a partition was compared: the next offset, records found by producer, and how many of them were acked.
#[derive(Clone, Default)]
struct Progress {
    offset: i64,
    found: Vec<i64>,
    compared: u64,
}

/// Reads a partition on and checks it against the ledgers of its producers.
fn verify(address: &str, partition: i32, ledgers: &Ledgers, progress: Progress) -> Result<Progress> {
    let mut connection = Connection::open(address)?;
    let mut response = Vec::new();
    let Progress { mut offset, mut found, mut compared } = progress;
    found.resize(ledgers.producers.len(), 0);
    let seen = *locked(&ledgers.seen[partition as usize])?;
    let mut saw_again = seen.is_none_or(|(at, ..)| at < offset);
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
                let (producer, number) = parse(record.value)?;
                let expected = found.get_mut(producer as usize).context("an unknown producer")?;
                ensure!(
                    number == *expected,
                    "partition {partition} offset {at}: producer {producer} record {number}, expected {expected}: lost, doubled or reordered"
                );
                *expected += 1;
                saw_again |= seen == Some((at, producer, number));
                let ledger = locked(&ledgers.producers[producer as usize])?;
                if let Some(acked) = ledger.acked.get(number as usize) {
                    ensure!(*acked == at, "record {producer}:{number} was acked at {acked} and is at {at}");
                    compared += 1;
                }
            }
            offset = next;
        }
    }
    ensure!(saw_again, "partition {partition}: a consumer saw {seen:?} (offset, producer, number), and it is gone");
    for (producer, ledger) in ledgers.producers.iter().enumerate() {
        if partition_of(producer as i64) == partition {
            let acked = locked(ledger)?.acked.len() as i64;
            ensure!(found[producer] >= acked, "producer {producer}: {acked} records acked, {} found", found[producer]);
        }
    }
    Ok(Progress { offset, found, compared })
}

/// Runs the cycles; fails with the first thing that is wrong.
pub fn run(options: &Options) -> Result<Outcome> {
    let folder = options
        .folder
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("weir-crash-{}", std::process::id())));
    if options.folder.is_none() {
        let _ = std::fs::remove_dir_all(&folder);
    }
    std::fs::create_dir_all(&folder)?;
    let result = cycles(options, &folder);
    if result.is_ok() {
        std::fs::remove_dir_all(&folder)?;
    } else {
        eprintln!("data folder kept: {}", folder.display());
    }
    result
}

fn cycles(options: &Options, folder: &Path) -> Result<Outcome> {
    let mut ledgers = match Ledgers::load(folder, PRODUCERS, PARTITIONS)? {
        Some(ledgers) => ledgers,
        None => Ledgers::new(options.seed, PRODUCERS, PARTITIONS),
    };
    let mut outcome = Outcome { resumed_at: ledgers.cycles, seed: ledgers.seed, ..Outcome::default() };
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
    let mut progress = vec![Progress::default(); PARTITIONS as usize];
    loop {
        let cycle = ledgers.cycles;
        let mut random = StdRng::seed_from_u64(ledgers.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(cycle)));
        let mut server = start_weir(&options.weir, &folder.join("data"), free_port()?, None, &extra)?;
        outcome.slowest_restart = outcome.slowest_restart.max(server.ready_after);
        if cycle == 0 {
            let mut connection = Connection::open(&server.address)?;
            // The records' timestamps are old, and all of them are compared.
            let mut configs = vec![("retention.ms", "-1")];
            if let Some(layout) = &options.layout {
                configs.extend([("weir.table.schema", SCHEMA), ("weir.layout", layout)]);
            }
            connection.create_topic(TOPIC, PARTITIONS, &configs)?;
            for _ in 0..PRODUCERS {
                ledgers.ids.push(connection.producer_id()?);
            }
        }
        let last = cycle >= options.cycles && ledgers.acked()? >= options.records;
        if last || cycle.is_multiple_of(COMPARE_ALL) {
            progress.fill(Progress::default());
        }
        for (partition, progress) in (0..PARTITIONS).zip(&mut progress) {
            let verified = verify(&server.address, partition, &ledgers, std::mem::take(progress));
            *progress = verified.with_context(|| format!("seed {} cycle {cycle}", ledgers.seed))?;
        }
        if last {
            let files = settled_files(folder)?;
            let columns = files.iter().filter(|name| name.ends_with(".arrow")).count();
            let wanted = options.layout.as_deref().is_some_and(|layout| layout != "row");
            ensure!((columns > 0) == wanted, "{columns} column files in a topic of layout {:?}", options.layout);
            // A start removes what nobody refers to: a broker that rests has nothing of the kind.
            server.kill();
            server = start_weir(&options.weir, &folder.join("data"), free_port()?, None, &extra)?;
            let kept = settled_files(folder)?;
            ensure!(files == kept, "orphans: {files:?} before the last start, {kept:?} behind it");
            server.kill();
            break;
        }
        let load = Duration::from_millis(random.random_range(150..1_500));
        under_load(&mut server, &ledgers, options.layout.is_some(), load, &mut random)
            .with_context(|| format!("cycle {cycle}"))?;
        ledgers.cycles += 1;
        ledgers.save(folder)?;
        if ledgers.cycles.is_multiple_of(10) {
            println!("{} kills, {} records acked", ledgers.cycles, ledgers.acked()?);
        }
    }
    (outcome.cycles, outcome.acked) = (ledgers.cycles, ledgers.acked()?);
    outcome.compared = progress.iter().map(|p| p.compared).sum();
    outcome.resent = *locked(&ledgers.resent)?;
    let least = u64::from(outcome.cycles) * 100;
    ensure!(outcome.acked > least, "only {} records were acked: the test tests little", outcome.acked);
    Ok(outcome)
}

/// Names of the segments' files when no merge is under way any more.
fn settled_files(folder: &Path) -> Result<Vec<String>> {
    let list = || -> Result<Vec<String>> {
        let entries = std::fs::read_dir(folder.join("data/segments"))?;
        let mut names =
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let mut before = list()?;
    for _ in 0..30 {
        std::thread::sleep(Duration::from_secs(1));
        let now = list()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    bail!("merges do not come to an end: {before:?}")
}

/// Lets all clients work for a while, then kills the broker.
fn under_load(server: &mut Server, ledgers: &Ledgers, typed: bool, time: Duration, random: &mut StdRng) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for producer in 0..PRODUCERS {
        let (address, stop, ledger) =
            (server.address.clone(), stop.clone(), ledgers.producers[producer as usize].clone());
        let (resent, seed) = (ledgers.resent.clone(), random.random());
        let producer = Producer { number: producer, id: ledgers.ids[producer as usize], typed };
        threads.push(std::thread::spawn(move || produce(&address, producer, &ledger, &stop, &resent, seed)));
    }
    for partition in 0..PARTITIONS {
        let (address, stop) = (server.address.clone(), stop.clone());
        let seen = ledgers.seen[partition as usize].clone();
        threads.push(std::thread::spawn(move || follow(&address, partition, &seen, &stop)));
    }
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
        ensure!(server.is_alive(), "weir ended by itself");
    }
    server.kill();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        match thread.join() {
            // The connection breaks when the broker is killed: that is the test.
            Ok(Err(error)) if error.downcast_ref::<std::io::Error>().is_some() => {}
            Ok(result) => result?,
            Err(_) => bail!("a client panicked"),
        }
    }
    Ok(())
}
