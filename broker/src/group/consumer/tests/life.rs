//! Event tables: joins, hand-overs, epochs, static members, regular expressions, changes of topics.
use super::*;

#[test]
fn a_partition_changes_hands_only_after_its_owner_gave_it_up() {
    let mut h = Harness::new(&[("t", 1, 4)]);
    let mut a = h.join("a", &["t"]);
    assert_eq!((a.epoch, a.numbers()), (1, vec![0, 1, 2, 3]));
    let mut b = h.join("b", &["t"]);
    assert_eq!((b.epoch, b.numbers()), (2, vec![]), "everything is still with a");
    assert_eq!(h.group.state(), GroupState::Reconciling);
    h.beat(&mut a).unwrap();
    assert_eq!((a.epoch, a.told.len()), (1, 2), "a is told to give up two, in the epoch it is in");
    h.beat(&mut b).unwrap();
    assert!(b.told.is_empty(), "a did not say that it has given them up");
    a.follow();
    h.beat(&mut a).unwrap();
    assert_eq!(a.epoch, 2);
    h.beat(&mut b).unwrap();
    b.follow();
    assert_eq!(a.owned.union(&b.owned).count(), 4);
    assert_eq!((a.owned.len(), b.owned.len()), (2, 2));
    assert_eq!(h.group.state(), GroupState::Stable);
}

#[test]
fn who_leaves_is_replaced_with_the_next_heartbeat_and_who_dies_after_its_session() {
    let mut h = Harness::new(&[("t", 1, 6)]);
    let mut clients = vec![h.join("a", &["t"]), h.join("b", &["t"]), h.join("c", &["t"])];
    h.settle(&mut clients);
    assert!(clients.iter().all(|c| c.owned.len() == 2));
    let c = clients.pop().unwrap();
    let reply = h.send(leaving(&c)).unwrap();
    assert_eq!((reply.epoch, reply.assignment), (-1, None));
    assert_eq!(h.group.state(), GroupState::Assigning);
    h.beat(&mut clients[0]).unwrap();
    assert_eq!(clients[0].told.len(), 3, "at once: nobody else has what c had");
    h.settle(&mut clients);
    assert_eq!(h.send(beating(&c)), Err(GroupError::UnknownMemberId));
    // b falls silent.
    h.now += 30_000;
    h.beat(&mut clients[0]).unwrap();
    assert_eq!(h.tick(15_001), ["b"]);
    h.beat(&mut clients[0]).unwrap();
    assert_eq!(clients[0].told.len(), 6);
}

#[test]
fn who_does_not_give_up_in_time_is_out() {
    let mut h = Harness::new(&[("t", 1, 4)]);
    let mut a = h.join("a", &["t"]);
    let mut b = h.join("b", &["t"]);
    h.beat(&mut a).unwrap();
    for _ in 0..3 {
        h.now += 19_000;
        h.beat(&mut a).unwrap();
        h.beat(&mut b).unwrap();
        assert_eq!(h.tick(0), Vec::<String>::new());
    }
    assert_eq!(h.tick(3_100), ["a"], "it heartbeats, and keeps what it was told to give up for its rebalance timeout");
    h.beat(&mut b).unwrap();
    assert_eq!(b.told.len(), 4);
    assert_eq!(h.beat(&mut a), Err(GroupError::UnknownMemberId));
}

#[test]
fn epochs_other_than_the_current_one_are_fenced_unless_the_answer_may_have_been_lost() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    let a = h.join("a", &["t"]);
    let _b = h.join("b", &["t"]);
    let older = |h: &mut Harness, epoch, owned: &[i32]| {
        let owned = owned.iter().map(|p| (id(1), *p)).collect();
        let client = Client { epoch, owned, ..a.clone() };
        h.send(beating(&client)).map(|reply| reply.epoch)
    };
    assert_eq!(older(&mut h, 1, &[0]).unwrap(), 2, "gave up 1, is in epoch 2");
    assert_eq!(older(&mut h, 1, &[0]).unwrap(), 2, "the answer was lost");
    assert_eq!(older(&mut h, 1, &[0, 1]), Err(GroupError::FencedMemberEpoch { got: 1, known: 2 }));
    assert_eq!(older(&mut h, 3, &[0]), Err(GroupError::FencedMemberEpoch { got: 3, known: 2 }));
    assert_eq!(h.join("a", &["t"]).epoch, 2, "joining again is always right");
    let stranger = Client { id: "x".to_owned(), ..a };
    assert_eq!(h.send(beating(&stranger)), Err(GroupError::UnknownMemberId));
}

