//! `weir topic`: create, list, describe, alter, delete.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use weir_client::admin::{Admin, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, NewTopic, OffsetQuery};
use weir_client::metadata::TopicInfo;
use weir_client::{ClientError, kafka_name};

use super::args::parse_pair;
use super::output::{Format, OutputArgs, print_list, print_value, table, write_all};
use super::rest::{Rest, encoded};
use super::{CliError, Context, note};

/// Flags of `topic`.
#[derive(Debug, clap::Args)]
pub struct TopicArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TopicCommand {
    /// Create topics
    #[command(after_help = "Example:
  weir topic create flights -p 6 -c retention.ms=86400000 -c compression.type=zstd
  weir topic create flights --schema 'id BIGINT NOT NULL, city STRING, delay INT'
  weir topic create flights --schema flight.avsc
  weir topic create flights --schema flight.proto
  weir topic create flights --schema flight.schema.json")]
    Create(CreateArgs),
    /// List topics
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show partitions, offsets and configuration of topics
    Describe(DescribeArgs),
    /// Change configuration, or add partitions
    #[command(after_help = "Example:
  weir topic alter flights --set retention.ms=3600000 --delete compression.type")]
    Alter(AlterArgs),
    /// Delete topics with all their records
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Number of partitions [default: the broker's]
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Number of replicas [default: the broker's]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replicas: Option<i16>,
    /// Topic configuration; may be repeated
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_pair)]
    configs: Vec<(String, String)>,
    /// Makes typed topics: columns as DDL, or an Avro (.avsc), Protobuf (.proto) or JSON (.json) schema in a file, which is
    /// registered as TOPIC-value
    #[arg(long, value_name = "DDL|FILE")]
    schema: Option<String>,
    /// Address of the Schema Registry, for --schema FILE
    #[arg(
        id = "schema_registry",
        long = "registry",
        value_name = "HOST:PORT",
        env = "WEIR_REGISTRY",
        default_value = "127.0.0.1:8081"
    )]
    registry: String,
    /// Do not complain about topics that exist
    #[arg(long)]
    if_not_exists: bool,
    /// Only let the broker check everything
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only topics whose name contains this
    filter: Option<String>,
    /// Also the topics that the cluster keeps for itself
    #[arg(short, long)]
    internal: bool,
}

#[derive(Debug, clap::Args)]
struct DescribeArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// All settings, not only those that differ from the defaults
    #[arg(short, long)]
    all_configs: bool,
}

#[derive(Debug, clap::Args)]
struct AlterArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Set a configuration; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    set: Vec<(String, String)>,
    /// Return a configuration to its default; may be repeated
    #[arg(short, long, value_name = "NAME")]
    delete: Vec<String>,
    /// Add to a configuration that is a list; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    append: Vec<(String, String)>,
    /// Take out of a configuration that is a list; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    subtract: Vec<(String, String)>,
    /// Raise the number of partitions to this
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Only let the broker check the configuration
    #[arg(long, conflicts_with = "partitions")]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Do not complain about topics that do not exist
    #[arg(long)]
    if_exists: bool,
}

pub(crate) async fn run(context: &Context, args: TopicArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    let format = args.output.output;
    match args.command {
        TopicCommand::Create(args) => create(context, &admin, args, format, out).await,
        TopicCommand::List(args) => list(&admin, args, format, out).await,
        TopicCommand::Describe(args) => describe(&admin, args, format, out).await,
        TopicCommand::Alter(args) => alter(&admin, args, format, out).await,
        TopicCommand::Delete(args) => delete(&admin, args, format, out).await,
    }
}

/// Prints what happened to each item, reports each failure with its fix, and fails if one did.
fn conclude(
    results: Vec<(Value, Result<(), ClientError>)>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let total = results.len();
    let mut failures = Vec::new();
    let mut items = Vec::new();
    for (mut item, result) in results {
        let status =
            result.as_ref().map_or_else(|error| error.code().map_or("error".into(), kafka_name), |()| "ok".into());
        item["status"] = json!(status);
        if let Err(error) = result {
            item["error"] = json!(error.to_string());
            failures.push(error);
        }
        items.push(item);
    }
    print_list(out, format, &[("topic", "TOPIC"), ("status", "STATUS")], &items)?;
    match (failures.len(), failures.pop()) {
        (_, None) => Ok(()),
        (1, Some(only)) if total == 1 => Err(only.into()),
        (failed, Some(last)) => {
            for error in failures.into_iter().chain([last]) {
                // Nobody is left to tell if stderr is gone.
                let _ = CliError::Client(error).report(None, &mut std::io::stderr());
            }
            Err(CliError::Partial { failed, total })
        }
    }
}

/// Where the schema of a topic's values is registered.
fn subject(topic: &str) -> String {
    format!("{topic}-value")
}

/// A schema in a file.
struct SchemaFile<'a> {
    path: &'a str,
    /// `weir.value.format`.
    format: &'static str,
    /// As the Schema Registry calls it.
    kind: &'static str,
}

