//! `weir table retype`: a topic without a schema becomes a table, after its records were read as rows of it.
//!
//! Records stay as they are: readers see them as rows from then on, and merges store them as weir.layout says. What does not fit is a
//! row of nulls to readers of columns, and keeps its bytes. So nothing is lost, but it is worth knowing before.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use weir_client::admin::{Admin, ConfigChange, ConfigResource, OffsetQuery};
use weir_client::consumer::{Consumer, ConsumerConfig, ConsumerRecord, StartAt};
use weir_table::codec::{RowError, RowErrorKind};
use weir_table::table::{RowFormat, TableOptions};
use weir_table::{Table, TableSchema};

use super::{configs, parse, value};
use crate::cli::output::{Format, print_list, print_value, write_all};
use crate::cli::{CliError, Context, note};

#[derive(Debug, clap::Args)]
pub(super) struct RetypeArgs {
    /// Name of the topic
    topic: String,
    /// Columns of the table, as DDL
    #[arg(long, value_name = "DDL")]
    schema: String,
    /// Only tell how many records fit, and why others do not
    #[arg(long)]
    dry_run: bool,
    /// Make it a table although records do not fit: they are rows of nulls, and keep their bytes
    #[arg(long)]
    force: bool,
}

/// How records fit.
#[derive(Debug, Default)]
struct Fit {
    rows: u64,
    /// Records without value.
    tombstones: u64,
    /// By column and rule: how many, and the first of them.
    misfits: BTreeMap<(String, String), (u64, String)>,
}

pub(super) async fn run(
    context: &Context,
    args: RetypeArgs,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    let before = configs(&admin, &args.topic).await?;
    if !value(&before, "weir.table.schema").is_empty() {
        return Err(CliError::Invalid {
            setting: "table retype",
            value: args.topic,
            reason: "has a schema already".into(),
            fix: "change it with `weir table alter TOPIC --schema DDL`".into(),
        });
    }
    let table = table(&args.schema)?;
    // What the broker would refuse is refused before everything is read.
    let change = ConfigChange::Set("weir.table.schema".to_owned(), args.schema.clone());
    let (resource, changes) = (ConfigResource::topic(&args.topic), [change]);
    admin.alter_configs(&resource, &changes, true).await?;
    let fit = read(&admin, &args.topic, &table).await?;
    report(&args.topic, &fit, format, out)?;
    let misfits: u64 = fit.misfits.values().map(|(records, _)| records).sum();
    if args.dry_run {
        return Ok(());
    }
    if misfits > 0 && !args.force {
        return Err(CliError::Invalid {
            setting: "table retype",
            value: args.topic,
            reason: format!("has {misfits} records that do not fit; nothing was changed"),
            fix: "change --schema, or take them as rows of nulls with --force".into(),
        });
    }
    admin.alter_configs(&resource, &changes, false).await?;
    note("the topic is a table now");
    Ok(())
}

fn table(ddl: &str) -> Result<Arc<Table>, CliError> {
    let invalid = |reason: String| CliError::Invalid {
        setting: "--schema",
        value: ddl.chars().take(80).collect(),
        reason: format!("makes no table: {reason}"),
        fix: "see `weir table schema` of another topic".into(),
    };
    let schema = TableSchema::create(parse("--schema", ddl)?, &[]).map_err(|error| invalid(error.to_string()))?;
    let table = Table::new(vec![Arc::new(schema)], RowFormat::json(), None, TableOptions::default());
    table.map(Arc::new).map_err(|error| invalid(error.to_string()))
}

/// Reads what the topic has now.
async fn read(admin: &Admin, topic: &str, table: &Table) -> Result<Fit, CliError> {
    let ends = admin.topic_offsets(topic, OffsetQuery::Latest).await?;
    let ends: BTreeMap<i32, i64> = ends.iter().map(|(partition, end)| (*partition, end.offset.unwrap_or(0))).collect();
    let mut consumer = Consumer::new(admin.client().clone(), ConsumerConfig::default());
    consumer.assign(
        ends.iter().filter(|(_, end)| **end > 0).map(|(partition, _)| ((topic.into(), *partition), StartAt::Earliest)),
    );
    let mut fit = Fit::default();
    let is_read = |consumer: &Consumer| {
        let positions = consumer.positions();
        ends.iter()
            .all(|(partition, end)| *end == 0 || positions.get(&(topic.into(), *partition)).is_some_and(|at| at >= end))
    };
    while !is_read(&consumer) {
        let records = consumer.poll(Duration::from_millis(500)).await?;
        let mut rows = table.validator();
        for record in
            records.iter().filter(|record| ends.get(&record.partition).is_some_and(|end| record.offset < *end))
        {
            match rows.push(record.key.as_deref(), record.value.as_deref()) {
                Ok(()) => fit.rows += 1,
                Err(_) if record.value.is_none() => fit.tombstones += 1,
                Err(error) => fit.misfit(record, &error),
            }
        }
        table.release(rows);
    }
    Ok(fit)
}

impl Fit {
    fn misfit(&mut self, record: &ConsumerRecord, error: &RowError) {
        // Items of lists and maps are one column; the value is the first one's.
        let column = error.column.split('[').next().unwrap_or_default().to_owned();
        let rule = match &error.kind {
            RowErrorKind::Value { expected, rule, .. } => format!("not a value of {expected}: {rule}"),
            kind => kind.to_string(),
        };
        let place = || format!("partition {}, offset {}: {error}", record.partition, record.offset);
        self.misfits.entry((column, rule)).or_insert_with(|| (0, place())).0 += 1;
    }
}

fn report(topic: &str, fit: &Fit, format: Format, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let misfits: Vec<_> = fit
        .misfits
        .iter()
        .map(|((column, rule), (records, first))| json!({ "records": records, "column": column, "rule": rule, "first": first }))
        .collect();
    if format != Format::Table {
        let whole = json!({ "topic": topic, "rows": fit.rows, "tombstones": fit.tombstones, "misfits": misfits });
        return print_value(out, format, &whole);
    }
    write_all(out, &format!("{} records fit, {} have no value\n", fit.rows, fit.tombstones))?;
    if misfits.is_empty() {
        return Ok(());
    }
    let titles = [("records", "RECORDS"), ("column", "COLUMN"), ("rule", "DO NOT FIT BECAUSE"), ("first", "FIRST")];
    print_list(out, format, &titles, &misfits)
}