#[test]
fn commits_count_for_partitions_that_were_owned_in_the_epoch_they_name() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    let mut a = h.join("a", &["t"]);
    let check = |h: &Harness, epoch, partition| h.group.check_commit("a", epoch, [(id(1), partition)].into_iter());
    assert_eq!(check(&h, 1, 0), Ok(()));
    h.join("b", &["t"]);
    h.beat(&mut a).unwrap();
    assert_eq!(check(&h, 1, 1), Ok(()), "while it gives the partition up");
    a.follow();
    h.beat(&mut a).unwrap();
    assert_eq!((a.epoch, check(&h, 1, 0)), (2, Ok(())), "it kept 0, and does not know epoch 2 yet");
    assert_eq!(check(&h, 1, 1), Err(GroupError::StaleMemberEpoch));
    assert_eq!(check(&h, 3, 0), Err(GroupError::StaleMemberEpoch));
    assert_eq!(check(&h, 2, 7), Ok(()), "in its own epoch a member may commit whatever it likes, as in Kafka");
    assert_eq!(h.group.check_commit("x", 2, std::iter::empty()), Err(GroupError::UnknownMemberId));
    assert_eq!(h.group.check_commit("", -1, std::iter::empty()), Err(GroupError::UnknownMemberId));
    assert_eq!(h.group.check_fetch(None, -1), Ok(()));
    assert_eq!(h.group.check_fetch(Some("a"), 2), Ok(()));
    assert_eq!(h.group.check_fetch(Some("a"), 1), Err(GroupError::StaleMemberEpoch));
    assert_eq!(h.group.check_fetch(Some("x"), 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_static_member_that_left_for_now_gets_its_partitions_back_under_another_id() {
    let mut h = Harness::new(&[("t", 1, 4)]);
    let with = |request: HeartbeatRequest| HeartbeatRequest { instance_id: Some("i".to_owned()), ..request };
    let first = h.send(with(joining("a", &["t"]))).unwrap();
    assert_eq!(first.assignment.as_ref().unwrap().len(), 4);
    let a = Client { id: "a".to_owned(), epoch: first.epoch, owned: BTreeSet::new(), told: BTreeSet::new() };
    assert_eq!(h.send(with(joining("a2", &["t"]))), Err(GroupError::UnreleasedInstanceId));
    let left = h.send(HeartbeatRequest { epoch: MemberEpoch::LeaveForNow, ..with(beating(&a)) }).unwrap();
    assert_eq!((left.epoch, h.group.epoch()), (-2, 1), "nobody rebalances");
    h.restart();
    let again = h.send(with(joining("a2", &["t"]))).unwrap();
    assert_eq!((again.epoch, again.assignment), (1, first.assignment), "its former assignment");
    assert_eq!(h.send(with(beating(&a))), Err(GroupError::FencedInstanceId));
    assert_eq!(h.log.members.keys().collect::<Vec<_>>(), ["a2"]);
    // Gone for longer than its session.
    let a2 = Client { id: "a2".to_owned(), ..a };
    h.send(HeartbeatRequest { epoch: MemberEpoch::LeaveForNow, ..with(beating(&a2)) }).unwrap();
    assert_eq!(h.tick(45_001), ["a2"]);
    assert_eq!(h.group.state(), GroupState::Empty);
}

#[test]
fn regular_expressions_follow_the_topics() {
    let mut h = Harness::new(&[("orders-eu", 1, 2), ("old-orders-eu", 2, 9), ("audit", 3, 1)]);
    let request = HeartbeatRequest { regex: Some("orders-.*".to_owned()), topics: None, ..joining("a", &[]) };
    let bad = HeartbeatRequest { regex: Some("(".to_owned()), ..request.clone() };
    assert!(matches!(h.send(bad), Err(GroupError::InvalidRegularExpression { .. })));
    assert_eq!(h.group.state(), GroupState::Empty, "nothing has happened");
    let reply = h.send(request).unwrap();
    let mut a =
        Client { id: "a".to_owned(), epoch: reply.epoch, owned: reply.assignment.unwrap(), told: BTreeSet::new() };
    assert_eq!(a.owned.len(), 2);
    assert!(h.group.is_subscribed_to("orders-eu") && !h.group.is_subscribed_to("audit"));
    h.topics = topics(2, &[("orders-eu", 1, 3), ("orders-us", 4, 2), ("audit", 3, 1)]);
    h.beat(&mut a).unwrap();
    assert_eq!(a.told.len(), 5, "a new partition and a new topic");
    a.follow();
    h.beat(&mut a).unwrap();
    let names = HeartbeatRequest { regex: Some(String::new()), topics: Some(vec!["audit".to_owned()]), ..beating(&a) };
    let reply = h.send(names).unwrap();
    assert!(reply.assignment.unwrap().is_empty(), "first it gives up what it no longer wants");
    assert!(h.log.regexes.is_empty(), "nobody uses the expression any more");
}

#[test]
fn topics_that_come_grow_and_go_are_reasons_to_assign_and_others_are_not() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    let mut a = h.join("a", &["t", "later"]);
    h.topics = topics(2, &[("t", 1, 2), ("other", 9, 5)]);
    h.beat(&mut a).unwrap();
    assert_eq!((a.epoch, a.told.len()), (1, 2));
    h.topics = topics(3, &[("t", 1, 3), ("later", 2, 1)]);
    h.beat(&mut a).unwrap();
    assert_eq!((a.epoch, a.told.len()), (2, 4));
    a.follow();
    h.topics = topics(4, &[("later", 2, 1)]);
    h.beat(&mut a).unwrap();
    assert_eq!(a.told.len(), 1, "a deleted topic is given up");
    a.follow();
    h.beat(&mut a).unwrap();
    assert_eq!((a.epoch, h.group.state()), (3, GroupState::Stable));
    // The same name with another id is another topic.
    h.topics = topics(5, &[("later", 77, 1)]);
    h.beat(&mut a).unwrap();
    a.follow();
    h.beat(&mut a).unwrap();
    assert_eq!(a.told, [(id(77), 0)].into());
}

#[test]
fn assignors_are_chosen_by_most_members_and_unknown_ones_refused() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    let asking = |id: &str, name: &str| HeartbeatRequest { assignor: Some(name.to_owned()), ..joining(id, &["t"]) };
    assert!(matches!(h.send(asking("a", "sticky")), Err(GroupError::UnsupportedAssignor { .. })));
    assert_eq!(h.group.assignor(), AssignorKind::Uniform);
    h.send(asking("a", "range")).unwrap();
    assert_eq!(h.group.assignor(), AssignorKind::Range);
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut h = Harness::new(&[("t", 1, 2)]);
    h.group.limits.max_size = 1;
    let mut a = h.join("a", &["t"]);
    assert_eq!(h.send(joining("b", &["t"])), Err(GroupError::GroupMaxSizeReached));
    h.beat(&mut a).unwrap();
}

#[test]
fn a_restarted_broker_goes_on_where_it_was() {
    let mut h = Harness::new(&[("t", 1, 4)]);
    let mut clients = vec![h.join("a", &["t"]), h.join("b", &["t"])];
    h.beat(&mut clients[0]).unwrap();
    for _ in 0..4 {
        h.restart();
        for client in &mut clients {
            client.follow();
            h.beat(client).unwrap();
        }
    }
    h.settle(&mut clients);
    assert_eq!(h.group.epoch(), 2, "a restart is no reason to assign");
    assert!(clients.iter().all(|c| c.owned.len() == 2));
    h.restart();
    assert_eq!(h.tick(45_001).len(), 2, "members that do not come back are out");
}
