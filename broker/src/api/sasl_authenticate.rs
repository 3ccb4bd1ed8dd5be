//! SaslAuthenticate (key 36): one token of a SASL exchange.
//!
//! Versions 0-2. KIP-152, KIP-368 (version 1: how long the session may last). Errors: SASL_AUTHENTICATION_FAILED (the connection ends),
//! ILLEGAL_SASL_STATE (no handshake before it, or a listener without SASL).
use kafka_protocol::messages::{ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::security::sasl::session::HandshakeRefused;
use crate::security::sasl::{Authenticator, Reply};

pub const VERSIONS: Versions = Versions::new(ApiKey::SaslAuthenticate, 0, 2);

/// Takes the next step of an exchange.
pub async fn handle(
    broker: &Broker,
    authenticator: &mut Authenticator,
    version: i16,
    request: SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    let response = SaslAuthenticateResponse::default();
    if !authenticator.is_exchanging() {
        let refused = HandshakeRefused::State;
        return response.with_error_code(refused.wire_code()).with_error_message(Some(wire(refused.to_string())));
    }
    match authenticator.token(broker, &request.auth_bytes).await {
        Reply::Continue(token) => response.with_auth_bytes(token.into()),
        Reply::Done(token, lifetime_ms) => {
            let lifetime_ms = if version >= 1 { lifetime_ms } else { 0 };
            response.with_auth_bytes(token.into()).with_session_lifetime_ms(lifetime_ms)
        }
        Reply::Refused(why) => {
            let code = ErrorCode::SaslAuthenticationFailed.code();
            response.with_error_code(code).with_error_message(Some(wire(why)))
        }
    }
}
