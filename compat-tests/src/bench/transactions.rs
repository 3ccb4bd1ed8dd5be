//! Transactional produce: throughput, and how long a commit takes.
//!
//! Two producers with a transactional id each, on connections of their own; a transaction adds its partitions, writes some
//! requests and ends. Both brokers get the requests of KIP-98, whose versions have a fixed layout. A broker may answer EndTxn before
//! it has written the markers and then refuse the next transaction for a while, so beside the answer to EndTxn the time until the next
//! transaction is let in counts.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::produce::batch;
use super::{Durable, Figure, Options, PARTITIONS, RECORD_BYTES, Row, Subject, in_turn, subject};
use crate::server::{Usage, usage};
use crate::wire::{Connection, Fields, Reader, produce_response, request};

const PRODUCE: i16 = 0;
const INIT_PRODUCER_ID: i16 = 22;
const ADD_PARTITIONS_TO_TXN: i16 = 24;
const END_TXN: i16 = 26;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;
const CONCURRENT_TRANSACTIONS: i16 = 51;

const TOPIC: &str = "bench";
const PRODUCERS: usize = 2;
const RECORDS_PER_BATCH: usize = 16;
const IN_FLIGHT: usize = 5;
/// Requests of a transaction, each with a batch for every partition: 960 records, about 1 MB.
const REQUESTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(1);

/// What a producer did while the clock ran.
#[derive(Default)]
struct Done {
    requests: u64,
    /// Microseconds from EndTxn to its answer.
    answered: Vec<u64>,
    /// Microseconds from EndTxn until the next transaction was let in.
    next: Vec<u64>,
}

struct Producer {
    connection: Connection,
    transactional_id: String,
    producer_id: i64,
    epoch: i16,
    frame: Vec<u8>,
    /// Where the batches of the frame begin, and their lengths.
    batches: Vec<(usize, usize)>,
    sequence: i32,
}

impl Producer {
    fn open(address: &str, number: usize) -> Result<Self> {
        let transactional_id = format!("bench-{number}");
        let mut connection = Connection::open(address)?;
        let (producer_id, epoch) = init(&mut connection, &transactional_id)?;
        let bytes = transactional(batch(RECORDS_PER_BATCH, RECORD_BYTES, 7)?, producer_id, epoch);
        let mut body =
            Fields::default().string(&transactional_id).i16(-1).i32(30_000).i32(1).string(TOPIC).i32(PARTITIONS);
        let mut starts = Vec::new();
        for partition in 0..PARTITIONS {
            body = body.i32(partition).bytes(&bytes);
            starts.push((body.0.len() - bytes.len(), bytes.len()));
        }
        let length = body.0.len();
        let frame = request(PRODUCE, 7, 0, body);
        let head = frame.len() - length;
        let batches = starts.into_iter().map(|(at, len)| (head + at, len)).collect();
        Ok(Self { connection, transactional_id, producer_id, epoch, frame, batches, sequence: 0 })
    }

