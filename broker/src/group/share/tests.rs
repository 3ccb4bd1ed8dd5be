//! Event tables, and random histories of members that come, go and die.
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const TIMING: Timing = Timing { session_timeout_ms: 45_000, heartbeat_interval_ms: 5_000, prompt: false };

fn id(n: u128) -> TopicId {
    TopicId(Uuid::from_u128(n))
}

fn topics(version: u64, list: &[(&str, u128, i32)]) -> TopicImage {
    TopicImage::new(version, list.iter().map(|(name, n, count)| ((*name).to_owned(), id(*n), *count)))
}

/// A group, its topics, a clock, and what the log has of it.
struct Harness {
    group: ShareGroup,
    topics: TopicImage,
    now: i64,
    log: StoredShareGroup,
}

impl Harness {
    fn new(list: &[(&str, u128, i32)]) -> Harness {
        Harness {
            group: ShareGroup::new(3, Timestamp(0)),
            topics: topics(1, list),
            now: 0,
            log: StoredShareGroup::default(),
        }
    }

    fn beat(&mut self, member: &str, epoch: i32, names: Option<&[&str]>) -> Result<ShareHeartbeatReply, GroupError> {
        let request = ShareHeartbeat {
            member_id: member.to_owned(),
            epoch: match epoch {
                0 => ShareMemberEpoch::Join,
                -1 => ShareMemberEpoch::Leave,
                epoch => ShareMemberEpoch::Current(epoch),
            },
            rack_id: None,
            topics: names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
        };
        let reply = self.group.heartbeat(Timestamp(self.now), &self.topics, TIMING, request);
        self.write();
        reply
    }

    fn write(&mut self) {
        for key in self.group.take_dirty() {
            let value = self.group.record(&key);
            self.log.apply(key, value);
        }
    }

    fn restart(&mut self) {
        let restored = ShareGroup::restore(3, self.log.clone(), TIMING.session_timeout_ms, Timestamp(self.now));
        self.group = restored.unwrap();
    }
}

fn numbers(reply: &ShareHeartbeatReply) -> Option<Vec<i32>> {
    reply.assignment.as_ref().map(|assignment| assignment.iter().map(|(_, partition)| *partition).collect())
}

#[test]
fn a_member_learns_at_once_what_it_is_to_read_and_others_with_their_next_heartbeat() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    let first = h.beat("a", 0, Some(&["t"])).unwrap();
    assert_eq!((first.epoch, numbers(&first)), (1, Some(vec![0, 1])));
    assert_eq!(numbers(&h.beat("a", 1, None).unwrap()), None, "nothing has changed");
    let second = h.beat("b", 0, Some(&["t"])).unwrap();
    assert_eq!((second.epoch, numbers(&second).map(|list| list.len())), (2, Some(1)));
    let first = h.beat("a", 1, None).unwrap();
    assert_eq!((first.epoch, numbers(&first).map(|list| list.len())), (2, Some(1)));
    assert_eq!(h.beat("a", 1, None).unwrap().epoch, 2, "the answer may have been lost");
    assert_eq!(h.group.state(), "Stable");
}

#[test]
fn members_in_epochs_that_cannot_be_are_fenced_and_strangers_are_unknown() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    h.beat("a", 0, Some(&["t"])).unwrap();
    h.beat("a", 1, Some(&["t", "u"])).unwrap();
    h.beat("a", 2, Some(&["t"])).unwrap();
    assert_eq!(h.beat("a", 1, None), Err(GroupError::FencedMemberEpoch { got: 1, known: 3 }));
    assert_eq!(h.beat("a", 9, None), Err(GroupError::FencedMemberEpoch { got: 9, known: 3 }));
    assert_eq!(h.beat("x", 1, None), Err(GroupError::UnknownMemberId));
    assert_eq!(h.beat("x", -1, None), Err(GroupError::UnknownMemberId));
    for member in ["b", "c"] {
        h.beat(member, 0, Some(&["t"])).unwrap();
    }
    assert_eq!(h.beat("d", 0, Some(&["t"])), Err(GroupError::GroupMaxSizeReached));
    h.beat("b", 0, Some(&["t"])).expect("who is in it may join again");
}

#[test]
fn members_that_leave_or_fall_silent_make_room() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    h.beat("a", 0, Some(&["t"])).unwrap();
    h.beat("b", 0, Some(&["t"])).unwrap();
    assert_eq!(h.beat("b", -1, None).unwrap().epoch, -1);
    assert_eq!(numbers(&h.beat("a", 1, None).unwrap()), None, "it never gave up what it had");
    h.now = 45_000;
    assert_eq!(h.group.tick(Timestamp(h.now)), ["a"]);
    h.write();
    assert_eq!((h.group.state(), h.group.empty_since()), ("Empty", Some(Timestamp(45_000))));
    h.restart();
    assert_eq!(h.group.state(), "Empty", "it stays, with what it has read");
}

