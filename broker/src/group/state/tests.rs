//! Event tables, and random histories against invariants (the debug assertions of the state machine run too).
use super::*;

struct Harness {
    group: Group,
    now: i64,
    next_token: Token,
    joins: BTreeMap<Token, Result<Joined, GroupError>>,
    syncs: BTreeMap<Token, Result<Synced, GroupError>>,
    persists: Vec<Generation>,
}

impl Harness {
    fn new() -> Harness {
        Harness {
            group: Group::new(GroupLimits::default(), Timestamp(0)),
            now: 0,
            next_token: 0,
            joins: BTreeMap::new(),
            syncs: BTreeMap::new(),
            persists: Vec::new(),
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ReplyJoin(token, reply) => {
                    assert!(self.joins.insert(token, reply).is_none(), "join answered twice")
                }
                Effect::ReplySync(token, reply) => {
                    assert!(self.syncs.insert(token, reply).is_none(), "sync answered twice")
                }
                Effect::Persist { generation } => self.persists.push(generation),
            }
        }
    }

    fn join_as(&mut self, member: &str, instance: Option<&str>, protocols: &[&str], v4: bool) -> Token {
        self.next_token += 1;
        let token = self.next_token;
        let request = JoinRequest {
            member_id: member.to_owned(),
            instance_id: instance.map(str::to_owned),
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".to_owned(),
            protocols: protocols.iter().map(|p| ((*p).to_owned(), Bytes::from_static(b"topics"))).collect(),
            require_known_member_id: v4,
            supports_skip_assignment: true,
            new_member_id: format!("m{token}"),
        };
        let mut effects = Vec::new();
        self.group.join(Timestamp(self.now), token, request, &mut effects);
        self.take(effects);
        token
    }

    fn join(&mut self, member: &str) -> Token {
        self.join_as(member, None, &["range"], false)
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &'static str)]) -> Token {
        self.next_token += 1;
        let token = self.next_token;
        let request = SyncRequest {
            member_id: member.to_owned(),
            instance_id: None,
            generation: Generation(generation),
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.iter().map(|(m, a)| ((*m).to_owned(), Bytes::from_static(a.as_bytes()))).collect(),
        };
        let mut effects = Vec::new();
        self.group.sync(Timestamp(self.now), token, request, &mut effects);
        self.take(effects);
        token
    }

    fn persist(&mut self, ok: bool) {
        for generation in std::mem::take(&mut self.persists) {
            let mut effects = Vec::new();
            self.group.persisted(Timestamp(self.now), generation, ok, &mut effects);
            self.take(effects);
        }
    }

    /// Time passes; every deadline on the way is ticked.
    fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(deadline) = self.group.next_deadline().filter(|d| d.0 <= end) {
            self.now = self.now.max(deadline.0);
            let mut effects = Vec::new();
            self.group.tick(Timestamp(self.now), &mut effects);
            self.take(effects);
        }
        self.now = end;
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        self.group.heartbeat(Timestamp(self.now), member, None, Generation(generation))
    }

    fn joined(&self, token: Token) -> &Joined {
        self.joins.get(&token).expect("answered").as_ref().expect("joined")
    }

    fn assigned(&self, token: Token) -> &'static str {
        match &self.syncs.get(&token).expect("answered").as_ref().expect("synced").assignment[..] {
            b"a" => "a",
            b"b" => "b",
            b"" => "",
            other => panic!("{other:?}"),
        }
    }

    /// Two members in a stable group: their ids.
    fn stable_pair() -> (Harness, String, String) {
        let mut h = Harness::new();
        let (t1, t2) = (h.join(""), h.join(""));
        h.pass(6_000);
        let (a, b) = (h.joined(t1).member_id.clone(), h.joined(t2).member_id.clone());
        let generation = h.joined(t1).generation.0;
        let follower = h.sync(&b, generation, &[]);
        let leader = h.sync(&a, generation, &[(&a, "a"), (&b, "b")]);
        assert!(h.syncs.is_empty(), "nobody is answered before the assignment is durable");
        h.persist(true);
        assert_eq!((h.assigned(leader), h.assigned(follower)), ("a", "b"));
        assert_eq!(h.group.phase(), Phase::Stable);
        (h, a, b)
    }
}

