//! Who reads which partition of a share group: the assignor "simple" of KIP-932. A pure function.
//!
//! Every partition of a topic with subscribers is read by somebody. With more members than partitions, partitions are shared,
//! so that every member has some. The load is even, and who has a partition keeps it where that leaves the load even.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::TopicId;

use crate::group::consumer::TopicPartition;

/// A member as the assignor sees it.
#[derive(Debug, Clone)]
pub struct Subscriber<'a> {
    pub id: &'a str,
    pub wants: BTreeSet<TopicId>,
    /// What it was to read before; may name partitions that it no longer wants or that are gone.
    pub has: Option<&'a BTreeSet<TopicPartition>>,
}

/// Member id -> what it is to read. Every member is in it.
pub type Target = BTreeMap<String, BTreeSet<TopicPartition>>;

/// Assigns. Members that want the same topics get numbers of partitions that differ by one at most.
pub fn assign(members: &[Subscriber<'_>], partitions: &BTreeMap<TopicId, i32>) -> Target {
    let mut assigned: Vec<BTreeSet<TopicPartition>> = vec![BTreeSet::new(); members.len()];
    // Members of one subscription are assigned together; of several groups each partition gets readers from each.
    let mut alike: BTreeMap<&BTreeSet<TopicId>, Vec<usize>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        alike.entry(&member.wants).or_default().push(index);
    }
    for (wants, indices) in alike {
        let all: Vec<TopicPartition> = wants
            .iter()
            .flat_map(|topic| (0..partitions.get(topic).copied().unwrap_or(0)).map(|partition| (*topic, partition)))
            .collect();
        if !all.is_empty() {
            assign_alike(members, &indices, &all, &mut assigned);
        }
    }
    members.iter().map(|member| member.id.to_owned()).zip(assigned).collect()
}

