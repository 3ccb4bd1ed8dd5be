use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::metrics::PartitionLag;

#[derive(Default)]
struct Fake {
    full: AtomicBool,
}

impl HttpState for Fake {
    fn readiness(&self) -> Readiness {
        if self.full.load(Ordering::Relaxed) {
            Readiness::NotReady { reason: "the disk is full".to_owned() }
        } else {
            Readiness::Ready
        }
    }

    fn lake(&self) -> Vec<TableStatus> {
        Vec::new()
    }

    fn verify(&self, topic: &str) -> Result<mpsc::Receiver<Value>, VerifyRefused> {
        let (send, receive) = mpsc::channel(2);
        match topic {
            "flights" => {
                send.try_send(json!({ "progress": 1 })).unwrap();
                send.try_send(json!({ "report": 2 })).unwrap();
                Ok(receive)
            }
            _ => Err(VerifyRefused::NotTiered { topic: topic.to_owned() }),
        }
    }

    async fn table(&self, topic: &str, _client: &WebClient) -> Option<serde_json::Value> {
        (topic == "flights").then(|| serde_json::json!({ "topic": topic }))
    }

    async fn groups(&self) -> Vec<GroupSample> {
        let lag = PartitionLag { topic: "flights".to_owned(), partition: 3, records: 41, seconds: Some(2.0) };
        vec![GroupSample { group: "etl".to_owned(), members: 1, lags: vec![lag] }]
    }
}

struct Running {
    address: std::net::SocketAddr,
    state: Arc<Fake>,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<io::Result<()>>,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (state, shutdown) = (Arc::new(Fake::default()), CancellationToken::new());
    let metrics = crate::metrics::tests::installed();
    let gate = WebGate::new(&crate::config::Config::default(), "http", Arc::default()).unwrap();
    let server = tokio::spawn(serve(listener, None, gate, state.clone(), metrics, shutdown.clone()));
    Running { address, state, shutdown, server }
}

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn each_path_answers_and_the_index_lists_them() {
    let running = start().await;
    let (status, index) = get(running.address, "/").await;
    assert_eq!(status, 200);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(index.contains(path), "{path}");
        assert_eq!(get(running.address, path).await.0, 200, "{path}");
    }
    assert_eq!(get(running.address, "/nothing").await.0, 404);
    let (_, text) = get(running.address, "/metrics").await;
    assert!(text.contains(r#"weir_group_lag_records{group="etl",topic="flights",partition="3"} 41"#), "{text}");
    assert!(text.contains("weir_ready 1"), "{text}");
}

#[tokio::test]
async fn a_verification_is_asked_for_and_comes_line_by_line() {
    let running = start().await;
    // As the command asks: the end of the answer is the end of the connection.
    let ask = async |path: &str| {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(format!("POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].to_owned(), body.to_owned())
    };
    let (status, body) = ask("/lake/flights/verify").await;
    assert_eq!((status.as_str(), body.as_str()), ("200", "{\"progress\":1}\n{\"report\":2}\n"));
    let (status, body) = ask("/lake/planes/verify").await;
    assert!(status == "404" && body.contains("no topic `planes`"), "{body}");
    // Looking at a path starts nothing.
    assert_eq!(get(running.address, "/lake/flights/verify").await.0, 405);
}

#[tokio::test]
async fn readiness_is_lost_with_a_reason_while_health_stays() {
    let running = start().await;
    running.state.full.store(true, Ordering::Relaxed);
    assert_eq!(get(running.address, "/readyz").await, (503, "not ready: the disk is full\n".to_owned()));
    assert_eq!(get(running.address, "/healthz").await.0, 200);
    running.state.full.store(false, Ordering::Relaxed);
    assert_eq!(get(running.address, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_up_the_shutdown() {
    let running = start().await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(get(running.address, "/healthz").await.0, 200);
    running.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), running.server).await;
    assert!(ended.expect("the server ended in time").unwrap().is_ok());
}

#[tokio::test]
async fn silent_connections_are_closed_and_make_room() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bounded = BoundedListener::with_limits(listener, None, 1, Duration::from_millis(100));
    let app = Router::new().route("/", axum::routing::get(|| async { "here\n" }));
    let server = tokio::spawn(axum::serve(bounded, app).into_future());

    let mut silent = TcpStream::connect(address).await.unwrap();
    // The only slot is the silent one's: this is answered once that is closed.
    let answered = tokio::time::timeout(Duration::from_secs(5), get(address, "/")).await;
    assert_eq!(answered.expect("a slot became free"), (200, "here\n".to_owned()));
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0, "the silent connection was closed");
    server.abort();
}

#[tokio::test]
async fn one_address_leaves_room_for_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bounded = BoundedListener::with_limits(listener, None, 4, Duration::from_secs(60));
    let app = Router::new().route("/", axum::routing::get(|| async { "here\n" }));
    let server = tokio::spawn(axum::serve(bounded, app).into_future());

    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    let mut fourth = TcpStream::connect(address).await.unwrap();
    assert_eq!(
        fourth.read(&mut [0; 1]).await.unwrap_or(0),
        0,
        "three of four places are the most that one address has"
    );
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(address).await.unwrap();
    other.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("here\n"), "{answer}");
    // What ends makes room for its address again.
    drop(held);
    let answered = tokio::time::timeout(Duration::from_secs(5), get(address, "/")).await;
    assert_eq!(answered.expect("a place became free"), (200, "here\n".to_owned()));
    server.abort();
}
