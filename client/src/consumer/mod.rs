//! Reading partitions by assignment: one fetch in flight per broker, long-polled, and the next one already under way while the
//! last one's records are handed out.
//!
//! What I own: positions, fetched bytes that are not yet handed out (at most about `fetch_bytes_max` beyond the response in
//! flight), where to start and where to go on when an offset is gone. What I never do: groups and commits
//! ([`crate::group`]). [`Consumer::poll`] may be dropped at any await point without losing or repeating a record; connecting and
//! looking up metadata then start over.

mod fetch;
mod position;
mod query;
mod record;

pub use position::{ResetPolicy, StartAt};
pub use record::{ConsumerRecord, RecordHeader};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_protocol::records::DecompressLimits;

use crate::admin::{Admin, Isolation};
use crate::cluster::Client;
use crate::error::{ClientError, Result};
use fetch::{Fetched, PartitionAnswer};
use position::PartitionState;
pub(crate) use query::ColumnQuery;
#[cfg(feature = "arrow")]
pub(crate) use record::corrupt;
use record::offset_after;
#[cfg(feature = "stock-kafka")]
pub(crate) use record::visible_batches;
pub(crate) use record::{DecodeOptions, FetchedData, decode_records};

/// Settings of a [`Consumer`].
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// How long a broker may hold a fetch back until `fetch_bytes_min` are there.
    pub fetch_wait_max: Duration,
    /// Bytes a broker should wait for.
    pub fetch_bytes_min: i32,
    /// Bytes of one response, roughly: its first batch is always whole.
    pub fetch_bytes_max: i32,
    /// Bytes of one partition in a response, roughly.
    pub partition_bytes_max: i32,
    /// Which records to see.
    pub isolation: Isolation,
    /// Where to go on when the position no longer exists.
    pub reset: ResetPolicy,
    /// Whether to compare each batch with its CRC.
    pub check_crcs: bool,
    /// How far to decompress one batch.
    pub decompress: DecompressLimits,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            fetch_wait_max: Duration::from_millis(500),
            fetch_bytes_min: 1,
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 1 << 20,
            isolation: Isolation::ReadUncommitted,
            reset: ResetPolicy::Earliest,
            check_crcs: true,
            decompress: DecompressLimits::default(),
        }
    }
}

/// A topic and a partition number.
pub type TopicPartition = (Arc<str>, i32);

/// Reads assigned partitions.
pub struct Consumer {
    client: Client,
    config: ConsumerConfig,
    partitions: BTreeMap<TopicPartition, PartitionState>,
    fetches: JoinSet<Fetched>,
    /// Brokers with a fetch in flight.
    busy: Vec<i32>,
    waiting: VecDeque<FetchedData>,
    waiting_bytes: usize,
    /// Counts assignments, so that answers to fetches of an earlier one are dropped.
    assignment: u64,
    /// When every attempt began to fail.
    failing_since: Option<Instant>,
    /// Columns to ask for instead of records.
    columns: Option<Arc<ColumnQuery>>,
    /// Schema version of the columns that came first, by topic. The rest is asked for in the same, so that a stream of
    /// columns keeps its schema.
    schemas: HashMap<Arc<str>, i32>,
}

/// One fetched piece, opened.
pub(crate) struct Opened<T> {
    pub(crate) key: TopicPartition,
    /// The offset after it.
    pub(crate) after: i64,
    pub(crate) items: Vec<T>,
}

impl Consumer {
    /// A consumer of nothing; see [`assign`](Self::assign).
    pub fn new(client: Client, config: ConsumerConfig) -> Self {
        Self {
            client,
            config,
            partitions: BTreeMap::new(),
            fetches: JoinSet::new(),
            busy: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            assignment: 0,
            failing_since: None,
            columns: None,
            schemas: HashMap::new(),
        }
    }

