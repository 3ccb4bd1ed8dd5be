//! Quotas in the metadata store, and the rates of those who have one.
//!
//! Quotas are one key for each entity, followed as the access control lists are: one task makes every new table, and a change is
//! answered when it holds. Rates are counted here and nowhere else; a client without a quota costs no lock.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use weir_storage::meta::{MetaError, MetadataStore, Revision, Write};

use super::model::{ENTITIES_MAX, Entity, QuotaError, QuotaKey, Quotas, checked};
use super::resolve::{QuotaTable, Shared};
use super::window::RateWindow;
use crate::metrics::tables::quotas as tables;

const PREFIX: &str = "quota/";
const QUOTAS: &str = "quota/q/";
/// Written last in every transaction: what came before it is complete.
const HEAD: &str = "quota/head";

/// Rates that are kept before idle ones are looked for: client ids are names that strangers make up.
const RATES_TIDY: usize = 10_000;

/// Changes taken into one new table.
const CHANGES_AT_ONCE: usize = 10_000;

/// How long a client is not read from, in milliseconds; 0 = it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Throttle(pub u64);

impl Throttle {
    /// As responses tell it.
    #[must_use]
    pub fn wire(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

/// One change of one quota.
pub type QuotaChange = (QuotaKey, Option<f64>);

/// All quotas, and the rates they bound.
pub struct QuotaStore {
    meta: Arc<dyn MetadataStore>,
    table: Arc<ArcSwap<QuotaTable>>,
    seen: watch::Receiver<Revision>,
    changes: tokio::sync::Mutex<()>,
    rates: Mutex<Rates>,
}

/// A throttled client, or address, is in the log at most so often.
const LOGGED_EVERY_MS: u64 = 60_000;

#[derive(Default)]
struct Rates {
    windows: HashMap<Shared, Rate>,
    addresses: HashMap<IpAddr, Rate>,
    tidy_at: usize,
}

/// What somebody does, and when the log told of it.
#[derive(Default)]
struct Rate {
    window: RateWindow,
    logged_ms: Option<u64>,
}

impl Rate {
    /// Whether the log is told now.
    fn is_news(&mut self, now_ms: u64) -> bool {
        let is_news = self.logged_ms.is_none_or(|logged| logged + LOGGED_EVERY_MS <= now_ms);
        if is_news {
            self.logged_ms = Some(now_ms);
        }
        is_news
    }
}

impl Rates {
    /// Makes room if there are many.
    fn tidy(&mut self, now_ms: u64) {
        if self.windows.len() + self.addresses.len() >= self.tidy_at.max(RATES_TIDY) {
            self.windows.retain(|_, rate| !rate.window.is_idle(now_ms));
            self.addresses.retain(|_, rate| !rate.window.is_idle(now_ms));
            // Twice as many may come before all of them are looked at again.
            self.tidy_at = 2 * (self.windows.len() + self.addresses.len());
        }
    }
}

fn count(key: QuotaKey, throttle: Throttle) {
    metrics::counter!(tables::QUOTA_THROTTLES.name, "quota" => key.name()).increment(1);
    metrics::counter!(tables::QUOTA_THROTTLE_MS.name, "quota" => key.name()).increment(throttle.0);
}

impl std::fmt::Debug for QuotaStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QuotaStore({})", self.table.load().len())
    }
}

fn key_of(entity: &Entity) -> Vec<u8> {
    // Names of strings always serialise, and two entities never to the same text.
    [QUOTAS.as_bytes(), &serde_json::to_vec(entity).unwrap_or_default()].concat()
}

fn apply(quotas: &mut BTreeMap<Entity, Quotas>, write: &Write) {
    let Some(entity) = write.key().strip_prefix(QUOTAS.as_bytes()) else { return };
    let read = || -> Result<(Entity, Option<Quotas>), serde_json::Error> {
        Ok((serde_json::from_slice(entity)?, write.value().map(serde_json::from_slice).transpose()?))
    };
    match read() {
        Ok((entity, Some(set))) => drop(quotas.insert(entity, set)),
        Ok((entity, None)) => drop(quotas.remove(&entity)),
        Err(error) => tracing::error!(%error, "a stored quota cannot be read and is not in force"),
    }
}

