//! Share groups over the wire: records go to one member at a time, come again until somebody is done with them, and never after.
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch as AckBatch,
};
use kafka_protocol::messages::share_fetch_request::{AcknowledgementBatch, FetchPartition, FetchTopic};
use kafka_protocol::messages::share_fetch_response::PartitionData;
use kafka_protocol::messages::*;
use weir_protocol::records::Compression;

use crate::harness::*;

const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;

/// A member of the share group `g` with a connection of its own.
struct Member {
    client: Client,
    id: String,
    epoch: i32,
    session: i32,
}

/// What came of one partition: acquired ranges with deliveries, values of the acquired records.
#[derive(Debug, Default, PartialEq)]
struct Got {
    acquired: Vec<(i64, i64, i16)>,
    values: Vec<String>,
}

impl Member {
    /// Joins the group and learns that it is to read the topic.
    async fn join(broker: &TestBroker, id: &str, topic: &str) -> Member {
        let mut member = Member { client: Client::connect(broker).await, id: id.to_owned(), epoch: 0, session: 0 };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = member.beat(Some(vec![topic_name(topic)])).await;
            if answer.error_code == 0 {
                return member;
            }
            assert!(matches!(answer.error_code, 14 | 15), "{:?}", answer.error_message);
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn beat(&mut self, topics: Option<Vec<TopicName>>) -> ShareGroupHeartbeatResponse {
        let request = ShareGroupHeartbeatRequest::default()
            .with_group_id(g())
            .with_member_id(s(&self.id))
            .with_member_epoch(self.epoch)
            .with_subscribed_topic_names(topics);
        let answer = self.client.call(1, &request).await;
        if answer.error_code == 0 {
            self.epoch = answer.member_epoch;
        }
        answer
    }

    fn request(&self, topic: &Topic, acks: &[(i64, i64, i8)], wait_ms: i32) -> ShareFetchRequest {
        let batch = |(first, last, kind): &(i64, i64, i8)| {
            let batch = AcknowledgementBatch::default().with_first_offset(*first).with_last_offset(*last);
            batch.with_acknowledge_types(vec![*kind])
        };
        let partition = FetchPartition::default().with_acknowledgement_batches(acks.iter().map(batch).collect());
        ShareFetchRequest::default()
            .with_group_id(Some(g()))
            .with_member_id(Some(s(&self.id)))
            .with_share_session_epoch(self.session)
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(50 << 20)
            .with_max_records(500)
            .with_batch_size(500)
            .with_topics(vec![FetchTopic::default().with_topic_id(topic.id).with_partitions(vec![partition])])
    }

    async fn raw_fetch(&mut self, topic: &Topic, acks: &[(i64, i64, i8)], wait_ms: i32) -> ShareFetchResponse {
        let answer = self.client.call(1, &self.request(topic, acks, wait_ms)).await;
        if answer.error_code == 0 {
            self.session += 1;
        }
        answer
    }

    /// Fetches, and acknowledges what is said of it.
    async fn fetch(&mut self, topic: &Topic, acks: &[(i64, i64, i8)], wait_ms: i32) -> Got {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.raw_fetch(topic, acks, wait_ms).await;
            assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
            let partition = answer.responses.first().map(|topic| topic.partitions[0].clone()).unwrap_or_default();
            assert_eq!(partition.acknowledge_error_code, 0, "{:?}", partition.acknowledge_error_message);
            if matches!(partition.error_code, 14 | 15) && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            assert_eq!(partition.error_code, 0, "{:?}", partition.error_message);
            return got(&partition);
        }
    }

    async fn acknowledge(&mut self, topic: &Topic, batches: Vec<AckBatch>) -> ShareAcknowledgeResponse {
        let partition = AcknowledgePartition::default().with_acknowledgement_batches(batches);
        let request = ShareAcknowledgeRequest::default()
            .with_group_id(Some(g()))
            .with_member_id(Some(s(&self.id)))
            .with_share_session_epoch(self.session)
            .with_topics(vec![AcknowledgeTopic::default().with_topic_id(topic.id).with_partitions(vec![partition])]);
        let answer = self.client.call(1, &request).await;
        if answer.error_code == 0 {
            self.session += 1;
        }
        answer
    }

