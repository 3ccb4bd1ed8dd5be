//! The broker's configuration: file, environment, flags, in this order; the later wins.
//!
//! Owns names, types, defaults and checks of every setting, and is the only place that reads the environment. Topic
//! settings are a table of their own ([`crate::topic_config`]); their broker-level defaults are set here.
mod authorization;
mod command;
pub(crate) mod declare;
mod docs;
mod listeners;
mod load;
mod security;
mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

pub use authorization::{AuthorizationSettings, AuthorizerMode, Principals};
pub use command::{ConfigCommand, ConfigCommandError, ServeArgs, checked, shown};
pub use declare::{Section, SettingInfo};
pub use docs::render as render_docs;
pub use listeners::{AddressList, HostPort, Listener, NamedAddress};
pub use load::{LoadError, Overrides, load, variable};
pub use security::{HTTP, ListenerSecurity, REGISTRY, SaslSettings};
pub use settings::{
    GroupSettings, MemorySettings, NetSettings, NodeSettings, ObserveSettings, SecuritySettings, ShareSettings,
    StorageSettings, TieringSettings, TopicsSettings, TransactionSettings,
};
pub use values::{
    ByteCount, ClientAuth, DurabilitySetting, Folders, LogFormat, Mechanisms, OptionalAddress, ProtocolMap, Secret,
    SecurityProtocol, SettingValue, TlsVersions, ValueError,
};

use weir_lake_sink::{LakeRoots, RestSettings, S3Address, S3Settings};
use weir_storage::memory::{MemoryBudget, Share};

use crate::topic_config::{TABLE, TopicConfigDef, TopicConfigError, TopicConfigs};

/// The smallest budget of all buffers.
const MEMORY_LIMIT_MIN: ByteCount = ByteCount::mib(16);

/// Settings that are gone, and what to do about them.
const REMOVED: &[(&str, &str)] = &[
    ("memory.requests.bytes", "all buffers share `memory.limit` now; set that, or remove this one"),
    ("memory.responses.bytes", "all buffers share `memory.limit` now; set that, or remove this one"),
    ("memory.write.bytes", "all buffers share `memory.limit` now; set that, or remove this one"),
    ("memory.tail.cache.bytes", "all buffers share `memory.limit` now; set that, or remove this one"),
];

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The configuration file.
    File,
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
    /// A client, while the broker runs ([`crate::dynamic_config`]).
    RunTime,
}

/// Why the configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigProblem {
    /// No such setting.
    #[error("unknown setting `{key}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// What was given.
        key: String,
        /// The nearest that exists.
        nearest: Option<String>,
    },
    /// It was one once.
    #[error("setting `{key}` is gone: {fix}")]
    Removed {
        /// What was given.
        key: String,
        /// What to do.
        fix: &'static str,
    },
    /// The value has the wrong form.
    #[error("setting `{key}`: {error}")]
    Value {
        /// The setting.
        key: String,
        /// What is wrong.
        error: ValueError,
    },
    /// A topic default that topics would refuse.
    #[error("setting `{key}`: {error}")]
    TopicDefault {
        /// The broker's name of the setting.
        key: String,
        /// What is wrong.
        error: Box<TopicConfigError>,
    },
    /// Values that do not go together, or are out of bounds.
    #[error("setting `{key}`: {problem}. {fix}")]
    Unsound {
        /// The setting.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
}

/// All settings of the broker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Who this broker is and where it listens.
    pub node: NodeSettings,
    /// Limits of connections and requests.
    pub net: NetSettings,
    /// TLS and SASL.
    pub security: SecuritySettings,
    /// Settings of single listeners, by their full names (`listener.name.NAME.SETTING`).
    pub listener_settings: BTreeMap<String, String>,
    /// The memory budget.
    pub memory: MemorySettings,
    /// The storage engine.
    pub storage: StorageSettings,
    /// Creation of topics.
    pub topics: TopicsSettings,
    /// Where topics may be tiered to.
    pub tiering: TieringSettings,
    /// Consumer groups.
    pub groups: GroupSettings,
    /// Share groups.
    pub shares: ShareSettings,
    /// Transactions.
    pub transactions: TransactionSettings,
    /// Who may do what.
    pub authorization: AuthorizationSettings,
    /// Logging and metrics.
    pub observe: ObserveSettings,
    /// Defaults of topic settings that were set for this broker, by topic setting name.
    pub topic_defaults: BTreeMap<String, String>,
    /// Environment variables with our prefix that are no settings.
    pub ignored_variables: Vec<String>,
    /// What was set, and where.
    pub sources: BTreeMap<String, Source>,
}

