//! Produce with tag 5700: Arrow streams that plain consumers read as rows, byte by byte and through the client.
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, TransactionalId,
};
use weir_client::admin::Isolation;
use weir_client::{ClientConfig, parse_brokers};
use weir_protocol::columnar::{ColumnarProduce, TAG};
use weir_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId};
use weir_scan::{StreamCodec, encode_stream};

use crate::harness::*;

const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const OUT_OF_ORDER: i16 = 45;
const INVALID_RECORD: i16 = 87;
const INVALID_TOPIC: i16 = 17;

async fn table(client: &mut Client, partitions: i32) -> Topic {
    let ddl = ("weir.table.schema", "id BIGINT NOT NULL, city STRING, n INT DEFAULT 3");
    Topic { name: "t".to_owned(), id: client.create_topic("t", partitions, &[ddl]).await }
}

fn stream(columns: Vec<(&str, ArrayRef)>, codec: StreamCodec) -> Bytes {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    encode_stream(&batch.schema(), [&batch], codec).unwrap()
}

fn ids(from: i64, count: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(from..from + count))
}

fn tag(stream: &[u8], producer: Option<(i64, i16, i32)>) -> ColumnarProduce {
    let producer = producer.map(|(id, epoch, sequence)| (ProducerId(id), ProducerEpoch(epoch), sequence));
    ColumnarProduce { schema_id: 1, producer, transactional: false, crc32c: crc32c::crc32c(stream) }
}

