//! `Security`: how a client shows who it is, and whom it trusts.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use weir_client::security::{Mechanism, SaslConfig, TlsConfig};

/// TLS and SASL towards brokers. See the type stubs for what the arguments mean.
#[pyclass(frozen, module = "weir")]
pub(crate) struct Security {
    tls: Option<TlsConfig>,
    sasl: Option<SaslConfig>,
}

#[pymethods]
impl Security {
    #[new]
    #[pyo3(signature = (*, tls=true, ca=None, certificate=None, key=None, username=None, password=None, mechanism=None))]
    fn new(
        tls: bool,
        ca: Option<PathBuf>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        username: Option<String>,
        password: Option<String>,
        mechanism: Option<&str>,
    ) -> PyResult<Security> {
        let refused = |reason: &str| Err(PyValueError::new_err(reason.to_owned()));
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return refused("certificate and key are given together"),
        };
        if !tls && (ca.is_some() || certificate.is_some()) {
            return refused("ca and certificate are for TLS: leave out tls=False");
        }
        let mechanism = mechanism.unwrap_or("SCRAM-SHA-512").to_ascii_uppercase();
        let mechanism: Mechanism =
            mechanism.parse().map_err(|error| PyValueError::new_err(format!("mechanism: {error}")))?;
        let username = match (username, mechanism) {
            (None, Mechanism::OauthBearer) if password.is_some() => Some(String::new()),
            (username, _) => username,
        };
        let sasl = match (username, password) {
            (Some(username), Some(password)) => Some(SaslConfig { mechanism, username, password }),
            (None, None) => None,
            _ => {
                return refused(
                    "username and password are given together (for OAUTHBEARER, the token as the password)",
                );
            }
        };
        Ok(Security { tls: tls.then_some(TlsConfig { ca, certificate }), sasl })
    }

    fn __repr__(&self) -> String {
        let tls = if self.tls.is_some() { "True" } else { "False" };
        match &self.sasl {
            Some(sasl) => {
                format!("Security(tls={tls}, username={:?}, mechanism={:?})", sasl.username, sasl.mechanism.name())
            }
            None => format!("Security(tls={tls})"),
        }
    }
}

impl Security {
    pub(crate) fn parts(&self) -> (Option<TlsConfig>, Option<SaslConfig>) {
        (self.tls.clone(), self.sasl.clone())
    }
}
