//! Requests to an Iceberg REST catalog: where it is, who we are there, and what it answered.
//!
//! The catalog's own configuration (`GET /v1/config`) is read once, a token is got with a credential and renewed before it ends or
//! when the catalog refuses it. Nothing else is repeated here: a request without an answer has an outcome that is not known, and who
//! asked reads again. Answers are bounded, and no error or log line has a secret in it.
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use self::token::Tokens;
use crate::store::StoreError;

/// A longer answer is not read.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// So much of what a catalog says about a failure is told.
const MESSAGE_LEN_MAX: usize = 500;

/// The catalog: the broker's settings `lake.iceberg.rest.*`.
#[derive(Clone, PartialEq, Eq)]
pub struct RestSettings {
    /// `https://host/path`, to which `/v1/...` is added; `None`: there is no catalog.
    pub uri: Option<String>,
    /// Which of its warehouses, if it has several.
    pub warehouse: Option<String>,
    /// Sent as it is.
    pub token: Option<String>,
    /// `id:secret`, or only a secret: a token is got with it (OAuth2, client credentials).
    pub credential: Option<String>,
    /// Where tokens are got; without it at the catalog.
    pub oauth2_server_uri: Option<String>,
    /// What the token is for.
    pub scope: String,
    /// A request that is not answered by then has an outcome that is not known.
    pub request_timeout: Duration,
}

impl Default for RestSettings {
    fn default() -> Self {
        RestSettings {
            uri: None,
            warehouse: None,
            token: None,
            credential: None,
            oauth2_server_uri: None,
            scope: "catalog".to_owned(),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Without secrets: this is what logs get.
impl fmt::Debug for RestSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestSettings")
            .field("uri", &self.uri.as_deref().map(shown))
            .field("warehouse", &self.warehouse)
            .field("scope", &self.scope)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Get,
    Post(Value),
}

/// What a catalog answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// Null, if it was no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether the catalog itself says that there is no such thing: any server answers 404 to a path that it does not know.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.status == 404 && self.body["error"]["message"].is_string()
    }

    /// For people.
    #[must_use]
    pub fn reason(&self) -> String {
        let message = self.body["error"]["message"].as_str().unwrap_or("it does not say why");
        let message: String = message.chars().filter(|c| !c.is_control()).take(MESSAGE_LEN_MAX).collect();
        let hint = match self.status {
            401 | 403 | 419 => "; see `lake.iceberg.rest.token` and `lake.iceberg.rest.credential`",
            404 if !self.is_absent() => "; see `lake.iceberg.rest.uri` and `lake.iceberg.rest.warehouse`",
            _ => "",
        };
        format!("the catalog answers {}: {message}{hint}", self.status)
    }
}

/// Who asks a catalog.
#[async_trait]
pub trait CatalogRequests: Send + Sync + 'static {
    /// `path`: behind `/v1/{prefix}/`. After an error the catalog may have done it or not.
    async fn ask(&self, path: &str, ask: Ask) -> Result<Answer, StoreError>;

    /// The catalog's address, without secrets.
    fn address(&self) -> String;
}

/// The catalog of a broker; clones share what was read.
#[derive(Debug, Clone)]
pub struct RestClient {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RestSettings,
    http: Mutex<Option<Client>>,
    /// Its `/v1/{prefix}`, as its configuration has it.
    base: tokio::sync::Mutex<Option<String>>,
    tokens: tokio::sync::Mutex<Tokens>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PartialEq for RestClient {
    fn eq(&self, other: &RestClient) -> bool {
        self.inner.settings == other.inner.settings
    }
}

impl Eq for RestClient {}

impl Default for RestClient {
    fn default() -> Self {
        RestClient::new(RestSettings::default())
    }
}

impl RestClient {
    /// Nothing is connected to before it is needed.
    #[must_use]
    pub fn new(settings: RestSettings) -> RestClient {
        let (http, base, tokens) = (Mutex::default(), tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        RestClient { inner: Arc::new(Inner { settings, http, base, tokens }) }
    }

    /// Whether there is a catalog.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.inner.settings.uri.is_some()
    }

    fn uri(&self) -> &str {
        self.inner.settings.uri.as_deref().unwrap_or_default().trim_end_matches('/')
    }

