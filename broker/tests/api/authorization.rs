//! The authorisation table (tests/authorization.csv) against a broker's dispatcher: every API that is served, as every identity.
//!
//! An API that is served and not in the table fails, and so does a row that no request here is made for. Seen failing: with the
//! authoriser off (everything is ok) and without bindings and super users (nothing is); both are tests below.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use tempfile::TempDir;
use weir::api::SERVED;
use weir::broker::{Advertised, Broker, Connection, Listener};
use weir::config::{Config, Source};
use weir::dispatch::{self, Answer};
use weir::security::Principal;
use weir::security::acl::{
    AclBinding, AclEntry, Grant, Operation, PatternType, Permission, ResourcePattern, ResourceType,
};
use weir::security::sasl::Authenticator;
use weir_protocol::columnar::AclRestriction;
use weir_storage::disk::OsDisk;
use weir_storage::memory::Share;

use crate::authorization_requests::outcome;
use crate::harness::*;

const TABLE: &str = include_str!("../authorization.csv");

/// What somebody is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// An authorisation error.
    Refused(i16),
    /// Not in the answer.
    Hidden,
    /// The bit field of what may be done.
    Operations(i32),
    /// The connection closes.
    Closed,
    /// 401 of HTTP: who is that?
    Unknown,
    /// 403 of HTTP.
    Forbidden,
}

impl Outcome {
    fn parse(text: &str) -> Outcome {
        match text {
            "ok" => Outcome::Ok,
            "hidden" => Outcome::Hidden,
            "closed" => Outcome::Closed,
            "T" => Outcome::Refused(29),
            "G" => Outcome::Refused(30),
            "C" => Outcome::Refused(31),
            "X" => Outcome::Refused(53),
            "U" => Outcome::Unknown,
            "F" => Outcome::Forbidden,
            number => Outcome::Operations(number.parse().unwrap_or_else(|_| panic!("outcome `{number}`"))),
        }
    }

    /// The first authorisation error of an answer's codes.
    pub fn of(codes: impl IntoIterator<Item = i16>) -> Outcome {
        let refused = codes.into_iter().find(|code| [29, 30, 31, 53].contains(code));
        refused.map_or(Outcome::Ok, Outcome::Refused)
    }
}

/// A broker without sockets.
pub struct World {
    pub broker: Arc<Broker>,
    pub topic: Topic,
    pub other: Topic,
    _dir: TempDir,
}

/// Somebody who sends requests to the dispatcher.
pub struct Caller<'a> {
    pub world: &'a World,
    pub name: &'a str,
    connection: Arc<Connection>,
}

impl<'a> Caller<'a> {
    fn new(world: &'a World, name: &'a str) -> Caller<'a> {
        let advertised = Advertised { host: "localhost".to_owned(), port: 1 };
        let listener = Arc::new(Listener { name: "kafka".to_owned(), advertised });
        let connection = Arc::new(Connection::new(1, ([127, 0, 0, 1], 9).into(), listener));
        if name != "anonymous" {
            connection.authenticated(Arc::new(Principal::user(name)));
        }
        Caller { world, name, connection }
    }

    /// The super user, in the same world.
    pub fn as_root(&self) -> Caller<'a> {
        Caller::new(self.world, "root")
    }

    /// The answer; `None` = the connection closes.
    pub async fn try_call<R: Request>(&self, version: i16, request: &R) -> Option<R::Response> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(s("table")));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let broker = &self.world.broker;
        let memory = broker.memory().reserve(Share::Requests, frame.len()).await;
        let mut open = Authenticator::new(self.connection.clone(), None);
        let accepted = dispatch::accept(broker, &self.connection, &mut open, frame, memory).await.unwrap();
        let Answer::Send(parts, _) = dispatch::answer(broker, accepted).await.unwrap() else { return None };
        let mut bytes = bytes::Bytes::from(parts.concat());
        bytes.advance(4);
        ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).unwrap();
        let answer = R::Response::decode(&mut bytes, version).unwrap();
        assert!(!bytes.has_remaining(), "{:?} v{version}", ApiKey::try_from(R::KEY));
        Some(answer)
    }

    pub async fn call<R: Request>(&self, version: i16, request: R) -> R::Response {
        self.try_call(version, &request).await.unwrap()
    }
}

