//! `weir produce TOPIC`: each line of standard input becomes a record.
//!
//! Lines are read, batched and acknowledged concurrently, with bounded buffers between; deliveries are awaited in input
//! order, so the first record that could not be written is named by its number. Ctrl-C stops reading, and what was read is still
//! written and reported.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::ValueEnum;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use weir_client::producer::{Acks, Delivery, Producer, ProducerConfig, ProducerRecord};
use weir_client::{AutoCreate, ClientError};
use weir_protocol::records::Compression;

use super::args::{parse_bytes, parse_pair, parse_separator};
use super::progress::Progress;
use super::signals::Interrupt;
use super::{CliError, Context, note};

/// Deliveries that may be awaited at once; the producer's own buffer limits their bytes.
const DELIVERIES_MAX: usize = 100_000;

/// Flags of `produce`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  echo 'hello' | weir produce greetings
  weir produce flights -K '\\t' -z zstd < flights.tsv       # key, tab, value
  echo 'AA:' | weir produce airlines -K : -Z                # a tombstone for key AA")]
pub struct ProduceArgs {
    /// Name of the topic; created if it is missing and the broker allows it
    topic: String,
    /// Split each line into key and value at the first occurrence of this; a line without it has no key
    #[arg(short = 'K', long, value_name = "SEPARATOR", value_parser = parse_separator)]
    key_separator: Option<Separator>,
    /// One key for all records
    #[arg(short, long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// Header for all records; may be repeated, also with the same name
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_pair)]
    headers: Vec<(String, String)>,
    /// Partition for all records [default: by key as Kafka's Java client chooses, else spread]
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Codec of the batches
    #[arg(short = 'z', long, value_enum, default_value_t)]
    compression: Codec,
    /// Level of the codec [default: the codec's own]
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    compression_level: Option<i32>,
    /// Send empty values (and empty keys) as null: a null value is a tombstone
    #[arg(short = 'Z', long = "null-if-empty")]
    null_if_empty: bool,
    /// What ends a record in the input
    #[arg(short = 'D', long, value_name = "DELIMITER", default_value = "\\n", value_parser = parse_separator)]
    delimiter: Separator,
    /// When a record counts as written
    #[arg(long, value_enum, default_value_t)]
    acks: AcksArg,
    /// Timestamp for all records, in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MS")]
    timestamp: Option<i64>,
    /// Longest record of the input, e.g. 4MiB
    #[arg(long, value_name = "BYTES", default_value = "1000000", value_parser = parse_bytes)]
    max_bytes: usize,
    /// How long to try to write a record
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = super::args::parse_duration)]
    delivery_timeout: Duration,
    /// Do not create the topic
    #[arg(long)]
    no_create: bool,
    /// Print topic, partition and offset of each record written
    #[arg(short, long)]
    verbose: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

/// A parsed separator; an alias keeps clap from taking it for a list of arguments.
type Separator = Vec<u8>;

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum AcksArg {
    /// Once it is as durable as the topic promises
    #[default]
    All,
    /// Once the leader wrote it
    #[value(name = "1")]
    Leader,
    /// At once
    #[value(name = "0")]
    None,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Self {
        match acks {
            AcksArg::All => Self::All,
            AcksArg::Leader => Self::Leader,
            AcksArg::None => Self::None,
        }
    }
}

impl ProduceArgs {
    fn producer_config(&self) -> ProducerConfig {
        let acks = Acks::from(self.acks);
        let defaults = ProducerConfig::default();
        ProducerConfig {
            acks,
            idempotent: acks == Acks::All,
            compression: self.compression.into(),
            compression_level: self.compression_level,
            // Headers and lengths come on top of the line.
            request_bytes_max: defaults.request_bytes_max.max(self.max_bytes.saturating_add(64 << 10)),
            buffer_bytes_max: defaults.buffer_bytes_max.max(self.max_bytes.saturating_mul(4).min(1 << 30)),
            delivery_timeout: self.delivery_timeout,
            auto_create: if self.no_create { AutoCreate::Forbidden } else { AutoCreate::Allowed },
            ..defaults
        }
    }

    /// Makes a record of a line.
    fn record(&self, line: Bytes) -> ProducerRecord {
        let (key, value) = match &self.key_separator {
            Some(separator) => match find(&line, separator) {
                Some(at) => (Some(line.slice(..at)), line.slice(at + separator.len()..)),
                None => (None, line),
            },
            None => (self.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes())), line),
        };
        let null = |bytes: &Bytes| self.null_if_empty && bytes.is_empty();
        let header = |(name, value): &(String, String)| {
            (Bytes::copy_from_slice(name.as_bytes()), Some(Bytes::copy_from_slice(value.as_bytes())))
        };
        ProducerRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            key: key.filter(|key| !null(key)),
            value: Some(value).filter(|value| !null(value)),
            headers: self.headers.iter().map(header).collect(),
            timestamp_ms: self.timestamp,
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

