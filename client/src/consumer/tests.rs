use std::sync::Mutex;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchResponse, ListOffsetsResponse, MetadataResponse, RequestKind, ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;
use weir_protocol::records::BatchBuilder;
use weir_protocol::{Offset, Timestamp};

use super::*;
use crate::config::ClientConfig;
use crate::testing::ScriptedBroker;

const TOPIC: Uuid = Uuid::from_u128(7);

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn metadata() -> ResponseKind {
    let broker = MetadataResponseBroker::default().with_host(StrBytes::from_static_str("b")).with_port(1);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(topic_name()))
        .with_topic_id(TOPIC)
        .with_partitions(vec![MetadataResponsePartition::default().with_leader_id(BrokerId(0))]);
    ResponseKind::Metadata(MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]))
}

fn list_offsets(offset: i64) -> ResponseKind {
    let partition = ListOffsetsPartitionResponse::default().with_offset(offset);
    let topic = ListOffsetsTopicResponse::default().with_name(topic_name()).with_partitions(vec![partition]);
    ResponseKind::ListOffsets(ListOffsetsResponse::default().with_topics(vec![topic]))
}

fn fetched(code: i16, records: Option<Bytes>) -> ResponseKind {
    let partition = PartitionData::default().with_error_code(code).with_high_watermark(9).with_records(records);
    let topic = FetchableTopicResponse::default().with_topic_id(TOPIC).with_partitions(vec![partition]);
    ResponseKind::Fetch(FetchResponse::default().with_responses(vec![topic]))
}

fn batch(base: i64, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new().base_offset(Offset(base));
    for _ in 0..count {
        builder.append(None, Some(b"value"), &[], Timestamp(1)).unwrap();
    }
    builder.build().unwrap()
}

/// A consumer of partition 0 and the offsets it fetched from; `answer` gets the number of the fetch and its offset.
fn consumer(
    start: StartAt,
    reset: ResetPolicy,
    mut answer: impl FnMut(usize, i64) -> ResponseKind + Send + 'static,
) -> (Consumer, Arc<Mutex<Vec<i64>>>) {
    let asked: Arc<Mutex<Vec<i64>>> = Arc::default();
    let seen = asked.clone();
    let versions = [(ApiKey::Metadata, 0, 12), (ApiKey::Fetch, 4, 17), (ApiKey::ListOffsets, 1, 7)];
    let broker = ScriptedBroker::new(&versions, move |_, version, request| match request {
        RequestKind::Metadata(_) => Some(metadata()),
        RequestKind::ListOffsets(request) => {
            let timestamp = request.topics[0].partitions[0].timestamp;
            Some(list_offsets(if timestamp == -2 { 3 } else { 8 }))
        }
        RequestKind::Fetch(request) => {
            assert_eq!((version, request.topics[0].topic_id, request.session_epoch), (17, TOPIC, -1));
            let offset = request.topics[0].partitions[0].fetch_offset;
            seen.lock().unwrap().push(offset);
            let number = seen.lock().unwrap().len();
            Some(answer(number, offset))
        }
        other => panic!("unexpected {other:?}"),
    });
    let config = ClientConfig { bootstrap: vec!["b:1".parse().unwrap()], ..ClientConfig::default() };
    let client = Client::with_connector(config, broker).unwrap();
    let mut consumer = Consumer::new(client, ConsumerConfig { reset, ..ConsumerConfig::default() });
    consumer.assign([((Arc::from("t"), 0), start)]);
    (consumer, asked)
}

async fn offsets(consumer: &mut Consumer) -> Result<Vec<i64>> {
    let records = consumer.poll(Duration::from_secs(60)).await?;
    Ok(records.iter().map(|record| record.offset).collect())
}

