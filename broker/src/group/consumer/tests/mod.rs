//! Event tables and random histories against a model of the clients (the debug assertions of the state machine run too).
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use weir_protocol::ids::{Timestamp, TopicId};

use super::*;
use crate::group::GroupError;
use crate::topics::TopicImage;

mod classic;
mod histories;
mod life;

const TIMING: Timing = Timing { session_timeout_ms: 45_000, heartbeat_interval_ms: 5_000, prompt: false };

fn id(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

fn topics(version: u64, list: &[(&str, u128, i32)]) -> TopicImage {
    TopicImage::new(version, list.iter().map(|(name, n, count)| ((*name).to_owned(), id(*n), *count)))
}

/// A group, its topics and a clock.
struct Harness {
    group: ConsumerGroup,
    topics: TopicImage,
    now: i64,
    /// What the log has: every dirty record goes there after each step.
    log: StoredConsumerGroup,
}

/// A client that does what it is told.
#[derive(Debug, Clone)]
struct Client {
    id: String,
    epoch: i32,
    owned: BTreeSet<TopicPartition>,
    /// What it was told to own; revocations happen when it gets round to them.
    told: BTreeSet<TopicPartition>,
}

impl Harness {
    fn new(list: &[(&str, u128, i32)]) -> Harness {
        Harness {
            group: ConsumerGroup::new(ConsumerLimits::default(), Timestamp(0)),
            topics: topics(1, list),
            now: 0,
            log: StoredConsumerGroup::default(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn write(&mut self) {
        for key in self.group.take_dirty() {
            let value = self.group.record(&key);
            self.log.apply(key, value);
        }
    }

    /// The broker is killed and comes back.
    fn restart(&mut self) {
        let stored = self.log.clone();
        let limits = ConsumerLimits::default();
        match ConsumerGroup::restore(limits.clone(), stored, TIMING.session_timeout_ms, self.now()) {
            Some(group) => self.group = group,
            None => self.group = ConsumerGroup::new(limits, self.now()),
        }
    }

    fn send(&mut self, request: HeartbeatRequest) -> Result<HeartbeatReply, GroupError> {
        let reply = self.group.heartbeat(Timestamp(self.now), &self.topics, TIMING, request);
        self.write();
        reply
    }

    fn join(&mut self, id: &str, names: &[&str]) -> Client {
        let reply = self.send(joining(id, names)).expect("joins");
        let owned = reply.assignment.expect("a joining member is told what it owns");
        Client { id: id.to_owned(), epoch: reply.epoch, told: owned.clone(), owned }
    }

    /// A heartbeat of a client that owns what it says.
    fn beat(&mut self, client: &mut Client) -> Result<(), GroupError> {
        let reply = self.send(beating(client))?;
        client.epoch = reply.epoch;
        if let Some(told) = reply.assignment {
            client.told = told;
        }
        Ok(())
    }

    /// Heartbeats until nothing changes any more; all clients follow at once.
    fn settle(&mut self, clients: &mut [Client]) {
        for _ in 0..20 {
            for client in clients.iter_mut() {
                client.follow();
                self.beat(client).expect("a living member");
                client.follow();
            }
        }
        assert_eq!(self.group.state(), GroupState::Stable);
    }

    fn tick(&mut self, ms: i64) -> Vec<String> {
        self.now += ms;
        let gone = self.group.tick(Timestamp(self.now));
        self.write();
        gone
    }
}

impl Client {
    /// Gives up and takes what it was told.
    fn follow(&mut self) {
        self.owned = self.told.clone();
    }

    fn numbers(&self) -> Vec<i32> {
        self.owned.iter().map(|(_, partition)| *partition).collect()
    }
}

fn joining(id: &str, names: &[&str]) -> HeartbeatRequest {
    HeartbeatRequest {
        member_id: id.to_owned(),
        epoch: MemberEpoch::Join,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: Some(60_000),
        topics: Some(names.iter().map(|n| (*n).to_owned()).collect()),
        regex: None,
        assignor: None,
        owned: Some(BTreeSet::new()),
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
    }
}

fn beating(client: &Client) -> HeartbeatRequest {
    HeartbeatRequest {
        epoch: MemberEpoch::Current(client.epoch),
        rebalance_timeout_ms: None,
        topics: None,
        owned: Some(client.owned.clone()),
        ..joining(&client.id, &[])
    }
}

fn leaving(client: &Client) -> HeartbeatRequest {
    HeartbeatRequest { epoch: MemberEpoch::Leave, ..beating(client) }
}
