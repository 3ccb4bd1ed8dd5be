//! The range assignor: each topic's partitions in contiguous ranges over the members that want it.
//!
//! Members and partitions are taken in the same order as in Kafka's Java client, so a group with members of both kinds gets
//! the same assignment whoever leads it, and topics with equal partition counts stay aligned for joins.

use std::collections::BTreeMap;

use super::protocol::{Assignment, Subscription};

/// Name under which members offer this assignor.
pub const RANGE: &str = "range";

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The id the coordinator gave it.
    pub id: String,
    /// Its static name; static members come first, by this name.
    pub instance_id: Option<String>,
    /// What it wants.
    pub subscription: Subscription,
}

impl Member {
    fn order(&self) -> (bool, &str) {
        match &self.instance_id {
            Some(instance) => (false, instance),
            None => (true, &self.id),
        }
    }
}

/// Assigns every partition of the topics in `partitions` (name to count); every member gets an entry.
pub fn assign_ranges(members: &[Member], partitions: &BTreeMap<String, i32>) -> BTreeMap<String, Assignment> {
    let mut ordered: Vec<_> = members.iter().collect();
    ordered.sort_by(|left, right| left.order().cmp(&right.order()));
    let mut assignments: BTreeMap<String, Assignment> =
        members.iter().map(|member| (member.id.clone(), Assignment::new())).collect();
    for (topic, &count) in partitions {
        let wanting: Vec<_> =
            ordered.iter().filter(|member| member.subscription.topics.iter().any(|wanted| wanted == topic)).collect();
        let Ok(members) = i32::try_from(wanting.len()) else { continue };
        if members == 0 {
            continue;
        }
        let (share, extra) = (count / members, count % members);
        let mut next = 0;
        for (position, member) in (0..).zip(wanting) {
            let end = next + share + i32::from(position < extra);
            if end > next {
                assignments.entry(member.id.clone()).or_default().insert(topic.clone(), (next..end).collect());
            }
            next = end;
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> Member {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Member {
            id: id.into(),
            instance_id: instance.map(str::to_owned),
            subscription: Subscription { topics, owned: Assignment::new() },
        }
    }

    type Expected<'a> = (&'a str, &'a [(&'a str, &'a [i32])]);

    fn check(members: &[Member], topics: &[(&str, i32)], expected: &[Expected<'_>]) {
        let partitions = topics.iter().map(|&(topic, count)| (topic.to_owned(), count)).collect();
        let expected: BTreeMap<String, Assignment> = expected
            .iter()
            .map(|(id, topics)| {
                let topics = topics.iter().map(|(topic, partitions)| ((*topic).to_owned(), partitions.to_vec()));
                ((*id).to_owned(), topics.collect())
            })
            .collect();
        assert_eq!(assign_ranges(members, &partitions), expected);
    }

    #[test]
    fn the_first_members_take_the_remainder_of_each_topic() {
        check(
            &[member("c2", None, &["a", "b"]), member("c1", None, &["a", "b"])],
            &[("a", 3), ("b", 3)],
            &[("c1", &[("a", &[0, 1]), ("b", &[0, 1])]), ("c2", &[("a", &[2]), ("b", &[2])])],
        );
    }

    #[test]
    fn members_get_only_topics_they_want_and_may_get_nothing() {
        check(
            &[member("c1", None, &["a"]), member("c2", None, &["a", "b"]), member("c3", None, &["a"])],
            &[("a", 2), ("b", 2), ("unwanted", 5)],
            &[("c1", &[("a", &[0])]), ("c2", &[("a", &[1]), ("b", &[0, 1])]), ("c3", &[])],
        );
    }

    #[test]
    fn static_members_come_first_by_their_static_name() {
        check(
            &[member("a", None, &["t"]), member("z", Some("i1"), &["t"]), member("y", Some("i2"), &["t"])],
            &[("t", 4)],
            &[("z", &[("t", &[0, 1])]), ("y", &[("t", &[2])]), ("a", &[("t", &[3])])],
        );
    }
}
