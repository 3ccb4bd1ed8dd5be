//! `weir table`: the schema of a typed topic, shown and changed; how it is stored; its dead letters.

mod replay;
mod retype;
mod storage;

use std::io::Write;

use serde_json::{Value, json};
use weir_client::admin::{Admin, ConfigChange, ConfigEntry, ConfigResource};
use weir_table::{Field, ddl};

use self::replay::ReplayArgs;
use self::retype::RetypeArgs;
use self::storage::{Part, StorageArgs};
use super::output::{Format, OutputArgs, print_list, print_value, write_all};
use super::{CliError, Context, note};

/// Flags of `table`.
#[derive(Debug, clap::Args)]
pub struct TableArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: TableCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TableCommand {
    /// Show the columns of a typed topic and what happens to rows that do not fit
    Describe {
        /// Name of the topic
        topic: String,
    },
    /// Print the schema of a typed topic as DDL
    Schema {
        /// Name of the topic
        topic: String,
    },
    /// Change the columns of a typed topic
    #[command(after_help = "Examples:
  weir table alter flights --add 'gate STRING' --drop hour --widen 'id BIGINT' --rename city:town
  weir table alter flights --schema 'id BIGINT NOT NULL, city STRING' --dry-run")]
    Alter(AlterArgs),
    /// Show the versions of a topic's schema and what each changed
    History(StorageArgs),
    /// Show the segments of a topic: which offsets, in which form, how large
    Segments(StorageArgs),
    /// Show what the columns of a topic hold: rows, nulls, smallest and largest value, bytes
    Stats(StorageArgs),
    /// Send the dead letters of a topic to it again, after its schema was mended
    #[command(after_help = "Example:
  weir table replay-dlq flights --dry-run")]
    ReplayDlq(ReplayArgs),
    /// Make a table of a topic without schema, after telling which records fit
    #[command(after_help = "Example:
  weir table retype flights --schema 'id BIGINT NOT NULL, city STRING' --dry-run")]
    Retype(RetypeArgs),
}

#[derive(Debug, clap::Args)]
struct AlterArgs {
    /// Name of the topic
    topic: String,
    /// All columns as they are to be, as DDL
    #[arg(long, value_name = "DDL", conflicts_with_all = ["add", "drop", "widen", "rename"])]
    schema: Option<String>,
    /// Add a column, nullable or with DEFAULT; may be repeated
    #[arg(long, value_name = "COLUMN")]
    add: Vec<String>,
    /// Drop a column; may be repeated
    #[arg(long, value_name = "NAME")]
    drop: Vec<String>,
    /// Give a column a wider type; may be repeated
    #[arg(long, value_name = "NAME TYPE")]
    widen: Vec<String>,
    /// Give a column another name; may be repeated. Producers and rows that use the old one are still understood
    #[arg(long, value_name = "OLD:NEW")]
    rename: Vec<String>,
    /// Only let the broker check it
    #[arg(long)]
    dry_run: bool,
}

/// Settings that `describe` shows beside the columns.
const SHOWN: [&str; 11] = [
    "weir.value.format",
    "weir.value.schema.subject",
    "weir.key.columns",
    "weir.key.format",
    "weir.on.invalid",
    "weir.on.unknown",
    "weir.fidelity",
    "weir.layout",
    "weir.cluster.by",
    "weir.column.bloom.filters",
    "weir.column.uncompressed",
];

pub(crate) async fn run(context: &Context, args: TableArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    match args.command {
        TableCommand::Describe { topic } => describe(&admin, &topic, args.output.output, out).await,
        TableCommand::Schema { topic } => {
            let ddl = columns(&topic, &configs(&admin, &topic).await?)?;
            write_all(out, &format!("{}\n", ddl::print(&ddl)))
        }
        TableCommand::Alter(alter) => change(&admin, alter).await,
        TableCommand::History(asked) => storage::run(context, asked, Part::History, args.output.output, out).await,
        TableCommand::Segments(asked) => storage::run(context, asked, Part::Segments, args.output.output, out).await,
        TableCommand::Stats(asked) => storage::run(context, asked, Part::Stats, args.output.output, out).await,
        TableCommand::ReplayDlq(replay) => replay::run(context, replay).await,
        TableCommand::Retype(retype) => retype::run(context, retype, args.output.output, out).await,
    }
}

async fn configs(admin: &Admin, topic: &str) -> Result<Vec<ConfigEntry>, CliError> {
    Ok(admin.describe_configs(&ConfigResource::topic(topic), false).await?)
}

fn value<'a>(configs: &'a [ConfigEntry], name: &str) -> &'a str {
    configs.iter().find(|config| config.name == name).and_then(|config| config.value.as_deref()).unwrap_or_default()
}

