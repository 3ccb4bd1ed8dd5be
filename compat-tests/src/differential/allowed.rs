//! Where weir means to answer differently from Apache Kafka. Every entry says why, and one that meets no difference any more
//! fails the test: it would hide the next one.

use std::fmt;

use super::compare::Difference;

/// An intended difference.
#[derive(Debug)]
pub struct Allowed {
    /// The scenario's whole name.
    pub scenario: &'static str,
    /// Part of the step's name.
    pub step: &'static str,
    /// The path's end.
    pub path: &'static str,
    /// Kafka's value as JSON; `None` for any.
    pub kafka: Option<&'static str>,
    /// Weir's value as JSON; `None` for any.
    pub weir: Option<&'static str>,
    /// Why.
    pub reason: &'static str,
}

impl Allowed {
    /// True when the difference is the intended one.
    pub fn covers(&self, difference: &Difference) -> bool {
        self.scenario == difference.scenario
            && difference.step.contains(self.step)
            && difference.path.ends_with(self.path)
            && self.kafka.is_none_or(|value| difference.kafka.to_string().as_str() == value)
            && self.weir.is_none_or(|value| difference.weir.to_string().as_str() == value)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {} / {} ({})", self.scenario, self.step, self.path, self.reason)
    }
}

/// All of them.
pub const LIST: &[Allowed] = &[Allowed {
    scenario: "create_topics",
    step: "replication factor 3",
    path: "",
    kafka: None,
    weir: None,
    reason: "charts and Connect ask for three replicas; weir accepts any factor and reports one replica",
}];
