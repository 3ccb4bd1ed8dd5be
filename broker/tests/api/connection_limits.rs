//! A principal has so many connections and no more (setting `max.connections.per.principal`), whatever proved who it is.
//!
//! Seen failing: with no place taken after SASL, with none taken after TLS, with a place taken again by each re-authentication, and with
//! a place that its connection did not give back.
use std::time::Duration;

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, IncrementalAlterConfigsRequest, MetadataRequest, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir::security::Principal;
use weir::security::tls::dev::{DevArgs, make};
use weir_client::BrokerAddress;
use weir_client::security::{TlsConfig, TlsConnector};
use weir_client::transport::Connector;
use weir_protocol::sasl::plain::PlainMessage;

use crate::authorization_web::base64;
use crate::harness::*;

const SETTINGS: &[(&str, &str)] = &[
    ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
    ("insecure", "true"),
    ("sasl.enabled.mechanisms", "PLAIN"),
    ("authorizer", "off"),
    ("connection.failed.authentication.delay.ms", "0"),
    ("max.connections.per.principal", "2"),
];

/// One exchange of PLAIN on a connection, the first or another one.
async fn authenticate(client: &mut Client, user: &str, password: &str) -> SaslAuthenticateResponse {
    let chosen = client.call(1, &SaslHandshakeRequest::default().with_mechanism(s("PLAIN"))).await;
    assert_eq!(chosen.error_code, 0);
    let token = PlainMessage::encode(user, password);
    client.call(2, &SaslAuthenticateRequest::default().with_auth_bytes(token.into())).await
}

/// A new connection of a user whose password is its name.
async fn connect(broker: &TestBroker, user: &str) -> (Client, SaslAuthenticateResponse) {
    let mut client = Client::connect(broker).await;
    let answer = authenticate(&mut client, user, user).await;
    (client, answer)
}

