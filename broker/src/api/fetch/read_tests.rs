use super::*;
use crate::api::lookup::TopicRef;
use crate::api::testing;
use kafka_protocol::messages::FetchRequest;
use std::time::Instant as Clock;

/// A plain fetch.
async fn read(
    broker: &Broker,
    version: i16,
    plan: &Plan,
    wanted: &WantedPartitions,
) -> (Vec<FetchedPartition>, Vec<Reservation>) {
    super::read(broker, version, plan, &Wishes::default(), wanted, &Parts::default()).await
}

/// A batch of `body` bytes; only what the walk looks at is filled in.
fn batch(compression: Compression, body: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; HEADER_LEN + body];
    bytes[8..12].copy_from_slice(&((HEADER_LEN - 12 + body) as i32).to_be_bytes());
    bytes[16] = 2;
    bytes[22] = compression.code();
    bytes
}

#[test]
fn zstd_is_found_behind_other_batches_however_they_are_chunked() {
    let plain = batch(Compression::Lz4, 40);
    let zstd = batch(Compression::Zstd, 10);
    let run = [plain.clone(), plain.clone(), zstd.clone()].concat();
    assert!(holds_zstd(&[Bytes::from(run)]));
    let split = vec![
        Bytes::copy_from_slice(&plain[..HEADER_LEN]),
        Bytes::copy_from_slice(&plain[HEADER_LEN..]),
        Bytes::copy_from_slice(&zstd[..HEADER_LEN]),
        Bytes::copy_from_slice(&zstd[HEADER_LEN..]),
    ];
    assert!(holds_zstd(&split));
    assert!(!holds_zstd(&[Bytes::from([plain.clone(), plain].concat())]));
    assert!(!holds_zstd(&[]));
}

#[test]
fn limits_of_the_request_are_clamped_to_ours() {
    let request = FetchRequest::default().with_max_bytes(100).with_min_bytes(500).with_max_wait_ms(-7);
    let plan = Plan::new(&request, 1000);
    assert_eq!((plan.max_bytes, plan.min_bytes, plan.max_wait), (100, 100, Duration::ZERO));
    let plan = Plan::new(&request.with_max_bytes(i32::MAX).with_isolation_level(1), 1000);
    assert_eq!((plan.max_bytes, plan.min_bytes, plan.limit), (1000, 500, ReadLimit::LastStable));
    let plan = Plan::new(&FetchRequest::default().with_max_bytes(-1).with_min_bytes(-1), 1000);
    assert_eq!((plan.max_bytes, plan.min_bytes), (0, 0));
}

#[test]
fn offsets_that_are_written_but_not_visible_are_in_range() {
    let ends =
        LogOffsets { log_start: Offset(5), last_stable: Offset(8), high_watermark: Offset(10), log_end: Offset(12) };
    for (offset, out) in [(4, true), (5, false), (10, false), (12, false), (13, true), (-1, true)] {
        assert_eq!(is_out_of_range(&ends, offset), out, "offset {offset}");
    }
}

fn wants(topic: &str, partitions: &[(i32, i64, i32)]) -> WantedPartitions {
    let wanted = partitions.iter().map(|(partition, offset, max_bytes)| {
        let key = PartitionRef { topic: TopicRef::name(topic), partition: *partition };
        let wanted = Wanted { current_epoch: None, offset: *offset, last_fetched_epoch: None, max_bytes: *max_bytes };
        (key, wanted)
    });
    wanted.collect()
}

fn plan(max_wait_ms: u64, min_bytes: usize, max_bytes: usize) -> Plan {
    Plan { max_wait: Duration::from_millis(max_wait_ms), min_bytes, max_bytes, limit: ReadLimit::HighWatermark }
}

fn sizes(answers: &[FetchedPartition]) -> Vec<usize> {
    answers.iter().map(FetchedPartition::records_bytes).collect()
}

#[tokio::test]
async fn first_partition_with_data_returns_a_batch_and_the_rest_stays_within_the_limits() {
    let broker = testing::broker().await;
    broker.topic("t", 3, &[]).await;
    let value = "v".repeat(500);
    for partition in [1, 2] {
        for _ in 0..3 {
            broker.produce("t", partition, &[&value]).await;
        }
    }
    let all = wants("t", &[(0, 0, 1 << 20), (1, 0, 1 << 20), (2, 0, 1 << 20)]);
    let full = sizes(&read(&broker, 12, &plan(0, 1, 1 << 20), &all).await.0);
    let batch = full[1] / 3;
    assert_eq!(full, [0, 3 * batch, 3 * batch]);
    assert_eq!(sizes(&read(&broker, 12, &plan(0, 1, 1), &all).await.0), [0, batch, 0]);
    assert_eq!(sizes(&read(&broker, 12, &plan(0, 1, 4 * batch), &all).await.0), [0, 3 * batch, batch]);
    let narrow = wants("t", &[(1, 0, 1), (2, 0, 1)]);
    assert_eq!(sizes(&read(&broker, 12, &plan(0, 1, 1 << 20), &narrow).await.0), [batch, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_the_append_and_not_with_one_elsewhere() {
    let broker = testing::broker().await;
    broker.topic("t", 2, &[]).await;
    let reader = broker.broker.clone();
    let started = Clock::now();
    let waiting =
        tokio::spawn(async move { read(&reader, 12, &plan(30_000, 1, 1 << 20), &wants("t", &[(0, 0, 1000)])).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    broker.produce("t", 1, &["elsewhere"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    broker.produce("t", 0, &["here"]).await;
    assert!(waiting.await.unwrap().0[0].records_bytes() > 0);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_goes_on_until_min_bytes_are_there() {
    let broker = testing::broker().await;
    broker.topic("t", 1, &[]).await;
    let one = broker.produce("t", 0, &["x"]).await;
    assert_eq!(one.error_code, 0);
    let wanted = wants("t", &[(0, 0, 1 << 20)]);
    let batch = read(&broker, 12, &plan(0, 1, 1 << 20), &wanted).await.0[0].records_bytes();
    let reader = broker.broker.clone();
    let waiting = tokio::spawn(async move { read(&reader, 12, &plan(30_000, 3 * batch, 1 << 20), &wanted).await });
    broker.produce("t", 0, &["x"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "two batches are less than three");
    broker.produce("t", 0, &["x"]).await;
    assert_eq!(waiting.await.unwrap().0[0].records_bytes(), 3 * batch);
}

#[tokio::test]
async fn long_poll_ends_at_the_deadline_and_at_once_for_errors() {
    let broker = testing::broker().await;
    let topic = broker.topic("t", 1, &[]).await;
    let started = Clock::now();
    let answers = read(&broker, 12, &plan(100, 1, 1 << 20), &wants("t", &[(0, 0, 1 << 20)])).await;
    assert!(started.elapsed() >= Duration::from_millis(95) && answers.0[0].is_plain());
    let started = Clock::now();
    let wanted = wants("t", &[(0, 0, 1 << 20), (0, 7, 1 << 20), (9, 0, 1 << 20)]);
    let answers = read(&broker, 12, &plan(30_000, 1, 1 << 20), &wanted).await;
    assert_eq!(answers.0.iter().map(|a| a.error_code).collect::<Vec<_>>(), [1, 3], "offset 7 replaced offset 0");
    broker.topics.delete(&topic).await.unwrap();
    let answers = read(&broker, 12, &plan(30_000, 1, 1 << 20), &wants("t", &[(0, 0, 1 << 20)])).await;
    assert_eq!(answers.0[0].error_code, 3);
    assert!(started.elapsed() < Duration::from_secs(10));
}
