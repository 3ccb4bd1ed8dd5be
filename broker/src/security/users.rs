//! Users with passwords: SCRAM keys in the metadata store, one entry for each user and mechanism (KIP-554).
//!
//! Passwords are never stored. A key is `scram/MECHANISM/NAME`, its value JSON with base64: `{"salt","iterations",
//! "stored_key","server_key"}`. A change is one transaction, durable when it returns; a crash leaves all of it or nothing.
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_protocol::sasl::scram::{Hash, ITERATIONS_MAX, ITERATIONS_MIN, SALT_LEN, SALT_MAX, ScramKeys};
use weir_protocol::sasl::{Mechanism, NAME_MAX};
use weir_storage::meta::{Condition, MetaError, MetadataStore, Write};

/// The user that `--init-admin` creates.
pub const ADMIN: &str = "admin";

const PREFIX: &str = "scram/";
/// There once [`ADMIN`] was created by the broker.
const ADMIN_CREATED_KEY: &[u8] = b"scram-admin-created";
/// Makes the salts of users that do not exist.
const SECRET_KEY: &[u8] = b"scram-secret";

/// Iterations of keys that we make, and of users that do not exist.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(ITERATIONS_MIN).expect("4096 is not zero");

/// Why a user was not changed.
#[derive(Debug, Error)]
pub enum UserError {
    /// No name, or one that is too long.
    #[error("a user name has 1 to {NAME_MAX} bytes")]
    Name,
    /// Too little or too much work.
    #[error("{given} iterations: use {ITERATIONS_MIN} to {ITERATIONS_MAX}")]
    Iterations {
        /// What was asked for.
        given: i32,
    },
    /// Not keys of the mechanism.
    #[error("the salt or the salted password does not have the size that {mechanism} needs")]
    Shape {
        /// Of which.
        mechanism: Mechanism,
    },
    /// There is nothing to delete.
    #[error("user `{name}` has no credential for {mechanism}")]
    Missing {
        /// Whose.
        name: String,
        /// Which.
        mechanism: Mechanism,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The store failed.
    #[error(transparent)]
    Metadata(#[from] MetaError),
}

/// Keys as they are stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    salt: String,
    iterations: NonZeroU32,
    stored_key: String,
    server_key: String,
}

/// The users of the metadata store.
pub struct Users {
    meta: Arc<dyn MetadataStore>,
    secret: Vec<u8>,
}

/// A change of one user and mechanism.
pub enum UserChange {
    /// New keys.
    Put(String, ScramKeys),
    /// No keys.
    Delete(String, Hash),
}

fn key_of(name: &str, hash: Hash) -> Vec<u8> {
    format!("{PREFIX}{}/{name}", Mechanism::Scram(hash)).into_bytes()
}

/// So many random bytes.
pub(crate) fn random_bytes(count: usize) -> Result<Vec<u8>, UserError> {
    let mut bytes = vec![0; count];
    SystemRandom::new().fill(&mut bytes).map_err(|_| UserError::NoRandomness)?;
    Ok(bytes)
}

/// A password of 144 random bits.
pub fn random_password() -> Result<String, UserError> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes(18)?))
}

impl Users {
    /// Reads or makes the secret behind users that do not exist.
    pub async fn open(meta: Arc<dyn MetadataStore>) -> Result<Users, MetaError> {
        if let Some(found) = meta.get(SECRET_KEY)? {
            return Ok(Users { meta, secret: found.value });
        }
        let secret = random_bytes(32).map_err(|_| MetaError::Table { detail: "no random bytes".to_owned() })?;
        let absent = Condition::Absent(SECRET_KEY.to_vec());
        meta.transact(vec![absent], vec![Write::Put(SECRET_KEY.to_vec(), secret.clone())]).await?;
        Ok(Users { meta, secret })
    }

