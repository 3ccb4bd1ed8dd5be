//! Produce: every version, and every way in which a batch can be wrong.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest, TopicName};
use serde_json::json;
use uuid::Uuid;

use crate::differential::batch::{Batch, Record};
use crate::differential::context::{Ctx, produce};
use crate::differential::wire::Outcome;

/// Makes sure that the partitions are served before anything is recorded.
async fn ready(ctx: &mut Ctx, suffix: &str, partitions: i32) -> anyhow::Result<()> {
    for partition in 0..partitions {
        ctx.seed(suffix, partition, Batch::of(1).encode()).await?;
    }
    Ok(())
}

fn named(version: i16, name: &TopicName, id: Uuid, partition: i32, records: Option<Bytes>) -> ProduceRequest {
    produce(-1, name, if version >= 13 { id } else { Uuid::nil() }, partition, records)
}

pub async fn produce_versions(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 2, &[]).await?;
    let appended = ctx.create("append-time", 1, &[("message.timestamp.type", "LogAppendTime")]).await?;
    ready(ctx, "topic", 2).await?;
    ready(ctx, "append-time", 1).await?;
    let name = ctx.topic("topic");
    for version in 3..=13 {
        let request = |partition, records| named(version, &name, id, partition, records);
        ctx.call("a batch of 3", version, &request(0, Some(Batch::of(3).encode()))).await?;
        ctx.call("acks 1", version, &request(0, Some(Batch::of(1).encode())).with_acks(1)).await?;
        ctx.call("unknown partition", version, &request(9, Some(Batch::of(1).encode()))).await?;
        ctx.call("negative partition", version, &request(-1, Some(Batch::of(1).encode()))).await?;
        ctx.call("acks 2", version, &request(0, Some(Batch::of(1).encode())).with_acks(2)).await?;
        ctx.call("zstd", version, &request(0, Some(Batch::of(2).zstd().encode()))).await?;
        ctx.call(
            "log append time",
            version,
            &named(version, &ctx.topic("append-time"), appended, 0, Some(Batch::of(1).encode())),
        )
        .await?;
        let unknown = named(version, &ctx.topic("unknown"), Uuid::from_u128(77), 0, Some(Batch::of(1).encode()));
        ctx.call("unknown topic", version, &unknown).await?;
        ctx.call("no topics", version, &request(0, None).with_topic_data(Vec::new())).await?;
        let mut two = request(0, Some(Batch::of(2).encode()));
        let other = request(1, Some(Batch::of(1).encode())).topic_data.remove(0).partition_data.remove(0);
        two.topic_data[0].partition_data.push(other);
        ctx.call("two partitions", version, &two).await?;

        // acks=0 has no answer: the next answer belongs to the next request.
        let silent = request(0, Some(Batch::of(1).encode())).with_acks(0);
        ctx.wire().send(version, &silent).await?;
        let correlation = ctx.wire().send(0, &ApiVersionsRequest::default()).await?;
        let next = ctx.wire().receive::<ApiVersionsRequest>(0, correlation).await?;
        ctx.record(
            format!("acks 0, then another request v{version}"),
            json!({"answered": matches!(next, Outcome::Answer(_))}),
        );
    }
    // An error under acks=0 can only be told by closing.
    let silent = named(9, &name, id, 9, Some(Batch::of(1).encode())).with_acks(0);
    ctx.wire().send(9, &silent).await?;
    let correlation = ctx.wire().send(0, &ApiVersionsRequest::default()).await?;
    let next = ctx.wire().receive::<ApiVersionsRequest>(0, correlation).await?;
    ctx.record("acks 0 to an unknown partition".to_owned(), json!({"closed": matches!(next, Outcome::Closed)}));
    ctx.reconnect().await
}

