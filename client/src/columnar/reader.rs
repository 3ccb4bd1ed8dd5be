//! Batches on demand, of assigned partitions or of those a group gives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_protocol::columnar::ScanOrder;

use super::open::Opener;
use super::query::{ReadUntil, TopicQuery};
use super::statistics::Counters;
use super::{ColumnBatch, ReadStatistics};
use crate::admin::{Admin, OffsetQuery, PartitionOffset};
use crate::cluster::{AutoCreate, Client};
use crate::consumer::{Consumer, ConsumerConfig, TopicPartition};
use crate::error::{ClientError, Result};
use crate::group::{GroupConfig, GroupConsumer, protocol::Assignment};

/// Reads the columns of one topic. [`ColumnReader::poll`] may be dropped at any await point without losing or repeating a row.
pub struct ColumnReader {
    query: TopicQuery,
    consumer: Consumer,
    opener: Opener,
    /// Where each partition begins and where to stop; none before the first poll.
    span: Option<Span>,
}

#[derive(Debug, Default)]
struct Span {
    partitions: Vec<TopicPartition>,
    /// Empty for a reading without end.
    ends: BTreeMap<TopicPartition, i64>,
}

impl ColumnReader {
    pub(crate) fn new(query: TopicQuery) -> Self {
        let columns = Arc::new(query.query.clone());
        let mut consumer = Consumer::new(query.client.clone(), query.config.clone());
        if !query.on_this_side {
            consumer.set_columns(columns.clone());
        }
        let opener = Opener::new(columns, consumer.decode_options(), query.decoded_bytes_max);
        Self { query, consumer, opener, span: None }
    }

    /// Waits for rows, at most for `limit`; empty when there were none, and at the end. Errors are those of
    /// [`Consumer::poll`], and those of the query: columns or a predicate that cannot be used.
    pub async fn poll(&mut self, limit: Duration) -> Result<Vec<ColumnBatch>> {
        let deadline = Instant::now() + limit;
        self.begin().await?;
        while !self.is_at_end() {
            let left = deadline.saturating_duration_since(Instant::now());
            let opener = &mut self.opener;
            let Some(opened) = self.consumer.poll_with(left, &mut |data| opener.open(data)).await? else {
                return Ok(Vec::new());
            };
            let end = self.span.as_ref().and_then(|span| span.ends.get(&opened.key)).copied().unwrap_or(i64::MAX);
            let wanted = opened.items.into_iter().map(|batch| batch.until(end));
            let batches: Vec<ColumnBatch> = wanted.filter(|batch| batch.rows.num_rows() > 0).collect();
            if !batches.is_empty() {
                return Ok(batches);
            }
        }
        Ok(Vec::new())
    }

    /// Looks up partitions and ends, once.
    pub async fn begin(&mut self) -> Result<()> {
        if self.span.is_some() {
            return Ok(());
        }
        let span = span(&self.query).await?;
        let start = self.query.start;
        self.consumer.assign(span.partitions.iter().map(|partition| (partition.clone(), start)));
        self.consumer.stop_at(&span.ends);
        self.span = Some(span);
        Ok(())
    }

    /// Whether everything up to the end was taken. Never true for a reading without end.
    pub fn is_at_end(&self) -> bool {
        let Some(span) = &self.span else { return false };
        if self.query.until == ReadUntil::Forever {
            return false;
        }
        let positions = self.consumer.positions();
        span.partitions.iter().all(|partition| match (span.ends.get(partition), positions.get(partition)) {
            (Some(end), Some(position)) => position >= end,
            (None, _) | (Some(_), None) => false,
        })
    }

    /// The offset to read on from, of each partition that has a known position; it covers rows that did not match.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.consumer.positions()
    }

    /// Where each partition is read to; empty for a reading without end and before it began.
    pub fn ends(&self) -> BTreeMap<TopicPartition, i64> {
        self.span.as_ref().map(|span| span.ends.clone()).unwrap_or_default()
    }

    /// What the reading cost so far.
    pub fn statistics(&self) -> ReadStatistics {
        self.opener.counters().sums()
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.opener.counters().clone()
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        self.consumer.client()
    }
}