/// Assigns `all` to members that want exactly these.
fn assign_alike(
    members: &[Subscriber<'_>],
    indices: &[usize],
    all: &[TopicPartition],
    assigned: &mut [BTreeSet<TopicPartition>],
) {
    // A reader for each partition if there are not more members than that, otherwise a partition for each member.
    let places = all.len().max(indices.len());
    let (each, more) = (places / indices.len(), places % indices.len());
    let (shared, shared_more) = (places / all.len(), places % all.len());
    let mut readers: BTreeMap<TopicPartition, usize> = all.iter().map(|partition| (*partition, 0)).collect();
    let (mut with_more, mut read_by_more) = (0, 0);
    // First what members have, within what evenness allows; the larger shares go to those who keep something by it.
    for index in indices {
        for partition in members[*index].has.into_iter().flatten() {
            let mine = &mut assigned[*index];
            let Some(readers) = readers.get_mut(partition) else { continue };
            let room = mine.len() < each || (mine.len() == each && with_more < more);
            let shares = *readers < shared || (*readers == shared && read_by_more < shared_more);
            if room && shares {
                with_more += usize::from(mine.len() == each);
                read_by_more += usize::from(*readers == shared);
                *readers += 1;
                mine.insert(*partition);
            }
        }
    }
    // Then what is left: the partitions with the fewest readers to the members with the fewest partitions.
    for target in [each, each + 1] {
        for index in indices {
            while assigned[*index].len() < target && (target == each || with_more < more) {
                let mine = &assigned[*index];
                let least =
                    readers.iter().filter(|(p, _)| !mine.contains(p)).min_by_key(|(p, readers)| (**readers, **p));
                let Some((partition, _)) = least.map(|(p, r)| (*p, *r)) else { break };
                *readers.entry(partition).or_default() += 1;
                assigned[*index].insert(partition);
                with_more += usize::from(target > each);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn topic(n: u128) -> TopicId {
        TopicId(Uuid::from_u128(n))
    }

    /// Assigns members that want `wants` of topics with these partitions, from what they had.
    fn run(had: &Target, wants: &BTreeMap<String, BTreeSet<TopicId>>, partitions: &BTreeMap<TopicId, i32>) -> Target {
        let members: Vec<Subscriber<'_>> =
            wants.iter().map(|(id, wants)| Subscriber { id, wants: wants.clone(), has: had.get(id) }).collect();
        assign(&members, partitions)
    }

    fn all_want(members: usize, topics: &[u128]) -> BTreeMap<String, BTreeSet<TopicId>> {
        (0..members).map(|n| (format!("m{n:03}"), topics.iter().map(|t| topic(*t)).collect())).collect()
    }

    fn readers(target: &Target) -> BTreeMap<TopicPartition, usize> {
        let mut readers = BTreeMap::new();
        for partition in target.values().flatten() {
            *readers.entry(*partition).or_insert(0) += 1;
        }
        readers
    }

    #[test]
    fn more_members_than_partitions_share_them() {
        let target = run(&Target::new(), &all_want(5, &[1]), &[(topic(1), 2)].into());
        assert!(target.values().all(|mine| mine.len() == 1));
        let counts: Vec<usize> = readers(&target).into_values().collect();
        assert_eq!(counts.iter().sum::<usize>(), 5);
        assert!(counts.iter().all(|count| (2..=3).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_member_that_comes_takes_its_share_and_the_others_keep_the_rest() {
        let partitions = [(topic(1), 6)].into();
        let before = run(&Target::new(), &all_want(2, &[1]), &partitions);
        let after = run(&before, &all_want(3, &[1]), &partitions);
        assert!(after.values().all(|mine| mine.len() == 2));
        let kept: usize = before.iter().map(|(id, mine)| mine.intersection(&after[id]).count()).sum();
        assert_eq!(kept, 4, "two of three stay with each");
    }

    proptest! {
        #[test]
        fn every_partition_is_read_and_the_load_is_even(
            sizes in prop::collection::vec((1usize..12, 1i32..9, 0i32..5), 1..6),
        ) {
            let mut had = Target::new();
            for (members, first, second) in sizes {
                let partitions: BTreeMap<TopicId, i32> = [(topic(1), first), (topic(2), second)].into();
                let wants = all_want(members, &[1, 2]);
                let target = run(&had, &wants, &partitions);
                prop_assert_eq!(target.len(), members);
                let readers = readers(&target);
                prop_assert_eq!(readers.len() as i32, first + second, "everything is read, and nothing else");
                let loads: Vec<usize> = target.values().map(BTreeSet::len).collect();
                prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
                let spread = readers.values().max().unwrap() - readers.values().min().unwrap();
                prop_assert!(spread <= 1, "{:?}", readers);
                prop_assert_eq!(run(&target, &wants, &partitions), target.clone(), "nothing changes for nothing");
                had = target;
            }
        }

        #[test]
        fn nobody_reads_what_it_does_not_want_and_all_that_is_wanted_is_read(
            wants in prop::collection::vec(prop::collection::btree_set(1u128..4, 0..3), 1..8),
        ) {
            let partitions: BTreeMap<TopicId, i32> = (1..4).map(|t| (topic(t), t as i32)).collect();
            let wants: BTreeMap<String, BTreeSet<TopicId>> = wants
                .into_iter()
                .enumerate()
                .map(|(n, topics)| (format!("m{n}"), topics.into_iter().map(topic).collect()))
                .collect();
            let target = run(&Target::new(), &wants, &partitions);
            for (id, mine) in &target {
                prop_assert!(mine.iter().all(|(topic, _)| wants[id].contains(topic)));
                prop_assert!(!mine.is_empty() || wants[id].is_empty());
            }
            let wanted: BTreeSet<TopicPartition> = wants
                .values()
                .flatten()
                .flat_map(|topic| (0..partitions[topic]).map(|p| (*topic, p)))
                .collect();
            let read: BTreeSet<TopicPartition> = target.values().flatten().copied().collect();
            prop_assert_eq!(read, wanted);
        }
    }
}