    fn http(&self) -> Result<Client, StoreError> {
        let mut http = self.inner.http.lock();
        if let Some(http) = &*http {
            return Ok(http.clone());
        }
        let timeout = self.inner.settings.request_timeout;
        let built = Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIME_MAX.min(timeout))
            // A token goes to the place that it was set for.
            .redirect(Policy::none())
            .build();
        let built = built.map_err(|error| StoreError::failed("a request", &self.address(), error))?;
        *http = Some(built.clone());
        Ok(built)
    }

    /// Sends one request and reads all of its answer.
    async fn exchange(&self, request: RequestBuilder) -> Result<Answer, StoreError> {
        let failed = |error: reqwest::Error| {
            let reason = error_chain(&error.without_url());
            StoreError::failed("a request", &self.address(), reason)
        };
        let mut answer = request.send().await.map_err(failed)?;
        let (status, mut bytes) = (answer.status().as_u16(), Vec::new());
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + part.len() > ANSWER_BYTES_MAX {
                let reason = format!("its answer has more than {ANSWER_BYTES_MAX} bytes");
                return Err(StoreError::failed("a request", &self.address(), reason));
            }
            bytes.extend_from_slice(&part);
        }
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    /// With the token that is valid now, and once more with a new one if it is refused: then nothing was done.
    async fn authorized(&self, url: &str, ask: &Ask) -> Result<Answer, StoreError> {
        let mut refused = None;
        loop {
            let token = self.token(refused.as_deref()).await?;
            let http = self.http()?;
            let request = match ask {
                Ask::Get => http.get(url),
                Ask::Post(body) => http.post(url).header("content-type", "application/json").body(body.to_string()),
            };
            let request = match &token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let answer = self.exchange(request.header("accept", "application/json")).await?;
            let renewable = self.inner.settings.credential.is_some() && refused.is_none();
            if !matches!(answer.status, 401 | 419) || !renewable {
                return Ok(answer);
            }
            refused = token;
        }
    }

    /// `{uri}/v1/{prefix}`, by the catalog's own configuration.
    async fn base(&self) -> Result<String, StoreError> {
        let mut base = self.inner.base.lock().await;
        if let Some(base) = &*base {
            return Ok(base.clone());
        }
        let mut url = format!("{}/v1/config", self.uri());
        if let Some(warehouse) = &self.inner.settings.warehouse {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("warehouse", warehouse).finish();
            url = format!("{url}?{query}");
        }
        let answer = self.authorized(&url, &Ask::Get).await?;
        if answer.status != 200 || !answer.body.is_object() {
            return Err(StoreError::failed("reading the configuration", &self.address(), answer.reason()));
        }
        let found = base_of(self.uri(), &answer.body)
            .map_err(|reason| StoreError::failed("reading the configuration", &self.address(), reason))?;
        *base = Some(found.clone());
        Ok(found)
    }
}

/// Where requests go, by a catalog's configuration: what it overrides wins over what it suggests.
fn base_of(uri: &str, config: &Value) -> Result<String, String> {
    let told = |name: &str| config["overrides"][name].as_str().or_else(|| config["defaults"][name].as_str());
    // What we were told ourselves wins over a suggestion.
    let uri = config["overrides"]["uri"].as_str().unwrap_or(uri).trim_end_matches('/');
    let prefix = told("prefix").unwrap_or_default().trim_matches('/');
    let base = if prefix.is_empty() { format!("{uri}/v1") } else { format!("{uri}/v1/{prefix}") };
    match Url::parse(&base) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(base),
        _ => Err("it names an address that is no http:// or https:// one".to_owned()),
    }
}

/// An address as it may be told: whoever puts a password there does not want to see it in a log.
fn shown(uri: &str) -> String {
    match Url::parse(uri) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let path = url.path().trim_end_matches('/');
            format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
        }
        Err(_) => "the catalog of `lake.iceberg.rest.uri`".to_owned(),
    }
}

/// An error with what caused it: the first one only says that there was one.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[async_trait]
impl CatalogRequests for RestClient {
    async fn ask(&self, path: &str, ask: Ask) -> Result<Answer, StoreError> {
        let url = format!("{}/{path}", self.base().await?);
        self.authorized(&url, &ask).await
    }

    fn address(&self) -> String {
        shown(self.uri())
    }
}
