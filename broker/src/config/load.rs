//! Reads the file, the environment and the flags into a [`Config`].
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Config, ConfigProblem, Source, nearest};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The file to read; without one, no file is read.
    pub file: Option<PathBuf>,
    /// (flag, setting, value), in the order given.
    pub flags: Vec<(String, String, String)>,
}

/// Why the configuration cannot be used. Names the place to fix.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {detail}")]
    Syntax {
        /// The file.
        path: String,
        /// Where and what.
        detail: String,
    },
    /// A value that is neither text, number, boolean nor a list of these.
    #[error("{path}: setting `{key}` must be text, a number, true, false, or a list of texts")]
    Shape {
        /// The file.
        path: String,
        /// The setting.
        key: String,
    },
    /// A setting is unknown or its value is wrong.
    #[error("{place}: {problem}")]
    Setting {
        /// File, variable or flag.
        place: String,
        /// What is wrong.
        problem: ConfigProblem,
    },
    /// The settings do not go together.
    #[error(transparent)]
    Unsound(#[from] ConfigProblem),
}

const PREFIX: &str = "WEIR_";

/// Environment variables with our prefix that are not settings.
const OTHER_VARIABLES: &[&str] = &[
    "WEIR_CONFIG",
    "WEIR_BROKERS",
    "WEIR_PASSWORD",
    "WEIR_PROFILE",
    "WEIR_PROFILES",
    "WEIR_REGISTRY",
    "WEIR_TLS_CA",
    "WEIR_USERNAME",
];

/// From this similarity on, an unknown variable is taken for a misspelt setting. Others may be there for other reasons:
/// Kubernetes sets WEIR_SERVICE_HOST and the like for a service that is called weir.
const MISSPELT: f64 = 0.9;

/// Reads everything and checks it.
pub fn load(overrides: &Overrides) -> Result<Config, LoadError> {
    load_from(overrides, &environment())
}

/// `WEIR_*` of the process's environment.
#[allow(clippy::disallowed_methods)] // the one place that reads it
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect()
}

pub(super) fn load_from(overrides: &Overrides, environment: &[(String, String)]) -> Result<Config, LoadError> {
    let mut config = Config::default();
    let named = environment.iter().find(|(name, _)| name == "WEIR_CONFIG").map(|(_, path)| PathBuf::from(path));
    if let Some(path) = overrides.file.clone().or(named) {
        read_file(&mut config, &path)?;
    }
    let keys = config.keys();
    for (name, value) in environment {
        if let Some((removed, fix)) = super::REMOVED.iter().find(|(removed, _)| variable(removed) == *name) {
            let problem = ConfigProblem::Removed { key: (*removed).to_owned(), fix };
            return Err(LoadError::Setting { place: format!("environment variable {name}"), problem });
        }
        if OTHER_VARIABLES.contains(&name.as_str()) {
            continue;
        }
        let refused = |problem| LoadError::Setting { place: format!("environment variable {name}"), problem };
        let Some(key) = keys.iter().find(|key| variable(key) == *name) else {
            let key = name[PREFIX.len()..].to_ascii_lowercase().replace('_', ".");
            match nearest(&key, keys.iter().map(String::as_str)) {
                Some((similarity, near)) if similarity >= MISSPELT => {
                    return Err(refused(ConfigProblem::Unknown { key, nearest: Some(near) }));
                }
                _ => {
                    config.ignored_variables.push(name.clone());
                    continue;
                }
            }
        };
        config.set(key, value, Source::Environment(name.clone())).map_err(refused)?;
    }
    for (flag, key, value) in &overrides.flags {
        config
            .set(key, value, Source::Flag(flag.clone()))
            .map_err(|problem| LoadError::Setting { place: format!("flag {flag}"), problem })?;
    }
    config.validate()?;
    Ok(config)
}

/// The environment variable of a setting: `data.dir` is `WEIR_DATA_DIR`.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace(['.', '-'], "_"))
}

fn read_file(config: &mut Config, path: &Path) -> Result<(), LoadError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: shown.clone(), source })?;
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| LoadError::Syntax { path: shown.clone(), detail: e.to_string() })?;
    let mut flat = Vec::new();
    flatten(String::new(), &table, &mut flat);
    for (key, value) in flat {
        let Some(text) = plain(&value) else { return Err(LoadError::Shape { path: shown, key }) };
        config
            .set(&key, &text, Source::File)
            .map_err(|problem| LoadError::Setting { place: shown.clone(), problem })?;
    }
    Ok(())
}

/// Tables become dotted names, so `[wal] file.bytes` and `wal.file.bytes` are the same.
fn flatten(prefix: String, table: &toml::Table, out: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(key, inner, out),
            other => out.push((key, other.clone())),
        }
    }
}

fn plain(value: &toml::Value) -> Option<String> {
    Some(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Array(items) => items.iter().map(plain).collect::<Option<Vec<_>>>()?.join(","),
        toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}
