//! `weir lake`: how the lake tables of a broker are doing, as its HTTP listener tells.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::output::{Format, OutputArgs, print_list, print_value};
use super::registry::Rest;
use super::{CliError, Context};

/// Flags of `lake`.
#[derive(Debug, clap::Args)]
pub struct LakeArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Address of the broker's HTTP listener
    // An id of its own: `weir` without a command serves, and has a flag of this name too.
    #[arg(
        id = "http_address",
        long = "http",
        global = true,
        value_name = "HOST:PORT",
        env = "WEIR_HTTP",
        default_value = "127.0.0.1:9644"
    )]
    http: String,
    #[command(subcommand)]
    command: LakeCommand,
}

#[derive(Debug, clap::Subcommand)]
enum LakeCommand {
    /// Show what is tiered, the lag, the newest commit and the last error of each table
    Status {
        /// Only this topic
        topic: Option<String>,
    },
}

pub(crate) async fn run(context: &Context, args: LakeArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let LakeCommand::Status { topic } = args.command;
    let broker = Rest::new("the broker", "flag --http", args.http, context.client.request_timeout);
    let tables = broker.ask("GET", "/lake", None).await?;
    let mut tables: Vec<Value> = tables.as_array().cloned().unwrap_or_default();
    if let Some(topic) = topic {
        tables.retain(|table| table["topic"] == topic.as_str());
        if tables.is_empty() {
            let reason = "this broker tiers no topic of this name".to_owned();
            let fix = "set weir.lake.format and weir.lake.path on it (`weir topic alter`)".to_owned();
            return Err(CliError::Invalid { setting: "topic", value: topic, reason, fix });
        }
    }
    match args.output.output {
        Format::Table => print_list(out, Format::Table, COLUMNS, &tables.iter().map(shown).collect::<Vec<_>>()),
        format => print_value(out, format, &Value::Array(tables)),
    }
}

const COLUMNS: &[(&str, &str)] = &[
    ("topic", "TOPIC"),
    ("format", "FORMAT"),
    ("state", "STATE"),
    ("rows", "ROWS"),
    ("lag", "LAG"),
    ("lag_seconds", "LAG S"),
    ("epoch", "COMMIT"),
    ("age", "COMMITTED"),
    ("lost", "LOST"),
    ("error", "ERROR"),
];

fn shown(table: &Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let age = table["committed_at_ms"].as_i64().map(|at| format!("{} s ago", (now - at).max(0) / 1000));
    let lag_seconds = table["lag_seconds"].as_f64().map(|seconds| (seconds * 10.0).round() / 10.0);
    json!({
        "topic": table["topic"], "format": table["format"], "state": table["state"], "rows": table["rows"],
        "lag": table["lag_records"], "lag_seconds": lag_seconds, "epoch": table["epoch"], "age": age,
        "lost": table["lost"], "error": table["error"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_shown_with_every_column_even_before_its_first_commit() {
        let table = json!({
            "topic": "flights", "format": "parquet", "state": "starting", "rows": 0, "lag_records": 7, "lag_seconds": 1.26,
            "epoch": 0, "committed_at_ms": null, "lost": 0, "error": null,
        });
        let mut out = Vec::new();
        print_list(&mut out, Format::Table, COLUMNS, &[shown(&table)]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["flights", "parquet", "starting", "0", "7", "1.3", "0", "-", "0", "-"]);
    }
}