impl QuotaStore {
    /// What the metadata store knows, followed from now on.
    pub fn load(meta: Arc<dyn MetadataStore>) -> Result<QuotaStore, MetaError> {
        // Watched first: what changes in between is seen twice, which does no harm.
        let mut changes = meta.watch(PREFIX.as_bytes());
        let revision = meta.revision();
        let mut quotas = BTreeMap::new();
        for (key, stored) in meta.scan(QUOTAS.as_bytes())? {
            apply(&mut quotas, &Write::Put(key, stored.value));
        }
        let table = Arc::new(ArcSwap::from_pointee(QuotaTable::new(quotas.clone())));
        let (saw, seen) = watch::channel(revision);
        let current = table.clone();
        tokio::spawn(async move {
            let (mut batch, mut incomplete) = (Vec::new(), Vec::new());
            while changes.recv_many(&mut batch, CHANGES_AT_ONCE).await > 0 {
                let mut complete = None;
                for change in batch.drain(..) {
                    if change.write.key() == HEAD.as_bytes() {
                        complete = Some(change.revision);
                        incomplete.drain(..).for_each(|write| apply(&mut quotas, &write));
                    } else {
                        incomplete.push(change.write);
                    }
                }
                if let Some(revision) = complete {
                    current.store(Arc::new(QuotaTable::new(quotas.clone())));
                    saw.send_replace(revision);
                }
            }
        });
        let (changes, rates) = (tokio::sync::Mutex::default(), Mutex::default());
        Ok(QuotaStore { meta, table, seen, changes, rates })
    }

    /// What is in force now.
    #[must_use]
    pub fn table(&self) -> Arc<QuotaTable> {
        self.table.load_full()
    }

    /// Sets (or, with `None`, removes) quotas of one entity, together; with `validate_only` says whether they could be.
    pub async fn alter(&self, entity: &Entity, changes: &[QuotaChange], validate_only: bool) -> Result<(), QuotaError> {
        let _one_at_a_time = self.changes.lock().await;
        let table = self.table();
        let mut quotas = table.of(entity).cloned().unwrap_or_default();
        for (key, value) in changes {
            match value {
                Some(value) => {
                    entity.takes(*key)?;
                    quotas.insert(*key, checked(*key, *value)?);
                }
                None => drop(quotas.remove(key)),
            }
        }
        if table.of(entity).is_none() && table.len() >= ENTITIES_MAX {
            return Err(QuotaError::TooMany);
        }
        if validate_only {
            return Ok(());
        }
        // A map of numbers always serialises.
        let value = serde_json::to_vec(&quotas).unwrap_or_default();
        let key = key_of(entity);
        let write = if quotas.is_empty() { Write::Delete(key) } else { Write::Put(key, value) };
        let writes = vec![write, Write::Put(HEAD.as_bytes().to_vec(), Vec::new())];
        let revision = self.meta.transact(Vec::new(), writes).await?;
        let mut seen = self.seen.clone();
        seen.wait_for(|seen| *seen >= revision).await.map_err(|_| MetaError::Closed)?;
        Ok(())
    }

    /// Counts bytes of a client, and tells how long it is not to be read from.
    pub fn record(&self, now_ms: u64, key: QuotaKey, user: &str, client_id: &str, bytes: usize) -> Throttle {
        self.record_amount(now_ms, key, user, client_id, bytes as f64)
    }

    /// The same in the unit of the quota.
    pub fn record_amount(&self, now_ms: u64, key: QuotaKey, user: &str, client_id: &str, amount: f64) -> Throttle {
        let Some((limit, shared)) = self.table.load().limit(key, user, client_id) else { return Throttle(0) };
        let mut rates = self.rates.lock();
        rates.tidy(now_ms);
        let rate = rates.windows.entry(shared).or_default();
        let throttle = Throttle(rate.window.record(now_ms, amount, limit).min(key.throttle_max_ms()));
        let is_news = throttle.0 > 0 && rate.is_news(now_ms);
        drop(rates);
        if throttle.0 > 0 {
            count(key, throttle);
        }
        if is_news {
            let (quota, throttle_ms) = (key.name(), throttle.0);
            tracing::info!(user, client_id, quota, limit, throttle_ms, "a client exceeds its quota and is throttled");
        }
        throttle
    }

    /// Whether anybody has a quota of this kind: if not, nothing needs to be measured.
    #[must_use]
    pub fn limits(&self, key: QuotaKey) -> bool {
        self.table.load().limits(key)
    }

