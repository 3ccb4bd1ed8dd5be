//! Fetch sessions (KIP-227) over the wire.
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use weir_protocol::records::Compression;

use crate::harness::*;

const VERSION: i16 = 13;

fn in_session(id: i32, epoch: i32, request: FetchRequest) -> FetchRequest {
    request.with_session_id(id).with_session_epoch(epoch)
}

fn empty() -> FetchRequest {
    FetchRequest::default().with_max_bytes(1 << 20).with_max_wait_ms(0).with_min_bytes(1)
}

fn partitions(response: &FetchResponse) -> Vec<i32> {
    response.responses.iter().flat_map(|t| &t.partitions).map(|p| p.partition_index).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn session_carries_what_is_wanted_and_answers_changes_only() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let id = client.create_topic("t", 3, &[]).await;
    let t = Topic { name: "t".into(), id };
    let all = (0..3).map(|p| fetch_partition(p, 0)).collect();
    let first = client.call(VERSION, &in_session(0, 0, empty().with_topics(vec![fetch_topic(VERSION, &t, all)]))).await;
    let session = first.session_id;
    assert!(session > 0);
    assert_eq!(partitions(&first), [0, 1, 2]);

    let idle = client.call(VERSION, &in_session(session, 1, empty())).await;
    assert_eq!((idle.session_id, partitions(&idle)), (session, vec![]));

    client.produce(13, &t, 1, -1, batch(Compression::None, &["new"])).await;
    let changed = client.call(VERSION, &in_session(session, 2, empty())).await;
    assert_eq!(partitions(&changed), [1]);
    assert_eq!(records(only(&changed)), [(0, "new".to_owned())]);

    let forgotten = ForgottenTopic::default().with_topic_id(id).with_partitions(vec![1]);
    let moved = empty().with_forgotten_topics_data(vec![forgotten]);
    let quiet = client.call(VERSION, &in_session(session, 3, moved)).await;
    assert_eq!(partitions(&quiet), Vec::<i32>::new(), "a forgotten partition is not answered, though it has data");

    let wrong = client.call(VERSION, &in_session(session, 9, empty())).await;
    assert_eq!((wrong.error_code, wrong.session_id), (71, 0));
    let named = client.call(12, &in_session(session, 4, empty())).await;
    assert_eq!(named.error_code, 106);
    let closed = client.call(VERSION, &in_session(session, -1, empty())).await;
    assert_eq!((closed.error_code, closed.session_id), (0, 0));
    let gone = client.call(VERSION, &in_session(session, 4, empty())).await;
    assert_eq!(gone.error_code, 70);
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_created_after_the_session_began_is_found() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let early = Topic { name: "late".into(), id: uuid::Uuid::nil() };
    let wanted = fetch_topic(12, &early, vec![fetch_partition(0, 0)]);
    let first = client.call(12, &in_session(0, 0, empty().with_topics(vec![wanted]))).await;
    assert_eq!(only(&first).error_code, 3);
    let session = first.session_id;
    let late = Topic { id: client.create_topic("late", 1, &[]).await, ..early };
    client.produce(12, &late, 0, -1, batch(Compression::None, &["x"])).await;
    let second = client.call(12, &in_session(session, 1, empty())).await;
    assert_eq!((only(&second).error_code, records(only(&second)).len()), (0, 1));
}
