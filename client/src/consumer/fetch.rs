//! One Fetch request to one broker, and what its answer says about each partition. Sessionless: positions move with every
//! request, so a session would save little and cost state on both sides.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, FetchRequest, FetchResponse, TopicName};
use uuid::Uuid;
use weir_protocol::columnar::{ChangeTypes, ColumnarFetch, ColumnarResult, ColumnarTopic, ResultFormat, TAG};

use super::query::ColumnQuery;
use super::record::Aborted;
use super::{ConsumerConfig, TopicPartition};
use crate::admin::wire_text;
use crate::cluster::{AutoCreate, Client};
use crate::connection::Connection;
use crate::error::{ClientError, Result};

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// The feature of ApiVersions that says that tag 5700 is understood (protocol/COLUMNAR.md).
const COLUMNS_FEATURE: &str = "weir.columnar";

/// What to fetch for one partition.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) key: TopicPartition,
    pub(crate) topic_id: Option<Uuid>,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) offset: i64,
    /// Schema version that columns are asked for in; none is the current one.
    pub(crate) read_schema: Option<i32>,
}

/// What a broker answered for one partition.
#[derive(Debug)]
pub(crate) struct PartitionAnswer {
    pub(crate) key: TopicPartition,
    pub(crate) error: Option<ClientError>,
    pub(crate) high_watermark: Option<i64>,
    pub(crate) bytes: Bytes,
    pub(crate) aborted: Vec<Aborted>,
    pub(crate) columnar: Option<ColumnarResult>,
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
    let topic = client.topic_info(&key.0, AutoCreate::Forbidden).await?;
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
    columns: Option<&ColumnQuery>,
    leader: i32,
    wanted: &[Wanted],
) -> Result<Vec<PartitionAnswer>> {
    let connection = client.broker(leader).await?;
    let negotiated = connection.version::<FetchRequest>()?;
    // A topic that was described without an id can only be asked for by name.
    let by_name = wanted.iter().any(|wanted| wanted.topic_id.is_none());
    let version = if by_name { negotiated.min(TOPIC_IDS_FROM - 1) } else { negotiated };
    let mut request = request(config, wanted, version);
    // A broker that does not announce the feature would skip the tag and send rows, so it is spared the bytes.
    if let Some(query) = columns
        && version >= TOPIC_IDS_FROM
        && connection.versions().feature(COLUMNS_FEATURE).is_some_and(|range| range.min <= 1)
    {
        request.unknown_tagged_fields.insert(TAG, columnar_tag(query, wanted));
    }
    let limit = config.fetch_wait_max + client.config().request_timeout;
    let response = connection.submit(version, &request).await?.wait(limit).await?;
    connection.check::<FetchRequest>("", response.error_code, None)?;
    answers(&connection, version, response, wanted)
}

fn columnar_tag(query: &ColumnQuery, wanted: &[Wanted]) -> Bytes {
    let mut topics: BTreeMap<Uuid, Option<i32>> = BTreeMap::new();
    for wanted in wanted {
        topics.entry(wanted.topic_id.unwrap_or_default()).or_insert(wanted.read_schema);
    }
    let topics = topics.into_iter().map(|(topic_id, read_schema)| ColumnarTopic {
        topic_id,
        // An untyped topic has no schema to name.
        read_schema: read_schema.filter(|id| *id != 0),
        projection: query.columns.clone(),
        predicate: query.predicate.as_ref().map(|text| Bytes::copy_from_slice(text.as_bytes())),
        change_types: ChangeTypes::ALL,
    });
    let fetch = ColumnarFetch {
        format: ResultFormat::ArrowIpc,
        codecs: query.codecs,
        order: query.order,
        max_scan_bytes: query.max_scan_bytes,
        topics: topics.collect(),
    };
    let mut tag = BytesMut::new();
    fetch.encode(&mut tag);
    tag.freeze()
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

fn answers(
    connection: &Connection,
    version: i16,
    response: FetchResponse,
    wanted: &[Wanted],
) -> Result<Vec<PartitionAnswer>> {
    let mut answers = Vec::new();
    for topic in response.responses {
        let is_topic = |wanted: &&Wanted| match topic.topic_id.is_nil() {
            true => *wanted.key.0 == **topic.topic,
            false => wanted.topic_id == Some(topic.topic_id),
        };
        let Some(name) = wanted.iter().find(is_topic).map(|wanted| wanted.key.0.clone()) else { continue };
        for partition in topic.partitions {
            answers.push(answer(connection, version, (name.clone(), partition.partition_index), partition)?);
        }
    }
    Ok(answers)
}

fn answer(
    connection: &Connection,
    version: i16,
    key: TopicPartition,
    partition: PartitionData,
) -> Result<PartitionAnswer> {
    let columnar = partition.unknown_tagged_fields.get(&TAG).map(|tag| ColumnarResult::decode(tag)).transpose();
    let columnar = columnar.map_err(|error| ClientError::Malformed {
        broker: connection.broker().to_owned(),
        api: ApiKey::Fetch,
        version,
        reason: format!("tag {TAG}: {error}"),
    })?;
    let subject = format!("{}-{}", key.0, key.1);
    let detail = columnar.as_ref().and_then(|result| result.error_message.as_deref());
    let aborted = partition.aborted_transactions.unwrap_or_default();
    Ok(PartitionAnswer {
        error: connection.check::<FetchRequest>(&subject, partition.error_code, detail).err(),
        high_watermark: (partition.high_watermark >= 0).then_some(partition.high_watermark),
        bytes: partition.records.unwrap_or_default(),
        aborted: aborted
            .iter()
            .map(|found| Aborted { producer_id: found.producer_id.0, first_offset: found.first_offset })
            .collect(),
        columnar,
        key,
    })
}