pub fn binding(
    who: &str,
    permission: Permission,
    operation: Operation,
    resource: ResourceType,
    name: &str,
) -> AclBinding {
    AclBinding {
        pattern: ResourcePattern { resource, name: name.to_owned(), pattern: PatternType::Literal },
        entry: AclEntry { principal: format!("User:{who}"), host: "*".to_owned(), operation, permission },
    }
}

pub fn bindings() -> Vec<AclBinding> {
    use Operation::{All, Read, Write};
    use ResourceType::{Cluster, Group, Topic, TransactionalId};
    let allow = |who: &str, operation, resource, name: &str| binding(who, Permission::Allow, operation, resource, name);
    let mut all = vec![
        allow("reader", Read, Topic, "t"),
        allow("reader", Read, Group, "g"),
        allow("part", Read, Group, "g"),
        allow("writer", Write, Topic, "t"),
        allow("writer", Write, TransactionalId, "x"),
        allow("operator", All, Cluster, "kafka-cluster"),
    ];
    for who in ["admin", "denied"] {
        all.extend([Topic, Group, TransactionalId].map(|resource| allow(who, All, resource, "*")));
        all.push(allow(who, All, Cluster, "kafka-cluster"));
    }
    for who in ["denied", "root"] {
        for (resource, name) in [(Topic, "t"), (Group, "g"), (TransactionalId, "x"), (Cluster, "kafka-cluster")] {
            all.push(binding(who, Permission::Deny, All, resource, name));
        }
    }
    all
}

/// A broker with the topics t and other.
async fn world(settings: &[(&str, &str)], bindings: &[AclBinding]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    let data = dir.path().display().to_string();
    let fixed = [
        ("data.dir", data.as_str()),
        ("registry.listen", "off"),
        ("wal.file.bytes", "4 MiB"),
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.num.partitions", "1"),
        ("share.coordinator.state.topic.num.partitions", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    for (key, value) in fixed.iter().chain(settings) {
        config.set(key, value, Source::Flag((*key).to_owned())).unwrap();
    }
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let broker = Broker::open(config, disk, None).await.unwrap();
    while !(broker.groups.is_ready() && broker.transactions.is_ready() && broker.shares.is_ready()) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut topics = Vec::new();
    for name in ["t", "other"] {
        let made = broker.topics.create(name, Some(1), Default::default()).await.unwrap();
        topics.push(Topic { name: name.to_owned(), id: made.id.0 });
    }
    if let Some(acls) = &broker.acls {
        let part = binding("part", Permission::Allow, Operation::Read, ResourceType::Topic, "t");
        let wanted = AclRestriction { columns: Some(vec!["_key".to_owned()]), ..AclRestriction::default() };
        let part = Grant::bind(&part, broker.topics.get("t").as_deref(), &wanted).unwrap();
        let grants = if bindings.is_empty() { Vec::new() } else { vec![part] };
        assert!(acls.create_with(bindings, &grants).await.unwrap().iter().all(Result::is_ok));
    }
    let other = topics.pop().unwrap();
    World { broker, topic: topics.pop().unwrap(), other, _dir: dir }
}

/// API, what, and outcome by identity.
pub type Row<'a> = (&'a str, &'a str, BTreeMap<&'a str, Outcome>);

/// Rows about Kafka's APIs have one word as their API, those about HTTP (authorization_web.rs) a method and a path.
pub fn table() -> Vec<Row<'static>> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let identities: Vec<&str> = lines.next().unwrap().split(',').skip(2).collect();
    let row = |line: &'static str| {
        let mut cells = line.split(',');
        let (api, what) = (cells.next().unwrap(), cells.next().unwrap());
        let outcomes: Vec<Outcome> = cells.map(Outcome::parse).collect();
        assert_eq!(outcomes.len(), identities.len(), "{line}");
        (api, what, identities.iter().copied().zip(outcomes).collect())
    };
    lines.map(row).collect()
}

fn of_kafka() -> Vec<Row<'static>> {
    table().into_iter().filter(|(api, ..)| !api.contains(' ')).collect()
}

/// What differs from the table, a line each.
async fn differences(world: &World) -> Vec<String> {
    let mut differences = Vec::new();
    for (api, what, expected) in of_kafka() {
        for (identity, expected) in expected {
            let got = outcome(&Caller::new(world, identity), api, what).await;
            if got != expected {
                differences.push(format!("{api}, {what}, {identity}: {got:?} instead of {expected:?}"));
            }
        }
    }
    differences
}

