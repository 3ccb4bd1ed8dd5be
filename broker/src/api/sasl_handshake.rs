//! SaslHandshake (key 17): a client chooses a SASL mechanism.
//!
//! Versions 0-1. KIP-43: after version 0 tokens follow as bare frames. KIP-152: after version 1 they follow in SaslAuthenticate.
//! KIP-368: on an authenticated connection it begins the re-authentication. Errors: UNSUPPORTED_SASL_MECHANISM (the connection
//! ends), ILLEGAL_SASL_STATE (a listener without SASL, or in the middle of an exchange).
use kafka_protocol::messages::{ApiKey, SaslHandshakeRequest, SaslHandshakeResponse};

use super::{Versions, wire};
use crate::error_code::KafkaError;
use crate::security::sasl::Authenticator;

pub const VERSIONS: Versions = Versions::new(ApiKey::SaslHandshake, 0, 1);

/// Begins an exchange.
pub fn handle(
    authenticator: &mut Authenticator,
    version: i16,
    request: &SaslHandshakeRequest,
) -> SaslHandshakeResponse {
    let mechanisms = authenticator.mechanisms().into_iter().map(wire).collect();
    let code = match authenticator.handshake(version, &request.mechanism) {
        Ok(()) => 0,
        Err(refused) => refused.wire_code(),
    };
    SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(mechanisms)
}
