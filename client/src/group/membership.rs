//! Joining, leading and leaving a group: the requests of the classic protocol and what their errors mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};

use super::GroupConfig;
use super::assignor::{Member, RANGE, assign_ranges};
use super::protocol::{
    Assignment, PROTOCOL_TYPE, Subscription, decode_assignment, decode_subscription, encode_assignment,
    encode_subscription, partitions_by_topic,
};
use crate::admin::{PartitionOffset, wire_text};
use crate::backoff::Backoff;
use crate::cluster::{AutoCreate, Client, Purpose};
use crate::consumer::TopicPartition;
use crate::error::{ClientError, Result};

/// Answers to JoinGroup arrive when the last member has come back, which may be a little after the rebalance timeout.
const JOIN_GRACE: Duration = Duration::from_secs(5);

/// Who this member is in the current generation.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
}

/// The member itself. Clones share its state: one clone joins while another may have to leave.
#[derive(Clone)]
pub(crate) struct Membership {
    client: Client,
    group: String,
    instance_id: Option<String>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Empty until the coordinator gave one.
    member: String,
    /// None while not joined.
    generation: Option<i32>,
    leader: bool,
    /// What the leader based its split on.
    partition_counts: BTreeMap<String, i32>,
    group_topics: BTreeSet<String>,
}

/// How to go on after a refused join or sync.
enum Next {
    Again,
    AgainAfterPause,
    GiveUp,
}

