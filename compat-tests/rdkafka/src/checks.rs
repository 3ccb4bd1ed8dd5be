//! Producing, consuming, and groups.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::ledger::{Ledger, Record};
use crate::report::{Body, Check};

const WAIT: Duration = Duration::from_secs(20);
const MAX_MESSAGE_BYTES: usize = 1_048_588;
/// What a batch of one keyless record adds to a value of about a megabyte.
const ONE_RECORD_OVERHEAD: usize = 72;

pub fn all() -> Vec<(&'static str, Body)> {
    vec![
        ("group-rebalance-and-death", rebalance_and_death),
        ("commit-and-resume", commit_and_resume),
        ("static-member", static_member),
        ("cooperative-sticky", cooperative_sticky),
        ("produce-none", |check| round_trip(check, "none", &[("compression.type", "none")])),
        ("produce-gzip", |check| round_trip(check, "gzip", &[("compression.type", "gzip")])),
        ("produce-snappy", |check| round_trip(check, "snappy", &[("compression.type", "snappy")])),
        ("produce-lz4", |check| round_trip(check, "lz4", &[("compression.type", "lz4")])),
        ("produce-zstd", |check| round_trip(check, "zstd", &[("compression.type", "zstd")])),
        ("produce-idempotent", |check| {
            let settings = [("enable.idempotence", "true"), ("batch.num.messages", "50"), ("linger.ms", "0")];
            round_trip(check, "idempotent", &settings)
        }),
        ("produce-acks-1", |check| round_trip(check, "acks1", &[("acks", "1")])),
        ("odd-records", odd_records),
        ("largest-record", largest_record),
        ("seek-by-timestamp", seek_by_timestamp),
    ]
}

fn round_trip(check: &Check, name: &str, settings: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, name, 6, &[])?;
    ledger.send(check, &check.suite.flights, settings)?;
    check.that(ledger.acked.len() > 1, || "keys must reach several partitions".to_owned())?;
    ledger.consume_all(check, &[])
}

/// Bytes that no codec makes smaller, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn odd_records(check: &Check) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, "odd", 1, &[])?;
    let headers = vec![
        ("again".to_owned(), Some(vec![1])),
        ("again".to_owned(), Some(vec![2])),
        ("null".to_owned(), None),
        ("ünïcode ✈".to_owned(), Some(noise(300))),
    ];
    let record = |key: Option<Vec<u8>>, value: Option<Vec<u8>>, headers: Vec<_>, timestamp| Record {
        key,
        value,
        headers,
        timestamp,
    };
    let rows = [
        record(None, None, Vec::new(), 1),
        record(Some(Vec::new()), Some(Vec::new()), Vec::new(), 2),
        record(Some(vec![0]), None, headers.clone(), 1_357_034_400_000),
        record(None, Some(vec![0xff]), headers, 1_357_034_399_999),
        record(Some(noise(20_000)), Some(noise(1)), Vec::new(), 1_357_034_400_001),
    ];
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        ledger.send(check, &rows, &[("compression.type", codec)])?;
    }
    ledger.consume_all(check, &[])
}

fn largest_record(check: &Check) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, "largest", 1, &[])?;
    let record =
        |length| [Record { key: None, value: Some(noise(length)), headers: Vec::new(), timestamp: 1_357_034_400_000 }];
    let largest = MAX_MESSAGE_BYTES - ONE_RECORD_OVERHEAD;
    let settings = [("message.max.bytes", "10000000"), ("compression.type", "none")];
    ledger.send(check, &record(largest), &settings)?;
    let refused = ledger.send(check, &record(largest + 1), &settings).err().context("a byte too much was accepted")?;
    let code = refused.downcast_ref::<KafkaError>().and_then(KafkaError::rdkafka_error_code);
    check.that(code == Some(RDKafkaErrorCode::MessageSizeTooLarge), || format!("refused with {refused:#}"))?;
    ledger.send(check, &record(10), &settings)?;
    // Smaller fetches than the record: the first batch of an answer comes whole.
    ledger.consume_all(
        check,
        &[("fetch.message.max.bytes", "10000"), ("fetch.max.bytes", "10000"), ("message.max.bytes", "10000")],
    )
}

