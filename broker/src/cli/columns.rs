//! `weir consume TOPIC --columns ... --where ...`: columns of the rows that match.
//!
//! The broker does the filtering where it can (feature `weir.columnar`); of other brokers records are fetched and filtered here. What
//! was printed is committed in a group, and nothing else.

use std::collections::BTreeMap;
use std::io::{BufWriter, IsTerminal, Stdout};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};
use weir_client::columnar::{ColumnBatch, ColumnReader, GroupColumnReader, ReadStatistics, ReadUntil, TopicQuery};
use weir_client::consumer::{StartAt, TopicPartition};

use super::consume::{ConsumeArgs, LEAVE, Plan};
use super::progress::Progress;
use super::rows::{RowFormat, RowWriter};
use super::signals::Interrupt;
use super::{CliError, Context, note};

/// How long one poll waits: the pace of the progress bar.
const POLL: Duration = Duration::from_millis(200);

pub(super) async fn run(context: &Context, args: &ConsumeArgs, interrupt: &Interrupt) -> Result<(), CliError> {
    let [topic] = args.topics() else {
        return Err(CliError::Invalid {
            setting: "--columns",
            value: args.topics().join(" "),
            reason: "cannot be read together: topics have columns of their own".into(),
            fix: "name one topic".into(),
        });
    };
    let terminal = std::io::stdout().is_terminal();
    let format = args.row_format().unwrap_or(if terminal { RowFormat::Table } else { RowFormat::Json });
    if terminal && matches!(format, RowFormat::Arrow | RowFormat::Parquet) {
        let name = if format == RowFormat::Arrow { "arrow" } else { "parquet" };
        return Err(CliError::Invalid {
            setting: "--output",
            value: name.into(),
            reason: "is not for a terminal".into(),
            fix: format!("send it to a file or a program: weir consume {topic} ... -o {name} > rows.{name}"),
        });
    }
    let client = context.client()?;
    let config = args.consumer_config()?;
    let mut query =
        client.topic(topic.as_str()).isolation(args.isolation()).start(args.start().unwrap_or(StartAt::Earliest));
    if let Some(columns) = args.columns() {
        query = query.columns(columns.iter().filter(|column| !column.is_empty()).cloned());
    }
    if let Some(predicate) = args.predicate() {
        query = query.filter(predicate);
    }
    if !args.partitions().is_empty() {
        query = query.partitions(args.partitions().iter().copied());
    }
    if args.explain() {
        return explain(&query).await;
    }
    if args.exit() {
        query = query.until(ReadUntil::End);
    }
    let plan = tokio::select! {
        plan = Plan::make(&client, args) => plan?,
        () = interrupt.received() => return Ok(()),
    };
    let total = if args.exit() && args.group().is_none() { plan.remaining() } else { None };
    let mut sink = Sink {
        rows: RowWriter::new(format, BufWriter::with_capacity(64 << 10, std::io::stdout())),
        printed: 0,
        limit: args.num(),
        progress: Progress::new(!terminal, total, "rows scanned"),
        scanned: 0,
        interrupt: interrupt.clone(),
    };
    let read = match args.group() {
        None => read_assigned(query, &mut sink).await,
        Some(group) => read_as_group(query, args.group_config(group, config), args, &plan, &mut sink).await,
    };
    let finished = sink.finish();
    let statistics = read?;
    finished?;
    report(&statistics, sink.printed);
    Ok(())
}

