//! DescribeAcls (key 29): consoles ask for it on start. There is no authoriser yet and the answer says so, as Kafka's does.
//!
//! Versions 1-3. Errors: SECURITY_DISABLED, always.
use kafka_protocol::messages::{ApiKey, DescribeAclsResponse};

use super::{Versions, wire};
use crate::error_code::ErrorCode;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeAcls, 1, 3);

/// No filter can match.
pub fn handle() -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(ErrorCode::SecurityDisabled.code())
        .with_error_message(Some(wire("No Authorizer is configured on the broker")))
}
