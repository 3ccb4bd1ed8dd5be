//! Heartbeats in the background: keep the membership alive and hear of rebalances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{GroupId, HeartbeatRequest};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::GroupConfig;
use super::membership::Session;
use crate::admin::wire_text;
use crate::cluster::Client;
use crate::error::{ClientError, Result};

/// What the heartbeats heard last.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    /// All is well.
    Member,
    /// The group rebalances: rejoin.
    Rebalance,
    /// The coordinator no longer knows this member: join as a new one.
    Lost,
    /// Nothing this member can repair.
    Failed(ClientError),
}

/// The running heartbeats of one generation; dropping it stops them.
pub(crate) struct Heartbeat {
    signals: watch::Receiver<Signal>,
    last_poll: Arc<AtomicU64>,
    started: Instant,
    task: AbortHandle,
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heartbeat {
    pub(crate) fn start(client: Client, config: &GroupConfig, session: Session) -> Self {
        let (sender, signals) = watch::channel(Signal::Member);
        let last_poll = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let beat = Beat {
            client,
            session,
            interval: config.heartbeat_interval,
            session_timeout: config.session_timeout,
            poll_interval_max: config.rebalance_timeout,
            last_poll: last_poll.clone(),
            started,
        };
        let task = tokio::spawn(async move {
            let signal = beat.run().await;
            // The receiver lives as long as this task: dropping it aborts the task.
            let _ = sender.send(signal);
        });
        Self { signals, last_poll, started, task: task.abort_handle() }
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signals.borrow().clone()
    }

    pub(crate) fn signals(&self) -> watch::Receiver<Signal> {
        self.signals.clone()
    }

    /// Notes that the caller is alive and asks for records.
    pub(crate) fn polled(&self) {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_poll.store(since, Ordering::Relaxed);
    }
}

struct Beat {
    client: Client,
    session: Session,
    interval: Duration,
    session_timeout: Duration,
    poll_interval_max: Duration,
    last_poll: Arc<AtomicU64>,
    started: Instant,
}

impl Beat {
    /// Runs until there is something to tell.
    async fn run(self) -> Signal {
        let mut heard = Instant::now();
        loop {
            tokio::time::sleep(self.interval).await;
            let last_poll = self.started + Duration::from_millis(self.last_poll.load(Ordering::Relaxed));
            if last_poll.elapsed() > self.poll_interval_max {
                // A caller that hangs must not keep partitions from the others: without heartbeats the coordinator
                // gives them away, and the next poll joins again.
                tracing::warn!(group = %self.session.group, "no poll for too long; giving the partitions up");
                return Signal::Lost;
            }
            match self.beat().await {
                Ok(()) => heard = Instant::now(),
                Err(error) => match error.code() {
                    Some(ResponseError::RebalanceInProgress) => return Signal::Rebalance,
                    Some(ResponseError::UnknownMemberId | ResponseError::IllegalGeneration) => return Signal::Lost,
                    _ if !error.is_retriable() => return Signal::Failed(error),
                    _ => {
                        if error.is_stale_coordinator() {
                            self.client.forget_coordinator(&self.session.group);
                        }
                        // After this long the coordinator has expelled this member anyway.
                        if heard.elapsed() > self.session_timeout {
                            return Signal::Lost;
                        }
                    }
                },
            }
        }
    }

    async fn beat(&self) -> Result<()> {
        let connection = self.client.coordinator(&self.session.group).await?;
        let response = connection
            .call(|version| {
                let request = HeartbeatRequest::default()
                    .with_group_id(GroupId(wire_text(&self.session.group)))
                    .with_generation_id(self.session.generation)
                    .with_member_id(wire_text(&self.session.member));
                match &self.session.instance_id {
                    Some(instance) if version >= 3 => request.with_group_instance_id(Some(wire_text(instance))),
                    _ => request,
                }
            })
            .await?;
        connection.check::<HeartbeatRequest>(&format!("group `{}`", self.session.group), response.error_code, None)
    }
}
