//! What the client knows of the cluster: brokers, topics, leaders. Pure data; [`crate::cluster`] fetches and ages it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use uuid::Uuid;

use crate::config::BrokerAddress;

/// One broker as the cluster advertises it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its id.
    pub id: i32,
    /// Where clients reach it.
    pub address: BrokerAddress,
    /// Its rack or zone, if it has one.
    pub rack: Option<String>,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub id: i32,
    /// The broker that serves it; none while there is no leader.
    pub leader: Option<i32>,
    /// Epoch of that leader, if the broker tells.
    pub leader_epoch: Option<i32>,
    /// Brokers that hold a replica.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub in_sync: Vec<i32>,
    /// Those of them that are down.
    pub offline: Vec<i32>,
    /// What keeps the partition from being served.
    pub error: Option<ResponseError>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id, if the broker speaks of ids (Metadata v10).
    pub id: Option<Uuid>,
    /// Whether the cluster keeps it for itself.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicInfo {
    /// A partition by its number.
    pub fn partition(&self, id: i32) -> Option<&PartitionInfo> {
        self.partitions.binary_search_by_key(&id, |partition| partition.id).ok().map(|at| &self.partitions[at])
    }
}

/// Everything known of the cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct ClusterMetadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The broker that takes admin requests.
    pub controller: Option<i32>,
    /// Brokers by id.
    pub brokers: BTreeMap<i32, BrokerInfo>,
    topics: HashMap<String, (Arc<TopicInfo>, Instant)>,
    names: HashMap<Uuid, String>,
}

/// A topic that the cluster could not describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRefusal {
    /// Its name, empty if the broker did not repeat it.
    pub name: String,
    /// Kafka's reason.
    pub code: ResponseError,
}

impl ClusterMetadata {
    /// A cached topic that is not older than `oldest`.
    pub fn topic(&self, name: &str, oldest: Option<Instant>) -> Option<&Arc<TopicInfo>> {
        let (topic, fetched) = self.topics.get(name)?;
        oldest.is_none_or(|oldest| *fetched >= oldest).then_some(topic)
    }

    /// The name of a topic id seen before.
    pub fn topic_name(&self, id: Uuid) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// All cached topics, unordered.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicInfo>> {
        self.topics.values().map(|(topic, _)| topic)
    }

    /// Takes a response over. Topics it does not mention stay, unless it lists all (`complete`). Returns those refused.
    pub fn merge(&mut self, response: &MetadataResponse, complete: bool, now: Instant) -> Vec<TopicRefusal> {
        if complete {
            self.topics.clear();
            self.names.clear();
        }
        self.cluster_id = response.cluster_id.as_deref().map(str::to_owned).or(self.cluster_id.take());
        self.controller = known_id(response.controller_id.0);
        self.brokers = response
            .brokers
            .iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                let info = BrokerInfo {
                    id: broker.node_id.0,
                    address: BrokerAddress { host: broker.host.to_string(), port },
                    rack: broker.rack.as_deref().map(str::to_owned),
                };
                Some((info.id, info))
            })
            .collect();
        let mut refused = Vec::new();
        for topic in &response.topics {
            let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
            match ResponseError::try_from_code(topic.error_code) {
                // A topic whose partitions are still being led is described nevertheless.
                None | Some(ResponseError::LeaderNotAvailable) if !topic.partitions.is_empty() => {
                    self.insert(topic_info(name, topic), now);
                }
                code => {
                    self.forget(&name);
                    let code = code.unwrap_or(ResponseError::LeaderNotAvailable);
                    refused.push(TopicRefusal { name, code });
                }
            }
        }
        refused
    }

    fn insert(&mut self, topic: TopicInfo, now: Instant) {
        self.forget(&topic.name);
        if let Some(id) = topic.id {
            self.names.insert(id, topic.name.clone());
        }
        self.topics.insert(topic.name.clone(), (Arc::new(topic), now));
    }

    /// Drops a topic, so that the next use asks again.
    pub fn forget(&mut self, name: &str) {
        if let Some((topic, _)) = self.topics.remove(name)
            && let Some(id) = topic.id
        {
            self.names.remove(&id);
        }
    }
}

