//! Properties of both assignors over random groups, and the best possible balance for small ones.
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn topic(n: usize) -> TopicId {
    TopicId(Uuid::from_u128(n as u128 + 1))
}

/// Topics of each member, by number.
#[derive(Debug, Clone)]
struct Group {
    partitions: Vec<i32>,
    members: Vec<BTreeSet<usize>>,
    statics: Vec<bool>,
}

impl Group {
    fn assign(&self, kind: AssignorKind, before: &Target) -> Target {
        let names: Vec<String> = (0..self.members.len()).map(|n| format!("m{n:03}")).collect();
        let none = BTreeSet::new();
        let members = names.iter().zip(&self.members).zip(&self.statics).map(|((id, topics), is_static)| Subscriber {
            id,
            instance_id: is_static.then_some(id),
            topics: topics.iter().map(|t| topic(*t)).collect(),
            current: before.get(id).unwrap_or(&none),
        });
        let members: Vec<_> = members.collect();
        let used: BTreeSet<TopicId> = members.iter().flat_map(|m| m.topics.iter().copied()).collect();
        let partitions = self.partitions.iter().enumerate().map(|(t, count)| (topic(t), *count));
        let partitions = partitions.filter(|(t, _)| used.contains(t)).collect();
        assign(kind, &Input { members, partitions })
    }

    /// Everything goes to exactly one subscriber.
    fn check_complete(&self, target: &Target) {
        assert_eq!(target.len(), self.members.len());
        let mut seen = BTreeSet::new();
        for (n, (_, partitions)) in target.iter().enumerate() {
            for (id, partition) in partitions {
                let t = (0..self.partitions.len()).find(|t| topic(*t) == *id).expect("a topic that is");
                assert!(self.members[n].contains(&t), "only subscribers get partitions");
                assert!((0..self.partitions[t]).contains(partition));
                assert!(seen.insert((*id, *partition)), "one owner each");
            }
        }
        let wanted: BTreeSet<usize> = self.members.iter().flatten().copied().collect();
        let total: i32 = wanted.iter().map(|t| self.partitions[*t]).sum();
        assert_eq!(seen.len(), total as usize, "nothing is left over");
    }
}

fn loads(target: &Target) -> Vec<usize> {
    target.values().map(BTreeSet::len).collect()
}

fn any_group(topics: usize, partitions: i32, members: usize, same: bool) -> impl Strategy<Value = Group> {
    let subscription = prop::collection::btree_set(0..topics, 1..=topics);
    (prop::collection::vec(1..=partitions, topics), prop::collection::vec((subscription, any::<bool>()), 1..=members))
        .prop_map(move |(partitions, members)| {
            let (mut members, statics): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            if same {
                let first = members[0].clone();
                members.fill(first);
            }
            Group { partitions, members, statics }
        })
}

