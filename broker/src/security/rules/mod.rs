//! What each Kafka API needs: which operation on which resource, and what is answered without it. Kafka's rules, one `impl` a request.
//!
//! | file | requests about |
//! |---|---|
//! | `topics.rs` | records and topics |
//! | `groups.rs` | groups and their offsets |
//! | `transactions.rs` | transactional producers |
//! | `cluster.rs` | configs, replicas, access control lists, the cluster |
//!
//! The dispatcher serves only requests that implement [`Guarded`]: an API without a rule does not compile. A rule takes out of the
//! request what its client may not ask for, before the handler sees it, and puts the refusals into the handler's answer. Handlers
//! know nothing of it, except Fetch, whose sessions remember what was asked.
mod cluster;
mod groups;
mod shares;
mod topics;
mod transactions;

use std::net::IpAddr;
use std::sync::Arc;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;
use weir_protocol::ids::TopicId;
use weir_scan::Restriction;

use super::Principal;
use super::acl::{AclIndex, CLUSTER_NAME, Decision, Operation, ResourceType};
use super::audit::AuditEvent;
use crate::api::lookup::TopicRef;
use crate::broker::{Broker, RequestContext};
use crate::error_code::ErrorCode;
use crate::topics::Topic;

pub use topics::refuse_produce;

/// What becomes of a request.
pub enum Verdict<'a, R> {
    /// The handler's answer is the answer.
    Allowed,
    /// The handler's answer, completed by this.
    Completed(Box<dyn FnOnce(&mut R) + Send + 'a>),
    /// The handler is not asked.
    Refused(Box<R>),
}

impl<'a, R> Verdict<'a, R> {
    fn refused(answer: R) -> Verdict<'a, R> {
        Verdict::Refused(Box::new(answer))
    }

    fn completed(complete: impl FnOnce(&mut R) + Send + 'a) -> Verdict<'a, R> {
        Verdict::Completed(Box::new(complete))
    }

    /// Completed with what was refused, if anything was.
    fn without<T: Send + 'a>(refused: Vec<T>, complete: impl FnOnce(&mut R, Vec<T>) + Send + 'a) -> Verdict<'a, R> {
        if refused.is_empty() {
            return Verdict::Allowed;
        }
        Verdict::completed(move |answer| complete(answer, refused))
    }
}

/// A request with its rule.
pub trait Guarded {
    /// What answers it.
    type Response;

    /// Takes out what the client may not ask for.
    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, Self::Response>;

    /// What a request of an administrator is about, for the audit log: names, never values. `None` = it changes nothing that
    /// administrators answer for.
    fn audited(&self) -> Option<Vec<String>> {
        None
    }
}

/// Requests that everybody may send: what clients need before they are anybody.
macro_rules! open_to_everybody {
    ($($request:ident => $response:ident),* $(,)?) => {$(
        impl Guarded for kafka_protocol::messages::$request {
            type Response = kafka_protocol::messages::$response;

            fn admit<'a>(&mut self, _access: &'a Access) -> Verdict<'a, Self::Response> {
                Verdict::Allowed
            }
        }
    )*};
}

open_to_everybody! {
    ApiVersionsRequest => ApiVersionsResponse,
    SaslHandshakeRequest => SaslHandshakeResponse,
    SaslAuthenticateRequest => SaslAuthenticateResponse,
}

/// Who asks, and what they may do. Holds one snapshot of the access control lists, so that one request is judged by one state.
pub struct Access {
    broker: Arc<Broker>,
    index: Arc<AclIndex>,
    principal: Arc<Principal>,
    host: IpAddr,
    client_id: Option<String>,
    api: ApiKey,
    version: i16,
}

impl Access {
    /// `None` while nothing is authorised: everybody may do everything.
    pub fn of(broker: &Arc<Broker>, context: &RequestContext, api: ApiKey, version: i16) -> Option<Access> {
        let index = broker.acls.as_ref()?.index();
        let (principal, host) = (context.principal.clone(), context.client_addr.ip());
        let client_id = context.client_id.clone();
        Some(Access { broker: broker.clone(), index, principal, host, client_id, api, version })
    }

