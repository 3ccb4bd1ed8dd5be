//! `weir table history`, `segments`, `stats`: what the broker's HTTP listener tells of a typed topic.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::output::{Format, print_list, print_value};
use crate::cli::rest::{Rest, encoded};
use crate::cli::{CliError, Context};

/// What is asked of the broker.
#[derive(Debug, clap::Args)]
pub(super) struct StorageArgs {
    /// Name of the topic
    topic: String,
    /// Address of the broker's HTTP listener
    // An id of its own: `weir` without a command serves, and has a flag of this name too.
    #[arg(
        id = "http_address",
        long = "http",
        value_name = "[https://]HOST:PORT",
        env = "WEIR_HTTP",
        default_value = "127.0.0.1:9644"
    )]
    http: String,
}

/// Which part of the answer is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    History,
    Segments,
    Stats,
}

impl Part {
    fn key(self) -> &'static str {
        match self {
            Part::History => "versions",
            Part::Segments => "segments",
            Part::Stats => "columns",
        }
    }

    fn titles(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Part::History => &[("version", "VERSION"), ("changes", "CHANGES"), ("columns", "COLUMNS")],
            Part::Segments => &[
                ("partition", "PARTITION"),
                ("base", "FROM"),
                ("next", "TO"),
                ("form", "STORED AS"),
                ("bytes", "BYTES"),
                ("groups", "ROW GROUPS"),
                ("schema_version", "SCHEMA"),
                ("codec", "CODEC"),
            ],
            Part::Stats => &[
                ("column", "COLUMN"),
                ("type", "TYPE"),
                ("rows", "ROWS"),
                ("nulls", "NULLS"),
                ("min", "MIN"),
                ("max", "MAX"),
                ("bytes", "BYTES"),
            ],
        }
    }
}

pub(super) async fn run(
    context: &Context,
    args: StorageArgs,
    part: Part,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let broker = Rest::new("the broker", "flag --http", &args.http, &context.client);
    let table = broker.ask("GET", &format!("/tables/{}", encoded(&args.topic)), None).await?;
    if table.is_null() {
        return Err(CliError::Invalid {
            setting: "topic",
            value: args.topic,
            reason: "is no topic of this broker".into(),
            fix: "see its topics with `weir topic list`".into(),
        });
    }
    let rows: Vec<Value> = table[part.key()].as_array().cloned().unwrap_or_default();
    match format {
        Format::Table => print_list(out, format, part.titles(), &rows.iter().map(shown).collect::<Vec<_>>()),
        format => print_value(out, format, &Value::Array(rows)),
    }
}

/// Lists as one text.
fn shown(row: &Value) -> Value {
    let Some(members) = row.as_object() else { return row.clone() };
    let text = |value: &Value| match value.as_array() {
        Some(items) => json!(items.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join("; ")),
        None => value.clone(),
    };
    Value::Object(members.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}
