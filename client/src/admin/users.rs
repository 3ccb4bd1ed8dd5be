//! Users with passwords (KIP-554). Passwords are salted here: they do not leave this process.

use std::num::NonZeroU32;

use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest};
use rand::RngCore;
use weir_protocol::sasl::Mechanism;
use weir_protocol::sasl::scram::{Hash, ITERATIONS_MIN, SALT_LEN};

use super::{Admin, wire_text};
use crate::error::Result;

/// A user and what it can authenticate with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserListing {
    /// Its name.
    pub name: String,
    /// Mechanisms and their iterations.
    pub mechanisms: Vec<(Mechanism, i32)>,
}

fn number_of(hash: Hash) -> i8 {
    match hash {
        Hash::Sha256 => 1,
        Hash::Sha512 => 2,
    }
}

impl Admin {
    /// Every user that has a password.
    pub async fn list_users(&self) -> Result<Vec<UserListing>> {
        type Request = DescribeUserScramCredentialsRequest;
        let connection = self.client.any_connection().await?;
        let response = connection.call(|_| Request::default().with_users(None)).await?;
        connection.check::<Request>("", response.error_code, response.error_message.as_deref())?;
        let mut users = Vec::with_capacity(response.results.len());
        for result in response.results {
            connection.check::<Request>(&result.user, result.error_code, result.error_message.as_deref())?;
            let known = |number| Hash::ALL.into_iter().find(|hash| number_of(*hash) == number);
            let mechanisms = result.credential_infos.iter();
            let mechanisms =
                mechanisms.filter_map(|info| Some((Mechanism::Scram(known(info.mechanism)?), info.iterations)));
            users.push(UserListing { name: result.user.to_string(), mechanisms: mechanisms.collect() });
        }
        Ok(users)
    }

    /// Gives a user, new or not, a password for these mechanisms.
    pub async fn set_password(&self, name: &str, password: &str, hashes: &[Hash]) -> Result<()> {
        let iterations = NonZeroU32::new(ITERATIONS_MIN).unwrap_or(NonZeroU32::MIN);
        let upsertions = hashes.iter().map(|hash| {
            let mut salt = vec![0; SALT_LEN];
            rand::rng().fill_bytes(&mut salt);
            let salted = hash.salted_password(password.as_bytes(), &salt, iterations);
            ScramCredentialUpsertion::default()
                .with_name(wire_text(name))
                .with_mechanism(number_of(*hash))
                .with_iterations(i32::try_from(iterations.get()).unwrap_or(i32::MAX))
                .with_salt(salt.into())
                .with_salted_password(salted.into())
        });
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(upsertions.collect());
        self.alter_users(request).await
    }

    /// Takes a user's passwords away for these mechanisms.
    pub async fn delete_user(&self, name: &str, mechanisms: &[Mechanism]) -> Result<()> {
        let hashes = mechanisms.iter().filter_map(|mechanism| match mechanism {
            Mechanism::Scram(hash) => Some(*hash),
            Mechanism::Plain | Mechanism::OauthBearer => None,
        });
        let deletions = hashes
            .map(|hash| ScramCredentialDeletion::default().with_name(wire_text(name)).with_mechanism(number_of(hash)));
        self.alter_users(AlterUserScramCredentialsRequest::default().with_deletions(deletions.collect())).await
    }

    async fn alter_users(&self, request: AlterUserScramCredentialsRequest) -> Result<()> {
        let connection = self.client.any_connection().await?;
        let response = connection.call(|_| request).await?;
        for result in response.results {
            let detail = result.error_message.as_deref();
            connection.check::<AlterUserScramCredentialsRequest>(&result.user, result.error_code, detail)?;
        }
        Ok(())
    }
}
