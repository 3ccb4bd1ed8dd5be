//! One negotiated connection to one broker: typed requests in, typed responses out.
//!
//! Opening it asks for ApiVersions in the newest version and falls back to what the broker can do, so that every later call
//! uses the highest version that both sides know. Calls may be pipelined; see [`Connection::submit`].

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::{BrokerAddress, ClientConfig};
use crate::error::{ClientError, Result};
use crate::transport::Connector;
use crate::versions::{VersionTable, api_of};
use crate::wire::Wire;

/// A negotiated connection. Cheap to clone; the stream closes when the last clone is dropped.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    wire: Wire,
    client_id: StrBytes,
    versions: VersionTable,
    request_timeout: Duration,
    /// When its session is to be replaced; empty = never.
    expires: OnceLock<tokio::time::Instant>,
}

/// A request that was sent and whose answer is awaited separately.
pub struct PendingResponse<R: Request> {
    inner: Arc<Inner>,
    version: i16,
    answer: oneshot::Receiver<Result<Bytes>>,
    _request: std::marker::PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects and negotiates versions.
    pub async fn open(
        connector: &dyn Connector,
        address: &BrokerAddress,
        advertised: bool,
        config: &ClientConfig,
    ) -> Result<Self> {
        let broker = address.to_string();
        let failed = |source| ClientError::Connect { broker: broker.clone(), advertised, source: Arc::new(source) };
        let stream = match timeout(config.connect_timeout, connector.connect(address)).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(failed(std::io::Error::from(std::io::ErrorKind::TimedOut))),
        };
        let wire = Wire::start(stream, broker, config.frame_bytes_max);
        let client_id = StrBytes::from_string(config.client_id.clone());
        let versions = negotiate(&wire, &client_id, config.request_timeout).await?;
        let request_timeout = config.request_timeout;
        let inner = Inner { wire, client_id, versions, request_timeout, expires: OnceLock::new() };
        let connection = Self { inner: Arc::new(inner) };
        if let Some(sasl) = &config.sasl
            && let Some(lifetime) = sasl::authenticate(&connection, sasl).await?
        {
            // Set once, before anybody else has the connection.
            let _ = connection.inner.expires.set(tokio::time::Instant::now() + lifetime);
        }
        Ok(connection)
    }

    /// `host:port`, as errors name it.
    pub fn broker(&self) -> &str {
        self.inner.wire.broker()
    }

    /// Whether the stream has ended, or its session soon will (KIP-368): then another connection takes over, and what was asked
    /// on this one is still answered.
    pub fn is_closed(&self) -> bool {
        let expired = self.inner.expires.get().is_some_and(|expires| *expires <= tokio::time::Instant::now());
        expired || self.inner.wire.closed().is_some()
    }

    /// What the broker announced.
    pub fn versions(&self) -> &VersionTable {
        &self.inner.versions
    }

    /// The version that calls of `R` use on this connection.
    pub fn version<R: Request>(&self) -> Result<i16> {
        self.inner.versions.pick::<R>(self.broker())
    }

    /// Sends a request and waits for its answer. `build` gets the negotiated version, since some fields exist only in some.
    pub async fn call<R: Request>(&self, build: impl FnOnce(i16) -> R) -> Result<R::Response> {
        self.call_within(self.inner.request_timeout, build).await
    }

    /// As [`call`](Self::call), for requests that ask the broker to wait before it answers.
    pub async fn call_within<R: Request>(&self, limit: Duration, build: impl FnOnce(i16) -> R) -> Result<R::Response> {
        let version = self.version::<R>()?;
        self.submit(version, &build(version)).await?.wait(limit).await
    }

    /// Sends a request without waiting for its answer; answers arrive in the order of these calls.
    pub async fn submit<R: Request>(&self, version: i16, request: &R) -> Result<PendingResponse<R>> {
        let inner = &self.inner;
        let sent = inner.wire.send(true, |id| encode(request, version, id, &inner.client_id)).await?;
        let Some(answer) = sent else {
            return Err(ClientError::Closed { what: "connection" });
        };
        Ok(PendingResponse { inner: inner.clone(), version, answer, _request: std::marker::PhantomData })
    }

    /// Sends a request that the broker never answers (Produce with acks=0).
    pub async fn submit_unanswered<R: Request>(&self, version: i16, request: &R) -> Result<()> {
        let inner = &self.inner;
        inner.wire.send(false, |id| encode(request, version, id, &inner.client_id)).await.map(|_| ())
    }

    /// An error of this broker and API; `subject` names the thing it concerns.
    pub fn refusal<R: Request>(&self, subject: impl Into<String>, code: i16, detail: Option<&str>) -> ClientError {
        ClientError::Broker {
            broker: self.broker().to_owned(),
            api: api_of::<R>(),
            subject: subject.into(),
            code: ResponseError::try_from_code(code).unwrap_or(ResponseError::Unknown(code)),
            detail: detail.map(str::to_owned),
        }
    }

    /// `Ok` for code 0, otherwise [`refusal`](Self::refusal).
    pub fn check<R: Request>(&self, subject: &str, code: i16, detail: Option<&str>) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(self.refusal::<R>(subject, code, detail)) }
    }
}