pub async fn produce_errors(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("topic", 1, &[]).await?;
    ready(ctx, "topic", 1).await?;
    let good = Batch::of(3);
    let encoded = good.encode();
    let mut two = BytesMut::from(&encoded[..]);
    two.extend_from_slice(&encoded);
    let mut garbage_after = BytesMut::from(&encoded[..]);
    garbage_after.extend_from_slice(&[0; 7]);
    // A magic-1 message set: offset, size, crc, magic, attributes, timestamp, key, value.
    let mut old = BytesMut::new();
    old.put_i64(0);
    old.put_i32(22 + 1);
    old.put_u32(0);
    old.put_slice(&[1, 0]);
    old.put_i64(0);
    old.put_i32(-1);
    old.put_i32(1);
    old.put_u8(b'v');
    let mut short_record = Batch::of(1);
    short_record.section = Some(Bytes::from_static(&[20, 0, 0]));
    let mut extra_section = Batch::of(1);
    let mut section = BytesMut::from(&Batch::of(1).encode()[61..]);
    section.extend_from_slice(&[1, 2, 3]);
    extra_section.section = Some(section.freeze());
    let with = |change: fn(&mut Batch)| {
        let mut batch = Batch::of(3);
        change(&mut batch);
        Some(batch.encode())
    };
    let cases: Vec<(&str, Option<Bytes>)> = vec![
        // Null records are not among the cases: Apache Kafka never answers them, and keeps the connection.
        ("empty records", Some(Bytes::new())),
        ("a few bytes", Some(Bytes::from_static(&[1, 2, 3]))),
        ("wrong CRC", with(|b| b.crc_error = 1)),
        ("magic 0", with(|b| b.magic = 0)),
        ("magic 3", with(|b| b.magic = 3)),
        ("a message of magic 1", Some(old.freeze())),
        ("two batches", Some(two.freeze())),
        ("bytes after the batch", Some(garbage_after.freeze())),
        ("batch cut short", Some(encoded.slice(..encoded.len() - 5))),
        ("length too small", with(|b| b.length_error = -1)),
        ("length too large", with(|b| b.length_error = 10)),
        ("count too small", with(|b| b.count = Some(2))),
        ("count too large", with(|b| b.count = Some(4))),
        ("count of zero", with(|b| b.count = Some(0))),
        ("negative count", with(|b| b.count = Some(-3))),
        ("last offset delta too large", with(|b| b.last_offset_delta = Some(7))),
        ("last offset delta too small", with(|b| b.last_offset_delta = Some(1))),
        ("no records, count 0", Some(Batch::of(0).encode())),
        ("control batch", with(|b| b.attributes |= 0x20)),
        ("unknown codec 5", with(|b| b.attributes |= 5)),
        ("unused attribute bits", with(|b| b.attributes |= 0x100)),
        ("snappy that is none", with(|b| b.attributes |= 2)),
        ("base offset of its own", with(|b| b.base_offset = 1_000)),
        ("leader epoch of its own", with(|b| b.leader_epoch = 12)),
        ("record longer than the batch", Some(short_record.encode())),
        ("bytes after the records", Some(extra_section.encode())),
        ("log append time flag", with(|b| b.attributes |= 8)),
        ("good", Some(encoded.clone())),
    ];
    let name = ctx.topic("topic");
    for (label, records) in cases {
        for version in [3, 8, 9, 13] {
            ctx.call_or_close(label, version, &named(version, &name, id, 0, records.clone())).await?;
        }
    }
    let mut twice = named(9, &name, id, 0, Some(encoded.clone()));
    let again = twice.topic_data[0].partition_data[0].clone();
    twice.topic_data[0].partition_data.push(again);
    ctx.call_or_close("the same partition twice", 9, &twice).await?;
    let mut topics = named(9, &name, id, 0, Some(encoded));
    topics.topic_data[0].partition_data.clear();
    ctx.call_or_close("no partitions", 9, &topics).await?;
    Ok(())
}

pub async fn produce_timestamps(ctx: &mut Ctx) -> anyhow::Result<()> {
    let limits = [("message.timestamp.before.max.ms", "3600000"), ("message.timestamp.after.max.ms", "3600000")];
    let id = ctx.create("limited", 1, &limits).await?;
    let free = ctx.create("free", 1, &[]).await?;
    ready(ctx, "free", 1).await?;
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?;
    let mut mixed = Batch::of(3).at(now);
    mixed.records[1].timestamp_delta = -7_200_000;
    mixed.records[2].timestamp_delta = 7_200_000;
    for version in [3, 7, 8, 13] {
        let limited = ctx.topic("limited");
        let request = |batch: &Batch| named(version, &limited, id, 0, Some(batch.encode()));
        let cases = [
            ("too old", request(&Batch::of(2).at(now - 7_200_000))),
            ("too far ahead", request(&Batch::of(2).at(now + 7_200_000))),
            ("two of three are wrong", request(&mixed)),
            ("no timestamp", request(&Batch::of(1).at(-1))),
            ("now", request(&Batch::of(2).at(now))),
        ];
        for (label, request) in cases {
            ctx.call(label, version, &request).await?;
        }
        let name = ctx.topic("free");
        let request = |batch: &Batch| named(version, &name, free, 0, Some(batch.encode()));
        let (none, future) = (request(&Batch::of(1).at(-1)), request(&Batch::of(1).at(now + 7_200_000)));
        ctx.call("no timestamp, no limits", version, &none).await?;
        ctx.call("two hours ahead, default limits", version, &future).await?;
    }
    Ok(())
}

pub async fn produce_compacted(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("compacted", 1, &[("cleanup.policy", "compact")]).await?;
    ready(ctx, "compacted", 1).await?;
    let name = ctx.topic("compacted");
    let mut keyless = Batch::of(4);
    keyless.records[1].key = None;
    keyless.records[3].key = None;
    let mut empty_key = Batch::of(1);
    empty_key.records[0] = Record { key: Some(Bytes::new()), value: None, timestamp_delta: 0 };
    for version in [3, 8, 9, 13] {
        ctx.call("two of four without a key", version, &named(version, &name, id, 0, Some(keyless.encode()))).await?;
        ctx.call("empty key, null value", version, &named(version, &name, id, 0, Some(empty_key.encode()))).await?;
    }
    Ok(())
}

pub async fn produce_sizes(ctx: &mut Ctx) -> anyhow::Result<()> {
    let id = ctx.create("small", 1, &[("max.message.bytes", "1000")]).await?;
    ready(ctx, "small", 1).await?;
    let name = ctx.topic("small");
    let overhead = Batch::large(500).encode().len() - 500;
    for version in [3, 8, 13] {
        for (label, size) in [("exactly the limit", 1000), ("one byte more", 1001), ("far more", 100_000)] {
            let records = Batch::large(size - overhead).encode();
            anyhow::ensure!(records.len() == size || size > 100_000 - 1, "a batch of {} bytes", records.len());
            ctx.call(label, version, &named(version, &name, id, 0, Some(records))).await?;
        }
    }
    Ok(())
}
