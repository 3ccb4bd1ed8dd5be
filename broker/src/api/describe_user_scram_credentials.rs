//! DescribeUserScramCredentials (key 50): which users have passwords, and for which mechanisms.
//!
//! Version 0. KIP-554. Errors per user: RESOURCE_NOT_FOUND, DUPLICATE_RESOURCE (named twice). Keys and salts are never told.
use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{ApiKey, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use weir_protocol::sasl::scram::Hash;

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{ErrorCode, KafkaError};
use crate::security::UserError;

pub const VERSIONS: Versions = Versions::new(ApiKey::DescribeUserScramCredentials, 0, 0);

/// Kafka's number of a mechanism.
pub fn mechanism_number(hash: Hash) -> i8 {
    match hash {
        Hash::Sha256 => 1,
        Hash::Sha512 => 2,
    }
}

/// Lists the users that are named, or all.
pub fn handle(broker: &Broker, request: &DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse {
    let response = DescribeUserScramCredentialsResponse::default();
    let known = match broker.security.users.list() {
        Ok(known) => known,
        Err(error) => {
            let error = UserError::from(error);
            return response.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string())));
        }
    };
    let described = |name: &str| {
        let result = DescribeUserScramCredentialsResult::default().with_user(wire(name));
        let Some(credentials) = known.get(name) else {
            let message = format!("Attempt to describe a user credential that does not exist: {name}");
            let code = ErrorCode::ResourceNotFound.code();
            return result.with_error_code(code).with_error_message(Some(wire(message)));
        };
        let infos = credentials.iter().map(|(hash, iterations)| {
            let iterations = i32::try_from(iterations.get()).unwrap_or(i32::MAX);
            CredentialInfo::default().with_mechanism(mechanism_number(*hash)).with_iterations(iterations)
        });
        result.with_credential_infos(infos.collect())
    };
    let results = match request.users.as_deref() {
        None | Some([]) => known.keys().map(|name| described(name)).collect(),
        Some(users) => {
            let mut results: Vec<DescribeUserScramCredentialsResult> = Vec::new();
            for user in users {
                let times = users.iter().filter(|other| other.name == user.name).count();
                if results.iter().any(|result| result.user == user.name) {
                    continue;
                }
                results.push(match times {
                    1 => described(&user.name),
                    _ => DescribeUserScramCredentialsResult::default()
                        .with_user(user.name.clone())
                        .with_error_code(ErrorCode::DuplicateResource.code())
                        .with_error_message(Some(wire("the user is named more than once"))),
                });
            }
            results
        }
    };
    response.with_results(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing;
    use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;

    #[tokio::test]
    async fn users_are_listed_with_mechanisms_and_without_secrets() {
        let broker = testing::broker().await;
        broker.security.users.set_password("alice", "x").await.unwrap();
        broker.security.users.set_password("bob", "x").await.unwrap();
        let named = |names: &[&'static str]| {
            let users = names.iter().map(|name| UserName::default().with_name((*name).into())).collect();
            handle(&broker, &DescribeUserScramCredentialsRequest::default().with_users(Some(users))).results
        };
        let all = handle(&broker, &DescribeUserScramCredentialsRequest::default().with_users(None)).results;
        assert_eq!(all.iter().map(|result| result.user.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
        let infos: Vec<_> = all[0].credential_infos.iter().map(|info| (info.mechanism, info.iterations)).collect();
        assert_eq!(infos, [(1, 4096), (2, 4096)]);
        assert_eq!(named(&["bob"])[0].error_code, 0);
        assert_eq!(named(&["carol"])[0].error_code, 91);
        let twice = named(&["bob", "bob"]);
        assert_eq!((twice.len(), twice[0].error_code), (1, 92));
    }
}