    /// Whether the operation is allowed; a refusal is noted.
    pub fn allows(&self, operation: Operation, resource: ResourceType, name: &str) -> bool {
        let allowed = self.would_allow(operation, resource, name);
        if !allowed {
            self.note_refusal(operation, resource, name);
        }
        allowed
    }

    /// Whether the operation is allowed, where a refusal is nothing to speak of: it only leaves something out.
    pub fn would_allow(&self, operation: Operation, resource: ResourceType, name: &str) -> bool {
        self.index.authorize(&self.principal, self.host, operation, resource, name).is_allowed()
    }

    fn would_allow_some(&self, operation: Operation, resource: ResourceType) -> bool {
        self.index.authorize_some(&self.principal, self.host, operation, resource).is_allowed()
    }

    fn cluster(&self, operation: Operation) -> bool {
        self.allows(operation, ResourceType::Cluster, CLUSTER_NAME)
    }

    fn topic(&self, operation: Operation, name: &str) -> bool {
        self.allows(operation, ResourceType::Topic, name)
    }

    fn group(&self, operation: Operation, name: &str) -> bool {
        self.allows(operation, ResourceType::Group, name)
    }

    fn note_refusal(&self, operation: Operation, resource: ResourceType, name: &str) {
        let (api, client_id) = (format!("{:?}", self.api), self.client_id.as_deref());
        note_refusal(&self.broker, &self.principal, self.host, client_id, &api, (operation, resource, name));
    }

    /// Whether records of the topic of a fetch may be read, all of them. A topic that does not exist is the handler's to answer, by its
    /// id; by its name it is judged like any other, so that nobody learns which names exist.
    pub fn may_fetch(&self, topic: &TopicRef, operation: Operation) -> bool {
        match topic {
            TopicRef::Name(name) => self.topic(operation, name),
            TopicRef::Id(id) => self.topic_name(*id).is_none_or(|name| self.topic(operation, &name)),
        }
    }

    /// The same for a fetch, which can be answered with some columns and rows.
    pub fn readable(&self, topic: &TopicRef) -> Readable {
        let found = match topic {
            TopicRef::Name(name) => self.broker.topics.get(name),
            TopicRef::Id(id) => self.broker.topics.by_id(TopicId(*id)),
        };
        let Some(found) = found else {
            return if self.may_fetch(topic, Operation::Read) { Readable::Everything } else { Readable::Nothing };
        };
        let readable = readable_of(&self.broker, &self.index, &self.principal, self.host, &found);
        if matches!(readable, Readable::Nothing) {
            self.note_refusal(Operation::Read, ResourceType::Topic, &found.name);
        }
        readable
    }

    /// Whether offsets may be committed for a topic: for whoever reads some of it too.
    fn follows(&self, name: &str) -> bool {
        let decision = self.index.authorize(&self.principal, self.host, Operation::Read, ResourceType::Topic, name);
        let follows = matches!(decision, Decision::Allowed | Decision::Restricted);
        if !follows {
            self.note_refusal(Operation::Read, ResourceType::Topic, name);
        }
        follows
    }

    /// For replicas, which weir's brokers are not: what a fetch with a replica id needs.
    pub fn may_replicate(&self) -> bool {
        self.cluster(Operation::ClusterAction)
    }

    fn topic_name(&self, id: Uuid) -> Option<String> {
        self.broker.topics.by_id(TopicId(id)).map(|topic| topic.name.clone())
    }

    /// The bit field of KIP-430: what the client may do, of `supported`.
    fn operations(&self, resource: ResourceType, name: &str, supported: i32) -> i32 {
        let allowed = Operation::ALL.iter().filter(|op| supported & (1 << op.wire()) != 0);
        allowed.filter(|op| self.would_allow(**op, resource, name)).fold(0, |bits, op| bits | 1 << op.wire())
    }

    /// Corrects a bit field that the handler filled in, if the client asked for one.
    fn correct(&self, field: &mut i32, resource: ResourceType, name: &str, supported: i32) {
        if *field != crate::api::authorized::NOT_ASKED {
            *field = self.operations(resource, name, supported);
        }
    }