pub(crate) async fn run(context: &mut Context, args: ProduceArgs, interrupt: &Interrupt) -> Result<(), CliError> {
    use std::io::IsTerminal;
    // The delivery timeout limits retries; within it a broker may restart.
    context.client.retry_timeout = context.client.retry_timeout.min(args.delivery_timeout);
    let client = context.client()?;
    let create = if args.no_create { AutoCreate::Forbidden } else { AutoCreate::Allowed };
    // Before anything is typed: a broker that is not there, or a misspelt topic, should not wait for the first line.
    client.topic_info(&args.topic, create).await?;
    let interactive = std::io::stdin().is_terminal();
    if interactive && !args.quiet {
        note(&format!("writing to `{}`: one record per line, Ctrl-D ends", args.topic));
    }
    let progress = Progress::new(!interactive && !args.quiet && !args.verbose, None, "records written");
    let producer = Producer::start(client, args.producer_config())?;
    let input = BufReader::with_capacity(256 << 10, tokio::io::stdin());
    write_lines(&args, producer, input, interrupt, progress).await
}

async fn write_lines(
    args: &ProduceArgs,
    producer: Producer,
    input: impl AsyncBufRead + Unpin,
    interrupt: &Interrupt,
    progress: Progress,
) -> Result<(), CliError> {
    let started = Instant::now();
    let (deliveries, awaited) = mpsc::channel(DELIVERIES_MAX);
    let verbose = args.verbose;
    let confirm = tokio::spawn(confirm(awaited, verbose, progress));
    let read = read_lines(args, &producer, input, interrupt, deliveries).await;
    let closed = producer.close().await;
    let confirmed = match confirm.await {
        Ok(confirmed) => confirmed,
        Err(_) => return Err(ClientError::Closed { what: "task that awaits deliveries" }.into()),
    };
    if !args.quiet {
        confirmed.report(&args.topic, started.elapsed());
    }
    // The record that was not written says more than that the producer then closed.
    match confirmed.failure {
        Some((number, source)) => Err(CliError::NotWritten { number, source }),
        None => read.and(closed.map_err(CliError::from)),
    }
}

async fn read_lines(
    args: &ProduceArgs,
    producer: &Producer,
    mut input: impl AsyncBufRead + Unpin,
    interrupt: &Interrupt,
    deliveries: mpsc::Sender<(u64, Delivery)>,
) -> Result<(), CliError> {
    let mut number = 0;
    loop {
        number += 1;
        let line = tokio::select! {
            line = read_record(&mut input, &args.delimiter, args.max_bytes, number) => line?,
            () = interrupt.received() => return Ok(()),
            // The first failure ends the reading: what follows would be written out of order.
            () = deliveries.closed() => return Ok(()),
        };
        let Some(line) = line else { return Ok(()) };
        let delivery = producer.send(args.record(line)).await;
        let delivery = delivery.map_err(|source| CliError::NotWritten { number, source })?;
        if deliveries.send((number, delivery)).await.is_err() {
            return Ok(());
        }
    }
}

/// The next record of the input without its delimiter; none at the end. Never holds more than `limit` and a delimiter.
async fn read_record(
    input: &mut (impl AsyncBufRead + Unpin),
    delimiter: &[u8],
    limit: usize,
    number: u64,
) -> Result<Option<Bytes>, CliError> {
    let mut record = Vec::new();
    let Some((&last, _)) = delimiter.split_last() else { return Ok(None) };
    loop {
        let available = input.fill_buf().await.map_err(CliError::io("reading standard input"))?;
        if available.is_empty() {
            return Ok((!record.is_empty()).then(|| Bytes::from(record)));
        }
        let found = available.iter().position(|byte| *byte == last);
        let taken = found.map_or(available.len(), |at| at + 1);
        record.extend_from_slice(&available[..taken]);
        input.consume(taken);
        if found.is_some() && record.ends_with(delimiter) {
            record.truncate(record.len() - delimiter.len());
            let fits = record.len() <= limit;
            return if fits { Ok(Some(Bytes::from(record))) } else { Err(CliError::InputTooLong { number, limit }) };
        }
        if record.len() > limit + delimiter.len() {
            return Err(CliError::InputTooLong { number, limit });
        }
    }
}

/// What became of the records.
#[derive(Default)]
struct Confirmed {
    by_partition: BTreeMap<i32, u64>,
    failure: Option<(u64, ClientError)>,
}

