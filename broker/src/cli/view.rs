//! `weir view`: topics that show columns and rows of another one.

use std::io::Write;

use serde_json::{Value, json};
use weir_client::ClientError;
use weir_client::admin::{Admin, ConfigChange, ConfigEntry, ConfigResource, NewTopic};

use super::output::{Format, OutputArgs, print_list};
use super::{CliError, Context, note};

const SOURCE: &str = "weir.view.source";
const SELECT: &str = "weir.view.select";
const WHERE: &str = "weir.view.where";

/// Flags of `view`.
#[derive(Debug, clap::Args)]
pub struct ViewArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: ViewCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ViewCommand {
    /// Make a view: a topic that stores nothing and shows rows of another one to any consumer
    #[command(after_help = "Examples:
  weir view create paid --source orders --select order_id,amount --where \"status = 'PAID'\"
  weir view create paid --where \"status = 'PAID' AND amount > 10\" --replace")]
    Create(CreateArgs),
    /// List views
    #[command(visible_alias = "ls")]
    List {
        /// Only views of this topic
        source: Option<String>,
    },
    /// Delete views; their sources keep every record
    #[command(visible_alias = "rm")]
    Drop {
        /// Names of the views
        #[arg(required = true, value_name = "VIEW")]
        views: Vec<String>,
        /// Do not complain about views that do not exist
        #[arg(long)]
        if_exists: bool,
    },
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Name of the view
    view: String,
    /// Topic whose rows it shows
    #[arg(long, value_name = "TOPIC", required_unless_present = "replace")]
    source: Option<String>,
    /// Columns it shows, separated by commas [default: values as they were produced]
    #[arg(long, value_name = "COLUMNS")]
    select: Option<String>,
    /// Rows it shows, as an SQL expression [default: all]
    #[arg(long = "where", value_name = "SQL")]
    filter: Option<String>,
    /// Change columns and rows of a view that exists; its readers go on
    #[arg(long, conflicts_with = "source")]
    replace: bool,
    /// Only let the broker check it
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: ViewArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    match args.command {
        ViewCommand::Create(create) if create.replace => replace(&admin, create).await,
        ViewCommand::Create(create) => make(&admin, create).await,
        ViewCommand::List { source } => list(&admin, source.as_deref(), args.output.output, out).await,
        ViewCommand::Drop { views, if_exists } => drop_all(&admin, &views, if_exists).await,
    }
}

async fn make(admin: &Admin, args: CreateArgs) -> Result<(), CliError> {
    let configs = [(SOURCE, args.source), (SELECT, args.select), (WHERE, args.filter)];
    let configs = configs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let topic = NewTopic { name: args.view, partitions: None, replication_factor: None, configs };
    for (name, result) in admin.create_topics(&[topic], args.dry_run).await? {
        result?;
        note(&match args.dry_run {
            true => format!("the view {name} can be made"),
            false => format!("the view {name} was made"),
        });
    }
    Ok(())
}

async fn replace(admin: &Admin, args: CreateArgs) -> Result<(), CliError> {
    defined(admin, &args.view).await?;
    let change = |name: &str, value: Option<String>| match value {
        Some(value) => ConfigChange::Set(name.to_owned(), value),
        None => ConfigChange::Delete(name.to_owned()),
    };
    let changes = [change(SELECT, args.select), change(WHERE, args.filter)];
    admin.alter_configs(&ConfigResource::topic(&args.view), &changes, args.dry_run).await?;
    note(if args.dry_run { "the view can become that" } else { "the view was changed" });
    Ok(())
}

async fn configs(admin: &Admin, topic: &str) -> Result<Vec<ConfigEntry>, ClientError> {
    admin.describe_configs(&ConfigResource::topic(topic), false).await
}

fn value<'a>(configs: &'a [ConfigEntry], name: &str) -> Option<&'a str> {
    let config = configs.iter().find(|config| config.name == name)?;
    config.value.as_deref().filter(|value| !value.is_empty())
}

/// The settings of a view; an error that says so if the topic is none.
async fn defined(admin: &Admin, view: &str) -> Result<Vec<ConfigEntry>, CliError> {
    let configs = configs(admin, view).await?;
    match value(&configs, SOURCE) {
        Some(_) => Ok(configs),
        None => Err(CliError::Invalid {
            setting: "view",
            value: view.to_owned(),
            reason: "is a topic with records of its own, not a view".into(),
            fix: "see the views with `weir view list`".into(),
        }),
    }
}

async fn list(admin: &Admin, source: Option<&str>, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let mut items: Vec<Value> = Vec::new();
    for topic in admin.list_topics().await?.values().filter(|topic| !topic.internal) {
        let configs = configs(admin, &topic.name).await?;
        let Some(of) = value(&configs, SOURCE).filter(|of| source.is_none_or(|wanted| wanted == *of)) else {
            continue;
        };
        items.push(json!({
            "view": topic.name,
            "source": of,
            "partitions": topic.partitions.len(),
            "select": value(&configs, SELECT),
            "where": value(&configs, WHERE),
        }));
    }
    if items.is_empty() && format == Format::Table {
        note("no views; make one with `weir view create NAME --source TOPIC --where SQL`");
    }
    let titles = [("view", "VIEW"), ("source", "SOURCE"), ("select", "SELECT"), ("where", "WHERE")];
    print_list(out, format, &titles, &items)
}

/// Topics with records are never deleted by this command, whatever they are called.
async fn drop_all(admin: &Admin, views: &[String], if_exists: bool) -> Result<(), CliError> {
    let missing = kafka_protocol::error::ResponseError::UnknownTopicOrPartition;
    let mut known = Vec::new();
    for view in views {
        match defined(admin, view).await {
            Ok(_) => known.push(view.as_str()),
            Err(CliError::Client(error)) if if_exists && error.code() == Some(missing) => {}
            Err(error) => return Err(error),
        }
    }
    for (name, result) in admin.delete_topics(&known).await? {
        result?;
        note(&format!("the view {name} was deleted"));
    }
    Ok(())
}
