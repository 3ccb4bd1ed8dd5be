//! A principal that may read some columns and rows of a topic, over SASL: columnar fetch, plain fetch and views show it nothing else,
//! and nothing that it can ask or count tells of what is hidden.
//!
//! Seen failing with the row filter left out of the scan: each test got rows, counts or offsets of what is hidden.
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::*;
use weir_client::columnar::TopicQuery;
use weir_client::security::{Mechanism, SaslConfig};
use weir_client::{Client as WeirClient, ClientConfig};
use weir_protocol::columnar::{
    AcceptedCodecs, AclRestriction, ChangeTypes, ColumnarFetch, ColumnarResult, ColumnarTopic, ResultFormat, ScanOrder,
    TAG,
};
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, Compression, DecompressLimits, batches, decode};
use weir_protocol::sasl::scram::Hash;

use crate::harness::*;

const TOPIC_REFUSED: i16 = 29;
const INVALID_REQUEST: i16 = 42;
const ORDERS: &str = "id BIGINT NOT NULL, country STRING, amount BIGINT, secret STRING";

const SETTINGS: [(&str, &str); 3] =
    [("listeners", "SASL_PLAINTEXT://127.0.0.1:0"), ("authorizer", "on"), ("super.users", "User:root")];

fn client_of(broker: &TestBroker, user: &str) -> WeirClient {
    let bootstrap = vec![broker.address().to_string().parse().unwrap()];
    let mechanism = Mechanism::Scram(Hash::Sha256);
    let sasl = Some(SaslConfig { mechanism, username: user.to_owned(), password: format!("{user}-password") });
    WeirClient::new(ClientConfig { bootstrap, sasl, ..ClientConfig::default() }).unwrap()
}

async fn start() -> TestBroker {
    let broker = TestBroker::start_with(&SETTINGS).await;
    for user in ["root", "wide", "part", "viewer"] {
        broker.inner().security.users.set_password(user, &format!("{user}-password")).await.unwrap();
    }
    broker
}

async fn call<R: kafka_protocol::protocol::Request>(client: &WeirClient, request: R) -> R::Response {
    client.controller().await.unwrap().call(|_| request).await.unwrap()
}

async fn make(client: &WeirClient, name: &str, configs: &[(&str, &str)]) -> Result<Topic, i16> {
    let configs = configs
        .iter()
        .map(|(name, value)| CreatableTopicConfig::default().with_name(s(name)).with_value(Some(s(value))));
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let answer = call(client, CreateTopicsRequest::default().with_topics(vec![topic])).await;
    match answer.topics[0].error_code {
        0 => Ok(Topic { name: name.to_owned(), id: answer.topics[0].topic_id }),
        code => Err(code),
    }
}

