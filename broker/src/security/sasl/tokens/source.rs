//! Where keys of tokens come from: a file, or a server over https.
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::KeysError;

/// Longest set of keys.
const BYTES_MAX: usize = 1 << 20;
/// Longest time for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A place with keys.
pub enum KeySource {
    /// `file:///PATH`
    File(PathBuf),
    /// `https://HOST[:PORT]/PATH`
    Https { host: String, port: u16, path: String, tls: TlsConnector },
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => write!(f, "{}", path.display()),
            KeySource::Https { host, port, path, .. } => write!(f, "https://{host}:{port}{path}"),
        }
    }
}

impl KeySource {
    /// From the settings; `ca`: a file, empty = the CAs of the system.
    pub fn of(url: &str, ca: &str) -> Result<KeySource, KeysError> {
        let url = url.trim();
        if let Some(path) = url.strip_prefix("file://") {
            return Ok(KeySource::File(PathBuf::from(path)));
        }
        let refused = |detail: String| KeysError::Unreadable { place: url.to_owned(), detail };
        let parsed: Uri = url.parse().map_err(|error: axum::http::uri::InvalidUri| refused(error.to_string()))?;
        let host = parsed.host().filter(|_| parsed.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| refused("it is no https URL".to_owned()))?.to_owned();
        let path = parsed.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let mut roots = RootCertStore::empty();
        if ca.trim().is_empty() {
            // Whatever of the system's store cannot be read is missed only by servers that need it.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        } else {
            let failed = |error: &dyn fmt::Display| refused(format!("{}: {error}", ca.trim()));
            for certificate in CertificateDer::pem_file_iter(ca.trim()).map_err(|error| failed(&error))? {
                roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(KeySource::Https { host, port: parsed.port_u16().unwrap_or(443), path, tls })
    }

    /// Whether it is there or it is not, without waiting.
    pub fn is_file(&self) -> bool {
        matches!(self, KeySource::File(_))
    }

    /// Reads the set.
    pub async fn read(&self) -> Result<Vec<u8>, KeysError> {
        let failed = |detail: String| KeysError::Unreadable { place: self.to_string(), detail };
        let read = async {
            match self {
                KeySource::File(path) => {
                    let size = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?.len();
                    if size > BYTES_MAX as u64 {
                        return Err(format!("it is larger than {BYTES_MAX} bytes"));
                    }
                    tokio::fs::read(path).await.map_err(|error| error.to_string())
                }
                KeySource::Https { host, port, path, tls } => get(host, *port, path, tls).await,
            }
        };
        match tokio::time::timeout(ANSWER_MAX, read).await {
            Ok(read) => read.map_err(failed),
            Err(_) => Err(failed(format!("no answer within {} s", ANSWER_MAX.as_secs()))),
        }
    }
}

/// One GET over a connection of its own. No redirects: they would choose whom to trust.
async fn get(host: &str, port: u16, path: &str, tls: &TlsConnector) -> Result<Vec<u8>, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| text(&error))?;
    let name = ServerName::try_from(bare.to_owned()).map_err(|error| text(&error))?;
    let stream = tls.connect(name, stream).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, if port == 443 { host.to_owned() } else { format!("{host}:{port}") })
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| text(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        if response.status() != StatusCode::OK {
            return Err(format!("the server answered {}", response.status()));
        }
        let body = Limited::new(response.into_body(), BYTES_MAX).collect().await.map_err(|error| text(&error))?;
        Ok(body.to_bytes().to_vec())
    };
    let answer = answer.await;
    driver.abort();
    answer
}