/// The columns out of the topic's DDL.
fn columns(topic: &str, configs: &[ConfigEntry]) -> Result<Vec<Field>, CliError> {
    let text = value(configs, "weir.table.schema");
    if text.is_empty() {
        return Err(CliError::Invalid {
            setting: "weir.table.schema",
            value: topic.to_owned(),
            reason: "is no topic with a schema of its own".into(),
            fix: "set one with `weir table alter TOPIC --schema DDL`; topics of weir.value.format=avro or protobuf, or with a \
                  weir.value.schema.subject, have theirs in the registry: `weir registry get TOPIC-value`, `weir table history TOPIC`"
                .into(),
        });
    }
    parse("weir.table.schema", text)
}

fn parse(setting: &'static str, text: &str) -> Result<Vec<Field>, CliError> {
    ddl::parse(text).map_err(|error| CliError::Invalid {
        setting,
        value: text.chars().take(80).collect(),
        reason: format!("is not a list of columns: {error}"),
        fix: "write it as 'id BIGINT NOT NULL, city STRING'".into(),
    })
}

async fn describe(admin: &Admin, topic: &str, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let configs = configs(admin, topic).await?;
    let keys: Vec<_> = value(&configs, "weir.key.columns").split(',').map(str::trim).collect();
    let column = |field: &Field| {
        json!({
            "column": field.name,
            "type": field.data_type.to_string(),
            "nullable": if field.nullable { "yes" } else { "no" },
            "default": field.default,
            "from": if keys.contains(&field.name.as_str()) { "key" } else { "value" },
        })
    };
    let columns: Vec<Value> = columns(topic, &configs)?.iter().map(column).collect();
    let settings = SHOWN.map(|name| json!({ "name": name, "value": value(&configs, name) }));
    if format != Format::Table {
        return print_value(out, format, &json!({ "topic": topic, "columns": columns, "settings": settings }));
    }
    let titles =
        [("column", "COLUMN"), ("type", "TYPE"), ("nullable", "NULLABLE"), ("default", "DEFAULT"), ("from", "FROM")];
    print_list(out, format, &titles, &columns)?;
    write_all(out, "\n")?;
    print_list(out, format, &[("name", "SETTING"), ("value", "VALUE")], &settings)
}

async fn change(admin: &Admin, args: AlterArgs) -> Result<(), CliError> {
    let ddl = match &args.schema {
        Some(schema) => schema.clone(),
        None => {
            let mut fields = columns(&args.topic, &configs(admin, &args.topic).await?)?;
            edit(&mut fields, &args)?;
            ddl::print(&fields)
        }
    };
    let mut changes = vec![ConfigChange::Set("weir.table.schema".to_owned(), ddl)];
    if !args.rename.is_empty() {
        changes.push(ConfigChange::Set("weir.table.renames".to_owned(), args.rename.join(",")));
    }
    admin.alter_configs(&ConfigResource::topic(&args.topic), &changes, args.dry_run).await?;
    note(if args.dry_run { "the table can become that" } else { "the table was changed" });
    Ok(())
}

fn edit(fields: &mut Vec<Field>, args: &AlterArgs) -> Result<(), CliError> {
    if args.add.is_empty() && args.drop.is_empty() && args.widen.is_empty() && args.rename.is_empty() {
        return Err(CliError::Invalid {
            setting: "table alter",
            value: args.topic.clone(),
            reason: "is to be altered, but no change is given".into(),
            fix: "use --add, --drop, --widen, --rename or --schema".into(),
        });
    }
    for rename in &args.rename {
        let Some((old, new)) = rename.split_once(':') else {
            let (reason, fix) = ("is no pair of names".into(), "write it as OLD:NEW".into());
            return Err(CliError::Invalid { setting: "--rename", value: rename.clone(), reason, fix });
        };
        let at = position(fields, "--rename", old)?;
        fields[at].name = new.to_owned();
    }
    for name in &args.drop {
        let at = position(fields, "--drop", name)?;
        fields.remove(at);
    }
    for text in &args.widen {
        for wide in parse("--widen", text)? {
            let at = position(fields, "--widen", &wide.name)?;
            fields[at].data_type = wide.data_type;
        }
    }
    for text in &args.add {
        fields.extend(parse("--add", text)?);
    }
    Ok(())
}

fn position(fields: &[Field], setting: &'static str, name: &str) -> Result<usize, CliError> {
    fields.iter().position(|field| field.name == name).ok_or_else(|| CliError::Invalid {
        setting,
        value: name.to_owned(),
        reason: "is not a column of the table".into(),
        fix: "see its columns with `weir table describe TOPIC`".into(),
    })
}
