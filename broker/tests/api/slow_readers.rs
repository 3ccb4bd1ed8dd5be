//! Readers of columns who ask for much and take nothing: what they hold is theirs to wait for, and nobody else's.
use std::time::Duration;

use tokio::net::TcpSocket;
use weir_protocol::columnar::{AcceptedCodecs, ColumnarFetch};
use weir_protocol::records::Compression;
use weir_storage::memory::Share;

use super::columnar::{tagged, wish};
use crate::harness::*;

/// The share of decoding is 4 MiB then, and that of scans 2 to 8.
const SETTINGS: [(&str, &str); 2] = [("memory.limit", "32MiB"), ("socket.request.max.bytes", "4MiB")];
const READERS: usize = 12;
const REQUESTS_EACH: usize = 4;

/// A connection that does not take what it is sent, beyond a few KiB.
async fn idle_reader(broker: &TestBroker) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    Client::over(Box::new(socket.connect(broker.address()).await.unwrap()))
}

/// Seen failing: with what scans found in the share of decoding, the producer waits for the readers.
#[tokio::test(flavor = "multi_thread")]
async fn readers_who_take_nothing_do_not_stop_whoever_produces_rows() {
    let broker = TestBroker::start_with(&SETTINGS).await;
    let mut client = Client::connect(&broker).await;
    // Timestamps are of 1970: retention would take them.
    let configs = [("weir.table.schema", "note STRING"), ("retention.ms", "-1")];
    let topic = Topic { name: "notes".to_owned(), id: client.create_topic("notes", 1, &configs).await };
    let note = |row: u64| {
        // Nothing that compresses.
        let mut state = row;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'A' + (state >> 59) as u8 % 26)
        };
        format!(r#"{{"note":"{}"}}"#, (0..10_000).map(|_| letter()).collect::<String>())
    };
    let notes: Vec<String> = (0..60).map(note).collect();
    let rows = batch(Compression::Lz4, &notes.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..10 {
        assert_eq!(client.produce(13, &topic, 0, -1, rows.clone()).await.error_code, 0);
    }
    let plain = AcceptedCodecs { lz4: false, zstd: false };
    let all = ColumnarFetch { codecs: plain, ..wish(&topic, None, None) };
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = idle_reader(&broker).await;
        for at in 0..REQUESTS_EACH {
            let request = fetch_request(16, &topic, 0, 60 * at as i64);
            reader.send(16, &tagged(request, &all)).await;
        }
        readers.push(reader);
    }
    let memory = &broker.inner().storage.memory();
    let mut held = 0;
    for _ in 0..500 {
        held = memory.used_by(Share::Scans);
        if held > 4 << 20 && memory.waiting(Share::Scans) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(held > 4 << 20, "scans hold {held} bytes only");
    for _ in 0..5 {
        let produced = tokio::time::timeout(Duration::from_secs(10), client.produce(13, &topic, 0, -1, rows.clone()));
        assert_eq!(produced.await.expect("a producer waits for readers").error_code, 0);
    }
    drop(readers);
    for _ in 0..1000 {
        if memory.used_by(Share::Scans) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} bytes of readers who are gone", memory.used_by(Share::Scans));
}
