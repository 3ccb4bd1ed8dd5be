//! CreateAcls (key 30): makes access control list bindings. Making one that exists is no error.
//!
//! Versions 1-3. KIP-140, KIP-290, KIP-482. The sound bindings of a request are made together. From version 2 on one may carry tag 5700
//! (`protocol/COLUMNAR.md`): a READ of some columns and rows. Errors per binding: SECURITY_DISABLED (nothing is authorised here),
//! INVALID_REQUEST, POLICY_VIOLATION (too many), KAFKA_STORAGE_ERROR.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use kafka_protocol::messages::create_acls_response::{AclCreationResult, CreateAclsResponse};

use weir_protocol::columnar::{AclRestriction, TAG};

use super::describe_acls::NO_AUTHORIZER;
use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::security::acl::{
    AclBinding, AclEntry, AclError, Grant, GrantError, Operation, PatternType, Permission, ResourcePattern,
    ResourceType,
};

pub const VERSIONS: Versions = Versions::new(ApiKey::CreateAcls, 1, 3);

/// What an entry of a request comes to.
enum Wanted {
    Binding(AclBinding),
    Grant(Grant),
}

/// Answers binding by binding, in order, when they are in force.
pub async fn handle(broker: &Arc<Broker>, request: CreateAclsRequest) -> CreateAclsResponse {
    let result = |code: i16, message: Option<String>| {
        AclCreationResult::default().with_error_code(code).with_error_message(message.map(wire))
    };
    let Some(acls) = &broker.acls else {
        let refused = result(ErrorCode::SecurityDisabled.code(), Some(NO_AUTHORIZER.to_owned()));
        return CreateAclsResponse::default().with_results(vec![refused; request.creations.len()]);
    };
    let failed = |error: &dyn KafkaError| result(error.wire_code(), Some(error.to_string()));
    let mut read: Vec<Result<Wanted, AclCreationResult>> = Vec::with_capacity(request.creations.len());
    for creation in &request.creations {
        read.push(match (binding(creation), restriction(&creation.unknown_tagged_fields)) {
            (Err(error), _) => Err(failed(&error)),
            (_, Err(error)) => Err(failed(&error)),
            (Ok(binding), Ok(None)) => Ok(Wanted::Binding(binding)),
            (Ok(binding), Ok(Some(wanted))) => match bound(broker, binding, wanted).await {
                Ok(grant) => Ok(Wanted::Grant(grant)),
                Err(error) => Err(failed(&error)),
            },
        });
    }
    let (mut bindings, mut grants) = (Vec::new(), Vec::new());
    for wanted in read.iter().flatten() {
        match wanted {
            Wanted::Binding(binding) => bindings.push(binding.clone()),
            Wanted::Grant(grant) => grants.push(grant.clone()),
        }
    }
    let made = acls.create_with(&bindings, &grants).await;
    let mut made = made.map(Vec::into_iter);
    let results = read.into_iter().map(|wanted| match (wanted, &mut made) {
        (Err(refused), _) => refused,
        (Ok(_), Err(error)) => failed(error),
        (Ok(Wanted::Binding(binding)), Ok(_)) => {
            tracing::info!(%binding, "ACL binding made");
            result(0, None)
        }
        // One for each grant, in order.
        (Ok(Wanted::Grant(grant)), Ok(made)) => match made.next().unwrap_or(Ok(())) {
            Ok(()) => {
                tracing::info!(binding = %grant.binding(), "restricted ACL binding made");
                result(0, None)
            }
            Err(error) => failed(&error),
        },
    });
    CreateAclsResponse::default().with_results(results.collect())
}

/// The restriction that an entry carries.
pub(super) fn restriction(tags: &BTreeMap<i32, Bytes>) -> Result<Option<AclRestriction>, GrantError> {
    let decoded = tags.get(&TAG).map(|bytes| AclRestriction::decode(bytes)).transpose();
    decoded.map_err(|error| GrantError::Tag(error.to_string()))
}

/// Binds a grant to the topic as it is. Its filter is planned off the network threads.
async fn bound(broker: &Arc<Broker>, binding: AclBinding, wanted: AclRestriction) -> Result<Grant, GrantError> {
    let topic = broker.topics.get(&binding.pattern.name);
    let work = move || Grant::bind(&binding, topic.as_deref(), &wanted);
    let failed = |error: tokio::task::JoinError| GrantError::Tag(format!("it cannot be checked: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(failed)?
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
        let response = handle(&broker.broker, CreateAclsRequest::default().with_creations(vec![wanted()])).await;
        assert_eq!(response.results[0].error_code, ErrorCode::SecurityDisabled.code());
    }
}