#[tokio::test(start_paused = true)]
async fn fetching_goes_on_behind_what_was_fetched_and_the_position_behind_what_was_handed_out() {
    let (mut consumer, asked) =
        consumer(StartAt::Earliest, ResetPolicy::Fail, |_, offset| fetched(0, Some(batch(offset, 2))));
    assert_eq!(offsets(&mut consumer).await.unwrap(), [3, 4]);
    assert_eq!(consumer.positions(), BTreeMap::from([((Arc::from("t"), 0), 5)]));
    assert_eq!(offsets(&mut consumer).await.unwrap(), [5, 6]);
    assert_eq!(offsets(&mut consumer).await.unwrap(), [7, 8]);
    assert!(asked.lock().unwrap().starts_with(&[3, 5, 7]), "{asked:?}");
    assert_eq!(consumer.high_watermark(&(Arc::from("t"), 0)), Some(9));
}

/// Seen failing when fetches were only started once nothing was left to hand out: the broker idled while records were opened.
#[tokio::test(start_paused = true)]
async fn the_next_fetch_is_under_way_when_records_are_handed_out() {
    let (mut consumer, asked) =
        consumer(StartAt::Earliest, ResetPolicy::Fail, |_, offset| fetched(0, Some(batch(offset, 2))));
    for behind in [5, 7, 9] {
        assert_eq!(offsets(&mut consumer).await.unwrap(), [behind - 2, behind - 1]);
        assert_eq!(asked.lock().unwrap().last(), Some(&behind), "while {behind} is not asked for yet");
    }
}

#[tokio::test(start_paused = true)]
async fn starts_before_the_end_stop_at_the_first_record() {
    let answer = |_: usize, offset| fetched(0, Some(batch(offset, 1)));
    for (start, expected) in [(StartAt::BeforeEnd(2), 6), (StartAt::BeforeEnd(100), 3), (StartAt::Latest, 8)] {
        let (mut consumer, _) = consumer(start, ResetPolicy::Fail, answer);
        assert_eq!(offsets(&mut consumer).await.unwrap(), [expected], "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_moved_leader_is_looked_up_again_and_nothing_is_skipped() {
    let (mut consumer, asked) = consumer(StartAt::Offset(5), ResetPolicy::Fail, |number, offset| {
        if number < 3 { fetched(6, None) } else { fetched(0, Some(batch(offset, 1))) }
    });
    assert_eq!(offsets(&mut consumer).await.unwrap(), [5]);
    assert!(asked.lock().unwrap().starts_with(&[5, 5, 5]), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn an_offset_out_of_range_is_reset_or_reported_as_configured() {
    let answer = |_: usize, offset| if offset == 99 { fetched(1, None) } else { fetched(0, Some(batch(offset, 1))) };
    let (mut reset, _) = consumer(StartAt::Offset(99), ResetPolicy::Earliest, answer);
    assert_eq!(offsets(&mut reset).await.unwrap(), [3]);
    let (mut strict, _) = consumer(StartAt::Offset(99), ResetPolicy::Fail, answer);
    assert_eq!(offsets(&mut strict).await.unwrap_err().code(), Some(ResponseError::OffsetOutOfRange));
}

#[tokio::test(start_paused = true)]
async fn a_corrupt_batch_is_reported_again_and_again_and_never_skipped() {
    let (mut consumer, _) = consumer(StartAt::Offset(0), ResetPolicy::Fail, |_, offset| {
        let mut bytes = batch(offset, 1).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        fetched(0, Some(Bytes::from(bytes)))
    });
    for _ in 0..3 {
        let error = offsets(&mut consumer).await.unwrap_err();
        assert!(matches!(&error, ClientError::CorruptBatch { offset: 0, .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_poll_loses_nothing() {
    let (mut consumer, _) =
        consumer(StartAt::Offset(0), ResetPolicy::Fail, |_, offset| fetched(0, Some(batch(offset, 1))));
    // Connecting and metadata start over when dropped, so they come first.
    let mut seen = offsets(&mut consumer).await.unwrap();
    for _ in 0..10_000 {
        // A limit of nothing drops the poll at whatever await point it reached first.
        if let Ok(records) = tokio::time::timeout(Duration::ZERO, consumer.poll(Duration::from_secs(1))).await {
            seen.extend(records.unwrap().iter().map(|record| record.offset));
        }
        tokio::task::yield_now().await;
    }
    assert!(seen.len() >= 50, "only {} records", seen.len());
    assert_eq!(seen[..50], (0..50).collect::<Vec<_>>());
}
