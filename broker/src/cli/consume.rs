//! `weir consume TOPIC`: records to standard output.
//!
//! By assignment (all partitions, or some) or as a member of a group. A record is printed whole or not at all; in a group, what was
//! printed is committed and nothing else, and the group is left on Ctrl-C, on SIGTERM and when the reader of the output goes
//! away.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use weir_client::admin::{Admin, Isolation, OffsetQuery, PartitionOffset};
use weir_client::consumer::{Consumer, ConsumerConfig, ConsumerRecord, ResetPolicy, StartAt, TopicPartition};
use weir_client::group::{GroupConfig, GroupConsumer};
use weir_client::{AutoCreate, Client, ClientError};

use super::args::parse_start;
use super::columns;
use super::progress::Progress;
use super::record_format::{PLACEHOLDERS, Template, write_json};
use super::rows::RowFormat;
use super::signals::Interrupt;
use super::{CliError, Context, note};

/// How long one poll waits; Ctrl-C interrupts it earlier.
const POLL: Duration = Duration::from_secs(1);
/// The same with `-e`, where an empty topic should not keep anybody waiting.
const POLL_TO_END: Duration = Duration::from_millis(50);
/// How long leaving a group may take.
pub(super) const LEAVE: Duration = Duration::from_secs(5);

/// Flags of `consume`.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("Placeholders of -f: {PLACEHOLDERS}; escapes: \\n \\t \\r \\0 \\xHH \\\\

Examples:
  weir consume flights -n 10
  weir consume flights -o @2024-05-31T12:00:00Z -e -f '%p %o %k %v\\n'
  weir consume flights -o -5                          # the last five of each partition
  weir consume flights -g billing | jq .value         # as a group, JSON lines when piped
  weir consume flights --columns carrier,dep_delay --where 'dep_delay > 60' -e -o csv
  weir consume flights --columns _offset,_key --where \"_timestamp > '2013-06-01'\" -n 10"))]
pub struct ConsumeArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Where to start: start, end, an offset, -N (so many before the end), @ms, @2024-05-31, @-1h [default: start].
    /// In a group only start or end, for partitions without a committed offset. Also takes the formats of --output
    #[arg(short, long, value_name = "OFFSET", value_parser = parse_place, allow_hyphen_values = true)]
    offset: Vec<Place>,
    /// Print these columns instead of whole records; a member of a struct by its path, system columns as _offset
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', num_args = 0.., help_heading = "Columns", conflicts_with_all = ["format", "json"])]
    columns: Option<Vec<String>>,
    /// Print only rows for which this SQL expression is true, e.g. "dep_delay > 60 AND carrier IN ('UA', 'AA')"
    #[arg(long = "where", value_name = "SQL", help_heading = "Columns", conflicts_with_all = ["format", "json"])]
    predicate: Option<String>,
    /// How to print rows of columns; -o does the same [default: json when piped, table on a terminal]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Columns", conflicts_with_all = ["format", "json"])]
    output: Option<RowFormat>,
    /// Read nothing: print what would be read, and what would be skipped and why
    #[arg(long, help_heading = "Columns", conflicts_with_all = ["format", "json", "group"])]
    explain: bool,
    /// Only these partitions; may be repeated or separated by commas
    #[arg(short, long, value_delimiter = ',', conflicts_with = "group")]
    partitions: Vec<i32>,
    /// End after so many records
    #[arg(short, long, value_name = "N")]
    num: Option<u64>,
    /// How to print a record [default: JSON lines when piped, the value and a newline on a terminal]
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<String>,
    /// Print JSON lines also on a terminal
    #[arg(long)]
    json: bool,
    /// Printed by -f for null keys and values
    #[arg(short = 'Z', long, value_name = "TEXT", default_value = "", num_args = 0..=1, default_missing_value = "NULL")]
    null: String,
    /// Read as a member of this consumer group, and commit what was printed
    #[arg(short, long)]
    group: Option<String>,
    /// Static name of this member of the group
    #[arg(long, value_name = "NAME", requires = "group")]
    instance_id: Option<String>,
    /// End once everything that was there at the start has been read
    #[arg(short, long)]
    exit: bool,
    /// Which records of transactions to see
    #[arg(long, value_enum, default_value_t)]
    isolation: IsolationArg,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum IsolationArg {
    /// Only those of committed transactions
    ReadCommitted,
    /// All
    #[default]
    ReadUncommitted,
}

