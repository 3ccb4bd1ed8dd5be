//! Authentication of a new connection: SaslHandshake, then one SaslAuthenticate for each step of the mechanism.

use std::time::Duration;

use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use weir_protocol::sasl::scram::ClientStart;
use weir_protocol::sasl::{Mechanism, oauthbearer, plain};

use super::Connection;
use crate::admin::wire_text;
use crate::error::{ClientError, Result};
use crate::security::SaslConfig;

/// Part of a session's lifetime after which it is replaced, before the broker ends it.
const LIFETIME_USED: f64 = 0.8;

/// Proves who the client is; the result is how long the broker takes it for that, None = for ever.
pub(super) async fn authenticate(connection: &Connection, sasl: &SaslConfig) -> Result<Option<Duration>> {
    let mechanism = sasl.mechanism;
    // A broker that does not know version 1 would expect bare tokens.
    if connection.version::<SaslHandshakeRequest>()? == 0 {
        return Err(refused(connection, "the broker is too old for SaslAuthenticate".to_owned()));
    }
    let handshake =
        connection.call(|_| SaslHandshakeRequest::default().with_mechanism(wire_text(mechanism.name()))).await?;
    if handshake.error_code != 0 {
        let offered: Vec<_> = handshake.mechanisms.iter().map(|name| name.as_str()).collect();
        let detail = format!(
            "the broker offers {}",
            if offered.is_empty() { "no SASL here".into() } else { offered.join(", ") }
        );
        return Err(connection.refusal::<SaslHandshakeRequest>(mechanism.name(), handshake.error_code, Some(&detail)));
    }
    match mechanism {
        Mechanism::Plain => Ok(step(connection, plain::PlainMessage::encode(&sasl.username, &sasl.password)).await?.1),
        Mechanism::OauthBearer => {
            let (answer, lifetime) = step(connection, oauthbearer::BearerMessage::encode(&sasl.password)).await?;
            if !answer.is_empty() {
                // A refusal; the broker says more once it is acknowledged.
                step(connection, oauthbearer::DUMMY.to_vec()).await?;
                return Err(refused(connection, String::from_utf8_lossy(&answer).into_owned()));
            }
            Ok(lifetime)
        }
        Mechanism::Scram(hash) => {
            let nonce = uuid::Uuid::new_v4().simple().to_string() + &uuid::Uuid::new_v4().simple().to_string();
            let failed = |error: weir_protocol::sasl::scram::ScramError| refused(connection, error.to_string());
            let (client, first) = ClientStart::new(hash, &sasl.username, &sasl.password, &nonce);
            let (challenge, _) = step(connection, first).await?;
            let (client, proof) = client.prove(&challenge).map_err(failed)?;
            let (outcome, lifetime) = step(connection, proof).await?;
            client.verify(&outcome).map_err(failed)?;
            Ok(lifetime)
        }
    }
}

async fn step(connection: &Connection, token: Vec<u8>) -> Result<(Vec<u8>, Option<Duration>)> {
    let response = connection.call(|_| SaslAuthenticateRequest::default().with_auth_bytes(token.into())).await?;
    let detail = response.error_message.as_deref();
    connection.check::<SaslAuthenticateRequest>("", response.error_code, detail)?;
    let lifetime = u64::try_from(response.session_lifetime_ms).ok().filter(|lifetime| *lifetime > 0);
    let lifetime = lifetime.map(|lifetime| Duration::from_millis(lifetime).mul_f64(LIFETIME_USED));
    Ok((response.auth_bytes.to_vec(), lifetime))
}

fn refused(connection: &Connection, reason: String) -> ClientError {
    ClientError::Authentication { broker: connection.broker().to_owned(), reason }
}
