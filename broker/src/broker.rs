//! What every API handler gets: the broker as one value, and the facts about the request at hand.
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use weir_layout::KeptTail;
use weir_protocol::ids::LeaderEpoch;
use weir_registry::Registry;
use weir_scan::RowCache;
use weir_storage::disk::Disk;
use weir_storage::log::{OpenError, Storage};
use weir_storage::memory::{MemoryBudget, Share};
use weir_storage::meta::{Condition, EmbeddedMetadata, MetaError, MetadataStore, Write};

use crate::api::fetch::columnar::{PlanCache, ScanSettings};
use crate::api::fetch::session::{SessionCache, SessionLimits};
use crate::config::Config;
use crate::dynamic_config::{DynamicConfigError, DynamicConfigs, PlannedChange};
use crate::group::coordinator::TopicsNow;
use crate::group::{Coordinator, GroupConfigs, StorageLog};
use crate::lake::Histories;
use crate::metrics::BrokerMetrics;
use crate::producer_ids::ProducerIds;
use crate::quota::QuotaStore;
use crate::registry;
use crate::security::acl::{AclStore, Policy};
use crate::security::audit::Audit;
use crate::security::{ADMIN, Principal, Security, SecurityError};
use crate::share::{ShareSessions, Shares};
use crate::tables::{Schemas, TableGuard};
use crate::topics::{LoadedTopics, OFFSETS_TOPIC, SHARES_TOPIC, TRANSACTIONS_TOPIC, TopicError, Topics};
use crate::txn::{LogMarkers, Transactions};

mod connection;
mod settings;

pub use connection::{Advertised, Connection, Listener, RequestContext};

/// Settings that handlers read.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    pub node_id: i32,
    /// Largest fetch response, whatever the client asks for.
    pub fetch_max_bytes: usize,
    /// Bounds of a scan for columns.
    pub scan: ScanSettings,
    pub auto_create_topics_enable: bool,
    /// Folder of everything the broker keeps, for DescribeLogDirs.
    pub data_dir: PathBuf,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        BrokerSettings {
            node_id: 1,
            fetch_max_bytes: 55 << 20,
            scan: ScanSettings { max_bytes: 64 << 20, max_time: Duration::from_millis(500) },
            auto_create_topics_enable: true,
            data_dir: PathBuf::from("."),
        }
    }
}

impl BrokerSettings {
    fn of(config: &Config) -> BrokerSettings {
        BrokerSettings {
            node_id: config.node.node_id,
            fetch_max_bytes: config
                .net
                .fetch_max
                .as_usize()
                .min(Share::Responses.limits(config.memory_limit()).reserved),
            scan: ScanSettings {
                max_bytes: config.net.fetch_scan_max.as_usize() as u64,
                max_time: config.net.fetch_scan_time,
            },
            auto_create_topics_enable: config.topics.auto_create,
            data_dir: PathBuf::from(&config.node.data_dir),
        }
    }
}

/// Facts about this broker's life that must be durable before it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 22 characters of URL-safe base64, as Kafka's tools print them.
    pub cluster_id: String,
    /// Grows with each start; new batches carry it as their leader epoch.
    pub incarnation: LeaderEpoch,
}

const CLUSTER_ID_KEY: &[u8] = b"cluster/id";
/// Where the last incarnation is.
pub const INCARNATION_KEY: &[u8] = b"cluster/incarnation";