impl From<IsolationArg> for Isolation {
    fn from(isolation: IsolationArg) -> Self {
        match isolation {
            IsolationArg::ReadCommitted => Self::ReadCommitted,
            IsolationArg::ReadUncommitted => Self::ReadUncommitted,
        }
    }
}

/// What follows `-o`: consumers of other tools know it as the offset, commands that print tables as the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start(StartAt),
    Output(RowFormat),
}

fn parse_place(text: &str) -> Result<Place, String> {
    match RowFormat::from_str(text, false) {
        Ok(format) => Ok(Place::Output(format)),
        Err(_) => parse_start(text)
            .map(Place::Start)
            .map_err(|reason| format!("{reason}; or, for columns, json, csv, arrow, parquet or table")),
    }
}

/// What `columns.rs` needs of the flags.
impl ConsumeArgs {
    pub(super) fn topics(&self) -> &[String] {
        &self.topics
    }

    pub(super) fn partitions(&self) -> &[i32] {
        &self.partitions
    }

    pub(super) fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    pub(super) fn predicate(&self) -> Option<&str> {
        self.predicate.as_deref()
    }

    pub(super) fn explain(&self) -> bool {
        self.explain
    }

    pub(super) fn exit(&self) -> bool {
        self.exit
    }

    pub(super) fn num(&self) -> Option<u64> {
        self.num
    }

    pub(super) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.isolation.into()
    }

    /// Where to start, if it was said.
    pub(super) fn start(&self) -> Option<StartAt> {
        let starts = self.offset.iter().rev();
        starts.into_iter().find_map(|place| match place {
            Place::Start(start) => Some(*start),
            Place::Output(_) => None,
        })
    }

    /// How to print rows of columns, if it was said.
    pub(super) fn row_format(&self) -> Option<RowFormat> {
        let formats = self.offset.iter().rev().find_map(|place| match place {
            Place::Output(format) => Some(*format),
            Place::Start(_) => None,
        });
        self.output.or(formats)
    }

    pub(super) fn group_config(&self, group: &str, consumer: ConsumerConfig) -> GroupConfig {
        GroupConfig { instance_id: self.instance_id.clone(), consumer, ..GroupConfig::new(group) }
    }

    /// Whether columns are asked for and not records.
    fn is_columnar(&self) -> bool {
        self.columns.is_some() || self.predicate.is_some() || self.row_format().is_some() || self.explain
    }

    pub(super) fn consumer_config(&self) -> Result<ConsumerConfig, CliError> {
        let reset = match (self.start(), &self.group) {
            (Some(StartAt::Latest), Some(_)) => ResetPolicy::Latest,
            (None | Some(StartAt::Earliest), _) => ResetPolicy::Earliest,
            (Some(other), Some(group)) => {
                return Err(CliError::Invalid {
                    setting: "--offset",
                    value: format!("{other:?}"),
                    reason: "cannot be combined with --group, whose committed offsets say where to start".into(),
                    fix: format!("move the group first: weir group reset-offsets {group} --to ... --execute"),
                });
            }
            // An offset that does not exist is told, not silently replaced.
            (Some(StartAt::Offset(_)), None) => ResetPolicy::Fail,
            (Some(_), None) => ResetPolicy::Earliest,
        };
        Ok(ConsumerConfig { reset, isolation: self.isolation.into(), ..ConsumerConfig::default() })
    }
}

impl ConsumeArgs {
    fn printer(&self, terminal: bool) -> Result<Printer, CliError> {
        let template = match (&self.format, terminal && !self.json) {
            (Some(format), _) => format.as_str(),
            (None, true) => "%v\\n",
            (None, false) => return Ok(Printer::Json),
        };
        Template::parse(template, &self.null).map(Printer::Template).map_err(|reason| CliError::Invalid {
            setting: "--format",
            value: template.to_owned(),
            reason: format!("cannot be used: {reason}"),
            fix: "for example -f '%t %p %o %k %v\\n'".into(),
        })
    }

    fn poll_limit(&self) -> Duration {
        if self.exit { POLL_TO_END } else { POLL }
    }
}

enum Printer {
    Json,
    Template(Template),
}

impl Printer {
    fn print(&self, record: &ConsumerRecord, line: &mut Vec<u8>) {
        match self {
            Self::Json => write_json(record, line),
            Self::Template(template) => template.write(record, line),
        }
    }
}