async fn alter(client: &WeirClient, topic: &str, configs: &[(&str, &str)]) {
    let configs =
        configs.iter().map(|(name, value)| AlterableConfig::default().with_name(s(name)).with_value(Some(s(value))));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(s(topic))
        .with_configs(configs.collect());
    let answer = call(client, IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await;
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
}

/// Orders of Germany (even ids) and France; secrets of odd length.
fn order(id: i64) -> String {
    let country = if id % 2 == 0 { "DE" } else { "FR" };
    format!(r#"{{"id":{id},"country":"{country}","amount":{},"secret":"s{id}"}}"#, id * 10)
}

async fn fill(client: &WeirClient, topic: &Topic, ids: impl IntoIterator<Item = i64>) {
    let mut builder = BatchBuilder::new().compression(Compression::Lz4, None);
    for id in ids {
        let (key, value) = (format!("k{id}"), order(id));
        let headers = [(&b"h"[..], Some(&b"1"[..]))];
        builder.append(Some(key.as_bytes()), Some(value.as_bytes()), &headers, Timestamp(5_000 + id)).unwrap();
    }
    let batch = builder.build().unwrap();
    let connection = client.controller().await.unwrap();
    let answer = connection.call(|version| produce_request(version, topic, 0, -1, batch)).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

/// Allows `user` to READ a topic, all of it or a part.
async fn allow(client: &WeirClient, user: &str, topic: &str, part: Option<&AclRestriction>) -> (i16, String) {
    let creation = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(s(topic))
        .with_resource_pattern_type(3)
        .with_principal(s(&format!("User:{user}")))
        .with_host(s("*"))
        .with_operation(3)
        .with_permission_type(3)
        .with_unknown_tagged_fields(part.map(|part| [(TAG, tag(part))].into()).unwrap_or_default());
    let answer = call(client, CreateAclsRequest::default().with_creations(vec![creation])).await;
    let result = &answer.results[0];
    (result.error_code, result.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

fn tag(part: &AclRestriction) -> Bytes {
    let mut bytes = BytesMut::new();
    part.encode(&mut bytes);
    bytes.freeze()
}

fn part(columns: Option<&[&str]>, filter: Option<&str>) -> AclRestriction {
    AclRestriction {
        columns: columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        filter: filter.map(str::to_owned),
        problem: None,
    }
}

/// What restrictions `tagged` DescribeAcls tells of, and how many entries in all.
async fn described(client: &WeirClient, tagged: bool) -> (Vec<AclRestriction>, usize) {
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_resource_name_filter(None)
        .with_pattern_type_filter(1)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(1)
        .with_permission_type(1);
    let request = match tagged {
        true => request.with_unknown_tagged_fields([(TAG, tag(&AclRestriction::default()))].into()),
        false => request,
    };
    let answer = call(client, request).await;
    let all: Vec<_> = answer.resources.iter().flat_map(|resource| &resource.acls).collect();
    let told = all.iter().filter_map(|acl| acl.unknown_tagged_fields.get(&TAG));
    (told.map(|bytes| AclRestriction::decode(bytes).unwrap()).collect(), all.len())
}

/// Offset, key, number of headers, value of what a plain fetch gives; or its error.
type Plain = Vec<(i64, Option<String>, usize, Option<String>)>;

async fn plain(client: &WeirClient, topic: &Topic, version: i16) -> Result<Plain, i16> {
    let connection = client.controller().await.unwrap();
    let request = fetch_request(version, topic, 0, 0);
    let pending = connection.submit(version, &request).await.unwrap();
    let answer = pending.wait(Duration::from_secs(20)).await.unwrap();
    let data = only(&answer);
    if data.error_code != 0 {
        return Err(data.error_code);
    }
    assert!(data.unknown_tagged_fields.is_empty());
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let mut rows = Plain::new();
    for batch in batches(&data.records.clone().unwrap_or_default()) {
        let batch = batch.unwrap();
        if batch.header.attributes.is_control() {
            continue;
        }
        let decoded = decode(batch.bytes, &DecompressLimits::default()).unwrap();
        for record in decoded.records() {
            let record = record.unwrap();
            let offset = record.offset(&batch.header).0;
            rows.push((offset, text(record.key), record.headers.len(), text(record.value)));
        }
    }
    Ok(rows)
}

/// The answer to a columnar fetch.
async fn columnar(
    client: &WeirClient,
    topic: &Topic,
    predicate: Option<&str>,
    max_scan_bytes: Option<u64>,
) -> (i16, ColumnarResult) {
    let fetch = ColumnarFetch {
        format: ResultFormat::ArrowIpc,
        codecs: AcceptedCodecs::default(),
        order: ScanOrder::Offset,
        max_scan_bytes,
        topics: vec![ColumnarTopic {
            topic_id: topic.id,
            read_schema: None,
            projection: Some(vec!["id".to_owned()]),
            predicate: predicate.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            change_types: ChangeTypes::ALL,
        }],
    };
    let mut bytes = BytesMut::new();
    fetch.encode(&mut bytes);
    let request = fetch_request(16, topic, 0, 0).with_unknown_tagged_fields([(TAG, bytes.freeze())].into());
    let connection = client.controller().await.unwrap();
    let answer = connection.submit(16, &request).await.unwrap().wait(Duration::from_secs(20)).await.unwrap();
    let data = only(&answer);
    let tag = data.unknown_tagged_fields.get(&TAG);
    (data.error_code, tag.map(|bytes| ColumnarResult::decode(bytes).unwrap()).unwrap_or_default())
}

/// Names of the columns, and the ids of the rows.
async fn read(query: TopicQuery) -> Result<(Vec<String>, Vec<i64>), String> {
    let mut stream = query.to_end().stream();
    let (mut names, mut ids) = (Vec::new(), Vec::new());
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| error.to_string())?;
        names = batch.rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        ids.extend(batch.rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().values());
    }
    Ok((names, ids))
}

/// The part that these tests give: two columns, rows of one country.
fn german() -> AclRestriction {
    part(Some(&["amount", "id"]), Some("country = 'DE'"))
}

/// A broker with ten orders, which `wide` may read and `part` may read in part.
async fn orders() -> (TestBroker, WeirClient, Topic) {
    let broker = start().await;
    let root = client_of(&broker, "root");
    let topic = make(&root, "orders", &[("weir.table.schema", ORDERS), ("retention.ms", "-1")]).await.unwrap();
    fill(&root, &topic, 0..10).await;
    assert_eq!(allow(&root, "wide", "orders", None).await.0, 0);
    assert_eq!(allow(&root, "part", "orders", Some(&german())).await, (0, String::new()));
    (broker, root, topic)
}

#[tokio::test(flavor = "multi_thread")]
async fn columnar_and_plain_fetches_show_the_readable_columns_of_the_readable_rows() {
    let (broker, root, topic) = orders().await;
    let (wide, part) = (client_of(&broker, "wide"), client_of(&broker, "part"));
    let (names, ids) = read(wide.topic("orders")).await.unwrap();
    assert_eq!((names.len(), ids), (4, (0..10).collect()));
    let (names, ids) = read(part.topic("orders")).await.unwrap();
    assert_eq!((names, ids), (vec!["id".to_owned(), "amount".to_owned()], vec![0, 2, 4, 6, 8]));
    let (_, ids) = read(part.topic("orders").columns(["id"]).filter("amount > 30 AND _offset < 8")).await.unwrap();
    assert_eq!(ids, [4, 6]);

    let whole: Plain = (0..10).map(|id| (id, Some(format!("k{id}")), 1, Some(order(id)))).collect();
    let some: Plain =
        [0, 2, 4, 6, 8].map(|id| (id, None, 0, Some(format!(r#"{{"id":{id},"amount":{}}}"#, id * 10)))).into();
    for version in [4, 11, 12, 13, 18] {
        assert_eq!(plain(&wide, &topic, version).await, Ok(whole.clone()), "v{version}");
        assert_eq!(plain(&part, &topic, version).await, Ok(some.clone()), "v{version}");
        assert_eq!(plain(&client_of(&broker, "viewer"), &topic, version).await, Err(TOPIC_REFUSED), "v{version}");
    }
    // READ of everything makes the restriction void; a denial takes both away.
    assert_eq!(allow(&root, "part", "orders", None).await.0, 0);
    assert_eq!(plain(&part, &topic, 18).await, Ok(whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_columns_cannot_be_probed_and_hidden_rows_are_not_counted() {
    let (broker, root, topic) = orders().await;
    let part = client_of(&broker, "part");
    for (hidden, absent) in [("secret", "sacred"), ("country", "county_"), ("_key", "_kez"), ("_value", "_valuz")] {
        let of = |name: &str| part.topic("orders").filter(format!("{name} IS NOT NULL"));
        let (told, expected) = (read(of(hidden)).await.unwrap_err(), read(of(absent)).await.unwrap_err());
        assert_eq!(told, expected.replace(absent, hidden));
        let of = |name: &str| part.topic("orders").columns(["id", name]);
        let (told, expected) = (read(of(hidden)).await.unwrap_err(), read(of(absent)).await.unwrap_err());
        assert_eq!(told, expected.replace(absent, hidden));
    }
    // Hidden rows raise errors in this predicate, and are larger than any other.
    let predicates = [None, Some("10 / (amount % 20) >= 0"), Some("amount > 1000000")];
    let mut before = Vec::new();
    for predicate in predicates {
        let (code, result) = columnar(&part, &topic, predicate, None).await;
        assert_eq!(code, 0, "{:?}", result.error_message);
        assert_eq!((result.rows_scanned, result.bytes_scanned, result.schema_id), (5, 0, 1), "{predicate:?}");
        before.push((result.rows_scanned, result.rows_returned, result.rows_errored, result.bytes_scanned));
    }
    fill(&root, &topic, (0..200).map(|i| 1_000_001 + 2 * i)).await;
    for (predicate, before) in predicates.into_iter().zip(before) {
        for max_scan_bytes in [None, Some(1)] {
            let (_, result) = columnar(&part, &topic, predicate, max_scan_bytes).await;
            let now = (result.rows_scanned, result.rows_returned, result.rows_errored, result.bytes_scanned);
            assert_eq!((now, result.next_fetch_offset), (before, 210), "{predicate:?}");
        }
    }
    let explained = async |client: &WeirClient| {
        let (_, result) = columnar(client, &topic, Some("amount > 3"), Some(0)).await;
        serde_json::from_str::<serde_json::Value>(&result.error_message.unwrap()).unwrap()
    };
    let (told, all) = (explained(&part).await, explained(&client_of(&broker, "wide")).await);
    assert_eq!(told["columns"], serde_json::json!(["id", "amount"]));
    assert!(all["row_bytes"].as_u64().unwrap() > 0, "{all}");
    let numbers = told.as_object().unwrap().values().filter_map(serde_json::Value::as_u64);
    assert_eq!(numbers.sum::<u64>(), 0, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restriction_follows_renamed_columns_and_outlives_restarts() {
    let (broker, root, topic) = orders().await;
    let some = |amount: &str| -> Plain {
        [0, 2, 4, 6, 8].map(|id| (id, None, 0, Some(format!(r#"{{"id":{id},"{amount}":{}}}"#, id * 10)))).into()
    };
    assert_eq!(plain(&client_of(&broker, "part"), &topic, 18).await, Ok(some("amount")));
    let renamed = "id BIGINT NOT NULL, land STRING, total BIGINT, secret STRING";
    let renames = ("weir.table.renames", "country:land,amount:total");
    alter(&root, "orders", &[("weir.table.schema", renamed), renames]).await;
    assert_eq!(plain(&client_of(&broker, "part"), &topic, 18).await, Ok(some("total")));
    let broker = broker.restart().await;
    let (root, part) = (client_of(&broker, "root"), client_of(&broker, "part"));
    assert_eq!(plain(&part, &topic, 18).await, Ok(some("total")));
    let (names, ids) = read(part.topic("orders")).await.unwrap();
    assert_eq!((names, ids), (vec!["id".to_owned(), "total".to_owned()], vec![0, 2, 4, 6, 8]));
    let (told, _) = described(&root, true).await;
    assert_eq!(told[0].columns, Some(vec!["total".to_owned(), "id".to_owned()]));
    assert_eq!((told[0].filter.as_deref(), &told[0].problem), (Some("country = 'DE'"), &None));
    // Without the filter's column nothing is left to be seen.
    let fewer = ("weir.table.schema", "id BIGINT NOT NULL, total BIGINT");
    alter(&root, "orders", &[fewer, ("weir.table.renames", "")]).await;
    assert_eq!(plain(&part, &topic, 18).await, Ok(Plain::new()));
    assert_eq!(read(part.topic("orders")).await.unwrap().1, Vec::<i64>::new());
    let (told, _) = described(&root, true).await;
    assert!(told[0].problem.as_ref().unwrap().contains("country"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn views_show_no_more_than_their_reader_is_given_of_the_source() {
    let (broker, root, _) = orders().await;
    let view = async |name: &str, select: &str, filter: &str| {
        let configs = [("weir.view.source", "orders"), ("weir.view.select", select), ("weir.view.where", filter)];
        make(&root, name, &configs).await.unwrap()
    };
    let dear = view("dear", "id", "amount >= 50").await;
    let secrets = view("secrets", "id,secret", "amount >= 50").await;
    let french = view("french", "id", "country = 'FR'").await;
    for user in ["part", "viewer"] {
        for name in ["dear", "secrets", "french"] {
            assert_eq!(allow(&root, user, name, None).await.0, 0);
        }
    }
    let ids = |rows: Plain| rows.into_iter().map(|(offset, ..)| offset).collect::<Vec<_>>();
    let (part, viewer) = (client_of(&broker, "part"), client_of(&broker, "viewer"));
    // Who is given nothing of the source sees what the view shows.
    assert_eq!(plain(&viewer, &dear, 18).await.map(ids), Ok(vec![5, 6, 7, 8, 9]));
    assert_eq!(plain(&viewer, &secrets, 18).await.map(ids), Ok(vec![5, 6, 7, 8, 9]));
    assert_eq!(plain(&viewer, &french, 18).await.map(ids), Ok(vec![1, 3, 5, 7, 9]));
    let expected: Plain = [6, 8].map(|id| (id, None, 0, Some(format!(r#"{{"id":{id}}}"#)))).into();
    assert_eq!(plain(&part, &dear, 18).await, Ok(expected));
    // A column that may not be read is neither shown nor asked about through a view.
    assert_eq!(plain(&part, &secrets, 18).await, Err(TOPIC_REFUSED));
    assert_eq!(plain(&part, &french, 18).await, Err(TOPIC_REFUSED));
    // Nor is a view made of what may be read in part.
    let mine = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(s("mine"))
        .with_resource_pattern_type(3)
        .with_principal(s("User:part"))
        .with_host(s("*"))
        .with_operation(2)
        .with_permission_type(3);
    call(&root, CreateAclsRequest::default().with_creations(vec![mine])).await;
    let configs = [("weir.view.source", "orders"), ("weir.view.select", "id")];
    assert_eq!(make(&part, "mine", &configs).await.unwrap_err(), TOPIC_REFUSED);
    assert!(make(&part, "mine", &[]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn restrictions_are_made_listed_and_taken_away_and_what_is_none_is_refused() {
    let (broker, root, topic) = orders().await;
    // One for each principal and topic; the same again is none more.
    assert_eq!(allow(&root, "part", "orders", Some(&german())).await.0, 0);
    let (code, message) = allow(&root, "part", "orders", Some(&part(Some(&["id"]), None))).await;
    assert!(code == INVALID_REQUEST && message.contains("weir acl remove"), "{message}");
    let untyped = make(&root, "untyped", &[]).await.unwrap();
    let view = make(&root, "view", &[("weir.view.source", "orders")]).await.unwrap();
    let cases = [
        ("absent", part(Some(&["id"]), None), "create the topic first"),
        (view.name.as_str(), part(Some(&["id"]), None), "is a view"),
        ("__consumer_offsets", part(Some(&["_key"]), None), "internal"),
        ("untyped", part(Some(&["id"]), None), "no column `id`"),
        ("orders", part(Some(&["id.x"]), None), "no column `id.x`"),
        ("orders", part(None, Some("cuontry = 'DE'")), "did you mean country"),
        ("orders", part(None, Some("_timestamp < now()")), "now"),
        ("orders", part(None, Some("country")), "BOOLEAN"),
        ("orders", part(None, Some(" ")), "neither columns nor a row filter"),
        ("*", part(Some(&["id"]), None), "one topic by its name"),
    ];
    for (name, part, expected) in cases {
        let (code, message) = allow(&root, "somebody", name, Some(&part)).await;
        assert!(code == INVALID_REQUEST && message.contains(expected), "{name}: {message}");
    }
    // Clients that know nothing of restrictions are not told of a READ that looks like more.
    let (told, count) = described(&root, true).await;
    assert_eq!((told.as_slice(), count), (&[german()][..], 2));
    assert_eq!(described(&root, false).await, (Vec::new(), 1));
    // An untyped topic has keys, values and headers.
    let mut builder = BatchBuilder::new();
    for key in ["a", "b"] {
        builder.append(Some(key.as_bytes()), Some(b"value"), &[], Timestamp(1)).unwrap();
    }
    let (batch, connection) = (builder.build().unwrap(), root.controller().await.unwrap());
    connection.call(|version| produce_request(version, &untyped, 0, -1, batch)).await.unwrap();
    let keys = part(Some(&["_key"]), Some("CAST(_key AS VARCHAR) = 'b'"));
    assert_eq!(allow(&root, "part", "untyped", Some(&keys)).await.0, 0);
    let reader = client_of(&broker, "part");
    assert_eq!(plain(&reader, &untyped, 18).await, Ok(vec![(1, Some("b".to_owned()), 0, None)]));
    // A client that knows nothing of restrictions takes them away all the same.
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(2)
        .with_resource_name_filter(Some(s("orders")))
        .with_pattern_type_filter(3)
        .with_principal_filter(Some(s("User:part")))
        .with_host_filter(None)
        .with_operation(3)
        .with_permission_type(3);
    let answer = call(&root, DeleteAclsRequest::default().with_filters(vec![filter])).await;
    let matching = &answer.filter_results[0].matching_acls;
    assert_eq!((matching.len(), matching[0].unknown_tagged_fields.len()), (1, 1));
    assert_eq!(plain(&reader, &topic, 18).await, Err(TOPIC_REFUSED));
    let (code, _) = columnar(&reader, &topic, None, None).await;
    assert_eq!(code, TOPIC_REFUSED);
}
