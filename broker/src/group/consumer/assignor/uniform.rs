//! Uniform: numbers of partitions differ as little as the subscriptions allow, and what a member has it keeps if it may.
//!
//! Everybody keeps what it was to own and still wants. With equal subscriptions, who has more than its share gives up the rest,
//! from the topics of which it has most. What nobody has goes to the subscriber with the least. With different subscriptions,
//! partitions then move from members with more to members with less, also along chains of members that share topics.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weir_protocol::ids::TopicId;

use super::{Input, Target};

/// Most steps that are looked at for chains; a group of thousands of members with as many different subscriptions stops there with an
/// assignment that is complete, and balanced as far as it got.
const CHAIN_WORK_MAX: usize = 2_000_000;

pub(super) fn assign(input: &Input<'_>) -> Target {
    let mut plan = Plan::of(input);
    let same = input.members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    if same {
        plan.release_surplus();
    }
    plan.hand_out();
    if !same {
        plan.level_topics();
        plan.level_chains();
    }
    plan.into_target(input)
}

/// Members and topics by their index.
struct Plan {
    ids: Vec<TopicId>,
    /// Topic -> members.
    subscribers: Vec<Vec<usize>>,
    /// Topic -> partitions without an owner.
    free: Vec<BTreeSet<i32>>,
    /// Member -> topic -> partitions.
    held: Vec<BTreeMap<usize, BTreeSet<i32>>>,
    load: Vec<usize>,
}

impl Plan {
    fn of(input: &Input<'_>) -> Plan {
        let ids: Vec<TopicId> = input.partitions.keys().copied().collect();
        let index: BTreeMap<TopicId, usize> = ids.iter().enumerate().map(|(i, id)| (*id, i)).collect();
        let mut plan = Plan {
            subscribers: vec![Vec::new(); ids.len()],
            free: input.partitions.values().map(|count| (0..*count).collect()).collect(),
            held: vec![BTreeMap::new(); input.members.len()],
            load: vec![0; input.members.len()],
            ids,
        };
        for (member, subscriber) in input.members.iter().enumerate() {
            for topic in subscriber.topics.iter().filter_map(|id| index.get(id)) {
                plan.subscribers[*topic].push(member);
            }
            for (id, partition) in subscriber.current {
                if subscriber.topics.contains(id)
                    && let Some(topic) = index.get(id)
                    && plan.free[*topic].contains(partition)
                {
                    plan.give(member, *topic, *partition);
                }
            }
        }
        plan
    }

    fn give(&mut self, member: usize, topic: usize, partition: i32) {
        self.free[topic].remove(&partition);
        self.held[member].entry(topic).or_default().insert(partition);
        self.load[member] += 1;
    }

    /// The highest partition of a topic that the member has.
    fn take(&mut self, member: usize, topic: usize) -> Option<i32> {
        let partitions = self.held[member].get_mut(&topic)?;
        let partition = partitions.pop_last()?;
        if partitions.is_empty() {
            self.held[member].remove(&topic);
        }
        self.load[member] -= 1;
        Some(partition)
    }

    fn count(&self, member: usize, topic: usize) -> usize {
        self.held[member].get(&topic).map_or(0, BTreeSet::len)
    }

    fn release_surplus(&mut self) {
        let members = self.load.len();
        if members == 0 {
            return;
        }
        let total: usize = self.load.iter().sum::<usize>() + self.free.iter().map(BTreeSet::len).sum::<usize>();
        let (quota, mut extra) = (total / members, total % members);
        let mut by_load: Vec<usize> = (0..members).collect();
        // Who has most keeps the odd ones: fewer partitions move.
        by_load.sort_by_key(|m| (std::cmp::Reverse(self.load[*m]), *m));
        for member in by_load {
            let mut allowed = quota;
            if extra > 0 && self.load[member] > quota {
                allowed += 1;
                extra -= 1;
            }
            while self.load[member] > allowed {
                let most =
                    self.held[member].iter().max_by_key(|(topic, p)| (p.len(), **topic)).map(|(topic, _)| *topic);
                let Some(topic) = most else { break };
                if let Some(partition) = self.take(member, topic) {
                    self.free[topic].insert(partition);
                }
            }
        }
    }

