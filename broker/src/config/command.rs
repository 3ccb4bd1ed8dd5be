//! The flags of `weir serve`, and `weir config check | show`.
use std::path::PathBuf;

use thiserror::Error;

use super::{Config, LoadError, Overrides, Source, load};

/// Flags that set something; the rest of the settings is reached with `--set`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ServeArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of everything the broker keeps [default: ./weir-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where Kafka clients connect; several as NAME://HOST:PORT,... [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// What clients are told to connect to, where that differs, as NAME://HOST:PORT,...
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Where metrics and health are served [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Where the Schema Registry is served, or off [default: 127.0.0.1:8081]
    #[arg(long, value_name = "HOST:PORT|off")]
    pub registry: Option<String>,
    /// What acks=all waits for: fsync (the device has it) or os (the operating system has it) [default: fsync]
    #[arg(long, value_name = "fsync|os")]
    pub durability: Option<String>,
    /// Allow listeners that other machines can reach without authentication
    #[arg(long)]
    pub insecure: bool,
    /// Create the user `admin` with a random password, which is printed once, if there is no such user
    #[arg(long)]
    pub init_admin: bool,
    /// Any setting, e.g. --set log.retention.ms=86400000 (see `weir config show`); repeat for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as num.partitions=3")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl ServeArgs {
    /// What the flags say, for [`load`].
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        let mut flags: Vec<(String, String, String)> = Vec::new();
        let mut flag = |name: &str, key: &str, value: &Option<String>| {
            flags.extend(value.clone().map(|value| (format!("--{name}"), key.to_owned(), value)));
        };
        flag("data-dir", "data.dir", &self.data_dir);
        flag("listen", "listeners", &self.listen);
        flag("advertise", "advertised.listeners", &self.advertise);
        flag("http", "http.listen", &self.http);
        flag("registry", "registry.listen", &self.registry);
        flag("durability", "durability", &self.durability);
        if self.insecure {
            flag("insecure", "insecure", &Some("true".to_owned()));
        }
        if self.init_admin {
            flag("init-admin", "init.admin", &Some("true".to_owned()));
        }
        let set = self.set.iter().map(|(key, value)| ("--set".to_owned(), key.clone(), value.clone()));
        flags.extend(set);
        Overrides { file: self.config.clone(), flags }
    }

    /// Reads the file, the environment and these flags.
    pub fn load(&self) -> Result<Config, LoadError> {
        load(&self.overrides())
    }
}

/// `weir config ...`
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration that `weir serve` would use with the same flags
    Check(Box<ServeArgs>),
    /// Show every setting, its value and where it was set
    Show(Box<ServeArgs>),
    /// Write the reference of settings, APIs, errors and metrics
    Docs {
        /// Folder to write to
        #[arg(long, value_name = "DIR", default_value = "docs/generated")]
        out: PathBuf,
    },
}

/// Why `weir config` failed.
#[derive(Debug, Error)]
pub enum ConfigCommandError {
    /// The configuration is refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The reference cannot be written.
    #[error("cannot write the documentation to {path}: {source}. Name a folder you may write to with --out")]
    Docs {
        /// The folder.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl ConfigCommand {
    /// Does it; the result is what to print on standard output.
    pub fn run(&self) -> Result<String, ConfigCommandError> {
        match self {
            ConfigCommand::Check(args) => Ok(checked(&args.load()?)),
            ConfigCommand::Show(args) => Ok(shown(&args.load()?)),
            ConfigCommand::Docs { out } => {
                let path = out.display().to_string();
                crate::docs::write(out).map_err(|source| ConfigCommandError::Docs { path: path.clone(), source })?;
                Ok(format!("wrote {path}\n"))
            }
        }
    }
}

/// What `weir config check` prints.
#[must_use]
pub fn checked(config: &Config) -> String {
    let mut out = String::from("configuration is sound\n");
    for variable in &config.ignored_variables {
        out.push_str(&format!("note: environment variable {variable} is not a setting and was ignored\n"));
    }
    out
}

/// What `weir config show` prints: a file that would give the same configuration.
#[must_use]
pub fn shown(config: &Config) -> String {
    let mut out = String::new();
    let mut section = "";
    let origin = |key: &str| match config.sources.get(key) {
        None => "default".to_owned(),
        Some(Source::File) => "file".to_owned(),
        Some(Source::Environment(name)) => name.clone(),
        Some(Source::Flag(name)) => name.clone(),
        Some(Source::RunTime) => "run time".to_owned(),
    };
    for info in config.infos() {
        if info.section != section {
            section = info.section;
            out.push_str(&format!("{}# {section}\n", if out.is_empty() { "" } else { "\n" }));
        }
        out.push_str(&line(info.key, &info.shown, &origin(info.key)));
    }
    out.push_str("\n# Defaults of topic settings\n");
    for def in crate::topic_config::TABLE {
        if let Some(key) = def.broker_synonym {
            let value = config.topic_defaults.get(def.name).map_or(def.default, String::as_str);
            out.push_str(&line(key, value, &origin(key)));
        }
    }
    if !config.listener_settings.is_empty() {
        out.push_str("\n# Settings of single listeners\n");
        config.listener_settings.iter().for_each(|(key, value)| out.push_str(&line(key, value, &origin(key))));
    }
    out
}

fn line(key: &str, value: &str, origin: &str) -> String {
    let setting = format!("{key} = {}", toml::Value::String(value.to_owned()));
    format!("{setting:<60} # {origin}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_check_show_and_document_or_say_why_not() {
        let with = |set: &str| {
            let set = vec![("num.partitions".to_owned(), set.to_owned())];
            Box::new(ServeArgs { set, ..ServeArgs::default() })
        };
        assert!(ConfigCommand::Check(with("3")).run().unwrap().starts_with("configuration is sound"));
        assert!(ConfigCommand::Show(with("3")).run().unwrap().contains("num.partitions = \"3\""));
        assert!(ConfigCommand::Check(with("many")).run().unwrap_err().to_string().contains("num.partitions"));
        let dir = tempfile::tempdir().unwrap();
        ConfigCommand::Docs { out: dir.path().join("new") }.run().unwrap();
        assert!(dir.path().join("new/config.md").exists());
        let not_a_folder = tempfile::NamedTempFile::new().unwrap();
        let error = ConfigCommand::Docs { out: not_a_folder.path().into() }.run().unwrap_err();
        assert!(error.to_string().contains("--out"), "{error}");
    }

    #[test]
    fn shown_configuration_is_a_file_that_gives_the_same() {
        let args = ServeArgs {
            data_dir: Some("/x".to_owned()),
            listen: Some("in://127.0.0.1:0,out://127.0.0.1:1".to_owned()),
            insecure: true,
            set: vec![("log.retention.ms".to_owned(), "9".to_owned()), ("memory.limit".to_owned(), "2GiB".to_owned())],
            ..ServeArgs::default()
        };
        let mut config = crate::config::load::load_from(&args.overrides(), &[]).unwrap();
        let text = shown(&config);
        assert!(
            text.contains("# --data-dir\n") && text.contains("# --set\n") && text.contains("# default\n"),
            "{text}"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shown.toml");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        let file = Overrides { file: Some(path), flags: Vec::new() };
        let mut again = crate::config::load::load_from(&file, &[]).unwrap();
        assert_eq!(again.topic_defaults["retention.ms"], "9");
        again.topic_defaults.clear();
        config.topic_defaults.clear();
        again.sources.clear();
        config.sources.clear();
        assert_eq!(again, config);
    }
}
