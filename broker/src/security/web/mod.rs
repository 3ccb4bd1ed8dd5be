//! Who asks over HTTP, and what they may do: the HTTP listener and the Schema Registry ask the authoriser that Kafka's APIs ask.
//!
//! | file | what |
//! |---|---|
//! | `credentials.rs` | the `Authorization` header (pure) |
//! | `proven.rs` | passwords that were verified a moment ago |
//! | here | from a request to a principal, and from a principal to a decision |
//!
//! A listener with SASL takes HTTP Basic for users with passwords and Bearer for tokens; a client certificate counts where no such header
//! is sent. Without SASL headers are not looked at: who shows no certificate is `User:ANONYMOUS`, as on Kafka's listeners. While
//! no authoriser is in force, everybody who gets this far may do everything.
mod credentials;
mod proven;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use axum::http::{Extensions, HeaderMap, HeaderValue, header};
use thiserror::Error;
use weir_protocol::sasl::Mechanism;

use super::Principal;
use super::acl::{AclIndex, Operation, ResourceType};
use super::audit::AuditEvent;
use super::places::NoPlace;
use super::rules::{self, Readable};
use super::sasl::session::Failure;
use crate::broker::Broker;
use crate::config::{Config, ConfigProblem, ListenerSecurity, SaslSettings};
use crate::http::connection::Peer;
use crate::metrics::tables::security as tables;
use crate::topics::Topic;
use credentials::Credentials;
use proven::Proven;

/// Why a request is not answered.
#[derive(Debug, Error)]
pub enum TurnedAway {
    /// No credentials, where some are needed.
    #[error("this listener wants to know who asks: send a user and password (HTTP Basic) or a token (Bearer)")]
    Missing,
    /// Credentials that prove nothing. Says nothing that helps guessing.
    #[error("the credentials are wrong, or of a kind that this listener does not take")]
    Refused,
    /// Credentials cannot be verified now.
    #[error("the broker cannot verify credentials now")]
    Unavailable,
    /// Whoever it is has too many connections.
    #[error(transparent)]
    TooMany(#[from] NoPlace),
    /// There is nobody to ask yet.
    #[error("the broker is starting, and cannot tell yet who may do what")]
    Starting,
}

/// The broker, once it is there: HTTP answers before.
pub type Later = Arc<OnceLock<Arc<Broker>>>;

/// What stands before an HTTP listener.
pub struct WebGate {
    listener: &'static str,
    sasl: Option<SaslSettings>,
    /// Whether access control lists are in force.
    authorizes: bool,
    broker: Later,
    proven: Proven,
}

impl WebGate {
    /// For the listener `http` or `registry`.
    pub fn new(config: &Config, listener: &'static str, broker: Later) -> Result<Arc<WebGate>, ConfigProblem> {
        let ListenerSecurity { sasl, .. } = config.security_of(listener)?;
        let authorizes = config.authorizes();
        Ok(Arc::new(WebGate { listener, sasl, authorizes, broker, proven: Proven::new() }))
    }

    /// Values of `WWW-Authenticate`.
    #[must_use]
    pub fn challenges(&self, why: &TurnedAway) -> Vec<HeaderValue> {
        let mut challenges = Vec::new();
        if self.takes_passwords() {
            challenges.push(HeaderValue::from_static("Basic realm=\"weir\", charset=\"UTF-8\""));
        }
        if self.takes_tokens() {
            let refused = matches!(why, TurnedAway::Refused);
            let text = if refused { "Bearer realm=\"weir\", error=\"invalid_token\"" } else { "Bearer realm=\"weir\"" };
            challenges.push(HeaderValue::from_static(text));
        }
        challenges
    }

    fn mechanisms(&self) -> &[Mechanism] {
        self.sasl.as_ref().map_or(&[], |sasl| sasl.mechanisms.as_slice())
    }

    fn takes_passwords(&self) -> bool {
        self.mechanisms().iter().any(|mechanism| *mechanism != Mechanism::OauthBearer)
    }

    fn takes_tokens(&self) -> bool {
        self.mechanisms().contains(&Mechanism::OauthBearer)
    }

    /// Who sends a request. A refusal takes its time and is noted.
    pub async fn identify(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<WebClient, TurnedAway> {
        let peer = extensions.get::<axum::extract::ConnectInfo<Peer>>().map(|info| &info.0);
        let address = peer.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.address);
        let certificate = peer.and_then(Peer::principal);
        let broker = self.broker.get();
        let Some(broker) = broker else {
            if self.authorizes || self.sasl.is_some() {
                return Err(TurnedAway::Starting);
            }
            return Ok(WebClient { broker: None, index: None, principal: Principal::anonymous(), host: address.ip() });
        };
        let given = headers.get(header::AUTHORIZATION).filter(|_| self.sasl.is_some());
        let principal = match given {
            Some(given) => self.prove(broker, given, address).await?,
            None => match certificate {
                Some(principal) => principal,
                None if self.sasl.is_some() => return Err(TurnedAway::Missing),
                None => Principal::anonymous(),
            },
        };
        if let Some(peer) = peer.filter(|_| !principal.is_anonymous()) {
            peer.take_place(broker, &principal, self.listener)?;
        }
        let index = broker.acls.as_ref().map(super::acl::AclStore::index);
        Ok(WebClient { broker: Some(broker.clone()), index, principal, host: address.ip() })
    }