impl Confirmed {
    fn report(&self, topic: &str, elapsed: Duration) {
        let total: u64 = self.by_partition.values().sum();
        let partitions: Vec<_> =
            self.by_partition.iter().map(|(partition, count)| format!("{partition}: {count}")).collect();
        let spread =
            if partitions.is_empty() { String::new() } else { format!(" (partition {})", partitions.join(", ")) };
        let plural = if total == 1 { "record" } else { "records" };
        note(&format!("{total} {plural} written to `{topic}` in {:.1} s{spread}", elapsed.as_secs_f64()));
    }
}

/// Awaits deliveries in input order until the first failure, and counts.
async fn confirm(mut awaited: mpsc::Receiver<(u64, Delivery)>, verbose: bool, progress: Progress) -> Confirmed {
    let mut confirmed = Confirmed::default();
    while let Some((number, delivery)) = awaited.recv().await {
        match delivery.await {
            Ok(written) => {
                *confirmed.by_partition.entry(written.partition).or_default() += 1;
                progress.add(1);
                if verbose {
                    let offset = written.offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
                    note(&format!("{} {} {offset}", written.topic, written.partition));
                }
            }
            Err(error) => {
                confirmed.failure = Some((number, error));
                break;
            }
        }
    }
    // Closing tells the reader to stop; deliveries behind the failure still count if they were written.
    awaited.close();
    while let Some((_, delivery)) = awaited.recv().await {
        if let Ok(written) = delivery.await {
            *confirmed.by_partition.entry(written.partition).or_default() += 1;
        }
    }
    confirmed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Parser {
        #[command(flatten)]
        args: ProduceArgs,
    }

    fn args(words: &[&str]) -> ProduceArgs {
        let words = ["produce", "t"].iter().chain(words);
        <Parser as clap::Parser>::try_parse_from(words).unwrap().args
    }

    fn record(flags: &[&str], line: &'static str) -> (Option<String>, Option<String>) {
        let record = args(flags).record(Bytes::from_static(line.as_bytes()));
        let text = |bytes: Option<Bytes>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        (text(record.key), text(record.value))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn lines_split_into_key_and_value_at_the_first_separator() {
        assert_eq!(record(&["-K", ":"], "k:v:w"), (some("k"), some("v:w")));
        assert_eq!(record(&["-K", r"\t"], "k\tv"), (some("k"), some("v")));
        assert_eq!(record(&["-K", "::"], "k:v"), (None, some("k:v")));
        assert_eq!(record(&["-K", ":"], ":v"), (some(""), some("v")));
        assert_eq!(record(&["-k", "fixed"], "v"), (some("fixed"), some("v")));
        assert_eq!(record(&[], "v"), (None, some("v")));
    }

    #[test]
    fn empty_values_become_tombstones_only_on_request() {
        assert_eq!(record(&["-K", ":"], "k:"), (some("k"), some("")));
        assert_eq!(record(&["-K", ":", "-Z"], "k:"), (some("k"), None));
        assert_eq!(record(&["-K", ":", "-Z"], ":v"), (None, some("v")));
    }

    #[test]
    fn headers_may_repeat() {
        let record = args(&["-H", "a=1", "-H", "a=2"]).record(Bytes::new());
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| (&key[..], value.as_deref().unwrap())).collect();
        assert_eq!(headers, [(&b"a"[..], &b"1"[..]), (b"a", b"2")]);
    }

    #[test]
    fn without_all_acks_the_producer_is_not_idempotent() {
        assert!(args(&[]).producer_config().idempotent);
        assert!(!args(&["--acks", "1"]).producer_config().idempotent);
    }

    async fn read_all(input: &[u8], delimiter: &[u8], limit: usize) -> Result<Vec<Bytes>, CliError> {
        let mut input = BufReader::with_capacity(3, input);
        let mut records = Vec::new();
        while let Some(record) = read_record(&mut input, delimiter, limit, 1).await? {
            records.push(record);
        }
        Ok(records)
    }

    #[tokio::test]
    async fn records_end_at_delimiters_of_any_length_and_at_the_end_of_input() {
        assert_eq!(read_all(b"a\n\nbcdefgh", b"\n", 10).await.unwrap(), ["a", "", "bcdefgh"]);
        assert_eq!(read_all(b"a\nb--c-d--", b"--", 10).await.unwrap(), ["a\nb", "c-d"]);
        assert!(read_all(b"", b"\n", 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_record_beyond_the_limit_is_an_error_and_never_held_in_memory() {
        assert_eq!(read_all(b"12345\n", b"\n", 5).await.unwrap(), ["12345"]);
        let endless = vec![b'x'; 1000];
        assert!(matches!(read_all(b"123456\n", b"\n", 5).await, Err(CliError::InputTooLong { limit: 5, .. })));
        assert!(matches!(read_all(&endless, b"\n", 5).await, Err(CliError::InputTooLong { .. })));
    }
}
