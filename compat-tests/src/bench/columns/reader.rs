//! One consumer of a table, in a process of its own so that its CPU and memory are its own: of rows, as any Kafka consumer
//! decodes them, or of columns. Both add up what they read; equal sums mean equal data.
use std::borrow::Cow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use weir_protocol::records::decode;

use crate::server::usage;
use crate::wire::{Connection, fetch_request, fetch_response, whole_batches};

/// What a reader found, and what it cost.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Reading {
    pub rows: u64,
    /// Of all wanted columns: numbers, cents, lengths of strings and true values, wrapping.
    pub sum: i64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_rss_mib: f64,
    /// Bytes of records or columns that came over the network.
    pub bytes: u64,
    /// Rows that the predicate was applied to.
    pub scanned: u64,
    /// Bytes that the broker looked at for them; 0 where nobody tells.
    #[serde(default)]
    pub bytes_scanned: u64,
}

/// What to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wish {
    pub address: String,
    pub topic: String,
    pub partitions: i32,
    /// Columns, or plain records that are decoded here.
    pub columnar: bool,
    pub columns: Vec<String>,
    /// `column < limit`.
    pub below: Option<(String, i64)>,
}

/// The hidden command of the bench binary.
pub fn main(wish: &str) -> Result<()> {
    let wish: Wish = serde_json::from_str(wish)?;
    let started = Instant::now();
    let mut reading = if wish.columnar { of_columns(&wish)? } else { of_rows(&wish)? };
    let own = usage(std::process::id())?;
    (reading.seconds, reading.cpu_seconds, reading.peak_rss_mib) =
        (started.elapsed().as_secs_f64(), own.cpu_seconds, own.peak_rss_mib);
    println!("{}", serde_json::to_string(&reading)?);
    Ok(())
}

fn cents(value: f64) -> i64 {
    (value * 100.0).round() as i64
}

fn of_columns(wish: &Wish) -> Result<Reading> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let bootstrap = weir_client::parse_brokers(&wish.address)?;
        let config = weir_client::ClientConfig { bootstrap, ..weir_client::ClientConfig::default() };
        let client = weir_client::Client::new(config)?;
        let mut query = client.topic(wish.topic.as_str()).columns(wish.columns.iter().cloned()).to_end();
        if let Some((column, limit)) = &wish.below {
            query = query.filter(format!("{column} < {limit}"));
        }
        let mut reader = query.reader();
        let mut reading = Reading::default();
        reader.begin().await?;
        while !reader.is_at_end() {
            for batch in reader.poll(Duration::from_secs(10)).await? {
                reading.rows += batch.rows.num_rows() as u64;
                reading.sum = reading.sum.wrapping_add(sum(&batch.rows)?);
            }
        }
        let statistics = reader.statistics();
        ensure!(statistics.record_answers == 0, "records instead of columns");
        (reading.bytes, reading.scanned) = (statistics.bytes_received, statistics.rows_scanned);
        reading.bytes_scanned = statistics.bytes_scanned;
        Ok(reading)
    })
}

fn sum(batch: &RecordBatch) -> Result<i64> {
    let mut total = 0i64;
    for column in batch.columns() {
        total = total.wrapping_add(match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().iter().flatten().fold(0, i64::wrapping_add),
            DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().map(cents).sum(),
            DataType::Boolean => column.as_boolean().true_count() as i64,
            DataType::Utf8 => column.as_string::<i32>().iter().flatten().map(|text| text.len() as i64).sum(),
            DataType::Dictionary(..) => {
                let keys = column.as_any_dictionary();
                let values = keys.values().as_string::<i32>();
                let at = keys.normalized_keys();
                (0..column.len()).filter(|row| keys.is_valid(*row)).map(|row| values.value(at[row]).len() as i64).sum()
            }
            other => bail!("a column of {other}"),
        });
    }
    Ok(total)
}

