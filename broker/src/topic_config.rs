//! Topic configs: one table that answers DescribeConfigs, AlterConfigs, CreateTopics and docs/generated/config.md.
//!
//! Names and defaults are Kafka's where Kafka has them; ours begin with `weir.`.
use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use weir_lake_sink::{LakeSettings, SettingsError};
use weir_protocol::records::Compression;
use weir_storage::log::{CleanupPolicy, Gate, Layout, LogConfig};

use crate::lake::PrimaryKeyError;
use crate::tables::TableSettings;
use crate::views::ViewSettings;

mod layout;
mod table;
#[cfg(test)]
mod tests;

pub use layout::LayoutSettings;
pub use table::{TABLE, TopicConfigDef};

/// Characters of a refused value in its error.
const SHOWN_MAX: usize = 200;

/// Type of a config as DescribeConfigs numbers it (KIP-569).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
    /// Nobody is told the value.
    Password = 9,
}

/// What values a config takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    Bool,
    /// Inclusive.
    Int(i64, i64),
    Long(i64, i64),
    Ratio,
    OneOf(&'static [&'static str]),
    /// Comma-separated, each of these.
    ListOf(&'static [&'static str]),
    AnyList,
    /// Any text of at most so many bytes.
    Text(usize),
}

impl Allowed {
    pub fn kind(&self) -> ConfigKind {
        match self {
            Allowed::Bool => ConfigKind::Boolean,
            Allowed::Int(..) => ConfigKind::Int,
            Allowed::Long(..) => ConfigKind::Long,
            Allowed::Ratio => ConfigKind::Double,
            Allowed::OneOf(_) | Allowed::Text(_) => ConfigKind::String,
            Allowed::ListOf(_) | Allowed::AnyList => ConfigKind::List,
        }
    }

    /// For messages and documentation.
    pub fn describe(&self) -> String {
        match self {
            Allowed::Bool => "true or false".to_owned(),
            Allowed::Int(min, max) | Allowed::Long(min, max) => match (*max == i64::MAX, *max == i64::from(i32::MAX)) {
                (false, false) => format!("an integer from {min} to {max}"),
                _ => format!("an integer of at least {min}"),
            },
            Allowed::Ratio => "a number from 0 to 1".to_owned(),
            Allowed::OneOf(names) => format!("one of {}", names.join(", ")),
            Allowed::ListOf(names) => format!("a comma-separated list of {}", names.join(", ")),
            Allowed::AnyList => "a comma-separated list".to_owned(),
            Allowed::Text(max) => format!("a text of at most {max} bytes"),
        }
    }

    pub(crate) fn admits(&self, value: &str) -> bool {
        match self {
            Allowed::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Allowed::Int(min, max) | Allowed::Long(min, max) => {
                value.trim().parse::<i64>().is_ok_and(|v| (*min..=*max).contains(&v))
            }
            Allowed::Ratio => value.trim().parse::<f64>().is_ok_and(|v| (0.0..=1.0).contains(&v)),
            Allowed::OneOf(names) => names.contains(&value),
            Allowed::ListOf(names) => items(value).all(|item| names.contains(&item)) && items(value).next().is_some(),
            Allowed::AnyList => true,
            Allowed::Text(max) => value.len() <= *max,
        }
    }
}

