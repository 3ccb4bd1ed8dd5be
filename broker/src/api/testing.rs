//! A broker over a temporary data folder, for tests of handlers without sockets.
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use tempfile::TempDir;
use weir_protocol::ids::{PartitionId, Timestamp};
use weir_protocol::produce::{Acks, ProduceFrame, ProducePartition, ProduceTopic, TopicRef};
use weir_protocol::records::BatchBuilder;
use weir_storage::disk::OsDisk;
use weir_storage::log::{Storage, StorageConfig};
use weir_storage::meta::{EmbeddedMetadata, MetadataStore};

use super::produce::{self, Outcome};
use crate::broker::{Broker, BrokerSettings, Identity};
use crate::group::{Coordinator, GroupSettings, StorageLog};
use crate::producer_ids::ProducerIds;
use crate::topic_config::TopicConfigs;
use crate::topics::{LoadedTopics, OFFSETS_TOPIC, Topic, Topics};

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
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let meta: Arc<dyn MetadataStore> = Arc::new(EmbeddedMetadata::open(disk.clone(), None).unwrap());
    let identity = Identity::next(&*meta).await.unwrap();
    let loaded = LoadedTopics::load(&*meta).unwrap();
    let config = StorageConfig { wal_file_bytes: 4 << 20, ..StorageConfig::default() };
    let storage = Storage::open(disk, config, identity.incarnation, loaded.specs(), &|_| false).await.unwrap();
    let topics = Arc::new(Topics::new(meta.clone(), storage.clone(), loaded, 1));
    let settings = BrokerSettings { data_dir: dir.path().to_owned(), ..BrokerSettings::default() };
    let producer_ids = ProducerIds::new(meta.clone());
    let offsets = topics.ensure_internal(OFFSETS_TOPIC, 4, TopicConfigs::default()).await.unwrap();
    let log = Arc::new(StorageLog::new(storage.clone(), offsets));
    let groups = Coordinator::start(GroupSettings::default(), log);
    let fetch_sessions = Default::default();
    let started = Instant::now();
    let broker =
        Arc::new(Broker { settings, identity, meta, storage, topics, producer_ids, fetch_sessions, groups, started });
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
        let partition = ProducePartition { index: PartitionId(partition), records };
        let topic = ProduceTopic { topic: TopicRef::Name(topic.to_owned()), partitions: vec![partition] };
        let frame = ProduceFrame { transactional_id: None, acks: Acks::All, timeout_ms: 10_000, topics: vec![topic] };
        match produce::submit(&self.broker, 9, frame).await.finish().await {
            Outcome::Respond(response) => response.responses[0].partition_responses[0].clone(),
            Outcome::Silent { .. } => panic!("acks=all is answered"),
        }
    }
}