#[test]
fn members_that_come_within_the_initial_delay_share_one_generation() {
    let mut h = Harness::new();
    let first = h.join("");
    h.pass(2_000);
    let second = h.join("");
    h.pass(2_500);
    assert!(h.joins.is_empty(), "the delay is extended while members come");
    h.pass(2_000);
    assert_eq!(h.joined(first).generation, Generation(1));
    assert_eq!(h.joined(second).generation, Generation(1));
    assert_eq!(h.joined(first).members.len(), 2);
    assert!(h.joined(second).members.is_empty(), "only the leader gets the members");
}

#[test]
fn new_clients_join_twice() {
    let mut h = Harness::new();
    let token = h.join_as("", None, &["range"], true);
    let Some(Err(GroupError::MemberIdRequired { member_id })) = h.joins.get(&token).cloned() else { panic!() };
    let token = h.join_as(&member_id, None, &["range"], true);
    h.pass(3_000);
    assert_eq!(h.joined(token).member_id, member_id);
    let token = h.join("never-heard-of");
    assert_eq!(h.joins[&token], Err(GroupError::UnknownMemberId));
}

#[test]
fn a_member_that_dies_is_replaced_after_its_session_timeout() {
    let (mut h, a, b) = Harness::stable_pair();
    for _ in 0..4 {
        h.pass(3_000);
        let beat = h.heartbeat(&a, 1);
        if beat.is_err() {
            break;
        }
    }
    assert_eq!(h.heartbeat(&a, 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(h.heartbeat(&b, 1), Err(GroupError::UnknownMemberId));
    let token = h.join(&a);
    assert_eq!(h.joined(token).generation, Generation(2));
    assert_eq!(h.joined(token).members.len(), 1);
}

#[test]
fn a_leaving_member_starts_a_rebalance_and_the_last_one_empties_the_group() {
    let (mut h, a, b) = Harness::stable_pair();
    let leave = |h: &mut Harness, id: &str| {
        let mut effects = Vec::new();
        let leaving = [Leaving { member_id: id.to_owned(), instance_id: None }];
        let results = h.group.leave(Timestamp(h.now), &leaving, &mut effects);
        h.take(effects);
        results
    };
    assert_eq!(leave(&mut h, &b), [Ok(())]);
    assert_eq!(leave(&mut h, &b), [Err(GroupError::UnknownMemberId)]);
    assert_eq!(h.heartbeat(&a, 1), Err(GroupError::RebalanceInProgress));
    assert_eq!(leave(&mut h, &a), [Ok(())]);
    assert_eq!(h.group.phase(), Phase::Empty);
    assert_eq!(h.group.generation(), Generation(2));
    assert_eq!(h.persists, [Generation(2)], "that the group is empty is stored");
}

#[test]
fn a_restarted_static_member_keeps_its_place_and_fences_its_former_self() {
    let mut h = Harness::new();
    let t1 = h.join_as("", Some("one"), &["range"], true);
    let t2 = h.join_as("", Some("two"), &["range"], true);
    h.pass(6_000);
    let (old, other) = (h.joined(t1).member_id.clone(), h.joined(t2).member_id.clone());
    h.sync(&other, 1, &[]);
    h.sync(&old, 1, &[(&old, "a"), (&other, "b")]);
    h.persist(true);
    let again = h.join_as("", Some("one"), &["range"], true);
    let joined = h.joined(again).clone();
    assert_ne!(joined.member_id, old);
    assert_eq!(joined.generation, Generation(1), "no rebalance");
    assert!(joined.skip_assignment, "it leads, and is told to keep the assignment");
    let token = h.sync(&joined.member_id, 1, &[]);
    assert_eq!(h.assigned(token), "a");
    let fenced = h.group.heartbeat(Timestamp(h.now), &old, Some("one"), Generation(1));
    assert_eq!(fenced, Err(GroupError::FencedInstanceId));
    assert_eq!(h.heartbeat(&other, 1), Ok(()));
}

#[test]
fn protocols_must_be_shared_and_the_vote_decides() {
    let mut h = Harness::new();
    let t1 = h.join_as("", None, &["range", "sticky"], false);
    h.join_as("", None, &["sticky", "range"], false);
    h.join_as("", None, &["sticky"], false);
    let refused = h.join_as("", None, &["other"], false);
    assert_eq!(h.joins[&refused], Err(GroupError::InconsistentGroupProtocol));
    h.pass(10_000);
    assert_eq!(h.joined(t1).protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn wrong_generations_and_strangers_are_refused() {
    let (mut h, a, _) = Harness::stable_pair();
    assert_eq!(h.heartbeat(&a, 7), Err(GroupError::IllegalGeneration));
    let commit = |h: &mut Harness, id: &str, generation| {
        h.group.check_commit(Timestamp(h.now), id, None, Generation(generation))
    };
    assert_eq!(commit(&mut h, &a, 1), Ok(()));
    assert_eq!(commit(&mut h, &a, 0), Err(GroupError::IllegalGeneration));
    assert_eq!(commit(&mut h, "stranger", 1), Err(GroupError::UnknownMemberId));
    assert_eq!(commit(&mut h, "", -1), Err(GroupError::UnknownMemberId), "the group has members");
    let token = h.sync(&a, 0, &[]);
    assert_eq!(h.syncs[&token], Err(GroupError::IllegalGeneration));
    let mut empty = Harness::new();
    assert_eq!(commit(&mut empty, "", -1), Ok(()));
}

#[test]
fn an_assignment_that_cannot_be_stored_is_not_given_out() {
    let mut h = Harness::new();
    let t = h.join("");
    h.pass(3_000);
    let id = h.joined(t).member_id.clone();
    let sync = h.sync(&id, 1, &[(&id, "a")]);
    h.persist(false);
    assert_eq!(h.syncs[&sync], Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(h.heartbeat(&id, 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_stored_group_comes_back_with_its_members() {
    let (h, a, b) = Harness::stable_pair();
    let stored = h.group.stored(Timestamp(h.now));
    let mut again = Group::restore(GroupLimits::default(), stored.clone(), Timestamp(h.now));
    assert_eq!(again.stored(Timestamp(h.now)), stored);
    assert_eq!(again.heartbeat(Timestamp(h.now), &a, None, Generation(1)), Ok(()));
    let mut effects = Vec::new();
    again.tick(Timestamp(h.now + 10_001), &mut effects);
    assert_eq!(again.heartbeat(Timestamp(h.now), &b, None, Generation(1)), Err(GroupError::UnknownMemberId));
}

#[test]
fn random_histories_answer_everyone_once_and_generations_only_grow() {
    for seed in 0..300u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        let mut h = Harness::new();
        let mut joins = Vec::new();
        let mut syncs = Vec::new();
        let mut known: Vec<String> = Vec::new();
        let mut generation = 0;
        for _ in 0..200 {
            let member = known.get(next(known.len() as u64 + 1) as usize).cloned().unwrap_or_default();
            match next(8) {
                0 | 1 => {
                    let instance = (next(4) == 0).then(|| format!("i{}", next(3)));
                    let instance = instance.filter(|_| member.is_empty());
                    joins.push(h.join_as(&member, instance.as_deref(), &["range"], next(2) == 0));
                }
                2 | 3 => syncs.push(h.sync(&member, h.group.generation().0, &[(&member, "a")])),
                4 => h.persist(next(5) > 0),
                5 => drop(h.heartbeat(&member, h.group.generation().0)),
                6 if next(3) == 0 => {
                    let mut effects = Vec::new();
                    let leaving = [Leaving { member_id: member, instance_id: None }];
                    h.group.leave(Timestamp(h.now), &leaving, &mut effects);
                    h.take(effects);
                }
                _ => h.pass(next(8_000) as i64),
            }
            for reply in h.joins.values() {
                match reply {
                    Ok(joined) => known.push(joined.member_id.clone()),
                    Err(GroupError::MemberIdRequired { member_id }) => known.push(member_id.clone()),
                    Err(_) => {}
                }
            }
            known.sort();
            known.dedup();
            assert!(h.group.generation().0 >= generation, "seed {seed}");
            generation = h.group.generation().0;
        }
        // Left alone, everyone gets an answer.
        for _ in 0..20 {
            h.persist(true);
            h.pass(400_000);
        }
        for token in joins {
            assert!(h.joins.contains_key(&token), "seed {seed}: join {token} was never answered");
        }
        for token in syncs {
            assert!(h.syncs.contains_key(&token), "seed {seed}: sync {token} was never answered");
        }
        assert_eq!(h.group.phase(), Phase::Empty, "seed {seed}: silent members are gone");
    }
}
