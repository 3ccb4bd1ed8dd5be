//! Produce: throughput and latency.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_protocol::ids::Timestamp;
use weir_protocol::records::BatchBuilder;

use super::consume::Beside;
use super::{Durable, Figure, Options, PARTITIONS, RECORD_BYTES, Row, Subject, in_turn, subject};
use crate::server::{Usage, usage};
use crate::wire::{Connection, produce_request, produce_response, receive};

/// A batch of records whose values do not compress well.
pub fn batch(records: usize, record_bytes: usize, seed: u64) -> Result<Vec<u8>> {
    let mut builder = BatchBuilder::new();
    let mut state = seed | 1;
    // A record has about 20 bytes of framing beside key and value.
    let mut value = vec![0u8; record_bytes.saturating_sub(30)];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    for _ in 0..records {
        for byte in &mut value {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = b' ' + (state % 94) as u8;
        }
        builder.append(Some(b"key-000001"), Some(&value), &[], Timestamp(now))?;
    }
    Ok(builder.build()?.to_vec())
}

/// How the load looks.
pub struct Load {
    pub topic: &'static str,
    pub partitions: i32,
    /// Partitions in one request.
    pub per_request: i32,
    pub records_per_batch: usize,
    pub record_bytes: usize,
    pub connections: usize,
    /// Requests under way on a connection.
    pub in_flight: usize,
}

impl Load {
    pub const fn batches_16k() -> Load {
        Load {
            topic: "bench",
            partitions: PARTITIONS,
            per_request: PARTITIONS,
            records_per_batch: 16,
            record_bytes: RECORD_BYTES,
            connections: 2,
            in_flight: 5,
        }
    }

    /// Encoded requests, to be sent round and round.
    pub fn requests(&self) -> Result<Vec<Vec<u8>>> {
        let bytes = batch(self.records_per_batch, self.record_bytes, 7)?;
        let groups = (self.partitions + self.per_request - 1) / self.per_request;
        Ok((0..groups)
            .map(|group| {
                let from = group * self.per_request;
                let to = (from + self.per_request).min(self.partitions);
                let batches: Vec<(i32, &[u8])> = (from..to).map(|p| (p, &bytes[..])).collect();
                produce_request(group, self.topic, -1, &batches)
            })
            .collect())
    }

    fn records_per_request(&self) -> u64 {
        self.records_per_batch as u64 * self.per_request as u64
    }
}

/// What a run did.
pub struct Produced {
    pub records: u64,
    pub seconds: f64,
    pub broker: Usage,
    pub generator_share: f64,
}

/// Sends as fast as the window allows.
pub fn drive(subject: &Subject, load: &Load, duration: Duration) -> Result<Produced> {
    drive_with(subject, load, duration, &[])
}

/// The same, with settings of the topic.
pub fn drive_with(subject: &Subject, load: &Load, duration: Duration, configs: &[(&str, &str)]) -> Result<Produced> {
    let address = subject.server.address.clone();
    Connection::open(&address)?.create_topic_and_wait(load.topic, load.partitions, configs)?;
    std::thread::sleep(Duration::from_millis(500));
    let requests = std::sync::Arc::new(load.requests()?);
    warm_up(&address, &requests)?;
    let (before, own_before) = (subject.server.usage()?, usage(std::process::id())?);
    let started = Instant::now();
    let threads: Vec<_> = (0..load.connections)
        .map(|index| {
            let (address, requests, in_flight) = (address.clone(), requests.clone(), load.in_flight);
            std::thread::spawn(move || one_connection(&address, &requests, index, in_flight, started + duration))
        })
        .collect();
    let mut sent = 0;
    for thread in threads {
        sent += thread.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let (after, own_after) = (subject.server.usage()?, usage(std::process::id())?);
    let broker = Usage {
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        written_bytes: after.written_bytes - before.written_bytes,
        ..after
    };
    let generator_share = (own_after.cpu_seconds - own_before.cpu_seconds) / seconds;
    Ok(Produced { records: sent * load.records_per_request(), seconds, broker, generator_share })
}

/// Both sides reach their stride before the clock starts.
fn warm_up(address: &str, requests: &[Vec<u8>]) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(3);
    one_connection(address, requests, 0, 5, until).map(|_| ())
}

fn one_connection(address: &str, requests: &[Vec<u8>], index: usize, in_flight: usize, until: Instant) -> Result<u64> {
    let mut connection = Connection::open(address)?;
    let mut response = Vec::new();
    let mut next = index * requests.len() / 2;
    let (mut sent, mut answered) = (0u64, 0u64);
    loop {
        let open = Instant::now() < until;
        if !open && sent == answered {
            return Ok(answered);
        }
        if open && sent - answered < in_flight as u64 {
            connection.send(&requests[next % requests.len()])?;
            next += 1;
            sent += 1;
            continue;
        }
        connection.receive(&mut response)?;
        for (partition, error, _) in produce_response(&response)? {
            ensure!(error == 0, "partition {partition} answered error {error}");
        }
        answered += 1;
    }
}

fn figures(produced: &Produced, record_bytes: usize) -> Vec<Figure> {
    let gigabytes = produced.records as f64 * record_bytes as f64 / 1e9;
    if produced.generator_share > 0.9 {
        eprintln!("void: the generator used {:.0} % of its core", produced.generator_share * 100.0);
    }
    vec![
        Figure::new("throughput", "MB/s", gigabytes * 1000.0 / produced.seconds),
        Figure::new("records", "1/s", produced.records as f64 / produced.seconds),
        Figure::new("broker CPU", "s/GB", produced.broker.cpu_seconds / gigabytes),
        Figure::new("peak memory", "MiB", produced.broker.peak_rss_mib),
        Figure::new("generator", "cores", produced.generator_share),
    ]
}