    /// What a user's proof is verified with.
    pub fn keys(&self, name: &str, hash: Hash) -> Result<Option<ScramKeys>, MetaError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Ok(None);
        }
        Ok(self.meta.get(&key_of(name, hash))?.and_then(|row| read(hash, &row.value)))
    }

    /// The same; for a user that does not exist, keys that no password has.
    pub fn keys_or_nobody(&self, name: &str, hash: Hash) -> Result<ScramKeys, MetaError> {
        let nobody = ScramKeys::of_nobody(hash, &self.secret, name, ITERATIONS);
        Ok(self.keys(name, hash)?.unwrap_or(nobody))
    }

    /// Every user with its mechanisms and their iterations.
    pub fn list(&self) -> Result<BTreeMap<String, Vec<(Hash, NonZeroU32)>>, MetaError> {
        let mut users: BTreeMap<String, Vec<(Hash, NonZeroU32)>> = BTreeMap::new();
        for hash in Hash::ALL {
            let prefix = key_of("", hash);
            for (key, row) in self.meta.scan(&prefix)? {
                let name = String::from_utf8_lossy(key.get(prefix.len()..).unwrap_or_default()).into_owned();
                if let Some(keys) = read(hash, &row.value) {
                    users.entry(name).or_default().push((hash, keys.iterations));
                }
            }
        }
        Ok(users)
    }

    /// Whether there is a user with this name.
    pub fn exists(&self, name: &str) -> Result<bool, MetaError> {
        for hash in Hash::ALL {
            if self.keys(name, hash)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether [`ADMIN`] was created by `--init-admin`, and so may do everything.
    pub fn admin_was_created(&self) -> Result<bool, MetaError> {
        Ok(self.meta.get(ADMIN_CREATED_KEY)?.is_some())
    }

    /// Creates [`ADMIN`] with a random password, which is returned and kept nowhere; None = there is one already.
    pub async fn create_admin(&self) -> Result<Option<String>, UserError> {
        if self.exists(ADMIN)? {
            return Ok(None);
        }
        let password = random_password()?;
        // First: a crash in between leaves a right without a user, and the next start makes the user.
        self.meta.transact(Vec::new(), vec![Write::Put(ADMIN_CREATED_KEY.to_vec(), Vec::new())]).await?;
        self.set_password(ADMIN, &password).await?;
        Ok(Some(password))
    }

    /// Makes changes durable, all or none.
    pub async fn change(&self, changes: Vec<UserChange>) -> Result<(), UserError> {
        let mut writes = Vec::with_capacity(changes.len());
        for change in changes {
            writes.push(match change {
                UserChange::Put(name, keys) => {
                    check_name(&name)?;
                    Write::Put(key_of(&name, keys.hash), written(&keys))
                }
                UserChange::Delete(name, hash) => {
                    if self.keys(&name, hash)?.is_none() {
                        return Err(UserError::Missing { name, mechanism: Mechanism::Scram(hash) });
                    }
                    Write::Delete(key_of(&name, hash))
                }
            });
        }
        self.meta.transact(Vec::new(), writes).await?;
        Ok(())
    }

    /// Gives a user a password, for both SCRAM mechanisms and PLAIN.
    pub async fn set_password(&self, name: &str, password: &str) -> Result<(), UserError> {
        check_name(name)?;
        let mut changes = Vec::new();
        for hash in Hash::ALL {
            let keys = ScramKeys::derive(hash, password.as_bytes(), random_bytes(SALT_LEN)?, ITERATIONS);
            changes.push(UserChange::Put(name.to_owned(), keys));
        }
        self.change(changes).await
    }
}

/// Keys that a client computed (AlterUserScramCredentials).
pub fn keys_of_client(hash: Hash, salt: &[u8], salted: &[u8], iterations: i32) -> Result<ScramKeys, UserError> {
    let wanted = ITERATIONS_MIN as i32..=ITERATIONS_MAX as i32;
    let sound = u32::try_from(iterations).ok().filter(|_| wanted.contains(&iterations)).and_then(NonZeroU32::new);
    let iterations = sound.ok_or(UserError::Iterations { given: iterations })?;
    if salted.len() != hash.len() || salt.is_empty() || salt.len() > SALT_MAX {
        return Err(UserError::Shape { mechanism: Mechanism::Scram(hash) });
    }
    Ok(ScramKeys::of_salted(hash, salted, salt.to_vec(), iterations))
}

/// Whether this can be a user's name.
pub fn check_name(name: &str) -> Result<(), UserError> {
    if (1..=NAME_MAX).contains(&name.len()) { Ok(()) } else { Err(UserError::Name) }
}

fn written(keys: &ScramKeys) -> Vec<u8> {
    let stored = Stored {
        salt: BASE64.encode(&keys.salt),
        iterations: keys.iterations,
        stored_key: BASE64.encode(&keys.stored_key),
        server_key: BASE64.encode(&keys.server_key),
    };
    serde_json::to_vec(&stored).unwrap_or_default() // texts and a number always become JSON
}

/// None = damaged, which verifies nothing.
fn read(hash: Hash, value: &[u8]) -> Option<ScramKeys> {
    let stored: Stored = serde_json::from_slice(value).ok()?;
    let bytes = |text: &str| BASE64.decode(text).ok();
    let (salt, stored_key, server_key) = (bytes(&stored.salt)?, bytes(&stored.stored_key)?, bytes(&stored.server_key)?);
    let sound = stored_key.len() == hash.len() && server_key.len() == hash.len();
    sound.then_some(ScramKeys { hash, salt, iterations: stored.iterations, stored_key, server_key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_storage::disk::OsDisk;
    use weir_storage::meta::EmbeddedMetadata;

    async fn users(folder: &std::path::Path) -> Users {
        let disk = Arc::new(OsDisk::open(folder).unwrap());
        Users::open(Arc::new(EmbeddedMetadata::open(disk, None).unwrap())).await.unwrap()
    }

    #[tokio::test]
    async fn users_are_there_after_a_restart_and_nobody_keeps_its_salt() {
        let folder = tempfile::tempdir().unwrap();
        let salt = {
            let users = users(folder.path()).await;
            users.set_password("alice", "secret").await.unwrap();
            users.keys_or_nobody("bob", Hash::Sha256).unwrap().salt
        };
        let users = users(folder.path()).await;
        for hash in Hash::ALL {
            assert!(users.keys("alice", hash).unwrap().unwrap().are_of(b"secret"));
        }
        assert_eq!(users.keys_or_nobody("bob", Hash::Sha256).unwrap().salt, salt);
        assert_eq!(users.list().unwrap()["alice"].len(), 2);
        users.change(vec![UserChange::Delete("alice".to_owned(), Hash::Sha512)]).await.unwrap();
        assert!(users.exists("alice").unwrap() && !users.exists("bob").unwrap());
    }

    #[tokio::test]
    async fn nothing_on_disk_is_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let password = "a-very-secret-password";
        users(folder.path()).await.set_password("alice", password).await.unwrap();
        let log = std::fs::read(folder.path().join("meta").join("meta.log")).unwrap();
        let holds = |text: &str| log.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("scram/SCRAM-SHA-512/alice") && !holds(password));
    }

    #[tokio::test]
    async fn changes_that_cannot_all_be_made_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let users = users(folder.path()).await;
        let keys = ScramKeys::derive(Hash::Sha256, b"x", vec![1], ITERATIONS);
        let changes =
            vec![UserChange::Put("alice".to_owned(), keys), UserChange::Delete("bob".to_owned(), Hash::Sha256)];
        assert!(matches!(users.change(changes).await, Err(UserError::Missing { .. })));
        assert!(!users.exists("alice").unwrap());
    }

    #[test]
    fn keys_of_clients_are_checked() {
        let salted = [7; 32];
        assert!(keys_of_client(Hash::Sha256, b"salt", &salted, 4096).is_ok());
        for (salt, salted, iterations) in [
            (&b"salt"[..], &salted[..], 4095),
            (b"salt", &salted, 16_385),
            (b"salt", &salted, -1),
            (b"", &salted, 4096),
            (b"salt", &salted[1..], 4096),
        ] {
            assert!(keys_of_client(Hash::Sha256, salt, salted, iterations).is_err(), "{iterations}");
        }
    }
}