    fn hand_out(&mut self) {
        let mut order: Vec<usize> = (0..self.ids.len()).filter(|t| !self.free[*t].is_empty()).collect();
        order.sort_by_key(|t| (self.subscribers[*t].len(), *t));
        for topic in order {
            let mut least: BTreeSet<(usize, usize, usize)> =
                self.subscribers[topic].iter().map(|m| (self.load[*m], self.count(*m, topic), *m)).collect();
            for partition in std::mem::take(&mut self.free[topic]) {
                let Some((load, count, member)) = least.pop_first() else { break };
                self.give(member, topic, partition);
                least.insert((load + 1, count + 1, member));
            }
        }
    }

    /// Moves partitions between subscribers of one topic until no move helps.
    fn level_topics(&mut self) {
        let mut again = true;
        while again {
            again = false;
            for topic in 0..self.ids.len() {
                let mut by_load: BTreeSet<(usize, usize)> =
                    self.subscribers[topic].iter().map(|m| (self.load[*m], *m)).collect();
                let mut holders: BTreeSet<(usize, usize)> =
                    by_load.iter().filter(|(_, m)| self.count(*m, topic) > 0).copied().collect();
                while let (Some(&(most, from)), Some(&(least, to))) = (holders.last(), by_load.first()) {
                    if most < least + 2 {
                        break;
                    }
                    let Some(partition) = self.take(from, topic) else { break };
                    self.give(to, topic, partition);
                    for (was, member) in [(most, from), (least, to)] {
                        by_load.remove(&(was, member));
                        holders.remove(&(was, member));
                        by_load.insert((self.load[member], member));
                        if self.count(member, topic) > 0 {
                            holders.insert((self.load[member], member));
                        }
                    }
                    again = true;
                }
            }
        }
    }

    /// Moves along chains: A gives to B what B can pass on to C.
    fn level_chains(&mut self) {
        let mut work = 0;
        let mut order: Vec<usize> = (0..self.load.len()).collect();
        order.sort_by_key(|m| (std::cmp::Reverse(self.load[*m]), *m));
        let mut improved = true;
        while improved {
            improved = false;
            for member in &order {
                while let Some(chain) = self.chain_from(*member, &mut work) {
                    for (from, topic, to) in chain {
                        if let Some(partition) = self.take(from, topic) {
                            self.give(to, topic, partition);
                        }
                    }
                    improved = true;
                }
                if work > CHAIN_WORK_MAX {
                    return;
                }
            }
        }
    }

    /// Moves from a member to one with at least two partitions less, by the fewest members; from the far end backwards.
    fn chain_from(&self, start: usize, work: &mut usize) -> Option<Vec<(usize, usize, usize)>> {
        let mut reached: Vec<Option<(usize, usize)>> = vec![None; self.load.len()];
        let mut seen = vec![false; self.ids.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(member) = queue.pop_front() {
            for topic in self.held[member].keys() {
                if std::mem::replace(&mut seen[*topic], true) {
                    continue;
                }
                for next in &self.subscribers[*topic] {
                    *work += 1;
                    if *next == start || reached[*next].is_some() {
                        continue;
                    }
                    reached[*next] = Some((member, *topic));
                    if self.load[*next] + 2 <= self.load[start] {
                        return Some(path(&reached, *next));
                    }
                    queue.push_back(*next);
                }
            }
            if *work > CHAIN_WORK_MAX {
                return None;
            }
        }
        None
    }

    fn into_target(self, input: &Input<'_>) -> Target {
        let members = input.members.iter().zip(self.held);
        members
            .map(|(member, held)| {
                let partitions = held.into_iter().flat_map(|(topic, partitions)| {
                    let id = self.ids[topic];
                    partitions.into_iter().map(move |partition| (id, partition))
                });
                (member.id.to_owned(), partitions.collect())
            })
            .collect()
    }
}

fn path(reached: &[Option<(usize, usize)>], end: usize) -> Vec<(usize, usize, usize)> {
    let mut moves = Vec::new();
    let mut to = end;
    while let Some((from, topic)) = reached[to] {
        moves.push((from, topic, to));
        to = from;
    }
    moves
}
