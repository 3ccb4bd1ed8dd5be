//! SCRAM (RFC 5802) with SHA-256 (RFC 7677) and SHA-512: keys, and both sides of the exchange.
//!
//! The server side keeps no password: [`ScramKeys`] hold what verifies a proof. Each state is a type of its own, so that
//! no message can be taken out of turn.
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::NAME_MAX;

/// Fewest iterations that are stored or accepted: RFC 7677, and Kafka.
pub const ITERATIONS_MIN: u32 = 4096;
/// Most iterations that are stored, as in Kafka.
pub const ITERATIONS_MAX: u32 = 16_384;
/// Most iterations that a client does for a server: some tenths of a second of its time.
const CLIENT_ITERATIONS_MAX: u32 = 262_144;
/// Longest message of either side.
const MESSAGE_MAX: usize = 8 << 10;
/// Longest nonce of the other side.
const NONCE_MAX: usize = 1024;
/// Longest salt.
pub const SALT_MAX: usize = 1024;

/// The hash function of the mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Hash {
    /// Both.
    pub const ALL: [Hash; 2] = [Hash::Sha256, Hash::Sha512];

    /// Bytes of a key.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }

    /// Never: a hash has a length.
    #[must_use]
    pub fn is_empty(self) -> bool {
        false
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    /// `Hi` of the RFC: the salted password.
    #[must_use]
    pub fn salted_password(self, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; self.len()];
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

/// What verifies a user's proof. Who knows it can pretend to be the server, and try passwords: it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Of the mechanism.
    pub hash: Hash,
    /// Random, of this user.
    pub salt: Vec<u8>,
    /// Work for one guess.
    pub iterations: NonZeroU32,
    /// H(ClientKey).
    pub stored_key: Vec<u8>,
    /// Proves the server.
    pub server_key: Vec<u8>,
}

impl ScramKeys {
    /// The keys of a password.
    #[must_use]
    pub fn derive(hash: Hash, password: &[u8], salt: Vec<u8>, iterations: NonZeroU32) -> ScramKeys {
        let salted = hash.salted_password(password, &salt, iterations);
        ScramKeys::of_salted(hash, &salted, salt, iterations)
    }

    /// The keys of a password that was salted already.
    #[must_use]
    pub fn of_salted(hash: Hash, salted: &[u8], salt: Vec<u8>, iterations: NonZeroU32) -> ScramKeys {
        let stored_key = hash.digest(&hash.hmac(salted, b"Client Key"));
        let server_key = hash.hmac(salted, b"Server Key");
        ScramKeys { hash, salt, iterations, stored_key, server_key }
    }

    /// Whether these are the keys of `password`. Takes as long whether they are or not.
    #[must_use]
    pub fn are_of(&self, password: &[u8]) -> bool {
        let other = ScramKeys::derive(self.hash, password, self.salt.clone(), self.iterations);
        same(&self.stored_key, &other.stored_key)
    }

    /// Keys that no password has, for a user that does not exist: the same ones each time, so that whoever asks twice learns
    /// nothing.
    #[must_use]
    pub fn of_nobody(hash: Hash, secret: &[u8], name: &str, iterations: NonZeroU32) -> ScramKeys {
        let bytes = |what: &[u8]| Hash::Sha512.hmac(secret, &[what, b"\0", name.as_bytes()].concat());
        let mut salt = bytes(b"salt");
        salt.truncate(SALT_LEN);
        let part = |what: &[u8]| bytes(what)[..hash.len()].to_vec();
        ScramKeys { hash, salt, iterations, stored_key: part(b"stored key"), server_key: part(b"server key") }
    }
}

/// Bytes of a salt that we make.
pub const SALT_LEN: usize = 24;

fn same(a: &[u8], b: &[u8]) -> bool {
    bool::from(a.ct_eq(b))
}

