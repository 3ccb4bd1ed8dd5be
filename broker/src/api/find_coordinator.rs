//! FindCoordinator (key 10): which broker runs a group or a transaction. One broker: always this one.
//!
//! Versions 0-6. KIP-98, KIP-699 (many keys, from 4 on), KIP-890, KIP-932. Errors: INVALID_REQUEST (a kind of coordinator
//! that does not exist here). A transactional id is sent here as well: InitProducerId then says why it is refused, which
//! clients report, while most of them retry this request for ever.
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

use super::{Versions, wire};
use crate::broker::{Broker, RequestContext};
use crate::error_code::KafkaError;

pub const VERSIONS: Versions = Versions::new(ApiKey::FindCoordinator, 0, 6);

/// First version with a list of keys.
const MANY_KEYS_SINCE: i16 = 4;

/// Coordinator types of the wire that this broker runs.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this broker has no coordinators of type {key_type}; it runs groups (0) and transactions (1)")]
pub struct UnknownCoordinatorType {
    pub key_type: i8,
}

/// Where every coordinator is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    node_id: i32,
    host: StrBytes,
    port: i32,
}

/// Answers with the address of the listener that the client came through.
pub fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let advertised = ctx.advertised();
    let here =
        Endpoint { node_id: broker.node_id(), host: wire(advertised.host.as_str()), port: i32::from(advertised.port) };
    plan(version, request, &here)
}

fn plan(version: i16, request: FindCoordinatorRequest, here: &Endpoint) -> FindCoordinatorResponse {
    let verdict = match request.key_type {
        GROUP | TRANSACTION => Ok(()),
        key_type => Err(UnknownCoordinatorType { key_type }),
    };
    let response = FindCoordinatorResponse::default();
    if version >= MANY_KEYS_SINCE {
        let coordinators = request.coordinator_keys.into_iter().map(|key| one(key, verdict, here)).collect();
        return response.with_coordinators(coordinators);
    }
    let only = one(request.key, verdict, here);
    let response =
        response.with_error_code(only.error_code).with_node_id(only.node_id).with_host(only.host).with_port(only.port);
    if version >= 1 { response.with_error_message(only.error_message) } else { response }
}

fn one(key: StrBytes, verdict: Result<(), UnknownCoordinatorType>, here: &Endpoint) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match verdict {
        Ok(()) => coordinator
            .with_node_id(here.node_id.into())
            .with_host(here.host.clone())
            .with_port(here.port)
            .with_error_message(None),
        Err(error) => coordinator
            .with_node_id((-1).into())
            .with_port(-1)
            .with_error_code(error.wire_code())
            .with_error_message(Some(wire(error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    fn here() -> Endpoint {
        Endpoint { node_id: 1, host: wire("kafka.example"), port: 9092 }
    }

    #[test]
    fn every_key_of_a_batch_is_answered() {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![wire("a"), wire("b")]);
        let response = plan(6, request, &here());
        assert_eq!(response.coordinators.len(), 2);
        assert!(response.coordinators.iter().all(|c| c.error_code == 0 && c.port == 9092 && c.node_id.0 == 1));
        assert_eq!(response.coordinators[1].key.as_str(), "b");
    }

    #[test]
    fn share_groups_are_refused_not_misdirected() {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![wire("g:t:0")]).with_key_type(2);
        let response = plan(6, request, &here());
        assert_eq!((response.coordinators[0].error_code, response.coordinators[0].node_id.0), (42, -1));
    }

    #[test]
    fn every_version_encodes_success_and_error() {
        for version in VERSIONS.min..=VERSIONS.max {
            for key_type in [0, 1, 7] {
                let mut request = FindCoordinatorRequest::default().with_key_type(key_type);
                if version >= MANY_KEYS_SINCE {
                    request.coordinator_keys = vec![wire("g")];
                } else {
                    request.key = wire("g");
                }
                plan(version, request, &here()).encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
