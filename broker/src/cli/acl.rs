//! `weir acl`: who may do what. Flags are those of kafka-acls and `rpk acl`; `--columns` and `--where` are our own.

use std::collections::BTreeMap;
use std::io::Write;

use bytes::{Bytes, BytesMut};
use clap::ArgGroup;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};
use weir_client::Client;
use weir_protocol::columnar::{ACL_API_VERSION_MIN, ACL_FEATURE, AclRestriction, TAG};

use super::output::{Format, OutputArgs, print_list};
use super::{CliError, Context, note};
use crate::security::acl::{
    AclBinding, AclEntry, CLUSTER_NAME, Operation, PatternType, Permission, ResourcePattern, ResourceType, WILDCARD,
};

/// ANY of the wire.
const ANY: i8 = 1;

/// Flags of `acl`.
#[derive(Debug, clap::Args)]
pub struct AclArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: AclCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AclCommand {
    /// Allow or deny something to somebody
    #[command(after_help = "Examples:
  weir acl add --allow-principal User:alice --operation read --topic orders
  weir acl add --allow-principal User:bob --operation read --topic orders --columns id,amount --where \"country = 'DE'\"", visible_alias = "create", group = ArgGroup::new("who").required(true).multiple(true).args(["allow_principal", "deny_principal"]))]
    Add {
        #[command(flatten)]
        wish: WishArgs,
        #[command(flatten)]
        part: PartArgs,
    },
    /// List what is allowed and denied; flags narrow the list
    #[command(visible_alias = "ls")]
    List(WishArgs),
    /// Remove what the flags describe
    #[command(visible_alias = "delete")]
    Remove {
        #[command(flatten)]
        wish: WishArgs,
        /// Remove everything, if no other flag narrows it down
        #[arg(long)]
        all: bool,
    },
}

/// What of a topic may be read; nothing given is all of it.
#[derive(Debug, Default, clap::Args)]
struct PartArgs {
    /// Only these columns of the topic, separated by commas (with --operation read); a record's key, headers and whole value are
    /// _key, _headers and _value
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// Only rows for which this SQL expression is true (with --operation read); it may use columns that cannot be read
    #[arg(long = "where", value_name = "EXPRESSION")]
    filter: Option<String>,
}

impl PartArgs {
    /// `None`: all of the topic.
    fn restriction(&self) -> Option<AclRestriction> {
        if self.columns.is_none() && self.filter.is_none() {
            return None;
        }
        // A name with odd characters may be quoted, as in predicates.
        let plain = |name: &String| {
            let name = name.trim();
            name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name).to_owned()
        };
        let columns = self.columns.as_ref();
        let columns = columns.map(|names| names.iter().map(plain).filter(|name| !name.is_empty()).collect());
        Some(AclRestriction { columns, filter: self.filter.clone(), problem: None })
    }
}

/// Who, what, where; of what is added and of filters.
#[derive(Debug, Default, clap::Args)]
struct WishArgs {
    /// Who may, e.g. User:alice or alice; `*` for everybody
    #[arg(long, value_name = "PRINCIPAL", visible_alias = "allow")]
    allow_principal: Vec<String>,
    /// Who may not
    #[arg(long, value_name = "PRINCIPAL", visible_alias = "deny")]
    deny_principal: Vec<String>,
    /// From which address [default when adding: *]
    #[arg(long, value_name = "ADDRESS")]
    host: Vec<String>,
    /// What: all, read, write, create, delete, alter, describe, cluster-action, describe-configs, alter-configs,
    /// idempotent-write [default when adding: all]
    #[arg(long, value_name = "OPERATION", value_delimiter = ',')]
    operation: Vec<Operation>,
    /// To these topics; `*` for every topic
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    topic: Vec<String>,
    /// To these consumer groups
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    group: Vec<String>,
    /// To these transactional ids
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    transactional_id: Vec<String>,
    /// To the cluster
    #[arg(long)]
    cluster: bool,
    /// How names are compared: literal or prefixed [default when adding: literal]
    #[arg(long, value_name = "TYPE", visible_alias = "pattern")]
    resource_pattern_type: Option<PatternType>,
}

impl WishArgs {
    /// Type and name of each resource named.
    fn resources(&self) -> Vec<(ResourceType, &str)> {
        let lists = [
            (ResourceType::Topic, &self.topic),
            (ResourceType::Group, &self.group),
            (ResourceType::TransactionalId, &self.transactional_id),
        ];
        let mut all: Vec<(ResourceType, &str)> = Vec::new();
        for (resource, names) in lists {
            all.extend(names.iter().map(|name| (resource, name.as_str())));
        }
        if self.cluster {
            all.push((ResourceType::Cluster, CLUSTER_NAME));
        }
        all
    }

