//! DeleteAcls (key 31): deletes the access control list bindings that filters mean, and tells which they were.
//!
//! Versions 1-3. KIP-140, KIP-290, KIP-482. A filter that means a READ of a topic means it also where it is of some columns and rows: such
//! a binding is told with tag 5700 (`protocol/COLUMNAR.md`). Errors per filter: SECURITY_DISABLED (nothing is authorised here), INVALID_REQUEST (UNKNOWN
//! in it), KAFKA_STORAGE_ERROR.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::delete_acls_request::DeleteAclsRequest;
use kafka_protocol::messages::delete_acls_response::{
    DeleteAclsFilterResult, DeleteAclsMatchingAcl, DeleteAclsResponse,
};

use super::describe_acls::{NO_AUTHORIZER, WireFilter, filter, tag};
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::security::acl::{AclBinding, AclError, AclFilter, Deleted};

pub const VERSIONS: Versions = Versions::new(ApiKey::DeleteAcls, 1, 3);

/// Answers filter by filter, in order, when nothing they meant is in force any more.
pub async fn handle(broker: &Broker, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let failed = |code: i16, message: String| {
        DeleteAclsFilterResult::default().with_error_code(code).with_error_message(Some(wire(message)))
    };
    let Some(acls) = &broker.acls else {
        let refused = failed(ErrorCode::SecurityDisabled.code(), NO_AUTHORIZER.to_owned());
        return DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()]);
    };
    let read = request.filters.iter().map(|wanted| {
        filter(&WireFilter {
            resource: wanted.resource_type_filter,
            name: wanted.resource_name_filter.as_deref(),
            pattern: wanted.pattern_type_filter,
            principal: wanted.principal_filter.as_deref(),
            host: wanted.host_filter.as_deref(),
            operation: wanted.operation,
            permission: wanted.permission_type,
        })
    });
    let read: Vec<Result<AclFilter, AclError>> = read.collect();
    let sound: Vec<AclFilter> = read.iter().flatten().cloned().collect();
    let deleted = acls.delete(&sound).await;
    let mut deleted = deleted.map(Vec::into_iter);
    let results = read.into_iter().map(|filter| match (filter, &mut deleted) {
        (Err(error), _) => failed(error.wire_code(), error.to_string()),
        (Ok(_), Err(error)) => failed(error.wire_code(), error.to_string()),
        (Ok(_), Ok(deleted)) => {
            let Deleted { bindings, grants } = deleted.next().unwrap_or_default();
            bindings.iter().for_each(|binding| tracing::info!(%binding, "ACL binding deleted"));
            let restricted = grants.iter().map(|grant| {
                let binding = grant.binding();
                tracing::info!(%binding, "restricted ACL binding deleted");
                let topic = broker.topics.get(&grant.topic);
                matching(binding).with_unknown_tagged_fields(tag(&grant.told(topic.as_deref())))
            });
            let matching = bindings.into_iter().map(matching).chain(restricted).collect();
            DeleteAclsFilterResult::default().with_error_message(None).with_matching_acls(matching)
        }
    });
    DeleteAclsResponse::default().with_filter_results(results.collect())
}

fn matching(AclBinding { pattern, entry }: AclBinding) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl::default()
        .with_error_message(None)
        .with_resource_type(pattern.resource.wire())
        .with_resource_name(wire(pattern.name))
        .with_pattern_type(pattern.pattern.wire())
        .with_principal(wire(entry.principal))
        .with_host(wire(entry.host))
        .with_operation(entry.operation.wire())
        .with_permission_type(entry.permission.wire())
}
