//! DescribeAcls (key 29): the access control lists that a filter means.
//!
//! Versions 1-3. KIP-140, KIP-290 (prefixed patterns), KIP-482. A request of version 2 and later that carries tag 5700 is also told
//! READs of some columns and rows, each with that tag (`protocol/COLUMNAR.md`); others would take them for more. Errors: SECURITY_DISABLED (nothing is authorised here),
//! INVALID_REQUEST (a filter with UNKNOWN in it).
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource, DescribeAclsResponse};
use kafka_protocol::messages::{ApiKey, DescribeAclsRequest};

use weir_protocol::columnar::{AclRestriction, TAG};

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::security::acl::{AclBinding, AclError, AclFilter, Grant, Operation, PatternFilter, PatternType, Permission};
use crate::security::acl::{ResourcePattern, ResourceType};

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeAcls, 1, 3);

/// What Kafka says without an authoriser.
pub(super) const NO_AUTHORIZER: &str = "No Authorizer is configured on the broker; set `authorizer` to `on`";

/// ANY of every field, and MATCH of pattern types, as on the wire.
const ANY: i8 = 1;
const MATCH: i8 = 2;

/// The fields of a filter as on the wire, in the order of the wire.
pub(super) struct WireFilter<'a> {
    pub resource: i8,
    pub name: Option<&'a str>,
    pub pattern: i8,
    pub principal: Option<&'a str>,
    pub host: Option<&'a str>,
    pub operation: i8,
    pub permission: i8,
}

/// Lists what matches, by resource pattern.
pub async fn handle(broker: &Arc<Broker>, request: &DescribeAclsRequest) -> DescribeAclsResponse {
    let response = DescribeAclsResponse::default().with_error_message(None);
    let Some(acls) = &broker.acls else {
        let code = ErrorCode::SecurityDisabled.code();
        return response.with_error_code(code).with_error_message(Some(wire(NO_AUTHORIZER)));
    };
    let filter = filter(&WireFilter {
        resource: request.resource_type_filter,
        name: request.resource_name_filter.as_deref(),
        pattern: request.pattern_type_filter,
        principal: request.principal_filter.as_deref(),
        host: request.host_filter.as_deref(),
        operation: request.operation,
        permission: request.permission_type,
    });
    match filter {
        Ok(filter) => {
            let index = acls.index();
            let mut resources = by_pattern(index.matching(&filter));
            if request.unknown_tagged_fields.contains_key(&TAG) {
                let grants: Vec<Arc<Grant>> = index.matching_grants(&filter).cloned().collect();
                resources.extend(restricted(broker, grants).await);
            }
            response.with_resources(resources)
        }
        Err(error) => response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
    }
}

/// Bindings come in the order of their patterns.
fn by_pattern<'a>(bindings: impl Iterator<Item = &'a AclBinding>) -> Vec<DescribeAclsResource> {
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    let mut last: Option<&ResourcePattern> = None;
    for AclBinding { pattern, entry } in bindings {
        if last != Some(pattern) {
            last = Some(pattern);
            resources.push(
                DescribeAclsResource::default()
                    .with_resource_type(pattern.resource.wire())
                    .with_resource_name(wire(pattern.name.as_str()))
                    .with_pattern_type(pattern.pattern.wire()),
            );
        }
        let described = AclDescription::default()
            .with_principal(wire(entry.principal.as_str()))
            .with_host(wire(entry.host.as_str()))
            .with_operation(entry.operation.wire())
            .with_permission_type(entry.permission.wire());
        if let Some(resource) = resources.last_mut() {
            resource.acls.push(described);
        }
    }
    resources
}

/// Restricted grants, each with what it is restricted to and, if that is so, why it gives nothing. Filters are planned for that, off the
/// network threads.
async fn restricted(broker: &Arc<Broker>, grants: Vec<Arc<Grant>>) -> Vec<DescribeAclsResource> {
    let broker = broker.clone();
    let tell = move || {
        let resource = |grant: &Arc<Grant>| {
            let topic = broker.topics.get(&grant.topic);
            let problem = grant.problem(topic.as_deref());
            let told = AclRestriction { problem, ..grant.told(topic.as_deref()) };
            let binding = grant.binding();
            let mut resources = by_pattern([&binding].into_iter());
            for acl in resources.iter_mut().flat_map(|resource| &mut resource.acls) {
                acl.unknown_tagged_fields = tag(&told);
            }
            resources
        };
        grants.iter().flat_map(resource).collect()
    };
    // It fails only when the process ends.
    tokio::task::spawn_blocking(tell).await.unwrap_or_default()
}

/// The tag of an entry.
pub(super) fn tag(told: &AclRestriction) -> BTreeMap<i32, Bytes> {
    let mut bytes = BytesMut::new();
    told.encode(&mut bytes);
    BTreeMap::from([(TAG, bytes.freeze())])
}

/// None = ANY, an error = UNKNOWN and everything else that nothing has.
fn field<T>(name: &'static str, code: i8, read: impl Fn(i8) -> Option<T>) -> Result<Option<T>, AclError> {
    match code {
        ANY => Ok(None),
        code => read(code).map(Some).ok_or(AclError::InvalidField { field: name, code }),
    }
}

/// Reads a filter.
pub(super) fn filter(wanted: &WireFilter<'_>) -> Result<AclFilter, AclError> {
    let pattern = match wanted.pattern {
        ANY => PatternFilter::Any,
        MATCH => PatternFilter::Match,
        code => PatternType::of_wire(code)
            .map(PatternFilter::Exactly)
            .ok_or(AclError::InvalidField { field: "patternType", code })?,
    };
    Ok(AclFilter {
        resource: field("resourceType", wanted.resource, ResourceType::of_wire)?,
        name: wanted.name.map(str::to_owned),
        pattern,
        principal: wanted.principal.map(str::to_owned),
        host: wanted.host.map(str::to_owned),
        operation: field("operation", wanted.operation, Operation::of_wire)?,
        permission: field("permissionType", wanted.permission, Permission::of_wire)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> WireFilter<'static> {
        let (name, principal, host) = (None, None, None);
        WireFilter { resource: 1, name, pattern: 1, principal, host, operation: 1, permission: 1 }
    }

    #[test]
    fn any_is_everything_and_unknown_is_refused() {
        assert_eq!(filter(&any()), Ok(AclFilter::default()));
        let matching = filter(&WireFilter { pattern: 2, resource: 2, ..any() }).unwrap();
        assert_eq!((matching.pattern, matching.resource), (PatternFilter::Match, Some(ResourceType::Topic)));
        for bad in [WireFilter { resource: 0, ..any() }, WireFilter { operation: 99, ..any() }] {
            assert!(matches!(filter(&bad), Err(AclError::InvalidField { .. })));
        }
    }
}
