//! The HTTP listener: `/metrics`, `/healthz`, `/readyz`, `/lake`, `/lake/NAME/verify`, `/tables/NAME`, and `/` that lists them.
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
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_lake_sink::TableStatus;

use crate::lake::VerifyRefused;
use crate::metrics::{GroupSample, Metrics};
use crate::security::tls::TlsConfigs;
use connection::BoundedListener;

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

    /// What there is to tell of a topic as a table; `None`: there is no such topic.
    fn table(&self, topic: &str) -> impl Future<Output = Option<serde_json::Value>> + Send;

    /// Called before each scrape: the place to set gauges that are cheaper to read than to keep.
    fn sample(&self) {}
}

struct Shared<S> {
    state: Arc<S>,
    metrics: Metrics,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Shared { state: self.state.clone(), metrics: self.metrics.clone() }
    }
}

/// Serves until `shutdown`, then lets answers in progress finish for a second.
pub async fn serve<S: HttpState>(
    listener: TcpListener,
    tls: Option<Arc<TlsConfigs>>,
    state: Arc<S>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let app = router(Shared { state, metrics });
    let stop = shutdown.clone();
    let server = axum::serve(BoundedListener::new(listener, tls), app)
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
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(scrape::<S>))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<S>))
        .route("/lake", get(lake::<S>))
        .route("/lake/{topic}/verify", post(verify::<S>))
        .route("/tables/{topic}", get(table::<S>))
        .fallback(|| async { (StatusCode::NOT_FOUND, INDEX) })
        .with_state(shared)
}

async fn scrape<S: HttpState>(State(shared): State<Shared<S>>) -> Response {
    shared.state.sample();
    let groups = shared.state.groups().await;
    let ready = shared.state.readiness() == Readiness::Ready;
    let text = shared.metrics.render(ready, &groups, &shared.state.lake());
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn lake<S: HttpState>(State(shared): State<Shared<S>>) -> Response {
    axum::Json(shared.state.lake()).into_response()
}

/// Values as lines, each as soon as it is there.
struct Lines(mpsc::Receiver<Value>);

impl Stream for Lines {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|value| value.map(|value| Ok(format!("{value}\n"))))
    }
}

async fn verify<S: HttpState>(State(shared): State<Shared<S>>, Path(topic): Path<String>) -> Response {
    match shared.state.verify(&topic) {
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
    }
}

/// `null` for a topic that is not there, so that clients tell it from a path that is not.
async fn table<S: HttpState>(State(shared): State<Shared<S>>, Path(topic): Path<String>) -> Response {
    axum::Json(shared.state.table(&topic).await).into_response()
}

async fn ready<S: HttpState>(State(shared): State<Shared<S>>) -> Response {
    match shared.state.readiness() {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::NotReady { reason } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response()
        }
    }
}