    /// Who, and whether they may; principals without a kind are users.
    fn entries(&self) -> Vec<(Permission, String)> {
        let principal = |text: &String| if text.contains(':') { text.clone() } else { format!("User:{text}") };
        let allowed = self.allow_principal.iter().map(|who| (Permission::Allow, principal(who)));
        allowed.chain(self.deny_principal.iter().map(|who| (Permission::Deny, principal(who)))).collect()
    }

    /// Every combination, as bindings.
    fn bindings(&self) -> Result<Vec<AclBinding>, CliError> {
        let resources = self.resources();
        if resources.is_empty() {
            return Err(CliError::Invalid {
                setting: "--topic",
                value: String::new(),
                reason: "no resource is named".to_owned(),
                fix: "add --topic NAME, --group NAME, --transactional-id ID or --cluster".to_owned(),
            });
        }
        let anywhere = [WILDCARD.to_owned()];
        let hosts: &[String] = if self.host.is_empty() { &anywhere } else { &self.host };
        let operations: &[Operation] = if self.operation.is_empty() { &[Operation::All] } else { &self.operation };
        let mut bindings = Vec::new();
        for (resource, name) in resources {
            // The cluster has one name, which is no prefix of others.
            let wanted = self.resource_pattern_type.unwrap_or(PatternType::Literal);
            let pattern = if resource == ResourceType::Cluster { PatternType::Literal } else { wanted };
            for (permission, principal) in self.entries() {
                for host in hosts {
                    for operation in operations {
                        let pattern = ResourcePattern { resource, name: name.to_owned(), pattern };
                        let (principal, host) = (principal.clone(), host.clone());
                        let entry = AclEntry { principal, host, operation: *operation, permission };
                        bindings.push(AclBinding { pattern, entry });
                    }
                }
            }
        }
        Ok(bindings)
    }

    /// Every combination, as filters; what is not given matches everything.
    fn filters(&self) -> Vec<DeleteAclsFilter> {
        fn or_any<T: Clone>(items: impl IntoIterator<Item = T>) -> Vec<Option<T>> {
            let some: Vec<Option<T>> = items.into_iter().map(Some).collect();
            if some.is_empty() { vec![None] } else { some }
        }
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let mut filters = Vec::new();
        for resource in or_any(self.resources()) {
            for entry in or_any(self.entries()) {
                for host in or_any(self.host.iter()) {
                    for operation in or_any(self.operation.iter()) {
                        let filter = DeleteAclsFilter::default()
                            .with_resource_type_filter(resource.map_or(ANY, |(resource, _)| resource.wire()))
                            .with_resource_name_filter(resource.map(|(_, name)| text(name)))
                            .with_pattern_type_filter(self.resource_pattern_type.map_or(ANY, PatternType::wire))
                            .with_principal_filter(entry.as_ref().map(|(_, principal)| text(principal)))
                            .with_host_filter(host.map(|host| text(host)))
                            .with_operation(operation.map_or(ANY, |operation| operation.wire()))
                            .with_permission_type(entry.as_ref().map_or(ANY, |(permission, _)| permission.wire()));
                        filters.push(filter);
                    }
                }
            }
        }
        filters
    }

    fn is_empty(&self) -> bool {
        self.resources().is_empty()
            && self.entries().is_empty()
            && self.host.is_empty()
            && self.operation.is_empty()
            && self.resource_pattern_type.is_none()
    }
}

pub(crate) async fn run(context: &Context, args: AclArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = context.client()?;
    let format = args.output.output;
    match args.command {
        AclCommand::Add { wish, part } => add(&client, &wish, part.restriction().as_ref(), format, out).await,
        AclCommand::List(wish) => list(&client, &wish, format, out).await,
        AclCommand::Remove { wish, all } => {
            if wish.is_empty() && !all {
                return Err(CliError::Invalid {
                    setting: "weir acl remove",
                    value: String::new(),
                    reason: "names nothing to remove".to_owned(),
                    fix: "narrow it down as in `weir acl list`, or say --all".to_owned(),
                });
            }
            remove(&client, &wish, format, out).await
        }
    }
}