/// The group and the transactional id, made by a super user.
async fn prepare(world: &World) {
    let root = Caller::new(world, "root");
    assert_eq!(outcome(&root, "InitProducerId", "x").await, Outcome::Ok);
    assert_eq!(outcome(&root, "OffsetCommit", "t").await, Outcome::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_answered_as_the_table_says() {
    let world = world(&[("authorizer", "on"), ("super.users", "User:root")], &bindings()).await;
    prepare(&world).await;
    let differences = differences(&world).await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_api_that_is_served_is_in_the_table() {
    let named: BTreeSet<&str> = of_kafka().into_iter().map(|(api, ..)| api).collect();
    let served: BTreeSet<String> = SERVED.iter().map(|versions| format!("{:?}", versions.key)).collect();
    let missing: Vec<_> = served.iter().filter(|api| !named.contains(api.as_str())).collect();
    assert!(missing.is_empty(), "add {missing:?} to tests/authorization.csv");
    let gone: Vec<_> = named.iter().filter(|api| !served.contains(**api)).collect();
    assert!(gone.is_empty(), "{gone:?} are not served");
}

/// The table is no decoration: an authoriser that says yes, or no, to everything is found out in most rows.
#[tokio::test(flavor = "multi_thread")]
async fn an_authoriser_that_allows_or_denies_everything_is_found_out() {
    let rows = of_kafka().len();
    let open = world(&[("authorizer", "off")], &[]).await;
    prepare(&open).await;
    let wrong = differences(&open).await.len();
    assert!(wrong > 3 * rows, "allow-all: only {wrong} differences in {rows} rows");
    let closed = world(&[("authorizer", "on")], &[]).await;
    let wrong = differences(&closed).await.len();
    assert!(wrong > 2 * rows, "deny-all: only {wrong} differences in {rows} rows");
}

/// acks=0 has no answer: who may not write is told by the connection's end.
#[tokio::test(flavor = "multi_thread")]
async fn refused_produce_without_acks_closes_the_connection() {
    let world = world(&[("authorizer", "on")], &bindings()).await;
    let send = produce_request(13, &world.topic, 0, 0, batch(weir_protocol::records::Compression::None, &["v"]));
    let mut frame = BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(0).with_request_api_version(13);
    header.encode(&mut frame, 2).unwrap();
    send.encode(&mut frame, 13).unwrap();
    for (who, closes) in [("reader", true), ("writer", false)] {
        let caller = Caller::new(&world, who);
        let memory = world.broker.memory().reserve(Share::Requests, frame.len()).await;
        let mut open = Authenticator::new(caller.connection.clone(), None);
        let accepted = dispatch::accept(&world.broker, &caller.connection, &mut open, frame.clone(), memory).await;
        let accepted = accepted.unwrap();
        let answer = dispatch::answer(&world.broker, accepted).await.unwrap();
        assert_eq!(matches!(answer, Answer::Close), closes, "{who}: {answer:?}");
    }
}

/// The audit log names who was refused and who changed what, and holds no value of a config: one may be a secret.
#[tokio::test(flavor = "multi_thread")]
async fn audit_log_tells_refusals_and_changes_and_no_secrets() {
    use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    const CANARY: &str = "s3cr3t-canary-7341";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let settings = [("authorizer", "on"), ("super.users", "User:root"), ("audit.file.path", path.to_str().unwrap())];
    let world = world(&settings, &bindings()).await;
    for who in ["root", "reader"] {
        let config = AlterableConfig::default().with_name(s("retention.ms")).with_value(Some(s(CANARY)));
        let resource =
            AlterConfigsResource::default().with_resource_type(2).with_resource_name(s("t")).with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        Caller::new(&world, who).call(1, request).await;
    }
    let mut text = String::new();
    for _ in 0..2_000 {
        text = std::fs::read_to_string(&path).unwrap();
        if text.lines().count() >= 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let brief: Vec<_> =
        lines.iter().map(|line| (line["event"].as_str().unwrap(), line["principal"].as_str().unwrap())).collect();
    assert_eq!(
        brief,
        [("admin_request", "User:root"), ("authorization_failed", "User:reader"), ("admin_request", "User:reader")]
    );
    assert_eq!(lines[0]["subjects"][0], "2:t retention.ms");
    assert_eq!(lines[0]["errors"][0], "INVALID_CONFIG");
    assert_eq!(lines[1]["operation"], "ALTER_CONFIGS");
    assert_eq!(lines[2]["errors"][0], "TOPIC_AUTHORIZATION_FAILED");
    assert!(!text.contains(CANARY), "{text}");
}