fn topic_info(name: String, topic: &MetadataResponseTopic) -> TopicInfo {
    let mut partitions: Vec<_> = topic.partitions.iter().map(partition_info).collect();
    partitions.sort_by_key(|partition| partition.id);
    TopicInfo {
        name,
        id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
        internal: topic.is_internal,
        partitions,
    }
}

fn partition_info(partition: &MetadataResponsePartition) -> PartitionInfo {
    let ids = |nodes: &[kafka_protocol::messages::BrokerId]| nodes.iter().map(|id| id.0).collect();
    PartitionInfo {
        id: partition.partition_index,
        leader: known_id(partition.leader_id.0),
        leader_epoch: known_id(partition.leader_epoch),
        replicas: ids(&partition.replica_nodes),
        in_sync: ids(&partition.isr_nodes),
        offline: ids(&partition.offline_replicas),
        error: ResponseError::try_from_code(partition.error_code),
    }
}

fn known_id(id: i32) -> Option<i32> {
    (id >= 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn response(topics: &[(&'static str, i16, Uuid)]) -> MetadataResponse {
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(1))
            .with_host(StrBytes::from_static_str("one"))
            .with_port(9092);
        let topics = topics.iter().map(|&(name, code, id)| {
            let partitions = [1, 0].map(|id| MetadataResponsePartition::default().with_partition_index(id)).to_vec();
            MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_static_str(name))))
                .with_error_code(code)
                .with_topic_id(id)
                .with_partitions(if code == 0 { partitions } else { Vec::new() })
        });
        MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics.collect())
    }

    #[test]
    fn a_partial_answer_keeps_other_topics_and_a_complete_one_does_not() {
        let (now, mut metadata) = (Instant::now(), ClusterMetadata::default());
        metadata.merge(&response(&[("a", 0, Uuid::from_u128(1))]), false, now);
        metadata.merge(&response(&[("b", 0, Uuid::nil())]), false, now);
        assert!(metadata.topic("a", None).is_some() && metadata.topic("b", None).is_some());
        assert_eq!(metadata.topic("a", None).unwrap().partitions[0].id, 0);
        assert_eq!(metadata.topic_name(Uuid::from_u128(1)), Some("a"));
        metadata.merge(&response(&[("b", 0, Uuid::nil())]), true, now);
        assert!(metadata.topic("a", None).is_none() && metadata.topic_name(Uuid::from_u128(1)).is_none());
    }

    #[test]
    fn a_refused_topic_is_reported_and_forgotten() {
        let (now, mut metadata) = (Instant::now(), ClusterMetadata::default());
        metadata.merge(&response(&[("a", 0, Uuid::nil())]), false, now);
        let refused = metadata.merge(&response(&[("a", 3, Uuid::nil())]), false, now);
        assert_eq!(refused, [TopicRefusal { name: "a".into(), code: ResponseError::UnknownTopicOrPartition }]);
        assert!(metadata.topic("a", None).is_none());
    }

    #[test]
    fn a_recreated_topic_replaces_its_old_id() {
        let (now, mut metadata) = (Instant::now(), ClusterMetadata::default());
        metadata.merge(&response(&[("a", 0, Uuid::from_u128(1))]), false, now);
        metadata.merge(&response(&[("a", 0, Uuid::from_u128(2))]), false, now);
        assert_eq!(metadata.topic_name(Uuid::from_u128(1)), None);
        assert_eq!(metadata.topic_name(Uuid::from_u128(2)), Some("a"));
    }

    #[test]
    fn age_is_judged_by_the_caller() {
        let (now, mut metadata) = (Instant::now(), ClusterMetadata::default());
        metadata.merge(&response(&[("a", 0, Uuid::nil())]), false, now);
        assert!(metadata.topic("a", Some(now)).is_some());
        assert!(metadata.topic("a", Some(now + Duration::from_secs(1))).is_none());
    }
}
