//! Transactions over the wire: both protocols, offsets, fencing, markers, and what readers of committed data see.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::*;
use weir_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use weir_protocol::records::{BatchBuilder, ControlType, DecompressLimits, batches, decode};

use crate::harness::*;

const ID: &str = "tx";

async fn topic(client: &mut Client, name: &str, partitions: i32) -> Topic {
    Topic { name: name.to_owned(), id: client.create_topic(name, partitions, &[]).await }
}

fn id() -> TransactionalId {
    TransactionalId(s(ID))
}

/// A producer as clients of one protocol are.
pub(crate) struct Producer {
    id: i64,
    epoch: i16,
    sequences: BTreeMap<i32, i32>,
    v2: bool,
}

impl Producer {
    pub(crate) async fn start(client: &mut Client, v2: bool) -> Producer {
        let request =
            InitProducerIdRequest::default().with_transactional_id(Some(id())).with_transaction_timeout_ms(60_000);
        let answer = client.call(4, &request).await;
        assert_eq!(answer.error_code, 0);
        Producer { id: answer.producer_id.0, epoch: answer.producer_epoch, sequences: BTreeMap::new(), v2 }
    }

    async fn add(&self, client: &mut Client, topic: &Topic, partitions: &[i32]) -> Vec<i16> {
        let topic =
            AddPartitionsToTxnTopic::default().with_name(topic_name(&topic.name)).with_partitions(partitions.to_vec());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id())
            .with_v3_and_below_producer_id(self.id.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let answer = client.call(3, &request).await;
        let results = answer.results_by_topic_v3_and_below.iter().flat_map(|t| &t.results_by_partition);
        results.map(|partition| partition.partition_error_code).collect()
    }

    fn batch(&self, partition: i32, value: &str) -> Bytes {
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let (id, epoch) = (ProducerId(self.id), ProducerEpoch(self.epoch));
        let mut builder = BatchBuilder::new().producer(id, epoch, sequence).transactional();
        builder.append(None, Some(value.as_bytes()), &[], Timestamp(1_000)).unwrap();
        builder.build().unwrap()
    }

    async fn try_write(
        &self,
        client: &mut Client,
        topic: &Topic,
        partition: i32,
        value: &str,
    ) -> PartitionProduceResponse {
        let version = if self.v2 { 12 } else { 11 };
        let batch = self.batch(partition, value);
        let request = produce_request(version, topic, partition, -1, batch).with_transactional_id(Some(id()));
        client.call(version, &request).await.responses[0].partition_responses[0].clone()
    }

    pub(crate) async fn write(&mut self, client: &mut Client, topic: &Topic, partition: i32, value: &str) {
        if !self.v2 {
            assert_eq!(self.add(client, topic, &[partition]).await, [0]);
        }
        let answer = self.try_write(client, topic, partition, value).await;
        assert_eq!(answer.error_code, 0, "{value}: {:?}", answer.error_message);
        *self.sequences.entry(partition).or_default() += 1;
    }

    async fn try_end(&self, client: &mut Client, commit: bool) -> EndTxnResponse {
        let request = EndTxnRequest::default()
            .with_transactional_id(id())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        client.call(if self.v2 { 5 } else { 4 }, &request).await
    }

    pub(crate) async fn end(&mut self, client: &mut Client, commit: bool) {
        let answer = self.try_end(client, commit).await;
        assert_eq!(answer.error_code, 0);
        if self.v2 {
            assert_eq!(answer.producer_epoch, self.epoch + 1);
            (self.id, self.epoch) = (answer.producer_id.0, answer.producer_epoch);
            self.sequences.clear();
        }
    }
}

async fn fetch_committed(client: &mut Client, topic: &Topic, partition: i32, offset: i64) -> PartitionData {
    let request = fetch_request(12, topic, partition, offset).with_isolation_level(1);
    only(&client.call(12, &request).await).clone()
}

/// What a consumer with read_committed hands to its application.
fn committed(data: &PartitionData) -> Vec<String> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut aborted = data.aborted_transactions.clone().unwrap_or_default();
    let mut hidden = Vec::new();
    let mut out = Vec::new();
    for batch in batches(&bytes) {
        let batch = batch.unwrap();
        aborted.retain(|txn| {
            let due = txn.first_offset <= batch.header.last_offset().0;
            if due {
                hidden.push(txn.producer_id.0);
            }
            !due
        });
        let decoded = decode(batch.bytes, &DecompressLimits::default()).unwrap();
        for record in decoded.records() {
            let record = record.unwrap();
            if batch.header.attributes.is_control() {
                if ControlType::from_key(record.key.unwrap()) == Some(ControlType::Abort) {
                    hidden.retain(|id| *id != batch.header.producer_id);
                }
            } else if !hidden.contains(&batch.header.producer_id) {
                out.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            }
        }
    }
    out
}

