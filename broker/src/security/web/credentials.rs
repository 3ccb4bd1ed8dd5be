//! The `Authorization` header: Basic (RFC 7617) and Bearer (RFC 6750).
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use weir_protocol::sasl::{NAME_MAX, TOKEN_MAX};

/// With or without padding: clients differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Longest password in bytes.
const PASSWORD_MAX: usize = 4096;

/// What a client says it is. It is shown to nobody.
#[derive(PartialEq, Eq)]
pub(super) enum Credentials {
    /// A user and its password.
    Basic { user: String, password: String },
    /// A token.
    Bearer { token: String },
}

impl Credentials {
    /// `None`: neither of the two, or out of bounds.
    pub fn parse(header: &[u8]) -> Option<Credentials> {
        let (scheme, rest) = std::str::from_utf8(header).ok()?.trim().split_once(' ')?;
        let rest = rest.trim();
        if rest.is_empty() || rest.len() > TOKEN_MAX {
            return None;
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Credentials::Bearer { token: rest.to_owned() });
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
        // A password may hold colons, a name may not.
        let (user, password) = text.split_once(':')?;
        let sound = (1..=NAME_MAX).contains(&user.len()) && password.len() <= PASSWORD_MAX;
        sound.then(|| Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_whatever_their_case_and_padding() {
        let basic = |user: &str, password: &str| {
            Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
        };
        for (header, wanted) in [
            ("Basic YWxpY2U6YTpi", basic("alice", "a:b")),
            ("basic  YWxpY2U6cHc=", basic("alice", "pw")),
            ("BASIC YWxpY2U6cHc", basic("alice", "pw")),
            ("Bearer a.b.c", Some(Credentials::Bearer { token: "a.b.c".to_owned() })),
        ] {
            assert!(Credentials::parse(header.as_bytes()) == wanted, "{header}");
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_MAX + 1));
        let name = format!("Basic {}", BASE64.encode(format!("{}:x", "u".repeat(NAME_MAX + 1))));
        for header in ["", "Basic", "Basic ", "Basic !!!", "Basic OnB3", "Basic YWxpY2U=", "Digest x", &long, &name] {
            assert!(Credentials::parse(header.as_bytes()).is_none(), "{header}");
        }
        assert!(Credentials::parse(b"Basic \xff").is_none());
    }
}