/// The answer is the first offset that is not older; the flights are not in the order of time.
fn seek_by_timestamp(check: &Check) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, "timestamps", 3, &[])?;
    let rows = check.suite.first(10_000);
    ledger.send(check, rows, &[("compression.type", "lz4")])?;
    let mut times: Vec<i64> = rows.iter().map(|row| row.timestamp).collect();
    times.sort_unstable();
    let (first, last) = (times[0], times[times.len() - 1]);
    let consumer: BaseConsumer = check.suite.config(&[("group.id", "unused")]).create()?;
    for timestamp in [1, first, first + 1, (first + last) / 2, times[times.len() / 3], last, last + 1] {
        let mut question = TopicPartitionList::new();
        for &partition in ledger.acked.keys() {
            question.add_partition_offset(&ledger.topic, partition, Offset::Offset(timestamp))?;
        }
        let answer = consumer.offsets_for_times(question, WAIT)?;
        for (&partition, rows) in &ledger.acked {
            let expected =
                rows.iter().find(|(_, row)| row.timestamp >= timestamp).map(|(&offset, _)| Offset::Offset(offset));
            let got = answer.find_partition(&ledger.topic, partition).context("partition missing")?.offset();
            check.that(got == expected.unwrap_or(Offset::End), || {
                format!("partition {partition} at {timestamp}: {got:?}, expected {expected:?}")
            })?;
        }
    }
    Ok(())
}

fn group_config(bootstrap: &str, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "300")
        .set("fetch.wait.max.ms", "300");
    config
}

/// A member until killed; it never commits. It ends by itself should the suite die before it could kill it.
pub fn be_member(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<()> {
    let consumer: BaseConsumer = group_config(bootstrap, group).create()?;
    consumer.subscribe(&[topic])?;
    let (end, mut told) = (Instant::now() + Duration::from_secs(90), 0);
    while Instant::now() < end {
        if let Some(Err(error)) = consumer.poll(Duration::from_millis(100)) {
            println!("error {error}");
        }
        let assigned = consumer.assignment()?.count();
        if assigned != told {
            told = assigned;
            println!("assigned {assigned}");
        }
    }
    Ok(())
}

type Seen = BTreeSet<(i32, i64)>;

/// Takes what has arrived, and compares it.
fn drain(check: &Check, consumer: &BaseConsumer, ledger: &Ledger, seen: &mut Seen) -> anyhow::Result<()> {
    let mut wait = Duration::from_millis(100);
    while let Some(message) = consumer.poll(wait) {
        let message = message?;
        ledger.compare(check, &message)?;
        seen.insert((message.partition(), message.offset()));
        wait = Duration::ZERO;
    }
    Ok(())
}

fn rebalance_and_death(check: &Check) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, "rebalance", 6, &[])?;
    let group = check.suite.name("rebalance-group");
    ledger.send(check, check.suite.first(3_000), &[])?;
    let consumer: BaseConsumer = group_config(&check.suite.bootstrap, &group).create()?;
    consumer.subscribe(&[&ledger.topic])?;
    let mut seen = Seen::new();
    check.eventually("the only member has all partitions and rows", 40, || {
        drain(check, &consumer, &ledger, &mut seen)?;
        Ok(consumer.assignment()?.count() == 6 && seen.len() == ledger.len())
    })?;
    consumer.commit_consumer_state(CommitMode::Sync)?;

    let mut second = Command::new(std::env::current_exe()?)
        .args(["--bootstrap", &check.suite.bootstrap, "--member", &format!("{group},{}", ledger.topic)])
        .stdout(Stdio::piped())
        .spawn()?;
    let output = second.stdout.take().context("output of the second member")?;
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut has = String::new();
    let halves = check.eventually("the second member takes its half", 40, || {
        drain(check, &consumer, &ledger, &mut seen)?;
        has = told.try_iter().last().unwrap_or(std::mem::take(&mut has));
        Ok(consumer.assignment()?.count() == 3 && has == "assigned 3")
    });
    let sent = halves.and_then(|()| ledger.send(check, &check.suite.flights[check.suite.flights.len() / 2..], &[]));
    let dead = Instant::now();
    second.kill()?;
    second.wait()?;
    sent?;
    check.eventually("the partitions of the dead member come back", 40, || {
        drain(check, &consumer, &ledger, &mut seen)?;
        Ok(consumer.assignment()?.count() == 6)
    })?;
    let waited = dead.elapsed();
    check.that(waited > Duration::from_secs(3), || format!("the session of 6 s ended after {waited:?} already"))?;
    check.eventually("the member that lives has seen every row and committed it", 40, || {
        drain(check, &consumer, &ledger, &mut seen)?;
        if seen.len() < ledger.len() || consumer.commit_consumer_state(CommitMode::Sync).is_err() {
            return Ok(false);
        }
        let committed = consumer.committed(WAIT)?;
        Ok(ledger.acked.keys().all(|&partition| {
            let found = committed.find_partition(&ledger.topic, partition);
            found.is_some_and(|found| found.offset() == Offset::Offset(ledger.end(partition)))
        }))
    })
}

