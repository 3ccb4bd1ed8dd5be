//! `weir lake`: how the lake tables of a broker are doing and whether they have what the log has, as its HTTP listener tells; pause
//! and resume, which are a config of the topic.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::HumanBytes;
use serde_json::{Value, json};
use weir_client::admin::{Admin, ConfigChange, ConfigResource};

use super::output::{Format, OutputArgs, print_list, print_value, table, write_all};
use super::progress::Progress;
use super::rest::{Rest, encoded};
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
        value_name = "[https://]HOST:PORT",
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
    /// Let a table rest: nothing is written to it until it is resumed, also after a restart
    Pause {
        /// The topic
        topic: String,
    },
    /// Go on with a table that was paused, where it stopped
    Resume {
        /// The topic
        topic: String,
    },
    /// Compare the rows of log and lake table, of all offsets that both have: counts and hashes, by column
    ///
    /// The broker reads the data files that the newest commit names, with the Parquet reader that it also writes with. Exits with 1
    /// and names partition, offsets and columns if something differs or a file is missing or damaged.
    Verify {
        /// The topic
        topic: String,
    },
}

pub(crate) async fn run(context: &Context, args: LakeArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let format = args.output.output;
    let broker = Rest::new("the broker", "flag --http", &args.http, &context.client);
    match args.command {
        LakeCommand::Status { topic } => status(&broker, topic, format, out).await,
        LakeCommand::Pause { topic } => set_paused(context, &topic, true, out).await,
        LakeCommand::Resume { topic } => set_paused(context, &topic, false, out).await,
        LakeCommand::Verify { topic } => verify(&broker, &topic, format, out).await,
    }
}

/// A config of the topic: who may alter it may do this, and it stays.
async fn set_paused(
    context: &Context,
    topic: &str,
    paused: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    let name = "weir.lake.paused".to_owned();
    let change = if paused { ConfigChange::Set(name, "true".to_owned()) } else { ConfigChange::Delete(name) };
    admin.alter_configs(&ConfigResource::topic(topic), &[change], false).await?;
    write_all(out, &format!("{topic} {}\n", if paused { "is paused" } else { "goes on" }))
}

async fn verify(broker: &Rest, topic: &str, format: Format, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let (mut progress, mut counted, mut last) = (None::<Progress>, 0, Value::Null);
    let path = format!("/lake/{}/verify", encoded(topic));
    let each = |line: Value| {
        if let Some(told) = line.get("progress") {
            let figure = |name: &str| told[name].as_u64().unwrap_or(0);
            let (done, total) = (figure("offsets") + figure("files"), figure("offsets_total") + figure("files_total"));
            if total > 0 {
                let bar = progress.get_or_insert_with(|| Progress::new(true, Some(total), "offsets and files"));
                bar.add(done.saturating_sub(counted));
                counted = done.max(counted);
            }
        } else {
            last = line;
        }
        Ok(())
    };
    broker.lines("POST", &path, each).await?;
    drop(progress);
    let Some(report) = last.get("report") else {
        let reason = last["error"].as_str().unwrap_or("it ended before there was a result").to_owned();
        return Err(CliError::Refused { whom: "the broker", status: 200, reason });
    };
    match format {
        Format::Table => write_all(out, &shown_report(report))?,
        format => print_value(out, format, report)?,
    }
    if report["equal"] == true {
        return Ok(());
    }
    Err(CliError::Differs { topic: topic.to_owned(), found: found(report) })
}

