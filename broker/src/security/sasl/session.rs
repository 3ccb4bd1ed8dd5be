//! One connection's authentication: a pure state machine. What it needs to know arrives as an [`Input`].
//!
//! KIP-12 (handshake), KIP-43 (handshake v0, raw tokens), KIP-152 (SaslAuthenticate), KIP-368 (re-authentication). Until a client
//! has authenticated, only ApiVersions and these two requests are taken; after a failure nothing is.
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use thiserror::Error;
use weir_protocol::sasl::oauthbearer::{self, BearerMessage};
use weir_protocol::sasl::plain::PlainMessage;
use weir_protocol::sasl::scram::{Hash, ScramKeys, ServerChallenged, ServerStart};
use weir_protocol::sasl::{Mechanism, TOKEN_MAX};

use crate::security::Principal;
use crate::security::places::NoPlace;

/// Milliseconds since the broker's start.
pub type Millis = u64;

/// Why a client is not who it says it is. What a client is told is [`Failure::told`]; this is for the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// The client's message is not one of the mechanism.
    #[error("{0}")]
    Message(String),
    /// Wrong password, or no such user.
    #[error("the password is wrong or the user does not exist")]
    Credentials,
    /// The token is not good.
    #[error("the token is refused: {0}")]
    Token(String),
    /// It asks to act for somebody else.
    #[error("the client asks for an authorization id that is not its name")]
    Authorization,
    /// Re-authentication as somebody else or in another way.
    #[error("the client re-authenticates as another principal or with another mechanism")]
    Changed,
    /// The broker cannot tell.
    #[error("{0}")]
    Unavailable(String),
    /// It is who it says it is, and has enough connections.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
}

impl Failure {
    /// What the client is told: nothing that helps guessing, but whatever helps its owner.
    #[must_use]
    pub fn told(&self, mechanism: Mechanism) -> String {
        match self {
            Failure::Credentials if mechanism == Mechanism::Plain => {
                "Authentication failed: Invalid username or password".to_owned()
            }
            Failure::Credentials => format!(
                "Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
            ),
            Failure::Changed => "Cannot change principals or mechanisms during re-authentication".to_owned(),
            Failure::Unavailable(_) => "Authentication failed: the broker cannot verify credentials now".to_owned(),
            Failure::Message(_) | Failure::Token(_) | Failure::Authorization | Failure::NoPlace(_) => {
                format!("Authentication failed: {self}")
            }
        }
    }
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// Who is that?
    #[error(
        "the client has not authenticated, and this listener wants it to (security.protocol=SASL_SSL or SASL_PLAINTEXT)"
    )]
    Unauthenticated,
    /// The session's lifetime is over.
    #[error(
        "the client should have authenticated again `{ago_ms}` ms ago (connections.max.reauth.ms or its token's expiry)"
    )]
    Expired {
        /// For how long it has been.
        ago_ms: u64,
    },
    /// There is no place for it.
    #[error("the principal has as many connections as it may (setting `max.connections.per.principal`)")]
    TurnedAway,
}

/// Who somebody has proved to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The principal.
    pub principal: Arc<Principal>,
    mechanism: Mechanism,
    expires: Option<Millis>,
}

/// Somebody whose proof was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The principal's name.
    pub name: String,
    /// How long the proof is good for.
    pub lifetime: Option<Duration>,
}

/// What happens to a session.
pub enum Input<'a> {
    /// A token of the client.
    Token(&'a [u8]),
    /// The answer to [`Output::FindKeys`], with a nonce that was never used.
    Keys(Result<ScramKeys, Failure>, String),
    /// The answer to [`Output::CheckPassword`] and [`Output::CheckToken`].
    Checked(Result<Verified, Failure>),
}

/// What a session wants.
#[derive(PartialEq, Eq)]
pub enum Output {
    /// A token for the client; the exchange goes on.
    Send(Vec<u8>),
    /// The keys of a user.
    FindKeys { hash: Hash, name: String },
    /// To know whether the password is right.
    CheckPassword { name: String, password: String },
    /// To know whose token it is.
    CheckToken { token: String, authorization: String },
    /// Done: the last token, who it is, and for how long (0 = for ever).
    Done { token: Vec<u8>, known: Known, lifetime_ms: i64 },
    /// The connection ends.
    Fail(Failure),
}