    /// Its session ends in good order.
    async fn close(&mut self, topic: &Topic) {
        self.session = -1;
        let answer = self.acknowledge(topic, Vec::new()).await;
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        self.session = 0;
    }
}

fn got(partition: &PartitionData) -> Got {
    let acquired: Vec<_> =
        partition.acquired_records.iter().map(|a| (a.first_offset, a.last_offset, a.delivery_count)).collect();
    let all = fetch_response::PartitionData::default().with_records(partition.records.clone());
    let has = |offset: i64| acquired.iter().any(|(first, last, _)| (*first..=*last).contains(&offset));
    let values = records(&all).into_iter().filter(|(offset, _)| has(*offset)).map(|(_, value)| value).collect();
    Got { acquired, values }
}

fn g() -> GroupId {
    GroupId(s("g"))
}

fn ack(first: i64, last: i64, types: &[i8]) -> AckBatch {
    AckBatch::default().with_first_offset(first).with_last_offset(last).with_acknowledge_types(types.to_vec())
}

fn code_of(answer: &ShareAcknowledgeResponse) -> i16 {
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.responses[0].partitions[0].error_code
}

const SHORT_LOCKS: [(&str, &str); 2] =
    [("group.share.min.record.lock.duration.ms", "100"), ("group.share.record.lock.duration.ms", "600")];

/// A broker with a topic of one partition that the group reads from its beginning.
async fn started(settings: &[(&str, &str)]) -> (TestBroker, Client, Topic) {
    let broker = TestBroker::start_with(settings).await;
    let mut client = Client::connect(&broker).await;
    let id = client.create_topic("t", 1, &[]).await;
    set(&mut client, "share.auto.offset.reset", "earliest").await;
    (broker, client, Topic { name: "t".to_owned(), id })
}

async fn set(client: &mut Client, name: &str, value: &str) {
    let config = AlterableConfig::default().with_name(s(name)).with_value(Some(s(value)));
    let resource =
        AlterConfigsResource::default().with_resource_type(32).with_resource_name(s("g")).with_configs(vec![config]);
    let answer = client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await;
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
}