impl Identity {
    /// Reads or makes the cluster id, and makes the next incarnation durable.
    pub async fn next(meta: &dyn MetadataStore) -> Result<Identity, MetaError> {
        let stored = meta.get(CLUSTER_ID_KEY)?;
        let cluster_id = match &stored {
            Some(id) => String::from_utf8_lossy(&id.value).into_owned(),
            None => kafka_id(uuid::Uuid::new_v4()),
        };
        let before = meta.get(INCARNATION_KEY)?;
        let last =
            before.as_ref().and_then(|v| v.value.as_slice().try_into().ok().map(i32::from_le_bytes)).unwrap_or(0);
        let incarnation = last + 1;
        let condition = match &before {
            Some(v) => Condition::Unchanged(INCARNATION_KEY.to_vec(), v.revision),
            None => Condition::Absent(INCARNATION_KEY.to_vec()),
        };
        let writes = vec![
            Write::Put(CLUSTER_ID_KEY.to_vec(), cluster_id.clone().into_bytes()),
            Write::Put(INCARNATION_KEY.to_vec(), incarnation.to_le_bytes().to_vec()),
        ];
        meta.transact(vec![condition], writes).await?;
        Ok(Identity { cluster_id, incarnation: LeaderEpoch(incarnation) })
    }
}

/// A UUID as Kafka writes it: URL-safe base64 without padding.
pub fn kafka_id(id: uuid::Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    // 22 digits of 6 bits cover 132 bits: the value is shifted left by 4.
    (0..22)
        .rev()
        .map(|digit| {
            let value = if digit == 0 { (bits << 4) as u8 & 63 } else { (bits >> (digit * 6 - 4)) as u8 & 63 };
            char::from(ALPHABET[usize::from(value)])
        })
        .collect()
}