impl Membership {
    pub(crate) fn new(client: Client, config: &GroupConfig) -> Self {
        Self {
            client,
            group: config.group.clone(),
            instance_id: config.instance_id.clone(),
            session_timeout: config.session_timeout,
            rebalance_timeout: config.rebalance_timeout,
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each use is a read or an assignment; none leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn session(&self) -> Session {
        let state = self.state();
        Session {
            group: self.group.clone(),
            member: state.member.clone(),
            instance_id: self.instance_id.clone(),
            generation: state.generation.unwrap_or(-1),
        }
    }

    pub(crate) fn is_member(&self) -> bool {
        let state = self.state();
        state.generation.is_some() && !state.member.is_empty()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.state().leader
    }

    /// Every topic that some member wants, as the leader saw it.
    pub(crate) fn group_topics(&self) -> BTreeSet<String> {
        self.state().group_topics.clone()
    }

    pub(crate) fn partition_counts(&self) -> BTreeMap<String, i32> {
        self.state().partition_counts.clone()
    }

    /// Joins as a new member next time.
    pub(crate) fn forget_member(&self) {
        let mut state = self.state();
        state.member.clear();
        state.generation = None;
    }

    /// Joins (again) until this member has an assignment. Retries what passes for as long as it takes: the caller limits
    /// the time.
    pub(crate) async fn join(&self, topics: &[String], owned: &Assignment) -> Result<Assignment> {
        let config = self.client.config();
        let mut backoff = Backoff::new(config.retry_backoff, config.retry_backoff_max);
        let deadline = tokio::time::Instant::now() + config.retry_timeout;
        loop {
            let error = match self.join_once(topics, owned).await {
                Ok(assignment) => return Ok(assignment),
                Err(error) => error,
            };
            tracing::debug!(group = %self.group, %error, "joining again");
            if error.is_stale_coordinator() {
                self.client.forget_coordinator(&self.group);
            }
            match self.after(&error) {
                Next::Again => {}
                Next::AgainAfterPause if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(backoff.next_pause()).await;
                }
                Next::AgainAfterPause | Next::GiveUp => return Err(error),
            }
        }
    }

    fn after(&self, error: &ClientError) -> Next {
        match error.code() {
            // The coordinator has given this member its id; `join_once` has kept it.
            Some(ResponseError::MemberIdRequired) => Next::Again,
            Some(ResponseError::RebalanceInProgress) => Next::Again,
            Some(ResponseError::UnknownMemberId | ResponseError::IllegalGeneration) => {
                self.forget_member();
                Next::Again
            }
            _ if error.is_retriable() => Next::AgainAfterPause,
            _ => Next::GiveUp,
        }
    }

    async fn join_once(&self, topics: &[String], owned: &Assignment) -> Result<Assignment> {
        let joined = self.join_group(topics, owned).await?;
        let assignments =
            if self.is_leader() && !joined.skip_assignment { self.split(&joined).await? } else { Vec::new() };
        self.sync_group(&joined, assignments).await
    }

    async fn join_group(&self, topics: &[String], owned: &Assignment) -> Result<JoinGroupResponse> {
        let subscription = Subscription { topics: topics.to_vec(), owned: owned.clone() };
        let metadata = encode_subscription(&subscription)?;
        let connection = self.client.coordinator(&self.group).await?;
        let limit = self.rebalance_timeout + JOIN_GRACE;
        let member = self.session().member;
        let response = connection
            .call_within(limit, |version| {
                let offered = JoinGroupRequestProtocol::default().with_name(wire_text(RANGE)).with_metadata(metadata);
                let request = JoinGroupRequest::default()
                    .with_group_id(self.group_id())
                    .with_session_timeout_ms(milliseconds(self.session_timeout))
                    .with_rebalance_timeout_ms(milliseconds(self.rebalance_timeout))
                    .with_member_id(wire_text(&member))
                    .with_protocol_type(wire_text(PROTOCOL_TYPE))
                    .with_protocols(vec![offered]);
                match &self.instance_id {
                    Some(instance) if version >= 5 => request.with_group_instance_id(Some(wire_text(instance))),
                    _ => request,
                }
            })
            .await?;
        if response.error_code == ResponseError::MemberIdRequired.code() {
            self.state().member = response.member_id.to_string();
        }
        connection.check::<JoinGroupRequest>(&self.subject(), response.error_code, None)?;
        let mut state = self.state();
        state.member = response.member_id.to_string();
        state.generation = Some(response.generation_id);
        state.leader = response.leader == response.member_id;
        drop(state);
        Ok(response)
    }

    /// As the leader: looks up the partitions of every topic that some member wants, and splits them.
    async fn split(&self, joined: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>> {
        let members = joined.members.iter().map(|member| {
            Ok(Member {
                id: member.member_id.to_string(),
                instance_id: member.group_instance_id.as_deref().map(str::to_owned),
                subscription: decode_subscription(member.metadata.clone())?,
            })
        });
        let members = members.collect::<Result<Vec<_>>>()?;
        let topics = members.iter().flat_map(|member| member.subscription.topics.iter().cloned()).collect();
        let counts = partition_counts(&self.client, &topics).await?;
        let assignments = assign_ranges(&members, &counts);
        {
            let mut state = self.state();
            state.group_topics = topics;
            state.partition_counts = counts;
        }
        let encoded = assignments.iter().map(|(member, assignment)| {
            let bytes = encode_assignment(assignment)?;
            Ok(SyncGroupRequestAssignment::default().with_member_id(wire_text(member)).with_assignment(bytes))
        });
        encoded.collect()
    }

    async fn sync_group(
        &self,
        joined: &JoinGroupResponse,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<Assignment> {
        let connection = self.client.coordinator(&self.group).await?;
        let limit = self.rebalance_timeout + JOIN_GRACE;
        let response = connection
            .call_within(limit, |version| {
                let mut request = SyncGroupRequest::default()
                    .with_group_id(self.group_id())
                    .with_generation_id(joined.generation_id)
                    .with_member_id(joined.member_id.clone())
                    .with_assignments(assignments);
                if let Some(instance) = self.instance_id.as_ref().filter(|_| version >= 3) {
                    request = request.with_group_instance_id(Some(wire_text(instance)));
                }
                if version >= 5 {
                    request = request
                        .with_protocol_type(Some(wire_text(PROTOCOL_TYPE)))
                        .with_protocol_name(joined.protocol_name.clone());
                }
                request
            })
            .await?;
        connection.check::<SyncGroupRequest>(&self.subject(), response.error_code, None)?;
        Ok(partitions_by_topic(&decode_assignment(response.assignment)?))
    }

    /// Commits positions as this member of this generation.
    pub(crate) async fn commit(&self, offsets: &BTreeMap<TopicPartition, PartitionOffset>) -> Result<()> {
        let offsets: BTreeMap<(String, i32), PartitionOffset> =
            offsets.iter().map(|((topic, partition), offset)| ((topic.to_string(), *partition), *offset)).collect();
        let Session { member, generation, .. } = self.session();
        let (response, connection) = self
            .client
            .call_coordinator(
                &self.group,
                |version| {
                    let request = OffsetCommitRequest::default()
                        .with_group_id(self.group_id())
                        .with_generation_id_or_member_epoch(generation)
                        .with_member_id(wire_text(&member))
                        .with_topics(crate::admin::commit_topics(&offsets));
                    match &self.instance_id {
                        Some(instance) if version >= 7 => request.with_group_instance_id(Some(wire_text(instance))),
                        _ => request,
                    }
                },
                crate::admin::first_commit_error,
            )
            .await?;
        crate::admin::check_commit(&connection, &self.group, &response)
    }

    /// Leaves, so that the others need not wait for the session to end. A static member stays: that is its point.
    pub(crate) async fn leave(&self) -> Result<()> {
        let member = self.session().member;
        if member.is_empty() || self.instance_id.is_some() {
            return Ok(());
        }
        // Not on the coordinator's own connection: there a join may still be waiting for its answer.
        let coordinator = self.client.coordinator_of(&self.group).await?;
        let connection = self.client.connect(&coordinator.address, Purpose::Data).await?;
        let response = connection
            .call(|version| {
                let request = LeaveGroupRequest::default().with_group_id(self.group_id());
                match version {
                    ..3 => request.with_member_id(wire_text(&member)),
                    _ => {
                        let identity = MemberIdentity::default().with_member_id(wire_text(&member));
                        let reason = (version >= 5).then(|| wire_text("the consumer is being closed"));
                        request.with_members(vec![identity.with_reason(reason)])
                    }
                }
            })
            .await?;
        let subject = self.subject();
        self.forget_member();
        let member_code = response.members.first().map_or(0, |member| member.error_code);
        let code = if response.error_code != 0 { response.error_code } else { member_code };
        match ResponseError::try_from_code(code) {
            // Expelled before: that is what was wanted.
            None | Some(ResponseError::UnknownMemberId) => Ok(()),
            Some(code) => Err(connection.refusal::<LeaveGroupRequest>(subject, code.code(), None)),
        }
    }

    fn group_id(&self) -> GroupId {
        GroupId(wire_text(&self.group))
    }

    fn subject(&self) -> String {
        format!("group `{}`", self.group)
    }
}

/// How many partitions these topics have. A topic that does not exist (yet) has none.
pub(crate) async fn partition_counts(client: &Client, topics: &BTreeSet<String>) -> Result<BTreeMap<String, i32>> {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    client.refresh(&names, AutoCreate::Forbidden).await?;
    let metadata = client.metadata();
    let counts = topics.iter().filter_map(|topic| {
        let found = metadata.topic(topic, None)?;
        Some((topic.clone(), i32::try_from(found.partitions.len()).ok()?))
    });
    Ok(counts.collect())
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
