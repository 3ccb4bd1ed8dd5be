//! The messages of SASL mechanisms, for the broker and for the client: PLAIN (RFC 4616), SCRAM (RFC 5802, RFC 7677) and
//! OAUTHBEARER (RFC 7628).
//!
//! Pure: bytes in, bytes out. Nonces, salts and stored keys are arguments. Names and passwords are taken as the UTF-8 that
//! clients send, without SASLprep, because Kafka and its clients do the same: normalising on one side only would lock out
//! whoever has a password that it changes.
pub mod oauthbearer;
pub mod plain;
pub mod scram;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest token of any mechanism that is looked at; JWTs with many claims are the largest.
pub const TOKEN_MAX: usize = 128 << 10;

/// The longest user name in bytes.
pub const NAME_MAX: usize = 1024;

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// Name and password in clear text.
    Plain,
    /// Proof of a password, which stays with the client.
    Scram(scram::Hash),
    /// A signed token (JWT).
    OauthBearer,
}

/// A name that is no mechanism we know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{name}` is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER")]
pub struct UnknownMechanism {
    /// What was given.
    pub name: String,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 4] = [
        Mechanism::Scram(scram::Hash::Sha512),
        Mechanism::Scram(scram::Hash::Sha256),
        Mechanism::Plain,
        Mechanism::OauthBearer,
    ];

    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(scram::Hash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(scram::Hash::Sha512) => "SCRAM-SHA-512",
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }

    /// Whether whoever listens on the wire learns something that lets them in.
    #[must_use]
    pub fn reveals_secrets(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::OauthBearer)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(name: &str) -> Result<Mechanism, UnknownMechanism> {
        let found = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name);
        found.ok_or_else(|| UnknownMechanism { name: name.chars().take(64).collect() })
    }
}
