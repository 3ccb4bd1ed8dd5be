//! `weir quota`: how much clients may produce, fetch, have scanned and occupy the broker's threads in a second; how many connections
//! addresses may make.

use std::io::Write;

use clap::ArgGroup;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Map, Value, json};
use weir_client::Client;

use super::output::{Format, OutputArgs, print_list};
use super::{CliError, Context, note};
use crate::config::{ByteCount, SettingValue};

/// Flags of `quota`.
#[derive(Debug, clap::Args)]
pub struct QuotaArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: QuotaCommand,
}

#[derive(Debug, clap::Subcommand)]
enum QuotaCommand {
    /// List all quotas
    #[command(visible_alias = "ls")]
    List,
    /// Set or remove quotas of a user, a client id, a client id of a user, or an address
    Set(SetArgs),
}

fn rate(text: &str) -> Result<f64, String> {
    ByteCount::parse(text).map(|bytes| bytes.0 as f64).map_err(|error| error.to_string())
}

#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("who").required(true).multiple(true).args(["user", "default_user", "client_id", "default_client_id", "ip", "default_ip"]),
    group = ArgGroup::new("what").required(true).multiple(true).args(["producer_byte_rate", "consumer_byte_rate", "request_percentage", "connection_creation_rate", "scan_byte_rate", "predicate_ms_rate", "remove"]),
)]
struct SetArgs {
    /// The user
    #[arg(long, value_name = "NAME", conflicts_with = "default_user")]
    user: Option<String>,
    /// Every user without a quota of their own
    #[arg(long)]
    default_user: bool,
    /// The client id
    #[arg(long, value_name = "NAME", conflicts_with = "default_client_id")]
    client_id: Option<String>,
    /// Every client id without a quota of its own
    #[arg(long)]
    default_client_id: bool,
    /// The address that connections come from
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["default_ip", "user", "default_user", "client_id", "default_client_id"])]
    ip: Option<std::net::IpAddr>,
    /// Every address without a quota of its own
    #[arg(long, conflicts_with_all = ["user", "default_user", "client_id", "default_client_id"])]
    default_ip: bool,
    /// Bytes of produce requests in a second, e.g. 10MiB
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    producer_byte_rate: Option<f64>,
    /// Bytes of fetched records in a second, e.g. 10MiB
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    consumer_byte_rate: Option<f64>,
    /// Time that the broker's threads work on requests, in percent of one thread: 50 is half of one
    #[arg(long, value_name = "PERCENT")]
    request_percentage: Option<f64>,
    /// Connections that an address (--ip, --default-ip) makes in a second; more are closed
    #[arg(long, value_name = "COUNT")]
    connection_creation_rate: Option<u32>,
    /// Stored bytes that columnar fetches and views look at in a second, e.g. 100MiB
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    scan_byte_rate: Option<f64>,
    /// Milliseconds that their predicates run in a second: 200 is a fifth of one core
    #[arg(long, value_name = "MILLISECONDS")]
    predicate_ms_rate: Option<u32>,
    /// Quotas to remove: producer_byte_rate, consumer_byte_rate, request_percentage, connection_creation_rate, scan_byte_rate,
    /// predicate_ms_rate
    #[arg(long, value_name = "QUOTA", value_delimiter = ',')]
    remove: Vec<String>,
}

impl SetArgs {
    fn entry(&self) -> EntryData {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let part = |kind: &str, name: &Option<String>, is_default: bool| {
            let entity = EntityData::default().with_entity_type(text(kind));
            (name.is_some() || is_default).then(|| entity.with_entity_name(name.as_deref().map(text)))
        };
        let ip = self.ip.map(|ip| ip.to_string());
        let entity = [
            part("user", &self.user, self.default_user),
            part("client-id", &self.client_id, self.default_client_id),
            part("ip", &ip, self.default_ip),
        ];
        let set = [
            ("producer_byte_rate", self.producer_byte_rate),
            ("consumer_byte_rate", self.consumer_byte_rate),
            ("request_percentage", self.request_percentage),
            ("connection_creation_rate", self.connection_creation_rate.map(f64::from)),
            ("scan_byte_rate", self.scan_byte_rate),
            ("predicate_ms_rate", self.predicate_ms_rate.map(f64::from)),
        ];
        let set =
            set.into_iter().filter_map(|(key, value)| Some(OpData::default().with_key(text(key)).with_value(value?)));
        let removed = self.remove.iter().map(|key| OpData::default().with_key(text(key)).with_remove(true));
        EntryData::default().with_entity(entity.into_iter().flatten().collect()).with_ops(set.chain(removed).collect())
    }
}

