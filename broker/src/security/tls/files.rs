//! PEM files to a configuration of rustls.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use thiserror::Error;

use super::PrincipalMapping;
use crate::config::ClientAuth;

/// What a listener's TLS is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsSettings {
    /// Chain of certificates, the listener's own first (PEM).
    pub certificate: PathBuf,
    /// Private key (PEM: PKCS#8, PKCS#1 or SEC1; not encrypted).
    pub key: PathBuf,
    /// CAs of client certificates (PEM).
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Versions to speak.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// From certificates to names.
    pub mapping: PrincipalMapping,
}

/// Why files cannot be used. Names file, setting and fix; never shows a key.
#[derive(Debug, Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("setting `{setting}`: cannot read {path}: {source}")]
    Read {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It holds nothing of use.
    #[error(
        "setting `{setting}`: {path} holds no {wanted} in PEM; `openssl pkcs12 -in STORE -nodes` makes PEM from a key store"
    )]
    Nothing {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The contents do not fit each other, or rustls does not take them.
    #[error("{path}: {detail}. Check that `ssl.certificate.location` and `ssl.key.location` belong together")]
    Refused {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
}

const CERTIFICATE: &str = "ssl.certificate.location";
const KEY: &str = "ssl.key.location";
const CA: &str = "ssl.ca.location";

impl TlsSettings {
    /// The files, whose change means to read them again.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }

    /// Reads the files.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsFileError> {
        let shown = self.certificate.display().to_string();
        let refused = |detail: String| TlsFileError::Refused { path: shown.clone(), detail };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(CERTIFICATE, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unreadable(KEY, &self.key, "private key", error))?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions)
            .map_err(|error| refused(error.to_string()))?;
        let builder = match (self.client_auth, &self.client_ca) {
            (ClientAuth::None, _) | (_, None) => builder.with_no_client_auth(),
            (auth, Some(path)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(CA, path)? {
                    roots.add(certificate).map_err(|error| TlsFileError::Refused {
                        path: path.display().to_string(),
                        detail: error.to_string(),
                    })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if auth == ClientAuth::Requested { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| refused(error.to_string()))?)
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(|error| refused(error.to_string()))?;
        Ok(Arc::new(config))
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let failed = |error| unreadable(setting, path, "certificate", error);
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(failed(pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unreadable(setting: &'static str, path: &Path, wanted: &'static str, error: pem::Error) -> TlsFileError {
    let path = path.display().to_string();
    match error {
        pem::Error::Io(source) => TlsFileError::Read { setting, path, source },
        _ => TlsFileError::Nothing { setting, path, wanted },
    }
}
