//! What a scenario works with.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, GroupId, MetadataRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use serde_json::Value;
use uuid::Uuid;

use super::normalise::Normaliser;
use super::wire::{Outcome, Wire};
use super::{Step, tree};

/// The state of one running scenario.
pub struct Ctx {
    bootstrap: String,
    prefix: String,
    wire: Wire,
    normaliser: Normaliser,
    steps: Vec<Step>,
    settle: Duration,
}

impl Ctx {
    pub async fn new(bootstrap: &str, prefix: &str, settle: Duration) -> anyhow::Result<Ctx> {
        Ok(Ctx {
            bootstrap: bootstrap.to_owned(),
            prefix: prefix.to_owned(),
            wire: Wire::connect(bootstrap).await?,
            normaliser: Normaliser::new(prefix),
            steps: Vec::new(),
            settle,
        })
    }

    pub fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// What every name of this scenario begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A topic or group name that only this scenario of this run uses.
    pub fn name(&self, suffix: &str) -> StrBytes {
        StrBytes::from_string(format!("{}.{suffix}", self.prefix))
    }

    /// [`Ctx::name`] as a topic.
    pub fn topic(&self, suffix: &str) -> TopicName {
        TopicName(self.name(suffix))
    }

    /// [`Ctx::name`] as a group.
    pub fn group(&self, suffix: &str) -> GroupId {
        GroupId(self.name(suffix))
    }

    /// Gives Apache Kafka the time to apply a change after it has answered. Weir has none to need.
    pub async fn settle(&self) {
        tokio::time::sleep(self.settle).await;
    }

    /// What [`Ctx::settle`] waits.
    pub fn pause(&self) -> Duration {
        self.settle
    }

    /// Another connection, for what must happen at the same time.
    pub async fn connect(&self) -> anyhow::Result<Wire> {
        Wire::connect(&self.bootstrap).await
    }

    /// A new connection in place of this scenario's own, after the broker has closed that one.
    pub async fn reconnect(&mut self) -> anyhow::Result<()> {
        self.wire = self.connect().await?;
        Ok(())
    }

    /// This scenario's own connection.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Sends a request, records its answer, and returns it; a closed connection breaks the scenario off.
    pub async fn call<R: Request>(&mut self, label: &str, version: i16, request: &R) -> anyhow::Result<R::Response>
    where
        R::Response: std::fmt::Debug,
    {
        self.call_where(label, version, request, |_| {}).await
    }

    /// Like [`Ctx::call`]; `keep` cuts from the recorded answer what is not this scenario's.
    pub async fn call_where<R: Request>(
        &mut self,
        label: &str,
        version: i16,
        request: &R,
        keep: impl FnOnce(&mut Value),
    ) -> anyhow::Result<R::Response>
    where
        R::Response: std::fmt::Debug,
    {
        let name = step_name::<R>(label, version);
        let answer = self.quiet(version, request).await.with_context(|| name.clone())?;
        let mut value = tree::of(&answer)?;
        keep(&mut value);
        self.record(name, value);
        Ok(answer)
    }

    /// Sends a request and records its answer or that the connection was closed; then this scenario's connection is new.
    pub async fn call_or_close<R: Request>(&mut self, label: &str, version: i16, request: &R) -> anyhow::Result<()>
    where
        R::Response: std::fmt::Debug,
    {
        let name = step_name::<R>(label, version);
        match self.wire.call(version, request).await.with_context(|| name.clone())? {
            Outcome::Answer(answer) => self.record(name, tree::of(&answer)?),
            Outcome::Closed => {
                self.record(name, "closed".into());
                self.reconnect().await?;
            }
        }
        Ok(())
    }

    /// Sends a request whose answer is not recorded (preparations).
    pub async fn quiet<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response> {
        match self.wire.call(version, request).await? {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Closed => bail!("the broker closed the connection instead of answering"),
        }
    }