fn throughput(options: &Options, durable: Durable, load: &Load) -> Result<Vec<Row>> {
    in_turn(options, |kafka, _| {
        let subject = subject(options, kafka, durable)?;
        Ok(figures(&drive(&subject, load, Duration::from_secs(options.seconds))?, load.record_bytes))
    })
}

pub fn os(options: &Options) -> Result<Vec<Row>> {
    throughput(options, Durable::Os, &Load::batches_16k())
}

pub fn fsync(options: &Options) -> Result<Vec<Row>> {
    throughput(options, Durable::Fsync, &Load::batches_16k())
}

pub fn fsync_many(options: &Options) -> Result<Vec<Row>> {
    let load = Load {
        partitions: 1_000,
        per_request: 10,
        records_per_batch: 1,
        connections: 4,
        in_flight: 20,
        ..Load::batches_16k()
    };
    throughput(options, Durable::Fsync, &load)
}

/// 75 times as long as the others (10 minutes by default), so that merges and retention have their part.
pub fn sustained(options: &Options) -> Result<Vec<Row>> {
    let load = Load::batches_16k();
    let configs = [("retention.bytes", "268435456"), ("segment.bytes", "67108864")];
    in_turn(options, |kafka, _| {
        let subject = subject(options, kafka, Durable::Os)?;
        let produced = drive_with(&subject, &load, Duration::from_secs(options.seconds * 75), &configs)?;
        let mut all = figures(&produced, load.record_bytes);
        let ingested = produced.records as f64 * load.record_bytes as f64;
        all.push(Figure::new("write amplification", "bytes/byte", produced.broker.written_bytes as f64 / ingested));
        Ok(all)
    })
}

/// Fixed rate: half of what Kafka reaches here, measured first.
pub fn latency(options: &Options) -> Result<Vec<Row>> {
    latencies(options, None)
}

/// The same while somebody reads from the start, and the merges of what was written before go on.
pub fn latency_busy(options: &Options) -> Result<Vec<Row>> {
    latencies(options, Some(COLD_READ_BYTES))
}

/// What the reader beside the producer takes in a second.
const COLD_READ_BYTES: u64 = 100 << 20;

fn latencies(options: &Options, read_beside: Option<u64>) -> Result<Vec<Row>> {
    let load = Load::batches_16k();
    let peak = {
        let subject = subject(options, options.with_kafka, Durable::Os)?;
        let produced = drive(&subject, &load, Duration::from_secs(options.seconds))?;
        produced.records as f64 / produced.seconds
    };
    let per_second = peak / 2.0 / load.records_per_request() as f64;
    println!("rate: {per_second:.0} requests/s of {} records", load.records_per_request());
    in_turn(options, |kafka, _| {
        let subject = subject(options, kafka, Durable::Os)?;
        let beside = match read_beside {
            None => None,
            Some(rate) => {
                drive(&subject, &Load { topic: "old", ..Load::batches_16k() }, Duration::from_secs(options.seconds))?;
                Some(Beside::start(&subject.server.address, "old", rate)?)
            }
        };
        let mut latencies = at_rate(&subject, &load, per_second, Duration::from_secs(options.seconds * 2))?;
        if let Some(beside) = beside {
            println!("{}: {} MiB read beside", subject.server.name, beside.stop()? >> 20);
        }
        latencies.sort_unstable();
        let at = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize] as f64 / 1000.0;
        Ok(vec![
            Figure::new("p50", "ms", at(0.5)),
            Figure::new("p99", "ms", at(0.99)),
            Figure::new("p99.9", "ms", at(0.999)),
            Figure::new("max", "ms", at(1.0)),
        ])
    })
}

/// Microseconds from when each request was due, so that a stall counts for all it delayed.
fn at_rate(subject: &Subject, load: &Load, per_second: f64, duration: Duration) -> Result<Vec<u64>> {
    let address = subject.server.address.clone();
    Connection::open(&address)?.create_topic_and_wait(load.topic, load.partitions, &[])?;
    std::thread::sleep(Duration::from_millis(500));
    let requests = load.requests()?;
    warm_up(&address, &requests)?;
    let mut connection = Connection::open(&address)?;
    let mut incoming = connection.stream.try_clone()?;
    let (due_times, due) = std::sync::mpsc::channel::<Instant>();
    let reader = std::thread::spawn(move || -> Result<Vec<u64>> {
        let mut response = Vec::new();
        let mut latencies = Vec::new();
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        loop {
            match due.recv() {
                Ok(at) => waiting.push_back(at),
                Err(_) => return Ok(latencies),
            }
            receive(&mut incoming, &mut response)?;
            for (partition, error, _) in produce_response(&response)? {
                ensure!(error == 0, "partition {partition} answered error {error}");
            }
            if let Some(at) = waiting.pop_front() {
                latencies.push(at.elapsed().as_micros() as u64);
            }
        }
    });
    let started = Instant::now();
    let mut sent = 0u64;
    while started.elapsed() < duration {
        let at = started + Duration::from_secs_f64(sent as f64 / per_second);
        if let Some(wait) = at.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        connection.send(&requests[sent as usize % requests.len()])?;
        let _ = due_times.send(at);
        sent += 1;
    }
    drop(due_times);
    reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
}
