//! OAUTHBEARER (RFC 7628): a GS2 header, then key-value pairs of which one is the token.
use thiserror::Error;

use super::{NAME_MAX, TOKEN_MAX};

/// Ends each pair and the message.
const SEPARATOR: char = '\u{1}';

/// What a client acknowledges a refusal with.
pub const DUMMY: &[u8] = b"\x01";

/// Most pairs of a message: `auth` and extensions.
const PAIRS_MAX: usize = 64;

/// The first message of a client. The token is in it: it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerMessage {
    /// Whom the client wants to act for; empty = whomever the token names.
    pub authorization: String,
    /// The token, as it was sent.
    pub token: String,
    /// Extensions (KIP-342), in order.
    pub extensions: Vec<(String, String)>,
}

/// Why a message is not OAUTHBEARER. Says nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BearerError {
    /// Too long.
    #[error("the OAUTHBEARER message is longer than {TOKEN_MAX} bytes or has more than {PAIRS_MAX} pairs")]
    TooLong,
    /// Not what RFC 7628 says.
    #[error("the OAUTHBEARER message is not `n,[a=name],^Aauth=Bearer TOKEN^A^A`")]
    Shape,
    /// The client asks for channel binding.
    #[error("the OAUTHBEARER message asks for channel binding, which is not supported")]
    ChannelBinding,
    /// There is no `auth=Bearer`.
    #[error("the OAUTHBEARER message holds no bearer token")]
    NoToken,
}

impl BearerMessage {
    /// Reads what a client sent.
    pub fn parse(message: &[u8]) -> Result<BearerMessage, BearerError> {
        if message.len() > TOKEN_MAX {
            return Err(BearerError::TooLong);
        }
        let text = std::str::from_utf8(message).map_err(|_| BearerError::Shape)?;
        let (header, rest) = text.split_once(SEPARATOR).ok_or(BearerError::Shape)?;
        let authorization = gs2_header(header)?;
        let pairs = rest.strip_suffix(SEPARATOR).ok_or(BearerError::Shape)?;
        if !pairs.is_empty() && !pairs.ends_with(SEPARATOR) {
            return Err(BearerError::Shape);
        }
        let (mut token, mut extensions) = (None, Vec::new());
        for pair in pairs.split_terminator(SEPARATOR) {
            let (key, value) = pair.split_once('=').ok_or(BearerError::Shape)?;
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err(BearerError::Shape);
            }
            if key != "auth" {
                if extensions.len() == PAIRS_MAX {
                    return Err(BearerError::TooLong);
                }
                extensions.push((key.to_owned(), value.to_owned()));
                continue;
            }
            let (scheme, bearer) = value.split_once(' ').ok_or(BearerError::NoToken)?;
            if token.is_some() || !scheme.eq_ignore_ascii_case("bearer") {
                return Err(BearerError::Shape);
            }
            token = Some(bearer.trim_start_matches(' ').to_owned());
        }
        let token = token.filter(|token| !token.is_empty()).ok_or(BearerError::NoToken)?;
        Ok(BearerMessage { authorization, token, extensions })
    }

    /// What a client sends.
    #[must_use]
    pub fn encode(token: &str) -> Vec<u8> {
        format!("n,,{SEPARATOR}auth=Bearer {token}{SEPARATOR}{SEPARATOR}").into_bytes()
    }
}

/// `n,[a=name],`
fn gs2_header(header: &str) -> Result<String, BearerError> {
    let rest = match header.as_bytes() {
        [b'n' | b'y', b',', ..] => &header[2..],
        [b'p', b'=', ..] => return Err(BearerError::ChannelBinding),
        _ => return Err(BearerError::Shape),
    };
    let name = rest.strip_suffix(',').ok_or(BearerError::Shape)?;
    if name.is_empty() {
        return Ok(String::new());
    }
    let name = name.strip_prefix("a=").filter(|name| name.len() <= NAME_MAX).ok_or(BearerError::Shape)?;
    super::scram::decode_name(name).ok_or(BearerError::Shape)
}

/// What a refused client is told before it acknowledges (RFC 7628, 3.2.2): a JSON object of one field.
#[must_use]
pub fn refusal(status: &str) -> Vec<u8> {
    let safe: String = status.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    format!("{{\"status\":\"{safe}\"}}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7628, section 4.1.
    #[test]
    fn example_of_the_rfc_is_read() {
        let message = "n,a=user@example.com,\u{1}host=server.example.com\u{1}port=143\u{1}auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}\u{1}";
        let read = BearerMessage::parse(message.as_bytes()).ok().unwrap();
        assert_eq!(read.authorization, "user@example.com");
        assert_eq!(read.token, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        assert_eq!(read.extensions[0], ("host".to_owned(), "server.example.com".to_owned()));
        let own = BearerMessage::parse(&BearerMessage::encode("a.b.c")).ok().unwrap();
        assert_eq!((own.token.as_str(), own.extensions.len()), ("a.b.c", 0));
    }

    #[test]
    fn what_holds_no_token_is_refused() {
        for (message, error) in [
            ("", BearerError::Shape),
            ("n,,", BearerError::Shape),
            ("n,,\u{1}auth=Bearer x\u{1}", BearerError::Shape),
            ("n,,\u{1}\u{1}", BearerError::NoToken),
            ("n,,\u{1}auth=Bearer \u{1}\u{1}", BearerError::NoToken),
            ("n,,\u{1}auth=Basic eA==\u{1}\u{1}", BearerError::Shape),
            ("p=tls-unique,,\u{1}auth=Bearer x\u{1}\u{1}", BearerError::ChannelBinding),
            ("n,,\u{1}auth=Bearer x\u{1}auth=Bearer y\u{1}\u{1}", BearerError::Shape),
            ("n,b=x,\u{1}auth=Bearer x\u{1}\u{1}", BearerError::Shape),
        ] {
            assert_eq!(BearerMessage::parse(message.as_bytes()).err(), Some(error), "{message:?}");
        }
    }

    #[test]
    fn refusals_are_json_whatever_the_status() {
        assert_eq!(refusal("invalid_token"), b"{\"status\":\"invalid_token\"}");
        assert_eq!(refusal("a\"b"), b"{\"status\":\"ab\"}");
    }
}