impl<R: Request> PendingResponse<R> {
    /// Waits for the answer. After `limit` the connection is closed, because whatever is behind a stuck answer is stuck too.
    pub async fn wait(self, limit: Duration) -> Result<R::Response> {
        let broker = self.inner.wire.broker();
        match timeout(limit, self.answer).await {
            Ok(Ok(answer)) => decode::<R>(answer?, self.version, broker),
            Ok(Err(_)) => Err(self.inner.wire.closed().unwrap_or(ClientError::Closed { what: "connection" })),
            Err(_) => {
                let error = ClientError::Timeout { broker: broker.to_owned(), api: api_of::<R>(), waited: limit };
                self.inner.wire.close(error.clone());
                Err(error)
            }
        }
    }
}

fn encode<R: Request>(request: &R, version: i16, correlation: i32, client_id: &StrBytes) -> Result<Bytes> {
    let failed =
        |error: &dyn std::fmt::Display| ClientError::Encode { api: api_of::<R>(), version, reason: error.to_string() };
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client_id.clone()));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(version)).map_err(|error| failed(&error))?;
    request.encode(&mut frame, version).map_err(|error| failed(&error))?;
    let length = i32::try_from(frame.len() - 4).map_err(|error| failed(&error))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

fn decode<R: Request>(mut frame: Bytes, version: i16, broker: &str) -> Result<R::Response> {
    let failed = |error: &dyn std::fmt::Display| ClientError::Malformed {
        broker: broker.to_owned(),
        api: api_of::<R>(),
        version,
        reason: error.to_string(),
    };
    let header_version = <R::Response as HeaderVersion>::header_version(version);
    ResponseHeader::decode(&mut frame, header_version).map_err(|error| failed(&error))?;
    R::Response::decode(&mut frame, version).map_err(|error| failed(&error))
}

/// Asks what the broker serves. A broker that does not know our version of this question answers in version 0 with
/// UNSUPPORTED_VERSION and its own range, and is asked again in that.
async fn negotiate(wire: &Wire, client_id: &StrBytes, limit: Duration) -> Result<VersionTable> {
    let newest = <ApiVersionsRequest as Message>::VERSIONS.max;
    let response = match ask_versions(wire, client_id, limit, newest).await? {
        Negotiation::Answered(response) => response,
        Negotiation::Retry(version) => match ask_versions(wire, client_id, limit, version).await? {
            Negotiation::Answered(response) => response,
            Negotiation::Retry(_) => return Err(refused(wire, ResponseError::UnsupportedVersion.code())),
        },
    };
    if response.error_code != 0 {
        return Err(refused(wire, response.error_code));
    }
    Ok(VersionTable::from_response(&response))
}

fn refused(wire: &Wire, code: i16) -> ClientError {
    ClientError::Broker {
        broker: wire.broker().to_owned(),
        api: api_of::<ApiVersionsRequest>(),
        subject: String::new(),
        code: ResponseError::try_from_code(code).unwrap_or(ResponseError::Unknown(code)),
        detail: None,
    }
}

enum Negotiation {
    Answered(ApiVersionsResponse),
    Retry(i16),
}

async fn ask_versions(wire: &Wire, client_id: &StrBytes, limit: Duration, version: i16) -> Result<Negotiation> {
    type Ask = ApiVersionsRequest;
    let mut request = Ask::default();
    if version >= 3 {
        request = request
            .with_client_software_name(StrBytes::from_static_str("weir"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    }
    let sent = wire.send(true, |id| encode(&request, version, id, client_id)).await?;
    let Some(answer) = sent else { return Err(ClientError::Closed { what: "connection" }) };
    let waited = |_| ClientError::Timeout { broker: wire.broker().to_owned(), api: api_of::<Ask>(), waited: limit };
    let frame = match timeout(limit, answer).await.map_err(waited)? {
        Ok(frame) => frame?,
        Err(_) => return Err(wire.closed().unwrap_or(ClientError::Closed { what: "connection" })),
    };
    // Correlation id, then the error code, in every version.
    let code = if frame.len() >= 6 { (&frame[4..6]).get_i16() } else { 0 };
    if code != ResponseError::UnsupportedVersion.code() || version == 0 {
        return decode::<Ask>(frame, version, wire.broker()).map(Negotiation::Answered);
    }
    let own = <Ask as Message>::VERSIONS;
    let offered = decode::<Ask>(frame, 0, wire.broker())?
        .api_keys
        .iter()
        .find(|api| api.api_key == Ask::KEY)
        .map_or(0, |api| api.max_version.clamp(own.min, own.max));
    // The same version again would be refused again.
    Ok(Negotiation::Retry(if offered == version { 0 } else { offered }))
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("broker", &self.broker()).finish_non_exhaustive()
    }
}

/// Runs a call again while it fails for a reason that may pass, until `config.retry_timeout` is over. A broker that cannot be
/// reached at all fails at once: whoever waits wants to know.
pub(crate) async fn retrying<T, F: Future<Output = Result<T>>>(
    config: &ClientConfig,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let deadline = tokio::time::Instant::now() + config.retry_timeout;
    let mut backoff = crate::backoff::Backoff::new(config.retry_backoff, config.retry_backoff_max);
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let unreachable = matches!(error, ClientError::Connect { .. } | ClientError::NoBrokerReachable { .. });
        let missing = error.code() == Some(ResponseError::UnknownTopicOrPartition);
        let pause = backoff.next_pause();
        if !error.is_retriable() || unreachable || missing || tokio::time::Instant::now() + pause > deadline {
            return Err(error);
        }
        tracing::debug!(%error, pause_ms = pause.as_millis(), "retrying");
        tokio::time::sleep(pause).await;
    }
}

mod sasl;
#[cfg(test)]
mod tests;