async fn send(client: &mut Client, topic: &Topic, tag: &ColumnarProduce, stream: &Bytes) -> PartitionProduceResponse {
    let mut bytes = BytesMut::new();
    tag.encode(&mut bytes);
    let mut request = produce_request(13, topic, 0, -1, stream.clone());
    let data = &mut request.topic_data[0].partition_data[0];
    data.unknown_tagged_fields.insert(TAG, bytes.freeze());
    client.call(13, &request).await.responses[0].partition_responses[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_produced_are_rows_to_plain_consumers() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = table(&mut client, 1).await;
    for (round, codec) in [StreamCodec::None, StreamCodec::Lz4Frame, StreamCodec::Zstd].into_iter().enumerate() {
        let city: ArrayRef = Arc::new(StringArray::from(vec![Some("Ulm"), None]));
        let key: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"k".as_slice()), None]));
        let stream = stream(vec![("city", city), ("id", ids(1, 2)), ("_key", key)], codec);
        let answer = send(&mut client, &t, &tag(&stream, None), &stream).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, 2 * round as i64), "{:?}", answer.error_message);
    }
    let rows = records(&client.fetch(12, &t, 0, 0).await);
    let values: Vec<_> = rows.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, [r#"{"id":1,"city":"Ulm","n":3}"#, r#"{"id":2,"n":3}"#].repeat(3));
    assert_eq!(rows.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_count_rows_and_repetitions_are_stored_once() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = table(&mut client, 1).await;
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    let producer = client.call(4, &request).await;
    let (id, epoch) = (producer.producer_id.0, producer.producer_epoch);
    let stream = |from| stream(vec![("id", ids(from, 5))], StreamCodec::Lz4Frame);
    let (first, second) = (stream(0), stream(5));
    for _ in 0..3 {
        let answer = send(&mut client, &t, &tag(&first, Some((id, epoch, 0))), &first).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, 0), "{:?}", answer.error_message);
    }
    let gap = send(&mut client, &t, &tag(&second, Some((id, epoch, 6))), &second).await;
    assert_eq!(gap.error_code, OUT_OF_ORDER, "five rows were sent, so 5 comes next");
    let answer = send(&mut client, &t, &tag(&second, Some((id, epoch, 5))), &second).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 5));
    assert_eq!(records(&client.fetch(12, &t, 0, 0).await).len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_its_column_and_nothing_is_stored() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = table(&mut client, 1).await;
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["x"])) };
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    for (columns, reason) in [
        (vec![("id", text())], "column id"),
        (vec![("id", ids(0, 1)), ("nope", text())], "column nope"),
        (vec![("city", text())], "id"),
        (vec![("id", nulls)], "column id"),
    ] {
        let stream = stream(columns, StreamCodec::None);
        let answer = send(&mut client, &t, &tag(&stream, None), &stream).await;
        let message = answer.error_message.clone().unwrap_or_default().to_string();
        assert_eq!((answer.error_code, answer.base_offset), (INVALID_RECORD, -1), "{message}");
        assert!(message.contains(reason), "{message}");
    }
    let good = stream(vec![("id", ids(0, 1))], StreamCodec::None);
    let wrong = ColumnarProduce { crc32c: 1, ..tag(&good, None) };
    assert_eq!(send(&mut client, &t, &wrong, &good).await.error_code, CORRUPT_MESSAGE);
    let version = ColumnarProduce { schema_id: 9, ..tag(&good, None) };
    assert_eq!(send(&mut client, &t, &version, &good).await.error_code, INVALID_RECORD);
    for damaged in [&good[..good.len() / 2], &[7; 100][..], b"\xff\xff\xff\xff\xff\xff\xff\x7f"] {
        let damaged = Bytes::copy_from_slice(damaged);
        let code = send(&mut client, &t, &tag(&damaged, None), &damaged).await.error_code;
        assert!([INVALID_RECORD, MESSAGE_TOO_LARGE].contains(&code), "{code}: a length may be beyond the bounds");
    }
    let untyped = Topic { name: "u".to_owned(), id: client.create_topic("u", 1, &[]).await };
    let answer = send(&mut client, &untyped, &tag(&good, None), &good).await;
    assert!(answer.error_code == INVALID_RECORD && answer.error_message.unwrap().contains("untyped"));
    client.create_topic("v", -1, &[("weir.view.source", "t")]).await;
    let view = broker.inner().topics.get("v").unwrap();
    let view = Topic { name: "v".to_owned(), id: view.id.0 };
    assert_eq!(send(&mut client, &view, &tag(&good, None), &good).await.error_code, INVALID_TOPIC);
    assert_eq!(client.fetch(12, &t, 0, 0).await.high_watermark, 0, "nothing was stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_writes_batches_of_any_size_and_reads_them_back() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = table(&mut client, 2).await;
    let bootstrap = parse_brokers(&broker.address().to_string()).unwrap();
    let rust = weir_client::Client::new(ClientConfig { bootstrap, ..ClientConfig::default() }).unwrap();
    let mut writer = rust.topic("t").writer();
    // 20,000 rows of 2 KiB: more than one request takes, in either count.
    let wide: ArrayRef = Arc::new(StringArray::from(vec!["w".repeat(2048); 2_000]));
    let batch = RecordBatch::try_from_iter([("id", ids(0, 2_000)), ("city", wide)]).unwrap();
    let written = writer.write(&batch).await.unwrap();
    assert!(written.len() > 4 && written.iter().any(|w| w.partition == 1), "{written:?}");
    let small = RecordBatch::try_from_iter([("id", ids(2_000, 18_000))]).unwrap();
    let written = writer.write(&small).await.unwrap();
    assert_eq!(written.iter().map(|w| w.rows).sum::<usize>(), 18_000);
    let mut reader = rust.topic("t").columns(["id"]).to_end().stream();
    let mut seen = Vec::new();
    while let Some(batch) = reader.next().await {
        let batch = batch.unwrap();
        let column = batch.rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
        seen.extend(column.values().iter().copied());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20_000).collect::<Vec<_>>());
    let ends: i64 =
        [client.fetch(12, &t, 0, 0).await, client.fetch(12, &t, 1, 0).await].iter().map(|p| p.high_watermark).sum();
    assert_eq!(ends, 20_000, "each row is one record");
    let misfit = RecordBatch::try_from_iter([("nope", ids(0, 1))]).unwrap();
    let error = writer.write(&misfit).await.unwrap_err().to_string();
    assert!(error.contains("column nope"), "{error}");
    assert_eq!(writer.write(&small.slice(0, 1)).await.unwrap().len(), 1, "the writer goes on");
}

