use weir_protocol::ids::{LeaderEpoch, PartitionId};
use weir_storage::disk::OsDisk;
use weir_storage::log::StorageConfig;
use weir_storage::meta::EmbeddedMetadata;

use super::*;

async fn open(dir: &std::path::Path) -> Topics {
    let disk = Arc::new(OsDisk::open(dir).unwrap());
    let meta = Arc::new(EmbeddedMetadata::open(disk.clone(), Some(dir.join("meta/sled"))).unwrap());
    let loaded = LoadedTopics::load(&*meta).unwrap();
    let deleted = |topic| loaded.is_deleted(topic);
    let storage =
        Storage::open(disk, StorageConfig::default(), LeaderEpoch(1), loaded.specs(), &deleted).await.unwrap();
    Topics::new(meta, storage, loaded, 3)
}

#[tokio::test]
async fn topics_survive_a_restart_with_their_ids_and_configs() {
    let dir = tempfile::tempdir().unwrap();
    let topics = open(dir.path()).await;
    let configs = TopicConfigs::parse([("retention.ms", Some("1000"))]).unwrap();
    let flights = topics.create("flights", None, configs).await.unwrap();
    let gone = topics.create("gone", Some(1), TopicConfigs::default()).await.unwrap();
    topics.delete(&gone).await.unwrap();
    topics.create_partitions("flights", 5).await.unwrap();
    let altered = topics.alter_configs("flights", |c| {
        let mut c = c.clone();
        c.set("cleanup.policy", "compact")?;
        Ok(c)
    });
    altered.await.unwrap();
    assert!(topics.storage.partition(flights.id, PartitionId(4)).is_some());
    assert!(topics.storage.partition(gone.id, PartitionId(0)).is_none());
    drop(topics);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;

    let topics = open(dir.path()).await;
    let again = topics.get("flights").unwrap();
    assert_eq!((again.id, again.partitions), (flights.id, 5));
    assert_eq!(again.settings.log.retention_ms, Some(1000));
    assert!(again.settings.compacted);
    assert_eq!(topics.by_id(flights.id).unwrap().name, "flights");
    assert!(topics.get("gone").is_none());
    assert!(topics.storage.status().quarantined.is_empty());
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_reason() {
    let dir = tempfile::tempdir().unwrap();
    let topics = open(dir.path()).await;
    topics.create("a.b", Some(2), TopicConfigs::default()).await.unwrap();
    let create = async |name: &str, partitions| topics.create(name, Some(partitions), TopicConfigs::default()).await;
    assert!(matches!(create("a.b", 1).await, Err(TopicError::AlreadyExists { .. })));
    assert!(matches!(create("a_b", 1).await, Err(TopicError::Collides { .. })));
    assert!(matches!(create("", 1).await, Err(TopicError::InvalidName { .. })));
    assert!(matches!(create("a/b", 1).await, Err(TopicError::InvalidName { .. })));
    assert!(matches!(create(&"x".repeat(250), 1).await, Err(TopicError::InvalidName { .. })));
    assert!(matches!(create("zero", 0).await, Err(TopicError::InvalidPartitions { .. })));
    assert!(matches!(create("many", i32::MAX).await, Err(TopicError::InvalidPartitions { .. })));
    assert!(matches!(topics.create_partitions("a.b", 2).await, Err(TopicError::PartitionsNotGrown { .. })));
    assert!(matches!(topics.create_partitions("no", 2).await, Err(TopicError::Unknown { .. })));
    assert_eq!(topics.auto_create("a.b").await.unwrap().partitions, 2);
    assert_eq!(topics.auto_create("new").await.unwrap().partitions, 3);
}
