//! A topic from its beginning to the ends, for the suite of views (../python/clients/drains.py).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

/// Takes what to do as JSON and prints one JSON line.
pub fn run(wish: &str) -> anyhow::Result<()> {
    let wish: Value = serde_json::from_str(wish)?;
    let (mut records, mut positions, begun) = (Vec::new(), BTreeMap::new(), Instant::now());
    let error = read(&wish, &mut records, &mut positions).err().map(|problem| format!("{problem:#}"));
    let positions: serde_json::Map<String, Value> =
        positions.into_iter().map(|(partition, at): (i32, i64)| (partition.to_string(), at.into())).collect();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}", json!({ "records": records, "positions": positions, "seconds": seconds, "error": error }));
    Ok(())
}

fn read(wish: &Value, records: &mut Vec<Value>, positions: &mut BTreeMap<i32, i64>) -> anyhow::Result<()> {
    let text = |name: &str| wish[name].as_str().with_context(|| format!("{name} is missing"));
    let (topic, mut ends) = (text("topic")?, BTreeMap::new());
    for (partition, end) in wish["ends"].as_object().context("ends are missing")? {
        ends.insert(partition.parse::<i32>()?, end.as_i64().context("an end is no number")?);
    }
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", text("bootstrap")?)
        .set("broker.address.family", "v4")
        .set("group.id", text("group")?)
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", wish["wait_ms"].to_string());
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for &partition in ends.keys() {
        assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let limit = Instant::now() + Duration::from_secs_f64(wish["seconds"].as_f64().unwrap_or(60.0));
    while *positions != ends && Instant::now() < limit {
        match consumer.poll(Duration::from_millis(200)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {
                for told in consumer.position()?.elements() {
                    if let Offset::Offset(at) = told.offset() {
                        positions.insert(told.partition(), at);
                    }
                }
            }
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => records.push(shown(&message)),
        }
    }
    ensure!(*positions == ends, "the time is over");
    let mut commit = TopicPartitionList::new();
    for (&partition, &at) in positions.iter() {
        commit.add_partition_offset(topic, partition, Offset::Offset(at))?;
    }
    Ok(consumer.commit(&commit, CommitMode::Sync)?)
}

fn shown(message: &impl Message) -> Value {
    let base64 = |bytes: Option<&[u8]>| bytes.map(encoded);
    let headers: Vec<Value> = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| json!([header.key, base64(header.value)])).collect()
    });
    let timestamp = message.timestamp().to_millis();
    json!([message.partition(), message.offset(), timestamp, base64(message.key()), base64(message.payload()), headers])
}

/// Base64, for which this suite has no crate.
fn encoded(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= part.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
