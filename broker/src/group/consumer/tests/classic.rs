//! Members of the classic protocol in a consumer group, and groups that change their kind.
use bytes::Bytes;
use weir_protocol::ids::Generation;

use super::*;
use crate::group::state::{Effect, Group, GroupLimits, JoinRequest, Leaving, Phase, SyncRequest};

/// A version 1 subscription to "t" that owns these partitions of it.
fn subscription(owned: &[i32]) -> Bytes {
    let mut bytes = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff".to_vec();
    if owned.is_empty() {
        bytes.extend(0i32.to_be_bytes());
    } else {
        bytes.extend(b"\0\0\0\x01\0\x01t");
        bytes.extend((owned.len() as i32).to_be_bytes());
        owned.iter().for_each(|p| bytes.extend(p.to_be_bytes()));
    }
    Bytes::from(bytes)
}

fn join(member_id: &str, owned: &[i32]) -> JoinRequest {
    JoinRequest {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "old".to_owned(),
        client_host: "/h".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("cooperative-sticky".to_owned(), subscription(owned))],
        require_known_member_id: true,
        supports_skip_assignment: true,
        new_member_id: "c".to_owned(),
    }
}

fn sync(generation: Generation) -> SyncRequest {
    SyncRequest {
        member_id: "c".to_owned(),
        instance_id: None,
        generation,
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("cooperative-sticky".to_owned()),
        assignments: Vec::new(),
    }
}

/// What a classic member is told it owns of "t".
fn synced(h: &mut Harness, generation: Generation) -> Vec<i32> {
    let synced = h.group.classic_sync(Timestamp(h.now), &h.topics, &sync(generation)).expect("syncs");
    let (assigned, _) = embedded::read_assignment(&synced.assignment).expect("an assignment");
    assigned.into_iter().flat_map(|(_, partitions)| partitions).collect()
}

fn classic_join(h: &mut Harness, request: JoinRequest) -> Result<crate::group::Joined, GroupError> {
    let joined = h.group.classic_join(Timestamp(h.now), &h.topics, request);
    h.write();
    joined
}