/// Prints what a reading from the beginning would look at, partition by partition and in all.
async fn explain(query: &TopicQuery) -> Result<(), CliError> {
    let mut text = String::new();
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    let mut first = serde_json::Value::Null;
    for (partition, json) in query.explain().await? {
        let found: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        let fields = found.as_object().into_iter().flatten();
        let numbers: BTreeMap<String, u64> =
            fields.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect();
        text += &format!("partition {partition}\n{}", counted(&numbers));
        numbers.into_iter().for_each(|(name, number)| *sums.entry(name).or_default() += number);
        first = found;
    }
    let list = |name: &str| {
        let names = first[name].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    let mut head = format!("reads    {}\n", list("columns"));
    if let Some(predicate) = first["predicate"].as_str() {
        let pruning = if first["can_prune"] == true {
            "rules out row groups by their statistics"
        } else {
            "is evaluated for every row"
        };
        head += &format!("filters  {predicate}\n         {pruning}; needs {}\n", list("predicate_columns"));
    }
    head += &format!("all partitions\n{}", counted(&sums));
    super::output::write_all(&mut std::io::stdout(), &(head + &text))
}

fn counted(numbers: &BTreeMap<String, u64>) -> String {
    let of = |name: &str| numbers.get(name).copied().unwrap_or(0);
    let bytes = |name: &str| BinaryBytes(of(name));
    format!(
        "  segments    {} of columns, {} skipped whole by statistics\n  row groups  {}, {} skipped by statistics\n  bytes       {} in \
         columns: {} skipped by statistics, {} of other columns, {} read for the predicate, up to {} more where rows match\n  \
         rows        {} part(s) of the log stored as rows, read whole: {}\n",
        of("segments"),
        of("segments_skipped"),
        of("row_groups"),
        of("row_groups_skipped"),
        bytes("column_bytes"),
        bytes("bytes_of_skipped_groups"),
        bytes("bytes_of_other_columns"),
        bytes("bytes_of_predicate"),
        bytes("bytes_for_matches"),
        of("row_parts"),
        bytes("row_bytes"),
    )
}

/// Where rows go, and when it is enough.
struct Sink {
    rows: RowWriter<BufWriter<Stdout>>,
    printed: u64,
    limit: Option<u64>,
    progress: Progress,
    /// Rows that the progress bar knows of.
    scanned: u64,
    interrupt: Interrupt,
}

/// The offset after the last printed row, by partition.
type Printed = BTreeMap<TopicPartition, i64>;

impl Sink {
    fn is_done(&self) -> bool {
        self.interrupt.is_set() || self.limit.is_some_and(|limit| self.printed >= limit)
    }

    /// Prints rows until it is enough. Says what was printed, and whether that was all.
    fn print(&mut self, batches: &[ColumnBatch], statistics: &ReadStatistics) -> Result<(Printed, bool), CliError> {
        let mut printed = Printed::new();
        let mut whole = true;
        for batch in batches {
            let rows = batch.rows.num_rows();
            let left = self.limit.map_or(u64::MAX, |limit| limit - self.printed.min(limit));
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(rows);
            whole &= wanted == rows;
            let part = batch.slice(0, wanted);
            if let Some(last) = part.offsets.last() {
                self.rows.write(&part.rows).map_err(CliError::io("writing rows"))?;
                self.printed += wanted as u64;
                printed.insert((batch.topic.clone(), batch.partition), last + 1);
            }
        }
        if !batches.is_empty() {
            self.rows.flush().map_err(CliError::io("writing rows"))?;
        }
        self.progress.add(statistics.rows_scanned.saturating_sub(self.scanned));
        self.scanned = statistics.rows_scanned;
        Ok((printed, whole))
    }

    fn finish(&mut self) -> Result<(), CliError> {
        self.rows.finish(None).map_err(CliError::io("writing rows"))
    }
}

async fn read_assigned(query: TopicQuery, sink: &mut Sink) -> Result<ReadStatistics, CliError> {
    let mut reader: ColumnReader = query.reader();
    let interrupt = sink.interrupt.clone();
    while !sink.is_done() && !reader.is_at_end() {
        let batches = tokio::select! {
            batches = reader.poll(POLL) => batches?,
            () = interrupt.received() => break,
        };
        sink.print(&batches, &reader.statistics())?;
    }
    Ok(reader.statistics())
}

async fn read_as_group(
    query: TopicQuery,
    group: weir_client::group::GroupConfig,
    args: &ConsumeArgs,
    plan: &Plan,
    sink: &mut Sink,
) -> Result<ReadStatistics, CliError> {
    let mut reader = query.reader_in_group(group);
    let read = poll_group(&mut reader, args, plan, sink).await;
    let statistics = reader.statistics();
    // Whatever ended the reading, the others of the group should not wait for this member's session to end.
    let left = match tokio::time::timeout(LEAVE, reader.close()).await {
        Ok(left) => left.map_err(CliError::from),
        Err(_) => {
            note("warning: the coordinator did not answer; the group will notice that this member left");
            Ok(())
        }
    };
    read.and(left).map(|()| statistics)
}

async fn poll_group(
    reader: &mut GroupColumnReader,
    args: &ConsumeArgs,
    plan: &Plan,
    sink: &mut Sink,
) -> Result<(), CliError> {
    let interrupt = sink.interrupt.clone();
    while !sink.is_done() {
        let batches = tokio::select! {
            batches = reader.poll(POLL) => batches?,
            () = interrupt.received() => return Ok(()),
        };
        let (printed, whole) = sink.print(&batches, &reader.statistics())?;
        if !whole {
            reader.mark_processed(printed);
        }
        let assigned = reader.assignment().iter();
        let assigned: Vec<TopicPartition> =
            assigned.flat_map(|(topic, ids)| ids.iter().map(|id| (Arc::from(topic.as_str()), *id))).collect();
        if args.exit() && reader.rebalances() > 0 && plan.is_reached(assigned.iter(), &reader.positions()) {
            break;
        }
    }
    Ok(())
}

/// What it cost, for whoever looks; errors of the predicate in any case.
fn report(statistics: &ReadStatistics, printed: u64) {
    if statistics.rows_errored > 0 {
        note(&format!(
            "warning: the predicate raised an error (overflow, division by zero, a failed cast) for {} rows; they count as not \
             matching",
            HumanCount(statistics.rows_errored)
        ));
    }
    if super::stderr_is_terminal() {
        let by = if statistics.record_answers > 0 { "; filtered here, the broker serves no columns" } else { "" };
        note(&format!(
            "{} of {} rows, {} over the network{by}",
            HumanCount(printed),
            HumanCount(statistics.rows_scanned),
            BinaryBytes(statistics.bytes_received),
        ));
    }
}
