//! `weir.cluster.by` over the wire: the setting, offset order and window order of what is stored, what is refused.
use std::collections::HashMap;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_ipc::reader::StreamReader;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{FetchResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use weir_client::columnar::{ReadUntil, TopicQuery};
use weir_client::consumer::StartAt;
use weir_client::group::GroupConfig;
use weir_client::{Client as WeirClient, ClientConfig};
use weir_protocol::columnar::{ColumnarFetch, ResultFormat, ScanOrder};
use weir_protocol::ids::{Offset, PartitionId, Timestamp, TopicId};
use weir_protocol::records::{BatchBuilder, Compression};

use super::columnar::{result, tagged, wish};
use crate::harness::*;

const INVALID_REQUEST: i16 = 42;
const ROWS: i64 = 40_000;
const SETTINGS: [(&str, &str); 2] = [("merge.partition.bytes", "1048576"), ("wal.file.bytes", "1048576")];

fn shop(id: i64) -> String {
    format!("s{}", id.wrapping_mul(7919) % 23)
}

async fn clustered(client: &mut Client) -> Topic {
    let ddl = "id BIGINT NOT NULL, shop STRING, note STRING, tags ARRAY<STRING>";
    // Timestamps are of 1970: retention would take them.
    let layout = [("weir.layout", "column"), ("weir.cluster.by", "shop"), ("retention.ms", "-1")];
    let configs = [&[("weir.table.schema", ddl)], &layout[..]].concat();
    let topic = Topic { name: "sales".to_owned(), id: client.create_topic("sales", 1, &configs).await };
    for from in (0..ROWS).step_by(1000) {
        let mut builder = BatchBuilder::new().compression(Compression::None, None);
        for id in from..from + 1000 {
            let row =
                format!(r#"{{"id":{id},"shop":"{}","note":"note {id} of a row that is a little longer"}}"#, shop(id));
            builder.append(None, Some(row.as_bytes()), &[], Timestamp(id)).unwrap();
        }
        assert_eq!(client.produce(13, &topic, 0, -1, builder.build().unwrap()).await.error_code, 0);
    }
    topic
}

async fn in_columns(broker: &TestBroker, topic: &Topic, offset: i64) {
    let partition = broker.inner().storage.partition(TopicId(topic.id), PartitionId(0)).unwrap();
    for _ in 0..3000 {
        if partition.stores_columns_at(Offset(offset)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("offset {offset} is not stored as columns after 30 s");
}

fn batches(data: &PartitionData) -> Vec<RecordBatch> {
    assert_eq!(data.error_code, 0, "{:?}", result(data).error_message);
    let stream = data.records.clone().unwrap_or_default();
    match stream.is_empty() {
        true => Vec::new(),
        false => StreamReader::try_new(&stream[..], None).unwrap().map(Result::unwrap).collect(),
    }
}

/// Ids as they came, by response; and bytes that were scanned.
async fn read_all(client: &mut Client, topic: &Topic, wish: &ColumnarFetch) -> (Vec<Vec<i64>>, i64) {
    let (mut next, mut answers, mut scanned) = (0, Vec::new(), 0);
    while next < ROWS {
        let response: FetchResponse = client.call(16, &tagged(fetch_request(16, topic, 0, next), wish)).await;
        let data = response.responses[0].partitions[0].clone();
        let ids =
            batches(&data).iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        let result = result(&data);
        assert!(result.next_fetch_offset > next, "{result:?}");
        (next, scanned) = (result.next_fetch_offset, scanned + result.bytes_scanned as i64);
        answers.push(ids);
    }
    (answers, scanned)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_clustered_topic_come_in_offset_order_or_whole_windows_at_a_time() {
    let broker = TestBroker::start_with(&SETTINGS).await;
    let mut client = Client::connect(&broker).await;
    let topic = clustered(&mut client).await;
    in_columns(&broker, &topic, ROWS / 2).await;
    let all = wish(&topic, Some(&["id"]), None);
    let (answers, bytes) = read_all(&mut client, &topic, &all).await;
    assert_eq!(answers.concat(), (0..ROWS).collect::<Vec<_>>());
    let (windows, _) = read_all(&mut client, &topic, &ColumnarFetch { order: ScanOrder::Window, ..all.clone() }).await;
    assert_ne!(windows.concat(), (0..ROWS).collect::<Vec<_>>(), "as they are stored");
    let mut sorted = windows.clone();
    sorted.iter_mut().for_each(|answer| answer.sort_unstable());
    assert_eq!(sorted.concat(), (0..ROWS).collect::<Vec<_>>(), "each answer ends at a window's end");
    // Rows of a value lie together; what is not merged yet does not.
    let runs = windows.concat()[..ROWS as usize / 2].windows(2).filter(|pair| shop(pair[0]) != shop(pair[1])).count();
    assert!(runs < 23 * 8, "{runs} changes of the value");
    let of_one = wish(&topic, Some(&["id"]), Some("shop = 's7'"));
    let (answers, less) = read_all(&mut client, &topic, &of_one).await;
    assert_eq!(answers.concat(), (0..ROWS).filter(|id| shop(*id) == "s7").collect::<Vec<_>>());
    assert!(less < bytes, "{less} of {bytes}");
    // Plain consumers see the log that was produced.
    let mut next = 0;
    let mut seen = HashMap::new();
    while next < ROWS {
        let found = records(&client.fetch(16, &topic, 0, next).await);
        next = found.last().unwrap().0 + 1;
        seen.extend(found);
    }
    assert!((0..ROWS).all(|id| seen[&id].starts_with(&format!(r#"{{"id":{id},"shop":"{}","#, shop(id)))));
    let broker = broker.restart().await;
    let mut client = Client::connect(&broker).await;
    assert_eq!(read_all(&mut client, &topic, &all).await.0.concat(), (0..ROWS).collect::<Vec<_>>());
}

/// What the Rust client reads from `start` on: offset and id of each row, as they came.
async fn read_by_client(query: TopicQuery) -> Vec<(i64, i64)> {
    let (mut stream, mut rows) = (query.columns(["id"]).stream(), Vec::new());
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        let ids = batch.rows.column(0).as_primitive::<Int64Type>();
        assert!(batch.offsets.iter().is_sorted(), "within a batch rows are in offset order");
        rows.extend(batch.offsets.iter().zip(ids.values().iter().copied()));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_takes_whole_windows_and_loses_nothing_between_them() {
    let broker = TestBroker::start_with(&SETTINGS).await;
    let mut wire = Client::connect(&broker).await;
    let topic = clustered(&mut wire).await;
    in_columns(&broker, &topic, ROWS / 2).await;
    let bootstrap = vec![broker.address().to_string().parse().unwrap()];
    let client = WeirClient::new(ClientConfig { bootstrap, ..ClientConfig::default() }).unwrap();
    // It begins and ends in the middle of windows.
    let (start, end) = (1_234, ROWS / 2 + 77);
    let query = || client.topic("sales").start(StartAt::Offset(start)).until(ReadUntil::Offset(end));
    let in_order = read_by_client(query()).await;
    assert_eq!(in_order, (start..end).map(|id| (id, id)).collect::<Vec<_>>());
    let mut in_windows = read_by_client(query().in_windows()).await;
    assert_ne!(in_windows, in_order);
    in_windows.sort_unstable();
    assert_eq!(in_windows, in_order);
    // A member that stops after each answer goes on behind its windows, and what it says of single rows counts for nothing.
    let mut seen = Vec::new();
    while seen.len() < ROWS as usize {
        let query = client.topic("sales").columns(["id"]).in_windows();
        let mut member = query.reader_in_group(GroupConfig::new("g"));
        let mut batches = Vec::new();
        while batches.is_empty() {
            batches = member.poll(Duration::from_secs(10)).await.unwrap();
        }
        let key = (batches[0].topic.clone(), 0);
        member.mark_processed([(key, batches[0].offsets.last().unwrap() + 1)]);
        seen.extend(batches.iter().flat_map(|batch| batch.offsets.iter()));
        member.poll(Duration::ZERO).await.unwrap();
        member.close().await.unwrap();
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..ROWS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_clustered_is_refused_with_the_reason() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let ddl = "id BIGINT NOT NULL, shop STRING, tags ARRAY<STRING>";
    // Timestamps are of 1970: retention would take them.
    let layout = [("weir.layout", "column"), ("weir.cluster.by", "shop"), ("retention.ms", "-1")];
    let configs = [&[("weir.table.schema", ddl)], &layout[..]].concat();
    let topic = Topic { name: "sales".to_owned(), id: client.create_topic("sales", 1, &configs).await };
    client.create_topic("plain", 1, &[]).await;
    let mut alter = async |topic: &str, name: &str, value: &str| {
        let config = AlterableConfig::default().with_name(s(name)).with_value(Some(s(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(s(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response: IncrementalAlterConfigsResponse = client.call(1, &request).await;
        let answer = &response.responses[0];
        (answer.error_code, answer.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
    };
    for (topic, name, value, reason) in [
        (
            "sales",
            "weir.cluster.by",
            "shop,town",
            "names `town`, and the table has no such column: it has id, shop, tags",
        ),
        ("sales", "weir.cluster.by", "tags", "single values only"),
        ("sales", "weir.table.schema", "id BIGINT NOT NULL, tags ARRAY<STRING>", "change weir.cluster.by first"),
        ("plain", "weir.cluster.by", "shop", "has no schema"),
        (
            "plain",
            "weir.column.bloom.filters",
            "shop",
            "weir.column.bloom.filters is `shop`, but the topic has no schema",
        ),
        ("sales", "weir.column.bloom.filters", "town", "names `town`, and the table has no such column"),
        ("sales", "weir.column.bloom.filters", "tags", "single values only"),
        ("sales", "weir.column.uncompressed", "town", "names `town`, and the table has no such column"),
    ] {
        let (code, message) = alter(topic, name, value).await;
        assert!(code != 0 && message.contains(reason), "{name}={value}: {code} {message}");
    }
    assert_eq!(alter("sales", "weir.cluster.by", "shop,id").await, (0, String::new()));
    let records =
        ColumnarFetch { order: ScanOrder::Window, format: ResultFormat::KafkaRecords, ..wish(&topic, None, None) };
    let response: FetchResponse = client.call(16, &tagged(fetch_request(16, &topic, 0, 0), &records)).await;
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, INVALID_REQUEST);
    assert!(result(data).error_message.unwrap().contains("Order 1 goes with ResultFormat 0"));
}

/// A value that no row group has is found nowhere and costs next to nothing, though the smallest and largest values of all groups
/// are around it; a column that is stored as it is, is read without the codec. Seen failing with the setting not heeded.
#[tokio::test(flavor = "multi_thread")]
async fn bloom_filters_skip_row_groups_and_columns_may_be_stored_uncompressed() {
    let broker = TestBroker::start_with(&SETTINGS).await;
    let mut client = Client::connect(&broker).await;
    // Of no order, and hardly to be compressed.
    let shop = |id: i64| format!("{:016x}", (id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut saved = Vec::new();
    for (name, more) in [("plain", None), ("filtered", Some(("weir.column.bloom.filters", "shop,id")))] {
        let mut configs = vec![
            ("weir.table.schema", "id BIGINT NOT NULL, shop STRING, note STRING"),
            ("weir.layout", "column"),
            ("weir.column.uncompressed", "note"),
            ("retention.ms", "-1"),
        ];
        configs.extend(more);
        let topic = Topic { name: name.to_owned(), id: client.create_topic(name, 1, &configs).await };
        for from in (0..ROWS).step_by(1000) {
            let mut builder = BatchBuilder::new().compression(Compression::None, None);
            for id in from..from + 1000 {
                let row = format!(r#"{{"id":{id},"shop":"{}","note":"{}"}}"#, shop(id), "a longer note ".repeat(8));
                builder.append(None, Some(row.as_bytes()), &[], Timestamp(id)).unwrap();
            }
            assert_eq!(client.produce(13, &topic, 0, -1, builder.build().unwrap()).await.error_code, 0);
        }
        in_columns(&broker, &topic, ROWS / 2).await;
        let mut scan = async |predicate: String| {
            let (ids, bytes) = read_all(&mut client, &topic, &wish(&topic, None, Some(&predicate))).await;
            (ids.concat(), bytes)
        };
        assert_eq!(scan(format!("shop = '{}'", shop(3))).await.0, [3]);
        // What statistics cannot help with reads the whole column. While merges go on, the two cannot be compared.
        saved.push(loop {
            let whole = scan("shop LIKE '%nobody%'".to_owned()).await;
            let equal = scan("shop = '8000000000000000'".to_owned()).await;
            assert!(whole.0.is_empty() && equal.0.is_empty(), "{name}");
            if scan("shop LIKE '%nobody%'".to_owned()).await == whole {
                break whole.1 - equal.1;
            }
        });
    }
    // Eight bytes a value at least, of half of the rows at least.
    assert!(saved[0] == 0 && saved[1] > ROWS / 2 * 8, "{saved:?}");
}

/// The broker keeps what it decoded of rows that become columns, and nothing of others. (What a merge makes of it, and that its
/// memory comes back, the tests of the log check.) Seen failing with the keeping left out of produce.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_become_columns_are_kept_and_others_are_not() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let mut rows = BatchBuilder::new().compression(Compression::Zstd, None);
    for id in 0..2_000 {
        rows.append(None, Some(format!(r#"{{"id":{id},"shop":"s"}}"#).as_bytes()), &[], Timestamp(id)).unwrap();
    }
    let rows = rows.build().unwrap();
    let mut kept = Vec::new();
    for layout in ["row", "column"] {
        let configs = [("weir.table.schema", "id BIGINT NOT NULL, shop STRING"), ("weir.layout", layout)];
        let topic = Topic { name: layout.to_owned(), id: client.create_topic(layout, 1, &configs).await };
        assert_eq!(client.produce(13, &topic, 0, -1, rows.clone()).await.error_code, 0);
        kept.push(broker.inner().kept_tail.bytes());
    }
    assert_eq!(kept[0], 0);
    assert!(kept[1] > 2_000 * 8, "{kept:?}");
}