/// A new connection once there is a place again: that one ended is noticed a moment later.
async fn connect_soon(broker: &TestBroker, user: &str) -> Client {
    for _ in 0..1_000 {
        let (client, answer) = connect(broker, user).await;
        if answer.error_code == 0 {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no place for {user}");
}

async fn is_served(client: &mut Client) -> bool {
    client.call(12, &MetadataRequest::default()).await.error_code == 0
}

fn open(broker: &TestBroker, user: &str) -> usize {
    broker.inner().security.places.open(&Principal::user(user))
}

async fn start(settings: &[(&str, &str)]) -> TestBroker {
    let settings: Vec<_> = SETTINGS.iter().chain(settings).copied().collect();
    let broker = TestBroker::start_with_http(&settings).await;
    for user in ["alice", "bob", "root"] {
        broker.inner().security.users.set_password(user, user).await.unwrap();
    }
    broker
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_so_and_others_are_served() {
    let broker = start(&[]).await;
    let (mut first, _) = connect(&broker, "alice").await;
    let (second, answer) = connect(&broker, "alice").await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    let (mut third, answer) = connect(&broker, "alice").await;
    assert_eq!(answer.error_code, 58);
    let told = answer.error_message.unwrap();
    assert!(told.starts_with("Authentication failed: ") && told.contains("max.connections.per.principal"), "{told}");
    assert!(third.receive_raw().await.is_none(), "the connection ends");
    let (mut bob, answer) = connect(&broker, "bob").await;
    assert_eq!(answer.error_code, 0);
    assert!(is_served(&mut first).await && is_served(&mut bob).await);
    drop(second);
    assert!(is_served(&mut connect_soon(&broker, "alice").await).await);
    let metrics = scrape(&broker).await;
    let refused = metrics.lines().find_map(|line| line.strip_prefix("weir_principal_connections_refused_total "));
    assert!(refused.unwrap().parse::<f64>().unwrap() >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_authenticates_again_or_fails_to_has_no_other_place() {
    let broker = start(&[]).await;
    let (mut first, _) = connect(&broker, "alice").await;
    for _ in 0..5 {
        assert_eq!(authenticate(&mut first, "alice", "alice").await.error_code, 0);
        assert_eq!(open(&broker, "alice"), 1);
    }
    for _ in 0..3 {
        let mut stranger = Client::connect(&broker).await;
        assert_eq!(authenticate(&mut stranger, "alice", "guessed").await.error_code, 58);
    }
    let (mut second, answer) = connect(&broker, "alice").await;
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    // With all places taken, those who have one may authenticate again.
    assert_eq!(authenticate(&mut second, "alice", "alice").await.error_code, 0);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    // One that fails to ends, and its place is free.
    assert_eq!(authenticate(&mut second, "bob", "bob").await.error_code, 58);
    assert!(is_served(&mut connect_soon(&broker, "alice").await).await);
    assert_eq!(open(&broker, "bob"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_is_changed_while_the_broker_runs() {
    let broker = start(&[]).await;
    let (mut root, _) = connect(&broker, "root").await;
    let _held = [connect(&broker, "alice").await, connect(&broker, "alice").await];
    assert_eq!(connect(&broker, "alice").await.1.error_code, 58);
    for (limit, expected) in [("3", 0), ("1", 58)] {
        let config =
            AlterableConfig::default().with_name(s("max.connections.per.principal")).with_value(Some(s(limit)));
        let resource =
            AlterConfigsResource::default().with_resource_type(4).with_resource_name(s("1")).with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let changed = root.call(1, &request).await;
        assert_eq!(changed.responses[0].error_code, 0, "{:?}", changed.responses[0].error_message);
        assert_eq!(connect(&broker, "alice").await.1.error_code, expected, "limit {limit}");
    }
}

/// Bare tokens, after a handshake of version 0, have no room for an error: the connection ends.
#[tokio::test(flavor = "multi_thread")]
async fn bare_tokens_of_one_too_many_are_answered_with_the_end() {
    let broker = start(&[("max.connections.per.principal", "1")]).await;
    let raw = || async {
        let mut client = Client::connect(&broker).await;
        client.call(0, &SaslHandshakeRequest::default().with_mechanism(s("PLAIN"))).await;
        client.send_raw(&PlainMessage::encode("alice", "alice")).await;
        let answer = client.receive_raw().await;
        (client, answer)
    };
    let (mut first, answer) = raw().await;
    assert!(answer.is_some_and(|token| token.is_empty()));
    assert_eq!(raw().await.1, None);
    assert!(is_served(&mut first).await);
}

async fn scrape(broker: &TestBroker) -> String {
    let mut stream = TcpStream::connect(broker.http()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: weir\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Certificates that say who a client is, and a listener that asks for them.
struct Certified {
    folder: tempfile::TempDir,
    broker: TestBroker,
}

impl Certified {
    async fn start(protocol: &str, more: &[(&str, &str)]) -> Certified {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("tls");
        let clients = ["alice", "bob"].map(str::to_owned).to_vec();
        make(&DevArgs { out: out.clone(), hosts: vec!["localhost".to_owned(), "127.0.0.1".to_owned()], clients })
            .unwrap();
        let path = |name: &str| out.join(name).display().to_string();
        let (certificate, key, ca) = (path("server.pem"), path("server.key"), path("ca.pem"));
        let listeners = format!("{protocol}://127.0.0.1:0");
        let settings = [
            ("listeners", listeners.as_str()),
            ("ssl.certificate.location", &certificate),
            ("ssl.key.location", &key),
            ("ssl.ca.location", &ca),
            ("ssl.client.auth", "requested"),
            ("ssl.principal.mapping.rules", "RULE:^CN=(.*)$/$1/"),
            ("authorizer", "off"),
            ("connection.failed.authentication.delay.ms", "0"),
            ("max.connections.per.principal", "1"),
        ];
        let settings: Vec<_> = settings.iter().chain(more).copied().collect();
        let broker = TestBroker::start_with(&settings).await;
        Certified { folder, broker }
    }

    /// A connection with the certificate of somebody, or with none.
    async fn connect(&self, who: Option<&str>) -> Client {
        let path = |name: String| self.folder.path().join("tls").join(name);
        let certificate = who.map(|who| (path(format!("{who}.pem")), path(format!("{who}.key"))));
        let tls = TlsConnector::new(&TlsConfig { ca: Some(path("ca.pem".to_owned())), certificate }).unwrap();
        let address = BrokerAddress { host: "localhost".to_owned(), port: self.broker.address().port() };
        Client::over(tls.connect(&address).await.unwrap())
    }
}

async fn versions(client: &mut Client, version: i16) -> ApiVersionsResponse {
    let request = ApiVersionsRequest::default();
    let request = if version < 3 {
        request
    } else {
        request.with_client_software_name(s("test")).with_client_software_version(s("1"))
    };
    client.call(version, &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_have_places_too_and_one_too_many_is_told_in_its_first_answer() {
    let world = Certified::start("SSL", &[]).await;
    let mut first = world.connect(Some("alice")).await;
    assert_eq!(versions(&mut first, 4).await.error_code, 0);
    for version in [0, 3, 4] {
        let mut second = world.connect(Some("alice")).await;
        assert_eq!(versions(&mut second, version).await.error_code, 89, "THROTTLING_QUOTA_EXCEEDED");
        assert!(second.receive_raw().await.is_none(), "the connection ends");
    }
    // Whatever else it asks for, it is not served.
    let mut second = world.connect(Some("alice")).await;
    second.send(12, &MetadataRequest::default()).await;
    assert!(second.receive_raw().await.is_none());
    // Others are, and whoever shows no certificate is not counted.
    let mut others = Vec::new();
    for who in [Some("bob"), None, None] {
        let mut other = world.connect(who).await;
        assert_eq!(versions(&mut other, 4).await.error_code, 0, "{who:?}");
        others.push(other);
    }
    assert!(is_served(&mut first).await);
    drop(first);
    for _ in 0..1_000 {
        if open(&world.broker, "alice") == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_served(&mut world.connect(Some("alice")).await).await);
}

/// Where SASL follows, it says who somebody is: the certificate of a machine that many share takes no place.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_before_sasl_takes_no_place() {
    let world = Certified::start("SASL_SSL", &[("sasl.enabled.mechanisms", "PLAIN")]).await;
    for user in ["bob", "carol"] {
        world.broker.inner().security.users.set_password(user, user).await.unwrap();
    }
    let mut held = Vec::new();
    for (user, expected) in [("bob", 0), ("carol", 0), ("bob", 58)] {
        let mut client = world.connect(Some("alice")).await;
        assert_eq!(authenticate(&mut client, user, user).await.error_code, expected, "{user}");
        held.push(client);
    }
    assert_eq!([open(&world.broker, "alice"), open(&world.broker, "bob")], [0, 1]);
}

/// A connection over HTTP that is kept, and what its requests are answered.
struct Web(TcpStream);

impl Web {
    async fn connect(address: std::net::SocketAddr) -> Web {
        Web(TcpStream::connect(address).await.unwrap())
    }

    /// Status and text of the answer to a request of `user`, whose password is its name.
    async fn ask(&mut self, path: &str, user: &str) -> (u16, String) {
        let shown = base64(&format!("{user}:{user}"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: weir\r\nAuthorization: Basic {shown}\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        loop {
            assert_ne!(self.0.read_buf(&mut text).await.unwrap(), 0, "the connection is kept");
            let shown = String::from_utf8_lossy(&text).into_owned();
            let Some((head, body)) = shown.split_once("\r\n\r\n") else { continue };
            assert_eq!(head[9..12] == *"429", head.contains("connection: close"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return (head[9..12].parse().unwrap(), body.to_owned());
            }
        }
    }
}

/// The HTTP listener and the registry count with Kafka's; a connection is that of whoever its newest request is of.
#[tokio::test(flavor = "multi_thread")]
async fn connections_over_http_have_places_among_the_others() {
    let passwords = ("listener.security.protocol.map", "http:SASL_PLAINTEXT,registry:SASL_PLAINTEXT");
    let broker = start(&[passwords, ("registry.listen", "127.0.0.1:0")]).await;
    let (kafka, _) = connect(&broker, "alice").await;
    let (mut http, mut registry) = (Web::connect(broker.http()).await, Web::connect(broker.registry().unwrap()).await);
    for _ in 0..3 {
        assert_eq!(http.ask("/lake", "alice").await.0, 200, "asking again takes no other place");
    }
    assert_eq!(open(&broker, "alice"), 2);
    let (status, told) = registry.ask("/subjects", "alice").await;
    assert!(
        status == 429 && told.contains("42901") && told.contains("max.connections.per.principal"),
        "{status} {told}"
    );
    let mut third = Web::connect(broker.http()).await;
    let (status, told) = third.ask("/lake", "alice").await;
    assert!(
        status == 429 && told.contains("42901") && told.contains("max.connections.per.principal"),
        "{status} {told}"
    );
    assert_eq!(connect(&broker, "alice").await.1.error_code, 58);
    assert_eq!(third.0.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
    // A connection is of whoever its newest request is of.
    let mut registry = Web::connect(broker.registry().unwrap()).await;
    assert_eq!(registry.ask("/subjects", "bob").await.0, 200);
    assert_eq!(http.ask("/lake", "bob").await.0, 200);
    assert_eq!([open(&broker, "alice"), open(&broker, "bob")], [1, 2]);
    assert_eq!(http.ask("/lake", "alice").await.0, 200);
    assert_eq!([open(&broker, "alice"), open(&broker, "bob")], [2, 1]);
    drop((kafka, http));
    for _ in 0..1_000 {
        if open(&broker, "alice") == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("places of connections that ended were not given back");
}
