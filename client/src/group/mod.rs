//! Reading topics as a member of a consumer group (the classic protocol): the coordinator splits the partitions over the
//! members, positions are committed to it, and a member that leaves or dies hands its partitions on.
//!
//! What I own: membership, the split when this member leads, positions and their commits. [`crate::consumer`] does the fetching.
//! A record counts as processed once the *next* [`GroupConsumer::poll`] is called, or when the caller says so with
//! [`GroupConsumer::commit_offsets`]; only processed records are committed, so a crash repeats records but loses none.

pub mod assignor;
mod heartbeat;
mod membership;
pub mod protocol;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::admin::{Admin, CommittedOffset, PartitionOffset};
use crate::cluster::{AutoCreate, Client};
use crate::consumer::{
    Consumer, ConsumerConfig, ConsumerRecord, FetchedData, Opened, StartAt, TopicPartition, decode_records,
};
use crate::error::{ClientError, Result};
use heartbeat::{Heartbeat, Signal};
use membership::Membership;
use protocol::Assignment;

/// Settings of a [`GroupConsumer`].
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Name of the group.
    pub group: String,
    /// Static name of this member: it keeps its partitions over a restart within the session timeout.
    pub instance_id: Option<String>,
    /// How long the coordinator waits for a heartbeat before it gives the partitions away.
    pub session_timeout: Duration,
    /// How often to send one.
    pub heartbeat_interval: Duration,
    /// How long members may take to come back when the group rebalances, and the longest pause between two polls.
    pub rebalance_timeout: Duration,
    /// How often processed positions are committed; none: only on request, on rebalance and on leaving.
    pub commit_interval: Option<Duration>,
    /// How often to look for new partitions.
    pub metadata_interval: Duration,
    /// How to read. Its reset policy also says where a partition without a committed offset starts.
    pub consumer: ConsumerConfig,
}

impl GroupConfig {
    /// Defaults as in the Java client.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            commit_interval: Some(Duration::from_secs(5)),
            metadata_interval: Duration::from_secs(30),
            consumer: ConsumerConfig::default(),
        }
    }
}

/// The assignment of a new generation and what the group had committed.
type Joined = (Assignment, BTreeMap<(String, i32), CommittedOffset>);
type Joining = Pin<Box<dyn Future<Output = Result<Joined>> + Send>>;

/// A member of a consumer group.
pub struct GroupConsumer {
    client: Client,
    config: GroupConfig,
    topics: Vec<String>,
    consumer: Consumer,
    membership: Membership,
    /// A join under way. It lives here and not in `poll`, which may give up waiting for it.
    joining: Option<Joining>,
    heartbeat: Option<Heartbeat>,
    assigned: Assignment,
    /// Processed positions that are not committed yet.
    uncommitted: BTreeMap<TopicPartition, PartitionOffset>,
    /// Positions after the records handed out last.
    handed_out: BTreeMap<TopicPartition, PartitionOffset>,
    next_commit: Option<Instant>,
    next_metadata: Instant,
    rebalances: u64,
}

impl GroupConsumer {
    /// A member that joins on its first poll.
    pub fn new(client: Client, config: GroupConfig, topics: Vec<String>) -> Self {
        Self {
            consumer: Consumer::new(client.clone(), config.consumer.clone()),
            membership: Membership::new(client.clone(), &config),
            joining: None,
            heartbeat: None,
            assigned: Assignment::new(),
            uncommitted: BTreeMap::new(),
            handed_out: BTreeMap::new(),
            next_commit: None,
            next_metadata: Instant::now() + config.metadata_interval,
            rebalances: 0,
            client,
            config,
            topics,
        }
    }

    /// Asks for columns from now on, of brokers that have them.
    #[cfg(feature = "arrow")]
    pub(crate) fn set_columns(&mut self, query: std::sync::Arc<crate::consumer::ColumnQuery>) {
        self.consumer.set_columns(query);
    }

    #[cfg(feature = "arrow")]
    pub(crate) fn decode_options(&self) -> crate::consumer::DecodeOptions {
        self.consumer.decode_options()
    }