fn of_rows(wish: &Wish) -> Result<Reading> {
    let mut connection = Connection::open(&wish.address)?;
    let mut response = Vec::new();
    let ends =
        (0..wish.partitions).map(|p| connection.list_offset(&wish.topic, p, -1)).collect::<Result<Vec<i64>>>()?;
    let mut positions: Vec<(i32, i64)> = (0..wish.partitions).map(|p| (p, 0)).collect();
    let mut reading = Reading::default();
    let mut row = Row { wish, roles: Vec::new(), sum: 0, matches: true };
    let limit = Instant::now() + Duration::from_secs(600);
    let ask = |connection: &mut Connection, positions: &[(i32, i64)]| -> Result<()> {
        let correlation = connection.next_correlation();
        Ok(connection.send(&fetch_request(correlation, &wish.topic, positions, 500, 1 << 20))?)
    };
    ask(&mut connection, &positions)?;
    while !positions.is_empty() {
        ensure!(Instant::now() < limit, "the end is not reached: {positions:?} of {ends:?}");
        connection.receive(&mut response)?;
        let parts = fetch_response(&response)?;
        for part in &parts {
            ensure!(part.error == 0, "fetch failed with error {}", part.error);
            let position = positions.iter_mut().find(|(p, _)| *p == part.partition).context("a stray partition")?;
            position.1 = whole_batches(part.records).last().map_or(position.1, |(_, next, _)| next);
        }
        positions.retain(|(p, at)| *at < ends[*p as usize]);
        // As clients do: the next fetch is under way while rows are decoded.
        if !positions.is_empty() {
            positions.rotate_left(1);
            ask(&mut connection, &positions)?;
        }
        for part in &parts {
            reading.bytes += part.records.len() as u64;
            for (_, _, batch) in whole_batches(part.records) {
                for record in decode(batch, &Default::default())?.records() {
                    let value = record?.value.context("a null value")?;
                    (row.sum, row.matches) = (0, true);
                    let mut json = sonic_rs::Deserializer::from_slice(value);
                    (&mut row).deserialize(&mut json)?;
                    reading.scanned += 1;
                    if row.matches {
                        reading.rows += 1;
                        reading.sum = reading.sum.wrapping_add(row.sum);
                    }
                }
            }
        }
    }
    Ok(reading)
}

/// What a field of a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Skipped,
    Int { wanted: bool, below: Option<i64> },
    Double,
    Flag,
    Text,
}

/// Reads what is wanted of one JSON object and skips the rest, as a consumer with a struct of those fields does.
struct Row<'w> {
    wish: &'w Wish,
    /// Fields in the order of the first row: the next one is where it is expected, without a search.
    roles: Vec<(String, Role)>,
    sum: i64,
    matches: bool,
}

impl Row<'_> {
    /// The kinds are told by the prefix of the name, as a struct's fields would tell them.
    fn role(&mut self, at: usize, name: &str) -> Role {
        if let Some((known, role)) = self.roles.get(at)
            && known == name
        {
            return *role;
        }
        let wanted = self.wish.columns.iter().any(|column| column == name);
        let below = self.wish.below.as_ref().filter(|(column, _)| column == name).map(|(_, limit)| *limit);
        let role = match name.split('_').next() {
            _ if !wanted && below.is_none() => Role::Skipped,
            Some("int") => Role::Int { wanted, below },
            Some("price") => Role::Double,
            Some("flag") => Role::Flag,
            _ => Role::Text,
        };
        self.roles.truncate(at);
        self.roles.push((name.to_owned(), role));
        role
    }
}

impl<'de> DeserializeSeed<'de> for &mut Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// Borrowed where nothing is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for &mut Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut at = 0;
        while let Some(Text(name)) = map.next_key()? {
            let value = match self.role(at, &name) {
                Role::Skipped => {
                    map.next_value::<IgnoredAny>()?;
                    0
                }
                Role::Int { wanted, below } => {
                    let value: i64 = map.next_value()?;
                    self.matches &= below.is_none_or(|limit| value < limit);
                    if wanted { value } else { 0 }
                }
                Role::Double => cents(map.next_value()?),
                Role::Flag => i64::from(map.next_value::<bool>()?),
                Role::Text => map.next_value::<Text>()?.0.len() as i64,
            };
            self.sum = self.sum.wrapping_add(value);
            at += 1;
        }
        Ok(())
    }
}