pub(crate) async fn run(context: &Context, args: QuotaArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = context.client()?;
    if let QuotaCommand::Set(set) = &args.command {
        alter(&client, set).await?;
    }
    list(&client, args.output.output, out).await
}

async fn alter(client: &Client, set: &SetArgs) -> Result<(), CliError> {
    let connection = client.controller().await?;
    let request = AlterClientQuotasRequest::default().with_entries(vec![set.entry()]);
    let response = connection.call(|_| request).await?;
    for entry in &response.entries {
        let detail = entry.error_message.as_deref();
        connection.check::<AlterClientQuotasRequest>("the quotas", entry.error_code, detail)?;
    }
    Ok(())
}

async fn list(client: &Client, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let connection = client.controller().await?;
    let response = connection.call(|_| DescribeClientQuotasRequest::default()).await?;
    let detail = response.error_message.as_deref();
    connection.check::<DescribeClientQuotasRequest>("the quotas", response.error_code, detail)?;
    let entries = response.entries.unwrap_or_default();
    let items = entries.iter().map(|entry| {
        let mut item = Map::new();
        for part in &entry.entity {
            let name = part.entity_name.as_deref().unwrap_or("<default>");
            item.insert(part.entity_type.to_string(), json!(name));
        }
        item.extend(entry.values.iter().map(|value| (value.key.to_string(), shown(value.value))));
        Value::Object(item)
    });
    let items: Vec<Value> = items.collect();
    if items.is_empty() && format == Format::Table {
        note("no quotas; `weir quota set` makes some");
    }
    let columns = [
        ("user", "USER"),
        ("client-id", "CLIENT-ID"),
        ("ip", "ADDRESS"),
        ("producer_byte_rate", "PRODUCER BYTES/S"),
        ("consumer_byte_rate", "CONSUMER BYTES/S"),
        ("request_percentage", "REQUEST %"),
        ("connection_creation_rate", "CONNECTIONS/S"),
        ("scan_byte_rate", "SCAN BYTES/S"),
        ("predicate_ms_rate", "PREDICATE MS/S"),
    ];
    print_list(out, format, &columns, &items)
}

/// Whole numbers without a fraction.
fn shown(value: f64) -> Value {
    if value.fract() == 0.0 { json!(value as u64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_one_entity_and_its_changes() {
        let set = SetArgs {
            user: Some("a".to_owned()),
            default_user: false,
            client_id: None,
            default_client_id: true,
            producer_byte_rate: Some(rate("1MiB").unwrap()),
            consumer_byte_rate: None,
            ip: None,
            default_ip: false,
            request_percentage: Some(12.5),
            connection_creation_rate: None,
            scan_byte_rate: None,
            predicate_ms_rate: Some(200),
            remove: vec!["consumer_byte_rate".to_owned()],
        };
        let entry = set.entry();
        let parts: Vec<_> = entry.entity.iter().map(|e| (e.entity_type.as_str(), e.entity_name.as_deref())).collect();
        assert_eq!(parts, [("user", Some("a")), ("client-id", None)]);
        let ops: Vec<_> = entry.ops.iter().map(|op| (op.key.as_str(), op.value, op.remove)).collect();
        let expected = [
            ("producer_byte_rate", 1_048_576.0, false),
            ("request_percentage", 12.5, false),
            ("predicate_ms_rate", 200.0, false),
            ("consumer_byte_rate", 0.0, true),
        ];
        assert_eq!(ops, expected);
    }
}
