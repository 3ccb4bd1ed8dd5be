//! The REST interface of Confluent's Schema Registry: requests in, [`Registry`] asked, answers out.
//!
//! | file | what |
//! |---|---|
//! | `route.rs` | method and path to [`route::Endpoint`], one match |
//! | `access.rs` | who asks, and what each endpoint needs of them |
//! | `query.rs`, `body.rs` | what a request says, with bounds |
//! | `answer.rs` | what is answered: JSON, statuses, error codes |
//! | `handle.rs` | one function for each group of endpoints |
//!
//! A body needs a JSON content type, so that no web page can send one to a registry on this machine unasked.
mod access;
mod answer;
mod body;
mod handle;
mod query;
mod route;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;

use crate::error::RegistryError;
use crate::limits::BODY_BYTES_MAX;
use crate::metrics::{REQUEST_SECONDS, REQUESTS};
use crate::registry::Registry;
pub use access::{Caller, Gate, Open, Resource, Right, TurnedAway, topic_of};
pub use route::routes;

use access::Access;
use answer::Answer;
use query::Query;
use route::Endpoint;

/// What every request needs.
#[derive(Clone)]
struct Served {
    registry: Arc<Registry>,
    gate: Arc<dyn Gate>,
}

/// All endpoints, for those whom `gate` lets in. Whoever serves it bounds the number of connections and their silence.
pub fn router(registry: Arc<Registry>, gate: Arc<dyn Gate>) -> Router {
    Router::new().fallback(serve).with_state(Served { registry, gate })
}

async fn serve(State(served): State<Served>, request: Request) -> Response {
    let started = Instant::now();
    let plain_json = answer::wants_plain_json(request.headers());
    let (pattern, endpoint) = Endpoint::of(request.method(), request.uri().path());
    let name = endpoint.as_ref().map_or("unknown", Endpoint::name);
    let result = admit(&served, pattern, endpoint, request).await;
    if let Err(
        error @ (RegistryError::Store(_) | RegistryError::DamagedEntry { .. } | RegistryError::CheckFailed { .. }),
    ) = &result
    {
        tracing::error!(%error, endpoint = name, "the registry could not answer");
    }
    let response = answer::respond(result, plain_json);
    let status = response.status().as_u16().to_string();
    metrics::counter!(REQUESTS, "endpoint" => name, "status" => status).increment(1);
    metrics::histogram!(REQUEST_SECONDS, "endpoint" => name).record(started.elapsed().as_secs_f64());
    response
}

/// Finds out who asks before anything else, then whether they may.
async fn admit(
    served: &Served,
    pattern: &'static str,
    endpoint: Result<Endpoint, RegistryError>,
    request: Request,
) -> Result<Answer, RegistryError> {
    let (head, body) = request.into_parts();
    let caller = served.gate.identify(&head).await.map_err(|turned_away| match turned_away {
        TurnedAway::Unauthenticated { challenges, message } => RegistryError::Unauthenticated { challenges, message },
        TurnedAway::TooMany { reason } => RegistryError::TooMany { reason },
        TurnedAway::NotReady { reason } => RegistryError::NotReady { reason },
    })?;
    let endpoint = endpoint?;
    let access = Access { caller: &*caller, endpoint: pattern };
    let change = endpoint.change();
    let result = match access.check(&endpoint) {
        Ok(()) => run(&served.registry, &access, endpoint, Request::from_parts(head, body)).await,
        Err(refused) => Err(refused),
    };
    if let Some(subject) = change {
        caller.changed(pattern, subject.as_deref(), result.as_ref().err().map(|error| error.codes().1));
    }
    result
}

async fn run(
    registry: &Registry,
    access: &Access<'_>,
    endpoint: Endpoint,
    request: Request,
) -> Result<Answer, RegistryError> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let body = if endpoint.takes_body() {
        check_content_type(request.headers())?;
        let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
        bytes.map_err(|_| RegistryError::BodyTooLarge { max: BODY_BYTES_MAX })?
    } else {
        axum::body::Bytes::new()
    };
    handle::run(registry, access, endpoint, &query, &body).await
}

fn check_content_type(headers: &HeaderMap) -> Result<(), RegistryError> {
    const TAKEN: &[&str] = &[
        "application/vnd.schemaregistry.v1+json",
        "application/vnd.schemaregistry+json",
        "application/json",
        "application/octet-stream",
    ];
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if TAKEN.contains(&kind.as_str()) { Ok(()) } else { Err(RegistryError::UnsupportedMediaType) }
}
