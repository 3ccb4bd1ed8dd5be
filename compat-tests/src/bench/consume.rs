//! Consume: from the tail, and cold.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::produce::{Load, drive};
use super::{Durable, Figure, Options, PARTITIONS, Row, Subject, in_turn, subject};
use crate::server::usage;
use crate::wire::{Connection, fetch_request, fetch_response, whole_batches};

/// What a consumer asks for at once, each partition: the Java client's default.
const FETCH_BYTES: i32 = 1 << 20;

/// Reads all partitions up to `ends`, round and round; returns the bytes of records.
fn read_to(address: &str, topic: &str, mut positions: Vec<(i32, i64)>, ends: &[i64], limit: Duration) -> Result<u64> {
    let mut connection = Connection::open(address)?;
    let mut response = Vec::new();
    let mut bytes = 0;
    let until = Instant::now() + limit;
    while positions.iter().zip(ends).any(|((_, at), end)| at < end) {
        ensure!(Instant::now() < until, "the end is not reached in {limit:?}: {positions:?} of {ends:?}");
        let correlation = connection.next_correlation();
        connection.send(&fetch_request(correlation, topic, &positions, 500, FETCH_BYTES))?;
        connection.receive(&mut response)?;
        for part in fetch_response(&response)? {
            ensure!(part.error == 0, "fetch failed with error {}", part.error);
            let position = positions.iter_mut().find(|(p, _)| *p == part.partition).context("a stray partition")?;
            for (base, next, batch) in whole_batches(part.records) {
                ensure!(base <= position.1 || position.1 == 0, "offsets are contiguous");
                position.1 = next;
                bytes += batch.len() as u64;
            }
        }
        // Kafka answers the first partitions of the list first.
        positions.rotate_left(1);
    }
    Ok(bytes)
}

/// A consumer that reads a topic from the start, over and over, at a rate.
pub struct Beside {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Result<u64>>,
}

impl Beside {
    pub fn start(address: &str, topic: &'static str, bytes_a_second: u64) -> Result<Beside> {
        let stop = Arc::new(AtomicBool::new(false));
        let (address, told) = (address.to_owned(), stop.clone());
        let reader = std::thread::spawn(move || {
            let mut connection = Connection::open(&address)?;
            let ends: Vec<i64> =
                (0..PARTITIONS).map(|p| connection.list_offset(topic, p, -1)).collect::<Result<_>>()?;
            let (started, mut bytes) = (Instant::now(), 0);
            while !told.load(Ordering::Relaxed) {
                // A few MiB at a time, from anywhere: what is behind the reader is as cold as what is before it.
                for (p, end) in (0..PARTITIONS).zip(&ends) {
                    let step = end / 64;
                    let at = (bytes >> 20) as i64 % 64 * step;
                    bytes += read_to(&address, topic, vec![(p, at)], &[at + step.min(2_000)], Duration::from_secs(60))?;
                    let due = Duration::from_secs_f64(bytes as f64 / bytes_a_second as f64);
                    std::thread::sleep(due.saturating_sub(started.elapsed()).min(Duration::from_secs(1)));
                }
            }
            Ok(bytes)
        });
        Ok(Beside { stop, reader })
    }

    /// Returns the bytes that were read.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    }
}

fn ends(subject: &Subject, load: &Load) -> Result<Vec<i64>> {
    let mut connection = Connection::open(&subject.server.address)?;
    (0..load.partitions).map(|p| connection.list_offset(load.topic, p, -1)).collect()
}

fn measured(subject: &Subject, load: &Load, run: impl FnOnce() -> Result<u64>) -> Result<Vec<Figure>> {
    let _ = load;
    let (before, own) = (subject.server.usage()?, usage(std::process::id())?);
    let started = Instant::now();
    let bytes = run()?;
    let seconds = started.elapsed().as_secs_f64();
    let (after, own_after) = (subject.server.usage()?, usage(std::process::id())?);
    let gigabytes = bytes as f64 / 1e9;
    Ok(vec![
        Figure::new("throughput", "MB/s", gigabytes * 1000.0 / seconds),
        Figure::new("broker CPU", "s/GB", (after.cpu_seconds - before.cpu_seconds) / gigabytes),
        Figure::new("peak memory", "MiB", after.peak_rss_mib),
        Figure::new("generator", "cores", (own_after.cpu_seconds - own.cpu_seconds) / seconds),
    ])
}

/// What was produced a moment ago, still in the broker's memory or the page cache: read as fast as it comes.
pub fn tail(options: &Options) -> Result<Vec<Row>> {
    let load = Load::batches_16k();
    in_turn(options, |kafka, _| {
        let subject = subject(options, kafka, Durable::Os)?;
        drive(&subject, &load, Duration::from_secs(1))?;
        let ends = ends(&subject, &load)?;
        // The newest 96 MiB, over and over: what a consumer that keeps up reads.
        let back = (96 << 20) / 1024 / i64::from(load.partitions);
        let from: Vec<(i32, i64)> = ends.iter().enumerate().map(|(p, end)| (p as i32, (end - back).max(0))).collect();
        let limit = Duration::from_secs(60);
        read_to(&subject.server.address, load.topic, from.clone(), &ends, limit)?;
        measured(&subject, &load, || {
            let mut bytes = 0;
            let until = Instant::now() + Duration::from_secs(options.seconds);
            while Instant::now() < until {
                bytes += read_to(&subject.server.address, load.topic, from.clone(), &ends, limit)?;
            }
            Ok(bytes)
        })
    })
}

/// Everything from offset 0, merged and read through the page cache.
pub fn cold(options: &Options) -> Result<Vec<Row>> {
    let load = Load::batches_16k();
    in_turn(options, |kafka, _| {
        let subject = subject(options, kafka, Durable::Os)?;
        drive(&subject, &load, Duration::from_secs(options.seconds))?;
        std::thread::sleep(Duration::from_secs(5)); // merges and write-back settle
        let ends = ends(&subject, &load)?;
        let from: Vec<(i32, i64)> = (0..load.partitions).map(|p| (p, 0)).collect();
        let limit = Duration::from_secs(120);
        read_to(&subject.server.address, load.topic, from.clone(), &ends, limit)?;
        measured(&subject, &load, || {
            let mut bytes = 0;
            let until = Instant::now() + Duration::from_secs(options.seconds);
            while Instant::now() < until {
                bytes += read_to(&subject.server.address, load.topic, from.clone(), &ends, limit)?;
            }
            Ok(bytes)
        })
    })
}
