//! Who is to own which partition. Pure functions of members, their topics and what they were to own before.
use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::ids::TopicId;

use super::TopicPartition;

mod range;
#[cfg(test)]
mod tests;
mod uniform;

/// The assignors of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssignorKind {
    /// Partition n of every topic goes to the same member, where topics have equally many.
    Range,
    /// Everybody gets the same number, and keeps what it has.
    Uniform,
}

impl AssignorKind {
    pub const ALL: [AssignorKind; 2] = [AssignorKind::Uniform, AssignorKind::Range];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            AssignorKind::Uniform => "uniform",
            AssignorKind::Range => "range",
        }
    }

    pub fn named(name: &str) -> Option<AssignorKind> {
        AssignorKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A member as assignors see it.
#[derive(Debug, Clone)]
pub struct Subscriber<'a> {
    pub id: &'a str,
    pub instance_id: Option<&'a str>,
    pub topics: BTreeSet<TopicId>,
    /// What it was to own before; may name partitions that it no longer wants or that are gone.
    pub current: &'a BTreeSet<TopicPartition>,
}

#[derive(Debug, Clone, Default)]
pub struct Input<'a> {
    pub members: Vec<Subscriber<'a>>,
    /// Number of partitions of every subscribed topic.
    pub partitions: BTreeMap<TopicId, i32>,
}

/// Member id -> what it is to own. Every member is in it; every partition of a topic with subscribers goes to one of them.
pub type Target = BTreeMap<String, BTreeSet<TopicPartition>>;

pub fn assign(kind: AssignorKind, input: &Input<'_>) -> Target {
    match kind {
        AssignorKind::Range => range::assign(input),
        AssignorKind::Uniform => uniform::assign(input),
    }
}