/// Markers are written after the end is answered.
async fn settled(client: &mut Client, topic: &Topic, partition: i32) -> PartitionData {
    for _ in 0..500 {
        let data = fetch_committed(client, topic, partition, 0).await;
        if data.last_stable_offset == data.high_watermark {
            return data;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the transaction did not end within 5 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_records_are_seen_and_aborted_ones_are_not_in_either_protocol() {
    for v2 in [false, true] {
        let broker = TestBroker::start().await;
        let mut client = Client::connect(&broker).await;
        let t = topic(&mut client, "t", 2).await;
        let mut producer = Producer::start(&mut client, v2).await;
        producer.write(&mut client, &t, 0, "one").await;
        let open = fetch_committed(&mut client, &t, 0, 0).await;
        assert_eq!((open.high_watermark, open.last_stable_offset, committed(&open).len()), (1, 0, 0));
        producer.end(&mut client, true).await;
        producer.write(&mut client, &t, 0, "two").await;
        producer.write(&mut client, &t, 1, "three").await;
        producer.end(&mut client, false).await;
        producer.write(&mut client, &t, 0, "four").await;
        producer.end(&mut client, true).await;
        let data = settled(&mut client, &t, 0).await;
        assert_eq!(committed(&data), ["one", "four"], "v2={v2}");
        let aborted = data.aborted_transactions.clone().unwrap();
        assert_eq!(aborted.iter().map(|a| (a.producer_id.0, a.first_offset)).collect::<Vec<_>>(), [(producer.id, 2)]);
        assert_eq!(data.high_watermark, 6, "three records and a marker for each");
        assert!(committed(&settled(&mut client, &t, 1).await).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_outside_of_a_transaction_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 2).await;
    let mut producer = Producer::start(&mut client, false).await;
    assert_eq!(producer.try_write(&mut client, &t, 0, "not added").await.error_code, 120);
    let old = produce_request(10, &t, 0, -1, producer.batch(0, "x")).with_transactional_id(Some(id()));
    assert_eq!(client.call(10, &old).await.responses[0].partition_responses[0].error_code, 48);
    let nameless = produce_request(11, &t, 0, -1, producer.batch(0, "x"));
    assert_eq!(client.call(11, &nameless).await.responses[0].partition_responses[0].error_code, 53);
    producer.write(&mut client, &t, 0, "added").await;
    assert_eq!(producer.try_write(&mut client, &t, 1, "another partition").await.error_code, 120);
    let mut plain = BatchBuilder::new().producer(ProducerId(producer.id), ProducerEpoch(producer.epoch), 1);
    plain.append(None, Some(b"plain"), &[], Timestamp(1_000)).unwrap();
    assert_eq!(client.produce(11, &t, 0, -1, plain.build().unwrap()).await.error_code, 48);
    producer.end(&mut client, true).await;
    settled(&mut client, &t, 0).await;
    // 19, which is retriable, while the transaction is being completed.
    let late = loop {
        match producer.try_write(&mut client, &t, 0, "late").await.error_code {
            19 => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            code => break code,
        }
    };
    assert_eq!(late, 120);
    let marker = BatchBuilder::new().producer(ProducerId(producer.id), ProducerEpoch(0), 1).transactional().control();
    let mut marker = marker;
    marker.append(Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[], Timestamp(1_000)).unwrap();
    let forged = produce_request(11, &t, 0, -1, marker.build().unwrap()).with_transactional_id(Some(id()));
    assert_eq!(client.call(11, &forged).await.responses[0].partition_responses[0].error_code, 87);
    assert_eq!(settled(&mut client, &t, 0).await.high_watermark, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_partition_that_does_not_exist_adds_none() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 2).await;
    let producer = Producer::start(&mut client, false).await;
    assert_eq!(producer.add(&mut client, &t, &[0, 7]).await, [55, 3]);
    assert_eq!(producer.try_end(&mut client, true).await.error_code, 48, "nothing was added");
    let stranger = Producer { id: producer.id + 100, epoch: 0, sequences: BTreeMap::new(), v2: false };
    assert_eq!(stranger.add(&mut client, &t, &[0]).await, [49]);
    let verify = |partition: i32| {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let txn = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(id())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_verify_only(true)
            .with_topics(vec![topic]);
        AddPartitionsToTxnRequest::default().with_transactions(vec![txn])
    };
    assert_eq!(producer.add(&mut client, &t, &[0]).await, [0]);
    for (version, partition, code) in [(4, 0, 0), (5, 0, 0), (4, 1, 48), (5, 1, 120)] {
        let answer = client.call(version, &verify(partition)).await;
        let result = &answer.results_by_transaction[0].topic_results[0].results_by_partition[0];
        assert_eq!(result.partition_error_code, code, "v{version} partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_producer_fences_the_old_one_and_aborts_what_it_left() {
    for v2 in [false, true] {
        let broker = TestBroker::start().await;
        let mut client = Client::connect(&broker).await;
        let t = topic(&mut client, "t", 1).await;
        let mut old = Producer::start(&mut client, v2).await;
        old.write(&mut client, &t, 0, "orphan").await;
        let mut new = Producer::start(&mut client, v2).await;
        assert_eq!((new.id, new.epoch), (old.id, old.epoch + 2));
        assert_eq!(old.try_end(&mut client, true).await.error_code, 90);
        assert_eq!(old.try_write(&mut client, &t, 0, "zombie").await.error_code, 47);
        assert_eq!(old.add(&mut client, &t, &[0]).await, [90]);
        new.write(&mut client, &t, 0, "new").await;
        new.end(&mut client, true).await;
        assert_eq!(committed(&settled(&mut client, &t, 0).await), ["new"], "v2={v2}");
    }
}

fn offsets_request(producer: &Producer, group: &str, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(s("m")));
    let topic = TxnOffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    TxnOffsetCommitRequest::default()
        .with_transactional_id(id())
        .with_group_id(GroupId(s(group)))
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic])
}

/// (error, offset) of partition 0.
async fn committed_offset(client: &mut Client, group: &str, require_stable: bool) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics::default().with_name(topic_name("t")).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(s(group))).with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(require_stable);
    let answer = client.call(8, &request).await;
    let partition = &answer.groups[0].topics[0].partitions[0];
    (partition.error_code, partition.committed_offset)
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_transaction_count_when_it_commits() {
    for v2 in [false, true] {
        let broker = TestBroker::start().await;
        let mut client = Client::connect(&broker).await;
        topic(&mut client, "t", 1).await;
        let mut producer = Producer::start(&mut client, v2).await;
        for (offset, commit, expected) in [(5, true, 5), (9, false, 5), (11, true, 11)] {
            let version = if v2 { 5 } else { 3 };
            if !v2 {
                // 51 while the transaction before is being completed: clients ask again.
                let refused = loop {
                    let refused = client.call(version, &offsets_request(&producer, "g", offset)).await;
                    match refused.topics[0].partitions[0].error_code {
                        51 => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                        code => break code,
                    }
                };
                assert_eq!(refused, 48, "the group was not added");
                let add = AddOffsetsToTxnRequest::default()
                    .with_transactional_id(id())
                    .with_producer_id(producer.id.into())
                    .with_producer_epoch(producer.epoch)
                    .with_group_id(GroupId(s("g")));
                assert_eq!(client.call(3, &add).await.error_code, 0);
            }
            let before = committed_offset(&mut client, "g", false).await;
            let answer = client.call(version, &offsets_request(&producer, "g", offset)).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
            assert_eq!(committed_offset(&mut client, "g", false).await, before, "not before the marker");
            assert_eq!(committed_offset(&mut client, "g", true).await, (88, -1));
            producer.end(&mut client, commit).await;
            let mut stable = (88, -1);
            for _ in 0..500 {
                stable = committed_offset(&mut client, "g", true).await;
                if stable.0 != 88 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(stable, (0, expected), "v2={v2}");
        }
        let mut zombie = Producer::start(&mut client, v2).await;
        zombie.epoch -= 1;
        let answer = client.call(3, &offsets_request(&zombie, "g", 99)).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 47);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_for_committed_readers_is_the_last_stable_offset() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1).await;
    client.produce(11, &t, 0, -1, batch(weir_protocol::records::Compression::None, &["plain"])).await;
    let mut producer = Producer::start(&mut client, true).await;
    producer.write(&mut client, &t, 0, "open").await;
    let latest = async |client: &mut Client, level: i8| {
        let partition = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
        let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_isolation_level(level).with_topics(vec![topic]);
        client.call(7, &request).await.topics[0].partitions[0].offset
    };
    assert_eq!((latest(&mut client, 0).await, latest(&mut client, 1).await), (2, 1));
    producer.end(&mut client, true).await;
    settled(&mut client, &t, 0).await;
    assert_eq!((latest(&mut client, 0).await, latest(&mut client, 1).await), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_see_transactions_and_can_end_a_hanging_one() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let t = topic(&mut client, "t", 1).await;
    let mut producer = Producer::start(&mut client, false).await;
    producer.write(&mut client, &t, 0, "x").await;
    let described = client.call(0, &DescribeTransactionsRequest::default().with_transactional_ids(vec![id()])).await;
    let state = &described.transaction_states[0];
    assert_eq!(
        (state.error_code, state.transaction_state.as_str(), state.transaction_timeout_ms),
        (0, "Ongoing", 60_000)
    );
    assert_eq!((state.producer_id.0, state.producer_epoch), (producer.id, producer.epoch));
    assert_eq!(state.topics[0].partitions, [0]);
    let unknown = DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(s("nobody"))]);
    assert_eq!(client.call(0, &unknown).await.transaction_states[0].error_code, 105);

    let list = async |client: &mut Client, request: ListTransactionsRequest| {
        let answer = client.call(2, &request).await;
        let names = answer.transaction_states.iter().map(|state| state.transactional_id.to_string());
        (answer.error_code, names.collect::<Vec<_>>(), answer.unknown_state_filters.len())
    };
    let all = ListTransactionsRequest::default().with_duration_filter(-1).with_transactional_id_pattern(None);
    let found = vec![ID.to_owned()];
    assert_eq!(list(&mut client, all.clone()).await, (0, found.clone(), 0));
    for (request, names) in [
        (all.clone().with_state_filters(vec![s("Ongoing")]), found.clone()),
        (all.clone().with_state_filters(vec![s("Empty")]), vec![]),
        (all.clone().with_producer_id_filters(vec![producer.id.into()]), found.clone()),
        (all.clone().with_producer_id_filters(vec![(producer.id + 1).into()]), vec![]),
        (all.clone().with_duration_filter(1_000_000), vec![]),
        (all.clone().with_transactional_id_pattern(Some(s("t."))), found.clone()),
        (all.clone().with_transactional_id_pattern(Some(s("x"))), vec![]),
    ] {
        assert_eq!(list(&mut client, request.clone()).await, (0, names, 0), "{request:?}");
    }
    assert_eq!(list(&mut client, all.clone().with_state_filters(vec![s("Odd")])).await, (0, vec![], 1));
    assert_eq!(list(&mut client, all.with_transactional_id_pattern(Some(s("(")))).await.0, 128);

    let topic_request = TopicRequest::default().with_name(topic_name("t")).with_partition_indexes(vec![0, 5]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic_request]);
    let answer = client.call(0, &request).await;
    let active = &answer.topics[0].partitions[0].active_producers[0];
    assert_eq!((active.producer_id.0, active.current_txn_start_offset, active.last_sequence), (producer.id, 0, 0));
    assert_eq!(answer.topics[0].partitions[1].error_code, 3);

    let marker = WritableTxnMarker::default()
        .with_producer_id(producer.id.into())
        .with_producer_epoch(producer.epoch)
        .with_transaction_result(false)
        .with_topics(vec![
            WritableTxnMarkerTopic::default().with_name(topic_name("t")).with_partition_indexes(vec![0, 5]),
        ]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let answer = client.call(1, &request).await;
    let codes: Vec<_> = answer.markers[0].topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, 3]);
    assert!(committed(&settled(&mut client, &t, 0).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_that_are_half_or_wrong_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker).await;
    let request = InitProducerIdRequest::default().with_transactional_id(Some(id())).with_transaction_timeout_ms(1_000);
    assert_eq!(client.call(4, &request.clone().with_transaction_timeout_ms(0)).await.error_code, 50);
    assert_eq!(
        client.call(4, &request.clone().with_transactional_id(Some(TransactionalId(s(""))))).await.error_code,
        42
    );
    assert_eq!(client.call(4, &request.clone().with_producer_id(5.into())).await.error_code, 42);
    assert_eq!(client.call(4, &request).await.error_code, 0);
    let stale = request.with_producer_id(999.into()).with_producer_epoch(0);
    assert_eq!(client.call(4, &stale).await.error_code, 90);
    assert_eq!(client.call(3, &stale).await.error_code, 47, "as older clients know it");
}