/// Why the broker cannot be opened.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot open the audit log {path}: {source}; name another file with `audit.file.path`")]
    Audit { path: String, source: std::io::Error },
    #[error(transparent)]
    Metadata(#[from] MetaError),
    #[error(transparent)]
    Storage(#[from] OpenError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error("cannot load the Schema Registry: {0}")]
    Registry(#[from] weir_registry::RegistryError),
    #[error("cannot create {OFFSETS_TOPIC}, {TRANSACTIONS_TOPIC} or {SHARES_TOPIC}: {0}")]
    InternalTopic(#[from] TopicError),
}

/// The broker.
pub struct Broker {
    pub settings: BrokerSettings,
    /// Everything that can be configured, checked, as it was at the start.
    pub config: Config,
    /// What clients changed since, and the configuration in force.
    pub dynamic: DynamicConfigs,
    pub identity: Identity,
    pub meta: Arc<dyn MetadataStore>,
    pub storage: Arc<Storage>,
    pub topics: Arc<Topics>,
    /// Schemas of keys and values; served while the setting `registry.listen` is an address.
    pub registry: Arc<Registry>,
    pub producer_ids: Arc<ProducerIds>,
    pub fetch_sessions: SessionCache,
    /// Projections and predicates in use.
    pub scan_plans: PlanCache,
    /// Rows that scans decoded, for all readers.
    pub scan_rows: Arc<RowCache>,
    /// Columns of rows that no merge has seen yet.
    pub kept_tail: KeptTail,
    /// Rows that logs have no more.
    pub histories: Histories,
    pub groups: Coordinator,
    /// Settings of single groups.
    pub group_configs: Arc<GroupConfigs>,
    /// What share groups have done with their partitions.
    pub shares: Shares,
    pub share_sessions: ShareSessions,
    pub transactions: Transactions,
    /// Writes ends of transactions into partitions.
    pub markers: Arc<LogMarkers>,
    pub metrics: Arc<BrokerMetrics>,
    /// Access control lists; `None` while everybody may do everything.
    pub acls: Option<AclStore>,
    /// Who was refused what, and who changed what.
    pub audit: Audit,
    /// Client quotas, and the rates they bound.
    pub quotas: QuotaStore,
    /// What proves who clients are.
    pub security: Security,
    pub started: Instant,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({})", self.settings.node_id)
    }
}

impl Broker {
    /// Opens the data folder: metadata, a new incarnation, storage, topics. `metadata_cache`: folder of the materialised
    /// metadata; None = in memory. Install the metrics recorder before.
    pub async fn open(
        config: Config,
        disk: Arc<dyn Disk>,
        metadata_cache: Option<PathBuf>,
    ) -> Result<Arc<Broker>, StartError> {
        let started = Instant::now();
        let meta: Arc<dyn MetadataStore> = Arc::new(EmbeddedMetadata::open(disk.clone(), metadata_cache)?);
        let identity = Identity::next(&*meta).await?;
        let dynamic = DynamicConfigs::load(config, meta.clone())?;
        let config = dynamic.now().config.clone();
        let registry = registry::open(meta.clone(), &identity.cluster_id).await?;
        let schemas = Schemas::of(registry.clone());
        let loaded = LoadedTopics::load_with(&*meta, Arc::new(config.topic_defaults.clone()), schemas)?;
        let deleted = |topic| loaded.is_deleted(topic);
        let storage =
            Storage::open(disk, config.storage_config(), identity.incarnation, loaded.specs(), &deleted).await?;
        let scan_rows = RowCache::new(storage.memory());
        let kept_tail = KeptTail::new(storage.memory());
        let histories = Histories::new(config.lake_roots(), storage.cpu().clone(), storage.memory().clone());
        let topics = Topics::new(meta.clone(), storage.clone(), loaded, config.topics.num_partitions);
        let topics = Arc::new(topics.with_lake_roots(config.lake_roots()));
        tokio::spawn(forget_deleted_topics(Arc::downgrade(&topics)));
        registry.set_guard(Arc::new(TableGuard::new(&topics)));
        topics.follow_subjects().await;
        topics.register_views();
        let security = Security::open(&config.security, meta.clone()).await?;
        let offsets = settings::offsets_configs(&config).map_err(TopicError::from)?;
        let offsets = topics.ensure_internal(OFFSETS_TOPIC, config.groups.offsets_partitions, offsets).await?;
        let log = Arc::new(StorageLog::new(storage.clone(), offsets));
        let group_configs = Arc::new(GroupConfigs::load(settings::timing_bounds(&config), meta.clone())?);
        // Weak: topics know the groups, which ask for the topics.
        let seen = Arc::downgrade(&topics);
        let topics_now: TopicsNow = Arc::new(move || seen.upgrade().map(|topics| topics.image()).unwrap_or_default());
        let groups = Coordinator::start(settings::group_settings(&config), log, topics_now, group_configs.clone());
        let producer_ids = Arc::new(ProducerIds::new(meta.clone()));
        let markers = Arc::new(LogMarkers::new(storage.clone(), topics.clone(), groups.clone()));
        let states = settings::transaction_configs(&config).map_err(TopicError::from)?;
        let states = topics.ensure_internal(TRANSACTIONS_TOPIC, config.transactions.state_partitions, states).await?;
        let log = Arc::new(StorageLog::new(storage.clone(), states));
        let epoch = identity.incarnation.0;
        let transactions = Transactions::start(
            settings::transaction_settings(&config),
            log,
            producer_ids.clone(),
            markers.clone(),
            epoch,
        );
        let states = settings::share_configs(&config).map_err(TopicError::from)?;
        let states = topics.ensure_internal(SHARES_TOPIC, config.shares.state_partitions, states).await?;
        let log = Arc::new(StorageLog::new(storage.clone(), states));
        let shares = Shares::start(log, group_configs.clone(), epoch);
        tokio::spawn(forget_states_of_deleted_topics(Arc::downgrade(&topics), shares.clone()));
        topics.keep_offsets_in(Arc::new(groups.clone()));
        let audit = audit_log(&config)?;
        let quotas = QuotaStore::load(meta.clone())?;
        let policy = acl_policy(&config, &security)?;
        let acls = config.authorizes().then(|| AclStore::load(policy, meta.clone())).transpose()?;
        Ok(Arc::new(Broker {
            registry,
            security,
            settings: BrokerSettings::of(&config),
            groups,
            group_configs,
            shares,
            share_sessions: ShareSessions::default(),
            transactions,
            markers,
            identity,
            producer_ids,
            meta,
            storage,
            topics,
            fetch_sessions: SessionCache::new(SessionLimits {
                sessions: config.net.fetch_sessions_max,
                ..SessionLimits::default()
            }),
            scan_plans: PlanCache::default(),
            scan_rows,
            kept_tail,
            histories,
            metrics: BrokerMetrics::new(config.observe.per_topic),
            acls,
            audit,
            quotas,
            config: dynamic.started().clone(),
            dynamic,
            started,
        }))
    }

    /// Makes a change of settings, and lets everything that reads them follow.
    pub async fn change_settings(&self, change: PlannedChange<'_>) -> Result<(), DynamicConfigError> {
        let made = change.make().await?;
        let config = &made.settings.config;
        self.groups.set_settings(settings::group_settings(config));
        self.group_configs.set_bounds(settings::timing_bounds(config));
        self.storage.set_producer_id_expiration(config.storage_config().producer_id_expiration_ms);
        self.topics.set_defaults(Arc::new(config.topic_defaults.clone())).await;
        Ok(())
    }

    /// A connection has ended: what members of share groups had acquired through it goes to others.
    pub fn end_share_sessions(&self, connection: u64) {
        for ended in self.share_sessions.disconnected(connection) {
            let returned = self.shares.end_session(&ended.key, &ended.partitions, false);
            metrics::counter!(crate::metrics::tables::shares::RECORDS_RETURNED.name).increment(returned as u64);
            let (group, member) = (&*ended.key.group, &*ended.key.member);
            tracing::debug!(group, member, returned, "share session ended with its connection");
        }
    }

    /// The budget of all buffers.
    pub fn memory(&self) -> &MemoryBudget {
        self.storage.memory()
    }

    pub fn node_id(&self) -> i32 {
        self.settings.node_id
    }

    pub fn cluster_id(&self) -> &str {
        &self.identity.cluster_id
    }

    /// The epoch of every partition this broker leads, which is all of them.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.identity.incarnation
    }

    /// Milliseconds since the start: monotonic, for timeouts.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Milliseconds since the epoch, for timestamps.
    pub fn wall_clock_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
    }
}

