//! What a topic asks of the lake: its `weir.lake.*` configs, parsed.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::partitioning::{PartitionSpec, PartitionSpecError};
use crate::store::RootsError;

/// What kind of table a topic becomes (`weir.lake.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Directories of Parquet files, hive-partitioned.
    Parquet,
    /// An Iceberg table of format version 2 in a catalog of files or a REST catalog.
    Iceberg,
    /// A Paimon append table in a catalog of files.
    Paimon,
}

impl Format {
    /// As `weir.lake.format` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Iceberg => "iceberg",
            Format::Paimon => "paimon",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = SettingsError;

    fn from_str(name: &str) -> Result<Format, SettingsError> {
        match name {
            "parquet" => Ok(Format::Parquet),
            "iceberg" => Ok(Format::Iceberg),
            "paimon" => Ok(Format::Paimon),
            _ => Err(SettingsError::Format { name: name.to_owned() }),
        }
    }
}

/// Why a topic's lake configs cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error("`weir.lake.format` is `{name}`; it must be parquet, iceberg or paimon")]
    Format { name: String },
    #[error(
        "`weir.lake.format` is set, but `weir.lake.path` is not; set it to a folder (`/lake`, `file:///lake`) or to a place in S3 (`s3://bucket/lake`)"
    )]
    NoPath,
    #[error("`weir.lake.path` is `{path}`: {reason}")]
    Path { path: String, reason: String },
    #[error(transparent)]
    Roots(Box<RootsError>),
    #[error(
        "`weir.lake.namespace` is `{namespace}`; it must have 1 to 128 of the characters a-z, A-Z, 0-9, `_` and `-`"
    )]
    Namespace { namespace: String },
    #[error("`weir.lake.freshness` is `{text}`; it must be from 1s to 24h, such as 30s or 5m")]
    Freshness { text: String },
    #[error("`weir.lake.partition.by`: {0}")]
    Partitioning(#[from] PartitionSpecError),
    #[error(
        "`weir.primary.key` is set and `weir.lake.format` is `{format}`, which has tables of appended rows only; set \
         `weir.lake.format` to paimon, or delete `weir.primary.key`"
    )]
    KeyFormat { format: Format },
    #[error(
        "`weir.lake.iceberg.catalog` is `rest` and `weir.lake.format` is `{format}`: set `weir.lake.format` to iceberg, or delete \
         `weir.lake.iceberg.catalog`"
    )]
    CatalogFormat { format: Format },
    #[error("`weir.primary.key` names column `{column}` twice")]
    KeyTwice { column: String },
}

impl From<RootsError> for SettingsError {
    fn from(error: RootsError) -> SettingsError {
        SettingsError::Roots(Box::new(error))
    }
}

/// The primary key of a lake table (`weir.primary.key`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// Names of columns, in this order.
    pub columns: Vec<String>,
    /// Buckets of each partition of the table (`weir.lake.paimon.bucket`).
    pub buckets: i32,
}

/// How a topic is tiered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeSettings {
    pub format: Format,
    /// The warehouse: an absolute folder or the URL of an object store.
    pub path: String,
    /// The database of the table, where the format has such a thing.
    pub namespace: String,
    /// A record is in the lake at the latest so long after it was produced, if the broker keeps up.
    pub freshness: Duration,
    pub partition_by: PartitionSpec,
    /// The table has the last row of each key, and not all rows.
    pub key: Option<KeySettings>,
    /// Small files become large ones (`weir.lake.compaction`), in formats that can say so.
    pub compaction: bool,
    /// The table is in the broker's REST catalog (`weir.lake.iceberg.catalog`), and not in one of files.
    pub rest_catalog: bool,
    /// Nothing is written for now (`weir.lake.paused`).
    pub paused: bool,
}

impl LakeSettings {
    /// From the values of the topic configs; `None` if the topic is not tiered (`format` = `none`). It is not paused.
    ///
    /// # Errors
    /// [`SettingsError`], naming the config and what it must be.
    pub fn parse(
        format: &str,
        path: &str,
        namespace: &str,
        freshness: &str,
        partition_by: &str,
    ) -> Result<Option<LakeSettings>, SettingsError> {
        let partition_by = partition_by.parse()?;
        check_namespace(namespace)?;
        let freshness = parse_freshness(freshness)?;
        let path = path.trim();
        if !path.is_empty() {
            crate::store::check_path(path).map_err(|reason| SettingsError::Path { path: path.to_owned(), reason })?;
        }
        if format == "none" {
            return Ok(None);
        }
        if path.is_empty() {
            return Err(SettingsError::NoPath);
        }
        let (format, namespace) = (format.parse()?, namespace.to_owned());
        let path = path.to_owned();
        let (key, compaction, rest_catalog, paused) = (None, true, false, false);
        Ok(Some(LakeSettings {
            format,
            path,
            namespace,
            freshness,
            partition_by,
            key,
            compaction,
            rest_catalog,
            paused,
        }))
    }