    async fn prove(
        &self,
        broker: &Arc<Broker>,
        given: &HeaderValue,
        address: SocketAddr,
    ) -> Result<Arc<Principal>, TurnedAway> {
        let credentials = Credentials::parse(given.as_bytes());
        let (scheme, user, verdict) = match credentials {
            Some(Credentials::Basic { user, password }) if self.takes_passwords() => {
                let verdict = match self.proven.check(&broker.security, &user, &password).await {
                    Ok(true) => Ok(user.clone()),
                    Ok(false) => Err(Failure::Credentials),
                    Err(error) => Err(Failure::Unavailable(error.to_string())),
                };
                ("BASIC", Some(user), verdict)
            }
            Some(Credentials::Bearer { token }) if self.takes_tokens() => {
                let verified = broker.security.verify_token(&token, "").await;
                ("BEARER", None, verified.map(|verified| verified.name))
            }
            Some(_) => ("none", None, Err(Failure::Message("a scheme that this listener does not take".to_owned()))),
            None => ("none", None, Err(Failure::Message("the Authorization header cannot be read".to_owned()))),
        };
        let outcome = if verdict.is_ok() { "accepted" } else { "refused" };
        metrics::counter!(tables::AUTHENTICATIONS.name, "mechanism" => scheme, "outcome" => outcome).increment(1);
        match verdict {
            Ok(name) => Ok(Arc::new(Principal::user(name))),
            Err(failure) => {
                self.note(broker, scheme, user, &failure, address);
                tokio::time::sleep(broker.security.failed_delay).await;
                Err(if matches!(failure, Failure::Unavailable(_)) {
                    TurnedAway::Unavailable
                } else {
                    TurnedAway::Refused
                })
            }
        }
    }

    fn note(&self, broker: &Broker, scheme: &str, user: Option<String>, failure: &Failure, client: SocketAddr) {
        let user: Option<String> = user.map(|user| user.chars().take(64).collect());
        let (listener, shown) = (self.listener, user.as_deref().unwrap_or_default());
        tracing::warn!(%client, listener, mechanism = scheme, user = shown, reason = %failure, "authentication refused");
        let event = AuditEvent::AuthenticationFailed { mechanism: scheme.to_owned(), user };
        broker.audit.record(&Principal::anonymous(), client.ip(), None, &event);
    }

    /// Notes a client that did not get through the TLS handshake.
    pub fn handshake_refused(&self, client: SocketAddr, error: &dyn std::fmt::Display) {
        metrics::counter!(tables::TLS_HANDSHAKES.name, "outcome" => "refused").increment(1);
        tracing::warn!(%client, listener = self.listener, %error, "connection closed by the broker");
        if let Some(broker) = self.broker.get() {
            let event = AuditEvent::AuthenticationFailed { mechanism: "TLS".to_owned(), user: None };
            broker.audit.record(&Principal::anonymous(), client.ip(), None, &event);
        }
    }
}

/// Somebody who asks over HTTP, with one state of the access control lists.
#[derive(Clone)]
pub struct WebClient {
    broker: Option<Arc<Broker>>,
    /// `None` while nothing is authorised: everybody may do everything.
    index: Option<Arc<AclIndex>>,
    principal: Arc<Principal>,
    host: IpAddr,
}

impl WebClient {
    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether the operation is allowed; a refusal is noted. `endpoint`: method and path with names instead of values.
    #[must_use]
    pub fn allows(&self, endpoint: &str, operation: Operation, resource: ResourceType, name: &str) -> bool {
        let allowed = self.would_allow(operation, resource, name);
        if let Some(broker) = self.broker.as_ref().filter(|_| !allowed) {
            rules::note_refusal(broker, &self.principal, self.host, None, endpoint, (operation, resource, name));
        }
        allowed
    }

    /// Whether it is allowed, where a refusal only leaves something out.
    #[must_use]
    pub fn would_allow(&self, operation: Operation, resource: ResourceType, name: &str) -> bool {
        let judge = |index: &Arc<AclIndex>| index.authorize(&self.principal, self.host, operation, resource, name);
        self.index.as_ref().is_none_or(|index| judge(index).is_allowed())
    }

    /// What of a topic's records may be read.
    #[must_use]
    pub fn readable(&self, topic: &Arc<Topic>) -> Readable {
        match (&self.index, &self.broker) {
            (Some(index), Some(broker)) => rules::readable_of(broker, index, &self.principal, self.host, topic),
            _ => Readable::Everything,
        }
    }

    /// Keeps a change that was answered, for the audit log.
    pub fn changed(&self, endpoint: &str, subject: Option<&str>, error: Option<u32>) {
        let Some(broker) = self.broker.as_ref().filter(|broker| broker.audit.is_on()) else { return };
        let subjects = subject.map(|subject| subject.chars().take(300).collect()).into_iter().collect();
        let errors = error.map(|code| code.to_string()).into_iter().collect();
        let event = AuditEvent::AdminRequest { api: endpoint.to_owned(), subjects, errors };
        broker.audit.record(&self.principal, self.host, None, &event);
    }
}
