//! `weir profile`: brokers and settings under a name, in a TOML file of the user's config folder.
//!
//! ```toml
//! current = "staging"
//!
//! [profiles.staging]
//! brokers = "broker-1:9092,broker-2:9092"
//! timeout = "10s"
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::output::{Format, OutputArgs, print_list};
use super::{CliError, Context, GlobalArgs, args, note, security};

/// Flags of `profile`.
#[derive(Debug, clap::Args)]
pub struct ProfileArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ProfileCommand {
    /// List profiles
    #[command(visible_alias = "ls")]
    List,
    /// Save --brokers, --timeout and the flags of TLS and authentication under a name, and use it from now on
    Set {
        /// Name of the profile
        name: String,
    },
    /// Use a profile from now on
    Use {
        /// Name of the profile
        name: String,
    },
    /// Delete a profile
    #[command(visible_alias = "rm")]
    Delete {
        /// Name of the profile
        name: String,
    },
}

/// Settings under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// As for --brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) brokers: Option<String>,
    /// As for --timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<String>,
    /// As for --tls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<bool>,
    /// As for --tls-ca.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// As for --tls-cert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// As for --tls-key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// As for --username.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// As for --password-file. The password itself is kept in no profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// As for --sasl-mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sasl_mechanism: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// The profile file and where it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Profiles {
    /// None if no folder is known to keep it in.
    path: Option<PathBuf>,
    file: ProfileFile,
}

