//! The REST interface of Confluent's Schema Registry: requests in, [`Registry`] asked, answers out.
//!
//! | file | what |
//! |---|---|
//! | `route.rs` | method and path to [`route::Endpoint`], one match |
//! | `query.rs`, `body.rs` | what a request says, with bounds |
//! | `answer.rs` | what is answered: JSON, statuses, error codes |
//! | `handle.rs` | one function for each group of endpoints |
//!
//! A body needs a JSON content type, so that no web page can send one to a registry on this machine unasked.
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
use answer::Answer;
use query::Query;
use route::Endpoint;

/// All endpoints. Whoever serves it bounds the number of connections and their silence.
pub fn router(registry: Arc<Registry>) -> Router {
    Router::new().fallback(serve).with_state(registry)
}

async fn serve(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let started = Instant::now();
    let plain_json = answer::wants_plain_json(request.headers());
    let endpoint = Endpoint::of(request.method(), request.uri().path());
    let name = endpoint.as_ref().map_or("unknown", Endpoint::name);
    let result = match endpoint {
        Ok(endpoint) => run(&registry, endpoint, request).await,
        Err(error) => Err(error),
    };
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

async fn run(registry: &Registry, endpoint: Endpoint, request: Request) -> Result<Answer, RegistryError> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let body = if endpoint.takes_body() {
        check_content_type(request.headers())?;
        let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
        bytes.map_err(|_| RegistryError::BodyTooLarge { max: BODY_BYTES_MAX })?
    } else {
        axum::body::Bytes::new()
    };
    handle::run(registry, endpoint, &query, &body).await
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
