//! Bindings and restricted grants in the metadata store, and the index of them behind an atomic pointer.
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
use super::grants::{Grant, GrantError};
use super::index::{AclIndex, Policy};
use super::model::AclBinding;

/// Before everything that is followed.
const PREFIX: &str = "acl/";

/// Before every binding.
const BINDINGS: &str = "acl/b/";

/// Before every restricted grant: topic, separator, principal.
const GRANTS: &str = "acl/g/";

/// Between the parts of a key; no part may hold it, and it is not printable.
const SEPARATOR: char = '\u{1f}';

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
    let parts = [resource, kind, &part(&pattern.name), &part(&entry.principal), &entry.host, operation, permission];
    format!("{BINDINGS}{}", parts.join(&SEPARATOR.to_string())).into_bytes()
}

fn part(text: &str) -> String {
    text.replace(SEPARATOR, "\u{fffd}")
}

fn key_of_grant(principal: &str, topic: &str) -> Vec<u8> {
    format!("{GRANTS}{}{SEPARATOR}{}", part(topic), part(principal)).into_bytes()
}

/// A grant that is not understood is kept as one that gives nothing: without it a policy that allows what nothing is said about
/// would allow everything.
fn decode_grant(key: &[u8], value: &[u8]) -> Option<Grant> {
    let reason = match Grant::parse(value) {
        Ok(grant) if key_of_grant(&grant.principal, &grant.topic) == key => return Some(grant),
        Ok(_) => "it is not about what its key says".to_owned(),
        Err(reason) => reason,
    };
    let text = String::from_utf8_lossy(key);
    tracing::error!(key = %text, reason, "a stored restricted grant cannot be read and gives nothing");
    let (topic, principal) = text.strip_prefix(GRANTS)?.split_once(SEPARATOR)?;
    Some(Grant::unreadable(principal, topic, reason))
}

/// What is stored, by key.
#[derive(Default)]
struct Entries {
    bindings: BTreeMap<Vec<u8>, AclBinding>,
    grants: BTreeMap<Vec<u8>, Arc<Grant>>,
}

impl Entries {
    fn apply(&mut self, write: Write) {
        let is_grant = write.key().starts_with(GRANTS.as_bytes());
        match write {
            Write::Put(key, value) if is_grant => {
                if let Some(grant) = decode_grant(&key, &value) {
                    self.grants.insert(key, Arc::new(grant));
                }
            }
            Write::Put(key, value) => {
                if let Some(binding) = decode(&key, &value) {
                    self.bindings.insert(key, binding);
                }
            }
            Write::Delete(key) if is_grant => drop(self.grants.remove(&key)),
            Write::Delete(key) => drop(self.bindings.remove(&key)),
        }
    }

