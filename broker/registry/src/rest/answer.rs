//! Answers: JSON, with Confluent's content type and error bodies.
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::error::RegistryError;
use crate::format::Format;
use crate::lookup::Listing;
use crate::model::SchemaDefinition;

const VENDOR_JSON: HeaderValue = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");
const PLAIN_JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether a client asks for plain JSON and not for the registry's own type.
pub(super) fn wants_plain_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("vnd.schemaregistry")
}

/// What a request is answered when it succeeds.
#[derive(Debug)]
pub(super) enum Answer {
    Json(Value),
    /// A schema as it is kept, without quotes around it.
    Text(String),
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Answer::Json(value)
    }
}

pub(super) fn respond(result: Result<Answer, RegistryError>, plain_json: bool) -> Response {
    let (mut challenges, mut closes) = (Vec::new(), false);
    let (status, body) = match result {
        Ok(Answer::Json(value)) => (200, value.to_string()),
        Ok(Answer::Text(text)) => (200, text),
        Err(error) => {
            closes = matches!(error, RegistryError::TooMany { .. });
            let (status, code) = error.codes();
            let body = json!({ "error_code": code, "message": error.to_string() }).to_string();
            if let RegistryError::Unauthenticated { challenges: given, .. } = error {
                challenges = given;
            }
            (status, body)
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if plain_json { PLAIN_JSON } else { VENDOR_JSON };
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    for challenge in challenges {
        response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// A schema's own fields. Avro's format goes without saying, as older clients expect.
pub(super) fn definition(definition: &SchemaDefinition) -> Map<String, Value> {
    let mut map = Map::new();
    if definition.schema_type != Format::Avro {
        map.insert("schemaType".to_owned(), definition.schema_type.name().into());
    }
    if !definition.references.is_empty() {
        map.insert("references".to_owned(), json!(definition.references));
    }
    for (key, value) in [("metadata", &definition.metadata), ("ruleSet", &definition.rule_set)] {
        if let Some(value) = value {
            map.insert(key.to_owned(), value.clone());
        }
    }
    map.insert("schema".to_owned(), definition.schema.clone().into());
    map
}

/// A version of a subject.
pub(super) fn listing(listing: &Listing) -> Value {
    let mut map = definition(&listing.definition);
    map.insert("subject".to_owned(), listing.subject.clone().into());
    map.insert("version".to_owned(), listing.version.into());
    map.insert("id".to_owned(), listing.id.into());
    map.insert("guid".to_owned(), listing.guid.clone().into());
    if listing.deleted {
        map.insert("deleted".to_owned(), true.into());
    }
    Value::Object(map)
}
