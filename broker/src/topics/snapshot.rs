//! What readers see of the registry: immutable, one value after the other.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use weir_protocol::ids::TopicId;

use super::{PARTITIONS_MAX, Topic, TopicError, TopicImage};

/// All topics' partitions.
pub(super) const PARTITIONS_TOTAL_MAX: i64 = 200_000;

#[derive(Default, Clone)]
pub(super) struct Snapshot {
    /// Grows with every change.
    pub version: u64,
    /// Made when it is first asked for.
    pub image: OnceLock<Arc<TopicImage>>,
    pub by_name: BTreeMap<String, Arc<Topic>>,
    pub by_id: HashMap<TopicId, Arc<Topic>>,
}

impl Snapshot {
    pub fn next(&self) -> Snapshot {
        let (by_name, by_id) = (self.by_name.clone(), self.by_id.clone());
        Snapshot { version: self.version + 1, image: OnceLock::new(), by_name, by_id }
    }

    pub fn with(&self, topic: &Arc<Topic>) -> Snapshot {
        let mut next = self.next();
        next.add(topic);
        next
    }

    pub fn add(&mut self, topic: &Arc<Topic>) {
        self.by_name.insert(topic.name.clone(), topic.clone());
        self.by_id.insert(topic.id, topic.clone());
    }

    pub fn without(&self, topic: &Topic) -> Snapshot {
        let mut next = self.next();
        next.by_name.remove(&topic.name);
        next.by_id.remove(&topic.id);
        next
    }
}

/// Refuses `added` more partitions, or a topic of `wanted`, beyond the limits.
pub(super) fn check_count(snapshot: &Snapshot, name: &str, wanted: i32, added: i32) -> Result<(), TopicError> {
    if !(1..=PARTITIONS_MAX).contains(&wanted) {
        return Err(TopicError::InvalidPartitions { name: name.to_owned(), wanted });
    }
    let stored = snapshot.by_name.values().filter(|t| t.view.is_none());
    let total: i64 = stored.map(|t| i64::from(t.partitions)).sum();
    if total + i64::from(added) > PARTITIONS_TOTAL_MAX {
        return Err(TopicError::TooManyPartitions);
    }
    Ok(())
}
