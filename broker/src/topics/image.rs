//! Topics as group coordinators need them: names, ids and partition counts at one moment.
use std::collections::{BTreeMap, HashMap};

use weir_protocol::ids::TopicId;

/// An immutable picture of all topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicImage {
    /// Grows with every change of any topic, also across deletions.
    pub version: u64,
    by_name: BTreeMap<String, (TopicId, i32)>,
    names: HashMap<TopicId, String>,
}

impl TopicImage {
    /// `topics`: name, id, number of partitions.
    pub fn new(version: u64, topics: impl IntoIterator<Item = (String, TopicId, i32)>) -> TopicImage {
        let mut image = TopicImage { version, ..TopicImage::default() };
        for (name, id, partitions) in topics {
            image.names.insert(id, name.clone());
            image.by_name.insert(name, (id, partitions));
        }
        image
    }

    /// Id and number of partitions.
    pub fn get(&self, name: &str) -> Option<(TopicId, i32)> {
        self.by_name.get(name).copied()
    }

    /// `None`: deleted, or never there.
    pub fn name_of(&self, id: TopicId) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// In order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}
