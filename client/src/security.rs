//! TLS and SASL of a client: what is sent and shown, and what is trusted.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig as TlsClientConfig, RootCertStore};
use tokio::net::TcpStream;

use crate::config::BrokerAddress;
use crate::error::{ClientError, Result};
use crate::transport::{Connecting, Connector, Stream};

pub use weir_protocol::sasl::Mechanism;

/// TLS towards brokers. The default trusts the CAs of the system and shows no certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// CAs to trust instead of those of the system (PEM).
    pub ca: Option<PathBuf>,
    /// Chain of certificates and private key to show to brokers (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Name and password towards brokers.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslConfig {
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
    pub mechanism: Mechanism,
    /// Who.
    pub username: String,
    /// For OAUTHBEARER, the token.
    pub password: String,
}

impl fmt::Debug for SaslConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SaslConfig")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// TLS over TCP.
pub struct TlsConnector {
    connector: tokio_rustls::TlsConnector,
}

impl TlsConnector {
    /// Reads the files.
    pub fn new(config: &TlsConfig) -> Result<Self> {
        let refused = |setting, path: &PathBuf, reason: String| ClientError::InvalidFile {
            setting,
            path: path.display().to_string(),
            reason,
        };
        let mut roots = RootCertStore::empty();
        match &config.ca {
            Some(path) => {
                let failed = |error: &dyn fmt::Display| refused("tls-ca", path, error.to_string());
                for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
                    let certificate = certificate.map_err(|error| failed(&error))?;
                    roots.add(certificate).map_err(|error| failed(&error))?;
                }
                if roots.is_empty() {
                    return Err(failed(&"it holds no certificate in PEM"));
                }
            }
            // Whatever of the system's store cannot be read is missed only by brokers that need it.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = TlsClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| refused("tls", &PathBuf::new(), error.to_string()))?
            .with_root_certificates(roots);
        let tls = match &config.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let failed = |error: &dyn fmt::Display| refused("tls-cert", chain, error.to_string());
                let certificates = CertificateDer::pem_file_iter(chain).map_err(|error| failed(&error))?;
                let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| failed(&error))?;
                let private = PrivateKeyDer::from_pem_file(key);
                let private = private.map_err(|error| refused("tls-key", key, error.to_string()))?;
                builder.with_client_auth_cert(certificates, private).map_err(|error| failed(&error))?
            }
        };
        Ok(Self { connector: tokio_rustls::TlsConnector::from(Arc::new(tls)) })
    }
}

impl Connector for TlsConnector {
    fn connect<'a>(&'a self, address: &'a BrokerAddress) -> Connecting<'a> {
        Box::pin(async move {
            let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            stream.set_nodelay(true)?;
            let stream = self.connector.connect(name, stream).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let sasl = SaslConfig { mechanism: Mechanism::Plain, username: "alice".into(), password: "hunter2".into() };
        let shown = format!("{:?}", crate::ClientConfig { sasl: Some(sasl), ..crate::ClientConfig::default() });
        assert!(shown.contains("alice") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let error = |config: &TlsConfig| TlsConnector::new(config).err().unwrap().to_string();
        let missing = PathBuf::from("/nonexistent/ca.pem");
        let shown = error(&TlsConfig { ca: Some(missing.clone()), certificate: None });
        assert!(shown.contains("tls-ca") && shown.contains("/nonexistent/ca.pem"), "{shown}");
        let shown = error(&TlsConfig { ca: None, certificate: Some((missing.clone(), missing)) });
        assert!(shown.contains("tls-cert"), "{shown}");
    }
}
