//! The HTTP listener: `/metrics`, `/healthz`, `/readyz`, `/lake`, `/lake/NAME/verify`, `/tables/NAME`, and `/` that lists them.
//!
//! `/`, `/healthz` and `/readyz` are for everybody; what the others need is [`Route`] and its handler, and tests/authorization.csv.
//!
//! Owns routes and what they answer. What there is to tell comes from an [`HttpState`], so this knows nothing of Kafka,
//! groups or storage. Bounded: so many connections at once, each with a limit on silence; requests carry no body.
pub(crate) mod connection;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_lake_sink::TableStatus;

use crate::lake::VerifyRefused;
use crate::metrics::{GroupSample, Metrics};
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};
use crate::security::tls::TlsConfigs;
use crate::security::web::{TurnedAway, WebClient, WebGate};
use connection::{BoundedListener, Peer};

/// How long answers in progress may take once the broker stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const INDEX: &str = "weir\n\n\
    /metrics  Prometheus metrics\n\
    /healthz  200 while the process answers\n\
    /readyz   200 while clients can produce and consume, else 503 and the reason\n\
    /lake     lake tables: what is tiered, lag, errors (JSON)\n\
    /lake/NAME/verify  POST: compares the rows of log and lake table (a JSON object a line; the last one is the report)\n\
    /tables/NAME  schema versions, segments and statistics of a topic (JSON)\n";

/// Whether clients can produce and consume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// Not now: why, in a sentence for whoever looks after the broker.
    NotReady {
        reason: String,
    },
}

/// What the broker tells the HTTP listener. The second implementation is the tests'.
pub trait HttpState: Send + Sync + 'static {
    /// Asked for `/readyz` and with each scrape.
    fn readiness(&self) -> Readiness;

    /// The consumer groups with their lag, computed now.
    fn groups(&self) -> impl Future<Output = Vec<GroupSample>> + Send;

    /// The lake tables as they are now.
    fn lake(&self) -> Vec<TableStatus>;

    /// Compares a topic's log with its lake table; what is received are progress and, last, the result.
    fn verify(&self, topic: &str) -> Result<mpsc::Receiver<Value>, VerifyRefused>;

    /// What there is to tell somebody of a topic as a table; `None`: there is no such topic.
    fn table(&self, topic: &str, client: &WebClient) -> impl Future<Output = Option<serde_json::Value>> + Send;

    /// Called before each scrape: the place to set gauges that are cheaper to read than to keep.
    fn sample(&self) {}
}

/// Everything that is served; nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Index,
    Metrics,
    Health,
    Ready,
    Lake,
    Verify,
    Table,
}

impl Route {
    /// All of them.
    pub const ALL: [Route; 7] =
        [Route::Index, Route::Metrics, Route::Health, Route::Ready, Route::Lake, Route::Verify, Route::Table];

    /// Method and path, with names in braces.
    #[must_use]
    pub fn pattern(self) -> (&'static str, &'static str) {
        match self {
            Route::Index => ("GET", "/"),
            Route::Metrics => ("GET", "/metrics"),
            Route::Health => ("GET", "/healthz"),
            Route::Ready => ("GET", "/readyz"),
            Route::Lake => ("GET", "/lake"),
            Route::Verify => ("POST", "/lake/{topic}/verify"),
            Route::Table => ("GET", "/tables/{topic}"),
        }
    }

    fn handler<S: HttpState>(self) -> MethodRouter<Shared<S>> {
        match self {
            Route::Index => get(|| async { INDEX }),
            Route::Metrics => get(scrape::<S>),
            Route::Health => get(|| async { "ok\n" }),
            Route::Ready => get(ready::<S>),
            Route::Lake => get(lake::<S>),
            Route::Verify => post(verify::<S>),
            Route::Table => get(table::<S>),
        }
    }
}

struct Shared<S> {
    state: Arc<S>,
    metrics: Metrics,
    gate: Arc<WebGate>,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Shared { state: self.state.clone(), metrics: self.metrics.clone(), gate: self.gate.clone() }
    }
}

/// Serves until `shutdown`, then lets answers in progress finish for a second.
pub async fn serve<S: HttpState>(
    listener: TcpListener,
    tls: Option<Arc<TlsConfigs>>,
    gate: Arc<WebGate>,
    state: Arc<S>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let listener = BoundedListener::new(listener, tls, gate.clone());
    let app = router(Shared { state, metrics, gate });
    let stop = shutdown.clone();
    let server = axum::serve(listener, app.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .into_future();
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = deadline => Ok(()),
    }
}

fn router<S: HttpState>(shared: Shared<S>) -> Router {
    let routed = Route::ALL
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.pattern().1, route.handler::<S>()));
    routed.fallback(|| async { (StatusCode::NOT_FOUND, INDEX) }).with_state(shared)
}

