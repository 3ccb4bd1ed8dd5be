//! `weir group`: list, describe, reset offsets, delete.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Value, json};
use weir_client::admin::{Admin, GroupDescription, Isolation, OffsetQuery, SHARE};

use super::output::{Format, OutputArgs, print_list, print_value, table, write_all};
use super::{CliError, Context, note, reset};

/// Flags of `group`.
#[derive(Debug, clap::Args)]
pub struct GroupArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, clap::Subcommand)]
enum GroupCommand {
    /// List groups
    #[command(visible_alias = "ls")]
    List,
    /// Show members, committed offsets and lag of groups
    Describe {
        /// Names of the groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
    /// Move the committed offsets of a group without members
    ResetOffsets(reset::ResetArgs),
    /// Delete groups without members, with their offsets
    #[command(visible_alias = "rm")]
    Delete {
        /// Names of the groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
}

pub(crate) async fn run(context: &Context, args: GroupArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let admin = Admin::new(context.client()?);
    let format = args.output.output;
    match args.command {
        GroupCommand::List => list(&admin, format, out).await,
        GroupCommand::Describe { groups } => describe(&admin, &groups, format, out).await,
        GroupCommand::ResetOffsets(args) => reset::run(&admin, args, format, out).await,
        GroupCommand::Delete { groups } => delete(&admin, &groups, format, out).await,
    }
}

async fn list(admin: &Admin, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let groups = admin.list_groups().await?;
    let items: Vec<_> = groups
        .iter()
        .map(|group| {
            json!({ "group": group.id, "state": group.state, "type": group.kind, "protocol_type": group.protocol_type })
        })
        .collect();
    if items.is_empty() && format == Format::Table {
        note("no groups; `weir consume TOPIC -g NAME` makes one");
    }
    print_list(
        out,
        format,
        &[("group", "GROUP"), ("state", "STATE"), ("type", "TYPE"), ("protocol_type", "PROTOCOL")],
        &items,
    )
}

async fn describe(admin: &Admin, groups: &[String], format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let mut described = Vec::new();
    for group in groups {
        let description = admin.describe_group(group).await?;
        if description.state == "Dead" {
            // Older versions of the API describe a missing group as a dead one.
            return Err(CliError::Invalid {
                setting: "GROUP",
                value: group.clone(),
                reason: "does not exist".into(),
                fix: "see `weir group list`".into(),
            });
        }
        let partitions = partitions(admin, &description).await?;
        described.push(group_json(&description, partitions));
    }
    if format != Format::Table {
        return print_value(out, format, &Value::Array(described));
    }
    for (position, group) in described.iter().enumerate() {
        if position > 0 {
            write_all(out, "\n")?;
        }
        write_all(out, &group_text(group))?;
    }
    Ok(())
}

/// One line per partition that the group committed or reads. A share group commits nothing: what counts is from where on it has
/// work to do, and one of the members that share a partition is named.
async fn partitions(admin: &Admin, group: &GroupDescription) -> Result<Vec<Value>, CliError> {
    let committed: BTreeMap<_, i64> = match &*group.protocol_type {
        SHARE => admin.share_group_offsets(&group.id).await?,
        _ => {
            admin.group_offsets(&group.id).await?.into_iter().map(|(key, committed)| (key, committed.offset)).collect()
        }
    };
    let mut readers = BTreeMap::new();
    for member in &group.members {
        for (topic, ids) in &member.assignment {
            readers.extend(ids.iter().map(|id| ((topic.clone(), *id), member)));
        }
    }
    let keys: std::collections::BTreeSet<_> = committed.keys().chain(readers.keys()).cloned().collect();
    let queries: BTreeMap<_, _> = keys.iter().map(|key| (key.clone(), OffsetQuery::Latest)).collect();
    // A topic that was deleted has no end; its commits are still shown.
    let ends = match admin.list_offsets(&queries, Isolation::ReadUncommitted).await {
        Ok(ends) => ends,
        Err(error) => {
            note(&format!("warning: no end offsets: {error}"));
            BTreeMap::new()
        }
    };
    let lines = keys.iter().map(|key| {
        let offset = committed.get(key).copied();
        let end = ends.get(key).and_then(|listed| listed.offset);
        let reader = readers.get(key);
        json!({
            "topic": key.0,
            "partition": key.1,
            "committed": offset,
            "end": end,
            "lag": offset.zip(end).map(|(offset, end)| (end - offset).max(0)),
            "member": reader.map(|member| &member.id),
            "instance": reader.and_then(|member| member.instance_id.as_ref()),
            "client": reader.map(|member| &member.client_id),
            "host": reader.map(|member| &member.host),
        })
    });
    Ok(lines.collect())
}

fn group_json(group: &GroupDescription, partitions: Vec<Value>) -> Value {
    let lag: i64 = partitions.iter().filter_map(|line| line["lag"].as_i64()).sum();
    let members = group.members.iter().map(|member| {
        json!({
            "member": member.id,
            "instance": member.instance_id,
            "client": member.client_id,
            "host": member.host,
            "assignment": member.assignment,
        })
    });
    json!({
        "group": group.id,
        "state": group.state,
        "protocol_type": group.protocol_type,
        "assignor": group.protocol,
        "coordinator": group.coordinator,
        "members": members.collect::<Vec<_>>(),
        "lag": lag,
        "partitions": partitions,
    })
}

fn group_text(group: &Value) -> String {
    let empty = Vec::new();
    let list = |key: &str| group[key].as_array().unwrap_or(&empty);
    let text = |key: &str| group[key].as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let head = format!(
        "group        {}\nstate        {}\nassignor     {}\ncoordinator  {}\nmembers      {}\nlag          {}\n\n",
        text("group"),
        text("state"),
        text("assignor"),
        group["coordinator"],
        list("members").len(),
        group["lag"],
    );
    let lines = table(
        &[
            ("topic", "TOPIC"),
            ("partition", "PARTITION"),
            ("committed", "COMMITTED"),
            ("end", "END"),
            ("lag", "LAG"),
            ("member", "MEMBER"),
            ("client", "CLIENT"),
            ("host", "HOST"),
        ],
        list("partitions"),
    );
    head + &lines
}

async fn delete(admin: &Admin, groups: &[String], format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let mut items = Vec::new();
    let mut failures = Vec::new();
    for group in groups {
        let deleted = admin.delete_group(group).await;
        let status = match &deleted {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.code().map_or_else(|| "error".into(), weir_client::kafka_name),
        };
        items.push(json!({ "group": group, "status": status }));
        failures.extend(deleted.err());
    }
    print_list(out, format, &[("group", "GROUP"), ("status", "STATUS")], &items)?;
    match failures.len() {
        0 => Ok(()),
        failed => {
            for error in failures {
                // Nobody is left to tell if stderr is gone.
                let _ = CliError::Client(error).report(None, &mut std::io::stderr());
            }
            Err(CliError::Partial { failed, total: groups.len() })
        }
    }
}
