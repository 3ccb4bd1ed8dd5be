//! The rows of the authorisation table (tests/authorization.csv) about HTTP and the Schema Registry, against listeners of a broker that
//! ask for user and password. A route that is served and not in the table fails.
//!
//! Seen failing: with a gate that lets everybody do everything and with one that refuses everything (a test below does both), with a
//! route left out of the table, and with statistics shown to whoever may describe a topic.
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir::http::Route;
use weir::security::acl::{AclBinding, Grant, Operation, PatternType, Permission, ResourcePattern, ResourceType};
use weir_protocol::columnar::AclRestriction;
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, Compression};

use crate::authorization::{Outcome, binding, bindings, table};
use crate::authorization_tokens::Issuer;
use crate::harness::*;

const NOBODY: &str = "anonymous";

/// What somebody is answered: status, head, body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// How somebody proves who they are.
pub enum Scheme<'a> {
    /// User and password.
    Basic,
    /// A token in the name of whoever asks.
    Bearer(&'a Issuer),
}

impl Scheme<'_> {
    /// What goes into the header `Authorization`; nobody has nothing to show.
    fn shown(&self, who: &str) -> Option<String> {
        (who != NOBODY).then(|| match self {
            Scheme::Basic => format!("Basic {}", base64(&format!("{who}:{who}-password"))),
            Scheme::Bearer(issuer) => format!("Bearer {}", issuer.good(who)),
        })
    }
}

/// One request as a user with a password; as nobody without one.
async fn ask(address: SocketAddr, who: &str, verb: &str, path: &str, body: Option<Value>) -> Answer {
    ask_with(address, Scheme::Basic.shown(who), verb, path, body).await
}

/// One request with this in the header `Authorization`.
pub async fn ask_with(
    address: SocketAddr,
    authorization: Option<String>,
    verb: &str,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let authorization = authorization.map_or_else(String::new, |shown| format!("Authorization: {shown}\r\n"));
    let body = body.map_or_else(String::new, |body| body.to_string());
    send(address, &format!(
        "{verb} {path} HTTP/1.0\r\nHost: weir\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await
}

async fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer { status: head[9..12].parse().unwrap(), head: head.to_ascii_lowercase(), body: body.to_owned() }
}

pub fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
        out.extend((0..=chunk.len()).map(digit));
    }
    out
}

pub struct World {
    broker: TestBroker,
    http: SocketAddr,
    registry: SocketAddr,
    /// Of the schemas of t and other: id and guid.
    ids: [(u64, String); 2],
    _lake: tempfile::TempDir,
}

const USERS: [&str; 8] = ["nobody", "reader", "part", "writer", "operator", "admin", "denied", "root"];

/// A broker whose Kafka listener knows nobody, so that its clients here may do everything, and whose other listeners ask who it is.
pub async fn start(more: &[(&str, &str)]) -> (TestBroker, SocketAddr, SocketAddr) {
    let settings = [
        ("listener.security.protocol.map", "http:SASL_PLAINTEXT,registry:SASL_PLAINTEXT"),
        ("registry.listen", "127.0.0.1:0"),
        ("super.users", "User:root;User:ANONYMOUS"),
        ("connection.failed.authentication.delay.ms", "1"),
        ("wal.file.bytes", "1 MiB"),
        ("wal.max.bytes", "4 MiB"),
        ("wal.max.age", "1s"),
        ("merge.partition.bytes", "1 MiB"),
    ];
    let settings: Vec<_> = settings.iter().chain(more).copied().collect();
    let broker = TestBroker::start_with_http(&settings).await;
    let (http, registry) = (broker.http(), broker.registry().unwrap());
    (broker, http, registry)
}

pub async fn give(broker: &TestBroker, bindings: &[AclBinding], grants: &[Grant]) {
    let made = broker.inner().acls.as_ref().unwrap().create_with(bindings, grants).await.unwrap();
    assert!(made.iter().all(Result::is_ok));
}

fn grant(broker: &TestBroker, who: &str, topic: &str, columns: Option<&[&str]>, filter: Option<&str>) -> Grant {
    let wanted = AclRestriction {
        columns: columns.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        filter: filter.map(str::to_owned),
        problem: None,
    };
    let entry = binding(who, Permission::Allow, Operation::Read, ResourceType::Topic, topic);
    Grant::bind(&entry, broker.inner().topics.get(topic).as_deref(), &wanted).unwrap()
}

