//! CreateAcls (key 30): makes access control list bindings. Making one that exists is no error.
//!
//! Versions 1-3. KIP-140, KIP-290, KIP-482. The sound bindings of a request are made together. Errors per binding: SECURITY_DISABLED
//! (nothing is authorised here), INVALID_REQUEST, POLICY_VIOLATION (too many), KAFKA_STORAGE_ERROR.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use kafka_protocol::messages::create_acls_response::{AclCreationResult, CreateAclsResponse};

use super::describe_acls::NO_AUTHORIZER;
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::security::acl::{
    AclBinding, AclEntry, AclError, Operation, PatternType, Permission, ResourcePattern, ResourceType,
};

pub const VERSIONS: Versions = Versions::new(ApiKey::CreateAcls, 1, 3);

/// Answers binding by binding, in order, when they are in force.
pub async fn handle(broker: &Broker, request: CreateAclsRequest) -> CreateAclsResponse {
    let result = |code: i16, message: Option<String>| {
        AclCreationResult::default().with_error_code(code).with_error_message(message.map(wire))
    };
    let Some(acls) = &broker.acls else {
        let refused = result(ErrorCode::SecurityDisabled.code(), Some(NO_AUTHORIZER.to_owned()));
        return CreateAclsResponse::default().with_results(vec![refused; request.creations.len()]);
    };
    let read: Vec<Result<AclBinding, AclError>> = request.creations.iter().map(binding).collect();
    let sound: Vec<AclBinding> = read.iter().flatten().cloned().collect();
    let made = acls.create(&sound).await;
    let results = read.into_iter().map(|binding| match (binding, &made) {
        (Err(error), _) => result(error.wire_code(), Some(error.to_string())),
        (Ok(_), Err(error)) => result(error.wire_code(), Some(error.to_string())),
        (Ok(binding), Ok(())) => {
            tracing::info!(%binding, "ACL binding made");
            result(0, None)
        }
    });
    CreateAclsResponse::default().with_results(results.collect())
}

/// Reads and checks one.
pub(crate) fn binding(wanted: &AclCreation) -> Result<AclBinding, AclError> {
    fn read<T>(field: &'static str, code: i8, value: Option<T>) -> Result<T, AclError> {
        value.ok_or(AclError::InvalidField { field, code })
    }
    let resource = wanted.resource_type;
    let (pattern, operation) = (wanted.resource_pattern_type, wanted.operation);
    let permission = wanted.permission_type;
    let binding = AclBinding {
        pattern: ResourcePattern {
            resource: read("resourceType", resource, ResourceType::of_wire(resource))?,
            name: wanted.resource_name.to_string(),
            pattern: read("patternType", pattern, PatternType::of_wire(pattern))?,
        },
        entry: AclEntry {
            principal: wanted.principal.to_string(),
            host: wanted.host.to_string(),
            operation: read("operation", operation, Operation::of_wire(operation))?,
            permission: read("permissionType", permission, Permission::of_wire(permission))?,
        },
    };
    binding.validate()?;
    Ok(binding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> AclCreation {
        AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(wire("t"))
            .with_resource_pattern_type(3)
            .with_principal(wire("User:a"))
            .with_host(wire("*"))
            .with_operation(3)
            .with_permission_type(3)
    }

    #[test]
    fn bindings_are_read_and_what_is_not_one_is_named() {
        assert_eq!(binding(&wanted()).unwrap().to_string(), "ALLOW User:a READ on TOPIC LITERAL t from *");
        let invalid = |wanted: AclCreation| match binding(&wanted) {
            Err(AclError::InvalidField { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(invalid(wanted().with_resource_type(1)), "resourceType");
        assert_eq!(invalid(wanted().with_resource_pattern_type(2)), "patternType");
        assert_eq!(invalid(wanted().with_operation(1)), "operation");
        assert_eq!(invalid(wanted().with_permission_type(0)), "permissionType");
        assert_eq!(binding(&wanted().with_resource_name(wire(""))), Err(AclError::EmptyName));
    }

    /// Without an authoriser a binding would be a promise that nobody keeps.
    #[tokio::test]
    async fn without_an_authoriser_nothing_is_made() {
        let broker = crate::api::testing::broker().await;
        let response = handle(&broker, CreateAclsRequest::default().with_creations(vec![wanted()])).await;
        assert_eq!(response.results[0].error_code, ErrorCode::SecurityDisabled.code());
    }
}