    /// Asks for columns from now on, of brokers that have them.
    #[cfg(feature = "arrow")]
    pub(crate) fn set_columns(&mut self, query: Arc<ColumnQuery>) {
        self.columns = Some(query);
    }

    /// Reads exactly these partitions from now on, each from its start. Replaces what was assigned before.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        self.assignment += 1;
        self.waiting.clear();
        self.waiting_bytes = 0;
        // Answers that are still under way carry the old number; their brokers may be asked again at once.
        self.fetches.abort_all();
        self.fetches = JoinSet::new();
        self.busy.clear();
        self.failing_since = None;
        let backoff = || {
            let config = self.client.config();
            crate::backoff::Backoff::new(config.retry_backoff, config.retry_backoff_max)
        };
        self.partitions = partitions
            .into_iter()
            .map(|(partition, start)| (partition, PartitionState::new(start, backoff())))
            .collect();
    }

    /// What is assigned.
    pub fn assigned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.keys()
    }

    /// The offset after the last record handed out, for each partition that has a known position.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        let known = self.partitions.iter().filter_map(|(partition, state)| Some((partition.clone(), state.position?)));
        known.collect()
    }

    /// The next offset the broker will write, as of the last answer.
    pub fn high_watermark(&self, partition: &TopicPartition) -> Option<i64> {
        self.partitions.get(partition)?.high_watermark
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for records, at most for `limit`; empty when there were none, or (early) when the position only moved past
    /// something that is not for the caller. Fails on errors that do not pass by
    /// themselves, and on others once they lasted for the client's `retry_timeout`.
    pub async fn poll(&mut self, limit: Duration) -> Result<Vec<ConsumerRecord>> {
        let options = self.decode_options();
        let opened = self.poll_with(limit, &mut |data| decode_records(data, &options)).await?;
        Ok(opened.map_or_else(Vec::new, |opened| opened.items))
    }

    pub(crate) fn decode_options(&self) -> DecodeOptions {
        DecodeOptions {
            isolation: self.config.isolation,
            check_crcs: self.config.check_crcs,
            limits: self.config.decompress,
        }
    }

    /// Fetches nothing of these partitions from these offsets on.
    #[cfg(feature = "arrow")]
    pub(crate) fn stop_at(&mut self, ends: &BTreeMap<TopicPartition, i64>) {
        for (partition, state) in &mut self.partitions {
            state.stop_at = ends.get(partition).copied();
        }
    }

    /// As [`poll`](Self::poll), with what was fetched opened by `open`; none when nothing came.
    pub(crate) async fn poll_with<T>(
        &mut self,
        limit: Duration,
        open: &mut (dyn FnMut(&FetchedData) -> Result<Vec<T>> + Send),
    ) -> Result<Option<Opened<T>>> {
        let deadline = Instant::now() + limit;
        loop {
            if !self.waiting.is_empty() && self.busy.is_empty() {
                self.start_fetches().await?;
                // Opening is work: on a runtime of one thread the request is to leave before that begins.
                tokio::task::yield_now().await;
            }
            if let Some(opened) = self.open_next(open)? {
                return Ok(Some(opened));
            }
            let now = Instant::now();
            self.partitions.values_mut().for_each(|state| state.resume(now));
            if let Err(error) = self.resolve_starts().await {
                self.tolerate(error)?;
            }
            self.start_fetches().await?;
            let wake = self.next_wake().map_or(deadline, |wake| wake.min(deadline));
            tokio::select! {
                finished = self.fetches.join_next(), if !self.fetches.is_empty() => {
                    if let Some(Ok(fetched)) = finished {
                        self.take_over(fetched)?;
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    if wake >= deadline {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Opens what was fetched next. It may hold no records for the caller and still move the position.
    fn open_next<T>(
        &mut self,
        open: &mut (dyn FnMut(&FetchedData) -> Result<Vec<T>> + Send),
    ) -> Result<Option<Opened<T>>> {
        if let Some(data) = self.waiting.pop_front() {
            self.waiting_bytes -= data.bytes.len();
            let opened = offset_after(&data).and_then(|after| Ok((after, open(&data)?)));
            let (after, items) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    self.stay_before(&data);
                    return Err(error);
                }
            };
            let key = (data.topic, data.partition);
            if let Some(state) = self.partitions.get_mut(&key) {
                state.position = Some(after);
            }
            return Ok(Some(Opened { key, after, items }));
        }
        Ok(None)
    }

    /// A batch that cannot be opened is not skipped: whoever polls again meets it again.
    fn stay_before(&mut self, data: &FetchedData) {
        let is_same = |other: &FetchedData| other.topic == data.topic && other.partition == data.partition;
        self.waiting.retain(|other| !is_same(other));
        self.waiting_bytes = self.waiting.iter().map(|other| other.bytes.len()).sum();
        if let Some(state) = self.partitions.get_mut(&(data.topic.clone(), data.partition)) {
            state.fetch_from = Some(data.from);
            state.pause();
        }
    }

    /// Turns starts like "the end" into offsets.
    async fn resolve_starts(&mut self) -> Result<()> {
        let due = self.partitions.iter().filter(|(_, state)| state.paused_until.is_none());
        let unresolved: BTreeMap<_, _> =
            due.filter_map(|(partition, state)| Some((partition.clone(), state.start?))).collect();
        if unresolved.is_empty() {
            return Ok(());
        }
        let admin = Admin::new(self.client.clone());
        match position::resolve(&admin, &unresolved, self.config.isolation).await {
            Ok(offsets) => {
                for (partition, offset) in offsets {
                    if let Some(state) = self.partitions.get_mut(&partition) {
                        state.begin_at(offset);
                    }
                }
                Ok(())
            }
            Err(error) => {
                for partition in unresolved.keys() {
                    if let Some(state) = self.partitions.get_mut(partition) {
                        state.pause();
                    }
                }
                Err(error)
            }
        }
    }

    /// Starts a fetch at every broker that leads a partition and has none in flight.
    async fn start_fetches(&mut self) -> Result<()> {
        if self.waiting_bytes >= usize::try_from(self.config.fetch_bytes_max).unwrap_or(0) {
            return Ok(());
        }
        let ready: Vec<TopicPartition> =
            self.partitions.iter().filter(|(_, state)| state.is_ready()).map(|(key, _)| key.clone()).collect();
        let mut by_leader: BTreeMap<i32, Vec<fetch::Wanted>> = BTreeMap::new();
        for key in ready {
            match fetch::locate(&self.client, &key).await {
                Ok(Some((leader, topic_id, leader_epoch))) => {
                    let Some(state) = self.partitions.get_mut(&key) else { continue };
                    if let Some(offset) = state.fetch_from.filter(|_| !self.busy.contains(&leader)) {
                        let read_schema = self.schemas.get(&key.0).copied();
                        let wanted = fetch::Wanted { key, topic_id, leader_epoch, offset, read_schema };
                        by_leader.entry(leader).or_default().push(wanted);
                    }
                }
                Ok(None) => self.pause(&key),
                Err(error) => {
                    self.pause(&key);
                    self.tolerate(error)?;
                }
            }
        }
        for (leader, wanted) in by_leader {
            self.busy.push(leader);
            let (client, config, assignment) = (self.client.clone(), self.config.clone(), self.assignment);
            let columns = self.columns.clone();
            self.fetches.spawn(async move {
                let answers = fetch::fetch(&client, &config, columns.as_deref(), leader, &wanted).await;
                Fetched { leader, assignment, wanted, answers }
            });
        }
        Ok(())
    }

    fn pause(&mut self, key: &TopicPartition) {
        if let Some(state) = self.partitions.get_mut(key) {
            state.pause();
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        self.partitions.values().filter_map(|state| state.paused_until).min()
    }

    /// Books an answer: bytes to open later, offsets to fetch next, errors to retry or to report.
    fn take_over(&mut self, fetched: Fetched) -> Result<()> {
        if fetched.assignment != self.assignment {
            return Ok(());
        }
        self.busy.retain(|leader| *leader != fetched.leader);
        let answers = match fetched.answers {
            Ok(answers) => answers,
            Err(error) => {
                for wanted in &fetched.wanted {
                    self.pause(&wanted.key);
                    self.client.forget_topic(&wanted.key.0);
                }
                return self.tolerate(error);
            }
        };
        self.failing_since = None;
        let mut failure = None;
        for answer in answers {
            let Some(wanted) = fetched.wanted.iter().find(|wanted| wanted.key == answer.key) else { continue };
            if let Err(error) = self.take_over_partition(wanted, answer) {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn take_over_partition(&mut self, wanted: &fetch::Wanted, answer: PartitionAnswer) -> Result<()> {
        let asked = wanted.offset;
        let Some(state) = self.partitions.get_mut(&answer.key) else { return Ok(()) };
        if state.fetch_from != Some(asked) {
            return Ok(());
        }
        if let Some(error) = answer.error {
            return self.partition_failed(&answer.key, error);
        }
        state.recovered();
        state.high_watermark = answer.high_watermark.or(state.high_watermark);
        if answer.bytes.is_empty() && answer.columnar.as_ref().is_none_or(|result| result.next_fetch_offset == asked) {
            return Ok(());
        }
        if let Some(result) = answer.columnar.as_ref().filter(|result| !result.batches.is_empty()) {
            let first = *self.schemas.entry(answer.key.0.clone()).or_insert(result.schema_id);
            if first != result.schema_id {
                // Asked before the first answer came: it is asked again, in the schema of that one.
                return match wanted.read_schema {
                    None => Ok(()),
                    Some(asked) => Err(ClientError::SchemaChanged {
                        topic: answer.key.0.to_string(),
                        partition: answer.key.1,
                        asked,
                        got: result.schema_id,
                    }),
                };
            }
        }
        let data = FetchedData {
            topic: answer.key.0.clone(),
            partition: answer.key.1,
            from: asked,
            bytes: answer.bytes,
            aborted: answer.aborted,
            columnar: answer.columnar,
        };
        let after = offset_after(&data)?;
        if after <= asked {
            // The same request again would bring the same bytes.
            let reason = match data.columnar {
                None => "the broker sent no whole batch; raise the fetch limits".to_owned(),
                Some(_) => format!("the broker's next offset is {after}, not behind the one asked for"),
            };
            let topic = data.topic.to_string();
            return Err(ClientError::CorruptBatch { topic, partition: data.partition, offset: asked, reason });
        }
        state.fetch_from = Some(after);
        self.waiting_bytes += data.bytes.len();
        self.waiting.push_back(data);
        Ok(())
    }

    fn partition_failed(&mut self, key: &TopicPartition, error: ClientError) -> Result<()> {
        let Some(state) = self.partitions.get_mut(key) else { return Ok(()) };
        if error.code() == Some(kafka_protocol::error::ResponseError::OffsetOutOfRange) {
            return match self.config.reset.start() {
                Some(start) => {
                    tracing::warn!(topic = %key.0, partition = key.1, ?start, "the position is gone; starting over");
                    state.restart(start);
                    Ok(())
                }
                None => Err(error),
            };
        }
        state.pause();
        if error.is_stale_metadata() {
            self.client.forget_topic(&key.0);
        }
        self.tolerate(error)
    }

    /// Passing errors are only reported once they lasted too long.
    fn tolerate(&mut self, error: ClientError) -> Result<()> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if !error.is_retriable() || since.elapsed() > self.client.config().retry_timeout {
            return Err(error);
        }
        tracing::debug!(%error, "fetching failed; trying again");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
