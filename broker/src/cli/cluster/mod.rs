//! `weir cluster`: what the cluster consists of, and the settings of its brokers.

use std::io::Write;

use kafka_protocol::messages::ApiKey;
use serde_json::{Value, json};
use weir_client::admin::{Admin, LogDir};

use crate::cli::output::{Format, OutputArgs, print_list, print_value, table, write_all};
use crate::cli::{CliError, Context, note};

mod config;

/// Flags of `cluster`.
#[derive(Debug, clap::Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ClusterCommand {
    /// Show id, brokers, topics and disk space
    Info,
    /// Show and change settings of brokers while they run
    Config(config::ConfigArgs),
    /// Show which versions of which APIs a broker serves
    Apis,
}

pub(crate) async fn run(context: &Context, args: ClusterArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    let format = args.output.output;
    match args.command {
        ClusterCommand::Info => info(&admin, format, out).await,
        ClusterCommand::Config(args) => config::run(&admin, args, format, out).await,
        ClusterCommand::Apis => apis(&admin, format, out).await,
    }
}

async fn info(admin: &Admin, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let cluster = admin.describe_cluster().await?;
    let topics = admin.list_topics().await?;
    // Sizes need a permission of their own; without them the rest is still worth showing.
    let dirs = match admin.describe_log_dirs().await {
        Ok(dirs) => dirs,
        Err(error) => {
            note(&format!("warning: no disk figures: {error}"));
            Vec::new()
        }
    };
    let brokers: Vec<_> = cluster
        .brokers
        .iter()
        .map(|broker| {
            json!({
                "id": broker.id,
                "address": broker.address.to_string(),
                "rack": broker.rack,
                "controller": cluster.controller == Some(broker.id),
            })
        })
        .collect();
    let value = json!({
        "cluster": cluster.id,
        "controller": cluster.controller,
        "brokers": brokers,
        "topics": topics.values().filter(|topic| !topic.internal).count(),
        "internal_topics": topics.values().filter(|topic| topic.internal).count(),
        "partitions": topics.values().map(|topic| topic.partitions.len()).sum::<usize>(),
        "log_dirs": dirs.iter().map(dir_json).collect::<Vec<_>>(),
    });
    match format {
        Format::Table => write_all(out, &info_text(&value)),
        Format::Json | Format::Yaml => print_value(out, format, &value),
    }
}

fn dir_json(dir: &LogDir) -> Value {
    json!({
        "broker": dir.broker,
        "path": dir.path,
        "bytes": dir.partitions.iter().map(|partition| partition.bytes).sum::<i64>(),
        "free_bytes": dir.usable_bytes,
        "total_bytes": dir.total_bytes,
    })
}

fn info_text(info: &Value) -> String {
    let empty = Vec::new();
    let list = |key: &str| info[key].as_array().unwrap_or(&empty);
    let with_marks: Vec<_> = list("brokers")
        .iter()
        .map(|broker| {
            let mut broker = broker.clone();
            broker["controller"] = json!(if broker["controller"] == json!(true) { "yes" } else { "" });
            broker
        })
        .collect();
    let readable: Vec<_> = list("log_dirs")
        .iter()
        .map(|dir| {
            let mut dir = dir.clone();
            for key in ["bytes", "free_bytes", "total_bytes"] {
                dir[key] = json!(dir[key].as_u64().map(|bytes| indicatif::BinaryBytes(bytes).to_string()));
            }
            dir
        })
        .collect();
    let mut text = format!(
        "cluster     {}\ntopics      {} (and {} internal)\npartitions  {}\n\n{}",
        info["cluster"].as_str().unwrap_or("-"),
        info["topics"],
        info["internal_topics"],
        info["partitions"],
        table(&[("id", "BROKER"), ("address", "ADDRESS"), ("rack", "RACK"), ("controller", "CONTROLLER")], &with_marks),
    );
    if !readable.is_empty() {
        let columns = [
            ("broker", "BROKER"),
            ("path", "FOLDER"),
            ("bytes", "USED"),
            ("free_bytes", "FREE"),
            ("total_bytes", "VOLUME"),
        ];
        text.push('\n');
        text.push_str(&table(&columns, &readable));
    }
    text
}

async fn apis(admin: &Admin, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let connection = admin.client().any_connection().await?;
    let items: Vec<_> = connection
        .versions()
        .announced()
        .map(|(key, range)| {
            let name = ApiKey::try_from(key).map_or_else(|()| "?".to_owned(), |api| format!("{api:?}"));
            json!({ "key": key, "api": name, "min": range.min, "max": range.max })
        })
        .collect();
    print_list(out, format, &[("key", "KEY"), ("api", "API"), ("min", "MIN"), ("max", "MAX")], &items)
}
