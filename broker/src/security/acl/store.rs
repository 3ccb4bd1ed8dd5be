//! Bindings in the metadata store, and the index of them behind an atomic pointer.
//!
//! Each binding is one key, so that making one twice is one binding and brokers that share a store do not overwrite each other.
//! One task follows the store's changes and makes every new index; a change made here is answered when that task has seen it, so
//! whoever made it finds it in force. Changes of one transaction come into force together. A crash leaves what the metadata store made durable.
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use weir_storage::meta::{MetaError, MetadataStore, Revision, Write};

use super::filter::AclFilter;
use super::index::{AclIndex, Policy};
use super::model::AclBinding;

/// Before everything that is followed.
const PREFIX: &str = "acl/";

/// Before every binding.
const BINDINGS: &str = "acl/b/";

/// Written last in every transaction: what came before it is complete.
const HEAD: &str = "acl/head";

/// Bindings that are kept at most: each change makes a new index of all of them.
pub const BINDINGS_MAX: usize = 100_000;

/// Changes taken into one new index.
const CHANGES_AT_ONCE: usize = 10_000;

/// Why bindings are not changed.
#[derive(Debug, Error)]
pub enum AclStoreError {
    /// A bound.
    #[error(
        "there are {have} ACL bindings, and {BINDINGS_MAX} are the most; delete some, or use prefixed patterns and `*`"
    )]
    TooMany {
        /// How many there would be.
        have: usize,
    },
    /// The metadata store.
    #[error(transparent)]
    Metadata(#[from] MetaError),
}

/// All bindings of a broker or cluster.
pub struct AclStore {
    meta: Arc<dyn MetadataStore>,
    index: Arc<ArcSwap<AclIndex>>,
    /// Revision of the metadata up to which the index is.
    seen: watch::Receiver<Revision>,
    changes: Mutex<()>,
}

impl std::fmt::Debug for AclStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AclStore({})", self.index.load().bindings().len())
    }
}

/// Sorts by everything a binding consists of; no part may hold the separator, which is not printable.
fn key_of(binding: &AclBinding) -> Vec<u8> {
    let AclBinding { pattern, entry } = binding;
    let (resource, kind) = (pattern.resource.name(), pattern.pattern.name());
    let (operation, permission) = (entry.operation.name(), entry.permission.name());
    let part = |text: &str| text.replace('\u{1f}', "\u{fffd}");
    let parts = [resource, kind, &part(&pattern.name), &part(&entry.principal), &entry.host, operation, permission];
    format!("{BINDINGS}{}", parts.join("\u{1f}")).into_bytes()
}

fn decode(key: &[u8], value: &[u8]) -> Option<AclBinding> {
    let binding = serde_json::from_slice(value);
    if let Err(error) = &binding {
        // A binding that is not understood must not silently allow: it is loud, and denials are never stored otherwise.
        tracing::error!(key = %String::from_utf8_lossy(key), %error, "a stored ACL binding cannot be read and is not in force");
    }
    binding.ok()
}

impl AclStore {
    /// What the metadata store knows, followed from now on.
    pub fn load(policy: Policy, meta: Arc<dyn MetadataStore>) -> Result<AclStore, MetaError> {
        // Watched first: what changes in between is seen twice, which does no harm.
        let mut changes = meta.watch(PREFIX.as_bytes());
        let revision = meta.revision();
        let mut bindings = BTreeMap::new();
        for (key, stored) in meta.scan(BINDINGS.as_bytes())? {
            if let Some(binding) = decode(&key, &stored.value) {
                bindings.insert(key, binding);
            }
        }
        let index = Arc::new(ArcSwap::from_pointee(AclIndex::new(policy.clone(), bindings.values().cloned())));
        let (saw, seen) = watch::channel(revision);
        let current = index.clone();
        tokio::spawn(async move {
            let (mut batch, mut incomplete) = (Vec::new(), Vec::new());
            while changes.recv_many(&mut batch, CHANGES_AT_ONCE).await > 0 {
                let mut complete = None;
                for change in batch.drain(..) {
                    if change.write.key() == HEAD.as_bytes() {
                        complete = Some(change.revision);
                        incomplete.drain(..).for_each(|write| apply(&mut bindings, write));
                    } else {
                        incomplete.push(change.write);
                    }
                }
                if let Some(revision) = complete {
                    current.store(Arc::new(AclIndex::new(policy.clone(), bindings.values().cloned())));
                    saw.send_replace(revision);
                }
            }
        });
        Ok(AclStore { meta, index, seen, changes: Mutex::default() })
    }

