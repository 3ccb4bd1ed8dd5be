//! PLAIN (RFC 4616): `[authzid] NUL name NUL password`.
use thiserror::Error;

use super::NAME_MAX;

/// Longest password in bytes.
const PASSWORD_MAX: usize = 4096;

/// What a client says of itself. The password is in it: it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainMessage {
    /// Whom the client wants to act for; empty = itself.
    pub authorization: String,
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

/// Why a message is not PLAIN. Says nothing of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlainError {
    /// Not three parts, or not UTF-8.
    #[error("the PLAIN message is not `authzid NUL name NUL password` in UTF-8")]
    Shape,
    /// No name or no password.
    #[error("the PLAIN message has no user name or no password")]
    Empty,
    /// Too long.
    #[error("the PLAIN message has a user name above {NAME_MAX} or a password above {PASSWORD_MAX} bytes")]
    TooLong,
}

impl PlainMessage {
    /// Reads what a client sent.
    pub fn parse(token: &[u8]) -> Result<PlainMessage, PlainError> {
        if token.len() > 2 * NAME_MAX + PASSWORD_MAX + 2 {
            return Err(PlainError::TooLong);
        }
        let text = std::str::from_utf8(token).map_err(|_| PlainError::Shape)?;
        let mut parts = text.split('\0');
        let (Some(authorization), Some(name), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PlainError::Shape);
        };
        if name.is_empty() || password.is_empty() {
            return Err(PlainError::Empty);
        }
        if name.len() > NAME_MAX || authorization.len() > NAME_MAX || password.len() > PASSWORD_MAX {
            return Err(PlainError::TooLong);
        }
        let owned = str::to_owned;
        Ok(PlainMessage { authorization: owned(authorization), name: owned(name), password: owned(password) })
    }

    /// What a client sends.
    #[must_use]
    pub fn encode(name: &str, password: &str) -> Vec<u8> {
        format!("\0{name}\0{password}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4616, section 4.
    #[test]
    fn examples_of_the_rfc_are_read() {
        let message = PlainMessage::parse(b"\0tim\0tanstaaftanstaaf").ok().unwrap();
        assert_eq!((message.authorization.as_str(), message.name.as_str()), ("", "tim"));
        assert_eq!(message.password, "tanstaaftanstaaf");
        let message = PlainMessage::parse(b"Ursel\0Kurt\0xipj3plmq").ok().unwrap();
        assert_eq!((message.authorization.as_str(), message.name.as_str()), ("Ursel", "Kurt"));
        assert_eq!(PlainMessage::encode("tim", "x"), b"\0tim\0x");
    }

    #[test]
    fn what_is_not_three_parts_is_refused() {
        for (token, error) in [
            (&b""[..], PlainError::Shape),
            (b"a\0b", PlainError::Shape),
            (b"\0a\0b\0c", PlainError::Shape),
            (b"\0\xff\0b", PlainError::Shape),
            (b"\0\0b", PlainError::Empty),
            (b"\0a\0", PlainError::Empty),
        ] {
            assert_eq!(PlainMessage::parse(token).err(), Some(error), "{token:?}");
        }
        let long = format!("\0a\0{}", "x".repeat(PASSWORD_MAX + 1));
        assert_eq!(PlainMessage::parse(long.as_bytes()).err(), Some(PlainError::TooLong));
    }
}