async fn produce(client: &mut Client, topic: &Topic, values: &[&str]) {
    let answer = client.produce(13, topic, 0, -1, batch(Compression::None, values)).await;
    assert_eq!(answer.error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_to_one_member_each_and_acknowledged_ones_never_come_again() {
    let (broker, mut client, topic) = started(&[]).await;
    produce(&mut client, &topic, &["0", "1", "2", "3"]).await;
    produce(&mut client, &topic, &["4", "5"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    let mut b = Member::join(&broker, "b", "t").await;
    let first = a.fetch(&topic, &[], 1_000).await;
    assert_eq!(first.acquired, [(0, 5, 1)]);
    assert_eq!(first.values, ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(b.fetch(&topic, &[], 0).await, Got::default(), "all of them are a's");
    // Explicitly, one type for each; and with the next fetch.
    assert_eq!(code_of(&a.acknowledge(&topic, vec![ack(0, 3, &[ACCEPT, RELEASE, REJECT, ACCEPT])]).await), 0);
    let again = b.fetch(&topic, &[], 1_000).await;
    assert_eq!((again.acquired, again.values), (vec![(1, 1, 2)], vec!["1".to_owned()]));
    assert_eq!(a.fetch(&topic, &[(4, 5, ACCEPT)], 0).await, Got::default());
    assert_eq!(b.fetch(&topic, &[(1, 1, ACCEPT)], 0).await, Got::default());
    produce(&mut client, &topic, &["6"]).await;
    assert_eq!(b.fetch(&topic, &[], 1_000).await.acquired, [(6, 6, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_waits_for_records_and_for_those_that_come_back() {
    let (broker, mut client, topic) = started(&[]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    let mut b = Member::join(&broker, "b", "t").await;
    assert_eq!(a.fetch(&topic, &[], 0).await, Got::default());
    let request = a.request(&topic, &[], 20_000);
    let waiting = a.client.send(1, &request).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    produce(&mut client, &topic, &["0"]).await;
    let answer = a.client.receive::<ShareFetchRequest>(1, waiting).await;
    assert_eq!(got(&answer.responses[0].partitions[0]).acquired, [(0, 0, 1)]);
    a.session += 1;
    let request = b.request(&topic, &[], 20_000);
    let waiting = b.client.send(1, &request).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(code_of(&a.acknowledge(&topic, vec![ack(0, 0, &[RELEASE])]).await), 0);
    let answer = b.client.receive::<ShareFetchRequest>(1, waiting).await;
    assert_eq!(got(&answer.responses[0].partitions[0]).acquired, [(0, 0, 2)]);
    assert!(began.elapsed() < Duration::from_secs(15), "neither waited to the end: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_member_that_dies_closes_or_lets_its_lock_time_out_come_again() {
    let (broker, mut client, topic) = started(&SHORT_LOCKS).await;
    produce(&mut client, &topic, &["0", "1"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    let mut b = Member::join(&broker, "b", "t").await;
    assert_eq!(a.fetch(&topic, &[], 1_000).await.acquired, [(0, 1, 1)]);
    drop(a);
    assert_eq!(b.fetch(&topic, &[], 5_000).await.acquired, [(0, 1, 2)], "its connection has ended");
    b.close(&topic).await;
    let mut c = Member::join(&broker, "c", "t").await;
    assert_eq!(c.fetch(&topic, &[], 5_000).await.acquired, [(0, 1, 2)], "b never looked at them");
    let began = Instant::now();
    assert_eq!(b.fetch(&topic, &[], 5_000).await.acquired, [(0, 1, 3)], "c's lock has timed out");
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(code_of(&c.acknowledge(&topic, vec![ack(0, 0, &[ACCEPT])]).await), 121, "INVALID_RECORD_STATE");
    assert_eq!(code_of(&b.acknowledge(&topic, vec![ack(0, 1, &[ACCEPT])]).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_released_too_often_is_given_up() {
    let (broker, mut client, topic) = started(&[("group.share.delivery.count.limit", "2")]).await;
    produce(&mut client, &topic, &["poison"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    assert_eq!(a.fetch(&topic, &[], 1_000).await.acquired, [(0, 0, 1)]);
    assert_eq!(a.fetch(&topic, &[(0, 0, RELEASE)], 1_000).await.acquired, [(0, 0, 2)]);
    assert_eq!(a.fetch(&topic, &[(0, 0, RELEASE)], 0).await, Got::default());
    produce(&mut client, &topic, &["good"]).await;
    assert_eq!(a.fetch(&topic, &[], 1_000).await.values, ["good"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_who_had_what_and_remembers_what_is_done_with() {
    let (broker, mut client, topic) = started(&[]).await;
    produce(&mut client, &topic, &["0", "1", "2", "3", "4"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    assert_eq!(a.fetch(&topic, &[], 1_000).await.acquired, [(0, 4, 1)]);
    assert_eq!(code_of(&a.acknowledge(&topic, vec![ack(0, 2, &[ACCEPT, RELEASE, REJECT])]).await), 0);
    let broker = broker.restart().await;
    let mut a = Member::join(&broker, "a", "t").await;
    let got = a.fetch(&topic, &[], 5_000).await;
    assert_eq!(got.values, ["1", "3", "4"]);
    let ranges: Vec<_> = got.acquired.iter().map(|(first, last, _)| (*first, *last)).collect();
    assert_eq!(ranges, [(1, 1), (3, 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_that_lie_are_refused_and_change_nothing() {
    let (broker, mut client, topic) = started(&[]).await;
    produce(&mut client, &topic, &["0", "1", "2", "3"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    let mut b = Member::join(&broker, "b", "t").await;
    a.fetch(&topic, &[], 1_000).await;
    b.fetch(&topic, &[], 0).await;
    for (batches, code) in [
        (vec![ack(2, 1, &[ACCEPT])], 42),
        (vec![ack(0, 1, &[])], 42),
        (vec![ack(0, 3, &[ACCEPT, ACCEPT])], 42),
        (vec![ack(0, 1, &[4])], 42),
        (vec![ack(0, 1, &[-1])], 42),
        (vec![ack(2, 3, &[ACCEPT]), ack(0, 1, &[ACCEPT])], 42),
        (vec![ack(0, 2, &[ACCEPT]), ack(2, 3, &[ACCEPT])], 121),
        (vec![ack(0, i64::MAX, &[ACCEPT])], 42),
        (vec![ack(i64::MIN, i64::MAX, &[ACCEPT])], 42),
        (vec![ack(100, 200, &[ACCEPT])], 42),
    ] {
        assert_eq!(code_of(&a.acknowledge(&topic, batches.clone()).await), code, "{batches:?}");
    }
    assert_eq!(code_of(&b.acknowledge(&topic, vec![ack(0, 0, &[ACCEPT])]).await), 121, "they are not b's");
    assert_eq!(code_of(&a.acknowledge(&topic, vec![ack(0, 3, &[ACCEPT])]).await), 0, "all of them are still a's");
    let unknown = Topic { name: "x".to_owned(), id: uuid::Uuid::from_u128(5) };
    assert_eq!(code_of(&a.acknowledge(&unknown, vec![ack(0, 0, &[ACCEPT])]).await), 100, "UNKNOWN_TOPIC_ID");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_opened_continued_and_closed_in_their_epochs() {
    let (broker, mut client, topic) = started(&[("group.share.max.share.sessions", "2")]).await;
    produce(&mut client, &topic, &["0"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    a.session = 5;
    assert_eq!(a.raw_fetch(&topic, &[], 0).await.error_code, 122, "SHARE_SESSION_NOT_FOUND");
    assert_eq!(a.acknowledge(&topic, Vec::new()).await.error_code, 122);
    a.session = 0;
    assert_eq!(a.acknowledge(&topic, Vec::new()).await.error_code, 123, "INVALID_SHARE_SESSION_EPOCH");
    assert_eq!(a.raw_fetch(&topic, &[(0, 0, ACCEPT)], 0).await.error_code, 42, "nothing is acquired yet");
    assert_eq!(a.fetch(&topic, &[], 0).await.acquired, [(0, 0, 1)]);
    a.session = 7;
    assert_eq!(a.raw_fetch(&topic, &[], 0).await.error_code, 123);
    a.session = 1;
    // The last fetch of a session acknowledges and reads nothing.
    a.session = -1;
    let last = a.raw_fetch(&topic, &[(0, 0, ACCEPT)], 0).await;
    assert_eq!((last.error_code, last.responses[0].partitions[0].acknowledge_error_code), (0, 0));
    a.session = 1;
    assert_eq!(a.raw_fetch(&topic, &[], 0).await.error_code, 122);
    let mut others = Vec::new();
    for (id, code) in [("b", 0), ("c", 0), ("d", 133)] {
        let mut other = Member::join(&broker, id, "t").await;
        assert_eq!(other.raw_fetch(&topic, &[], 0).await.error_code, code, "SHARE_SESSION_LIMIT_REACHED");
        others.push(other);
    }
    let nameless = ShareFetchRequest::default();
    assert_eq!(client.call(1, &nameless).await.error_code, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_other_types_and_share_groups_keep_apart() {
    let (broker, mut client, topic) = started(&[]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    let consumer = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(g())
        .with_member_id(s("m"))
        .with_rebalance_timeout_ms(1_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
        .with_topic_partitions(Some(Vec::new()));
    assert_eq!(client.call(1, &consumer).await.error_code, 69, "GROUP_ID_NOT_FOUND");
    let other = consumer.with_group_id(GroupId(s("consumers")));
    assert_eq!(client.call(1, &other).await.error_code, 0);
    let join = ShareGroupHeartbeatRequest::default()
        .with_group_id(GroupId(s("consumers")))
        .with_member_id(s("m"))
        .with_subscribed_topic_names(Some(vec![topic_name("t")]));
    assert_eq!(client.call(1, &join).await.error_code, 69);
    let listed = client.call(5, &ListGroupsRequest::default().with_types_filter(vec![s("share")])).await.groups;
    let listed: Vec<_> =
        listed.iter().map(|l| (l.group_id.to_string(), l.group_type.to_string(), l.group_state.to_string())).collect();
    assert_eq!(listed, [("g".to_owned(), "share".to_owned(), "Stable".to_owned())]);
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![g()]);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, 68, "NON_EMPTY_GROUP");
    a.fetch(&topic, &[], 0).await;
    a.close(&topic).await;
    a.epoch = -1;
    assert_eq!(a.beat(None).await.error_code, 0);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, 0);
    assert_eq!(a.raw_fetch(&topic, &[], 0).await.responses[0].partitions[0].error_code, 69);
}

async fn offsets(client: &mut Client, topics: bool) -> (i16, Vec<(i64, i16)>) {
    use kafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestTopic as Named;
    let named = vec![Named::default().with_topic_name(topic_name("t")).with_partitions(vec![0])];
    let group =
        DescribeShareGroupOffsetsRequestGroup::default().with_group_id(g()).with_topics(topics.then_some(named));
    let answer = client.call(0, &DescribeShareGroupOffsetsRequest::default().with_groups(vec![group])).await;
    let partitions = answer.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    (answer.groups[0].error_code, partitions.map(|p| (p.start_offset, p.error_code)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_group_without_members_are_told_set_and_deleted() {
    let (broker, mut client, topic) = started(&[]).await;
    assert_eq!(offsets(&mut client, false).await, (0, Vec::new()), "a group that is none has read nothing");
    produce(&mut client, &topic, &["0", "1", "2", "3"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    assert_eq!(offsets(&mut client, true).await, (0, vec![(-1, 0)]), "it has not begun to read");
    a.fetch(&topic, &[], 1_000).await;
    assert_eq!(code_of(&a.acknowledge(&topic, vec![ack(0, 1, &[ACCEPT])]).await), 0);
    assert_eq!(offsets(&mut client, false).await, (0, vec![(2, 0)]));
    let alter = |start: i64| {
        let partition = AlterShareGroupOffsetsRequestPartition::default().with_start_offset(start);
        let topic = AlterShareGroupOffsetsRequestTopic::default();
        let topic = topic.with_topic_name(topic_name("t")).with_partitions(vec![partition]);
        AlterShareGroupOffsetsRequest::default().with_group_id(g()).with_topics(vec![topic])
    };
    let delete = DeleteShareGroupOffsetsRequest::default()
        .with_group_id(g())
        .with_topics(vec![DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(topic_name("t"))]);
    assert_eq!(client.call(0, &alter(1)).await.error_code, 68, "NON_EMPTY_GROUP");
    assert_eq!(client.call(0, &delete).await.error_code, 68);
    a.close(&topic).await;
    a.epoch = -1;
    a.beat(None).await;
    assert_eq!(client.call(0, &alter(-5)).await.responses[0].partitions[0].error_code, 42);
    assert_eq!(client.call(0, &alter(1)).await.responses[0].partitions[0].error_code, 0);
    assert_eq!(offsets(&mut client, false).await, (0, vec![(1, 0)]));
    let mut a = Member::join(&broker, "a", "t").await;
    assert_eq!(a.fetch(&topic, &[], 1_000).await.values, ["1", "2", "3"]);
    a.close(&topic).await;
    a.epoch = -1;
    a.beat(None).await;
    assert_eq!(client.call(0, &delete).await.responses[0].error_code, 0);
    assert_eq!(client.call(0, &delete).await.responses[0].error_code, 3, "there is nothing left");
    assert_eq!(offsets(&mut client, true).await, (0, vec![(-1, 0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_where_the_log_ended_at_the_first_fetch_also_after_a_restart() {
    let (broker, mut client, topic) = started(&[]).await;
    set(&mut client, "share.auto.offset.reset", "latest").await;
    produce(&mut client, &topic, &["before"]).await;
    let mut a = Member::join(&broker, "a", "t").await;
    assert_eq!(a.fetch(&topic, &[], 0).await, Got::default());
    produce(&mut client, &topic, &["after"]).await;
    let broker = broker.restart().await;
    let mut a = Member::join(&broker, "a", "t").await;
    assert_eq!(a.fetch(&topic, &[], 5_000).await.values, ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_stored_as_columns_are_read_and_views_are_refused() {
    let (broker, mut client, _) = started(&[]).await;
    let table = [("weir.table.schema", "a BIGINT NOT NULL"), ("weir.value.format", "json"), ("weir.layout", "column")];
    let id = client.create_topic("c", 1, &table).await;
    let topic = Topic { name: "c".to_owned(), id };
    produce(&mut client, &topic, &[r#"{"a":1}"#, r#"{"a":2}"#]).await;
    client.create_topic("v", 1, &[("weir.view.source", "c")]).await;
    let mut a = Member::join(&broker, "a", "c").await;
    assert_eq!(a.fetch(&topic, &[], 1_000).await.values, [r#"{"a":1}"#, r#"{"a":2}"#]);
    let answer = a.beat(Some(vec![topic_name("v")])).await;
    assert_eq!(answer.error_code, 42);
    assert!(answer.error_message.unwrap().contains("view"));
}