    /// Records something that a scenario has found out by itself.
    pub fn record(&mut self, step: String, value: Value) {
        let answer = self.normaliser.apply(value);
        self.steps.push(Step { step, answer });
    }

    /// Records an answer that came on another connection.
    pub fn record_answer<R: Request>(&mut self, label: &str, version: i16, answer: &R::Response) -> anyhow::Result<()>
    where
        R::Response: std::fmt::Debug,
    {
        self.record(step_name::<R>(label, version), tree::of(answer)?);
        Ok(())
    }

    /// Creates a topic, waits until it is served, and returns its id. The records are of 2013, so retention is off.
    pub async fn create(
        &mut self,
        suffix: &str,
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) -> anyhow::Result<Uuid> {
        let name = self.topic(suffix);
        self.create_named(&name, partitions, configs).await
    }

    /// [`Ctx::create`] for a whole name.
    pub async fn create_named(
        &mut self,
        name: &TopicName,
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) -> anyhow::Result<Uuid> {
        let configs = [("retention.ms", "-1")]
            .iter()
            .chain(configs)
            .map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_static_str(name))
                    .with_value(Some(StrBytes::from_static_str(value)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(name.clone())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let answer = self.quiet(5, &request).await?;
        let code = answer.topics.first().map_or(-1, |topic| topic.error_code);
        if code != 0 {
            bail!("creating {name:?}: error {code}");
        }
        for _ in 0..200 {
            if let Some((id, leaders)) = self.metadata_of(name).await?
                && leaders.len() == usize::try_from(partitions)?
            {
                return Ok(id);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{name:?} has no leaders 4 s after its creation")
    }

    /// A topic's id and the leader epochs of its partitions; none while a partition has no leader.
    pub async fn metadata_of(&mut self, name: &TopicName) -> anyhow::Result<Option<(Uuid, Vec<i32>)>> {
        let topic = MetadataRequestTopic::default().with_name(Some(name.clone()));
        let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
        let answer = self.quiet(12, &request).await?;
        Ok(answer
            .topics
            .into_iter()
            .next()
            .filter(|topic| topic.error_code == 0 && topic.partitions.iter().all(|p| p.error_code == 0))
            .map(|topic| (topic.topic_id, topic.partitions.iter().map(|p| p.leader_epoch).collect())))
    }

    /// Produces one batch, unrecorded; an error breaks the scenario off.
    ///
    /// A partition that was created a moment ago may not be served yet (Kafka hands it to its log asynchronously), so
    /// UNKNOWN_TOPIC_OR_PARTITION and NOT_LEADER_OR_FOLLOWER are tried again.
    pub async fn seed(&mut self, suffix: &str, partition: i32, batch: Bytes) -> anyhow::Result<i64> {
        let name = self.topic(suffix);
        let request = produce(-1, &name, Uuid::nil(), partition, Some(batch));
        for _ in 0..100 {
            let answer = self.quiet(9, &request).await?;
            let partition = answer
                .responses
                .first()
                .and_then(|topic| topic.partition_responses.first())
                .context("an answer without a partition")?;
            match partition.error_code {
                0 => return Ok(partition.base_offset),
                3 | 6 => tokio::time::sleep(Duration::from_millis(20)).await,
                code => bail!("producing to {name:?}: error {code}"),
            }
        }
        bail!("{name:?} takes no records 2 s after its creation")
    }
}

/// A produce request for one partition; from v13 on the id names the topic, before that its name.
pub fn produce(acks: i16, name: &TopicName, id: Uuid, partition: i32, records: Option<Bytes>) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(records);
    let topic = TopicProduceData::default().with_partition_data(vec![data]);
    let topic = if id.is_nil() { topic.with_name(name.clone()) } else { topic.with_topic_id(id) };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(5_000).with_topic_data(vec![topic])
}

fn step_name<R: Request>(label: &str, version: i16) -> String {
    let api = ApiKey::try_from(R::KEY).map_or_else(|()| R::KEY.to_string(), |key| format!("{key:?}"));
    format!("{label} | {api} v{version}")
}