/// How often records of deletions that nobody needs are looked for.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

async fn forget_deleted_topics(topics: Weak<Topics>) {
    loop {
        tokio::time::sleep(FORGET_INTERVAL).await;
        let Some(topics) = topics.upgrade() else { return };
        if let Err(error) = topics.forget_deleted().await {
            tracing::warn!(%error, "records of deleted topics are kept for now");
        }
    }
}

/// Ids are never used again, so what is left meanwhile does no harm.
async fn forget_states_of_deleted_topics(topics: Weak<Topics>, shares: Shares) {
    loop {
        tokio::time::sleep(FORGET_INTERVAL).await;
        let Some(topics) = topics.upgrade() else { return };
        if shares.is_ready()
            && let Err(error) = shares.forget_topics(|id| topics.by_id(id).is_some()).await
        {
            tracing::warn!(%error, "states of share partitions of deleted topics are kept for now");
        }
    }
}

fn audit_log(config: &Config) -> Result<Audit, StartError> {
    let settings = &config.authorization;
    let path = settings.audit_file.trim();
    if path.is_empty() {
        return Ok(Audit::off());
    }
    let opened = Audit::to_file(std::path::Path::new(path), settings.audit_file_max.0);
    opened.map_err(|source| StartError::Audit { path: path.to_owned(), source })
}

fn acl_policy(config: &Config, security: &Security) -> Result<Policy, MetaError> {
    let settings = &config.authorization;
    let mut super_users: HashSet<Principal> = settings.super_users.0.iter().cloned().collect();
    if config.security.init_admin || security.users.admin_was_created()? {
        super_users.insert(Principal::user(ADMIN));
    }
    Ok(Policy { super_users, allow_if_no_acl: settings.allow_if_no_acl })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        // org.apache.kafka.common.Uuid.toString of these values.
        assert_eq!(kafka_id(uuid::Uuid::from_u128(0)), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(kafka_id(uuid::Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(kafka_id(uuid::Uuid::from_u128(u128::MAX)), "_____________________w");
    }
}