    /// Counts a connection of an address; the error is one too many: for how long it is kept waiting before it is closed. Such a one
    /// is not counted.
    pub fn record_connection(&self, now_ms: u64, ip: IpAddr) -> Result<(), Throttle> {
        const KEY: QuotaKey = QuotaKey::ConnectionCreationRate;
        let Some(limit) = self.table.load().limit_of_address(ip) else { return Ok(()) };
        let mut rates = self.rates.lock();
        rates.tidy(now_ms);
        let rate = rates.addresses.entry(ip.to_canonical()).or_default();
        let throttle = Throttle(rate.window.record(now_ms, 1.0, limit).min(KEY.throttle_max_ms()));
        if throttle.0 == 0 {
            return Ok(());
        }
        rate.window.take_back(1.0);
        let is_news = rate.is_news(now_ms);
        drop(rates);
        count(KEY, throttle);
        if is_news {
            tracing::info!(%ip, quota = KEY.name(), limit, "an address makes more connections than its quota allows; they are closed");
        }
        Err(throttle)
    }
}

#[cfg(test)]
mod tests {
    use weir_storage::disk::{Disk, OsDisk};
    use weir_storage::meta::EmbeddedMetadata;

    use super::*;

    fn meta(folder: &std::path::Path) -> Arc<dyn MetadataStore> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(folder).unwrap());
        Arc::new(EmbeddedMetadata::open(disk, None).unwrap())
    }

    const KEY: QuotaKey = QuotaKey::ProducerByteRate;

    #[tokio::test]
    async fn quotas_hold_at_once_and_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let entity = Entity::of([("user", Some("a"))]).unwrap();
        {
            let store = QuotaStore::load(meta(folder.path())).unwrap();
            assert_eq!(store.record(0, KEY, "a", "c", 1 << 30), Throttle(0));
            store.alter(&entity, &[(KEY, Some(10.0))], true).await.unwrap();
            assert!(store.table().is_empty(), "that was a question");
            store.alter(&entity, &[(KEY, Some(10.0))], false).await.unwrap();
            assert_eq!(store.record(0, KEY, "a", "c", 200), Throttle(10_000));
            assert_eq!(store.record(0, KEY, "b", "c", 200), Throttle(0));
        }
        let store = QuotaStore::load(meta(folder.path())).unwrap();
        assert_eq!(store.table().of(&entity), Some(&[(KEY, 10.0)].into()));
        store.alter(&entity, &[(KEY, None)], false).await.unwrap();
        assert!(store.table().is_empty());
    }

    #[tokio::test]
    async fn connections_beyond_the_rate_of_their_address_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let store = QuotaStore::load(meta(folder.path())).unwrap();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let connect = |now, ip| store.record_connection(now, ip).is_ok();
        assert!((0..1_000).all(|_| connect(0, one)), "nobody has a quota");
        let entity = Entity::of([("ip", None)]).unwrap();
        let rate = [(QuotaKey::ConnectionCreationRate, Some(2.0))];
        store.alter(&entity, &rate, false).await.unwrap();
        assert!(matches!(store.alter(&entity, &[(KEY, Some(2.0))], false).await, Err(QuotaError::Misplaced { .. })));
        assert_eq!((0..1_000).filter(|_| connect(5_000, one)).count(), 20, "ten seconds' worth");
        let told = store.record_connection(5_000, one).unwrap_err();
        // How many were refused before does not matter; rounding may.
        assert!((500..=501).contains(&told.0), "{told:?}");
        assert_eq!((0..1_000).filter(|_| connect(5_000, other)).count(), 20, "each address by itself");
        assert_eq!((0..1_000).filter(|_| connect(16_001, one)).count(), 20, "what was refused is forgotten");
    }

    #[tokio::test]
    async fn client_ids_that_strangers_make_up_do_not_fill_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let store = QuotaStore::load(meta(folder.path())).unwrap();
        let entity = Entity::of([("client-id", None)]).unwrap();
        store.alter(&entity, &[(KEY, Some(10.0))], false).await.unwrap();
        for number in 0..5 * RATES_TIDY as u64 {
            store.record(number * 10, KEY, "", &format!("c{number}"), 1);
        }
        assert!(store.rates.lock().windows.len() <= 2 * RATES_TIDY);
    }
}
