//! Restricted grants: a READ of some columns and rows of one topic.
//!
//! A grant is bound to the topic by its id and to columns by their field ids when it is made: a renamed column is still meant, a topic
//! or column that was deleted and made again is another one. What cannot be followed any more hides every row, and never shows more.
//!
//! A grant is one entry of a principal (or `User:*`) for a topic, and there is one at most: the union of two would be rows with
//! different columns. It counts where no binding denies READ and none allows it; a principal's own comes before that of `User:*`.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;
use weir_predicate::{Clock, PlanError};
use weir_protocol::columnar::AclRestriction;
use weir_scan::{Readable, RecordParts, Restriction, ResultRows, RowRule, ScanPlan, ScanRequest};
use weir_table::schema::FieldId;

use super::model::{AclBinding, AclEntry, Operation, PatternType, Permission, ResourcePattern, ResourceType, WILDCARD};
use crate::topics::Topic;

/// Form of [`Grant`] in the metadata store.
const VERSION: u32 = 1;

/// Columns that a grant may name.
pub const COLUMNS_MAX: usize = 2_000;

/// Columns that everybody sees who sees a row: where and when it was stored.
const ALWAYS: [&str; 3] = ["_partition", "_offset", "_timestamp"];

/// Why a grant is not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrantError {
    /// Not an entry that can be restricted.
    #[error(
        "columns and rows can be given for ALLOW READ of one topic by its name, from every host; this is {binding}: leave --columns and --where out, or change it"
    )]
    Shape {
        /// The binding.
        binding: String,
    },
    /// Neither columns nor rows.
    #[error("neither columns nor a row filter are given: leave the restriction out to allow READ of everything")]
    Nothing,
    /// Columns are bound by id, so there must be some.
    #[error("topic `{topic}` does not exist; columns are bound by their ids, so create the topic first")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// Not a topic that clients produce to.
    #[error("topic `{topic}` is {kind}; restrict the topic whose records these are")]
    Kind {
        /// Its name.
        topic: String,
        /// What it is.
        kind: &'static str,
    },
    /// A name that is no column.
    #[error("topic `{topic}` has no column `{column}`; give some of {known}, whole and not parts of them")]
    NoColumn {
        /// Its name.
        topic: String,
        /// What was given.
        column: String,
        /// The columns that there are, or the first of them.
        known: String,
    },
    /// A bound.
    #[error("{count} columns are given, and {COLUMNS_MAX} are the most")]
    TooManyColumns {
        /// How many.
        count: usize,
    },
    /// The row filter.
    #[error("the row filter: {0}")]
    Filter(#[from] PlanError),
    /// The one that there may be is there.
    #[error(
        "{principal} has a restricted READ of topic `{topic}` already, and there is one at most; remove it first: weir acl remove --allow-principal {principal} --operation read --topic {topic}"
    )]
    Exists {
        /// Whose.
        principal: String,
        /// Of what.
        topic: String,
    },
    /// The tag of the request.
    #[error("{0}")]
    Tag(String),
}

/// A column by the name that it had.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GrantedColumn {
    /// Its name when the grant was made.
    pub name: String,
    /// Its field id; `None` of a system column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i32>,
}

/// A row filter as it was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GrantedRows {
    /// A predicate.
    pub text: String,
    /// The table's columns in it: names that it uses, and field ids.
    #[serde(default)]
    pub columns: BTreeMap<String, i32>,
}

/// One grant, as it is in the metadata store (JSON).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    version: u32,
    /// `User:alice`, or `User:*` for everybody.
    pub principal: String,
    /// Name of the topic.
    pub topic: String,
    topic_id: Uuid,
    /// `None`: every column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<GrantedColumn>>,
    /// `None`: every row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rows: Option<GrantedRows>,
    /// It cannot be read: it hides everything.
    #[serde(skip)]
    unreadable: Option<String>,
}

impl Grant {
    /// What `binding` gives when it is restricted, bound to the columns that `topic` has now. Plans the filter: not for network threads.
    pub fn bind(binding: &AclBinding, topic: Option<&Topic>, wanted: &AclRestriction) -> Result<Grant, GrantError> {
        let AclBinding { pattern, entry } = binding;
        let fits = pattern.resource == ResourceType::Topic
            && pattern.pattern == PatternType::Literal
            && pattern.name != WILDCARD
            && entry.host == WILDCARD
            && (entry.operation, entry.permission) == (Operation::Read, Permission::Allow);
        if !fits {
            return Err(GrantError::Shape { binding: binding.to_string() });
        }
        let name = || pattern.name.clone();
        let topic = topic.ok_or_else(|| GrantError::NoTopic { topic: name() })?;
        if topic.is_internal() || topic.view.is_some() {
            let kind = if topic.view.is_some() { "a view" } else { "internal" };
            return Err(GrantError::Kind { topic: name(), kind });
        }
        let filter = wanted.filter.as_deref().map(str::trim).filter(|text| !text.is_empty());
        if wanted.columns.is_none() && filter.is_none() {
            return Err(GrantError::Nothing);
        }
        let columns = wanted.columns.as_ref().map(|columns| columns_of(topic, columns)).transpose()?;
        let rows = filter.map(|text| rows_of(topic, text)).transpose()?;
        let principal = entry.principal.clone();
        let topic_id = topic.id.0;
        Ok(Grant { version: VERSION, principal, topic: name(), topic_id, columns, rows, unreadable: None })
    }

