//! Ranges: topic by topic, the subscribers in a fixed order get equal runs of partitions, the first ones one more.
//!
//! Static members come first, by instance id, so that a restart under another member id changes nothing. Members with the same
//! topics get the same partition numbers of all topics with equally many partitions, as joins of streams want it.
use std::collections::BTreeSet;

use super::{Input, Subscriber, Target};

pub(super) fn assign(input: &Input<'_>) -> Target {
    let mut members: Vec<&Subscriber<'_>> = input.members.iter().collect();
    members.sort_by_key(|m| (m.instance_id.is_none(), m.instance_id, m.id));
    let mut target: Target = members.iter().map(|m| (m.id.to_owned(), BTreeSet::new())).collect();
    for (topic, partitions) in &input.partitions {
        let subscribers: Vec<&str> = members.iter().filter(|m| m.topics.contains(topic)).map(|m| m.id).collect();
        let count = i32::try_from(subscribers.len()).unwrap_or(i32::MAX);
        if count == 0 {
            continue;
        }
        let (quota, extra) = (partitions / count, partitions % count);
        let mut next = 0;
        for (position, id) in (0..).zip(subscribers) {
            let end = next + quota + i32::from(position < extra);
            target.entry(id.to_owned()).or_default().extend((next..end).map(|partition| (*topic, partition)));
            next = end;
        }
    }
    target
}
