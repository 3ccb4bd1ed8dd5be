//! Levels of the process's loggers, changed while it runs (BROKER_LOGGER config resources, KIP-412).
//!
//! A logger is a module path, written with dots since Kafka's tools take no colons (`weir.net` is the module `weir::net`; both are
//! understood): it and what lies below it log at its level, everything else at that of `root`. Levels set here are
//! those of this process and are forgotten when it ends, as in Kafka; `logging.level` is what a start begins with.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// What logs at no level of its own.
pub const ROOT: &str = "root";

/// Kafka's levels (`LogLevelConfig`), and what they are here. Nothing here is worse than an error, so FATAL silences.
const LEVELS: [(&str, &str); 6] =
    [("FATAL", "off"), ("ERROR", "error"), ("WARN", "warn"), ("INFO", "info"), ("DEBUG", "debug"), ("TRACE", "trace")];

/// Loggers that are told to those who ask which ones there are; modules below them can be named too.
const KNOWN: [&str; 16] = [
    "weir",
    "weir.api",
    "weir.dynamic_config",
    "weir.group",
    "weir.net",
    "weir.quota",
    "weir.security",
    "weir.tables",
    "weir.topics",
    "weir.txn",
    "weir_lake_sink",
    "weir_registry",
    "weir_scan",
    "weir_storage",
    "weir_storage.log",
    "weir_storage.wal",
];

/// Levels by logger, as Kafka names them.
type Levels = BTreeMap<String, &'static str>;

/// Why the level of a logger is not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoggerError {
    #[error(
        "logger `{name}` does not exist; loggers are `root` and module paths such as `weir.net` or `weir_storage.wal`"
    )]
    Unknown { name: String },
    #[error("`{value}` is no level of a logger; the levels are FATAL, ERROR, WARN, INFO, DEBUG and TRACE")]
    NoLevel { value: String },
    #[error("the level of `root` cannot be removed; set it to another one")]
    RootStays,
    #[error(
        "a logger has one level: it is set or deleted, nothing is appended to it or subtracted from it, and levels are not replaced as a whole"
    )]
    OnlySetOrDelete,
    #[error("the process does not take the levels: {reason}")]
    Refused { reason: String },
}

/// A change of one logger: its level, or back to what is above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelChange {
    pub logger: String,
    /// `None` takes the level away.
    pub level: Option<String>,
}

/// Gives the levels to the subscriber.
type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The loggers of one process.
pub struct Loggers {
    levels: Mutex<Levels>,
    apply: Apply,
}

static INSTALLED: OnceLock<Loggers> = OnceLock::new();

/// The process's loggers, once logging has begun.
pub fn installed() -> Option<&'static Loggers> {
    INSTALLED.get()
}

/// Makes the levels changeable; `apply` gives a filter to the subscriber. Only the first call counts, as there is one subscriber.
pub fn install(directives: &str, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) {
    let _ = INSTALLED.set(Loggers::new(directives, apply));
}

impl Loggers {
    /// `directives` as in `logging.level`: `info`, or `info,weir::net=debug`.
    pub fn new(directives: &str, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) -> Loggers {
        let mut levels = Levels::from([(ROOT.to_owned(), "ERROR")]);
        for directive in directives.split(',').map(str::trim) {
            let (logger, level) = directive.split_once('=').unwrap_or((ROOT, directive));
            // What is no plain level of a module (a span's filter) stays out of what can be changed here.
            if let Some(level) = kafka_level(level) {
                levels.insert(dotted(logger), level);
            }
        }
        Loggers { levels: Mutex::new(levels), apply: Box::new(apply) }
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each logger with the level that it logs at, `root` first.
    pub fn describe(&self) -> Vec<(String, &'static str)> {
        let levels = self.levels();
        let mut names: Vec<&str> =
            levels.keys().map(String::as_str).chain(KNOWN).filter(|name| *name != ROOT).collect();
        names.sort_unstable();
        names.dedup();
        std::iter::once(ROOT).chain(names).map(|name| (name.to_owned(), effective(&levels, name))).collect()
    }

    /// Makes all changes or none.
    ///
    /// # Errors
    /// A logger or level that does not exist, `root` without a level, a subscriber that is gone.
    pub fn alter(&self, changes: &[LevelChange], validate_only: bool) -> Result<(), LoggerError> {
        let mut levels = self.levels();
        let mut next = levels.clone();
        for LevelChange { logger, level } in changes {
            let logger = &dotted(logger);
            check_name(&levels, logger)?;
            match level {
                Some(value) => {
                    let level = LEVELS.iter().find(|(kafka, _)| kafka == value).map(|(kafka, _)| *kafka);
                    let level = level.ok_or_else(|| LoggerError::NoLevel { value: value.clone() })?;
                    next.insert(logger.clone(), level);
                }
                None if logger == ROOT => return Err(LoggerError::RootStays),
                None => drop(next.remove(logger)),
            }
        }
        if !validate_only {
            let refused = |reason: String| LoggerError::Refused { reason };
            let filter = EnvFilter::try_new(directives(&next)).map_err(|error| refused(error.to_string()))?;
            (self.apply)(filter).map_err(refused)?;
            *levels = next;
        }
        Ok(())
    }
}

/// A module path as the name of a logger.
fn dotted(module: &str) -> String {
    module.replace("::", ".")
}

/// Kafka's name of one of our levels.
fn kafka_level(ours: &str) -> Option<&'static str> {
    LEVELS.iter().find(|(_, level)| level.eq_ignore_ascii_case(ours)).map(|(kafka, _)| *kafka)
}