    /// The next batch of each partition.
    fn send(&mut self) -> Result<()> {
        for &(at, len) in &self.batches {
            let batch = &mut self.frame[at..at + len];
            batch[53..57].copy_from_slice(&self.sequence.to_be_bytes());
            let crc = crc32c::crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        self.sequence = self.sequence.checked_add(RECORDS_PER_BATCH as i32).context("the run is too long")?;
        Ok(self.connection.send(&self.frame)?)
    }

    /// Retries while the transaction before is being completed.
    fn begin(&mut self) -> Result<()> {
        let mut body = Fields::default().string(&self.transactional_id).i64(self.producer_id).i16(self.epoch);
        body = body.i32(1).string(TOPIC).i32(PARTITIONS);
        for partition in 0..PARTITIONS {
            body = body.i32(partition);
        }
        let frame = request(ADD_PARTITIONS_TO_TXN, 0, 0, body);
        loop {
            let answer = self.connection.call(&frame)?;
            let mut reader = Reader::new(&answer);
            let (_correlation, _throttle, _topics) = (reader.i32()?, reader.i32()?, reader.i32()?);
            reader.string()?;
            let mut worst = 0;
            for _ in 0..reader.i32()? {
                let (_partition, error) = (reader.i32()?, reader.i16()?);
                worst = worst.max(error);
            }
            match worst {
                0 => return Ok(()),
                CONCURRENT_TRANSACTIONS => std::thread::sleep(PAUSE),
                error => bail!("adding partitions: error {error}"),
            }
        }
    }

    fn write(&mut self, response: &mut Vec<u8>) -> Result<()> {
        let (mut sent, mut answered) = (0, 0);
        while answered < REQUESTS {
            if sent < REQUESTS && sent - answered < IN_FLIGHT {
                self.send()?;
                sent += 1;
                continue;
            }
            self.connection.receive(response)?;
            for (partition, error, _) in produce_response(response)? {
                ensure!(error == 0, "partition {partition} answered error {error}");
            }
            answered += 1;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let body = Fields::default().string(&self.transactional_id).i64(self.producer_id).i16(self.epoch).i8(1);
        let answer = self.connection.call(&request(END_TXN, 0, 0, body))?;
        let mut reader = Reader::new(&answer);
        let (_correlation, _throttle, error) = (reader.i32()?, reader.i32()?, reader.i16()?);
        ensure!(error == 0, "EndTxn answered error {error}");
        Ok(())
    }

    fn run(mut self, until: Instant) -> Result<Done> {
        let (mut done, mut response) = (Done::default(), Vec::new());
        self.begin()?;
        loop {
            self.write(&mut response)?;
            let ending = Instant::now();
            self.commit()?;
            done.requests += REQUESTS as u64;
            done.answered.push(ending.elapsed().as_micros() as u64);
            if Instant::now() >= until {
                return Ok(done);
            }
            self.begin()?;
            done.next.push(ending.elapsed().as_micros() as u64);
        }
    }
}

/// The header fields of a batch in a transaction; sequence and CRC are set when it is sent.
fn transactional(mut batch: Vec<u8>, producer_id: i64, epoch: i16) -> Vec<u8> {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | 0x10;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[43..51].copy_from_slice(&producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch
}

/// A producer id; a broker that has just started may have no coordinator yet.
fn init(connection: &mut Connection, transactional_id: &str) -> Result<(i64, i16)> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        find_coordinator(connection, transactional_id)?;
        let frame = request(INIT_PRODUCER_ID, 0, 0, Fields::default().string(transactional_id).i32(60_000));
        let answer = connection.call(&frame)?;
        let mut reader = Reader::new(&answer);
        let (_correlation, _throttle, error) = (reader.i32()?, reader.i32()?, reader.i16()?);
        match error {
            0 => return Ok((reader.i64()?, reader.i16()?)),
            COORDINATOR_LOAD_IN_PROGRESS | COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR | CONCURRENT_TRANSACTIONS => {}
            error => bail!("InitProducerId answered error {error}"),
        }
        ensure!(Instant::now() < deadline, "no producer id within 30 s, last error {error}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// In Kafka the first question creates the topic of the coordinators.
fn find_coordinator(connection: &mut Connection, transactional_id: &str) -> Result<()> {
    const FIND_COORDINATOR: i16 = 10;
    connection.call(&request(FIND_COORDINATOR, 1, 0, Fields::default().string(transactional_id).i8(1)))?;
    Ok(())
}

fn drive(subject: &Subject, duration: Duration) -> Result<Vec<Figure>> {
    let address = subject.server.address.clone();
    Connection::open(&address)?.create_topic(TOPIC, PARTITIONS, &[])?;
    std::thread::sleep(Duration::from_millis(500));
    // Both sides reach their stride before the clock starts.
    Producer::open(&address, 0)?.run(Instant::now() + Duration::from_secs(3))?;
    let producers = (0..PRODUCERS).map(|number| Producer::open(&address, number)).collect::<Result<Vec<_>>>()?;
    let (before, own_before) = (subject.server.usage()?, usage(std::process::id())?);
    let started = Instant::now();
    let threads: Vec<_> =
        producers.into_iter().map(|one| std::thread::spawn(move || one.run(started + duration))).collect();
    let mut all = Done::default();
    for thread in threads {
        let done = thread.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??;
        all.requests += done.requests;
        all.answered.extend(done.answered);
        all.next.extend(done.next);
    }
    let seconds = started.elapsed().as_secs_f64();
    let (after, own_after) = (subject.server.usage()?, usage(std::process::id())?);
    let broker = Usage { cpu_seconds: after.cpu_seconds - before.cpu_seconds, ..after };
    figures(all, seconds, broker, (own_after.cpu_seconds - own_before.cpu_seconds) / seconds)
}

fn figures(mut all: Done, seconds: f64, broker: Usage, generator: f64) -> Result<Vec<Figure>> {
    if generator > 0.9 {
        eprintln!("void: the generator used {:.0} % of its core", generator * 100.0);
    }
    all.answered.sort_unstable();
    all.next.sort_unstable();
    ensure!(!all.next.is_empty(), "no transaction followed another: the run is too short");
    let at = |times: &[u64], q: f64| times[((times.len() - 1) as f64 * q) as usize] as f64 / 1000.0;
    let gigabytes = (all.requests * PARTITIONS as u64 * (RECORDS_PER_BATCH * RECORD_BYTES) as u64) as f64 / 1e9;
    Ok(vec![
        Figure::new("throughput", "MB/s", gigabytes * 1000.0 / seconds),
        Figure::new("transactions", "1/s", all.answered.len() as f64 / seconds),
        Figure::new("commit p50", "ms", at(&all.answered, 0.5)),
        Figure::new("commit p99", "ms", at(&all.answered, 0.99)),
        Figure::new("next begins p50", "ms", at(&all.next, 0.5)),
        Figure::new("next begins p99", "ms", at(&all.next, 0.99)),
        Figure::new("broker CPU", "s/GB", broker.cpu_seconds / gigabytes),
        Figure::new("peak memory", "MiB", broker.peak_rss_mib),
        Figure::new("generator", "cores", generator),
    ])
}

/// Both brokers OS-buffered.
pub fn os(options: &Options) -> Result<Vec<Row>> {
    in_turn(options, |kafka, _| drive(&subject(options, kafka, Durable::Os)?, Duration::from_secs(options.seconds)))
}