/// Whoever asks, if the listener knows them: a handler that takes it is not reached by others.
struct Known(WebClient);

impl<S: HttpState> FromRequestParts<Shared<S>> for Known {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared<S>) -> Result<Known, Response> {
        match shared.gate.identify(&parts.headers, &parts.extensions).await {
            Ok(client) => Ok(Known(client)),
            Err(why) => Err(turned_away(&shared.gate, &why)),
        }
    }
}

fn turned_away(gate: &WebGate, why: &TurnedAway) -> Response {
    let (status, code) = match why {
        TurnedAway::Missing | TurnedAway::Refused => (StatusCode::UNAUTHORIZED, 40101),
        TurnedAway::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, 42901),
        TurnedAway::Unavailable | TurnedAway::Starting => (StatusCode::SERVICE_UNAVAILABLE, 50301),
    };
    let mut response = refused(status, code, &why.to_string());
    if status == StatusCode::UNAUTHORIZED {
        for challenge in gate.challenges(why) {
            response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
        }
    }
    if matches!(why, TurnedAway::TooMany(_)) {
        // Or it would be open all the same.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response {
    (status, axum::Json(json!({ "error_code": code, "message": message }))).into_response()
}

impl Known {
    /// The answer to whom this is refused; the refusal is noted.
    #[allow(clippy::result_large_err, reason = "the answer is made once and sent")]
    fn needs(&self, route: Route, operation: Operation, resource: ResourceType, name: &str) -> Result<(), Response> {
        let (verb, path) = route.pattern();
        if self.0.allows(&format!("{verb} {path}"), operation, resource, name) {
            return Ok(());
        }
        let message = format!("{} is denied {operation} of {resource} {name}", self.0.principal());
        Err(refused(StatusCode::FORBIDDEN, 40301, &message))
    }
}

async fn scrape<S: HttpState>(State(shared): State<Shared<S>>, known: Known) -> Result<Response, Response> {
    known.needs(Route::Metrics, Operation::Describe, ResourceType::Cluster, CLUSTER_NAME)?;
    shared.state.sample();
    let groups = shared.state.groups().await;
    let ready = shared.state.readiness() == Readiness::Ready;
    let text = shared.metrics.render(ready, &groups, &shared.state.lake());
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

/// Tables of topics that may not be described are left out; where they are is a setting of their topic.
async fn lake<S: HttpState>(State(shared): State<Shared<S>>, Known(client): Known) -> Response {
    let may = |operation, topic: &str| client.would_allow(operation, ResourceType::Topic, topic);
    let mut tables = shared.state.lake();
    tables.retain(|table| may(Operation::Describe, &table.topic));
    for table in tables.iter_mut().filter(|table| !may(Operation::DescribeConfigs, &table.topic)) {
        table.path = String::new();
        table.error = table.error.is_some().then(|| "not shown without DESCRIBE_CONFIGS of the topic".to_owned());
    }
    axum::Json(tables).into_response()
}

/// Values as lines, each as soon as it is there.
struct Lines(mpsc::Receiver<Value>);

impl Stream for Lines {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|value| value.map(|value| Ok(format!("{value}\n"))))
    }
}

/// It takes the broker's time, and tells of all rows.
async fn verify<S: HttpState>(
    State(shared): State<Shared<S>>,
    known: Known,
    Path(topic): Path<String>,
) -> Result<Response, Response> {
    known.needs(Route::Verify, Operation::Alter, ResourceType::Topic, &topic)?;
    Ok(match shared.state.verify(&topic) {
        Ok(lines) => {
            ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(Lines(lines))).into_response()
        }
        Err(refused) => {
            let status = match refused {
                VerifyRefused::Starting => StatusCode::SERVICE_UNAVAILABLE,
                VerifyRefused::NotTiered { .. } => StatusCode::NOT_FOUND,
                VerifyRefused::Compacted { .. } | VerifyRefused::Busy => StatusCode::CONFLICT,
            };
            (status, axum::Json(json!({ "message": refused.to_string() }))).into_response()
        }
    })
}

/// `null` for a topic that is not there, so that clients tell it from a path that is not.
async fn table<S: HttpState>(
    State(shared): State<Shared<S>>,
    known: Known,
    Path(topic): Path<String>,
) -> Result<Response, Response> {
    known.needs(Route::Table, Operation::Describe, ResourceType::Topic, &topic)?;
    Ok(axum::Json(shared.state.table(&topic, &known.0).await).into_response())
}

async fn ready<S: HttpState>(State(shared): State<Shared<S>>) -> Response {
    match shared.state.readiness() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::NotReady { reason } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response()
        }
    }
}
