//! `weir group reset-offsets`: moves what a group has committed. Prints the plan; only `--execute` carries it out.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use weir_client::admin::{Admin, Isolation, OffsetQuery, PartitionOffset};
use weir_client::{AutoCreate, ClientError};

use super::args::{ResetTarget, parse_reset_target};
use super::output::{Format, print_list};
use super::{CliError, note};

type Partition = (String, i32);

/// Flags of `group reset-offsets`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  weir group reset-offsets billing --to earliest                      # shows what would change
  weir group reset-offsets billing --to @2024-05-31T12:00:00Z --topic flights --execute
  weir group reset-offsets billing --to -100 --topic flights:0,1 --execute")]
pub(crate) struct ResetArgs {
    /// Name of the group
    group: String,
    /// earliest, latest, an offset, +N or -N (relative to what is committed), @ms, @2024-05-31, @-1h
    #[arg(long, value_name = "TARGET", value_parser = parse_reset_target, allow_hyphen_values = true)]
    to: ResetTarget,
    /// Only this topic, or only some of its partitions; may be repeated [default: all that the group committed]
    #[arg(long = "topic", value_name = "TOPIC[:0,1,...]")]
    topics: Vec<String>,
    /// Only print the plan (this is the default)
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Carry the plan out
    #[arg(long)]
    execute: bool,
}

/// One partition's move.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Move {
    committed: Option<i64>,
    start: i64,
    end: i64,
    to: i64,
}

pub(crate) async fn run(admin: &Admin, args: ResetArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let committed: BTreeMap<Partition, i64> = admin
        .group_offsets(&args.group)
        .await?
        .into_iter()
        .map(|(partition, committed)| (partition, committed.offset))
        .collect();
    let partitions = choose(admin, &args, &committed).await?;
    let moves = plan(admin, &partitions, &committed, args.to).await?;
    let items: Vec<Value> = moves.iter().map(|(partition, plan)| item(partition, plan, args.execute)).collect();
    if args.execute {
        let offsets = moves
            .iter()
            .map(|(partition, plan)| (partition.clone(), PartitionOffset { offset: plan.to, leader_epoch: None }))
            .collect();
        admin.set_group_offsets(&args.group, &offsets).await?;
    }
    print_list(
        out,
        format,
        &[
            ("topic", "TOPIC"),
            ("partition", "PARTITION"),
            ("committed", "COMMITTED"),
            ("new", "NEW"),
            ("change", "CHANGE"),
            ("lag", "NEW-LAG"),
        ],
        &items,
    )?;
    if !args.execute {
        note("nothing was changed; repeat with --execute to do it");
    }
    Ok(())
}

fn item(partition: &Partition, plan: &Move, executed: bool) -> Value {
    json!({
        "topic": partition.0,
        "partition": partition.1,
        "committed": plan.committed,
        "start": plan.start,
        "end": plan.end,
        "new": plan.to,
        "change": plan.committed.map(|committed| plan.to - committed),
        "lag": plan.end - plan.to,
        "executed": executed,
    })
}

/// The partitions that are meant: those named, or all that the group committed.
async fn choose(
    admin: &Admin,
    args: &ResetArgs,
    committed: &BTreeMap<Partition, i64>,
) -> Result<Vec<Partition>, CliError> {
    if args.topics.is_empty() {
        if committed.is_empty() {
            return Err(CliError::Invalid {
                setting: "GROUP",
                value: args.group.clone(),
                reason: "has committed nothing yet".into(),
                fix: "name the topics with --topic, or see `weir group list`".into(),
            });
        }
        return Ok(committed.keys().cloned().collect());
    }
    let mut partitions = Vec::new();
    for text in &args.topics {
        let (topic, ids) = parse_topic(text)?;
        let info = admin.client().topic_info(topic, AutoCreate::Forbidden).await?;
        let all = || info.partitions.iter().map(|partition| partition.id).collect();
        for id in ids.unwrap_or_else(all) {
            if info.partition(id).is_none() {
                let (topic, partitions) = (topic.to_owned(), info.partitions.len());
                return Err(ClientError::UnknownPartition { topic, partition: id, partitions }.into());
            }
            partitions.push((topic.to_owned(), id));
        }
    }
    Ok(partitions)
}

