//! `weir cluster config`: settings of brokers while they run, for one or for all.

use std::io::Write;

use serde_json::json;
use weir_client::admin::{Admin, ConfigChange, ConfigResource, ConfigSource};

use crate::cli::args::parse_pair;
use crate::cli::output::{Format, print_list, print_value};
use crate::cli::topic::config_json;
use crate::cli::{CliError, note};

/// Flags of `cluster config`.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// Only this broker, instead of all brokers
    #[arg(long, global = true, value_name = "ID")]
    broker: Option<i32>,
    /// The levels of its loggers (FATAL, ERROR, WARN, INFO, DEBUG, TRACE) instead of its settings; forgotten when it stops
    #[arg(long, global = true)]
    loggers: bool,
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Show what was set at run time; with --broker and --all everything that is in force
    #[command(alias = "ls")]
    List {
        /// All settings, not only those that were set at run time
        #[arg(short, long, requires = "broker")]
        all: bool,
    },
    /// Change settings; in force when it returns, and after a restart
    Alter {
        /// Set it; may be repeated
        #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_pair)]
        set: Vec<(String, String)>,
        /// Return it to what it is without; may be repeated
        #[arg(short, long, value_name = "NAME", required_unless_present = "set")]
        delete: Vec<String>,
        /// Only let the broker check them
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(admin: &Admin, args: ConfigArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let resource = match (args.broker, args.loggers) {
        (Some(id), true) => ConfigResource::loggers_of(id),
        (None, true) => {
            return Err(CliError::Invalid {
                setting: "--loggers",
                value: "true".to_owned(),
                reason: "says not whose loggers: each broker has its own".to_owned(),
                fix: "add --broker ID; `weir cluster info` lists the brokers".to_owned(),
            });
        }
        (Some(id), false) => ConfigResource::broker(id),
        (None, false) => ConfigResource::all_brokers(),
    };
    match args.command {
        ConfigCommand::List { all } => {
            let configs = admin.describe_configs(&resource, false).await?;
            let at_run_time = [ConfigSource::DynamicBroker, ConfigSource::DynamicDefaultBroker];
            let shown = configs.iter().filter(|config| all || args.loggers || at_run_time.contains(&config.source));
            let items: Vec<_> = shown.map(config_json).collect();
            print_list(out, format, &[("name", "SETTING"), ("value", "VALUE"), ("source", "SOURCE")], &items)
        }
        ConfigCommand::Alter { set, delete, dry_run } => {
            let set = set.into_iter().map(|(name, value)| ConfigChange::Set(name, value));
            let changes: Vec<_> = set.chain(delete.into_iter().map(ConfigChange::Delete)).collect();
            admin.alter_configs(&resource, &changes, dry_run).await?;
            let whom = args.broker.map_or_else(|| "all brokers".to_owned(), |id| format!("broker {id}"));
            let done = if dry_run { "would be changed" } else { "changed" };
            note(&format!("{} {done} for {whom}", if changes.len() == 1 { "setting" } else { "settings" }));
            match format {
                Format::Table => Ok(()),
                Format::Json | Format::Yaml => {
                    let value = json!({ "broker": args.broker, "changes": changes.len(), "dry_run": dry_run });
                    print_value(out, format, &value)
                }
            }
        }
    }
}
