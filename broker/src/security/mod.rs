//! Who a client is: principals, TLS, SASL and the credentials behind them.
//!
//! | file | what |
//! |---|---|
//! | `principal.rs` | who somebody is, as Kafka writes it |
//! | `tls/` | TLS of listeners |
//! | `sasl/` | the exchange in which a client proves who it is |
//! | `acl/` | who may do what: Kafka's access control lists |
//! | `audit.rs` | who was refused what, who changed what |
//! | `places.rs` | how many connections each principal has |
//! | `rules/` | what each API needs, and how a refusal is answered |
//! | `web/` | the same for HTTP and the Schema Registry |
//! | `users.rs` | users with passwords: SCRAM keys in the metadata store |
//!
//! I own what proves who a client is, and what they may do. Passwords, keys and tokens are in no log line
//! and no error.
pub mod acl;
pub mod audit;
pub mod places;
pub mod principal;
pub mod rules;
pub mod sasl;
pub mod tls;
mod users;
pub mod web;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use weir_protocol::sasl::scram::Hash;
use weir_storage::cpu::{CpuPool, Priority};
use weir_storage::meta::{MetaError, MetadataStore};

use crate::config::SecuritySettings;

use places::PrincipalPlaces;
use sasl::session::{Failure, Verified};
use sasl::tokens::{KeysError, Tokens};

pub use principal::{Principal, PrincipalError};
pub use users::{ADMIN, UserChange, UserError, Users, check_name as check_user_name, keys_of_client, random_password};

/// Why the broker cannot tell who clients are.
#[derive(Debug, Error)]
pub enum SecurityError {
    /// Keys of tokens.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Credentials.
    #[error(transparent)]
    Metadata(#[from] MetaError),
}

/// What all listeners share.
pub struct Security {
    /// Users with passwords.
    pub users: Arc<Users>,
    /// How long the answer to a failed authentication is held back.
    pub failed_delay: Duration,
    /// Connections of each principal, on all Kafka listeners.
    pub places: Arc<PrincipalPlaces>,
    /// Verifies tokens; None = no keys are configured.
    tokens: Option<Arc<Tokens>>,
    /// Verifies passwords, each of which takes a processor for a while: on few threads, of lower priority than those of sockets.
    verifying: CpuPool,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Security")
    }
}

impl Security {
    /// Over the credentials in the metadata store.
    pub async fn open(settings: &SecuritySettings, meta: Arc<dyn MetadataStore>) -> Result<Security, SecurityError> {
        let tokens = match settings.jwks_url.trim() {
            "" => None,
            _ => Some(Tokens::open(settings).await?),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Security {
            users: Arc::new(Users::open(meta).await?),
            failed_delay: settings.failed_delay,
            places: Arc::default(),
            tokens,
            verifying: CpuPool::new(cores.div_ceil(2)),
        })
    }

    /// Whether a user has this password. Takes as long for a user that does not exist.
    pub async fn has_password(&self, name: &str, password: &str) -> Result<bool, MetaError> {
        let keys = Hash::ALL.map(|hash| self.users.keys_or_nobody(name, hash));
        let [first, second] = keys;
        let (keys, password) = ([first?, second?], password.to_owned());
        let verify = move || {
            let fits = keys.map(|keys| keys.are_of(password.as_bytes()));
            fits[0] | fits[1]
        };
        Ok(self.verifying.run(Priority::Request, verify).await.unwrap_or(false)) // a panic verifies nothing
    }

    /// Whose token it is, if it is good.
    pub async fn verify_token(&self, token: &str, authorization: &str) -> Result<Verified, Failure> {
        match &self.tokens {
            Some(tokens) => tokens.verify(token, authorization).await,
            None => Err(Failure::Unavailable("no keys of tokens are configured".to_owned())),
        }
    }
}
