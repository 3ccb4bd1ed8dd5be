//! One Fetch request to one broker, and what its answer says about each partition. Sessionless: positions move with every
//! request, so a session would save little and cost state on both sides.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use uuid::Uuid;

use super::record::Aborted;
use super::{ConsumerConfig, TopicPartition};
use crate::admin::wire_text;
use crate::cluster::{AutoCreate, Client};
use crate::connection::Connection;
use crate::error::{ClientError, Result};

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

/// What to fetch for one partition.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) key: TopicPartition,
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) offset: i64,
}

/// What a broker answered for one partition.
#[derive(Debug)]
pub(crate) struct PartitionAnswer {
    pub(crate) key: TopicPartition,
    pub(crate) error: Option<ClientError>,
    pub(crate) high_watermark: Option<i64>,
    pub(crate) bytes: Bytes,
    pub(crate) aborted: Vec<Aborted>,
}

/// A finished fetch with the question it answers.
pub(crate) struct Fetched {
    pub(crate) leader: i32,
    pub(crate) assignment: u64,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) answers: Result<Vec<PartitionAnswer>>,
}

/// Leader, topic id and leader epoch of a partition; none while it has no leader.
pub(crate) async fn locate(client: &Client, key: &TopicPartition) -> Result<Option<(i32, Option<Uuid>, Option<i32>)>> {
    let topic = client.topic(&key.0, AutoCreate::Forbidden).await?;
    let Some(partition) = topic.partition(key.1) else {
        let partitions = topic.partitions.len();
        return Err(ClientError::UnknownPartition { topic: key.0.to_string(), partition: key.1, partitions });
    };
    match partition.leader {
        Some(leader) => Ok(Some((leader, topic.id, partition.leader_epoch))),
        None => {
            client.forget_topic(&key.0);
            Ok(None)
        }
    }
}

/// Fetches and waits.
pub(crate) async fn fetch(
    client: &Client,
    config: &ConsumerConfig,
    leader: i32,
    wanted: &[Wanted],
) -> Result<Vec<PartitionAnswer>> {
    let connection = client.broker(leader).await?;
    let negotiated = connection.version::<FetchRequest>()?;
    // A topic that was described without an id can only be asked for by name.
    let by_name = wanted.iter().any(|wanted| wanted.topic_id.is_none());
    let version = if by_name { negotiated.min(TOPIC_IDS_FROM - 1) } else { negotiated };
    let request = request(config, wanted, version);
    let limit = config.fetch_wait_max + client.config().request_timeout;
    let response = connection.submit(version, &request).await?.wait(limit).await?;
    connection.check::<FetchRequest>("", response.error_code, None)?;
    Ok(answers(&connection, response, wanted))
}

fn request(config: &ConsumerConfig, wanted: &[Wanted], version: i16) -> FetchRequest {
    let mut topics: BTreeMap<&str, FetchTopic> = BTreeMap::new();
    for wanted in wanted {
        let topic = topics.entry(&wanted.key.0).or_insert_with(|| {
            FetchTopic::default()
                .with_topic(TopicName(wire_text(&wanted.key.0)))
                .with_topic_id(wanted.topic_id.unwrap_or_default())
        });
        topic.partitions.push(
            FetchPartition::default()
                .with_partition(wanted.key.1)
                .with_current_leader_epoch(wanted.leader_epoch.unwrap_or(-1))
                .with_fetch_offset(wanted.offset)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(config.partition_bytes_max),
        );
    }
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(milliseconds(config.fetch_wait_max))
        .with_min_bytes(config.fetch_bytes_min)
        .with_max_bytes(config.fetch_bytes_max)
        .with_isolation_level(config.isolation.wire())
        .with_topics(topics.into_values().collect());
    // No session: id 0 with the final epoch.
    if version >= 7 { request.with_session_id(0).with_session_epoch(-1) } else { request }
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn answers(connection: &Connection, response: FetchResponse, wanted: &[Wanted]) -> Vec<PartitionAnswer> {
    let mut answers = Vec::new();
    for topic in response.responses {
        let is_topic = |wanted: &&Wanted| match topic.topic_id.is_nil() {
            true => *wanted.key.0 == **topic.topic,
            false => wanted.topic_id == Some(topic.topic_id),
        };
        let Some(name) = wanted.iter().find(is_topic).map(|wanted| wanted.key.0.clone()) else { continue };
        for partition in topic.partitions {
            answers.push(answer(connection, (name.clone(), partition.partition_index), partition));
        }
    }
    answers
}

fn answer(connection: &Connection, key: TopicPartition, partition: PartitionData) -> PartitionAnswer {
    let subject = format!("{}-{}", key.0, key.1);
    let aborted = partition.aborted_transactions.unwrap_or_default();
    PartitionAnswer {
        error: connection.check::<FetchRequest>(&subject, partition.error_code, None).err(),
        high_watermark: (partition.high_watermark >= 0).then_some(partition.high_watermark),
        bytes: partition.records.unwrap_or_default(),
        aborted: aborted
            .iter()
            .map(|found| Aborted { producer_id: found.producer_id.0, first_offset: found.first_offset })
            .collect(),
        key,
    }
}