pub(crate) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Why a config is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicConfigError {
    #[error("unknown topic config `{name}`{}", nearest.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<&'static str> },
    #[error("invalid value `{value}` for topic config `{name}`: it must be {allowed}")]
    Invalid { name: &'static str, value: String, allowed: String },
    #[error("topic config `{name}` needs a value")]
    NoValue { name: String },
    #[error("topic config `{name}` is not a list: values cannot be appended to or subtracted from it")]
    NotAList { name: &'static str },
    #[error("topic config `{name}` cannot be set: {reason}")]
    NotSupported { name: &'static str, reason: &'static str },
    #[error("`min.compaction.lag.ms` ({min}) is larger than `max.compaction.lag.ms` ({max})")]
    LagOrder { min: u64, max: u64 },
    #[error(transparent)]
    Lake(#[from] SettingsError),
    #[error(transparent)]
    PrimaryKey(#[from] PrimaryKeyError),
    #[error("topic config `{name}` needs `weir.view.source`: the topic whose rows the view shows")]
    NoViewSource { name: &'static str },
    #[error("topic config `{name}` cannot be set on a view: it shows the rows of `{source_name}`, set it there")]
    OnView { name: String, source_name: String },
}

/// Defaults that the broker's configuration sets for its topics, by topic config name.
pub type TopicDefaults = Arc<BTreeMap<String, String>>;

/// The configs of one topic: what was set on it. Everything else has the broker's default, or the built-in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicConfigs {
    overrides: BTreeMap<String, String>,
    inherited: TopicDefaults,
}

/// One entry of DescribeConfigs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConfig {
    pub definition: &'static TopicConfigDef,
    pub value: String,
    /// Set on the topic, as opposed to the default.
    pub overridden: bool,
    /// The default that the broker's configuration sets, if it sets one.
    pub inherited: Option<String>,
}

/// What the broker itself needs of a topic's configs, resolved; the log's part is in `log`.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSettings {
    pub log: Arc<LogConfig>,
    pub max_message_bytes: usize,
    /// `compression.type` with its level; `None` = whatever the producer chose.
    pub compression: Option<(Compression, Option<i32>)>,
    pub compacted: bool,
    pub log_append_time: bool,
    /// `None` = unlimited.
    pub timestamp_before_max_ms: Option<i64>,
    pub timestamp_after_max_ms: Option<i64>,
    pub min_insync_replicas: i32,
    /// What makes the topic a table, if anything does.
    pub table: TableSettings,
    /// How the topic is tiered into a lake table, if it is.
    pub lake: Option<LakeSettings>,
    /// The lake table of a typed topic has the records too, as they were produced.
    pub lake_raw: bool,
    /// What is older than the log is read from the lake table.
    pub history: bool,
    pub layout: LayoutSettings,
    /// What makes the topic a view, if it is one.
    pub view: Option<ViewSettings>,
}

/// The definition of a config, or the error that names the nearest one.
pub fn definition(name: &str) -> Result<&'static TopicConfigDef, TopicConfigError> {
    if let Some(found) = TABLE.iter().find(|d| d.name == name) {
        return Ok(found);
    }
    let nearest = TABLE
        .iter()
        .map(|d| (strsim::jaro_winkler(d.name, name), d.name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.8)
        .map(|(_, name)| name);
    Err(TopicConfigError::Unknown { name: name.to_owned(), nearest })
}

impl TopicConfigs {
    /// From pairs as a request or the metadata store has them; a null value is an error.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<TopicConfigs, TopicConfigError> {
        let mut configs = TopicConfigs::default();
        for (name, value) in pairs {
            let value = value.ok_or_else(|| TopicConfigError::NoValue { name: name.to_owned() })?;
            configs.set(name, value)?;
        }
        configs.validate()?;
        Ok(configs)
    }

    pub fn set(&mut self, name: &str, value: &str) -> Result<(), TopicConfigError> {
        let definition = definition(name)?;
        if !definition.allowed.admits(value) {
            let allowed = definition.allowed.describe();
            let value = value.chars().take(SHOWN_MAX).collect();
            return Err(TopicConfigError::Invalid { name: definition.name, value, allowed });
        }
        if let Some((unsupported, reason)) = definition.unsupported
            && value.eq_ignore_ascii_case(unsupported)
        {
            return Err(TopicConfigError::NotSupported { name: definition.name, reason });
        }
        self.overrides.insert(name.to_owned(), value.trim().to_owned());
        Ok(())
    }

    /// Back to the default.
    pub fn delete(&mut self, name: &str) -> Result<(), TopicConfigError> {
        definition(name)?;
        self.overrides.remove(name);
        Ok(())
    }

    /// IncrementalAlterConfigs APPEND: adds to a list.
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), TopicConfigError> {
        let mut list = self.list(name)?;
        for item in items(value) {
            if !list.iter().any(|present| present == item) {
                list.push(item.to_owned());
            }
        }
        self.set(name, &list.join(","))
    }

    /// IncrementalAlterConfigs SUBTRACT: takes from a list.
    pub fn subtract(&mut self, name: &str, value: &str) -> Result<(), TopicConfigError> {
        let mut list = self.list(name)?;
        list.retain(|present| items(value).all(|item| item != present));
        self.set(name, &list.join(","))
    }

    fn list(&self, name: &str) -> Result<Vec<String>, TopicConfigError> {
        let definition = definition(name)?;
        if definition.allowed.kind() != ConfigKind::List {
            return Err(TopicConfigError::NotAList { name: definition.name });
        }
        Ok(items(self.value(definition)).map(str::to_owned).collect())
    }

    /// Checks between configs.
    pub fn validate(&self) -> Result<(), TopicConfigError> {
        let settings = self.resolve();
        self.lake()?;
        self.check_view(settings.view.as_ref())?;
        match settings.log.max_compaction_lag_ms {
            Some(max) if settings.log.min_compaction_lag_ms > max => {
                Err(TopicConfigError::LagOrder { min: settings.log.min_compaction_lag_ms, max })
            }
            _ => Ok(()),
        }
    }

    /// A view has no settings of rows and none of storage.
    fn check_view(&self, view: Option<&ViewSettings>) -> Result<(), TopicConfigError> {
        match view {
            None => match ["weir.view.select", "weir.view.where"].iter().find(|name| !self.get(name).is_empty()) {
                Some(name) => Err(TopicConfigError::NoViewSource { name }),
                None => Ok(()),
            },
            Some(view) => {
                let foreign = |name: &&str| name.starts_with("weir.") && !name.starts_with("weir.view.");
                match self.overrides().map(|(name, _)| name).find(foreign) {
                    Some(name) => {
                        let (name, source_name) = (name.to_owned(), view.source.clone());
                        Err(TopicConfigError::OnView { name, source_name })
                    }
                    None => Ok(()),
                }
            }
        }
    }

    pub fn overrides(&self) -> impl Iterator<Item = (&str, &str)> {
        self.overrides.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// What is not set on the topic comes from here.
    #[must_use]
    pub fn with_defaults(mut self, defaults: &TopicDefaults) -> TopicConfigs {
        self.inherited = defaults.clone();
        self
    }

    fn value(&self, definition: &TopicConfigDef) -> &str {
        let set = self.overrides.get(definition.name).or_else(|| self.inherited.get(definition.name));
        set.map_or(definition.default, String::as_str)
    }

    /// Every config with its value, in the order of the table.
    pub fn describe(&self) -> Vec<DescribedConfig> {
        TABLE
            .iter()
            .map(|definition| DescribedConfig {
                definition,
                value: self.value(definition).to_owned(),
                overridden: self.overrides.contains_key(definition.name),
                inherited: self.inherited.get(definition.name).cloned(),
            })
            .collect()
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        definition(name).map_or("", |d| self.value(d))
    }

    fn long(&self, name: &str) -> i64 {
        self.get(name).parse().unwrap_or(-1) // admitted values parse
    }

    /// -1 and absurdly large values mean unlimited.
    fn limit(&self, name: &str) -> Option<u64> {
        let value = self.long(name);
        (value >= 0 && value != i64::MAX).then_some(value as u64)
    }

    fn lake(&self) -> Result<Option<LakeSettings>, SettingsError> {
        let [format, path, namespace] =
            ["weir.lake.format", "weir.lake.path", "weir.lake.namespace"].map(|n| self.get(n));
        let (freshness, partition_by) = (self.get("weir.lake.freshness"), self.get("weir.lake.partition.by"));
        let paused = self.flag("weir.lake.paused");
        let settings = LakeSettings::parse(format, path, namespace, freshness, partition_by)?;
        let compaction = self.flag("weir.lake.compaction");
        let key = items(self.get("weir.primary.key")).map(str::to_owned).collect::<Vec<_>>();
        let buckets = self.long("weir.lake.paimon.bucket") as i32;
        let catalog = self.get("weir.lake.iceberg.catalog");
        let settings = settings.map(|settings| LakeSettings { paused, compaction, ..settings }.keyed(key, buckets));
        settings.transpose()?.map(|settings| settings.in_catalog(catalog)).transpose()
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).eq_ignore_ascii_case("true")
    }

    /// Whether retention waits for the lake table. Without one there is nobody to wait for.
    fn gate(&self, tiered: bool) -> Option<Gate> {
        let wanted = tiered && self.flag("weir.lake.gate.retention");
        wanted.then(|| Gate { max_bytes: self.limit("weir.lake.gate.max.bytes") })
    }

    pub fn resolve(&self) -> TopicSettings {
        let policy = self.get("cleanup.policy");
        let cleanup = CleanupPolicy {
            delete: items(policy).any(|p| p == "delete"),
            compact: items(policy).any(|p| p == "compact"),
        };
        let log_append_time = self.get("message.timestamp.type") == "LogAppendTime";
        let view = ViewSettings::of(self);
        let is_view = view.is_some();
        // What does not parse was refused when it was set.
        let lake = self.lake().unwrap_or_default().filter(|_| !is_view);
        let log = LogConfig {
            cleanup,
            retention_ms: self.limit("retention.ms"),
            retention_bytes: self.limit("retention.bytes"),
            gate: self.gate(lake.is_some()),
            segment_bytes: self.long("segment.bytes").max(1) as u64,
            segment_ms: self.long("segment.ms").max(1) as u64,
            delete_retention_ms: self.long("delete.retention.ms").max(0) as u64,
            min_compaction_lag_ms: self.long("min.compaction.lag.ms").max(0) as u64,
            max_compaction_lag_ms: self.limit("max.compaction.lag.ms"),
            min_cleanable_dirty_ratio: self.get("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            log_append_time,
            layout: Layout::Row,
        };
        let level = |name: &str| Some(self.long(name) as i32);
        let compression = match self.get("compression.type") {
            "uncompressed" => Some((Compression::None, None)),
            "gzip" => Some((Compression::Gzip, level("compression.gzip.level").filter(|l| *l > 0))),
            "snappy" => Some((Compression::Snappy, None)),
            "lz4" => Some((Compression::Lz4, level("compression.lz4.level"))),
            "zstd" => Some((Compression::Zstd, level("compression.zstd.level"))),
            _ => None,
        };
        let table = match is_view {
            // Defaults of the broker are for topics with rows of their own.
            true => TableSettings::of(&TopicConfigs::default(), false),
            false => TableSettings::of(self, cleanup.compact),
        };
        TopicSettings {
            view,
            compacted: cleanup.compact,
            log_append_time,
            log: Arc::new(log),
            max_message_bytes: self.long("max.message.bytes").max(0) as usize,
            compression,
            timestamp_before_max_ms: self.limit("message.timestamp.before.max.ms").map(|v| v as i64),
            timestamp_after_max_ms: self.limit("message.timestamp.after.max.ms").map(|v| v as i64),
            min_insync_replicas: self.long("min.insync.replicas") as i32,
            layout: LayoutSettings::of(self, cleanup.compact, table.is_typed()),
            table,
            // A table with a key has no row for each record.
            history: lake.is_some() && self.flag("weir.lake.history.reads") && self.get("weir.primary.key").is_empty(),
            lake_raw: self.flag("weir.lake.columns.raw"),
            lake,
        }
    }
}
