//! TLS of listeners: rustls, certificates from PEM files, read again when the files change.
//!
//! | file | what |
//! |---|---|
//! | `files.rs` | PEM files to a configuration of rustls |
//! | `reload.rs` | the configuration in force, exchanged when a file changes |
//! | `mapping.rs` | `ssl.principal.mapping.rules` (pure) |
//! | `subject.rs` | the subject of a certificate as Kafka writes it (pure) |
//! | `dev.rs` | `weir tls dev`: a CA and certificates for trying things out |
//!
//! A connection keeps the configuration that it began with. TLS 1.2 and 1.3 only, and never renegotiated.
pub mod dev;
pub mod files;
pub mod mapping;
mod reload;
mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use files::{TlsFileError, TlsSettings};
pub use mapping::{MappingError, PrincipalMapping};
pub use reload::{TlsConfigs, watch};
pub use subject::subject_of;

use super::Principal;

/// Why a client did not get through the handshake.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// rustls or the socket says why.
    #[error(
        "the TLS handshake failed: {0}. Does the client use TLS, trust the CA, and have a certificate if one is required?"
    )]
    Tls(#[from] std::io::Error),
    /// A certificate was accepted, and no rule has a name for it.
    #[error(
        "no rule of `ssl.principal.mapping.rules` matches the certificate of `{subject}`; add one, or DEFAULT at the end"
    )]
    NoRule {
        /// The subject.
        subject: String,
    },
    /// A certificate was accepted that has no usable subject.
    #[error("the client's certificate has no subject of 1 to 1024 bytes")]
    NoSubject,
}

/// Does the server's part of a handshake. Bound it in time from outside.
pub async fn accept(
    configs: &TlsConfigs,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Option<Arc<Principal>>), HandshakeError> {
    let stream = TlsAcceptor::from(configs.current()).accept(stream).await?;
    let principal = principal_of(configs, stream.get_ref().1)?;
    Ok((stream, principal))
}

/// Who a client is by the certificate that it showed; `None`: it showed none.
pub fn principal_of(
    configs: &TlsConfigs,
    connection: &rustls::ServerConnection,
) -> Result<Option<Arc<Principal>>, HandshakeError> {
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    let Some(certificate) = certificate else { return Ok(None) };
    let subject = subject_of(certificate).ok_or(HandshakeError::NoSubject)?;
    match configs.settings().mapping.name_of(&subject) {
        Some(name) if !name.is_empty() => Ok(Some(Arc::new(Principal::user(name)))),
        _ => Err(HandshakeError::NoRule { subject }),
    }
}
