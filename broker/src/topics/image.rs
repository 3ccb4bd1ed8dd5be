//! Topics as group coordinators need them: names, ids and partition counts at one moment.
use std::collections::{BTreeMap, BTreeSet, HashMap};

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

    /// A number that changes when any of these topics does: FNV-1a over names, ids and partition counts.
    pub fn hash_of(&self, names: BTreeSet<&str>) -> i64 {
        let mut hash: u64 = 0;
        for name in names {
            let Some((id, partitions)) = self.get(name) else { continue };
            if hash == 0 {
                hash = 0xcbf2_9ce4_8422_2325;
            }
            // The length keeps two names from running into each other.
            let length = name.len() as u32;
            let parts = [&length.to_be_bytes()[..], name.as_bytes(), id.0.as_bytes(), &partitions.to_be_bytes()];
            for byte in parts.into_iter().flatten() {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash as i64
    }

    /// In order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}