/// Sum of squares of the best assignment, by trying all of them.
fn best(group: &Group) -> usize {
    let owners: Vec<Vec<usize>> = (0..group.partitions.len())
        .flat_map(|t| {
            let who: Vec<usize> = (0..group.members.len()).filter(|m| group.members[*m].contains(&t)).collect();
            vec![who; group.partitions[t] as usize]
        })
        .filter(|who| !who.is_empty())
        .collect();
    fn search(owners: &[Vec<usize>], loads: &mut Vec<usize>) -> usize {
        let Some((first, rest)) = owners.split_first() else { return loads.iter().map(|l| l * l).sum() };
        let mut least = usize::MAX;
        for member in first {
            loads[*member] += 1;
            least = least.min(search(rest, loads));
            loads[*member] -= 1;
        }
        least
    }
    search(&owners, &mut vec![0; group.members.len()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_is_assigned_once_and_to_subscribers(group in any_group(6, 12, 12, false)) {
        for kind in AssignorKind::ALL {
            let target = group.assign(kind, &Target::new());
            group.check_complete(&target);
            prop_assert_eq!(&group.assign(kind, &target), &target, "what is right stays");
        }
    }

    #[test]
    fn equal_subscriptions_get_equal_numbers(group in any_group(5, 20, 15, true)) {
        let target = group.assign(AssignorKind::Uniform, &Target::new());
        let loads = loads(&target);
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
    }

    #[test]
    fn different_subscriptions_are_balanced_as_well_as_can_be(group in any_group(3, 3, 4, false)) {
        let target = group.assign(AssignorKind::Uniform, &Target::new());
        let squares: usize = loads(&target).iter().map(|l| l * l).sum();
        prop_assert_eq!(squares, best(&group));
    }

    #[test]
    fn who_stays_keeps_its_partitions_when_another_leaves(group in any_group(5, 20, 12, true)) {
        prop_assume!(group.members.len() > 1);
        let before = group.assign(AssignorKind::Uniform, &Target::new());
        let mut smaller = group.clone();
        smaller.members.pop();
        smaller.statics.pop();
        let after = smaller.assign(AssignorKind::Uniform, &before);
        smaller.check_complete(&after);
        for (id, partitions) in &after {
            prop_assert!(partitions.is_superset(&before[id]), "{} lost something", id);
        }
    }

    #[test]
    fn a_newcomer_takes_only_its_share(group in any_group(5, 20, 12, true)) {
        let before = group.assign(AssignorKind::Uniform, &Target::new());
        let mut larger = group.clone();
        larger.members.push(group.members[0].clone());
        larger.statics.push(false);
        let after = larger.assign(AssignorKind::Uniform, &before);
        larger.check_complete(&after);
        for (id, partitions) in &before {
            prop_assert!(after[id].is_subset(partitions), "{} got something another had", id);
        }
    }

    #[test]
    fn partitions_are_balanced_again_after_any_change(
        first in any_group(4, 12, 8, true),
        second in any_group(4, 12, 8, true),
    ) {
        let before = first.assign(AssignorKind::Uniform, &Target::new());
        let after = second.assign(AssignorKind::Uniform, &before);
        second.check_complete(&after);
        let loads = loads(&after);
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{:?}", loads);
    }
}

#[test]
fn ranges_of_topics_with_equally_many_partitions_go_together() {
    let group = Group { partitions: vec![5, 5], members: vec![[0, 1].into(); 2], statics: vec![false, true] };
    let target = group.assign(AssignorKind::Range, &Target::new());
    // The static member comes first and gets the odd one.
    let numbers =
        |id: &str, t| target[id].iter().filter(|(id, _)| *id == topic(t)).map(|(_, p)| *p).collect::<Vec<_>>();
    assert_eq!((numbers("m001", 0), numbers("m000", 0)), (vec![0, 1, 2], vec![3, 4]));
    assert_eq!(numbers("m001", 0), numbers("m001", 1));
}

#[test]
fn a_second_member_gets_half_of_every_topic() {
    let one = Group { partitions: vec![10, 10], members: vec![[0, 1].into()], statics: vec![false] };
    let before = one.assign(AssignorKind::Uniform, &Target::new());
    let two = Group { members: vec![[0, 1].into(); 2], statics: vec![false; 2], ..one };
    let after = two.assign(AssignorKind::Uniform, &before);
    for partitions in after.values() {
        assert_eq!(partitions.iter().filter(|(id, _)| *id == topic(0)).count(), 5);
    }
}

#[test]
fn large_groups_are_assigned_in_a_moment() {
    let members: Vec<BTreeSet<usize>> = (0..1_000).map(|m| (0..50).filter(|t| (m + t) % 3 != 0).collect()).collect();
    let group = Group { partitions: vec![100; 50], statics: vec![false; 1_000], members };
    let start = std::time::Instant::now();
    let target = group.assign(AssignorKind::Uniform, &Target::new());
    group.check_complete(&target);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    assert!(loads(&target).iter().all(|l| (4..=6).contains(l)));
}