/// The tag of an entry, or of a request that wants to be told of such entries.
fn tag(part: &AclRestriction) -> BTreeMap<i32, Bytes> {
    let mut bytes = BytesMut::new();
    part.encode(&mut bytes);
    BTreeMap::from([(TAG, bytes.freeze())])
}

/// What an entry is restricted to.
fn told(tags: &BTreeMap<i32, Bytes>) -> Option<AclRestriction> {
    // Of a version that this program does not know: that it is restricted is all that can be said.
    tags.get(&TAG).map(|bytes| AclRestriction::decode(bytes).unwrap_or_default())
}

async fn add(
    client: &Client,
    wish: &WishArgs,
    part: Option<&AclRestriction>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let bindings = wish.bindings()?;
    let connection = client.controller().await?;
    // A broker that skips the tag would allow everything.
    let knows = connection.versions().feature(ACL_FEATURE).is_some_and(|range| range.min <= 1)
        && connection.version::<CreateAclsRequest>()? >= ACL_API_VERSION_MIN;
    if part.is_some() && !knows {
        return Err(CliError::Invalid {
            setting: "--columns, --where",
            value: String::new(),
            reason: format!("the broker cannot restrict a READ (it lacks feature {ACL_FEATURE})"),
            fix: "use a broker of a newer version, or a view of the topic".to_owned(),
        });
    }
    let tags = part.map(tag).unwrap_or_default();
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let creations = bindings.iter().map(|AclBinding { pattern, entry }| {
        AclCreation::default()
            .with_resource_type(pattern.resource.wire())
            .with_resource_name(text(&pattern.name))
            .with_resource_pattern_type(pattern.pattern.wire())
            .with_principal(text(&entry.principal))
            .with_host(text(&entry.host))
            .with_operation(entry.operation.wire())
            .with_permission_type(entry.permission.wire())
            .with_unknown_tagged_fields(tags.clone())
    });
    let request = CreateAclsRequest::default().with_creations(creations.collect());
    let response = connection.call(|_| request).await?;
    for (binding, result) in bindings.iter().zip(&response.results) {
        let detail = result.error_message.as_deref();
        connection.check::<CreateAclsRequest>(&binding.to_string(), result.error_code, detail)?;
    }
    print(out, format, bindings.iter().map(|binding| with_part(shown(binding), part)).collect())
}

async fn list(client: &Client, wish: &WishArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let mut items: Vec<Value> = Vec::new();
    let connection = client.controller().await?;
    let knows = connection.versions().feature(ACL_FEATURE).is_some()
        && connection.version::<DescribeAclsRequest>()? >= ACL_API_VERSION_MIN;
    let tags = if knows { tag(&AclRestriction::default()) } else { BTreeMap::new() };
    for filter in wish.filters() {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(filter.resource_type_filter)
            .with_resource_name_filter(filter.resource_name_filter)
            .with_pattern_type_filter(filter.pattern_type_filter)
            .with_principal_filter(filter.principal_filter)
            .with_host_filter(filter.host_filter)
            .with_operation(filter.operation)
            .with_permission_type(filter.permission_type)
            .with_unknown_tagged_fields(tags.clone());
        let response = connection.call(|_| request).await?;
        let detail = response.error_message.as_deref();
        connection.check::<DescribeAclsRequest>("the ACLs", response.error_code, detail)?;
        for resource in response.resources {
            items.extend(resource.acls.iter().map(|acl| {
                let row = row(
                    (resource.resource_type, &resource.resource_name, resource.pattern_type),
                    (&acl.principal, &acl.host, acl.operation, acl.permission_type),
                );
                with_part(row, told(&acl.unknown_tagged_fields).as_ref())
            }));
        }
    }
    let mut seen = std::collections::HashSet::new();
    items.retain(|item| seen.insert(item.to_string()));
    if items.is_empty() && format == Format::Table {
        note("no ACLs; `weir acl add` makes some");
    }
    print(out, format, items)
}

async fn remove(client: &Client, wish: &WishArgs, format: Format, out: &mut dyn Write) -> Result<(), CliError> {
    let request = DeleteAclsRequest::default().with_filters(wish.filters());
    let connection = client.controller().await?;
    let response = connection.call(|_| request).await?;
    let mut items = Vec::new();
    for result in response.filter_results {
        let detail = result.error_message.as_deref();
        connection.check::<DeleteAclsRequest>("the ACLs", result.error_code, detail)?;
        items.extend(result.matching_acls.iter().map(|acl| {
            let row = row(
                (acl.resource_type, &acl.resource_name, acl.pattern_type),
                (&acl.principal, &acl.host, acl.operation, acl.permission_type),
            );
            with_part(row, told(&acl.unknown_tagged_fields).as_ref())
        }));
    }
    if items.is_empty() {
        note("nothing matched, nothing was removed");
    }
    print(out, format, items)
}

