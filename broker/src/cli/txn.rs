//! `weir txn`: which transactions there are, what they hold, and how to end one.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use weir_client::admin::{Admin, PartitionProducer, TransactionDescription, TransactionFilter};

use super::args::parse_duration;
use super::output::{Format, OutputArgs, print_list, print_value, table, write_all};
use super::{CliError, Context, note};

/// The state in which a transaction can still be aborted; in the others it has ended, or its end is decided.
const ONGOING: &str = "Ongoing";

/// Flags of `txn`.
#[derive(Debug, clap::Args)]
pub struct TxnArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: TxnCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TxnCommand {
    /// List transactional ids
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show the state, age and partitions of transactions
    Describe {
        /// Transactional ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Show the producers of a partition, with the offset at which an open transaction began
    Producers {
        /// The partition
        #[arg(value_name = "TOPIC:PARTITION", value_parser = parse_partition)]
        partition: (String, i32),
    },
    /// Abort open transactions and fence their producers; or end one on a partition that nobody will end
    Abort(AbortArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only in these states: Ongoing, Empty, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only with these producer ids
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    producer_id: Vec<i64>,
    /// Only what has been open for longer than this, e.g. 10s, 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    longer_than: Option<Duration>,
    /// Only ids that match this regular expression as a whole
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
}

#[derive(Debug, clap::Args)]
struct AbortArgs {
    /// Transactional ids
    #[arg(required_unless_present = "partition", conflicts_with = "partition", value_name = "ID")]
    ids: Vec<String>,
    /// End a hanging transaction on this partition alone, past the coordinator
    #[arg(long, requires = "start_offset", value_name = "TOPIC:PARTITION", value_parser = parse_partition)]
    partition: Option<(String, i32)>,
    /// Where that transaction began (see `weir txn producers`)
    #[arg(long, requires = "partition", value_name = "OFFSET")]
    start_offset: Option<i64>,
}

fn parse_partition(text: &str) -> Result<(String, i32), String> {
    let (topic, partition) = text.rsplit_once(':').ok_or("write it as TOPIC:PARTITION, e.g. orders:0")?;
    match partition.parse() {
        Ok(partition) if !topic.is_empty() && partition >= 0 => Ok((topic.to_owned(), partition)),
        _ => Err("write it as TOPIC:PARTITION, e.g. orders:0".into()),
    }
}

pub(crate) async fn run(context: &Context, args: TxnArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    let format = args.output.output;
    match args.command {
        TxnCommand::List(args) => list(&admin, args, format, out).await,
        TxnCommand::Describe { ids } => describe(&admin, &ids, format, out).await,
        TxnCommand::Producers { partition: (topic, partition) } => {
            producers(&admin, &topic, partition, format, out).await
        }
        TxnCommand::Abort(AbortArgs { ids, partition, start_offset }) => match partition.zip(start_offset) {
            Some(((topic, partition), start)) => abort_hanging(&admin, &topic, partition, start, format, out).await,
            None => abort(&admin, &ids, format, out).await,
        },
    }
}

async fn list(admin: &Admin, args: ListArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let filter = TransactionFilter {
        states: args.state,
        producer_ids: args.producer_id,
        longer_than_ms: args.longer_than.map(|limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)),
        pattern: args.pattern,
    };
    let listed = admin.list_transactions(&filter).await?;
    if listed.is_empty() && format == Format::Table {
        note(if filter == TransactionFilter::default() {
            "no transactions; a producer with a `transactional.id` makes them"
        } else {
            "no transaction matches; without filters all are listed"
        });
    }
    let items: Vec<_> = listed
        .iter()
        .map(|txn| {
            json!({
                "transactional_id": txn.transactional_id, "state": txn.state, "producer_id": txn.producer_id,
                "coordinator": txn.coordinator
            })
        })
        .collect();
    let columns = [
        ("transactional_id", "TRANSACTIONAL-ID"),
        ("state", "STATE"),
        ("producer_id", "PRODUCER-ID"),
        ("coordinator", "COORDINATOR"),
    ];
    print_list(out, format, &columns, &items)
}

fn described(txn: &TransactionDescription, now_ms: i64) -> Value {
    let partitions: Vec<_> = txn
        .partitions
        .iter()
        .flat_map(|(topic, partitions)| partitions.iter().map(move |partition| json!(format!("{topic}:{partition}"))))
        .collect();
    // The coordinator goes on telling when a transaction began that has ended.
    let is_open = txn.state == ONGOING || txn.state.starts_with("Prepare");
    let started_at_ms = txn.started_at_ms.filter(|_| is_open);
    json!({
        "transactional_id": txn.transactional_id, "state": txn.state, "producer_id": txn.producer_id,
        "producer_epoch": txn.producer_epoch, "coordinator": txn.coordinator, "timeout_ms": txn.timeout_ms,
        "started_at_ms": started_at_ms, "open_for_ms": started_at_ms.map(|at| (now_ms - at).max(0)),
        "partitions": partitions
    })
}

async fn describe(admin: &Admin, ids: &[String], format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let now_ms = super::args::now_ms();
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        items.push(described(&admin.describe_transaction(id).await?, now_ms));
    }
    if format != Format::Table {
        return print_value(out, format, &Value::Array(items));
    }
    let columns = [
        ("transactional_id", "TRANSACTIONAL-ID"),
        ("state", "STATE"),
        ("producer_id", "PRODUCER-ID"),
        ("producer_epoch", "EPOCH"),
        ("timeout_ms", "TIMEOUT-MS"),
        ("open_for_ms", "OPEN-MS"),
        ("partitions", "PARTITIONS"),
    ];
    write_all(out, &table(&columns, &items))
}