/// Seen failing without the cast: "column n: the stream has Int64, the table Int32".
#[tokio::test(flavor = "multi_thread")]
async fn the_client_learns_the_table_of_an_empty_topic_casts_what_fits_and_follows_when_it_changes() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = table(&mut client, 1).await;
    let bootstrap = parse_brokers(&broker.address().to_string()).unwrap();
    let rust = weir_client::Client::new(ClientConfig { bootstrap, ..ClientConfig::default() }).unwrap();
    let names = |schema: SchemaRef| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    assert_eq!(names(rust.topic("t").schema().await.unwrap()), ["id", "city", "n"]);
    assert_eq!(names(rust.topic("t").columns(["n", "_offset"]).schema().await.unwrap()), ["n", "_offset"]);
    let mut writer = rust.topic("t").writer();
    // As Python has them: all integers are 64 bits wide, dictionaries for repeated text.
    let keyed: DictionaryArray<Int32Type> = ["Ulm", "Ulm"].into_iter().collect();
    let batch =
        RecordBatch::try_from_iter([("id", ids(0, 2)), ("n", ids(7, 2)), ("city", Arc::new(keyed) as ArrayRef)]);
    writer.write(&batch.unwrap()).await.unwrap();
    let large: ArrayRef = Arc::new(Int64Array::from(vec![1, 3_000_000_000]));
    let batch = RecordBatch::try_from_iter([("id", ids(2, 2)), ("n", large)]).unwrap();
    let error = writer.write(&batch).await.unwrap_err().to_string();
    assert!(error.contains("column n, row 3: 3000000000 does not fit Int32"), "{error}");
    assert_eq!(client.fetch(12, &t, 0, 0).await.high_watermark, 2, "nothing of that batch is stored");
    let wider = AlterableConfig::default()
        .with_name(s("weir.table.schema"))
        .with_value(Some(s("id BIGINT NOT NULL, city STRING, n BIGINT DEFAULT 3")));
    let resource =
        AlterConfigsResource::default().with_resource_type(2).with_resource_name(s("t")).with_configs(vec![wider]);
    let answer = client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await;
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
    writer.write(&batch).await.unwrap();
    // What was written as an INT is a wider one now, which the writer finds out when it is refused.
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![5]));
    writer.write(&RecordBatch::try_from_iter([("id", ids(4, 1)), ("n", narrow)]).unwrap()).await.unwrap();
    let rows = records(&client.fetch(12, &t, 0, 0).await);
    let values: Vec<_> = rows.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(
        values[1..],
        [r#"{"id":1,"city":"Ulm","n":8}"#, r#"{"id":2,"n":1}"#, r#"{"id":3,"n":3000000000}"#, r#"{"id":4,"n":5}"#]
    );
}

/// Rows that are not few, as the client would send them: with a text, so that they are worth columns of their own.
fn many(from: i64, count: i64) -> Bytes {
    let text = |id: i64| (id % 3 > 0).then(|| format!("city {} \"{}\"", id % 50, "x".repeat(20)));
    let city: ArrayRef = Arc::new((from..from + count).map(text).collect::<StringArray>());
    stream(vec![("id", ids(from, count)), ("city", city)], StreamCodec::Lz4Frame)
}

fn row_of(id: i64) -> String {
    match id % 3 {
        0 => format!(r#"{{"id":{id},"n":3}}"#),
        _ => format!(r#"{{"id":{id},"city":"city {} \"{}\"","n":3}}"#, id % 50, "x".repeat(20)),
    }
}

/// All rows that a plain consumer gets, fetch by fetch.
async fn consumed(client: &mut Client, topic: &Topic, from: i64, end: i64) -> Vec<(i64, String)> {
    let (mut rows, mut next) = (Vec::new(), from);
    while next < end {
        let answer = client.fetch(12, topic, 0, next).await;
        assert_eq!(answer.error_code, 0);
        let some = records(&answer);
        next = some.last().expect("a fetch below the end returns something").0 + 1;
        rows.extend(some.into_iter().filter(|(offset, _)| *offset >= from));
    }
    rows
}

/// No row is made of them before somebody asks for one: what is appended is columns (seen in the log's own words), and a plain
/// consumer gets the same rows before and after the broker was stopped, and after they were merged.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_stored_as_they_came() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = table(&mut client, 1).await;
    for round in 0..3 {
        let stream = many(round * 4_000, 4_000);
        let answer = send(&mut client, &t, &tag(&stream, None), &stream).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, round * 4_000), "{:?}", answer.error_message);
    }
    // Few rows are rows.
    let few = many(12_000, 10);
    assert_eq!(send(&mut client, &t, &tag(&few, None), &few).await.base_offset, 12_000);
    let in_columns = |broker: &TestBroker, offset: i64| {
        let log = broker.inner().topics.get("t").unwrap().log_id();
        let partition = broker.inner().storage.partition(log, PartitionId(0)).unwrap();
        partition.column_part(Offset(offset)).unwrap().map(|part| part.is_batch)
    };
    assert_eq!(
        [0, 4_000, 11_999, 12_000].map(|at| in_columns(&broker, at)),
        [Some(true), Some(true), Some(true), None]
    );
    let expected: Vec<_> = (0..12_010).map(|id| (id, row_of(id))).collect();
    assert_eq!(consumed(&mut client, &t, 0, 12_010).await, expected);
    assert_eq!(consumed(&mut client, &t, 4_321, 12_010).await, expected[4_321..]);
    let one = client.fetch(12, &t, 0, 5_000).await;
    assert_eq!(records(&one)[0].0, 4_000, "a batch is whole");
    let broker = broker.restart().await;
    let mut client = Client::connect(&broker).await;
    assert_eq!(in_columns(&broker, 4_000), Some(true));
    assert_eq!(consumed(&mut client, &t, 0, 12_010).await, expected);
}