enum Exchange {
    Fresh,
    /// Waits for keys.
    ScramStart(Box<ServerStart>),
    /// Waits for the proof.
    ScramChallenged(Box<ServerChallenged>, String),
    /// Waits for a verdict from outside.
    Checking,
    /// The client was told that its token is bad and has to acknowledge it.
    TokenRefused(Failure),
}

enum State {
    /// Nobody has to authenticate with SASL here.
    NotNeeded,
    /// Nothing was proved.
    Start,
    Exchange {
        mechanism: Mechanism,
        raw: bool,
        exchange: Exchange,
        before: Option<Known>,
    },
    Authenticated(Known),
    /// It is known who it is, and there is no place for it: ApiVersions is answered with an error, and nothing else.
    TurnedAway,
    Over,
}

/// One connection's authentication.
pub struct Session {
    mechanisms: Vec<Mechanism>,
    max_reauth: Option<Duration>,
    state: State,
}

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HandshakeRefused {
    /// Not offered here.
    #[error("the mechanism is not enabled on this listener")]
    Mechanism,
    /// Not now, or not on this listener.
    #[error("a SASL handshake is not expected now, or this listener has no SASL")]
    State,
}

impl Session {
    /// Of a listener without SASL.
    #[must_use]
    pub fn not_needed() -> Session {
        Session { mechanisms: Vec::new(), max_reauth: None, state: State::NotNeeded }
    }

    /// Of a listener that offers these.
    #[must_use]
    pub fn new(mechanisms: Vec<Mechanism>, max_reauth: Option<Duration>) -> Session {
        Session { mechanisms, max_reauth, state: State::Start }
    }