fn producer_json(producer: &PartitionProducer) -> Value {
    json!({
        "producer_id": producer.producer_id, "producer_epoch": producer.producer_epoch,
        "coordinator_epoch": producer.coordinator_epoch, "last_sequence": producer.last_sequence,
        "last_timestamp_ms": producer.last_timestamp_ms, "transaction_start": producer.transaction_start
    })
}

async fn producers(
    admin: &Admin,
    topic: &str,
    partition: i32,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let found = admin.describe_producers(topic, partition).await?;
    if found.is_empty() && format == Format::Table {
        note("no producer with a producer id has written to this partition lately");
    }
    let items: Vec<_> = found.iter().map(producer_json).collect();
    let columns = [
        ("producer_id", "PRODUCER-ID"),
        ("producer_epoch", "EPOCH"),
        ("coordinator_epoch", "COORDINATOR-EPOCH"),
        ("last_sequence", "LAST-SEQUENCE"),
        ("last_timestamp_ms", "LAST-TIMESTAMP"),
        ("transaction_start", "TRANSACTION-START"),
    ];
    print_list(out, format, &columns, &items)
}

/// Aborts what is open; an id without an open transaction keeps its producer.
async fn abort(admin: &Admin, ids: &[String], format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let mut items = Vec::with_capacity(ids.len());
    for id in ids {
        let before = admin.describe_transaction(id).await?;
        let is_open = before.state == ONGOING;
        let epoch = if is_open { admin.fence_producer(id).await?.1 } else { before.producer_epoch };
        items.push(json!({
            "transactional_id": id, "state_before": before.state, "aborted": is_open, "producer_epoch": epoch
        }));
    }
    let columns = [
        ("transactional_id", "TRANSACTIONAL-ID"),
        ("state_before", "STATE BEFORE"),
        ("aborted", "ABORTED"),
        ("producer_epoch", "EPOCH"),
    ];
    print_list(out, format, &columns, &items)
}

async fn abort_hanging(
    admin: &Admin,
    topic: &str,
    partition: i32,
    start: i64,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let producers = admin.describe_producers(topic, partition).await?;
    let Some(producer) = producers.iter().find(|producer| producer.transaction_start == Some(start)) else {
        return Err(CliError::Invalid {
            setting: "--start-offset",
            value: start.to_string(),
            reason: format!("is not where an open transaction of {topic}:{partition} began"),
            fix: format!("see the offsets of `weir txn producers {topic}:{partition}`"),
        });
    };
    admin.abort_on_partition(topic, partition, producer).await?;
    let item = json!({
        "partition": format!("{topic}:{partition}"), "producer_id": producer.producer_id,
        "transaction_start": start, "aborted": true
    });
    let columns = [
        ("partition", "PARTITION"),
        ("producer_id", "PRODUCER-ID"),
        ("transaction_start", "TRANSACTION-START"),
        ("aborted", "ABORTED"),
    ];
    print_list(out, format, &columns, &[item])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_a_topic_a_colon_and_a_number() {
        assert_eq!(parse_partition("orders:3"), Ok(("orders".into(), 3)));
        assert_eq!(parse_partition("a:b:0"), Ok(("a:b".into(), 0)));
        for text in ["orders", "orders:", ":1", "orders:-1", "orders:x"] {
            assert!(parse_partition(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_open_transaction_has_an_age_and_a_closed_one_has_none() {
        let mut txn = TransactionDescription {
            transactional_id: "t".into(),
            coordinator: 1,
            state: ONGOING.into(),
            producer_id: 5,
            producer_epoch: 2,
            timeout_ms: 60_000,
            started_at_ms: Some(1_000),
            partitions: [("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![1])].into(),
        };
        let shown = described(&txn, 4_500);
        assert_eq!((&shown["open_for_ms"], &shown["partitions"]), (&json!(3_500), &json!(["a:0", "a:2", "b:1"])));
        txn.state = "CompleteCommit".into();
        assert_eq!(described(&txn, 4_500)["open_for_ms"], Value::Null);
    }
}
