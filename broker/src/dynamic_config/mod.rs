//! Settings that clients change while the broker runs (BROKER config resources, KIP-226): what is set for this broker, and what is
//! set for all brokers, over the configuration that it was started with.
//!
//! Both are entries of the metadata store, durable before a change is answered and in force when it is. The configuration in force
//! is made by the same code that reads the file, so a value that the file would refuse is refused here.
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::MutexGuard;
use weir_storage::meta::{MetaError, MetadataStore, Write};

use crate::config::{Config, ConfigProblem, Source};
use crate::topic_config::{TopicConfigError, TopicConfigs};

mod table;
#[cfg(test)]
mod tests;

pub use table::{ACCEPTED, AcceptedDef, Dynamic, NotDynamic, SETTINGS};

const PREFIX: &str = "broker-config/";

/// What is set: name to value, as it was given.
pub type BrokerOverrides = BTreeMap<String, String>;

/// For whom something is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// This broker.
    Broker,
    /// All brokers, where nothing is set for the single one.
    Cluster,
}

/// Why settings are not changed.
#[derive(Debug, Error)]
pub enum DynamicConfigError {
    #[error(transparent)]
    NotDynamic(#[from] NotDynamic),
    #[error(transparent)]
    Value(#[from] ConfigProblem),
    #[error("setting `{name}`: `{value}` is not {allowed}")]
    Accepted { name: &'static str, value: String, allowed: String },
    #[error("topics without configs of their own would be refused: {0}")]
    Defaults(TopicConfigError),
    #[error("setting `{name}` needs a value")]
    NoValue { name: String },
    #[error("setting `{name}` is not a list: give it a value instead of adding to it or taking from it")]
    NotAList { name: String },
    #[error(transparent)]
    Metadata(#[from] MetaError),
}

/// Everything that is set, and the configuration that follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    broker: BrokerOverrides,
    cluster: BrokerOverrides,
    /// In force.
    pub config: Config,
}

impl Settings {
    /// What is set at one level.
    #[must_use]
    pub fn at(&self, level: Level) -> &BrokerOverrides {
        match level {
            Level::Broker => &self.broker,
            Level::Cluster => &self.cluster,
        }
    }

    /// `started` with these over it.
    fn over(
        started: &Config,
        cluster: BrokerOverrides,
        broker: BrokerOverrides,
    ) -> Result<Settings, DynamicConfigError> {
        let mut config = started.clone();
        let known = started.keys();
        for (name, value) in cluster.iter().chain(&broker) {
            match table::definition(name, &known)? {
                Dynamic::TopicDefault(_) | Dynamic::Setting(_) => config.set(name, value, Source::RunTime)?,
                Dynamic::Accepted(def) if def.allowed.admits(value) => {}
                Dynamic::Accepted(def) => {
                    let allowed = def.allowed.describe();
                    return Err(DynamicConfigError::Accepted { name: def.name, value: value.clone(), allowed });
                }
            }
        }
        config.validate()?;
        let defaults = Arc::new(config.topic_defaults.clone());
        TopicConfigs::default().with_defaults(&defaults).validate().map_err(DynamicConfigError::Defaults)?;
        Ok(Settings { broker, cluster, config })
    }
}

/// The settings of this broker, changeable.
pub struct DynamicConfigs {
    started: Config,
    meta: Arc<dyn MetadataStore>,
    now: ArcSwap<Settings>,
    changes: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for DynamicConfigs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let now = self.now.load();
        write!(f, "DynamicConfigs({} for the broker, {} for all)", now.broker.len(), now.cluster.len())
    }
}

/// A change that was checked and waits to be made. Nothing else changes meanwhile.
pub struct PlannedChange<'a> {
    configs: &'a DynamicConfigs,
    level: Level,
    next: Settings,
    _one_at_a_time: MutexGuard<'a, ()>,
}

impl DynamicConfigs {
    /// What the metadata store knows, over the configuration of the start. What this version or this configuration does not take is
    /// passed over, with a warning: it must not stop the start.
    pub fn load(started: Config, meta: Arc<dyn MetadataStore>) -> Result<DynamicConfigs, MetaError> {
        let stored = |level| -> Result<BrokerOverrides, MetaError> {
            let Some(stored) = meta.get(&key(level, started.node.node_id))? else { return Ok(BrokerOverrides::new()) };
            Ok(serde_json::from_slice(&stored.value).unwrap_or_else(|error| {
                tracing::warn!(?level, %error, "stored settings are ignored");
                BrokerOverrides::new()
            }))
        };
        let mut settings =
            Settings { broker: BrokerOverrides::new(), cluster: BrokerOverrides::new(), config: started.clone() };
        let wanted = [(Level::Cluster, stored(Level::Cluster)?), (Level::Broker, stored(Level::Broker)?)];
        // All at once if they go together, and if not one by one as far as they do.
        let [(_, cluster), (_, broker)] = wanted.clone();
        match Settings::over(&started, cluster, broker) {
            Ok(all) => settings = all,
            Err(_) => {
                for (level, name, value) in
                    wanted.into_iter().flat_map(|(l, set)| set.into_iter().map(move |(n, v)| (l, n, v)))
                {
                    let (mut cluster, mut broker) = (settings.cluster.clone(), settings.broker.clone());
                    match level {
                        Level::Cluster => cluster.insert(name.clone(), value),
                        Level::Broker => broker.insert(name.clone(), value),
                    };
                    match Settings::over(&started, cluster, broker) {
                        Ok(more) => settings = more,
                        Err(error) => tracing::warn!(setting = name, %error, "a stored setting is ignored"),
                    }
                }
            }
        }
        Ok(DynamicConfigs {
            started,
            meta,
            now: ArcSwap::from_pointee(settings),
            changes: tokio::sync::Mutex::default(),
        })
    }

