//! Passwords that were verified a moment ago. HTTP sends the password with every request, and verifying one costs a processor some
//! milliseconds on purpose.
//!
//! Kept is a keyed hash of name and password, and which keys of the user it was verified with: a new password, or a user who was
//! deleted, is in force with the next request. Nothing that fails is kept.
use std::collections::HashMap;

use parking_lot::Mutex;
use ring::{digest, hmac};
use weir_protocol::sasl::scram::Hash;
use weir_storage::meta::MetaError;

use crate::security::{Security, Users};

/// Most that are kept.
const KEPT_MAX: usize = 4_096;

type Mark = [u8; 32];

pub(super) struct Proven {
    key: Option<hmac::Key>,
    kept: Mutex<HashMap<Mark, Mark>>,
}

impl Proven {
    pub fn new() -> Proven {
        // Without random bytes nothing is kept.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new()).ok();
        Proven { key, kept: Mutex::default() }
    }

    /// Whether a user has this password.
    pub async fn check(&self, security: &Security, name: &str, password: &str) -> Result<bool, MetaError> {
        let Some(key) = &self.key else { return security.has_password(name, password).await };
        let mark = mark_of(key, name, password);
        // Read before the password is verified: keys that change meanwhile are not taken for these.
        let keys = fingerprint(&security.users, name)?;
        if keys.is_some() && self.kept.lock().get(&mark) == keys.as_ref() {
            return Ok(true);
        }
        let is_right = security.has_password(name, password).await?;
        if let Some(keys) = keys.filter(|_| is_right) {
            let mut kept = self.kept.lock();
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(mark, keys);
        }
        Ok(is_right)
    }
}

fn mark_of(key: &hmac::Key, name: &str, password: &str) -> Mark {
    let mut context = hmac::Context::with_key(key);
    context.update(&(name.len() as u64).to_le_bytes());
    context.update(name.as_bytes());
    context.update(password.as_bytes());
    let tag = context.sign();
    let mut mark = [0; 32];
    mark.copy_from_slice(tag.as_ref()); // SHA-256 has 32 bytes
    mark
}

/// Of all keys that a user has now; `None`: there is no such user.
fn fingerprint(users: &Users, name: &str) -> Result<Option<Mark>, MetaError> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut some = false;
    for hash in Hash::ALL {
        let keys = users.keys(name, hash)?;
        context.update(&[u8::from(keys.is_some())]);
        if let Some(keys) = keys {
            some = true;
            context.update(&keys.salt);
            context.update(&keys.iterations.get().to_le_bytes());
            context.update(&keys.stored_key);
        }
    }
    let mut mark = [0; 32];
    mark.copy_from_slice(context.finish().as_ref()); // SHA-256 has 32 bytes
    Ok(some.then_some(mark))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use weir_storage::disk::{Disk, OsDisk};
    use weir_storage::meta::EmbeddedMetadata;

    use super::*;
    use crate::config::SecuritySettings;

    /// Seen failing with the fingerprint left out of the comparison: the old password went on.
    #[tokio::test]
    async fn a_kept_password_ends_with_the_keys_that_it_was_verified_with() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(folder.path()).unwrap());
        let meta = Arc::new(EmbeddedMetadata::open(disk, None).unwrap());
        let security = Security::open(&SecuritySettings::default(), meta).await.unwrap();
        security.users.set_password("alice", "old").await.unwrap();
        let proven = Proven::new();
        assert!(!proven.check(&security, "alice", "new").await.unwrap());
        assert!(proven.check(&security, "alice", "old").await.unwrap());
        assert_eq!(proven.kept.lock().len(), 1, "what is right is kept, and nothing else");
        let begun = Instant::now();
        for _ in 0..50 {
            assert!(proven.check(&security, "alice", "old").await.unwrap());
        }
        let kept = begun.elapsed();
        security.users.set_password("alice", "new").await.unwrap();
        assert!(!proven.check(&security, "alice", "old").await.unwrap());
        assert!(proven.check(&security, "alice", "new").await.unwrap());
        assert!(!proven.check(&security, "bob", "").await.unwrap());
        assert!(kept.as_secs() < 5);
    }
}