    /// Kafka's text for a code, and what would have been needed.
    fn message(&self, code: ErrorCode, operation: Operation) -> Option<StrBytes> {
        let what = match code {
            ErrorCode::TopicAuthorizationFailed => "Topic authorization failed",
            ErrorCode::GroupAuthorizationFailed => "Group authorization failed",
            ErrorCode::TransactionalIdAuthorizationFailed => "Transactional Id authorization failed",
            _ => "Cluster authorization failed",
        };
        Some(StrBytes::from_string(format!("{what}: {} needs {operation}.", self.principal)))
    }
}

/// Keeps a refusal in the log and the audit log. `api`: Kafka's name, or an HTTP endpoint; `what`: operation, resource and its name.
pub fn note_refusal(
    broker: &Broker,
    principal: &Principal,
    host: IpAddr,
    client_id: Option<&str>,
    api: &str,
    what: (Operation, ResourceType, &str),
) {
    let (operation, resource, name) = what;
    tracing::info!(target: "weir::authorization", %principal, %host, api, %operation, %resource, name, "refused");
    if broker.audit.is_on() {
        let (operation, resource, name) = (operation.name(), resource.name(), name.to_owned());
        let event = AuditEvent::AuthorizationFailed { api: api.to_owned(), operation, resource, name };
        broker.audit.record(principal, host, client_id, &event);
    }
}

/// What somebody may read of a topic that exists. Notes nothing.
#[must_use]
pub fn readable_of(
    broker: &Broker,
    index: &AclIndex,
    principal: &Principal,
    host: IpAddr,
    found: &Arc<Topic>,
) -> Readable {
    let judge = |name: &str| index.authorize(principal, host, Operation::Read, ResourceType::Topic, name);
    // Nobody sees more of a topic through a view than they are given of the topic; those who are given nothing of it see what
    // the view shows.
    let source = found.view.as_ref().and_then(|view| broker.topics.by_id(view.source));
    let restricted = match judge(&found.name) {
        Decision::Restricted => Some(found),
        Decision::Allowed => source.as_ref().filter(|source| judge(&source.name) == Decision::Restricted),
        Decision::Denied => return Readable::Nothing,
    };
    let Some(topic) = restricted else { return Readable::Everything };
    // Judged by the same lists, so it is there; were it not, nothing of the topic is given.
    let Some(grant) = index.grant(principal, &topic.name) else { return Readable::Nothing };
    let restriction = Arc::new(grant.restriction(topic));
    Readable::Part(Arc::new(Part { log: topic.id, restriction }))
}

/// What somebody may read of a topic.
#[derive(Debug, Clone)]
pub enum Readable {
    /// All of it, or it does not exist.
    Everything,
    /// Some columns and rows.
    Part(Arc<Part>),
    /// It is refused.
    Nothing,
}

/// Some columns and rows of a topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// The topic whose records they are: of a view its source.
    pub log: TopicId,
    /// What of them may be read.
    pub restriction: Arc<Restriction>,
}

/// Takes the items out of a list that fail `keep`.
fn take_refused<T>(list: &mut Vec<T>, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
    list.extract_if(.., |item| !keep(item)).collect()
}

const TOPIC_REFUSED: i16 = 29;
const GROUP_REFUSED: i16 = 30;
const CLUSTER_REFUSED: i16 = 31;
const TRANSACTIONAL_ID_REFUSED: i16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_refusals_are_kafkas() {
        let named = [
            (TOPIC_REFUSED, ErrorCode::TopicAuthorizationFailed),
            (GROUP_REFUSED, ErrorCode::GroupAuthorizationFailed),
            (CLUSTER_REFUSED, ErrorCode::ClusterAuthorizationFailed),
            (TRANSACTIONAL_ID_REFUSED, ErrorCode::TransactionalIdAuthorizationFailed),
        ];
        for (code, error) in named {
            assert_eq!(code, error.code());
        }
    }
}