    /// The configuration without what was set at run time.
    #[must_use]
    pub fn started(&self) -> &Config {
        &self.started
    }

    /// What is set, and what is in force.
    #[must_use]
    pub fn now(&self) -> Arc<Settings> {
        self.now.load_full()
    }

    /// Checks what `change` makes of one level; nothing is changed yet.
    pub async fn plan(
        &self,
        level: Level,
        change: impl FnOnce(&Settings) -> Result<BrokerOverrides, DynamicConfigError> + Send,
    ) -> Result<PlannedChange<'_>, DynamicConfigError> {
        let one_at_a_time = self.changes.lock().await;
        let now = self.now();
        let changed = change(&now)?;
        let (cluster, broker) = match level {
            Level::Cluster => (changed, now.broker.clone()),
            Level::Broker => (now.cluster.clone(), changed),
        };
        let next = Settings::over(&self.started, cluster, broker)?;
        Ok(PlannedChange { configs: self, level, next, _one_at_a_time: one_at_a_time })
    }

    /// Refuses names that cannot be changed.
    pub fn check_name(&self, name: &str) -> Result<Dynamic, NotDynamic> {
        table::definition(name, &self.started.keys())
    }
}

/// A change that was made. Nothing else changes while it is kept: until everything follows the new settings.
pub struct MadeChange<'a> {
    /// From now on.
    pub settings: Arc<Settings>,
    _one_at_a_time: MutexGuard<'a, ()>,
}

impl<'a> PlannedChange<'a> {
    /// Makes the change durable, and then the one that [`DynamicConfigs::now`] tells.
    pub async fn make(self) -> Result<MadeChange<'a>, DynamicConfigError> {
        let PlannedChange { configs, level, next, _one_at_a_time } = self;
        let key = key(level, configs.started.node.node_id);
        let set = next.at(level);
        // A map of strings always serialises.
        let value = serde_json::to_vec(set).unwrap_or_default();
        let write = if set.is_empty() { Write::Delete(key) } else { Write::Put(key, value) };
        configs.meta.transact(Vec::new(), vec![write]).await?;
        let settings = Arc::new(next);
        configs.now.store(settings.clone());
        Ok(MadeChange { settings, _one_at_a_time })
    }
}

fn key(level: Level, node_id: i32) -> Vec<u8> {
    match level {
        Level::Broker => format!("{PREFIX}node/{node_id}").into_bytes(),
        Level::Cluster => format!("{PREFIX}default").into_bytes(),
    }
}
