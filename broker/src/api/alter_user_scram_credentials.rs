//! AlterUserScramCredentials (key 51): gives users passwords and takes them away. The client sends salted passwords.
//!
//! Version 0. KIP-554. Errors per user: UNACCEPTABLE_CREDENTIAL (no name, iterations, sizes), UNSUPPORTED_SASL_MECHANISM,
//! RESOURCE_NOT_FOUND (nothing to delete), DUPLICATE_RESOURCE (a user and mechanism named twice). A user's changes are made all or
//! not at all.
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, ApiKey};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;
use weir_protocol::sasl::scram::Hash;

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::KafkaError;
use crate::security::{UserChange, UserError, check_user_name, keys_of_client};

pub const VERSIONS: Versions = Versions::new(ApiKey::AlterUserScramCredentials, 0, 0);

/// Why a user is not changed.
#[derive(Debug, Error)]
pub enum AlterUserError {
    #[error("a user credential cannot be altered twice in the same request")]
    Twice,
    #[error("unknown SCRAM mechanism {number}; 1 is SCRAM-SHA-256, 2 is SCRAM-SHA-512")]
    Mechanism { number: i8 },
    #[error(transparent)]
    User(#[from] UserError),
}

fn hash_of(number: i8) -> Result<Hash, AlterUserError> {
    match number {
        1 => Ok(Hash::Sha256),
        2 => Ok(Hash::Sha512),
        number => Err(AlterUserError::Mechanism { number }),
    }
}

/// Changes user by user.
pub async fn handle(broker: &Broker, request: AlterUserScramCredentialsRequest) -> AlterUserScramCredentialsResponse {
    let mut results: Vec<AlterUserScramCredentialsResult> = Vec::new();
    for name in users_of(&request) {
        let changed = match changes_of(&request, &name) {
            Ok(changes) => broker.security.users.change(changes).await.map_err(AlterUserError::from),
            Err(error) => Err(error),
        };
        let result = AlterUserScramCredentialsResult::default().with_user(name);
        results.push(match changed {
            Ok(()) => result,
            Err(error) => result.with_error_code(error.wire_code()).with_error_message(Some(wire(error.to_string()))),
        });
    }
    AlterUserScramCredentialsResponse::default().with_results(results)
}

/// Everybody who is named, once.
fn users_of(request: &AlterUserScramCredentialsRequest) -> Vec<StrBytes> {
    let deleted = request.deletions.iter().map(|deletion| &deletion.name);
    let mut users: Vec<StrBytes> = deleted.chain(request.upsertions.iter().map(|put| &put.name)).cloned().collect();
    users.sort();
    users.dedup();
    users
}

fn changes_of(request: &AlterUserScramCredentialsRequest, name: &str) -> Result<Vec<UserChange>, AlterUserError> {
    check_user_name(name)?;
    let (mut changes, mut seen) = (Vec::new(), Vec::new());
    let mut once = |hash| {
        let twice = seen.contains(&hash);
        seen.push(hash);
        if twice { Err(AlterUserError::Twice) } else { Ok(()) }
    };
    for deletion in request.deletions.iter().filter(|deletion| deletion.name.as_str() == name) {
        let hash = hash_of(deletion.mechanism)?;
        once(hash)?;
        changes.push(UserChange::Delete(name.to_owned(), hash));
    }
    for put in request.upsertions.iter().filter(|put| put.name.as_str() == name) {
        let hash = hash_of(put.mechanism)?;
        once(hash)?;
        let keys = keys_of_client(hash, &put.salt, &put.salted_password, put.iterations)?;
        changes.push(UserChange::Put(name.to_owned(), keys));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing;
    use kafka_protocol::messages::alter_user_scram_credentials_request::{
        ScramCredentialDeletion, ScramCredentialUpsertion,
    };
    use std::num::NonZeroU32;

    fn put(name: &'static str, mechanism: i8, iterations: i32) -> ScramCredentialUpsertion {
        let salted = Hash::Sha256.salted_password(b"secret", b"salt", NonZeroU32::new(4096).unwrap());
        ScramCredentialUpsertion::default()
            .with_name(name.into())
            .with_mechanism(mechanism)
            .with_iterations(iterations)
            .with_salt(b"salt"[..].into())
            .with_salted_password(salted.into())
    }

    fn delete(name: &'static str, mechanism: i8) -> ScramCredentialDeletion {
        ScramCredentialDeletion::default().with_name(name.into()).with_mechanism(mechanism)
    }

    #[tokio::test]
    async fn salted_password_of_a_client_becomes_a_password() {
        let broker = testing::broker().await;
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(vec![put("alice", 1, 4096)]);
        assert_eq!(handle(&broker, request).await.results[0].error_code, 0);
        assert!(broker.security.has_password("alice", "secret").await.unwrap());
        assert!(!broker.security.has_password("alice", "Secret").await.unwrap());
        let request = AlterUserScramCredentialsRequest::default().with_deletions(vec![delete("alice", 1)]);
        assert_eq!(handle(&broker, request).await.results[0].error_code, 0);
        assert!(!broker.security.has_password("alice", "secret").await.unwrap());
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_told_for_each_user() {
        let broker = testing::broker().await;
        let request = AlterUserScramCredentialsRequest::default()
            .with_deletions(vec![delete("gone", 1), delete("twice", 1)])
            .with_upsertions(vec![
                put("", 1, 4096),
                put("few", 1, 4095),
                put("odd", 3, 4096),
                put("size", 2, 4096),
                put("twice", 1, 4096),
            ]);
        let results = handle(&broker, request).await.results;
        let codes: Vec<_> = results.iter().map(|result| (result.user.as_str(), result.error_code)).collect();
        assert_eq!(codes, [("", 93), ("few", 93), ("gone", 91), ("odd", 33), ("size", 93), ("twice", 92)]);
    }
}