/// The level of the nearest module above it that has one.
fn effective(levels: &Levels, name: &str) -> &'static str {
    let mut at = Some(name);
    while let Some(module) = at {
        if let Some(level) = levels.get(module) {
            return level;
        }
        at = module.rsplit_once('.').map(|(above, _)| above);
    }
    levels.get(ROOT).copied().unwrap_or("ERROR")
}

fn check_name(levels: &Levels, name: &str) -> Result<(), LoggerError> {
    let below_known = || {
        let mut parts = name.split('.');
        let of_ours = parts.next().is_some_and(|first| KNOWN.contains(&first));
        let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        of_ours && name.len() <= 200 && parts.all(is_word)
    };
    let known = name == ROOT || levels.contains_key(name) || below_known();
    if known { Ok(()) } else { Err(LoggerError::Unknown { name: name.chars().take(200).collect() }) }
}

/// The text of a filter with these levels.
fn directives(levels: &Levels) -> String {
    let ours = |kafka: &str| LEVELS.iter().find(|(name, _)| *name == kafka).map_or("error", |(_, level)| level);
    let each = levels.iter().map(|(name, level)| match name.as_str() {
        ROOT => ours(level).to_owned(),
        logger => format!("{}={}", logger.replace('.', "::"), ours(level)),
    });
    each.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn set(logger: &str, level: &str) -> LevelChange {
        LevelChange { logger: logger.to_owned(), level: Some(level.to_owned()) }
    }

    fn delete(logger: &str) -> LevelChange {
        LevelChange { logger: logger.to_owned(), level: None }
    }

    /// The loggers and the last filter that their subscriber got.
    fn loggers(directives: &str) -> (Loggers, Arc<Mutex<String>>) {
        let given = Arc::new(Mutex::new(String::new()));
        let sink = given.clone();
        let apply = move |filter: EnvFilter| {
            *sink.lock().unwrap() = filter.to_string();
            Ok(())
        };
        (Loggers::new(directives, apply), given)
    }

    fn level_of(loggers: &Loggers, name: &str) -> &'static str {
        loggers.describe().into_iter().find(|(logger, _)| logger == name).unwrap().1
    }

    #[test]
    fn a_logger_has_its_own_level_or_that_of_what_is_above_it() {
        let (loggers, filter) = loggers("warn,weir::net=debug");
        assert_eq!(loggers.describe()[0], ("root".to_owned(), "WARN"));
        assert_eq!((level_of(&loggers, "weir.net"), level_of(&loggers, "weir.api")), ("DEBUG", "WARN"));

        loggers.alter(&[set("weir", "TRACE"), set("root", "ERROR")], false).unwrap();
        assert_eq!((level_of(&loggers, "weir.api"), level_of(&loggers, "weir_storage")), ("TRACE", "ERROR"));
        for directive in ["error", "weir=trace", "weir::net=debug"] {
            assert!(filter.lock().unwrap().split(',').any(|part| part == directive), "{directive}");
        }

        loggers.alter(&[delete("weir::net"), delete("weir")], false).unwrap();
        assert_eq!(level_of(&loggers, "weir.net"), "ERROR");
        assert_eq!(*filter.lock().unwrap(), "error");
    }

    #[test]
    fn what_does_not_exist_is_refused_and_nothing_changes() {
        let (loggers, filter) = loggers("info");
        let before = loggers.describe();
        for (change, told) in [
            (set("weird", "INFO"), "`weird` does not exist"),
            (set("kafka.server.KafkaApis", "INFO"), "does not exist"),
            (set("weir::net=trace,hyper", "INFO"), "does not exist"),
            (set("weir.", "INFO"), "does not exist"),
            (set("weir", "LOUD"), "the levels are FATAL"),
            (set("weir", "debug"), "the levels are FATAL"),
            (delete("root"), "cannot be removed"),
        ] {
            let error = loggers.alter(&[set("weir.txn", "DEBUG"), change], false).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
        loggers.alter(&[set("weir.group::consumer", "DEBUG")], true).unwrap();
        assert_eq!(loggers.describe(), before);
        assert_eq!(*filter.lock().unwrap(), "", "no filter was made");
    }
}
