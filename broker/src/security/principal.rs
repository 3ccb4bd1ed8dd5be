//! Principals: who a client is, as Kafka writes it (`User:alice`).
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use thiserror::Error;

/// The kind of everybody who authenticates.
pub const USER: &str = "User";

/// Name of those who did not authenticate.
pub const ANONYMOUS: &str = "ANONYMOUS";

/// Longest name or kind in bytes: names come from certificates and tokens of strangers.
pub const NAME_MAX: usize = 1024;

/// Who a client is: Kafka's `KafkaPrincipal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    /// `User` for everybody who authenticates; ACLs and super users may name other kinds.
    pub kind: String,
    /// The name, which may itself hold colons and commas (`CN=a,OU=b`).
    pub name: String,
}

/// Why a text is no principal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no principal; write KIND:NAME, such as User:alice, of at most {NAME_MAX} bytes each")]
pub struct PrincipalError {
    /// What was given.
    pub text: String,
}

impl Principal {
    /// A user.
    #[must_use]
    pub fn user(name: impl Into<String>) -> Principal {
        Principal { kind: USER.to_owned(), name: name.into() }
    }

    /// `User:ANONYMOUS`, one value for everybody.
    #[must_use]
    pub fn anonymous() -> Arc<Principal> {
        static ONE: LazyLock<Arc<Principal>> = LazyLock::new(|| Arc::new(Principal::user(ANONYMOUS)));
        ONE.clone()
    }

    /// Whether nobody authenticated.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.kind == USER && self.name == ANONYMOUS
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    /// `KIND:NAME`, split at the first colon.
    fn from_str(text: &str) -> Result<Principal, PrincipalError> {
        match text.split_once(':') {
            Some((kind, name)) if [kind, name].iter().all(|part| (1..=NAME_MAX).contains(&part.len())) => {
                Ok(Principal { kind: kind.to_owned(), name: name.to_owned() })
            }
            _ => Err(PrincipalError { text: text.chars().take(200).collect() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_written_and_read_as_kafka_does() {
        for text in ["User:alice", "User:CN=a:b,OU=c", "Group:x"] {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
        assert_eq!("User:a:b".parse(), Ok(Principal::user("a:b")));
        assert!(Principal::anonymous().is_anonymous());
        assert!(!Principal { kind: "Group".to_owned(), name: ANONYMOUS.to_owned() }.is_anonymous());
    }

    #[test]
    fn what_is_no_principal_is_refused() {
        for text in ["", "alice", ":alice", "User:", &format!("User:{}", "x".repeat(NAME_MAX + 1))] {
            assert!(text.parse::<Principal>().is_err(), "{text}");
        }
    }
}