/// Why an exchange failed. Says nothing of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScramError {
    /// Not what RFC 5802 says.
    #[error("the {what} is malformed")]
    Malformed {
        /// Which message.
        what: &'static str,
    },
    /// The client asks for channel binding.
    #[error("the client asks for channel binding, which is not supported")]
    ChannelBinding,
    /// An extension that must be understood, or a delegation token.
    #[error("the client asks for `{extension}`, which is not supported")]
    Extension {
        /// Which.
        extension: String,
    },
    /// The nonce of the answer is not the one that was sent.
    #[error("the nonce was changed on the way")]
    Nonce,
    /// The proof does not fit.
    #[error("the password is wrong or the user does not exist")]
    Proof,
    /// The server does not know the password, or asks for too much or too little work.
    #[error("the server's {what} cannot be accepted")]
    Server {
        /// What of it.
        what: &'static str,
    },
}

const CLIENT_FIRST: &str = "first SCRAM message";
const CLIENT_FINAL: &str = "final SCRAM message";
const SERVER_FIRST: &str = "server's first SCRAM message";
const SERVER_FINAL: &str = "server's final SCRAM message";

/// A server that has the client's first message.
pub struct ServerStart {
    gs2_header: String,
    bare: String,
    nonce: String,
    /// Who the client says it is.
    pub name: String,
    /// Whom it wants to act for; empty = itself.
    pub authorization: String,
}

/// A server that has sent its challenge.
pub struct ServerChallenged {
    gs2_header: String,
    nonce: String,
    /// What both sides have said.
    transcript: String,
    keys: ScramKeys,
}

impl ServerStart {
    /// Reads a client's first message.
    pub fn parse(message: &[u8]) -> Result<ServerStart, ScramError> {
        let malformed = || ScramError::Malformed { what: CLIENT_FIRST };
        let text = text_of(message, CLIENT_FIRST)?;
        let mut parts = text.splitn(3, ',');
        let (Some(binding), Some(authorization), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        match binding {
            "n" | "y" => {}
            _ if binding.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(malformed()),
        }
        let authorization = match authorization {
            "" => String::new(),
            given => given.strip_prefix("a=").and_then(decode_name).ok_or_else(malformed)?,
        };
        let mut fields = bare.split(',');
        let first = fields.next().unwrap_or_default();
        if first.starts_with("m=") {
            return Err(ScramError::Extension { extension: first.chars().take(64).collect() });
        }
        let name = first.strip_prefix("n=").and_then(decode_name).filter(|name| !name.is_empty());
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).filter(|nonce| is_nonce(nonce));
        let (Some(name), Some(nonce)) = (name, nonce) else { return Err(malformed()) };
        for extension in fields {
            if extension.len() < 2 || extension.starts_with("tokenauth=true") {
                return Err(ScramError::Extension { extension: extension.chars().take(64).collect() });
            }
        }
        let header = &text[..text.len() - bare.len()];
        let owned = str::to_owned;
        Ok(ServerStart { gs2_header: owned(header), bare: owned(bare), nonce: owned(nonce), name, authorization })
    }

    /// The challenge for a user with these keys. `nonce`: printable, without commas, never used before.
    #[must_use]
    pub fn challenge(self, nonce: &str, keys: ScramKeys) -> (ServerChallenged, Vec<u8>) {
        let nonce = format!("{}{nonce}", self.nonce);
        let message = format!("r={nonce},s={},i={}", BASE64.encode(&keys.salt), keys.iterations);
        let transcript = format!("{},{message}", self.bare);
        (ServerChallenged { gs2_header: self.gs2_header, nonce, transcript, keys }, message.into_bytes())
    }
}