impl<'a> SchemaFile<'a> {
    /// `None`: it is no name of such a file, but columns.
    fn of(path: &'a str) -> Option<SchemaFile<'a>> {
        let kinds = [(".avsc", "avro", "AVRO"), (".proto", "protobuf", "PROTOBUF"), (".json", "json", "JSON")];
        let (_, format, kind) = kinds.into_iter().find(|(end, ..)| path.ends_with(end))?;
        Some(SchemaFile { path, format, kind })
    }

    /// Its text, and its kind.
    fn read(self) -> Result<(String, &'static str), CliError> {
        let text = std::fs::read_to_string(self.path);
        Ok((text.map_err(CliError::io(format!("reading the schema {}", self.path)))?, self.kind))
    }
}

async fn create(
    context: &Context,
    admin: &Admin,
    mut args: CreateArgs,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let registered = args.schema.as_deref().and_then(SchemaFile::of);
    match (&registered, &args.schema) {
        (Some(file), _) => args.configs.push(("weir.value.format".to_owned(), file.format.to_owned())),
        (None, Some(ddl)) => args.configs.push(("weir.table.schema".to_owned(), ddl.clone())),
        (None, None) => {}
    }
    let registered = registered.map(SchemaFile::read).transpose()?;
    let is_json = registered.as_ref().is_some_and(|(_, kind)| *kind == "JSON");
    let configs = |name: &str| {
        // JSON rows follow a subject only if it is named.
        let subject = is_json.then(|| ("weir.value.schema.subject".to_owned(), subject(name)));
        args.configs.iter().cloned().chain(subject).collect::<Vec<_>>()
    };
    let topics: Vec<_> = args
        .topics
        .iter()
        .map(|name| NewTopic {
            name: name.clone(),
            partitions: args.partitions,
            replication_factor: args.replicas,
            configs: configs(name),
        })
        .collect();
    let results = admin.create_topics(&topics, args.dry_run).await?;
    let exists = kafka_protocol::error::ResponseError::TopicAlreadyExists;
    let results = results.into_iter().map(|(name, result)| {
        let mut item = json!({ "topic": name });
        let result = match result {
            Ok(created) => {
                item["partitions"] = json!(created.partitions);
                item["replicas"] = json!(created.replication_factor);
                Ok(())
            }
            Err(error) if args.if_not_exists && error.code() == Some(exists) => Ok(()),
            Err(error) => Err(error),
        };
        (item, result)
    });
    let results: Vec<_> = results.collect();
    if let Some((schema, kind)) = registered.filter(|_| !args.dry_run) {
        let registry = Rest::new("the Schema Registry", "--registry", &args.registry, &context.client);
        for (item, _) in results.iter().filter(|(_, result)| result.is_ok()) {
            // The topic's table has its columns from then on.
            let subject = encoded(&subject(item["topic"].as_str().unwrap_or_default()));
            let body = json!({ "schema": schema, "schemaType": kind });
            registry.ask("POST", &format!("/subjects/{subject}/versions"), Some(body)).await?;
        }
    }
    conclude(results, format, out)
}

async fn list(admin: &Admin, args: ListArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let topics = admin.list_topics().await?;
    let wanted = topics.values().filter(|topic| {
        (args.internal || !topic.internal) && args.filter.as_ref().is_none_or(|filter| topic.name.contains(filter))
    });
    let items: Vec<_> = wanted
        .map(|topic| {
            json!({
                "topic": topic.name,
                "id": topic.id.map(|id| id.to_string()),
                "internal": topic.internal,
                "partitions": topic.partitions.len(),
                "replicas": topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
            })
        })
        .collect();
    if items.is_empty() && format == Format::Table {
        note("no topics; create one with `weir topic create NAME`");
    }
    print_list(out, format, &[("topic", "TOPIC"), ("partitions", "PARTITIONS"), ("replicas", "REPLICAS")], &items)
}

async fn describe(admin: &Admin, args: DescribeArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let mut described = Vec::new();
    for name in &args.topics {
        let topic = admin.describe_topic(name).await?;
        let starts = offsets(admin, name, OffsetQuery::Earliest).await;
        let ends = offsets(admin, name, OffsetQuery::Latest).await;
        let configs = admin.describe_configs(&ConfigResource::topic(name), false).await?;
        let shown = |config: &&ConfigEntry| args.all_configs || is_set(config);
        let configs: Vec<_> = configs.iter().filter(shown).map(config_json).collect();
        described.push(topic_json(&topic, &starts, &ends, configs));
    }
    if format != Format::Table {
        return print_value(out, format, &Value::Array(described));
    }
    for (position, topic) in described.iter().enumerate() {
        if position > 0 {
            write_all(out, "\n")?;
        }
        write_all(out, &topic_text(topic, args.all_configs))?;
    }
    Ok(())
}

/// Offsets are shown where they can be had; a partition without a leader does not hide the rest.
async fn offsets(admin: &Admin, topic: &str, query: OffsetQuery) -> BTreeMap<i32, i64> {
    match admin.topic_offsets(topic, query).await {
        Ok(listed) => listed.into_iter().filter_map(|(id, listed)| Some((id, listed.offset?))).collect(),
        Err(error) => {
            note(&format!("warning: no offsets of topic `{topic}`: {error}"));
            BTreeMap::new()
        }
    }
}

fn is_set(config: &ConfigEntry) -> bool {
    matches!(config.source, ConfigSource::Topic)
}

pub(super) fn config_json(config: &ConfigEntry) -> Value {
    json!({
        "name": config.name,
        "value": if config.sensitive { Some("(hidden)") } else { config.value.as_deref() },
        "source": config.source.name(),
        "read_only": config.read_only,
    })
}

fn topic_json(topic: &TopicInfo, starts: &BTreeMap<i32, i64>, ends: &BTreeMap<i32, i64>, configs: Vec<Value>) -> Value {
    let partitions = topic.partitions.iter().map(|partition| {
        let (start, end) = (starts.get(&partition.id), ends.get(&partition.id));
        json!({
            "partition": partition.id,
            "leader": partition.leader,
            "epoch": partition.leader_epoch,
            "replicas": partition.replicas,
            "in_sync": partition.in_sync,
            "offline": partition.offline,
            "start": start,
            "end": end,
            "records": start.zip(end).map(|(start, end)| end - start),
            "error": partition.error.map(kafka_name),
        })
    });
    json!({
        "topic": topic.name,
        "id": topic.id.map(|id| id.to_string()),
        "internal": topic.internal,
        "partitions": partitions.collect::<Vec<_>>(),
        "configs": configs,
    })
}

fn topic_text(topic: &Value, all_configs: bool) -> String {
    let text = |key: &str| topic[key].as_str().unwrap_or("-").to_owned();
    let empty = Vec::new();
    let list = |key: &str| topic[key].as_array().unwrap_or(&empty);
    let partitions = table(
        &[
            ("partition", "PARTITION"),
            ("leader", "LEADER"),
            ("epoch", "EPOCH"),
            ("replicas", "REPLICAS"),
            ("in_sync", "IN-SYNC"),
            ("start", "START"),
            ("end", "END"),
            ("records", "RECORDS"),
        ],
        list("partitions"),
    );
    let configs = match list("configs") {
        configs if configs.is_empty() && !all_configs => {
            "all at their defaults (--all-configs shows them)\n".to_owned()
        }
        configs => table(&[("name", "CONFIG"), ("value", "VALUE"), ("source", "SOURCE")], configs),
    };
    format!("topic  {}\nid     {}\n\n{partitions}\n{configs}", text("topic"), text("id"))
}

async fn alter(admin: &Admin, args: AlterArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let sets = args.set.iter().cloned().map(|(name, value)| ConfigChange::Set(name, value));
    let deletes = args.delete.iter().cloned().map(ConfigChange::Delete);
    let appends = args.append.iter().cloned().map(|(name, value)| ConfigChange::Append(name, value));
    let subtracts = args.subtract.iter().cloned().map(|(name, value)| ConfigChange::Subtract(name, value));
    let changes: Vec<_> = sets.chain(deletes).chain(appends).chain(subtracts).collect();
    if changes.is_empty() && args.partitions.is_none() {
        return Err(CliError::Invalid {
            setting: "topic alter",
            value: args.topics.join(" "),
            reason: "is to be altered, but no change is given".into(),
            fix: "use --set NAME=VALUE, --delete NAME, --append, --subtract or --partitions N".into(),
        });
    }
    let mut results = Vec::new();
    for name in &args.topics {
        let altered = alter_one(admin, name, &changes, args.partitions, args.dry_run).await;
        results.push((json!({ "topic": name }), altered));
    }
    conclude(results, format, out)
}

async fn alter_one(
    admin: &Admin,
    name: &str,
    changes: &[ConfigChange],
    partitions: Option<i32>,
    dry_run: bool,
) -> Result<(), ClientError> {
    if !changes.is_empty() {
        admin.alter_configs(&ConfigResource::topic(name), changes, dry_run).await?;
    }
    if let Some(total) = partitions {
        for (_, result) in admin.create_partitions(&[(name, total)]).await? {
            result?;
        }
    }
    Ok(())
}

async fn delete(admin: &Admin, args: DeleteArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let names: Vec<&str> = args.topics.iter().map(String::as_str).collect();
    let missing = kafka_protocol::error::ResponseError::UnknownTopicOrPartition;
    let results = admin.delete_topics(&names).await?.into_iter().map(|(name, result)| {
        let result = match result {
            Err(error) if args.if_exists && error.code() == Some(missing) => Ok(()),
            result => result,
        };
        (json!({ "topic": name }), result)
    });
    conclude(results.collect(), format, out)
}