pub(crate) async fn run(context: &mut Context, args: ConsumeArgs, interrupt: &Interrupt) -> Result<(), CliError> {
    if args.is_columnar() {
        return columns::run(context, &args, interrupt).await;
    }
    let terminal = std::io::stdout().is_terminal();
    let printer = args.printer(terminal)?;
    let config = args.consumer_config()?;
    let client = context.client()?;
    let plan = tokio::select! {
        plan = Plan::make(&client, &args) => plan?,
        () = interrupt.received() => return Ok(()),
    };
    let total = match (args.num, args.exit) {
        (Some(num), _) => Some(num),
        (None, true) if args.group.is_none() => plan.remaining(),
        _ => None,
    };
    let mut sink = Sink {
        out: std::io::BufWriter::with_capacity(64 << 10, std::io::stdout()),
        printer,
        line: Vec::new(),
        printed: 0,
        limit: args.num,
        progress: Progress::new(!terminal, total, "records read"),
        interrupt: interrupt.clone(),
    };
    let read = match &args.group {
        None => read_assigned(client, config, &args, &plan, &mut sink).await,
        Some(group) => read_as_group(client, config, group, &args, &plan, &mut sink).await,
    };
    let flushed = sink.flush();
    read.and(flushed)
}

/// The partitions to read and where they ended at the start, for `-e`.
pub(super) struct Plan {
    partitions: Vec<TopicPartition>,
    starts: BTreeMap<TopicPartition, i64>,
    ends: BTreeMap<TopicPartition, i64>,
}

impl Plan {
    pub(super) async fn make(client: &Client, args: &ConsumeArgs) -> Result<Self, CliError> {
        let mut partitions = Vec::new();
        for topic in &args.topics {
            let info = client.topic_info(topic, AutoCreate::Forbidden).await?;
            let name: Arc<str> = Arc::from(topic.as_str());
            for &partition in &args.partitions {
                if info.partition(partition).is_none() {
                    let (topic, partitions) = (topic.clone(), info.partitions.len());
                    return Err(ClientError::UnknownPartition { topic, partition, partitions }.into());
                }
            }
            let wanted = |id: &i32| args.partitions.is_empty() || args.partitions.contains(id);
            let ids = info.partitions.iter().map(|partition| partition.id).filter(wanted);
            partitions.extend(ids.map(|id| (name.clone(), id)));
        }
        let mut plan = Self { partitions, starts: BTreeMap::new(), ends: BTreeMap::new() };
        if args.exit {
            let admin = Admin::new(client.clone());
            plan.ends = plan.offsets(&admin, OffsetQuery::Latest, args.isolation.into()).await?;
            if matches!(args.start(), None | Some(StartAt::Earliest)) {
                plan.starts = plan.offsets(&admin, OffsetQuery::Earliest, args.isolation.into()).await?;
            }
        }
        Ok(plan)
    }

    async fn offsets(
        &self,
        admin: &Admin,
        query: OffsetQuery,
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, i64>, CliError> {
        let queries = self.partitions.iter().map(|(topic, id)| ((topic.to_string(), *id), query)).collect();
        let listed = admin.list_offsets(&queries, isolation).await?;
        let known =
            listed.into_iter().filter_map(|((topic, id), listed)| Some(((Arc::from(topic), id), listed.offset?)));
        Ok(known.collect())
    }

    /// Offsets between start and end, if both are known.
    pub(super) fn remaining(&self) -> Option<u64> {
        let sum = |offsets: &BTreeMap<TopicPartition, i64>| offsets.values().sum::<i64>();
        let known = self.starts.len() == self.partitions.len() && self.ends.len() == self.partitions.len();
        known.then(|| u64::try_from(sum(&self.ends) - sum(&self.starts)).unwrap_or(0))
    }

    /// Whether each of these partitions was read up to its end. One that has no position yet was not.
    pub(super) fn is_reached<'a>(
        &self,
        mut partitions: impl Iterator<Item = &'a TopicPartition>,
        positions: &BTreeMap<TopicPartition, i64>,
    ) -> bool {
        partitions.all(|partition| match (self.ends.get(partition), positions.get(partition)) {
            (Some(end), Some(position)) => position >= end,
            // A partition that came up after the start is not waited for.
            (None, _) => true,
            (Some(_), None) => false,
        })
    }
}