/// A second member of the group begins exactly where the first one has committed.
fn commit_and_resume(check: &Check) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, "resume", 3, &[])?;
    let group = check.suite.name("resume-group");
    let rows = check.suite.first(6_000);
    for half in rows.chunks(rows.len() / 2) {
        ledger.send(check, half, &[("compression.type", "snappy")])?;
        let consumer: BaseConsumer = group_config(&check.suite.bootstrap, &group).create()?;
        consumer.subscribe(&[&ledger.topic])?;
        let mut seen = Seen::new();
        check.eventually("half of the rows", 40, || {
            drain(check, &consumer, &ledger, &mut seen)?;
            Ok(seen.len() >= half.len())
        })?;
        consumer.commit_consumer_state(CommitMode::Sync)?;
        check.that(seen.len() == half.len(), || format!("{} rows, expected {}", seen.len(), half.len()))?;
        for (&partition, _) in &ledger.acked {
            let committed = consumer.committed(WAIT)?;
            let found = committed.find_partition(&ledger.topic, partition).context("no committed offset")?.offset();
            check
                .that(found == Offset::Offset(ledger.end(partition)), || format!("partition {partition}: {found:?}"))?;
        }
    }
    Ok(())
}

/// One that comes back within its session has its partitions at once, without a rebalance.
fn static_member(check: &Check) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, "static", 4, &[])?;
    ledger.send(check, check.suite.first(200), &[])?;
    let mut config = group_config(&check.suite.bootstrap, &check.suite.name("static-group"));
    config.set("group.instance.id", "fixed").set("session.timeout.ms", "20000");
    for round in 0..2 {
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[&ledger.topic])?;
        let (begun, mut seen) = (Instant::now(), Seen::new());
        check.eventually("the static member has all partitions", 30, || {
            drain(check, &consumer, &ledger, &mut seen)?;
            Ok(consumer.assignment()?.count() == 4)
        })?;
        let took = begun.elapsed();
        check.that(round == 0 || took < Duration::from_millis(2_500), || format!("coming back took {took:?}"))?;
        check.eventually("all rows", 20, || {
            drain(check, &consumer, &ledger, &mut seen)?;
            Ok(seen.len() == ledger.len())
        })?;
    }
    Ok(())
}

/// Two members in one process under the cooperative protocol: together they have everything, and all rows are seen.
fn cooperative_sticky(check: &Check) -> anyhow::Result<()> {
    let mut ledger = crate::admin::create(check, "cooperative", 6, &[])?;
    ledger.send(check, check.suite.first(3_000), &[])?;
    let mut config = group_config(&check.suite.bootstrap, &check.suite.name("cooperative-group"));
    config.set("partition.assignment.strategy", "cooperative-sticky");
    let first: BaseConsumer = config.create()?;
    first.subscribe(&[&ledger.topic])?;
    let mut seen = Seen::new();
    check.eventually("the only member has all partitions and rows", 40, || {
        drain(check, &first, &ledger, &mut seen)?;
        Ok(first.assignment()?.count() == 6 && seen.len() == ledger.len())
    })?;
    first.commit_consumer_state(CommitMode::Sync)?;
    let second: BaseConsumer = config.create()?;
    second.subscribe(&[&ledger.topic])?;
    let mut fewest = 6;
    check.eventually("each has a half", 40, || {
        drain(check, &first, &ledger, &mut seen)?;
        drain(check, &second, &ledger, &mut seen)?;
        fewest = fewest.min(first.assignment()?.count());
        Ok(first.assignment()?.count() == 3 && second.assignment()?.count() == 3)
    })?;
    ensure!(
        fewest == 3,
        "the first member stood with {fewest} partitions: a cooperative one keeps its half throughout"
    );
    drop(second);
    check.eventually("the half of the member that left comes back", 30, || {
        drain(check, &first, &ledger, &mut seen)?;
        Ok(first.assignment()?.count() == 6)
    })
}