impl Config {
    /// Every setting with its value, in the order of the documentation.
    #[must_use]
    pub fn infos(&self) -> Vec<SettingInfo> {
        let sections = [
            self.node.infos(),
            self.net.infos(),
            self.security.infos(),
            self.memory.infos(),
            self.storage.infos(),
            self.topics.infos(),
            self.tiering.infos(),
            self.groups.infos(),
            self.shares.infos(),
            self.transactions.infos(),
            self.authorization.infos(),
            self.observe.infos(),
        ];
        sections.concat()
    }

    /// Sets one setting by its dotted name.
    pub fn set(&mut self, key: &str, text: &str, source: Source) -> Result<(), ConfigProblem> {
        let result = (self.node.set(key, text))
            .or_else(|| self.net.set(key, text))
            .or_else(|| self.security.set(key, text))
            .or_else(|| self.set_of_listener(key, text))
            .or_else(|| self.memory.set(key, text))
            .or_else(|| self.storage.set(key, text))
            .or_else(|| self.topics.set(key, text))
            .or_else(|| self.tiering.set(key, text))
            .or_else(|| self.groups.set(key, text))
            .or_else(|| self.shares.set(key, text))
            .or_else(|| self.transactions.set(key, text))
            .or_else(|| self.authorization.set(key, text))
            .or_else(|| self.observe.set(key, text));
        match result {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(ConfigProblem::Value { key: key.to_owned(), error }),
            None => self.set_topic_default(key, text)?,
        }
        self.sources.insert(key.to_owned(), source);
        Ok(())
    }

    fn set_topic_default(&mut self, key: &str, text: &str) -> Result<(), ConfigProblem> {
        if let Some((_, fix)) = REMOVED.iter().find(|(removed, _)| *removed == key) {
            return Err(ConfigProblem::Removed { key: key.to_owned(), fix });
        }
        let Some(def) = topic_config_of(key) else {
            let all = self.keys();
            let nearest = nearest(key, all.iter().map(String::as_str)).map(|(_, name)| name);
            return Err(ConfigProblem::Unknown { key: key.to_owned(), nearest });
        };
        TopicConfigs::default()
            .set(def.name, text)
            .map_err(|error| ConfigProblem::TopicDefault { key: key.to_owned(), error: Box::new(error) })?;
        self.topic_defaults.insert(def.name.to_owned(), text.trim().to_owned());
        Ok(())
    }