/// Where records go, and when it is enough.
struct Sink {
    out: std::io::BufWriter<std::io::Stdout>,
    printer: Printer,
    line: Vec<u8>,
    printed: u64,
    limit: Option<u64>,
    progress: Progress,
    interrupt: Interrupt,
}

/// Whether to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

impl Sink {
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.printed >= limit)
    }

    /// Prints records until it is enough; returns how many were printed. What is printed is flushed, so that a reader
    /// sees it at once.
    fn print(&mut self, records: &[ConsumerRecord]) -> Result<(usize, Go), CliError> {
        let mut count = 0;
        for record in records {
            if self.is_full() || self.interrupt.is_set() {
                break;
            }
            self.line.clear();
            self.printer.print(record, &mut self.line);
            self.out.write_all(&self.line).map_err(CliError::io("writing records"))?;
            self.printed += 1;
            count += 1;
        }
        self.flush()?;
        self.progress.add(count as u64);
        let stop = self.is_full() || self.interrupt.is_set();
        Ok((count, if stop { Go::Stop } else { Go::On }))
    }

    fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::io("writing records"))
    }
}

async fn read_assigned(
    client: Client,
    config: ConsumerConfig,
    args: &ConsumeArgs,
    plan: &Plan,
    sink: &mut Sink,
) -> Result<(), CliError> {
    let start = args.start().unwrap_or(StartAt::Earliest);
    let mut consumer = Consumer::new(client, config);
    consumer.assign(plan.partitions.iter().map(|partition| (partition.clone(), start)));
    let interrupt = sink.interrupt.clone();
    while !sink.is_full() && !interrupt.is_set() {
        let records = tokio::select! {
            records = consumer.poll(args.poll_limit()) => records?,
            () = interrupt.received() => return Ok(()),
        };
        if sink.print(&within_ends(records, args, plan))?.1 == Go::Stop {
            break;
        }
        if args.exit && plan.is_reached(plan.partitions.iter(), &consumer.positions()) {
            break;
        }
    }
    Ok(())
}

/// With `-e`, records that came after the start are left out, so that the result is what was there.
fn within_ends(mut records: Vec<ConsumerRecord>, args: &ConsumeArgs, plan: &Plan) -> Vec<ConsumerRecord> {
    if args.exit {
        records.retain(|record| {
            let end = plan.ends.get(&(record.topic.clone(), record.partition));
            end.is_none_or(|end| record.offset < *end)
        });
    }
    records
}

async fn read_as_group(
    client: Client,
    config: ConsumerConfig,
    group: &str,
    args: &ConsumeArgs,
    plan: &Plan,
    sink: &mut Sink,
) -> Result<(), CliError> {
    let mut consumer = GroupConsumer::new(client, args.group_config(group, config), args.topics.clone());
    let read = poll_group(&mut consumer, args, plan, sink).await;
    // Whatever ended the reading, the others of the group should not wait for this member's session to end.
    let left = match tokio::time::timeout(LEAVE, consumer.close()).await {
        Ok(left) => left.map_err(CliError::from),
        Err(_) => {
            note("warning: the coordinator did not answer; the group will notice that this member left");
            Ok(())
        }
    };
    read.and(left)
}

async fn poll_group(
    consumer: &mut GroupConsumer,
    args: &ConsumeArgs,
    plan: &Plan,
    sink: &mut Sink,
) -> Result<(), CliError> {
    let interrupt = sink.interrupt.clone();
    let mut rebalances = 0;
    while !sink.is_full() && !interrupt.is_set() {
        let records = tokio::select! {
            records = consumer.poll(args.poll_limit()) => records?,
            () = interrupt.received() => return Ok(()),
        };
        if consumer.rebalances() != rebalances {
            rebalances = consumer.rebalances();
            announce(consumer);
        }
        let (printed, go) = sink.print(&records)?;
        if printed < records.len() {
            consumer.mark_processed(processed(&records[..printed]));
        }
        if go == Go::Stop || (args.exit && rebalances > 0 && is_end(consumer, plan)) {
            break;
        }
    }
    Ok(())
}

fn is_end(consumer: &GroupConsumer, plan: &Plan) -> bool {
    let assigned: Vec<TopicPartition> = consumer
        .assignment()
        .iter()
        .flat_map(|(topic, ids)| ids.iter().map(|id| (Arc::from(topic.as_str()), *id)))
        .collect();
    plan.is_reached(assigned.iter(), &consumer.positions())
}