fn shown(AclBinding { pattern, entry }: &AclBinding) -> Value {
    row(
        (pattern.resource.wire(), &pattern.name, pattern.pattern.wire()),
        (&entry.principal, &entry.host, entry.operation.wire(), entry.permission.wire()),
    )
}

/// Resource, name and pattern; principal, host, operation and permission: as on the wire, to names.
fn row(
    (resource, name, pattern): (i8, &str, i8),
    (principal, host, operation, permission): (&str, &str, i8, i8),
) -> Value {
    let or_code = |name: Option<&'static str>, code: i8| name.map_or_else(|| code.to_string(), str::to_owned);
    json!({
        "permission": or_code(Permission::of_wire(permission).map(Permission::name), permission),
        "principal": principal,
        "host": host,
        "operation": or_code(Operation::of_wire(operation).map(Operation::name), operation),
        "resource": or_code(ResourceType::of_wire(resource).map(ResourceType::name), resource),
        "name": name,
        "pattern": or_code(PatternType::of_wire(pattern).map(PatternType::name), pattern),
    })
}

/// A row with the columns and rows that it is restricted to.
fn with_part(mut row: Value, part: Option<&AclRestriction>) -> Value {
    if let (Some(fields), Some(part)) = (row.as_object_mut(), part) {
        fields.insert("columns".to_owned(), part.columns.as_ref().map_or(json!("*"), |names| json!(names.join(","))));
        fields.insert("where".to_owned(), json!(part.filter));
        if let Some(problem) = &part.problem {
            fields.insert("problem".to_owned(), json!(problem));
        }
    }
    row
}

fn print(out: &mut dyn Write, format: Format, items: Vec<Value>) -> Result<(), CliError> {
    let columns = [
        ("permission", "PERMISSION"),
        ("principal", "PRINCIPAL"),
        ("host", "HOST"),
        ("operation", "OPERATION"),
        ("resource", "RESOURCE"),
        ("name", "NAME"),
        ("pattern", "PATTERN"),
        ("columns", "COLUMNS"),
        ("where", "WHERE"),
        ("problem", "PROBLEM"),
    ];
    // What no entry has is not shown.
    let shown = columns.iter().filter(|(name, _)| {
        !["columns", "where", "problem"].contains(name) || items.iter().any(|item| !item[*name].is_null())
    });
    print_list(out, format, &shown.copied().collect::<Vec<_>>(), &items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> WishArgs {
        WishArgs {
            allow_principal: vec!["alice".to_owned(), "User:bob".to_owned()],
            topic: vec!["a".to_owned(), "b".to_owned()],
            operation: vec![Operation::Read, Operation::Write],
            ..WishArgs::default()
        }
    }

    #[test]
    fn flags_multiply_and_principals_without_a_kind_are_users() {
        let bindings = wish().bindings().unwrap();
        assert_eq!(bindings.len(), 8);
        assert_eq!(bindings[0].to_string(), "ALLOW User:alice READ on TOPIC LITERAL a from *");
        assert!(bindings.iter().all(|binding| binding.validate().is_ok()));
        let nothing = WishArgs { topic: Vec::new(), ..wish() };
        assert!(matches!(nothing.bindings(), Err(CliError::Invalid { .. })));
    }

    #[test]
    fn names_of_columns_may_be_quoted_and_what_is_not_given_is_everything() {
        assert_eq!(PartArgs::default().restriction(), None);
        let names = Some(vec![" id".to_owned(), "\"a.b\"".to_owned(), String::new()]);
        let part = PartArgs { columns: names, filter: None }.restriction().unwrap();
        assert_eq!(part.columns, Some(vec!["id".to_owned(), "a.b".to_owned()]));
        assert_eq!(told(&tag(&part)), Some(part));
    }

    #[test]
    fn filters_leave_open_what_is_not_given() {
        assert_eq!(wish().filters().len(), 8);
        let all = WishArgs::default();
        assert!(all.is_empty() && all.filters().len() == 1);
        let filter = &all.filters()[0];
        assert_eq!((filter.resource_type_filter, filter.operation, filter.permission_type), (1, 1, 1));
        assert_eq!((&filter.principal_filter, &filter.host_filter), (&None, &None));
    }
}
