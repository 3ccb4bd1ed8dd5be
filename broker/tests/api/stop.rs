//! A stop: what was acked is there, nothing keeps the data folder, and it is prompt, long polls and waiting members included.
use std::time::{Duration, Instant};

use kafka_protocol::messages::*;
use weir_protocol::records::Compression;

use crate::harness::*;

/// Background tasks kept storage, metadata and so the lock of the folder for as long as the process lived: topics knew the
/// groups, which knew the topics. Seen failing: with the release of the lock taken out of `Server::stop` (the start
/// says that the folder is in use).
#[tokio::test(flavor = "multi_thread")]
async fn data_folder_can_be_opened_again_at_once() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let topic = Topic { name: "t".to_owned(), id: client.create_topic("t", 3, &[]).await };
    for round in 0..4 {
        let mut client = Client::connect(&broker).await;
        let value = format!("round {round}");
        let answer = client.produce(13, &topic, 0, -1, batch(Compression::None, &[value.as_str()])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, round));
        // A poll that has nothing to wait for but the stop, and a group with a member.
        let mut polls = Client::connect(&broker).await;
        let request = fetch_request(18, &topic, 2, 0).with_max_wait_ms(30_000);
        polls.send(18, &request).await;
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(s("range"));
        let join = JoinGroupRequest::default()
            .with_group_id(GroupId(s("g")))
            .with_protocol_type(s("consumer"))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_protocols(vec![protocol]);
        polls.send(3, &join).await;
        let begun = Instant::now();
        broker = broker.restart().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "stop and start took {took:?}");
    }
    let mut client = Client::connect(&broker).await;
    assert_eq!(records(&client.fetch(18, &topic, 0, 0).await).len(), 4);
}
