//! SASL on the broker's side.
//!
//! | file | what |
//! |---|---|
//! | `session.rs` | one connection's authentication (pure) |
//! | `tokens.rs` | tokens of OAUTHBEARER and the keys that verify them |
//! | here | does what a session asks for: finds keys, verifies passwords and tokens, counts and logs |
//!
//! The messages of the mechanisms are in `weir_protocol::sasl`.
pub mod session;
pub mod tokens;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use weir_protocol::sasl::Mechanism;

use super::audit::AuditEvent;
use super::users::random_bytes;
use crate::broker::{Broker, Connection};
use crate::config::SaslSettings;
use crate::metrics::tables::security as tables;
use session::{Failure, HandshakeRefused, Input, Known, NotAdmitted, Output, Session, Verified};

/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// One connection's authentication and what it needs.
pub struct Authenticator {
    session: Session,
    connection: Arc<Connection>,
    /// Who the client claims to be in the exchange that goes on.
    claimed: String,
}

/// What a client is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The exchange goes on.
    Continue(Vec<u8>),
    /// Authenticated; for so many milliseconds, 0 = for ever.
    Done(Vec<u8>, i64),
    /// Refused; the connection ends.
    Refused(String),
}

impl Authenticator {
    /// For a connection; `sasl`: what its listener offers.
    #[must_use]
    pub fn new(connection: Arc<Connection>, sasl: Option<&SaslSettings>) -> Authenticator {
        let session = match sasl {
            None => Session::not_needed(),
            Some(sasl) => Session::new(sasl.mechanisms.clone(), sasl.max_reauth),
        };
        Authenticator { session, connection, claimed: String::new() }
    }

    /// Whether the client may ask for anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// Whether the connection has to end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.session.is_over()
    }

    /// Takes a place for a client whose certificate tells who it is; without one it is turned away.
    pub fn take_place(&mut self, broker: &Broker) {
        if self.connection.take_place(broker, &self.connection.principal()).is_err() {
            self.session.turn_away();
        }
    }

    /// Whether there is no place for the client.
    #[must_use]
    pub fn is_turned_away(&self) -> bool {
        self.session.is_turned_away()
    }

    /// Whether a handshake was made and tokens are awaited.
    #[must_use]
    pub fn is_exchanging(&self) -> bool {
        self.session.is_exchanging()
    }

    /// Whether the next frame is a bare token.
    #[must_use]
    pub fn expects_raw(&self) -> bool {
        self.session.expects_raw()
    }

    /// Whether a request of this kind is taken now.
    pub fn admit(&self, key: i16, broker: &Broker) -> Result<(), NotAdmitted> {
        self.session.admit(key, broker.now_ms()).inspect_err(|refused| {
            if matches!(refused, NotAdmitted::Expired { .. }) {
                metrics::counter!(tables::SESSIONS_EXPIRED.name).increment(1);
            }
        })
    }

    /// The names of what is offered.
    #[must_use]
    pub fn mechanisms(&self) -> Vec<&'static str> {
        self.session.mechanisms().iter().map(|mechanism| mechanism.name()).collect()
    }

    /// The client chooses a mechanism.
    pub fn handshake(&mut self, version: i16, mechanism: &str) -> Result<(), HandshakeRefused> {
        self.claimed.clear();
        self.session.handshake(version, mechanism)
    }

    /// The client sent a token.
    pub async fn token(&mut self, broker: &Broker, token: &[u8]) -> Reply {
        let security = &broker.security;
        let mechanism = self.session.mechanism();
        let mut output = self.session.apply(Input::Token(token), broker.now_ms());
        loop {
            let input = match output {
                Output::Send(token) => return Reply::Continue(token),
                Output::Done { token, known, lifetime_ms } => {
                    if let Err(full) = self.connection.take_place(broker, &known.principal) {
                        self.session.turn_away();
                        return self.failed(broker, mechanism, &full.into()).await;
                    }
                    self.authenticated(&known, mechanism);
                    return Reply::Done(token, lifetime_ms);
                }
                Output::Fail(failure) => return self.failed(broker, mechanism, &failure).await,
                Output::FindKeys { hash, name: user } => {
                    let keys = security.users.keys_or_nobody(&user, hash);
                    let keys = keys.map_err(|error| Failure::Unavailable(error.to_string()));
                    self.claimed = user;
                    match random_bytes(NONCE_BYTES) {
                        Ok(bytes) => Input::Keys(keys, STANDARD_NO_PAD.encode(bytes)),
                        Err(error) => Input::Keys(Err(Failure::Unavailable(error.to_string())), String::new()),
                    }
                }
                Output::CheckPassword { name: user, password } => {
                    let checked = match security.has_password(&user, &password).await {
                        Ok(true) => Ok(Verified { name: user.clone(), lifetime: None }),
                        Ok(false) => Err(Failure::Credentials),
                        Err(error) => Err(Failure::Unavailable(error.to_string())),
                    };
                    self.claimed = user;
                    Input::Checked(checked)
                }
                Output::CheckToken { token, authorization } => {
                    let checked = security.verify_token(&token, &authorization).await;
                    // Noted here: some clients do not acknowledge a refused token, but go on as if it was taken.
                    if let Err(failure) = &checked {
                        self.note(broker, mechanism, failure);
                    }
                    Input::Checked(checked)
                }
            };
            output = self.session.apply(input, broker.now_ms());
        }
    }

    fn authenticated(&self, known: &Known, mechanism: Option<Mechanism>) {
        self.connection.authenticated(known.principal.clone());
        let name = mechanism.map_or("none", Mechanism::name);
        metrics::counter!(tables::AUTHENTICATIONS.name, "mechanism" => name, "outcome" => "accepted").increment(1);
        let (id, client) = (self.connection.id, self.connection.client_addr);
        tracing::debug!(id, %client, principal = %known.principal, mechanism = name, "authenticated");
    }

    async fn failed(&self, broker: &Broker, mechanism: Option<Mechanism>, failure: &Failure) -> Reply {
        match failure {
            // No attempt to be somebody else, and in the log already as often as that helps.
            Failure::NoPlace(_) => {
                let name = mechanism.map_or("none", Mechanism::name);
                metrics::counter!(tables::AUTHENTICATIONS.name, "mechanism" => name, "outcome" => "refused")
                    .increment(1);
            }
            Failure::Message(_) | Failure::Changed => self.note(broker, mechanism, failure),
            _ if mechanism != Some(Mechanism::OauthBearer) => self.note(broker, mechanism, failure),
            _ => {}
        }
        tokio::time::sleep(broker.security.failed_delay).await;
        Reply::Refused(mechanism.map_or_else(|| failure.to_string(), |mechanism| failure.told(mechanism)))
    }

    /// Counts and logs a refusal, also for the audit.
    fn note(&self, broker: &Broker, mechanism: Option<Mechanism>, failure: &Failure) {
        let name = mechanism.map_or("none", Mechanism::name);
        metrics::counter!(tables::AUTHENTICATIONS.name, "mechanism" => name, "outcome" => "refused").increment(1);
        let (id, client) = (self.connection.id, self.connection.client_addr);
        let user: String = self.claimed.chars().take(64).collect();
        let listener = self.connection.listener.name.as_str();
        tracing::warn!(id, %client, listener, mechanism = name, user, reason = %failure, "authentication refused");
        let (mechanism, user) = (name.to_owned(), Some(user).filter(|user| !user.is_empty()));
        let event = AuditEvent::AuthenticationFailed { mechanism, user };
        // Who they are is what they failed to prove: it is who they were before.
        broker.audit.record(&self.connection.principal(), client.ip(), None, &event);
    }
}