impl Profiles {
    /// Reads the file; one that does not exist is empty.
    pub(crate) fn load(globals: &GlobalArgs) -> Result<Self, CliError> {
        let in_config_folder = |folder: PathBuf| folder.join("weir").join("profiles.toml");
        let set = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let path = set(&globals.profiles)
            .or_else(|| set(&globals.xdg_config_home).map(in_config_folder))
            .or_else(|| set(&globals.home).map(|home| in_config_folder(home.join(".config"))));
        let Some(path) = path else { return Ok(Self::default()) };
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| CliError::ProfileFile {
                path: path.display().to_string(),
                reason: error.message().to_owned(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => ProfileFile::default(),
            Err(error) => return Err(CliError::io(format!("reading {}", path.display()))(error)),
        };
        Ok(Self { path: Some(path), file })
    }

    /// The profile with this name, or the current one, or none if there is none.
    pub(crate) fn selected(&self, name: Option<&str>) -> Result<Option<&Profile>, CliError> {
        match name.or(self.file.current.as_deref()) {
            None => Ok(None),
            Some(name) => self.get(name).map(Some),
        }
    }

    fn get(&self, name: &str) -> Result<&Profile, CliError> {
        self.file.profiles.get(name).ok_or_else(|| {
            let known: Vec<_> = self.file.profiles.keys().map(String::as_str).collect();
            CliError::Invalid {
                setting: "--profile",
                value: name.to_owned(),
                reason: "does not exist".into(),
                fix: match known.is_empty() {
                    true => "make it with `weir profile set NAME --brokers HOST:PORT`".into(),
                    false => format!("there are: {}", known.join(", ")),
                },
            }
        })
    }

    fn save(&self) -> Result<(), CliError> {
        let Some(path) = &self.path else {
            return Err(CliError::Invalid {
                setting: "--profiles",
                value: String::new(),
                reason: "is not given, and neither HOME nor XDG_CONFIG_HOME says where profiles are kept".into(),
                fix: "name the file with --profiles FILE".into(),
            });
        };
        let text = toml::to_string_pretty(&self.file)
            .map_err(|error| CliError::ProfileFile { path: path.display().to_string(), reason: error.to_string() })?;
        write_whole(path, &text).map_err(CliError::io(format!("writing {}", path.display())))
    }
}

/// Replaces the file in one step, so that a crash leaves the old or the new one.
#[allow(clippy::disallowed_methods, reason = "the user's own file on the user's machine, not the broker's data")]
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let temporary = path.with_extension("toml.new");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

pub(crate) fn run(context: &mut Context, args: ProfileArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match args.command {
        ProfileCommand::List => list(&context.profiles, args.output.output, out),
        ProfileCommand::Set { name } => set(context, name),
        ProfileCommand::Use { name } => {
            context.profiles.get(&name)?;
            context.profiles.file.current = Some(name);
            context.profiles.save()
        }
        ProfileCommand::Delete { name } => {
            context.profiles.get(&name)?;
            let file = &mut context.profiles.file;
            file.profiles.remove(&name);
            file.current = file.current.take().filter(|current| *current != name);
            context.profiles.save()
        }
    }
}

fn set(context: &mut Context, name: String) -> Result<(), CliError> {
    let globals = &context.globals;
    if globals.brokers.is_none() && globals.timeout.is_none() && !security::is_given(globals) {
        return Err(CliError::Invalid {
            setting: "profile set",
            value: name,
            reason: "is given no settings".into(),
            fix: "add --brokers HOST:PORT,..., --timeout 10s, --tls-ca FILE or --username NAME".into(),
        });
    }
    let profile = context.profiles.file.profiles.entry(name.clone()).or_default();
    if let Some(brokers) = &globals.brokers {
        // Checked when the context was made.
        profile.brokers = Some(brokers.clone());
    }
    if let Some(timeout) = globals.timeout {
        profile.timeout = Some(format!("{}ms", timeout.as_millis()));
    }
    security::remember(globals, profile);
    context.profiles.file.current = Some(name.clone());
    context.profiles.save()?;
    note(&format!("using profile `{name}` from now on"));
    Ok(())
}

fn list(profiles: &Profiles, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let current = profiles.file.current.as_deref();
    let items: Vec<_> = profiles
        .file
        .profiles
        .iter()
        .map(|(name, profile)| {
            let timeout = profile.timeout.as_deref().filter(|text| args::parse_duration(text).is_ok());
            json!({
                "profile": name,
                "current": if current == Some(name) { "yes" } else { "" },
                "brokers": profile.brokers,
                "timeout": timeout,
            })
        })
        .collect();
    if items.is_empty() && format == Format::Table {
        note("no profiles; make one with `weir profile set NAME --brokers HOST:PORT`");
    }
    print_list(
        out,
        format,
        &[("profile", "PROFILE"), ("current", "CURRENT"), ("brokers", "BROKERS"), ("timeout", "TIMEOUT")],
        &items,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globals(path: &Path) -> GlobalArgs {
        GlobalArgs { profiles: Some(path.to_owned()), ..GlobalArgs::default() }
    }

    #[test]
    fn profiles_survive_saving_and_the_current_one_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("profiles.toml");
        let mut profiles = Profiles::load(&globals(&path)).unwrap();
        assert_eq!(profiles.selected(None).unwrap(), None);
        let staging = Profile { brokers: Some("a:1,b:2".into()), timeout: Some("10s".into()), ..Profile::default() };
        profiles.file.profiles.insert("staging".into(), staging.clone());
        profiles.file.profiles.insert("empty".into(), Profile::default());
        profiles.file.current = Some("staging".into());
        profiles.save().unwrap();
        let read = Profiles::load(&globals(&path)).unwrap();
        assert_eq!(read.selected(None).unwrap(), Some(&staging));
        assert_eq!(read.selected(Some("empty")).unwrap(), Some(&Profile::default()));
        let error = read.selected(Some("prod")).unwrap_err().to_string();
        assert!(error.contains("`prod` does not exist"), "{error}");
    }

    #[test]
    fn unknown_keys_are_refused_with_the_path_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.toml");
        write_whole(&path, "[profiles.a]\nbroker = \"x\"\n").unwrap();
        let error = Profiles::load(&globals(&path)).unwrap_err().to_string();
        assert!(error.contains("profiles.toml") && error.contains("broker"), "{error}");
    }

    #[test]
    fn the_file_is_looked_for_where_flags_and_folders_say() {
        let path = |globals: &GlobalArgs| Profiles::load(globals).unwrap().path;
        let mut globals = GlobalArgs::default();
        assert_eq!(path(&globals), None);
        globals.home = Some("/nonexistent/home".into());
        assert_eq!(path(&globals), Some("/nonexistent/home/.config/weir/profiles.toml".into()));
        globals.xdg_config_home = Some("/nonexistent/xdg".into());
        assert_eq!(path(&globals), Some("/nonexistent/xdg/weir/profiles.toml".into()));
        globals.profiles = Some("/nonexistent/file".into());
        assert_eq!(path(&globals), Some("/nonexistent/file".into()));
    }
}
