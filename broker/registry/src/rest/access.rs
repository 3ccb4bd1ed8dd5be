//! Who asks, and what they may do. The registry knows neither users nor access control lists: whoever serves it brings a [`Gate`].
//!
//! What each endpoint needs is [`Endpoint::need`](super::route::Endpoint::need), one match: an endpoint without a rule does not compile.
use async_trait::async_trait;
use axum::http::HeaderValue;
use axum::http::request::Parts;

use super::query::Query;
use super::route::Endpoint;
use crate::error::RegistryError;
use crate::registry::{Registry, unqualified};

/// What somebody wants to do to a topic's schemas, or to all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// See schemas.
    Describe,
    /// Register.
    Write,
    /// Delete versions and subjects.
    Delete,
    /// See compatibility and mode.
    DescribeConfigs,
    /// Change them.
    AlterConfigs,
}

impl Right {
    /// As access control lists name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Right::Describe => "DESCRIBE",
            Right::Write => "WRITE",
            Right::Delete => "DELETE",
            Right::DescribeConfigs => "DESCRIBE_CONFIGS",
            Right::AlterConfigs => "ALTER_CONFIGS",
        }
    }
}

/// To what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// The schemas of one topic.
    Topic(&'a str),
    /// What holds for all of them.
    Cluster,
}

/// Why nobody was found behind a request.
#[derive(Debug)]
pub enum TurnedAway {
    /// Credentials are missing or wrong: how to give them (`WWW-Authenticate`), and what the client is told.
    Unauthenticated { challenges: Vec<HeaderValue>, message: String },
    /// Whoever it is takes too much of the registry already.
    TooMany { reason: String },
    /// Nobody can tell now.
    NotReady { reason: String },
}

/// Who stands before the registry.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Who sends a request. Asked before anything of its body is read.
    async fn identify(&self, head: &Parts) -> Result<Box<dyn Caller>, TurnedAway>;
}

/// Somebody who asks.
pub trait Caller: Send + Sync {
    /// Whether they may do it; a refusal is noted. `endpoint`: method and path with names instead of values.
    fn may(&self, right: Right, on: Resource<'_>, endpoint: &str) -> bool;

    /// Whether they may see the schemas of a topic, where a refusal only leaves something out.
    fn sees(&self, topic: &str) -> bool;

    /// Who they are, for messages.
    fn name(&self) -> String;

    /// A change of theirs was answered: of which subject, and with which `error_code`.
    fn changed(&self, endpoint: &str, subject: Option<&str>, error: Option<u32>);
}

/// Lets everybody do everything: for a registry without users, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Open;

#[async_trait]
impl Gate for Open {
    async fn identify(&self, _head: &Parts) -> Result<Box<dyn Caller>, TurnedAway> {
        Ok(Box::new(Open))
    }
}

impl Caller for Open {
    fn may(&self, _right: Right, _on: Resource<'_>, _endpoint: &str) -> bool {
        true
    }

    fn sees(&self, _topic: &str) -> bool {
        true
    }

    fn name(&self) -> String {
        "everybody".to_owned()
    }

    fn changed(&self, _endpoint: &str, _subject: Option<&str>, _error: Option<u32>) {}
}

/// What an endpoint needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need<'a> {
    /// Nothing but a client that is known, if clients authenticate.
    Nothing,
    /// Nothing; what may not be described is left out.
    Filtered,
    /// DESCRIBE of one topic that uses what is asked for.
    Usage,
    /// This of the topic of a subject.
    Subject(Right, &'a str),
    /// This of the cluster.
    Cluster(Right),
}

/// The topic that a subject is judged as: that of which it describes keys or values, or else one of its own name.
#[must_use]
pub fn topic_of(subject: &str) -> &str {
    let subject = unqualified(subject);
    let stem = subject.strip_suffix("-value").or_else(|| subject.strip_suffix("-key"));
    stem.filter(|topic| !topic.is_empty()).unwrap_or(subject)
}

/// Who asks for what, as the handlers need it.
pub(super) struct Access<'a> {
    pub caller: &'a dyn Caller,
    /// Method and path with names instead of values.
    pub endpoint: &'static str,
}

impl Access<'_> {
    /// Refuses what the endpoint as such needs and its caller has not.
    pub fn check(&self, endpoint: &Endpoint) -> Result<(), RegistryError> {
        match endpoint.need() {
            Need::Nothing | Need::Filtered | Need::Usage => Ok(()),
            Need::Subject(right, subject) => self.subject(right, subject),
            Need::Cluster(right) => self.judge(right, Resource::Cluster),
        }
    }

    /// Refuses what the caller may not do to a subject.
    pub fn subject(&self, right: Right, subject: &str) -> Result<(), RegistryError> {
        self.judge(right, Resource::Topic(topic_of(subject)))
    }

    fn judge(&self, right: Right, on: Resource<'_>) -> Result<(), RegistryError> {
        if self.caller.may(right, on, self.endpoint) {
            return Ok(());
        }
        let what = match on {
            Resource::Topic(topic) => format!("topic {topic}"),
            Resource::Cluster => "the cluster".to_owned(),
        };
        Err(RegistryError::Forbidden { who: self.caller.name(), operation: right.name(), what })
    }

    /// Whether a subject is shown.
    pub fn sees(&self, subject: &str) -> bool {
        self.caller.sees(topic_of(subject))
    }

    /// Refuses a schema that no subject uses whose topic may be described. Deleted versions count: their records may still be there.
    pub fn usage(&self, registry: &Registry, id: crate::model::SchemaId) -> Result<(), RegistryError> {
        let subjects: Vec<String> =
            registry.read(|state| state.usages(id).map(|(subject, _)| subject.clone()).collect());
        if subjects.iter().any(|subject| self.sees(subject)) {
            return Ok(());
        }
        // The refusal is noted under the first of them; a schema that is used nowhere is the cluster's.
        match subjects.first() {
            Some(subject) => self.subject(Right::Describe, subject),
            None => self.judge(Right::DescribeConfigs, Resource::Cluster),
        }
    }

    /// The items of a list whose subjects are shown, then its page.
    pub fn shown<T>(&self, query: &Query, items: Vec<T>, subject: impl Fn(&T) -> &str) -> Vec<T> {
        query.page(items.into_iter().filter(|item| self.sees(subject(item))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_judged_as_the_topics_that_they_describe() {
        for (subject, topic) in [
            ("flights-value", "flights"),
            ("flights-key", "flights"),
            (":.:flights-value", "flights"),
            ("flights", "flights"),
            ("flights-values", "flights-values"),
            ("a-key-value", "a-key"),
            ("-value", "-value"),
        ] {
            assert_eq!(topic_of(subject), topic);
        }
    }
}
