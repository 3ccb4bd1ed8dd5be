//! A broker over a temporary data folder, for tests of handlers without sockets.
use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use tempfile::TempDir;
use weir_protocol::ids::{PartitionId, Timestamp};
use weir_protocol::produce::{Acks, ProduceFrame, ProducePartition, ProduceTopic, TopicRef};
use weir_protocol::records::BatchBuilder;
use weir_storage::disk::OsDisk;

use super::produce::{self, Outcome};
use crate::broker::Broker;
use crate::config::{ByteCount, Config};
use crate::topic_config::TopicConfigs;
use crate::topics::Topic;

/// The broker and the folder it lives in.
pub struct TestBroker {
    pub broker: Arc<Broker>,
    _dir: TempDir,
}

impl std::ops::Deref for TestBroker {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

pub async fn broker() -> TestBroker {
    broker_with(|_| {}).await
}

/// With other settings.
pub async fn broker_with(change: impl FnOnce(&mut Config)) -> TestBroker {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let mut config = Config::default();
    config.node.data_dir = dir.path().display().to_string();
    config.storage.wal_file = ByteCount::mib(4);
    config.groups.offsets_partitions = 4;
    config.transactions.state_partitions = 4;
    config.shares.state_partitions = 4;
    change(&mut config);
    let broker = Broker::open(config, disk, None).await.unwrap();
    TestBroker { broker, _dir: dir }
}

impl TestBroker {
    pub async fn topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Arc<Topic> {
        let configs = TopicConfigs::parse(configs.iter().map(|(name, value)| (*name, Some(*value)))).unwrap();
        self.topics.create(name, Some(partitions), configs).await.unwrap()
    }

    /// Produces one batch of these values with acks=all.
    pub async fn produce(&self, topic: &str, partition: i32, values: &[&str]) -> PartitionProduceResponse {
        let mut builder = BatchBuilder::new();
        for (at, value) in (1000..).zip(values) {
            builder.append(None, Some(value.as_bytes()), &[], Timestamp(at)).unwrap();
        }
        let records = Some(BytesMut::from(builder.build().unwrap()));
        let partition = ProducePartition { index: PartitionId(partition), records, columnar: None };
        let topic = ProduceTopic { topic: TopicRef::Name(topic.to_owned()), partitions: vec![partition] };
        let frame = ProduceFrame { transactional_id: None, acks: Acks::All, timeout_ms: 10_000, topics: vec![topic] };
        match produce::submit(&self.broker, 9, frame, None).await.finish().await {
            Outcome::Respond(response) => response.responses[0].partition_responses[0].clone(),
            Outcome::Silent { .. } => panic!("acks=all is answered"),
        }
    }
}
