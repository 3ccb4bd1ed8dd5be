//! Tokens of OAUTHBEARER (KIP-255, KIP-768): JSON Web Tokens whose signature, expiry, audience and issuer are always checked.
//!
//! Keys come from a JSON Web Key Set, a file or an https URL, read again every so often and when a token names a key that is not
//! known, at most every few seconds. While keys cannot be read the old ones stay in force.
mod crypto;
mod source;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use thiserror::Error;
use tokio::time::Instant;

use super::session::{Failure, Verified};
use crate::config::SecuritySettings;
use source::KeySource;

/// Keys are not asked for again within this time because of unknown ones: anybody can name one.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);

/// Most keys of a set that are looked at.
const KEYS_MAX: usize = 256;

/// Why keys cannot be had.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The file or the answer of the server.
    #[error("setting `sasl.oauthbearer.jwks.endpoint.url`: cannot read the keys from {place}: {detail}")]
    Unreadable {
        /// Where.
        place: String,
        /// Why.
        detail: String,
    },
    /// There is no key that verifies anything.
    #[error("setting `sasl.oauthbearer.jwks.endpoint.url`: {place} holds no RSA, EC or Ed25519 key for signatures")]
    None {
        /// Where.
        place: String,
    },
}

struct SigningKey {
    id: Option<String>,
    /// The only algorithm it is for, if the set says so.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

/// Verifies tokens.
pub struct Tokens {
    source: KeySource,
    audiences: Vec<String>,
    issuer: String,
    subject: String,
    skew: u64,
    keys: ArcSwap<Vec<SigningKey>>,
    /// When keys were last asked for; held while they are, so that many tokens share one question.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Tokens {
    /// Reads the keys. A file must hold some; a server may come up later.
    pub async fn open(settings: &SecuritySettings) -> Result<Arc<Tokens>, KeysError> {
        crypto::install();
        let source = KeySource::of(&settings.jwks_url, &settings.jwks_ca)?;
        let list =
            |text: &str| text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
        let tokens = Arc::new(Tokens {
            source,
            audiences: list(&settings.oauth_audience),
            issuer: settings.oauth_issuer.trim().to_owned(),
            subject: settings.oauth_subject.clone(),
            skew: settings.oauth_skew.into(),
            keys: ArcSwap::default(),
            asked: tokio::sync::Mutex::new(None),
        });
        match tokens.read_keys().await {
            Err(error) if tokens.source.is_file() => return Err(error),
            Err(error) => tracing::warn!(%error, "tokens are refused until the keys can be read"),
            Ok(()) => {}
        }
        tokio::spawn(keep_fresh(Arc::downgrade(&tokens), settings.jwks_refresh.max(REFRESH_PAUSE)));
        Ok(tokens)
    }

    async fn read_keys(&self) -> Result<(), KeysError> {
        let place = || self.source.to_string();
        let bytes = self.source.read().await?;
        let set: JwkSet = serde_json::from_slice(&bytes)
            .map_err(|error| KeysError::Unreadable { place: place(), detail: error.to_string() })?;
        let signs = |key: &&jsonwebtoken::jwk::Jwk| {
            key.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        };
        let keys: Vec<SigningKey> = set.keys.iter().take(KEYS_MAX).filter(signs).filter_map(signing_key).collect();
        if keys.is_empty() {
            return Err(KeysError::None { place: place() });
        }
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Asks for the keys, unless that was done a moment ago.
    async fn refresh(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < REFRESH_PAUSE) {
            return;
        }
        *asked = Some(Instant::now());
        if let Err(error) = self.read_keys().await {
            tracing::warn!(%error, "the keys of tokens cannot be read; the old ones stay in force");
        }
    }

    /// Whose token it is, and for how long it is good. `authorization`: whom its bearer wants to act for, empty = itself.
    pub async fn verify(&self, token: &str, authorization: &str) -> Result<Verified, Failure> {
        let refused = |error: jsonwebtoken::errors::Error| Failure::Token(error.to_string());
        // "none" is no algorithm that can be read, and shared secrets are none that are taken.
        let header = decode_header(token).map_err(refused)?;
        if !crypto::ALGORITHMS.contains(&header.alg) {
            return Err(Failure::Token("it is not signed with a public key".to_owned()));
        }
        let id = header.kid.as_deref();
        let key = match self.find(id, header.alg) {
            Some(key) => key,
            None => {
                self.refresh().await;
                let unknown = || Failure::Token("no key of the issuer fits it".to_owned());
                self.find(id, header.alg).ok_or_else(unknown)?
            }
        };
        let claims = decode::<serde_json::Map<String, serde_json::Value>>(token, &key, &self.validation(header.alg));
        let claims = claims.map_err(refused)?.claims;
        let name = claims.get(&self.subject).and_then(serde_json::Value::as_str).unwrap_or_default();
        if name.is_empty() || name.len() > crate::security::principal::NAME_MAX {
            return Err(Failure::Token(format!("its claim `{}` is no name", self.subject)));
        }
        if !authorization.is_empty() && authorization != name {
            return Err(Failure::Authorization);
        }
        // Checked to be there and not over, give or take the skew; a fraction of a second is cut.
        let expires = claims.get("exp").and_then(serde_json::Value::as_f64).unwrap_or_default() as u64;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let lifetime = Duration::from_secs(expires.saturating_add(self.skew).saturating_sub(now).max(1));
        Ok(Verified { name: name.to_owned(), lifetime: Some(lifetime) })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.skew;
        validation.validate_nbf = true;
        validation.set_audience(&self.audiences);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        validation
    }

    /// The key with this id; for a token that names none, the only one of its kind.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let keys = self.keys.load();
        let mut fitting = keys.iter().filter(|key| {
            key.key.family() == algorithm.family()
                && key.algorithm.is_none_or(|only| only == algorithm)
                && (id.is_none() || key.id.as_deref() == id)
        });
        let first = fitting.next()?;
        (id.is_some() || fitting.next().is_none()).then(|| first.key.clone())
    }
}

fn signing_key(jwk: &jsonwebtoken::jwk::Jwk) -> Option<SigningKey> {
    let algorithm = match &jwk.common.key_algorithm {
        None => None,
        Some(named) => Some(named.to_string().parse::<Algorithm>().ok()?),
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let sound = crypto::ALGORITHMS.iter().any(|known| known.family() == key.family());
    sound.then(|| SigningKey { id: jwk.common.key_id.clone(), algorithm, key })
}

async fn keep_fresh(tokens: Weak<Tokens>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(tokens) = tokens.upgrade() else { return };
        tokens.refresh().await;
    }
}
