//! Random histories: clients that join, leave, die, are slow, lose answers; brokers that restart; topics that change.
use super::*;

/// A client that has sent a request whose answer may be lost.
#[derive(Debug, Clone)]
struct Alive {
    client: Client,
    last_seen: i64,
    /// Its last request had no answer: the next one says everything.
    unsure: bool,
}

struct Random(u64);

impl Random {
    fn next(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn joined(h: &mut Harness, name: &str) -> Option<Alive> {
    // Clients may be slow here; that slow ones are thrown out is tested elsewhere.
    let request = HeartbeatRequest { rebalance_timeout_ms: Some(i32::MAX), ..joining(name, &["t", "u"]) };
    let reply = h.send(request).ok()?;
    let owned = reply.assignment.unwrap_or_default();
    let client = Client { id: name.to_owned(), epoch: reply.epoch, told: owned.clone(), owned };
    Some(Alive { client, last_seen: h.now, unsure: false })
}

/// A heartbeat whose answer arrives or not; a fenced client drops everything and joins again.
fn beat(h: &mut Harness, alive: &mut Alive, lost: bool) {
    let mut request = beating(&alive.client);
    if std::mem::replace(&mut alive.unsure, lost) {
        request.rebalance_timeout_ms = Some(i32::MAX);
        request.topics = Some(vec!["t".to_owned(), "u".to_owned()]);
    }
    match h.send(request) {
        Ok(reply) => {
            alive.last_seen = h.now;
            if !lost {
                alive.client.epoch = reply.epoch;
                if let Some(told) = reply.assignment {
                    alive.client.told = told;
                }
            }
        }
        Err(GroupError::FencedMemberEpoch { .. } | GroupError::UnknownMemberId) => {
            let name = alive.client.id.clone();
            alive.client.owned.clear();
            *alive = joined(h, &name).expect("joins again");
        }
        Err(other) => panic!("{other}"),
    }
}

/// Nobody reads what another reads. Clients whose session is over are not counted: they have been told to stop by then.
fn check_owners(alive: &BTreeMap<String, Alive>, now: i64, seed: u64) {
    let mut seen: BTreeMap<TopicPartition, &str> = BTreeMap::new();
    for (name, one) in alive {
        if now - one.last_seen >= i64::from(TIMING.session_timeout_ms) {
            continue;
        }
        for partition in &one.client.owned {
            let other = seen.insert(*partition, name);
            assert!(other.is_none(), "seed {seed}: {partition:?} is read by {name} and {other:?}");
        }
    }
}

fn history(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut h = Harness::new(&[("t", 1, 5), ("u", 2, 3)]);
    let mut alive: BTreeMap<String, Alive> = BTreeMap::new();
    let mut born = 0;
    for _ in 0..250 {
        let name = alive.keys().nth(random.next(alive.len() as u64 + 1) as usize).cloned();
        match (random.next(20), name) {
            (0..=1, _) if alive.len() < 6 => {
                born += 1;
                let name = format!("m{born}");
                alive.extend(joined(&mut h, &name).map(|one| (name, one)));
            }
            (2, Some(name)) => {
                let one = alive.remove(&name).expect("it is there");
                let _ = h.send(leaving(&one.client));
            }
            // It dies without a word.
            (3, Some(name)) => drop(alive.remove(&name)),
            (4, _) => h.restart(),
            (5, _) => {
                let version = h.topics.version + 1;
                let (t, u) = (5 + random.next(3) as i32, random.next(4) as i32);
                let all = [("t", 1, t), ("u", 2, u)];
                h.topics = topics(version, if u == 0 { &all[..1] } else { &all });
            }
            (6..=12, Some(name)) => {
                let lost = random.next(5) == 0;
                beat(&mut h, alive.get_mut(&name).expect("it is there"), lost);
            }
            (13..=17, Some(name)) => {
                let Alive { client, unsure, .. } = alive.get_mut(&name).expect("it is there");
                // The protocol lets the broker pass on what a member does not report, even if it was told to take it a moment
                // ago. So a client that has no answer takes nothing new before it has one.
                if *unsure {
                    continue;
                }
                // First it gives up, and takes new ones only once it has told so with a heartbeat.
                if client.owned.is_subset(&client.told) {
                    client.follow();
                } else {
                    let kept = client.owned.intersection(&client.told).copied().collect();
                    client.owned = kept;
                }
            }
            _ => drop(h.tick(random.next(4_000) as i64)),
        }
        check_owners(&alive, h.now, seed);
    }
    settled(&mut h, alive, seed);
}

/// Left alone with clients that do as they are told, everything has an owner.
fn settled(h: &mut Harness, mut alive: BTreeMap<String, Alive>, seed: u64) {
    for _ in 0..40 {
        h.tick(4_000);
        for one in alive.values_mut() {
            one.client.follow();
            beat(h, one, false);
            one.client.follow();
        }
        check_owners(&alive, h.now, seed);
    }
    let all: usize = ["t", "u"].iter().filter_map(|name| h.topics.get(name)).map(|(_, count)| count as usize).sum();
    if alive.is_empty() {
        assert_eq!(h.group.state(), GroupState::Empty, "seed {seed}");
        assert!(h.log.members.is_empty() && h.log.targets.is_empty() && h.log.currents.is_empty(), "seed {seed}");
        return;
    }
    assert_eq!(h.group.state(), GroupState::Stable, "seed {seed}");
    let owned: BTreeSet<_> = alive.values().flat_map(|one| one.client.owned.iter().copied()).collect();
    assert_eq!(owned.len(), all, "seed {seed}: every partition has an owner");
    let loads: Vec<usize> = alive.values().map(|one| one.client.owned.len()).collect();
    assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "seed {seed}: {loads:?}");
    let stored: Vec<&String> = h.log.members.keys().collect();
    assert_eq!(stored, alive.keys().collect::<Vec<_>>(), "seed {seed}: the log has who is there");
}

#[test]
fn no_partition_has_two_owners_and_in_the_end_each_has_one() {
    for seed in 0..400 {
        history(seed);
    }
}