/// Produces until some of it is stored as columns, so that there are statistics.
async fn fill(http: SocketAddr, client: &mut Client, topic: &Topic) {
    let long = "x".repeat(150);
    for round in 0..400i64 {
        let mut builder = BatchBuilder::new().compression(Compression::None, None);
        for id in round * 200..(round + 1) * 200 {
            let value =
                json!({ "id": id, "country": if id % 2 == 0 { "DE" } else { "FR" }, "secret": format!("s{id}{long}") });
            builder.append(None, Some(value.to_string().as_bytes()), &[], Timestamp(id)).unwrap();
        }
        let answer = client.produce(13, topic, 0, -1, builder.build().unwrap()).await;
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        let report = ask(http, "root", "GET", &format!("/tables/{}", topic.name), None).await.json();
        if report["columns"][0]["max"].is_string() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no columns were stored");
}

const COLUMNS: &[(&str, &str)] = &[
    ("weir.table.schema", "id BIGINT, country STRING, secret STRING"),
    ("weir.value.format", "json"),
    ("weir.layout", "column"),
];

pub async fn world(bindings: &[AclBinding], more: &[(&str, &str)]) -> World {
    let settings: Vec<_> = [("authorizer", "on")].iter().chain(more).copied().collect();
    let (broker, http, registry) = start(&settings).await;
    for user in USERS {
        broker.inner().security.users.set_password(user, &format!("{user}-password")).await.unwrap();
    }
    let lake = tempfile::tempdir().unwrap();
    let path = format!("file://{}", lake.path().join("t").display());
    let mut client = Client::connect(&broker).await;
    let configs: Vec<_> =
        COLUMNS.iter().copied().chain([("weir.lake.format", "parquet"), ("weir.lake.path", path.as_str())]).collect();
    let id = client.create_topic("t", 1, &configs).await;
    client.create_topic("other", 1, &[]).await;
    fill(http, &mut client, &Topic { name: "t".to_owned(), id }).await;
    for _ in 0..200 {
        if ask(http, "root", "GET", "/lake", None).await.json()[0]["topic"] == "t" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut ids = Vec::new();
    for (subject, schema) in [("t-value", r#""string""#), ("other-value", r#""long""#)] {
        let path = format!("/subjects/{subject}/versions");
        let made = ask(registry, "root", "POST", &path, Some(json!({ "schema": schema }))).await;
        assert_eq!(made.status, 200, "{}", made.body);
        ids.push((made.json()["id"].as_u64().unwrap(), made.json()["guid"].as_str().unwrap().to_owned()));
    }
    let part = grant(&broker, "part", "t", Some(&["country"]), Some("country = 'DE'"));
    let grants = if bindings.is_empty() { Vec::new() } else { vec![part] };
    give(&broker, bindings, &grants).await;
    World { broker, http, registry, ids: ids.try_into().unwrap(), _lake: lake }
}

/// What a row of the table is answered.
async fn outcome(world: &World, scheme: &Scheme<'_>, who: &str, api: &str, what: &str) -> Outcome {
    let (address, api) = match api.strip_prefix("registry ") {
        Some(api) => (world.registry, api),
        None => (world.http, api),
    };
    let (verb, pattern) = api.split_once(' ').unwrap();
    let is_other = what.starts_with("other");
    let topic = if is_other { "other" } else { "t" };
    let (id, guid) = &world.ids[usize::from(is_other)];
    // Nothing that the next rows need is deleted: the subject t is the topic's too, and does not exist.
    let subject = if verb == "DELETE" { topic.to_owned() } else { format!("{topic}-value") };
    let path = pattern
        .replace("{topic}", topic)
        .replace("{subject}", &subject)
        .replace("{version}", "1")
        .replace("{id}", &id.to_string())
        .replace("{guid}", guid);
    let schema = if is_other { r#""long""# } else { r#""string""# };
    let body = match (verb, pattern) {
        ("POST", _) if what == "t that refers to other" => {
            let reference = json!({ "name": "o", "subject": "other-value", "version": 1 });
            Some(json!({ "schema": schema, "references": [reference] }))
        }
        ("POST", _) if address == world.registry => Some(json!({ "schema": schema })),
        ("PUT", path) if path.starts_with("/config") => Some(json!({ "compatibility": "BACKWARD" })),
        ("PUT", _) => Some(json!({ "mode": "READWRITE" })),
        _ => None,
    };
    let answer = ask_with(address, scheme.shown(who), verb, &path, body).await;
    let code = |answer: &Answer| answer.json()["error_code"].as_u64().unwrap_or_default();
    match answer.status {
        401 => {
            assert_eq!(code(&answer), 40101, "{}", answer.body);
            assert!(answer.head.contains("www-authenticate: basic realm=\"weir\""), "{}", answer.head);
            Outcome::Unknown
        }
        403 => {
            assert_eq!(code(&answer), 40301, "{}", answer.body);
            Outcome::Forbidden
        }
        _ => shown(&answer, pattern, what, topic),
    }
}

/// Whether an answer has what the row is about.
fn shown(answer: &Answer, pattern: &str, what: &str, topic: &str) -> Outcome {
    let is_there = match (pattern, what) {
        ("/tables/{topic}", "statistics of t") => answer.json()["columns"][0]["max"].is_string(),
        ("/tables/{topic}", "hidden columns of t") => answer.body.contains("secret"),
        ("/lake", _) => answer.json().as_array().unwrap().iter().any(|table| table["topic"] == topic),
        ("/subjects", _) => answer.body.contains(&format!("\"{topic}-value\"")),
        ("/schemas", _) => {
            answer.json().as_array().unwrap().iter().any(|one| one["subject"] == format!("{topic}-value"))
        }
        _ => true,
    };
    if is_there { Outcome::Ok } else { Outcome::Hidden }
}

fn is_web(api: &str) -> bool {
    api.contains(' ')
}

pub async fn differences(world: &World, scheme: &Scheme<'_>) -> Vec<String> {
    let mut differences = Vec::new();
    for (api, what, expected) in table().into_iter().filter(|(api, ..)| is_web(api)) {
        for (identity, expected) in expected {
            let got = outcome(world, scheme, identity, api, what).await;
            if got != expected {
                differences.push(format!("{api}, {what}, {identity}: {got:?} instead of {expected:?}"));
            }
        }
    }
    differences
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_answered_over_http_as_the_table_says() {
    let world = world(&bindings(), &[]).await;
    let differences = differences(&world, &Scheme::Basic).await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    drop(world.broker);
}

#[test]
fn every_route_that_is_served_is_in_the_table() {
    let named: BTreeSet<&str> = table().into_iter().map(|(api, ..)| api).filter(|api| is_web(api)).collect();
    let http = Route::ALL.into_iter().map(Route::pattern).map(|(verb, path)| format!("{verb} {path}"));
    let registry = weir_registry::rest::routes().map(|(verb, path)| format!("registry {verb} {path}"));
    let served: BTreeSet<String> = http.chain(registry).collect();
    let missing: Vec<_> = served.iter().filter(|api| !named.contains(api.as_str())).collect();
    assert!(missing.is_empty(), "add {missing:?} to tests/authorization.csv");
    let gone: Vec<_> = named.iter().filter(|api| !served.contains(**api)).collect();
    assert!(gone.is_empty(), "{gone:?} are not served");
}

/// The table is no decoration, as for Kafka's APIs.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_allows_or_denies_everything_is_found_out() {
    let rows = table().into_iter().filter(|(api, ..)| is_web(api)).count();
    let everything = [ResourceType::Topic, ResourceType::Cluster].map(|resource| AclBinding {
        pattern: ResourcePattern { resource, name: "*".to_owned(), pattern: PatternType::Literal },
        entry: binding("*", Permission::Allow, Operation::All, resource, "*").entry,
    });
    let open = differences(&world(&everything, &[]).await, &Scheme::Basic).await.len();
    assert!(open > 2 * rows, "allow-all: only {open} differences in {rows} rows");
    let closed = differences(&world(&[], &[]).await, &Scheme::Basic).await.len();
    assert!(closed > rows, "deny-all: only {closed} differences in {rows} rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_shown_to_whoever_may_read_what_they_are_of() {
    let (broker, http, _) = start(&[("authorizer", "on")]).await;
    for user in ["root", "columns", "rows", "writer"] {
        broker.inner().security.users.set_password(user, &format!("{user}-password")).await.unwrap();
    }
    let mut client = Client::connect(&broker).await;
    let id = client.create_topic("orders", 1, COLUMNS).await;
    fill(http, &mut client, &Topic { name: "orders".to_owned(), id }).await;
    let grants = [
        grant(&broker, "columns", "orders", Some(&["id", "country"]), None),
        grant(&broker, "rows", "orders", None, Some("country = 'DE'")),
    ];
    give(&broker, &[binding("writer", Permission::Allow, Operation::Write, ResourceType::Topic, "orders")], &grants)
        .await;
    for (who, secret, statistics) in
        [("root", true, true), ("columns", false, true), ("rows", true, false), ("writer", true, false)]
    {
        let answer = ask(http, who, "GET", "/tables/orders", None).await;
        let report = answer.json();
        assert_eq!(answer.body.contains("secret"), secret, "{who}: {report}");
        assert_eq!(report["columns"][1]["column"], "country", "{who}: {report}");
        for figure in ["min", "max", "rows", "nulls", "bytes"] {
            assert_eq!(!report["columns"][1][figure].is_null(), statistics, "{who}, {figure}: {report}");
        }
    }
}

/// Without SASL on the listener the authoriser still decides: who comes is User:ANONYMOUS, and so is nobody with rights.
#[tokio::test(flavor = "multi_thread")]
async fn listeners_that_know_nobody_ask_the_authoriser_about_anonymous() {
    let settings = [("authorizer", "on"), ("registry.listen", "127.0.0.1:0"), ("super.users", "User:root")];
    let broker = TestBroker::start_with_http(&settings).await;
    let (http, registry) = (broker.http(), broker.registry().unwrap());
    for (address, path, status) in [
        (http, "/healthz", 200),
        (http, "/readyz", 200),
        (http, "/metrics", 403),
        (http, "/lake", 200),
        (registry, "/config", 403),
        (registry, "/subjects", 200),
    ] {
        // A name that proves nothing here is not looked at.
        for who in [NOBODY, "root"] {
            assert_eq!(ask(address, who, "GET", path, None).await.status, status, "{path} as {who}");
        }
    }
    give(
        &broker,
        &[binding("ANONYMOUS", Permission::Allow, Operation::Describe, ResourceType::Cluster, "kafka-cluster")],
        &[],
    )
    .await;
    let metrics = ask(http, NOBODY, "GET", "/metrics", None).await;
    assert!(metrics.status == 200 && metrics.body.contains("weir_ready 1"), "{}", metrics.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_noted_and_no_oracle() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let (broker, http, registry) = start(&[("audit.file.path", audit.to_str().unwrap())]).await;
    broker.inner().security.users.set_password("root", "root-password").await.unwrap();
    let asked = |authorization: String| async move {
        send(http, &format!("GET /metrics HTTP/1.0\r\nAuthorization: {authorization}\r\n\r\n")).await
    };
    let right = format!("Basic {}", base64("root:root-password"));
    assert_eq!(asked(right.clone()).await.status, 200);
    let mut bodies = BTreeSet::new();
    for wrong in ["root:guess-7341", "stranger:guess-7341", "root:"] {
        let answer = asked(format!("Basic {}", base64(wrong))).await;
        assert_eq!(answer.status, 401, "{wrong}");
        bodies.insert(answer.body);
    }
    assert_eq!(bodies.len(), 1, "the answer does not tell whether the user exists: {bodies:?}");
    for strange in ["Bearer a.b.c", "Digest x", "Basic", "Basic %%%"] {
        assert_eq!(asked(strange.to_owned()).await.status, 401, "{strange}");
    }
    // A password that was changed is in force with the next request, though the old one was good a moment ago.
    broker.inner().security.users.set_password("root", "another").await.unwrap();
    assert_eq!(asked(right).await.status, 401);
    let put = ask(registry, "root", "PUT", "/config", Some(json!({ "compatibility": "NONE" }))).await;
    assert_eq!(put.status, 401);
    broker.inner().security.users.set_password("root", "root-password").await.unwrap();
    assert_eq!(ask(registry, "root", "PUT", "/config", Some(json!({ "compatibility": "NONE" }))).await.status, 200);
    let mut text = String::new();
    for _ in 0..1_000 {
        text = std::fs::read_to_string(&audit).unwrap();
        if text.contains("PUT /config") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = |user: &str| {
        lines.iter().filter(|line| line["event"] == "authentication_failed" && line["user"] == user).count()
    };
    assert_eq!((failed("root"), failed("stranger")), (4, 1), "{text}");
    let change = lines.iter().find(|line| line["event"] == "admin_request").unwrap();
    assert_eq!((&change["api"], &change["principal"]), (&json!("PUT /config"), &json!("User:root")));
    assert!(!text.contains("7341") && !text.contains("another"), "{text}");
}
