//! What a reading would cost, asked before anything is read: a columnar fetch with MaxScanBytes 0, which weir answers with what
//! it would look at.

use bytes::BytesMut;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use weir_protocol::columnar::{
    ChangeTypes, ColumnarFetch, ColumnarResult, ColumnarTopic, FEATURE, ResultFormat, ScanOrder, TAG,
};

use super::TopicQuery;
use crate::admin::{Admin, Isolation, OffsetQuery};
use crate::cluster::AutoCreate;
use crate::connection::retrying;
use crate::error::{ClientError, Result};

/// First version that carries the question.
const COLUMNS_SINCE: i16 = 13;

impl TopicQuery {
    /// For each partition, from its beginning on, what would be read and skipped: the broker's JSON (segments, row groups,
    /// columns, bytes). Nothing is read.
    pub async fn explain(&self) -> Result<Vec<(i32, String)>> {
        let topic = self.client.fresh_topic(&self.topic, AutoCreate::Forbidden).await?;
        let wanted = |id: &i32| self.partitions.as_ref().is_none_or(|chosen| chosen.contains(id));
        let mut found = Vec::new();
        for partition in topic.partitions.iter().map(|partition| partition.id).filter(wanted) {
            let queries = [((self.topic.to_string(), partition), OffsetQuery::Earliest)].into();
            let starts = Admin::new(self.client.clone()).list_offsets(&queries, Isolation::ReadUncommitted).await?;
            let start = starts.into_values().next().and_then(|found| found.offset).unwrap_or(0);
            let asked = retrying(self.client.config(), || self.ask(partition, start)).await?;
            found.push((partition, asked));
        }
        Ok(found)
    }

    async fn ask(&self, partition: i32, start: i64) -> Result<String> {
        let topic = self.client.topic_info(&self.topic, AutoCreate::Forbidden).await?;
        let leader = self.client.leader(&self.topic, partition).await?;
        let connection = self.client.broker(leader).await?;
        let version = connection.version::<FetchRequest>()?;
        let refused =
            |reason| Err(ClientError::InvalidSetting { setting: "explain", value: self.topic.to_string(), reason });
        let id = topic.id.filter(|_| version >= COLUMNS_SINCE && connection.versions().feature(FEATURE).is_some());
        let Some(id) = id else { return refused("the broker serves no columns (feature weir.columnar)") };
        let fetch = ColumnarFetch {
            format: ResultFormat::ArrowIpc,
            codecs: self.query.codecs,
            order: ScanOrder::Offset,
            max_scan_bytes: Some(0),
            topics: vec![ColumnarTopic {
                topic_id: id,
                read_schema: None,
                projection: self.query.columns.clone(),
                predicate: self.query.predicate.as_ref().map(|text| text.clone().into()),
                change_types: ChangeTypes::ALL,
            }],
        };
        let mut tag = BytesMut::new();
        fetch.encode(&mut tag);
        let wanted = FetchPartition::default().with_partition(partition).with_fetch_offset(start);
        let wanted = wanted.with_partition_max_bytes(1 << 20);
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic_id(id).with_partitions(vec![wanted])])
            .with_unknown_tagged_fields([(TAG, tag.freeze())].into());
        let response = connection.call(|_| request).await?;
        connection.check::<FetchRequest>("", response.error_code, None)?;
        let answer = response.responses.iter().flat_map(|topic| &topic.partitions).next();
        let tag = answer.and_then(|answer| answer.unknown_tagged_fields.get(&TAG));
        let result = tag.and_then(|bytes| ColumnarResult::decode(bytes).ok());
        let message = result.and_then(|result| result.error_message);
        let code = answer.map_or(0, |answer| answer.error_code);
        connection.check::<FetchRequest>(&format!("{}-{partition}", self.topic), code, message.as_deref())?;
        message.map_or_else(|| refused("the broker does not tell"), Ok)
    }
}
