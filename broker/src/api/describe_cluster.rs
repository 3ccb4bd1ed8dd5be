//! DescribeCluster (key 60): brokers and controller, for admin clients.
//!
//! Versions 0-2. KIP-700, KIP-919 (endpoint types), KIP-1073 (fenced brokers). Errors: MISMATCHED_ENDPOINT_TYPE (controllers are
//! asked for, brokers listen here), UNSUPPORTED_ENDPOINT_TYPE (something else is).
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{ApiKey, DescribeClusterRequest, DescribeClusterResponse};

use super::{Versions, authorized, wire};
use crate::broker::{Broker, RequestContext};
use crate::error_code::ErrorCode;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeCluster, 0, 2);

const BROKERS: i8 = 1;

/// Describes the one broker.
pub fn handle(
    broker: &Broker,
    ctx: &RequestContext,
    version: i16,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if version >= 1 && request.endpoint_type != BROKERS {
        let code = if request.endpoint_type == 2 {
            ErrorCode::MismatchedEndpointType
        } else {
            ErrorCode::UnsupportedEndpointType
        };
        return DescribeClusterResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(wire("only brokers (endpoint type 1) listen here")));
    }
    let advertised = ctx.advertised();
    let this = DescribeClusterBroker::default()
        .with_broker_id(broker.node_id().into())
        .with_host(wire(advertised.host.as_str()))
        .with_port(i32::from(advertised.port));
    DescribeClusterResponse::default()
        .with_cluster_id(wire(broker.cluster_id()))
        .with_controller_id(broker.node_id().into())
        .with_brokers(vec![this])
        .with_cluster_authorized_operations(authorized::if_asked(
            request.include_cluster_authorized_operations,
            authorized::CLUSTER,
        ))
}
