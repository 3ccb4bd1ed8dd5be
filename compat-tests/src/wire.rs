//! A minimal blocking Kafka client for load and crash tests: it speaks old, fixed-layout request versions, so that the
//! generator costs little and shares no code with the product's client.
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const CREATE_TOPICS: i16 = 19;
const INIT_PRODUCER_ID: i16 = 22;

/// Writes big-endian fields as Kafka's non-flexible versions have them.
#[derive(Default)]
pub struct Fields(pub Vec<u8>);

impl Fields {
    pub fn i8(mut self, v: i8) -> Self {
        self.0.push(v as u8);
        self
    }
    pub fn i16(mut self, v: i16) -> Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }
    pub fn i32(mut self, v: i32) -> Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }
    pub fn i64(mut self, v: i64) -> Self {
        self.0.extend_from_slice(&v.to_be_bytes());
        self
    }
    pub fn string(self, v: &str) -> Self {
        let mut out = self.i16(v.len() as i16);
        out.0.extend_from_slice(v.as_bytes());
        out
    }
    pub fn bytes(self, v: &[u8]) -> Self {
        let mut out = self.i32(v.len() as i32);
        out.0.extend_from_slice(v);
        out
    }
}

/// Reads them back.
pub struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at + n).context("the response is cut off")?;
        self.at += n;
        Ok(part)
    }
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }
    pub fn string(&mut self) -> Result<&'a str> {
        let n = self.i16()?;
        Ok(std::str::from_utf8(self.take(n.max(0) as usize)?)?)
    }
}

/// A whole request frame.
pub fn request(key: i16, version: i16, correlation: i32, body: Fields) -> Vec<u8> {
    let head = Fields::default().i32(0).i16(key).i16(version).i32(correlation).string("weir-load");
    let mut frame = head.0;
    frame.extend_from_slice(&body.0);
    let length = (frame.len() - 4) as i32;
    frame[0..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Produce 7: one batch for each partition.
pub fn produce_request(correlation: i32, topic: &str, acks: i16, batches: &[(i32, &[u8])]) -> Vec<u8> {
    let mut body = Fields::default().i16(-1).i16(acks).i32(30_000).i32(1).string(topic).i32(batches.len() as i32);
    for (partition, batch) in batches {
        body = body.i32(*partition).bytes(batch);
    }
    request(PRODUCE, 7, correlation, body)
}

/// What one partition answered: (partition, error code, base offset).
pub type Produced = (i32, i16, i64);

pub fn produce_response(frame: &[u8]) -> Result<Vec<Produced>> {
    let mut reader = Reader::new(frame);
    let _correlation = reader.i32()?;
    let mut out = Vec::new();
    for _ in 0..reader.i32()? {
        reader.string()?;
        for _ in 0..reader.i32()? {
            let (partition, error, base) = (reader.i32()?, reader.i16()?, reader.i64()?);
            let (_time, _start) = (reader.i64()?, reader.i64()?);
            out.push((partition, error, base));
        }
    }
    Ok(out)
}

/// Fetch 11 of some partitions of one topic: (partition, offset).
pub fn fetch_request(
    correlation: i32,
    topic: &str,
    partitions: &[(i32, i64)],
    max_wait_ms: i32,
    bytes: i32,
) -> Vec<u8> {
    let mut body = Fields::default()
        .i32(-1)
        .i32(max_wait_ms)
        .i32(1)
        .i32(bytes)
        .i8(0)
        .i32(0)
        .i32(-1)
        .i32(1)
        .string(topic)
        .i32(partitions.len() as i32);
    for (partition, offset) in partitions {
        body = body.i32(*partition).i32(-1).i64(*offset).i64(-1).i32(bytes);
    }
    request(FETCH, 11, correlation, body.i32(0).string(""))
}

pub struct Fetched<'a> {
    pub partition: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub records: &'a [u8],
}

pub fn fetch_response(frame: &[u8]) -> Result<Vec<Fetched<'_>>> {
    let mut reader = Reader::new(frame);
    let (_correlation, _throttle, error, _session) = (reader.i32()?, reader.i32()?, reader.i16()?, reader.i32()?);
    ensure!(error == 0, "fetch failed with error {error}");
    let mut out = Vec::new();
    for _ in 0..reader.i32()? {
        reader.string()?;
        for _ in 0..reader.i32()? {
            let (partition, error, high_watermark) = (reader.i32()?, reader.i16()?, reader.i64()?);
            let (_lso, _start) = (reader.i64()?, reader.i64()?);
            for _ in 0..reader.i32()?.max(0) {
                reader.take(16)?;
            }
            let _preferred = reader.i32()?;
            let length = reader.i32()?.max(0) as usize;
            out.push(Fetched { partition, error, high_watermark, records: reader.take(length)? });
        }
    }
    Ok(out)
}