/// `TOPIC` or `TOPIC:0,1`; names of topics have no colon.
fn parse_topic(text: &str) -> Result<(&str, Option<Vec<i32>>), CliError> {
    let Some((topic, ids)) = text.split_once(':') else { return Ok((text, None)) };
    let ids = ids.split(',').map(|id| id.trim().parse().ok().filter(|id| *id >= 0)).collect::<Option<Vec<i32>>>();
    match ids {
        Some(ids) => Ok((topic, Some(ids))),
        None => Err(CliError::Invalid {
            setting: "--topic",
            value: text.to_owned(),
            reason: "does not end in partition numbers".into(),
            fix: "write --topic NAME or --topic NAME:0,1,2".into(),
        }),
    }
}

async fn plan(
    admin: &Admin,
    partitions: &[Partition],
    committed: &BTreeMap<Partition, i64>,
    target: ResetTarget,
) -> Result<BTreeMap<Partition, Move>, CliError> {
    let starts = offsets(admin, partitions, OffsetQuery::Earliest).await?;
    let ends = offsets(admin, partitions, OffsetQuery::Latest).await?;
    let found = match target {
        ResetTarget::Timestamp(time) => offsets(admin, partitions, OffsetQuery::Timestamp(time)).await?,
        _ => BTreeMap::new(),
    };
    let mut moves = BTreeMap::new();
    for partition in partitions {
        let committed = committed.get(partition).copied();
        let start = starts.get(partition).copied().unwrap_or(0);
        let end = ends.get(partition).copied().unwrap_or(start);
        let Some(to) = resolve(target, committed, start, end, found.get(partition).copied()) else {
            return Err(CliError::Invalid {
                setting: "--to",
                value: format!("{target:?}"),
                reason: format!("is relative, but the group committed nothing for {}-{}", partition.0, partition.1),
                fix: "use earliest, latest, an offset or @time".into(),
            });
        };
        moves.insert(partition.clone(), Move { committed, start, end, to });
    }
    Ok(moves)
}

/// The new offset, kept between start and end; none if a shift has nothing to start from.
fn resolve(target: ResetTarget, committed: Option<i64>, start: i64, end: i64, found: Option<i64>) -> Option<i64> {
    let wanted = match target {
        ResetTarget::Earliest => start,
        ResetTarget::Latest => end,
        ResetTarget::Offset(offset) => offset,
        ResetTarget::Shift(by) => committed?.saturating_add(by),
        // No record at or after that time: everything is older, so the end.
        ResetTarget::Timestamp(_) => found.unwrap_or(end),
    };
    Some(wanted.clamp(start, end.max(start)))
}

async fn offsets(
    admin: &Admin,
    partitions: &[Partition],
    query: OffsetQuery,
) -> Result<BTreeMap<Partition, i64>, CliError> {
    let queries = partitions.iter().map(|partition| (partition.clone(), query)).collect();
    let listed = admin.list_offsets(&queries, Isolation::ReadUncommitted).await?;
    Ok(listed.into_iter().filter_map(|(partition, listed)| Some((partition, listed.offset?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_resolve_within_what_exists() {
        let check = |target, committed, found, expected| {
            assert_eq!(resolve(target, committed, 10, 100, found), expected, "{target:?}");
        };
        check(ResetTarget::Earliest, Some(50), None, Some(10));
        check(ResetTarget::Latest, None, None, Some(100));
        check(ResetTarget::Offset(3), None, None, Some(10));
        check(ResetTarget::Offset(42), None, None, Some(42));
        check(ResetTarget::Offset(1000), None, None, Some(100));
        check(ResetTarget::Shift(-5), Some(50), None, Some(45));
        check(ResetTarget::Shift(-500), Some(50), None, Some(10));
        check(ResetTarget::Shift(5), None, None, None);
        check(ResetTarget::Timestamp(1), Some(50), Some(60), Some(60));
        check(ResetTarget::Timestamp(1), Some(50), None, Some(100));
    }

    #[test]
    fn topics_may_name_partitions() {
        assert_eq!(parse_topic("a").unwrap(), ("a", None));
        assert_eq!(parse_topic("a:0, 2").unwrap(), ("a", Some(vec![0, 2])));
        assert!(parse_topic("a:").is_err() && parse_topic("a:x").is_err() && parse_topic("a:-1").is_err());
    }
}