    /// What is in force now.
    #[must_use]
    pub fn index(&self) -> Arc<AclIndex> {
        self.index.load_full()
    }

    /// Makes bindings, together; those that are there already stay as they are. They must be valid.
    pub async fn create(&self, bindings: &[AclBinding]) -> Result<(), AclStoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let have = self.index.load().bindings().len() + bindings.len();
        if have > BINDINGS_MAX {
            return Err(AclStoreError::TooMany { have });
        }
        // Texts and enums always serialise.
        let put = |binding: &AclBinding| Write::Put(key_of(binding), serde_json::to_vec(binding).unwrap_or_default());
        self.write(bindings.iter().map(put).collect()).await
    }

    /// Deletes what the filters mean, together; for each filter what it meant, also what an earlier one meant too.
    pub async fn delete(&self, filters: &[AclFilter]) -> Result<Vec<Vec<AclBinding>>, AclStoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let index = self.index();
        let meant: Vec<Vec<AclBinding>> =
            filters.iter().map(|filter| index.matching(filter).cloned().collect()).collect();
        let keys: std::collections::BTreeSet<Vec<u8>> = meant.iter().flatten().map(key_of).collect();
        self.write(keys.into_iter().map(Write::Delete).collect()).await?;
        Ok(meant)
    }

    async fn write(&self, mut writes: Vec<Write>) -> Result<(), AclStoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        writes.push(Write::Put(HEAD.as_bytes().to_vec(), Vec::new()));
        let revision = self.meta.transact(Vec::new(), writes).await?;
        let mut seen = self.seen.clone();
        // Fails only if the task is gone, which ends with the store's watchers.
        seen.wait_for(|seen| *seen >= revision).await.map_err(|_| MetaError::Closed)?;
        Ok(())
    }
}

fn apply(bindings: &mut BTreeMap<Vec<u8>, AclBinding>, write: Write) {
    match write {
        Write::Put(key, value) => {
            if let Some(binding) = decode(&key, &value) {
                bindings.insert(key, binding);
            }
        }
        Write::Delete(key) => drop(bindings.remove(&key)),
    }
}

#[cfg(test)]
mod tests {
    use weir_storage::disk::{Disk, OsDisk};
    use weir_storage::meta::EmbeddedMetadata;

    use super::*;
    use crate::security::acl::tests::binding;

    fn meta(folder: &std::path::Path) -> Arc<dyn MetadataStore> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(folder).unwrap());
        Arc::new(EmbeddedMetadata::open(disk, None).unwrap())
    }

    #[tokio::test]
    async fn bindings_hold_at_once_and_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (binding("t", "User:a", "read", "allow"), binding("u", "User:a", "read", "deny"));
        {
            let store = AclStore::load(Policy::default(), meta(folder.path())).unwrap();
            store.create(&[one.clone(), two.clone(), one.clone()]).await.unwrap();
            assert_eq!(store.index().bindings(), [one.clone(), two.clone()]);
            let filter = AclFilter { name: Some("u".to_owned()), ..AclFilter::default() };
            let deleted = store.delete(&[filter.clone(), filter]).await.unwrap();
            assert_eq!(deleted, [vec![two.clone()], vec![two]], "each filter is told what it meant");
        }
        let store = AclStore::load(Policy::default(), meta(folder.path())).unwrap();
        assert_eq!(store.index().bindings(), [one]);
    }

    /// Two brokers over one metadata store, as a cluster will have them.
    #[tokio::test]
    async fn changes_of_another_broker_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let meta = meta(folder.path());
        let stores = [0, 1].map(|_| AclStore::load(Policy::default(), meta.clone()).unwrap());
        stores[0].create(&[binding("t", "User:a", "read", "allow")]).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), async {
            while stores[1].index().bindings().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
    }
}