/// The whole batches at the front of fetched bytes: (base offset, next offset, batch).
pub fn whole_batches(records: &[u8]) -> impl Iterator<Item = (i64, i64, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &records[at..];
        if rest.len() < 61 {
            return None;
        }
        let base = i64::from_be_bytes(rest[0..8].try_into().ok()?);
        let length = 12 + i32::from_be_bytes(rest[8..12].try_into().ok()?) as usize;
        let last_delta = i32::from_be_bytes(rest[23..27].try_into().ok()?);
        let batch = rest.get(..length)?;
        at += length;
        Some((base, base + i64::from(last_delta) + 1, batch))
    })
}

/// One connection.
pub struct Connection {
    pub stream: TcpStream,
    correlation: i32,
}

impl Connection {
    pub fn open(address: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Connection { stream, correlation: 0 })
    }

    pub fn next_correlation(&mut self) -> i32 {
        self.correlation += 1;
        self.correlation
    }

    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame)
    }

    /// The next response, without its length.
    pub fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        receive(&mut self.stream, buffer)
    }

    pub fn call(&mut self, frame: &[u8]) -> Result<Vec<u8>> {
        let mut buffer = Vec::new();
        self.send(frame)?;
        self.receive(&mut buffer)?;
        Ok(buffer)
    }

    /// CreateTopics 4; an existing topic is fine.
    pub fn create_topic(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        let mut body = Fields::default().i32(1).string(topic).i32(partitions).i16(1).i32(0).i32(configs.len() as i32);
        for (name, value) in configs {
            body = body.string(name).string(value);
        }
        let correlation = self.next_correlation();
        let frame = request(CREATE_TOPICS, 4, correlation, body.i32(30_000).i8(0));
        let response = self.call(&frame)?;
        let mut reader = Reader::new(&response);
        let (_correlation, _throttle, _count) = (reader.i32()?, reader.i32()?, reader.i32()?);
        let (_name, error) = (reader.string()?, reader.i16()?);
        if error != 0 && error != 36 {
            bail!("creating topic {topic} failed with error {error}");
        }
        Ok(())
    }

    /// Creates the topic and waits until each of its partitions serves, which takes Kafka seconds for a thousand of them.
    pub fn create_topic_and_wait(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        self.create_topic(topic, partitions, configs)?;
        for partition in 0..partitions {
            while let Err(error) = self.list_offset(topic, partition, -1) {
                ensure!(Instant::now() < until, "partition {partition} of {topic} does not serve after 60 s: {error}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// InitProducerId 1 without a transaction.
    pub fn producer_id(&mut self) -> Result<(i64, i16)> {
        let correlation = self.next_correlation();
        let response = self.call(&request(INIT_PRODUCER_ID, 1, correlation, Fields::default().i16(-1).i32(60_000)))?;
        let mut reader = Reader::new(&response);
        let (_correlation, _throttle, error) = (reader.i32()?, reader.i32()?, reader.i16()?);
        ensure!(error == 0, "InitProducerId failed with error {error}");
        Ok((reader.i64()?, reader.i16()?))
    }

    /// ListOffsets 1: earliest (-2) or latest (-1).
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> Result<i64> {
        let correlation = self.next_correlation();
        let body = Fields::default().i32(-1).i32(1).string(topic).i32(1).i32(partition).i64(timestamp);
        let response = self.call(&request(LIST_OFFSETS, 1, correlation, body))?;
        let mut reader = Reader::new(&response);
        let (_correlation, _topics, _name, _partitions) =
            (reader.i32()?, reader.i32()?, reader.string()?, reader.i32()?);
        let (_partition, error, _time, offset) = (reader.i32()?, reader.i16()?, reader.i64()?, reader.i64()?);
        ensure!(error == 0, "ListOffsets failed with error {error}");
        Ok(offset)
    }
}

/// Reads one length-prefixed frame.
pub fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    buffer.resize(i32::from_be_bytes(length).max(0) as usize, 0);
    stream.read_exact(buffer)
}