async fn span(query: &TopicQuery) -> Result<Span> {
    let info = query.client.topic_info(&query.topic, AutoCreate::Forbidden).await?;
    for &partition in query.partitions.iter().flatten() {
        if info.partition(partition).is_none() {
            let (topic, partitions) = (query.topic.to_string(), info.partitions.len());
            return Err(ClientError::UnknownPartition { topic, partition, partitions });
        }
    }
    let is_wanted = |id: &i32| query.partitions.as_ref().is_none_or(|wanted| wanted.contains(id));
    let ids = info.partitions.iter().map(|partition| partition.id).filter(is_wanted);
    let partitions: Vec<TopicPartition> = ids.map(|id| (query.topic.clone(), id)).collect();
    let ends = match query.until {
        ReadUntil::Forever => BTreeMap::new(),
        ReadUntil::End => offsets(query, &partitions, OffsetQuery::Latest).await?,
        ReadUntil::Offset(offset) => {
            let mut ends = offsets(query, &partitions, OffsetQuery::Latest).await?;
            ends.values_mut().for_each(|end| *end = offset.min(*end));
            ends
        }
        ReadUntil::Timestamp(milliseconds) => {
            let mut ends = offsets(query, &partitions, OffsetQuery::Latest).await?;
            // No row that late: the end stays.
            ends.extend(offsets(query, &partitions, OffsetQuery::Timestamp(milliseconds)).await?);
            ends
        }
    };
    Ok(Span { partitions, ends })
}

async fn offsets(
    query: &TopicQuery,
    partitions: &[TopicPartition],
    wanted: OffsetQuery,
) -> Result<BTreeMap<TopicPartition, i64>> {
    let queries = partitions.iter().map(|(topic, id)| ((topic.to_string(), *id), wanted)).collect();
    let listed = Admin::new(query.client.clone()).list_offsets(&queries, query.config.isolation).await?;
    let known = listed.into_iter().filter_map(|((_, id), listed)| Some(((query.topic.clone(), id), listed.offset?)));
    Ok(known.collect())
}

/// Reads the columns of one topic as a member of a consumer group. Batches count as processed, and are committed, once the next
/// poll is called, as with [`GroupConsumer`]; ranges in which nothing matched are committed too.
pub struct GroupColumnReader {
    consumer: GroupConsumer,
    opener: Opener,
    /// Offsets of rows say nothing of what is processed; only whole answers do.
    in_windows: bool,
}

impl GroupColumnReader {
    pub(crate) fn new(query: TopicQuery, group: GroupConfig) -> Self {
        let columns = Arc::new(query.query.clone());
        let group =
            GroupConfig { consumer: ConsumerConfig { reset: group.consumer.reset, ..query.config.clone() }, ..group };
        let mut consumer = GroupConsumer::new(query.client.clone(), group, vec![query.topic.to_string()]);
        if !query.on_this_side {
            consumer.set_columns(columns.clone());
        }
        let opener = Opener::new(columns, consumer.decode_options(), query.decoded_bytes_max);
        Self { consumer, opener, in_windows: query.query.order == ScanOrder::Window }
    }

    /// Waits for rows, at most for `limit`; joins, rejoins and commits as needed.
    pub async fn poll(&mut self, limit: Duration) -> Result<Vec<ColumnBatch>> {
        let opener = &mut self.opener;
        let opened = self.consumer.poll_with(limit, &mut |data| opener.open(data), |_| None).await?;
        Ok(opened.map_or_else(Vec::new, |opened| opened.items))
    }

    /// The partitions this member reads now.
    pub fn assignment(&self) -> &Assignment {
        self.consumer.assignment()
    }

    /// How many times partitions were assigned to this member.
    pub fn rebalances(&self) -> u64 {
        self.consumer.rebalances()
    }

    /// Positions as of the batches handed out.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.consumer.positions()
    }

    /// Commits everything processed: all batches handed out before the last poll.
    pub async fn commit(&mut self) -> Result<()> {
        self.consumer.commit().await
    }

    /// Says how far the batches handed out last are processed: the offset after the last such row, by partition.
    /// [In windows](TopicQuery::in_windows) an offset does not say that: nothing happens, and the next poll says it of all of them.
    pub fn mark_processed(&mut self, offsets: impl IntoIterator<Item = (TopicPartition, i64)>) {
        if self.in_windows {
            return;
        }
        let offsets = offsets.into_iter();
        let positions = offsets.map(|(key, offset)| (key, PartitionOffset { offset, leader_epoch: None }));
        self.consumer.mark_processed(positions);
    }

    /// Commits what is processed, leaves the group, and ends.
    pub async fn close(self) -> Result<()> {
        self.consumer.close().await
    }

    /// What the reading cost so far.
    pub fn statistics(&self) -> ReadStatistics {
        self.opener.counters().sums()
    }
}