    /// A grant that is stored and cannot be read: it gives nothing, but it is there.
    pub(super) fn unreadable(principal: &str, topic: &str, reason: String) -> Grant {
        Grant {
            version: VERSION,
            principal: principal.to_owned(),
            topic: topic.to_owned(),
            topic_id: Uuid::nil(),
            columns: None,
            rows: None,
            unreadable: Some(reason),
        }
    }

    /// From the metadata store. The error is why it cannot be read.
    pub(super) fn parse(value: &[u8]) -> Result<Grant, String> {
        let grant: Grant = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        match grant.version {
            VERSION => Ok(grant),
            version => Err(format!("it has version {version}, this broker knows {VERSION}")),
        }
    }

    /// What it gives of the topic as it is now.
    #[must_use]
    pub fn restriction(&self, topic: &Topic) -> Restriction {
        let lost = match &self.unreadable {
            Some(reason) => Some(format!("the grant cannot be read: {reason}")),
            None if topic.id.0 != self.topic_id => Some("the topic it was made for was deleted".to_owned()),
            None => None,
        };
        if let Some(reason) = lost {
            let none = Readable { fields: BTreeSet::new(), parts: NO_PARTS };
            return Restriction { columns: Some(none), rows: Some(RowRule::Nothing(reason)) };
        }
        let rows = self.rows.as_ref().map(|rows| RowRule::Where {
            text: rows.text.clone(),
            columns: rows.columns.iter().map(|(name, id)| (name.clone(), FieldId(*id))).collect(),
        });
        Restriction { columns: self.columns.as_deref().map(readable), rows }
    }

    /// Why it gives no row of the topic as it is now, if that is so. Plans the filter: not for network threads.
    #[must_use]
    pub fn problem(&self, topic: Option<&Topic>) -> Option<String> {
        let Some(topic) = topic else { return Some("the topic does not exist".to_owned()) };
        let request = ScanRequest { projection: Some(Vec::new()), predicate: None };
        let restriction = self.restriction(topic);
        let plan = ScanPlan::restricted(topic.table(), None, &request, ResultRows::Arrow, Clock::Refused, &restriction);
        match plan {
            Ok(plan) => plan.hides_all().map(str::to_owned),
            Err(error) => Some(error.to_string()),
        }
    }

    /// As requests and answers tell it: columns under the names that they have now, the filter as it was written.
    #[must_use]
    pub fn told(&self, topic: Option<&Topic>) -> AclRestriction {
        let topic = topic.filter(|topic| topic.id.0 == self.topic_id);
        let now = |column: &GrantedColumn| {
            let fields = topic.and_then(Topic::table).map(|table| &table.current().fields);
            let field = fields.into_iter().flatten().find(|field| Some(field.id.0) == column.id);
            field.map_or_else(|| column.name.clone(), |field| field.name.clone())
        };
        AclRestriction {
            columns: self.columns.as_ref().map(|columns| columns.iter().map(now).collect()),
            filter: self.rows.as_ref().map(|rows| rows.text.clone()),
            problem: None,
        }
    }

    /// The binding that it would be if it was not restricted.
    #[must_use]
    pub fn binding(&self) -> AclBinding {
        let (resource, pattern) = (ResourceType::Topic, PatternType::Literal);
        AclBinding {
            pattern: ResourcePattern { resource, name: self.topic.clone(), pattern },
            entry: AclEntry {
                principal: self.principal.clone(),
                host: WILDCARD.to_owned(),
                operation: Operation::Read,
                permission: Permission::Allow,
            },
        }
    }
}

const NO_PARTS: RecordParts = RecordParts { key: false, value: false, headers: false };

fn columns_of(topic: &Topic, names: &[String]) -> Result<Vec<GrantedColumn>, GrantError> {
    if names.len() > COLUMNS_MAX {
        return Err(GrantError::TooManyColumns { count: names.len() });
    }
    let mut columns = BTreeSet::new();
    for name in names {
        let field = topic.table().and_then(|table| table.current().column(name).map(|(_, field)| field.id.0));
        let system = ALWAYS.contains(&name.as_str()) || RecordParts::named(std::slice::from_ref(name)).is_ok();
        if field.is_none() && !system {
            let known = known_columns(topic);
            let (topic, column) = (topic.name.clone(), name.chars().take(300).collect());
            return Err(GrantError::NoColumn { topic, column, known });
        }
        columns.insert(GrantedColumn { name: name.clone(), id: field });
    }
    Ok(columns.into_iter().collect())
}

/// For a message: the table's columns and those of every record.
fn known_columns(topic: &Topic) -> String {
    const SHOWN: usize = 40;
    let fields = topic.table().map(|table| table.current().fields.as_slice()).unwrap_or_default();
    let system = ALWAYS.into_iter().chain(["_key", "_value", "_headers"]);
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).take(SHOWN).chain(system).collect();
    names.join(", ")
}

fn rows_of(topic: &Topic, text: &str) -> Result<GrantedRows, GrantError> {
    let RowRule::Where { text, columns } = RowRule::new(text, topic.table().map(|table| &**table.current()))? else {
        return Ok(GrantedRows { text: text.to_owned(), columns: BTreeMap::new() });
    };
    Ok(GrantedRows { text, columns: columns.into_iter().map(|(name, id)| (name, id.0)).collect() })
}

fn readable(columns: &[GrantedColumn]) -> Readable {
    let fields = columns.iter().filter_map(|column| column.id.map(FieldId)).collect();
    let system: Vec<String> = columns
        .iter()
        .filter(|column| column.id.is_none() && !ALWAYS.contains(&column.name.as_str()))
        .map(|column| column.name.clone())
        .collect();
    // A name of another version gives nothing.
    Readable { fields, parts: RecordParts::named(&system).unwrap_or(NO_PARTS) }
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