/// What differs, in a few words.
fn found(report: &Value) -> String {
    let ranges: u64 = list(&report["partitions"]).iter().filter_map(|p| p["differences_total"].as_u64()).sum();
    let damaged = list(&report["damaged"]).len();
    let mut found = Vec::new();
    if ranges > 0 {
        found.push(format!("{ranges} ranges of offsets differ"));
    }
    if damaged > 0 {
        found.push(format!("{damaged} files cannot be read"));
    }
    if report["stale"].as_u64().is_some_and(|stale| stale > 0) {
        found.push(format!("{} rows were changed or deleted since", report["stale"]));
    }
    if report["keyed"] != true && report["rows_found"] != report["rows_committed"] {
        found.push(format!(
            "{} rows were committed, {} are in the files",
            report["rows_committed"], report["rows_found"]
        ));
    }
    found.join(", ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A table of the partitions, and a line for each difference.
fn shown_report(report: &Value) -> String {
    let partition = |p: &Value| {
        let result = if p["differences_total"] == 0 { "equal" } else { "DIFFERS" };
        json!({
            "partition": p["partition"], "start": p["start"], "end": p["end"], "log": p["log_rows"],
            "lake": p["lake_rows"], "result": result,
        })
    };
    let partitions: Vec<Value> = list(&report["partitions"]).iter().map(partition).collect();
    let mut text = table(PARTITIONS, &partitions);
    for p in list(&report["partitions"]) {
        let differences = list(&p["differences"]);
        for difference in differences {
            text.push_str(&shown_difference(&p["partition"], difference));
        }
        let more = p["differences_total"].as_u64().unwrap_or(0).saturating_sub(differences.len() as u64);
        if more > 0 {
            text.push_str(&format!("partition {}: {more} more ranges differ\n", p["partition"]));
        }
    }
    for file in list(&report["damaged"]) {
        text.push_str(&format!("{}: {}\n", plain(&file["file"]), plain(&file["reason"])));
    }
    let names = |value: &Value| list(value).iter().map(plain).collect::<Vec<_>>().join(", ");
    if report["stale"].as_u64().is_some_and(|stale| stale > 0) {
        text.push_str(&format!("rows whose key the log changed or deleted since: {}\n", report["stale"]));
    }
    if !list(&report["older"]).is_empty() {
        text.push_str(&format!("not compared in files that are older than the column: {}\n", names(&report["older"])));
    }
    let columns = list(&report["columns"]).len();
    text.push_str(&format!(
        "{} data files at {}, commit {}, {} rows of {} committed; rows counted and {columns} columns hashed, the files read with our \
         own Parquet reader\n",
        report["files"], plain(&report["address"]), report["epoch"], report["rows_found"], report["rows_committed"]
    ));
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown_difference(partition: &Value, difference: &Value) -> String {
    // Ends are exclusive in the report, and inclusive for people.
    let last = difference["end"].as_i64().unwrap_or(0) - 1;
    let columns = list(&difference["columns"]).iter().map(plain).collect::<Vec<_>>().join(", ");
    let what = match columns.is_empty() {
        true => format!("{} rows in the log, {} in the lake", difference["log_rows"], difference["lake_rows"]),
        false => format!("other values in the lake: {columns}"),
    };
    format!("partition {partition}, offsets {} to {last}: {what}\n", difference["start"])
}

const PARTITIONS: &[(&str, &str)] = &[
    ("partition", "PARTITION"),
    ("start", "FROM"),
    ("end", "TO"),
    ("log", "LOG ROWS"),
    ("lake", "LAKE ROWS"),
    ("result", "RESULT"),
];

async fn status(
    broker: &Rest,
    topic: Option<String>,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
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
    match format {
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
    ("done", "DONE"),
    ("epoch", "COMMIT"),
    ("age", "COMMITTED"),
    ("lost", "LOST"),
    ("gate", "GATE"),
    ("error", "ERROR"),
];

fn shown(table: &Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let age = table["committed_at_ms"].as_i64().map(|at| format!("{} s ago", (now - at).max(0) / 1000));
    let lag_seconds = table["lag_seconds"].as_f64().map(|seconds| (seconds * 10.0).round() / 10.0);
    json!({
        "topic": table["topic"], "format": table["format"], "state": table["state"], "rows": table["rows"],
        "lag": table["lag_records"], "lag_seconds": lag_seconds, "done": shown_progress(table), "epoch": table["epoch"], "age": age,
        "lost": table["lost"], "gate": shown_gate(&table["gate"]), "error": table["error"],
    })
}

/// How much of what there is to be tiered is in the table.
fn shown_progress(table: &Value) -> String {
    let figure = |name: &str| table[name].as_u64().unwrap_or(0);
    let (there, left) = (figure("rows"), figure("lag_records"));
    // Rounded down: what is not all is not shown as all.
    let part = |of: u64| if left == 0 { of } else { there.saturating_mul(of) / there.saturating_add(left).max(1) };
    let marks = part(BAR) as usize;
    format!("[{}{}] {}%", "#".repeat(marks), ".".repeat(BAR as usize - marks), part(100))
}

/// Marks of a whole bar.
const BAR: u64 = 10;

/// What the log keeps for the lake; nothing if retention does not wait for it.
fn shown_gate(gate: &Value) -> Option<String> {
    let held = gate["held_bytes"].as_u64()?;
    let holds = if held == 0 { "open".to_owned() } else { format!("holds {}", HumanBytes(held)) };
    match gate["dropped"].as_u64() {
        None | Some(0) => Some(holds),
        Some(dropped) => Some(format!("{holds}, DROPPED {dropped} records")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_shown_with_every_column_even_before_its_first_commit() {
        let table = json!({
            "topic": "flights", "format": "parquet", "state": "starting", "rows": 0, "lag_records": 7, "lag_seconds": 1.26,
            "epoch": 0, "committed_at_ms": null, "lost": 0, "gate": null, "error": null,
        });
        let mut out = Vec::new();
        print_list(&mut out, Format::Table, COLUMNS, &[shown(&table)]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let done = ["[..........]", "0%"];
        assert_eq!(
            words,
            [&["flights", "parquet", "starting", "0", "7", "1.3"][..], &done, &["0", "-", "0", "-", "-"]].concat()
        );
    }

    #[test]
    fn a_backfill_shows_how_far_it_is_and_not_that_it_is_done_before_it_is() {
        let shown = |rows: u64, lag: u64| shown_progress(&json!({ "rows": rows, "lag_records": lag }));
        assert_eq!(shown(0, 0), "[##########] 100%");
        assert_eq!(shown(50, 50), "[#####.....] 50%");
        assert_eq!(shown(999_999, 1), "[#########.] 99%");
    }

    #[test]
    fn what_the_gate_keeps_and_what_it_gave_up_is_shown() {
        let shown = |held: u64, dropped: u64| shown_gate(&json!({ "held_bytes": held, "dropped": dropped })).unwrap();
        assert_eq!(shown(0, 0), "open");
        assert_eq!(shown(3 << 20, 0), "holds 3.00 MiB");
        assert_eq!(shown(0, 7), "open, DROPPED 7 records");
    }

    #[test]
    fn a_difference_names_partition_offsets_and_columns() {
        let partition = json!({
            "partition": 2, "start": 10, "end": 5000, "log_rows": 4990, "lake_rows": 4980, "differences_total": 3,
            "differences": [
                { "start": 1000, "end": 2000, "log_rows": 1000, "lake_rows": 990, "columns": [] },
                { "start": 4000, "end": 5000, "log_rows": 1000, "lake_rows": 1000, "columns": ["price", "at"] },
            ],
        });
        let report = json!({
            "partitions": [partition], "damaged": [{ "file": "a.parquet", "reason": "it is not there" }], "older": [],
            "columns": ["price", "at"], "files": 3, "address": "/lake/t", "epoch": 4,
        });
        let text = shown_report(&report);
        for expected in [
            "partition 2, offsets 1000 to 1999: 1000 rows in the log, 990 in the lake\n",
            "partition 2, offsets 4000 to 4999: other values in the lake: price, at\n",
            "partition 2: 1 more ranges differ\n",
            "a.parquet: it is not there\n",
            "DIFFERS",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
