//! Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords.
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    DeleteRecordsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};
use uuid::Uuid;
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::{BatchBuilder, BatchHeader, Compression, TimestampType};

use crate::harness::*;

async fn topic(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Topic {
    Topic { name: name.to_owned(), id: client.create_topic(name, partitions, configs).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_in_any_version_and_codec_is_fetched_in_any_version() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    let mut expected = Vec::new();
    for version in 3..=13 {
        for codec in Compression::ALL {
            if codec == Compression::Zstd && version < 7 {
                continue;
            }
            let value = format!("v{version}-{}", codec.name());
            let answer = client.produce(version, &t, 0, -1, batch(codec, &[&value, "second"])).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, expected.len() as i64), "{value}");
            assert_eq!(answer.log_append_time_ms, -1);
            expected.extend([value, "second".to_owned()]);
        }
    }
    for version in 10..=18 {
        let data = client.fetch(version, &t, 0, 0).await;
        assert_eq!(data.error_code, 0, "v{version}");
        assert_eq!(data.high_watermark, expected.len() as i64);
        assert_eq!(records(&data), (0..).zip(expected.clone()).collect::<Vec<_>>(), "v{version}");
    }
    for version in 4..=9 {
        let data = client.fetch(version, &t, 0, 0).await;
        assert_eq!(data.error_code, 76, "v{version} does not know zstd");
        let plain = client.call(version, &fetch_request(version, &t, 0, 0).with_max_bytes(1)).await;
        assert_eq!(records(only(&plain)).len(), 2, "v{version}: one whole batch however small the limit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_bytes_are_the_produced_ones_but_for_offset_and_epoch() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    for codec in Compression::ALL {
        let produced = batch(codec, &["same", "bytes"]);
        let offset = client.produce(11, &t, 0, -1, produced.clone()).await.base_offset;
        let fetched = client.fetch(12, &t, 0, offset).await.records.unwrap();
        assert_eq!(fetched[16..], produced[16..], "{codec:?}");
        assert_eq!(BatchHeader::parse(&fetched).unwrap().base_offset.0, offset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_batches_say_why_and_leave_nothing_behind() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[("max.message.bytes", "2000")]).await;
    let compacted = topic(&mut client, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    let good = batch(Compression::None, &["x"]);
    let mut damaged = BytesMut::from(&good[..]);
    *damaged.last_mut().unwrap() ^= 1;
    let missing = Topic { name: "missing".into(), id: Uuid::from_u128(99) };
    let mut future = BatchBuilder::new();
    future.append(None, Some(b"x"), &[], Timestamp(4_102_444_800_000)).unwrap();
    let cases: Vec<(&str, &Topic, i32, i16, Bytes, i16)> = vec![
        ("unknown partition", &t, 7, -1, good.clone(), 3),
        ("unknown topic", &missing, 0, -1, good.clone(), 3),
        ("acks", &t, 0, 2, good.clone(), 21),
        ("no batch", &t, 0, -1, Bytes::new(), 87),
        ("crc", &t, 0, -1, damaged.freeze(), 2),
        ("two batches", &t, 0, -1, [good.clone(), good.clone()].concat().into(), 87),
        ("too large", &t, 0, -1, batch(Compression::None, &["y".repeat(3000).as_str()]), 10),
        ("future", &t, 0, -1, future.build().unwrap(), 32),
        ("null key", &compacted, 0, -1, good.clone(), 87),
    ];
    for (name, topic, partition, acks, bytes, code) in cases {
        let answer = client.produce(9, topic, partition, acks, bytes).await;
        assert_eq!((answer.error_code, answer.base_offset), (code, -1), "{name}: {:?}", answer.error_message);
        assert!(answer.error_message.is_some(), "{name}");
    }
    let answer = client.produce(9, &compacted, 0, -1, good.clone()).await;
    assert_eq!(answer.record_errors[0].batch_index, 0);
    let answer = client.produce(13, &missing, 0, -1, good.clone()).await;
    assert_eq!(answer.error_code, 100);
    let answer = client.produce(6, &t, 0, -1, batch(Compression::Zstd, &["z"])).await;
    assert_eq!(answer.error_code, 76);
    assert_eq!(client.fetch(12, &t, 0, 0).await.high_watermark, 0);
    assert_eq!(client.produce(9, &t, 0, -1, good).await.base_offset, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_0_to_2_of_produce_close_the_connection() {
    let broker = TestBroker::start().await;
    for version in [0i16, 2] {
        let mut client = Client::connect(&broker).await;
        let mut body = vec![0, 0];
        body.extend(version.to_be_bytes());
        body.extend([0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 3, 0xe8, 0, 0, 0, 0]);
        client.send_raw(&body).await;
        assert!(client.receive_raw().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_0_answers_nothing_and_an_error_closes_the_connection() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    client.send(9, &produce_request(9, &t, 0, 0, batch(Compression::None, &["quiet"]))).await;
    // The next answer on the connection is that of the next request.
    let acked = client.produce(9, &t, 0, 1, batch(Compression::None, &["loud"])).await;
    assert_eq!(acked.base_offset, 1);
    client.send(9, &produce_request(9, &t, 5, 0, batch(Compression::None, &["lost"]))).await;
    assert!(client.receive_raw().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_produces_keep_their_order() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[("compression.type", "zstd")]).await;
    let mut sent = Vec::new();
    for n in 0..40 {
        let codec = Compression::ALL[n % 5];
        sent.push(client.send(9, &produce_request(9, &t, 0, -1, batch(codec, &[&n.to_string()]))).await);
    }
    for (n, correlation) in sent.into_iter().enumerate() {
        let response = client.receive::<kafka_protocol::messages::ProduceRequest>(9, correlation).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, n as i64);
    }
    let data = client.fetch(12, &t, 0, 0).await;
    assert_eq!(records(&data), (0..40).map(|n| (n, n.to_string())).collect::<Vec<_>>());
    let header = BatchHeader::parse(&data.records.unwrap()).unwrap();
    assert_eq!(header.attributes.compression(), Compression::Zstd, "compression.type recompresses");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_append_time_is_stamped_and_answered() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let answer = client.produce(9, &t, 0, -1, batch(Compression::None, &["x"])).await;
    assert!(answer.log_append_time_ms > 1_600_000_000_000);
    let bytes = client.fetch(12, &t, 0, 0).await.records.unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, answer.log_append_time_ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_producer_is_answered_its_first_offset_for_a_duplicate() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    let init = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let producer = client.call(4, &init).await;
    assert_eq!((producer.error_code, producer.producer_epoch), (0, 0));
    let other = client.call(0, &init).await;
    assert_ne!(producer.producer_id, other.producer_id);
    let numbered = |sequence: i32| {
        let mut builder = BatchBuilder::new().producer(ProducerId(producer.producer_id.0), ProducerEpoch(0), sequence);
        builder.append(None, Some(b"x"), &[], Timestamp(5)).unwrap();
        builder.build().unwrap()
    };
    for (sequence, code, offset) in [(0, 0, 0), (1, 0, 1), (0, 0, 0), (1, 0, 1), (3, 45, -1), (2, 0, 2)] {
        let answer = client.produce(9, &t, 0, -1, numbered(sequence)).await;
        assert_eq!((answer.error_code, answer.base_offset), (code, offset), "sequence {sequence}");
    }
    // A duplicate writes nothing: with acks=1 its answer waits for a commit of barriers only.
    let again = client.produce(9, &t, 0, 1, numbered(2)).await;
    assert_eq!((again.error_code, again.base_offset), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_poll_returns_when_data_arrives_and_not_before() {
    let broker = TestBroker::start().await;
    let mut reader = Client::connect(&broker).await;
    let mut writer = Client::connect(&broker).await;
    let t = topic(&mut writer, "t", 2, &[]).await;
    let poll = fetch_request(12, &t, 0, 0).with_max_wait_ms(20_000);
    let started = Instant::now();
    let correlation = reader.send(12, &poll).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    writer.produce(9, &t, 1, -1, batch(Compression::None, &["elsewhere"])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    writer.produce(9, &t, 0, -1, batch(Compression::None, &["here"])).await;
    let response = reader.receive::<FetchRequest>(12, correlation).await;
    assert_eq!(records(only(&response)), [(0, "here".to_owned())]);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(400) && waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_poll_without_data_ends_at_max_wait_with_the_ends_of_the_log() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    client.produce(9, &t, 0, -1, batch(Compression::None, &["a"])).await;
    let started = Instant::now();
    let response = client.call(12, &fetch_request(12, &t, 0, 1).with_max_wait_ms(250)).await;
    assert!(started.elapsed() >= Duration::from_millis(240));
    assert_eq!((only(&response).high_watermark, only(&response).log_start_offset), (1, 0));
    let min_bytes = fetch_request(12, &t, 0, 0).with_max_wait_ms(250).with_min_bytes(1 << 20);
    let response = client.call(12, &min_bytes).await;
    assert_eq!(records(only(&response)).len(), 1, "at the deadline what there is is returned");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_partition_end_a_long_poll_at_once() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    client.produce(9, &t, 0, -1, batch(Compression::None, &["a"])).await;
    let unknown = Topic { name: "nope".into(), id: Uuid::from_u128(1) };
    let started = Instant::now();
    for (version, topic, partition, offset, epoch, code) in [
        (12, &t, 0, 2, -1, 1),
        (12, &t, 0, -5, -1, 1),
        (12, &t, 3, 0, -1, 3),
        (12, &unknown, 0, 0, -1, 3),
        (13, &unknown, 0, 0, -1, 100),
        (12, &t, 0, 0, 1_000_000, 75),
        (12, &t, 0, 0, 0, 74),
    ] {
        let mut request = fetch_request(version, topic, partition, offset).with_max_wait_ms(20_000);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = client.call(version, &request).await;
        assert_eq!(only(&response).error_code, code);
        assert_eq!(only(&response).high_watermark, -1);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn size_limits_give_at_least_one_batch_and_share_the_rest() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 3, &[]).await;
    let value = "v".repeat(1000);
    for partition in 0..3 {
        for _ in 0..5 {
            client.produce(9, &t, partition, -1, batch(Compression::None, &[&value])).await;
        }
    }
    let counts = async |client: &mut Client, max_bytes: i32, partition_max: i32| {
        let partitions = (0..3).map(|p| fetch_partition(p, 0).with_partition_max_bytes(partition_max)).collect();
        let request =
            fetch_request(12, &t, 0, 0).with_max_bytes(max_bytes).with_topics(vec![fetch_topic(12, &t, partitions)]);
        let response = client.call(12, &request).await;
        let partitions = &response.responses[0].partitions;
        partitions.iter().map(|p| records(p).len()).collect::<Vec<_>>()
    };
    assert_eq!(counts(&mut client, 50 << 20, 1 << 20).await, [5, 5, 5]);
    assert_eq!(counts(&mut client, 1, 1).await, [1, 0, 0]);
    assert_eq!(counts(&mut client, 50 << 20, 2300).await, [2, 2, 2]);
    assert_eq!(counts(&mut client, 7 * 1100, 1 << 20).await, [5, 2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_listed_by_end_and_by_time() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    let ask = async |client: &mut Client, version: i16, timestamp: i64| {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
        let entry = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![entry]);
        let response = client.call(version, &request).await;
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.timestamp, found.offset)
    };
    assert_eq!(ask(&mut client, 7, -3).await, (0, -1, -1), "no records, no largest timestamp");
    // Timestamps 1000, 1001, 1002.
    client.produce(9, &t, 0, -1, batch(Compression::Lz4, &["a", "b", "c"])).await;
    for version in 1..=10 {
        assert_eq!(ask(&mut client, version, -1).await, (0, -1, 3), "v{version}");
        assert_eq!(ask(&mut client, version, -2).await, (0, -1, 0));
        assert_eq!(ask(&mut client, version, 1001).await, (0, 1001, 1));
        assert_eq!(ask(&mut client, version, 1003).await, (0, -1, -1));
    }
    assert_eq!(ask(&mut client, 7, -3).await, (0, 1002, 2));
    assert_eq!(ask(&mut client, 8, -4).await, (0, -1, 0));
    assert_eq!(ask(&mut client, 9, -5).await, (0, -1, -1));
    assert_eq!(ask(&mut client, 6, -3).await.0, 35);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_out_of_range_and_move_the_start() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    for value in ["a", "b", "c"] {
        client.produce(9, &t, 0, -1, batch(Compression::None, &[value])).await;
    }
    let delete = async |client: &mut Client, version: i16, offset: i64| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let entry = DeleteRecordsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![entry]).with_timeout_ms(5000);
        let response = client.call(version, &request).await;
        let done = &response.topics[0].partitions[0];
        (done.error_code, done.low_watermark)
    };
    assert_eq!(delete(&mut client, 0, 2).await, (0, 2));
    assert_eq!(client.fetch(12, &t, 0, 1).await.error_code, 1);
    assert_eq!(records(&client.fetch(12, &t, 0, 2).await), [(2, "c".to_owned())]);
    assert_eq!(delete(&mut client, 1, 9).await, (1, -1));
    assert_eq!(delete(&mut client, 2, -1).await, (0, 3));
    let data = client.fetch(12, &t, 0, 3).await;
    assert_eq!((data.error_code, data.log_start_offset, data.high_watermark), (0, 3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_the_current_epoch_is_the_log_end() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1, &[]).await;
    client.produce(9, &t, 0, -1, batch(Compression::None, &["a", "b"])).await;
    let header = BatchHeader::parse(&client.fetch(12, &t, 0, 0).await.records.unwrap()).unwrap();
    let epoch = header.leader_epoch.0;
    for version in 2..=4 {
        for (asked, answered) in [(epoch, (0, epoch, 2)), (epoch + 1, (0, -1, -1))] {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(0)
                .with_leader_epoch(asked)
                .with_current_leader_epoch(-1);
            let entry = OffsetForLeaderTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![entry]);
            let response = client.call(version, &request).await;
            let end = &response.topics[0].partitions[0];
            assert_eq!((end.error_code, end.leader_epoch, end.end_offset), answered, "v{version}");
        }
    }
}