fn announce(consumer: &GroupConsumer) {
    if !super::stderr_is_terminal() {
        return;
    }
    let topics = consumer.assignment().iter().map(|(topic, ids)| {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        format!("{topic} {}", ids.join(","))
    });
    let topics: Vec<_> = topics.collect();
    note(&format!("assigned: {}", if topics.is_empty() { "nothing".to_owned() } else { topics.join("; ") }));
}

/// The offset after the last record of each partition.
fn processed(records: &[ConsumerRecord]) -> BTreeMap<TopicPartition, PartitionOffset> {
    let next =
        |record: &ConsumerRecord| PartitionOffset { offset: record.offset + 1, leader_epoch: record.leader_epoch };
    records.iter().map(|record| ((record.topic.clone(), record.partition), next(record))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Parser {
        #[command(flatten)]
        args: ConsumeArgs,
    }

    fn args(words: &[&str]) -> ConsumeArgs {
        let words = ["consume", "t"].iter().chain(words);
        <Parser as clap::Parser>::try_parse_from(words).unwrap().args
    }

    #[test]
    fn output_is_json_when_piped_and_plain_on_a_terminal_unless_told_otherwise() {
        assert!(matches!(args(&[]).printer(false), Ok(Printer::Json)));
        assert!(matches!(args(&[]).printer(true), Ok(Printer::Template(_))));
        assert!(matches!(args(&["--json"]).printer(true), Ok(Printer::Json)));
        assert!(matches!(args(&["-f", "%k"]).printer(false), Ok(Printer::Template(_))));
        assert!(matches!(args(&["-f", "%q"]).printer(false), Err(CliError::Invalid { setting: "--format", .. })));
    }

    #[test]
    fn negative_offsets_are_values_and_not_flags() {
        assert_eq!(args(&["-o", "-5"]).start(), Some(StartAt::BeforeEnd(5)));
        assert_eq!(args(&["-o", "end", "-e"]).start(), Some(StartAt::Latest));
    }

    #[test]
    fn what_follows_o_is_an_offset_or_a_format() {
        let both = args(&["-o", "csv", "-o", "17", "--where", "a > 1"]);
        assert_eq!((both.start(), both.row_format()), (Some(StartAt::Offset(17)), Some(RowFormat::Csv)));
        assert!(both.is_columnar());
        assert!(!args(&["-o", "17"]).is_columnar());
        let columns = args(&["--columns", "a,b.c", "--output", "table"]);
        assert_eq!(columns.columns().unwrap(), ["a", "b.c"]);
        assert_eq!((columns.start(), columns.row_format()), (None, Some(RowFormat::Table)));
        assert!(parse_place("jsonl").unwrap_err().contains("csv, arrow, parquet or table"));
    }

    #[test]
    fn a_group_starts_from_its_commits_and_takes_only_a_fallback() {
        assert_eq!(args(&["-g", "g", "-o", "end"]).consumer_config().unwrap().reset, ResetPolicy::Latest);
        assert_eq!(args(&["-g", "g"]).consumer_config().unwrap().reset, ResetPolicy::Earliest);
        let error = args(&["-g", "g", "-o", "17"]).consumer_config().unwrap_err();
        assert!(matches!(&error, CliError::Invalid { fix, .. } if fix.contains("reset-offsets g")), "{error}");
        assert_eq!(args(&["-o", "17"]).consumer_config().unwrap().reset, ResetPolicy::Fail);
    }

    #[test]
    fn the_end_is_reached_when_every_partition_is() {
        let key = |id| (Arc::from("t"), id);
        let plan = Plan {
            partitions: vec![key(0), key(1)],
            starts: BTreeMap::from([(key(0), 2), (key(1), 0)]),
            ends: BTreeMap::from([(key(0), 5), (key(1), 0)]),
        };
        assert_eq!(plan.remaining(), Some(3));
        let reached = |positions: &[(i32, i64)]| {
            let positions = positions.iter().map(|&(id, position)| (key(id), position)).collect();
            plan.is_reached(plan.partitions.iter(), &positions)
        };
        assert!(!reached(&[(0, 4), (1, 0)]));
        assert!(!reached(&[(0, 5)]));
        assert!(reached(&[(0, 5), (1, 0)]));
    }
}