#[test]
fn partitions_that_are_added_and_topics_that_come_are_read() {
    let mut h = Harness::new(&[("t", 1, 1)]);
    assert_eq!(numbers(&h.beat("a", 0, Some(&["t", "later"])).unwrap()), Some(vec![0]));
    h.topics = topics(2, &[("t", 1, 2), ("later", 2, 1), ("other", 3, 1)]);
    let reply = h.beat("a", 1, None).unwrap();
    assert_eq!(reply.assignment.unwrap(), [(id(1), 0), (id(1), 1), (id(2), 0)].into());
    h.topics = topics(3, &[("later", 2, 1), ("other", 3, 1)]);
    assert_eq!(h.beat("a", 2, None).unwrap().assignment.unwrap(), [(id(2), 0)].into());
    h.topics = topics(4, &[("later", 2, 1)]);
    assert_eq!(h.beat("a", 3, None).unwrap().epoch, 3, "a topic that nobody reads changes nothing");
}

#[test]
fn a_group_comes_back_as_it_was() {
    let mut h = Harness::new(&[("t", 1, 3)]);
    h.beat("a", 0, Some(&["t"])).unwrap();
    let before = h.beat("b", 0, Some(&["t"])).unwrap();
    h.restart();
    assert_eq!(h.group.next_deadline(), Some(Timestamp(45_000)));
    let after = h.beat("b", before.epoch, None).unwrap();
    assert_eq!((after.epoch, after.assignment), (before.epoch, None), "nothing has changed for it");
    assert_eq!(h.beat("a", 1, None).unwrap().epoch, 2);
}

#[derive(Debug, Clone)]
enum Event {
    Join(u8),
    Beat(u8),
    Leave(u8),
    Wait(i64),
    Grow,
    Restart,
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0u8..5).prop_map(Event::Join),
        5 => (0u8..5).prop_map(Event::Beat),
        1 => (0u8..5).prop_map(Event::Leave),
        1 => (0i64..30_000).prop_map(Event::Wait),
        1 => Just(Event::Grow),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #[test]
    fn once_all_members_have_heartbeat_every_partition_is_read_and_nothing_else(
        history in prop::collection::vec(events(), 1..40),
    ) {
        let mut h = Harness::new(&[("t", 1, 2)]);
        let mut epochs: BTreeMap<String, i32> = BTreeMap::new();
        let (mut partitions, mut version) = (2, 1);
        for event in history {
            match event {
                Event::Join(n) => {
                    if let Ok(reply) = h.beat(&format!("m{n}"), 0, Some(&["t"])) {
                        epochs.insert(format!("m{n}"), reply.epoch);
                    }
                }
                Event::Beat(n) => {
                    let name = format!("m{n}");
                    let Some(epoch) = epochs.get(&name).copied() else { continue };
                    match h.beat(&name, epoch, None) {
                        Ok(reply) => drop(epochs.insert(name, reply.epoch)),
                        Err(error) => {
                            prop_assert_eq!(error, GroupError::UnknownMemberId);
                            epochs.remove(&name);
                        }
                    }
                }
                Event::Leave(n) => {
                    let name = format!("m{n}");
                    let left = h.beat(&name, -1, None);
                    prop_assert_eq!(left.is_ok(), epochs.remove(&name).is_some());
                }
                Event::Wait(ms) => {
                    h.now += ms;
                    for gone in h.group.tick(Timestamp(h.now)) {
                        epochs.remove(&gone);
                    }
                    h.write();
                }
                Event::Grow => {
                    partitions += 1;
                    version += 1;
                    h.topics = topics(version, &[("t", 1, partitions)]);
                }
                Event::Restart => {
                    if h.group.epoch() > 0 {
                        h.restart();
                    }
                }
            }
        }
        // Once for each to have the newest target.
        for _ in 0..2 {
            for (name, epoch) in &mut epochs {
                *epoch = h.beat(name, *epoch, None).unwrap().epoch;
            }
        }
        let read: BTreeSet<i32> = h.group.members().flat_map(|m| m.assigned.iter().map(|(_, p)| *p)).collect();
        let all: BTreeSet<i32> = if epochs.is_empty() { BTreeSet::new() } else { (0..partitions).collect() };
        prop_assert_eq!(read, all);
        prop_assert!(h.group.members().all(|m| !m.assigned.is_empty() && m.epoch == h.group.epoch()));
    }
}