/// Columns are part of transactions as rows are, and repeated ones are stored once.
#[tokio::test(flavor = "multi_thread")]
async fn columns_of_an_aborted_transaction_are_not_seen() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = table(&mut client, 1).await;
    let name = || TransactionalId(s("tx"));
    let request =
        InitProducerIdRequest::default().with_transactional_id(Some(name())).with_transaction_timeout_ms(60_000);
    let producer = client.call(4, &request).await;
    let (id, epoch) = (producer.producer_id, producer.producer_epoch);
    for (round, commit) in [true, false, true].into_iter().enumerate() {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("t")).with_partitions(vec![0]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(name())
            .with_v3_and_below_producer_id(id)
            .with_v3_and_below_producer_epoch(epoch)
            .with_v3_and_below_topics(vec![topic]);
        client.call(3, &add).await;
        let (from, stream) = (round as i64 * 4_000, many(round as i64 * 4_000, 4_000));
        let tag = ColumnarProduce { transactional: true, ..tag(&stream, Some((id.0, epoch, from as i32))) };
        for _ in 0..2 {
            let mut bytes = BytesMut::new();
            tag.encode(&mut bytes);
            let mut request = produce_request(13, &t, 0, -1, stream.clone()).with_transactional_id(Some(name()));
            request.topic_data[0].partition_data[0].unknown_tagged_fields.insert(TAG, bytes.freeze());
            let answer = client.call(13, &request).await.responses[0].partition_responses[0].clone();
            // A marker is behind each transaction.
            assert_eq!((answer.error_code, answer.base_offset), (0, from + round as i64), "{:?}", answer.error_message);
        }
        let end = EndTxnRequest::default()
            .with_transactional_id(name())
            .with_producer_id(id)
            .with_producer_epoch(epoch)
            .with_committed(commit);
        assert_eq!(client.call(4, &end).await.error_code, 0);
    }
    let bootstrap = parse_brokers(&broker.address().to_string()).unwrap();
    let rust = weir_client::Client::new(ClientConfig { bootstrap, ..ClientConfig::default() }).unwrap();
    let seen = async |committed: bool| {
        let isolation = if committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
        let topic = rust.topic("t").columns(["id"]).isolation(isolation).to_end();
        let (mut reader, mut seen) = (topic.stream(), Vec::new());
        while let Some(batch) = reader.next().await {
            let batch = batch.unwrap();
            seen.extend(batch.rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().iter().copied());
        }
        seen
    };
    for _ in 0..500 {
        let data = client.fetch(12, &t, 0, 12_000).await;
        if data.last_stable_offset == 12_003 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(seen(false).await, (0..12_000).collect::<Vec<_>>());
    assert_eq!(seen(true).await, (0..4_000).chain(8_000..12_000).collect::<Vec<_>>());
    // A plain consumer is told which of the rows that it gets were aborted.
    let plain = client.call(12, &fetch_request(12, &t, 0, 4_001).with_isolation_level(1)).await;
    let aborted = only(&plain).aborted_transactions.clone().unwrap();
    assert_eq!(aborted.iter().map(|a| (a.producer_id, a.first_offset)).collect::<Vec<_>>(), [(id, 4_001)]);
}