    fn index(&self, policy: &Policy) -> Arc<AclIndex> {
        let (bindings, grants) = (self.bindings.values().cloned(), self.grants.values().cloned());
        Arc::new(AclIndex::with_grants(policy.clone(), bindings, grants))
    }
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
        let mut entries = Entries::default();
        for prefix in [BINDINGS, GRANTS] {
            for (key, stored) in meta.scan(prefix.as_bytes())? {
                entries.apply(Write::Put(key, stored.value));
            }
        }
        let index = Arc::new(ArcSwap::new(entries.index(&policy)));
        let (saw, seen) = watch::channel(revision);
        let current = index.clone();
        tokio::spawn(async move {
            let (mut batch, mut incomplete) = (Vec::new(), Vec::new());
            while changes.recv_many(&mut batch, CHANGES_AT_ONCE).await > 0 {
                let mut complete = None;
                for change in batch.drain(..) {
                    if change.write.key() == HEAD.as_bytes() {
                        complete = Some(change.revision);
                        incomplete.drain(..).for_each(|write| entries.apply(write));
                    } else {
                        incomplete.push(change.write);
                    }
                }
                if let Some(revision) = complete {
                    current.store(entries.index(&policy));
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
        self.create_with(bindings, &[]).await.map(drop)
    }

    /// The same, and restricted grants: for each of these whether it was made. One that is there already stays as it is; another one of
    /// its principal for its topic is refused, and all else is made.
    pub async fn create_with(
        &self,
        bindings: &[AclBinding],
        grants: &[Grant],
    ) -> Result<Vec<Result<(), GrantError>>, AclStoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let index = self.index();
        let have = index.bindings().len() + index.grants().count() + bindings.len() + grants.len();
        if have > BINDINGS_MAX {
            return Err(AclStoreError::TooMany { have });
        }
        // Texts and enums always serialise.
        let put = |binding: &AclBinding| Write::Put(key_of(binding), serde_json::to_vec(binding).unwrap_or_default());
        let mut writes: Vec<Write> = bindings.iter().map(put).collect();
        let mut known: BTreeMap<Vec<u8>, &Grant> =
            index.grants().map(|grant| (key_of_grant(&grant.principal, &grant.topic), &**grant)).collect();
        let mut made = Vec::with_capacity(grants.len());
        for grant in grants {
            let key = key_of_grant(&grant.principal, &grant.topic);
            let before = *known.entry(key.clone()).or_insert(grant);
            if before != grant {
                let (principal, topic) = (grant.principal.clone(), grant.topic.clone());
                made.push(Err(GrantError::Exists { principal, topic }));
                continue;
            }
            writes.push(Write::Put(key, serde_json::to_vec(grant).unwrap_or_default()));
            made.push(Ok(()));
        }
        self.write(writes).await?;
        Ok(made)
    }

    /// Deletes what the filters mean, together; for each filter what it meant, also what an earlier one meant too. Restricted grants are
    /// meant by what means the binding that they restrict: whoever takes a READ away takes it away whole.
    pub async fn delete(&self, filters: &[AclFilter]) -> Result<Vec<Deleted>, AclStoreError> {
        let _one_at_a_time = self.changes.lock().await;
        let index = self.index();
        let of = |filter: &AclFilter| Deleted {
            bindings: index.matching(filter).cloned().collect(),
            grants: index.matching_grants(filter).cloned().collect(),
        };
        let meant: Vec<Deleted> = filters.iter().map(of).collect();
        let bindings = meant.iter().flat_map(|deleted| deleted.bindings.iter().map(key_of));
        let grants = meant.iter().flat_map(|deleted| &deleted.grants);
        let grants = grants.map(|grant| key_of_grant(&grant.principal, &grant.topic));
        let keys: std::collections::BTreeSet<Vec<u8>> = bindings.chain(grants).collect();
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

/// What a filter meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Bindings.
    pub bindings: Vec<AclBinding>,
    /// Restricted grants.
    pub grants: Vec<Arc<Grant>>,
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
            let meant = Deleted { bindings: vec![two], grants: Vec::new() };
            assert_eq!(deleted, [meant.clone(), meant], "each filter is told what it meant");
        }
        let store = AclStore::load(Policy::default(), meta(folder.path())).unwrap();
        assert_eq!(store.index().bindings(), [one]);
    }

    fn grant(principal: &str, columns: &str) -> Grant {
        let text = format!(
            r#"{{"version":1,"principal":"{principal}","topic":"t","topic_id":"{}","columns":[{columns}]}}"#,
            uuid::Uuid::from_u128(7)
        );
        Grant::parse(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn restricted_grants_are_one_for_a_principal_and_topic_and_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other, of_b) = (grant("User:a", ""), grant("User:a", r#"{"name":"_key"}"#), grant("User:b", ""));
        {
            let store = AclStore::load(Policy::default(), meta(folder.path())).unwrap();
            let made = store.create_with(&[], &[one.clone(), other.clone(), one.clone(), of_b.clone()]).await.unwrap();
            let exists = || Err(GrantError::Exists { principal: "User:a".to_owned(), topic: "t".to_owned() });
            assert_eq!(made, [Ok(()), exists(), Ok(()), Ok(())]);
            assert_eq!(store.create_with(&[], &[other]).await.unwrap(), [exists()]);
            // Whoever takes the READ of a topic away takes it away whole.
            let filter = AclFilter { principal: Some("User:b".to_owned()), ..AclFilter::default() };
            let deleted = store.delete(&[filter]).await.unwrap();
            assert_eq!(deleted, [Deleted { bindings: Vec::new(), grants: vec![Arc::new(of_b)] }]);
        }
        let store = AclStore::load(Policy::default(), meta(folder.path())).unwrap();
        assert_eq!(store.index().grants().map(|grant| (**grant).clone()).collect::<Vec<_>>(), [one]);
    }

    #[tokio::test]
    async fn grant_that_cannot_be_read_is_there_and_gives_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let meta = meta(folder.path());
        let newer = br#"{"version":9,"principal":"User:a","topic":"t"}"#.to_vec();
        meta.transact(Vec::new(), vec![Write::Put(key_of_grant("User:a", "t"), newer)]).await.unwrap();
        let policy = Policy { allow_if_no_acl: true, ..Policy::default() };
        let store = AclStore::load(policy, meta).unwrap();
        let (index, host) = (store.index(), std::net::IpAddr::from([127, 0, 0, 1]));
        let decide = |topic: &str| {
            use crate::security::Principal;
            use crate::security::acl::{Operation, ResourceType};
            index.authorize(&Principal::user("a"), host, Operation::Read, ResourceType::Topic, topic).is_allowed()
        };
        assert!(!decide("t") && decide("u"));
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
