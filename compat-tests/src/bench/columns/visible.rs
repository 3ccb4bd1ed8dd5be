//! From the send of a row to its sight: a consumer of columns against a consumer of records, both waiting at the end of the log.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, decode};

use super::{MEDIUM_WAL, weir};
use crate::bench::{Figure, Options, Row, Subject, report};
use crate::wire::{Connection, fetch_request, fetch_response, produce_request, produce_response, whole_batches};

const TOPIC: &str = "seen";
const ROWS_A_SECOND: u64 = 200;
/// A consumer waits so long for one row.
const PATIENCE: Duration = Duration::from_secs(10);

/// A row with the microsecond of its sending.
fn row(since: Instant) -> Result<Bytes> {
    let mut batch = BatchBuilder::new();
    let value = format!(r#"{{"sent":{},"note":"{}"}}"#, since.elapsed().as_micros(), "n".repeat(200));
    batch.append(None, Some(value.as_bytes()), &[], Timestamp(0))?;
    Ok(batch.build()?)
}

/// Sends rows at a steady rate, until so many are sent.
fn send(address: &str, since: Instant, rows: u64) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let mut response = Vec::new();
    let started = Instant::now();
    for nth in 0..rows {
        let due = Duration::from_micros(nth * 1_000_000 / ROWS_A_SECOND);
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        let batch = row(since)?;
        let correlation = connection.next_correlation();
        connection.send(&produce_request(correlation, TOPIC, -1, &[(0, &batch)]))?;
        connection.receive(&mut response)?;
        let refused = produce_response(&response)?.into_iter().find(|(_, error, _)| *error != 0);
        ensure!(refused.is_none(), "refused: {refused:?}");
    }
    Ok(())
}

fn late(since: Instant, sent: i64) -> f64 {
    (since.elapsed().as_micros() as i64 - sent) as f64 / 1000.0
}

/// Milliseconds of each row, seen by a client that fetches records.
fn plain(address: &str, since: Instant, rows: usize, from: i64) -> Result<Vec<f64>> {
    let mut connection = Connection::open(address)?;
    let (mut response, mut next, mut found) = (Vec::new(), from, Vec::new());
    let until = Instant::now() + PATIENCE + Duration::from_secs(rows as u64 / ROWS_A_SECOND);
    while found.len() < rows {
        ensure!(Instant::now() < until, "{} of {rows} rows seen", found.len());
        let correlation = connection.next_correlation();
        connection.send(&fetch_request(correlation, TOPIC, &[(0, next)], 500, 1 << 20))?;
        connection.receive(&mut response)?;
        for part in fetch_response(&response)? {
            ensure!(part.error == 0, "fetch failed with error {}", part.error);
            for (_, behind, batch) in whole_batches(part.records) {
                next = behind;
                for record in decode(batch, &Default::default())?.records() {
                    let value: serde_json::Value = serde_json::from_slice(record?.value.context("a null value")?)?;
                    found.push(late(since, value["sent"].as_i64().context("no `sent`")?));
                }
            }
        }
    }
    Ok(found)
}

/// The same by a client that fetches columns with a predicate.
fn columnar(address: &str, since: Instant, rows: usize, from: i64) -> Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let bootstrap = weir_client::parse_brokers(address)?;
        let client =
            weir_client::Client::new(weir_client::ClientConfig { bootstrap, ..weir_client::ClientConfig::default() })?;
        let query = client.topic(TOPIC).columns(["sent"]).filter("sent >= 0");
        let mut reader = query.start(weir_client::consumer::StartAt::Offset(from)).reader();
        reader.begin().await?;
        let mut found = Vec::new();
        let until = Instant::now() + PATIENCE + Duration::from_secs(rows as u64 / ROWS_A_SECOND);
        while found.len() < rows {
            ensure!(Instant::now() < until, "{} of {rows} rows seen", found.len());
            for batch in reader.poll(Duration::from_millis(500)).await? {
                let sent = batch.rows.column(0).as_primitive::<Int64Type>();
                found.extend(sent.values().iter().map(|sent| late(since, *sent)));
            }
        }
        Ok(found)
    })
}

fn percentile(found: &[f64], part: f64) -> f64 {
    let mut sorted = found.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// Both consumers in turn, rows in between.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let subject: Subject = weir(options, &MEDIUM_WAL)?;
    let address = subject.server.address.clone();
    let configs = [("weir.table.schema", "sent BIGINT NOT NULL, note STRING"), ("retention.ms", "-1")];
    Connection::open(&address)?.create_topic_and_wait(TOPIC, 1, &configs)?;
    let rows = ROWS_A_SECOND * options.seconds;
    let since = Instant::now();
    let (mut of_columns, mut of_records) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for (is_columnar, figures) in [(true, &mut of_columns), (false, &mut of_records)] {
            let from = Connection::open(&address)?.list_offset(TOPIC, 0, -1)?;
            let consumer = {
                let address = address.clone();
                let consume = if is_columnar { columnar } else { plain };
                std::thread::spawn(move || consume(&address, since, rows as usize, from))
            };
            // It is at the end by then.
            std::thread::sleep(Duration::from_secs(1));
            send(&address, since, rows)?;
            let found = consumer.join().map_err(|_| anyhow::anyhow!("the consumer panicked"))??;
            figures.push(vec![
                Figure::new("send to sight, p50", "ms", percentile(&found, 0.5)),
                Figure::new("send to sight, p99", "ms", percentile(&found, 0.99)),
            ]);
        }
    }
    println!("in this table \"weir\" fetches columns and \"Kafka\" is a plain consumer of the same weir");
    Ok(report::rows(&of_columns, &of_records))
}