    /// In the catalog that `weir.lake.iceberg.catalog` names: `files` or `rest`.
    ///
    /// # Errors
    /// [`SettingsError::CatalogFormat`].
    pub fn in_catalog(mut self, catalog: &str) -> Result<LakeSettings, SettingsError> {
        self.rest_catalog = catalog == "rest";
        if self.rest_catalog && self.format != Format::Iceberg {
            return Err(SettingsError::CatalogFormat { format: self.format });
        }
        Ok(self)
    }

    /// With this primary key; no columns: without.
    ///
    /// # Errors
    /// [`SettingsError::KeyFormat`] or [`SettingsError::KeyTwice`].
    pub fn keyed(mut self, columns: Vec<String>, buckets: i32) -> Result<LakeSettings, SettingsError> {
        if columns.is_empty() {
            return Ok(self);
        }
        if self.format != Format::Paimon {
            return Err(SettingsError::KeyFormat { format: self.format });
        }
        if let Some(twice) = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name)) {
            return Err(SettingsError::KeyTwice { column: twice.1.clone() });
        }
        self.key = Some(KeySettings { columns, buckets });
        Ok(self)
    }
}

const FRESHNESS_MIN: Duration = Duration::from_secs(1);
const FRESHNESS_MAX: Duration = Duration::from_secs(24 * 3600);

fn parse_freshness(text: &str) -> Result<Duration, SettingsError> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let millis = match unit.trim() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = number.trim().parse::<u64>().ok();
    let freshness = number.zip(millis).and_then(|(n, unit)| n.checked_mul(unit)).map(Duration::from_millis);
    freshness
        .filter(|freshness| (FRESHNESS_MIN..=FRESHNESS_MAX).contains(freshness))
        .ok_or_else(|| SettingsError::Freshness { text: text.to_owned() })
}

fn check_namespace(namespace: &str) -> Result<(), SettingsError> {
    let admitted = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=128).contains(&namespace.len()) && namespace.bytes().all(admitted) {
        return Ok(());
    }
    Err(SettingsError::Namespace { namespace: namespace.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_without_a_format_is_not_tiered() {
        assert_eq!(LakeSettings::parse("none", "", "weir", "1m", ""), Ok(None));
    }

    #[test]
    fn freshness_is_a_number_with_a_unit_between_a_second_and_a_day() {
        let good = [("1s", 1), ("1500ms", 1), ("5m", 300), ("24h", 86_400), (" 30 s", 30)];
        for (text, seconds) in good {
            assert_eq!(parse_freshness(text).map(|freshness| freshness.as_secs()), Ok(seconds), "{text}");
        }
        for text in ["", "60", "999ms", "25h", "-5s", "1.5m", "99999999999999999999h", "18446744073709551615h"] {
            assert_eq!(parse_freshness(text), Err(SettingsError::Freshness { text: text.to_owned() }));
        }
    }

    #[test]
    fn only_an_iceberg_table_is_in_a_rest_catalog() {
        let of = |format: &str| LakeSettings::parse(format, "/lake", "weir", "1m", "").unwrap().unwrap();
        assert!(of("iceberg").in_catalog("rest").unwrap().rest_catalog);
        assert!(!of("iceberg").in_catalog("files").unwrap().rest_catalog);
        assert!(!of("paimon").in_catalog("files").unwrap().rest_catalog);
        let error = of("paimon").in_catalog("rest").unwrap_err().to_string();
        assert!(error.contains("weir.lake.iceberg.catalog") && error.contains("`paimon`"), "{error}");
    }

    #[test]
    fn refusals_name_the_config_and_what_it_must_be() {
        let cases: &[(&str, &str, &str, &str, &str)] = &[
            ("parquet", "", "weir", "", "weir.lake.path"),
            ("parquet", "relative/path", "weir", "", "must be absolute"),
            ("parquet", "gopher://x", "weir", "", "gopher"),
            ("parquet", "/lake/../etc", "weir", "", ".."),
            ("orc", "/lake", "weir", "", "it must be parquet"),
            ("parquet", "/lake", "a/b", "", "weir.lake.namespace"),
            ("parquet", "/lake", "weir", "week(at)", "week"),
        ];
        for (format, path, namespace, by, expected) in cases {
            let error = LakeSettings::parse(format, path, namespace, "1m", by).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