    /// Every name that [`Config::set`] knows.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let own = self.infos().into_iter().map(|info| info.key.to_owned());
        own.chain(TABLE.iter().filter_map(|def| def.broker_synonym.map(str::to_owned))).collect()
    }

    /// Checks what single values cannot tell.
    pub fn validate(&self) -> Result<(), ConfigProblem> {
        let unsound = |key, problem: &str, fix: &str| {
            Err(ConfigProblem::Unsound { key, problem: problem.to_owned(), fix: fix.to_owned() })
        };
        if self.node.data_dir.trim().is_empty() {
            return unsound("data.dir", "the data folder is empty", "Name a folder, such as ./weir-data");
        }
        if self.node.node_id < 0 {
            return unsound("node.id", "node ids are not negative", "Use 1");
        }
        if self.net.request_max.0 < 1024 || self.net.request_max.0 > i32::MAX as u64 {
            return unsound("socket.request.max.bytes", "out of bounds", "Use 1KiB to 2047MiB");
        }
        if self.memory.limit.0 != 0 && self.memory.limit < MEMORY_LIMIT_MIN {
            let fix = format!("Use {MEMORY_LIMIT_MIN} or more, or 0 for a share of the machine's memory");
            return unsound("memory.limit", "too small to work with", &fix);
        }
        let largest = self.request_max();
        if self.memory.limit.0 != 0 && largest < self.net.request_max {
            let problem = format!("a request may take {largest} of it, and socket.request.max.bytes is larger");
            return unsound("memory.limit", &problem, "Raise it to 8 times socket.request.max.bytes, or lower that");
        }
        let net = &self.net;
        if [net.requests_max, net.max_connections, net.max_connections_per_ip, net.max_connections_per_principal]
            .contains(&0)
        {
            return unsound("max.connections.total", "limits of 0 would refuse everything", "Use 1 or more");
        }
        if self.storage.wal_file.0 < 1 << 20 || self.storage.wal_max.0 < self.storage.wal_file.0.saturating_mul(2) {
            let fix = "Use a wal.file.bytes of 1MiB or more, and at least twice that for wal.max.bytes";
            return unsound("wal.max.bytes", "the write-ahead log needs room for two files", fix);
        }
        if self.storage.wal_throttle.0 != 0 && self.storage.wal_throttle <= self.storage.wal_max {
            let problem = "clients would wait before anything is moved out of the log";
            return unsound("wal.throttle.bytes", problem, "Use more than wal.max.bytes, or 0 for twice that");
        }
        let partitions = 1..=crate::topics::PARTITIONS_MAX;
        let counts = [
            self.topics.num_partitions,
            self.groups.offsets_partitions,
            self.transactions.state_partitions,
            self.shares.state_partitions,
        ];
        if !counts.iter().all(|count| partitions.contains(count)) {
            let fix = format!(
                "Use 1 to {}, for offsets.topic.num.partitions, transaction.state.log.num.partitions and share.coordinator.state.topic.num.partitions too",
                crate::topics::PARTITIONS_MAX
            );
            return unsound("num.partitions", "out of bounds", &fix);
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.tiering.s3_timeout) {
            return unsound("lake.s3.request.timeout", "out of bounds", "Use 100ms to 10min");
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(600)).contains(&self.tiering.rest_timeout) {
            return unsound("lake.iceberg.rest.request.timeout", "out of bounds", "Use 100ms to 10min");
        }
        let urls = [
            ("lake.s3.endpoint", &self.tiering.s3_endpoint),
            ("lake.iceberg.rest.uri", &self.tiering.rest_uri),
            ("lake.iceberg.rest.oauth2.server.uri", &self.tiering.rest_oauth2),
        ];
        for (key, url) in urls.map(|(key, url)| (key, url.trim())) {
            if !url.is_empty() && !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
                return unsound(key, "no URL", "Use http://HOST:PORT or https://HOST:PORT");
            }
        }
        if self.groups.min_session_timeout > self.groups.max_session_timeout {
            let fix = "Keep it below group.max.session.timeout.ms";
            return unsound("group.min.session.timeout.ms", "above the maximum", fix);
        }
        let groups = &self.groups;
        if groups.consumer_max_size == 0 {
            return unsound("group.consumer.max.size", "groups of nobody", "Use 1 or more");
        }
        let session = (groups.consumer_min_session_timeout, groups.consumer_max_session_timeout);
        let interval = (groups.consumer_min_heartbeat_interval, groups.consumer_max_heartbeat_interval);
        if !(session.0..=session.1).contains(&groups.consumer_session_timeout) {
            let fix = "Keep it from group.consumer.min.session.timeout.ms to group.consumer.max.session.timeout.ms";
            return unsound("group.consumer.session.timeout.ms", "out of its own bounds", fix);
        }
        if !(interval.0..=interval.1).contains(&groups.consumer_heartbeat_interval) || interval.0.as_millis() == 0 {
            let fix =
                "Keep it from group.consumer.min.heartbeat.interval.ms to group.consumer.max.heartbeat.interval.ms";
            return unsound("group.consumer.heartbeat.interval.ms", "out of its own bounds", fix);
        }
        if groups.consumer_session_timeout <= groups.consumer_heartbeat_interval {
            let fix = "Keep it below group.consumer.session.timeout.ms";
            return unsound("group.consumer.heartbeat.interval.ms", "members would be out before they heartbeat", fix);
        }
        self.check_share_groups()?;
        self.listeners().map(|_| ())
    }

    fn check_share_groups(&self) -> Result<(), ConfigProblem> {
        let shares = &self.shares;
        let unsound =
            |key, problem: &str, fix: String| Err(ConfigProblem::Unsound { key, problem: problem.to_owned(), fix });
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let bounded = [
            (
                "group.share.session.timeout.ms",
                [shares.session_timeout, shares.min_session_timeout, shares.max_session_timeout].map(millis),
            ),
            (
                "group.share.heartbeat.interval.ms",
                [shares.heartbeat_interval, shares.min_heartbeat_interval, shares.max_heartbeat_interval].map(millis),
            ),
            (
                "group.share.record.lock.duration.ms",
                [shares.lock_duration, shares.min_lock_duration, shares.max_lock_duration].map(millis),
            ),
            (
                "group.share.delivery.count.limit",
                [shares.delivery_limit, shares.min_delivery_limit, shares.max_delivery_limit].map(i64::from),
            ),
            (
                "group.share.partition.max.record.locks",
                [shares.record_locks, shares.min_record_locks, shares.max_record_locks].map(i64::from),
            ),
        ];
        for (key, [value, min, max]) in bounded {
            if !(min..=max).contains(&value) || min <= 0 {
                let name = key.trim_start_matches("group.share.");
                let fix = format!("Keep it from group.share.min.{name} to group.share.max.{name}, and all above 0");
                return unsound(key, "out of its own bounds", fix);
            }
        }
        if shares.session_timeout <= shares.heartbeat_interval {
            let fix = "Keep it below group.share.session.timeout.ms".to_owned();
            return unsound("group.share.heartbeat.interval.ms", "members would be out before they heartbeat", fix);
        }
        if shares.max_size == 0 {
            return unsound("group.share.max.size", "groups of nobody", "Use 1 or more".to_owned());
        }
        Ok(())
    }

    /// The listeners with what is advertised for them.
    pub fn listeners(&self) -> Result<Vec<Listener>, ConfigProblem> {
        let unsound = |key, problem: String, fix: String| Err(ConfigProblem::Unsound { key, problem, fix });
        let (listeners, advertised) = (&self.node.listeners.0, &self.node.advertised_listeners.0);
        if listeners.is_empty() {
            let fix = "Use kafka://127.0.0.1:9092".to_owned();
            return unsound("listeners", "no listener".to_owned(), fix);
        }
        if let Some(stray) = advertised.iter().find(|a| !listeners.iter().any(|l| l.name == a.name)) {
            let fix = format!("Add {}://HOST:PORT to listeners, or name one of them", stray.name);
            return unsound("advertised.listeners", format!("there is no listener named `{}`", stray.name), fix);
        }
        self.check_http_listeners()?;
        let mut resolved = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let bind = listener.address.clone();
            let security = self.security_of(&listener.name)?;
            if !bind.is_loopback() {
                self.refuse_strangers("listeners", &listener.name, &bind.to_string(), bind.port, &security)?;
            }
            let told = advertised.iter().find(|a| a.name == listener.name).map(|a| a.address.clone());
            if let Some(told) = told.as_ref().filter(|told| told.is_unspecified() || told.port == 0) {
                let fix = "Name the host and port that clients connect to".to_owned();
                return unsound("advertised.listeners", format!("clients cannot connect to {told}"), fix);
            }
            resolved.push(Listener { name: listener.name.clone(), bind, advertised: told, security });
        }
        Ok(resolved)
    }

    /// Below which folders topics may be tiered (see the setting `lake.roots`), and how S3 is reached.
    #[must_use]
    pub fn lake_roots(&self) -> LakeRoots {
        let absolute = |folder: &Path| std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let (urls, folders): (Vec<&String>, Vec<&String>) =
            self.tiering.roots.0.iter().partition(|root| S3Address::parse(root).is_some());
        let roots = if !urls.is_empty() || !folders.is_empty() {
            LakeRoots::below(folders.into_iter().map(|folder| absolute(Path::new(folder))))
                .and_urls(urls.into_iter().cloned())
        } else {
            // What is advertised does not matter: who connects there comes through where it listens.
            match self.node.listeners.0.iter().all(|listener| listener.address.is_loopback()) {
                true => LakeRoots::any(),
                false => LakeRoots::below([absolute(&Path::new(&self.node.data_dir).join("lake"))]),
            }
        };
        roots.with_s3(self.s3(std::env::vars_os())).with_rest(self.rest_catalog())
    }

    /// How the Iceberg REST catalog is reached.
    fn rest_catalog(&self) -> RestSettings {
        let text = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let tiering = &self.tiering;
        RestSettings {
            uri: text(&tiering.rest_uri),
            warehouse: text(&tiering.rest_warehouse),
            token: text(&tiering.rest_token.0),
            credential: text(&tiering.rest_credential.0),
            oauth2_server_uri: text(&tiering.rest_oauth2),
            scope: tiering.rest_scope.trim().to_owned(),
            request_timeout: tiering.rest_timeout,
        }
    }

    /// How S3 is reached. Of `variables`, those that Amazon's tools read count where no setting does.
    fn s3(&self, variables: impl Iterator<Item = (OsString, OsString)>) -> S3Settings {
        let text = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let utf8 = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let tiering = &self.tiering;
        S3Settings {
            environment: variables.filter_map(utf8).filter(|(name, _)| name.starts_with("AWS_")).collect(),
            endpoint: text(&tiering.s3_endpoint),
            region: text(&tiering.s3_region),
            access_key_id: text(&tiering.s3_access_key),
            secret_access_key: text(&tiering.s3_secret.0),
            session_token: text(&tiering.s3_token.0),
            path_style: tiering.s3_path_style,
            request_timeout: tiering.s3_timeout,
        }
    }

    /// Whether access control lists decide who may do what. `auto`: once a listener authenticates its clients, HTTP included.
    #[must_use]
    pub fn authorizes(&self) -> bool {
        let authenticates = |name: &str| self.security_of(name).is_ok_and(|security| security.authenticates());
        match self.authorization.authorizer {
            AuthorizerMode::On => true,
            AuthorizerMode::Off => false,
            AuthorizerMode::Auto => {
                let kafka = self.node.listeners.0.iter().map(|listener| listener.name.as_str());
                let registry = self.node.registry_listen.0.map(|_| REGISTRY);
                kafka.chain([HTTP]).chain(registry).any(authenticates)
            }
        }
    }

    /// The budget of all buffers, in bytes.
    #[must_use]
    pub fn memory_limit(&self) -> usize {
        match self.memory.limit {
            ByteCount(0) => {
                let quarter = ByteCount(crate::limits::memory_of_machine().unwrap_or(u64::MAX) / 4);
                quarter.clamp(ByteCount::mib(64), ByteCount::mib(1024)).as_usize()
            }
            limit => limit.as_usize(),
        }
    }

    /// The largest request: it must fit the share of the memory that batches on their way to the disk have.
    #[must_use]
    pub fn request_max(&self) -> ByteCount {
        let share = Share::Writes.limits(self.memory_limit()).max;
        self.net.request_max.min(ByteCount(share as u64))
    }

    /// Settings of the storage engine.
    #[must_use]
    pub fn storage_config(&self) -> weir_storage::log::StorageConfig {
        use weir_storage::log::{Durability, StorageConfig};
        let storage = &self.storage;
        let ms = |duration: std::time::Duration| duration.as_millis() as u64;
        let memory = MemoryBudget::new(self.memory_limit());
        StorageConfig {
            durability: match storage.durability {
                DurabilitySetting::Fsync => Durability::Fsync,
                DurabilitySetting::Os => Durability::Os,
            },
            wal_file_bytes: storage.wal_file.0,
            wal_max_bytes: storage.wal_max.0,
            wal_throttle_bytes: match storage.wal_throttle.0 {
                0 => storage.wal_max.0.saturating_mul(2),
                bytes => bytes,
            },
            wal_max_age_ms: ms(storage.wal_max_age),
            merge_partition_bytes: storage.merge_partition.0,
            columns: Some(std::sync::Arc::new(weir_layout::Format::new(memory.clone()))),
            memory,
            commit_max_bytes: storage.wal_commit_max.0,
            os_sync_interval_ms: ms(storage.os_sync_interval).max(1),
            housekeeping_interval_ms: ms(storage.housekeeping_interval).max(1),
            producer_id_expiration_ms: ms(storage.producer_id_expiration),
            ..StorageConfig::default()
        }
    }
}

/// The topic setting whose default this broker setting is.
fn topic_config_of(key: &str) -> Option<&'static TopicConfigDef> {
    TABLE.iter().find(|def| def.broker_synonym == Some(key))
}

/// The most similar name and how similar it is, if it may be what was meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<(f64, String)> {
    let name = name.to_ascii_lowercase();
    let scored = known.map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate));
    let (similarity, best) = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (similarity > 0.75).then(|| (similarity, best.to_owned()))
}