#[test]
fn a_classic_member_shares_partitions_with_a_newer_one() {
    let mut h = Harness::new(&[("t", 1, 4)]);
    let mut a = h.join("a", &["t"]);
    let refused = classic_join(&mut h, join("", &[]));
    assert_eq!(refused, Err(GroupError::MemberIdRequired { member_id: "c".to_owned() }));
    let joined = classic_join(&mut h, join("c", &[])).unwrap();
    assert_eq!((joined.generation, joined.leader.as_str()), (Generation(2), ""), "nobody leads");
    assert_eq!(synced(&mut h, joined.generation), Vec::<i32>::new(), "a still has everything");
    assert_eq!(h.group.classic_heartbeat(h.now(), "c", None, Generation(2)), Ok(()));
    h.beat(&mut a).unwrap();
    a.follow();
    h.beat(&mut a).unwrap();
    let told = h.group.classic_heartbeat(h.now(), "c", None, Generation(2));
    assert_eq!(told, Err(GroupError::RebalanceInProgress), "its partitions are free now");
    let joined = classic_join(&mut h, join("c", &[])).unwrap();
    let mine = synced(&mut h, joined.generation);
    assert_eq!((mine.len(), a.owned.len()), (2, 2));
    assert_eq!(h.group.state(), GroupState::Stable);
    // A second newer member: the classic one is told to come, gives up one partition, and comes again.
    let mut b = h.join("b", &["t"]);
    let beat = h.group.classic_heartbeat(h.now(), "c", None, joined.generation);
    assert_eq!(beat, Err(GroupError::RebalanceInProgress));
    let joined = classic_join(&mut h, join("c", &mine)).unwrap();
    let kept = synced(&mut h, joined.generation);
    let joined = classic_join(&mut h, join("c", &kept)).unwrap();
    assert_eq!(synced(&mut h, joined.generation), kept);
    let mut clients = [a, b.clone()];
    h.settle(&mut clients);
    [_, b] = clients;
    assert!(!b.owned.is_empty());
    assert_eq!(h.group.classic_leave(h.now(), &[Leaving { member_id: "c".to_owned(), instance_id: None }]), [Ok(())]);
    assert_eq!(h.group.classic_heartbeat(h.now(), "c", None, Generation(1)), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_classic_member_that_does_not_come_back_is_out() {
    let mut h = Harness::new(&[("t", 1, 4)]);
    let mut a = h.join("a", &["t"]);
    classic_join(&mut h, join("c", &[])).unwrap();
    assert_eq!(h.tick(10_001), ["c"], "its own session timeout counts");
    classic_join(&mut h, join("c", &[])).unwrap();
    for _ in 0..4 {
        h.now += 9_000;
        h.beat(&mut a).unwrap();
        let _ = h.group.classic_heartbeat(h.now(), "c", None, Generation(4));
    }
    assert_eq!(h.tick(0), ["c"], "it heartbeats and never syncs");
}

fn classic_group(h: &Harness, protocols: Bytes, effects: &mut Vec<Effect>) -> Group {
    let mut group = Group::new(GroupLimits { initial_rebalance_delay_ms: 0, ..GroupLimits::default() }, h.now());
    let protocols = vec![("range".to_owned(), protocols)];
    let request = JoinRequest { protocols, require_known_member_id: false, ..join("", &[]) };
    group.join(h.now(), 1, request, effects);
    group.tick(h.now(), effects);
    let assignment = Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff");
    let request = SyncRequest {
        protocol_name: Some("range".to_owned()),
        assignments: vec![("c".to_owned(), assignment)],
        ..sync(group.generation())
    };
    group.sync(h.now(), 2, request, effects);
    group.persisted(h.now(), group.generation(), true, effects);
    assert_eq!(group.phase(), Phase::Stable);
    group
}

#[test]
fn a_classic_group_goes_up_and_down_again_with_its_member() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    let mut effects = Vec::new();
    let classic = classic_group(&h, subscription(&[]), &mut effects);
    h.group = ConsumerGroup::of_classic(ConsumerLimits::default(), &classic, &h.topics, h.now()).unwrap();
    h.write();
    assert_eq!(h.log.currents["c"].assigned.len(), 2, "it keeps what it had");
    let mut a = h.join("a", &["t"]);
    let told = h.group.classic_heartbeat(h.now(), "c", None, classic.generation());
    assert_eq!(told, Err(GroupError::RebalanceInProgress));
    assert!(!h.group.is_downgradable(100));
    let joined = classic_join(&mut h, JoinRequest { member_id: "c".to_owned(), ..join("c", &[]) }).unwrap();
    let mine = synced(&mut h, joined.generation);
    h.beat(&mut a).unwrap();
    assert_eq!((mine.len(), a.told.len()), (1, 1));
    h.send(leaving(&a)).unwrap();
    assert!(h.group.is_downgradable(100));
    let (generation, members) = h.group.to_classic(&h.topics);
    effects.clear();
    let mut down = Group::adopt(GroupLimits::default(), generation, members, h.now(), &mut effects);
    assert_eq!(down.phase(), Phase::PreparingRebalance);
    let beat = down.heartbeat(h.now(), "c", None, Generation(generation));
    assert_eq!(beat, Err(GroupError::RebalanceInProgress), "it knows the member and asks it to join again");
}

#[test]
fn classic_groups_that_cannot_go_up_say_why() {
    let h = Harness::new(&[("t", 1, 2)]);
    let refused = |protocols: Bytes, migration| {
        let classic = classic_group(&h, protocols, &mut Vec::new());
        let limits = ConsumerLimits { migration, ..ConsumerLimits::default() };
        ConsumerGroup::of_classic(limits, &classic, &h.topics, h.now()).err()
    };
    assert_eq!(refused(subscription(&[]), MigrationPolicy::Upgrade), None);
    let disabled = refused(subscription(&[]), MigrationPolicy::Downgrade);
    assert!(matches!(disabled, Some(GroupError::NotUpgradable { .. })));
    let malformed = refused(Bytes::from_static(b"?"), MigrationPolicy::Bidirectional);
    assert!(matches!(malformed, Some(GroupError::NotUpgradable { .. })));
}