    /// The partitions this member reads now.
    pub fn assignment(&self) -> &Assignment {
        &self.assigned
    }

    /// How many times partitions were assigned to this member.
    pub fn rebalances(&self) -> u64 {
        self.rebalances
    }

    /// Positions as of the records handed out.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.consumer.positions()
    }

    /// Waits for records, at most for `limit`; joins, rejoins and commits as needed. May be dropped at any await point.
    pub async fn poll(&mut self, limit: Duration) -> Result<Vec<ConsumerRecord>> {
        let options = self.consumer.decode_options();
        let epoch = |record: &ConsumerRecord| record.leader_epoch;
        let opened = self.poll_with(limit, &mut |data| decode_records(data, &options), epoch).await?;
        Ok(opened.map_or_else(Vec::new, |opened| opened.items))
    }

    /// As [`poll`](Self::poll), with what was fetched opened by `open`; `epoch` tells the leader epoch of an item. Comes back early
    /// only with something for the caller.
    pub(crate) async fn poll_with<T>(
        &mut self,
        limit: Duration,
        open: &mut (dyn FnMut(&FetchedData) -> Result<Vec<T>> + Send),
        epoch: fn(&T) -> Option<i32>,
    ) -> Result<Option<Opened<T>>> {
        let deadline = Instant::now() + limit;
        self.uncommitted.append(&mut self.handed_out);
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.polled();
        }
        loop {
            self.check_heartbeat().await?;
            if self.heartbeat.is_none() {
                let left = deadline.saturating_duration_since(Instant::now());
                match tokio::time::timeout(left.max(Duration::from_millis(1)), self.join()).await {
                    Ok(joined) => joined?,
                    // Still joining; the next poll goes on waiting.
                    Err(_) => return Ok(None),
                }
            }
            self.commit_if_due().await;
            self.look_for_partitions().await?;
            let Some(heartbeat) = &self.heartbeat else { continue };
            let mut signals = heartbeat.signals();
            let left = deadline.saturating_duration_since(Instant::now());
            let left = self.next_commit.map_or(left, |next| left.min(next.saturating_duration_since(Instant::now())));
            tokio::select! {
                biased;
                _ = signals.wait_for(|signal| !matches!(signal, Signal::Member)) => {}
                opened = self.consumer.poll_with(left, open) => {
                    if let Some(opened) = opened? {
                        let leader_epoch = opened.items.last().and_then(epoch);
                        let position = PartitionOffset { offset: opened.after, leader_epoch };
                        // What followed the last item without being one (markers, rows that were filtered out) is passed too.
                        if !opened.items.is_empty() {
                            self.handed_out.insert(opened.key.clone(), position);
                            return Ok(Some(opened));
                        }
                        // All that was handed out before is processed, or this call would not have been made.
                        self.uncommitted.insert(opened.key, position);
                    }
                    if Instant::now() >= deadline {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes note of what the heartbeats heard.
    async fn check_heartbeat(&mut self) -> Result<()> {
        let signal = self.heartbeat.as_ref().map(Heartbeat::signal);
        match signal {
            None | Some(Signal::Member) => Ok(()),
            Some(Signal::Rebalance) => {
                // Still a member: what is processed can be committed before the partitions may move.
                self.commit_quietly().await;
                self.revoke();
                Ok(())
            }
            Some(Signal::Lost) => {
                tracing::warn!(group = %self.config.group, "this member was expelled from its group; joining again");
                self.membership.forget_member();
                self.uncommitted.clear();
                self.revoke();
                Ok(())
            }
            Some(Signal::Failed(error)) => {
                self.revoke();
                Err(error)
            }
        }
    }

    fn revoke(&mut self) {
        self.heartbeat = None;
        self.handed_out.clear();
        self.consumer.assign([]);
    }

    async fn join(&mut self) -> Result<()> {
        let joining = self.joining.get_or_insert_with(|| {
            let (membership, topics, owned) = (self.membership.clone(), self.topics.clone(), self.assigned.clone());
            let (admin, group) = (Admin::new(self.client.clone()), self.config.group.clone());
            Box::pin(async move {
                let assigned = membership.join(&topics, &owned).await?;
                Ok((assigned, admin.group_offsets(&group).await?))
            })
        });
        let joined = joining.await;
        self.joining = None;
        let (assigned, committed) = joined?;
        let fallback = self.config.consumer.reset.start();
        let mut starts = Vec::new();
        for (topic, partitions) in &assigned {
            let name: Arc<str> = Arc::from(topic.as_str());
            for &partition in partitions {
                let start = match committed.get(&(topic.clone(), partition)) {
                    Some(committed) => StartAt::Offset(committed.offset),
                    None => fallback.ok_or_else(|| ClientError::InvalidSetting {
                        setting: "reset",
                        value: "fail".into(),
                        reason: "the group has no committed offset for a partition",
                    })?,
                };
                starts.push(((name.clone(), partition), start));
            }
        }
        // No await since the join ended, so a dropped poll never leaves half an assignment.
        self.uncommitted.clear();
        self.consumer.assign(starts);
        self.assigned = assigned;
        self.rebalances += 1;
        self.next_commit = self.config.commit_interval.map(|interval| Instant::now() + interval);
        self.heartbeat = Some(Heartbeat::start(self.client.clone(), &self.config, self.membership.session()));
        Ok(())
    }

    /// The leader notices new partitions, and any member a topic that appeared; a rejoin spreads them.
    async fn look_for_partitions(&mut self) -> Result<()> {
        if !self.membership.is_leader() || Instant::now() < self.next_metadata {
            return Ok(());
        }
        self.next_metadata = Instant::now() + self.config.metadata_interval;
        let counts = membership::partition_counts(&self.client, &self.membership.group_topics()).await;
        match counts {
            Ok(counts) if counts != self.membership.partition_counts() => {
                self.commit_quietly().await;
                self.revoke();
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) if error.is_retriable() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn commit_if_due(&mut self) {
        if self.next_commit.is_some_and(|next| Instant::now() >= next) {
            self.next_commit = self.config.commit_interval.map(|interval| Instant::now() + interval);
            self.commit_quietly().await;
        }
    }

    async fn commit_quietly(&mut self) {
        if let Err(error) = self.commit().await {
            // What could not be committed stays due; at worst its records come twice.
            tracing::warn!(group = %self.config.group, %error, "committing offsets failed");
        }
    }

    /// Commits everything processed: all records handed out before the last poll.
    pub async fn commit(&mut self) -> Result<()> {
        if self.uncommitted.is_empty() {
            return Ok(());
        }
        let due = self.uncommitted.clone();
        self.membership.commit(&due).await?;
        self.uncommitted.retain(|partition, offset| due.get(partition) != Some(offset));
        Ok(())
    }

    /// Says which of the records handed out last are processed (the offset after the last one, by partition). They are
    /// committed with the next commit; the others come again, to whoever reads the partition next.
    pub fn mark_processed(&mut self, offsets: impl IntoIterator<Item = (TopicPartition, PartitionOffset)>) {
        self.handed_out.clear();
        self.uncommitted.extend(offsets);
    }

    /// Commits what is processed, leaves the group, and ends. Records handed out by the last poll count as processed
    /// unless [`mark_processed`](Self::mark_processed) said otherwise.
    pub async fn close(mut self) -> Result<()> {
        self.uncommitted.append(&mut self.handed_out);
        let committed = if self.membership.is_member() { self.commit().await } else { Ok(()) };
        self.heartbeat = None;
        self.joining = None;
        let left = self.membership.leave().await;
        committed.and(left)
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until the topics exist, so that a typo is an error and not an endless wait.
    pub async fn check_topics(&self) -> Result<()> {
        for topic in &self.topics {
            self.client.topic_info(topic, AutoCreate::Forbidden).await?;
        }
        Ok(())
    }
}