impl ServerChallenged {
    /// Verifies the client's final message; the result is what proves the server to it.
    pub fn finish(self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let malformed = || ScramError::Malformed { what: CLIENT_FINAL };
        let text = text_of(message, CLIENT_FINAL)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(malformed)?;
        let proof = BASE64.decode(proof).map_err(|_| malformed())?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or_else(malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or_else(malformed)?;
        if BASE64.decode(binding).map_err(|_| malformed())? != self.gs2_header.as_bytes() {
            return Err(ScramError::ChannelBinding);
        }
        // As Kafka: librdkafka before 2.7 repeats its own half in front. The proof covers what was sent, whatever it is.
        if !nonce.ends_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        let ScramKeys { hash, stored_key, server_key, .. } = &self.keys;
        if proof.len() != hash.len() {
            return Err(malformed());
        }
        let transcript = format!("{},{without_proof}", self.transcript);
        let signature = hash.hmac(stored_key, transcript.as_bytes());
        let client_key = xor(&proof, &signature);
        if !same(&hash.digest(&client_key), stored_key) {
            return Err(ScramError::Proof);
        }
        let signature = hash.hmac(server_key, transcript.as_bytes());
        Ok(format!("v={}", BASE64.encode(signature)).into_bytes())
    }
}

/// A client that has sent its first message.
pub struct ClientStart {
    hash: Hash,
    password: String,
    nonce: String,
    bare: String,
}

/// A client that has sent its proof and wants to see the server's.
pub struct ClientProved {
    expected: Vec<u8>,
}

impl ClientStart {
    /// The client and its first message. `nonce`: printable, without commas, never used before.
    #[must_use]
    pub fn new(hash: Hash, name: &str, password: &str, nonce: &str) -> (ClientStart, Vec<u8>) {
        let bare = format!("n={},r={nonce}", name.replace('=', "=3D").replace(',', "=2C"));
        let message = format!("n,,{bare}").into_bytes();
        (ClientStart { hash, password: password.to_owned(), nonce: nonce.to_owned(), bare }, message)
    }

    /// Answers the server's challenge.
    pub fn prove(self, challenge: &[u8]) -> Result<(ClientProved, Vec<u8>), ScramError> {
        let malformed = || ScramError::Malformed { what: SERVER_FIRST };
        let text = text_of(challenge, SERVER_FIRST)?;
        let mut fields = text.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or_else(malformed);
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let salt = BASE64.decode(salt).map_err(|_| malformed())?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| malformed())?;
        if !(ITERATIONS_MIN..=CLIENT_ITERATIONS_MAX).contains(&iterations.get()) {
            return Err(ScramError::Server { what: "number of iterations" });
        }
        let salted = self.hash.salted_password(self.password.as_bytes(), &salt, iterations);
        let without_proof = format!("c=biws,r={nonce}");
        let transcript = format!("{},{text},{without_proof}", self.bare);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let signature = self.hash.hmac(&self.hash.digest(&client_key), transcript.as_bytes());
        let proof = BASE64.encode(xor(&client_key, &signature));
        let server_key = self.hash.hmac(&salted, b"Server Key");
        let expected = self.hash.hmac(&server_key, transcript.as_bytes());
        Ok((ClientProved { expected }, format!("{without_proof},p={proof}").into_bytes()))
    }
}

impl ClientProved {
    /// Checks that the server knows the password too.
    pub fn verify(self, message: &[u8]) -> Result<(), ScramError> {
        let text = text_of(message, SERVER_FINAL)?;
        if text.starts_with("e=") {
            return Err(ScramError::Proof);
        }
        let signature = text.strip_prefix("v=").ok_or(ScramError::Malformed { what: SERVER_FINAL })?;
        let signature = signature.split(',').next().unwrap_or_default();
        let signature = BASE64.decode(signature).map_err(|_| ScramError::Malformed { what: SERVER_FINAL })?;
        if same(&signature, &self.expected) { Ok(()) } else { Err(ScramError::Server { what: "signature" }) }
    }
}

fn text_of<'a>(message: &'a [u8], what: &'static str) -> Result<&'a str, ScramError> {
    if message.len() > MESSAGE_MAX || message.contains(&0) {
        return Err(ScramError::Malformed { what });
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed { what })
}

/// Printable ASCII without commas.
fn is_nonce(text: &str) -> bool {
    (1..=NONCE_MAX).contains(&text.len()) && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b',')
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// A name of the wire: `=2C` is a comma and `=3D` an equals sign, which stand for nothing else.
pub(super) fn decode_name(text: &str) -> Option<String> {
    if text.len() > NAME_MAX {
        return None;
    }
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        name.push_str(before);
        let (code, tail) = after.split_at_checked(2)?;
        name.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = tail;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests;