    /// What is offered.
    #[must_use]
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// Whether the client may ask for anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::NotNeeded | State::Authenticated(_) | State::Exchange { before: Some(_), .. })
    }

    /// Whether the connection has to end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::TurnedAway)
    }

    /// There is no place for the client: the connection ends with the next answer.
    pub fn turn_away(&mut self) {
        self.state = State::TurnedAway;
    }

    /// Whether there is no place for the client.
    #[must_use]
    pub fn is_turned_away(&self) -> bool {
        matches!(self.state, State::TurnedAway)
    }

    /// Whether a handshake was made and tokens are awaited.
    #[must_use]
    pub fn is_exchanging(&self) -> bool {
        matches!(self.state, State::Exchange { .. })
    }

    /// Whether the next frame is a bare token, after a handshake of version 0.
    #[must_use]
    pub fn expects_raw(&self) -> bool {
        matches!(self.state, State::Exchange { raw: true, .. })
    }

    /// The mechanism in use, for messages.
    #[must_use]
    pub fn mechanism(&self) -> Option<Mechanism> {
        match &self.state {
            State::Exchange { mechanism, .. } => Some(*mechanism),
            State::Authenticated(known) => Some(known.mechanism),
            State::NotNeeded | State::Start | State::TurnedAway | State::Over => None,
        }
    }

    /// Whether a request of this kind is taken now.
    pub fn admit(&self, key: i16, now: Millis) -> Result<(), NotAdmitted> {
        let of_authentication = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
        if of_authentication.iter().any(|api| *api as i16 == key) {
            return Ok(());
        }
        match &self.state {
            State::NotNeeded => Ok(()),
            State::Authenticated(known) | State::Exchange { before: Some(known), .. } => match known.expires {
                Some(expires) if now > expires => Err(NotAdmitted::Expired { ago_ms: now - expires }),
                _ => Ok(()),
            },
            State::TurnedAway => Err(NotAdmitted::TurnedAway),
            State::Start | State::Exchange { before: None, .. } | State::Over => Err(NotAdmitted::Unauthenticated),
        }
    }

    /// The client chooses a mechanism.
    pub fn handshake(&mut self, version: i16, mechanism: &str) -> Result<(), HandshakeRefused> {
        let before = match &self.state {
            State::Start => None,
            State::Authenticated(known) => Some(known.clone()),
            State::NotNeeded | State::Exchange { .. } | State::TurnedAway | State::Over => {
                return Err(HandshakeRefused::State);
            }
        };
        let chosen = mechanism.parse::<Mechanism>().ok().filter(|chosen| self.mechanisms.contains(chosen));
        let Some(mechanism) = chosen else {
            self.state = State::Over;
            return Err(HandshakeRefused::Mechanism);
        };
        self.state = State::Exchange { mechanism, raw: version == 0, exchange: Exchange::Fresh, before };
        Ok(())
    }

    /// Takes the next step.
    pub fn apply(&mut self, input: Input<'_>, now: Millis) -> Output {
        let State::Exchange { mechanism, raw, exchange, before } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Output::Fail(Failure::Message("a token without a handshake before it".to_owned()));
        };
        let step = match (exchange, input) {
            (_, Input::Token(token)) if token.len() > TOKEN_MAX => Err(malformed("a token that is too long")),
            (Exchange::Fresh, Input::Token(token)) => begin(mechanism, token),
            (Exchange::ScramStart(start), Input::Keys(keys, nonce)) => keys.map(|keys| {
                let name = start.name.clone();
                let (challenged, message) = start.challenge(&nonce, keys);
                Step::Next(Exchange::ScramChallenged(Box::new(challenged), name), Output::Send(message))
            }),
            (Exchange::ScramChallenged(challenged, name), Input::Token(token)) => match challenged.finish(token) {
                Ok(token) => Ok(Step::Known(Verified { name, lifetime: None }, token)),
                Err(weir_protocol::sasl::scram::ScramError::Proof) => Err(Failure::Credentials),
                Err(error) => Err(malformed(error)),
            },
            (Exchange::Checking, Input::Checked(Ok(verified))) => Ok(Step::Known(verified, Vec::new())),
            (Exchange::Checking, Input::Checked(Err(Failure::Token(why)))) => {
                let told = Output::Send(oauthbearer::refusal("invalid_token"));
                Ok(Step::Next(Exchange::TokenRefused(Failure::Token(why)), told))
            }
            (Exchange::Checking, Input::Checked(Err(failure))) | (Exchange::TokenRefused(failure), _) => Err(failure),
            _ => Err(malformed("a message out of turn")),
        };
        match step {
            Err(failure) => Output::Fail(failure),
            Ok(Step::Next(exchange, output)) => {
                self.state = State::Exchange { mechanism, raw, exchange, before };
                output
            }
            Ok(Step::Known(verified, token)) => self.done(mechanism, before, verified, token, now),
        }
    }

    fn done(
        &mut self,
        mechanism: Mechanism,
        before: Option<Known>,
        verified: Verified,
        token: Vec<u8>,
        now: Millis,
    ) -> Output {
        let principal = Arc::new(Principal::user(verified.name));
        if before.is_some_and(|before| before.principal != principal || before.mechanism != mechanism) {
            return Output::Fail(Failure::Changed);
        }
        let lifetime = [verified.lifetime, self.max_reauth].into_iter().flatten().min();
        let millis = lifetime.map(|lifetime| u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
        let known = Known { principal, mechanism, expires: millis.map(|millis| now.saturating_add(millis)) };
        self.state = State::Authenticated(known.clone());
        let lifetime_ms = millis.map_or(0, |millis| i64::try_from(millis).unwrap_or(i64::MAX));
        Output::Done { token, known, lifetime_ms }
    }
}

enum Step {
    Next(Exchange, Output),
    Known(Verified, Vec<u8>),
}

fn malformed(error: impl ToString) -> Failure {
    Failure::Message(error.to_string())
}

/// The first token of an exchange.
fn begin(mechanism: Mechanism, token: &[u8]) -> Result<Step, Failure> {
    match mechanism {
        Mechanism::Plain => {
            let PlainMessage { authorization, name, password } = PlainMessage::parse(token).map_err(malformed)?;
            if !authorization.is_empty() && authorization != name {
                return Err(Failure::Authorization);
            }
            Ok(Step::Next(Exchange::Checking, Output::CheckPassword { name, password }))
        }
        Mechanism::Scram(hash) => {
            let start = ServerStart::parse(token).map_err(malformed)?;
            if !start.authorization.is_empty() && start.authorization != start.name {
                return Err(Failure::Authorization);
            }
            let name = start.name.clone();
            Ok(Step::Next(Exchange::ScramStart(Box::new(start)), Output::FindKeys { hash, name }))
        }
        Mechanism::OauthBearer => {
            let BearerMessage { authorization, token, .. } = BearerMessage::parse(token).map_err(malformed)?;
            Ok(Step::Next(Exchange::Checking, Output::CheckToken { token, authorization }))
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
