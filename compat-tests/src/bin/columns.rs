//! `columns BROKERS`: the Rust client's readings for suites in other languages.
//!
//! Standard input asks, one JSON object a line (see [`Wish`]). The rows go to a file, an Arrow IPC stream; standard output says what the
//! reading cost, or why there are no rows. Offsets that the client tells beside a batch are compared with its column `_offset`.
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_client::columnar::{ColumnBatch, ReadUntil};
use weir_client::consumer::StartAt;
use weir_client::{Client, ClientConfig, parse_brokers};

/// One reading.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    topic: String,
    columns: Option<Vec<String>>,
    #[serde(rename = "where")]
    predicate: Option<String>,
    #[serde(default)]
    partitions: Option<Vec<i32>>,
    /// Offset of each partition; without it, the beginning.
    #[serde(default)]
    start: Option<i64>,
    /// Offset to stop before; without it, the end as it is at the start.
    #[serde(default)]
    end: Option<i64>,
    /// The end need not be there yet: it is waited for.
    #[serde(default)]
    forever: bool,
    /// Bytes of one partition in an answer, and of all answers that wait.
    #[serde(default)]
    fetch_bytes: Option<i32>,
    /// After the first batch, tell its rows and wait for a line.
    #[serde(default)]
    pause: bool,
    out: PathBuf,
}

fn main() -> Result<()> {
    let brokers = std::env::args().nth(1).context("usage: columns BROKERS")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new(ClientConfig { bootstrap: parse_brokers(&brokers)?, ..ClientConfig::default() })?;
        let mut asked = BufReader::new(std::io::stdin());
        let mut line = String::new();
        loop {
            line.clear();
            if asked.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let wish: Wish = serde_json::from_str(&line)?;
            let answer = match read(&client, &wish, &mut asked).await {
                Ok(cost) => cost,
                Err(error) => json!({ "error": format!("{error:#}") }),
            };
            say(&answer)?;
        }
    })
}

fn say(answer: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}

async fn read(client: &Client, wish: &Wish, asked: &mut impl BufRead) -> Result<Value> {
    let mut query = client.topic(wish.topic.as_str());
    if let Some(columns) = &wish.columns {
        query = query.columns(columns.iter().cloned());
    }
    if let Some(predicate) = &wish.predicate {
        query = query.filter(predicate.as_str());
    }
    if let Some(partitions) = &wish.partitions {
        query = query.partitions(partitions.iter().copied());
    }
    if let Some(start) = wish.start {
        query = query.start(StartAt::Offset(start));
    }
    if let Some(bytes) = wish.fetch_bytes {
        query = query.fetch_bytes(bytes, bytes);
    }
    query = query.until(match (wish.forever, wish.end) {
        (true, _) => ReadUntil::Forever,
        (false, Some(end)) => ReadUntil::Offset(end),
        (false, None) => ReadUntil::End,
    });
    let schema = query.clone();
    let mut reader = query.reader();
    let mut rows = Rows { out: wish.out.clone(), file: None };
    let mut paused = !wish.pause;
    reader.begin().await?;
    loop {
        let is_behind = || reader.positions().values().any(|at| wish.end.is_some_and(|end| *at >= end));
        if reader.is_at_end() || (wish.forever && is_behind()) {
            break;
        }
        for batch in reader.poll(Duration::from_secs(10)).await? {
            rows.add(&batch)?;
            if !std::mem::replace(&mut paused, true) {
                say(&json!({ "paused": batch.rows.num_rows() }))?;
                asked.read_line(&mut String::new())?;
            }
        }
    }
    if rows.file.is_none() {
        rows.start(schema.schema().await?)?;
    }
    rows.finish()?;
    let cost = reader.statistics();
    Ok(json!({
        "rows_scanned": cost.rows_scanned, "rows_returned": cost.rows_returned, "rows_errored": cost.rows_errored,
        "bytes_received": cost.bytes_received, "record_answers": cost.record_answers,
    }))
}

/// The file of one reading.
struct Rows {
    out: PathBuf,
    file: Option<(SchemaRef, StreamWriter<BufWriter<File>>)>,
}

impl Rows {
    fn start(&mut self, schema: SchemaRef) -> Result<&mut StreamWriter<BufWriter<File>>> {
        let writer = StreamWriter::try_new(BufWriter::new(File::create(&self.out)?), &schema)?;
        Ok(&mut self.file.insert((schema, writer)).1)
    }

    fn add(&mut self, batch: &ColumnBatch) -> Result<()> {
        if let Some(told) = batch.rows.column_by_name("_offset") {
            let told = told.as_primitive::<Int64Type>().values();
            ensure!(batch.offsets.iter().eq(told.iter().copied()), "the offsets of a batch are not those of its rows");
        }
        let schema = batch.rows.schema();
        match &mut self.file {
            Some((first, _)) if *first != schema => bail!("the columns changed within a reading"),
            Some((_, writer)) => writer.write(&batch.rows)?,
            None => self.start(schema)?.write(&batch.rows)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        if let Some((_, mut writer)) = self.file {
            writer.finish()?;
        }
        Ok(())
    }
}
