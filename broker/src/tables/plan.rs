//! From settings and what was before to the next table, or the reason why there is none. No IO.
use std::sync::Arc;

use thiserror::Error;
use weir_table::codec::DecodeLimits;
use weir_table::codec::avro::AvroSchema;
use weir_table::codec::json::JsonSchema;
use weir_table::codec::protobuf::ProtoFile;
use weir_table::ddl::{self, DdlError};
use weir_table::schema::{Change, EvolutionError, SchemaDiff, SchemaError};
use weir_table::table::{FormatKind, KeyFormat, OnInvalid, RowFormat, TableError, TableOptions, WriterSchema};
use weir_table::{DataType, Field, Table, TableSchema};

use crate::api::produce::dead_letters::SUFFIX;
use crate::topics::is_valid_name;

use super::{KeyKind, Schemas, TableSettings, TopicTable, Typing, VERSIONS_MAX};

/// Why settings make no table, or a table cannot become what is asked for. Nothing changes then.
#[derive(Debug, Error)]
pub enum TablePlanError {
    #[error("weir.table.schema: {0}")]
    Ddl(#[from] DdlError),
    #[error("weir.table.schema: {0}")]
    Columns(SchemaError),
    #[error("weir.key.columns: {0}")]
    Keys(SchemaError),
    #[error("weir.table.schema: {0}")]
    Evolution(EvolutionError),
    #[error("schema of subject `{subject}`: {reason}")]
    Subject { subject: String, reason: String },
    #[error(
        "weir.key.columns is `{wanted}`, but the key columns are `{current}` since the topic is typed and cannot change"
    )]
    KeysChanged { wanted: String, current: String },
    #[error(
        "weir.key.columns is `{columns}`, but the topic has no schema: set weir.table.schema, or a weir.value.format of the registry"
    )]
    KeysUntyped { columns: String },
    #[error(
        "{setting} is `{columns}`, but the topic has no schema: set weir.table.schema, or a weir.value.format of the registry"
    )]
    NamedUntyped { setting: &'static str, columns: String },
    #[error(
        "{setting} names `{column}`, and the table has no such column: it has {known}; change {setting} first, or with it"
    )]
    NamedColumn { setting: &'static str, column: String, known: String },
    #[error("{setting} names `{column}`, which is of type {data_type}: {reason}")]
    NamedType { setting: &'static str, column: String, data_type: String, reason: &'static str },
    #[error(
        "weir.table.schema and weir.value.schema.subject both name the columns of JSON rows: set weir.table.schema for columns of your own, or weir.value.schema.subject for those of a JSON Schema"
    )]
    TwoSchemas,
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("weir.on.invalid=dead-letter: `{topic}{SUFFIX}` is too long for a topic; use a shorter name")]
    DeadLetterName { topic: String },
    #[error("weir.table.renames: `{text}` is no pair of names; write `old:new`")]
    Rename { text: String },
    #[error("the table has had {VERSIONS_MAX} schema versions, it cannot have more")]
    TooManyVersions,
}

/// What topic `topic` becomes under `settings`. `candidate`: a schema of its subject that is about to be registered, in
/// place of the newest one.
pub fn plan(
    topic: &str,
    before: &TopicTable,
    settings: &TableSettings,
    schemas: &Schemas,
    candidate: Option<WriterSchema>,
) -> Result<TopicTable, TablePlanError> {
    let mut versions = before.versions.clone();
    if !settings.is_typed() {
        if !settings.key_columns.is_empty() {
            return Err(TablePlanError::KeysUntyped { columns: settings.key_columns.join(",") });
        }
        if let Some((setting, columns)) = named(settings).into_iter().find(|(_, columns)| !columns.is_empty()) {
            return Err(TablePlanError::NamedUntyped { setting, columns: columns.join(",") });
        }
        return Ok(TopicTable { versions, typing: Typing::Untyped });
    }
    if settings.format == FormatKind::Json && settings.subject.is_some() && settings.ddl.is_some() {
        return Err(TablePlanError::TwoSchemas);
    }
    if settings.on_invalid == OnInvalid::DeadLetter && !is_valid_name(&format!("{topic}{SUFFIX}")) {
        return Err(TablePlanError::DeadLetterName { topic: topic.to_owned() });
    }
    let writer = match candidate {
        Some(candidate) => Some(candidate),
        None => newest(topic, settings, schemas)?,
    };
    match wanted(topic, settings, versions.last(), writer.as_ref())? {
        Some(columns) => follow(&mut versions, settings, columns)?,
        None if versions.is_empty() => return Ok(TopicTable { versions, typing: waiting(topic, settings) }),
        None => {}
    }
    if let Some(newest) = versions.last() {
        check_named(settings, newest)?;
    }
    let table = build(&versions, settings, schemas, writer)?;
    Ok(TopicTable { versions, typing: Typing::Typed(Arc::new(table)) })
}

const CLUSTER_BY: &str = "weir.cluster.by";
const BLOOM_FILTERS: &str = "weir.column.bloom.filters";
const UNCOMPRESSED: &str = "weir.column.uncompressed";

/// The settings that say how columns are stored, and the columns they name.
fn named(settings: &TableSettings) -> [(&'static str, &[String]); 3] {
    let TableSettings { cluster_by, bloom_filters, uncompressed, .. } = settings;
    [(CLUSTER_BY, cluster_by), (BLOOM_FILTERS, bloom_filters), (UNCOMPRESSED, uncompressed)]
}

/// Columns that settings name are there, and of a type that can be stored that way.
fn check_named(settings: &TableSettings, schema: &TableSchema) -> Result<(), TablePlanError> {
    let all =
        named(settings).into_iter().flat_map(|(setting, columns)| columns.iter().map(move |name| (setting, name)));
    for (setting, column) in all {
        let column = column.clone();
        let Some((_, field)) = schema.column(&column) else {
            let known = schema.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(TablePlanError::NamedColumn { setting, column, known });
        };
        if let Some(reason) = unfit(setting, &field.data_type) {
            let data_type = field.data_type.to_string();
            return Err(TablePlanError::NamedType { setting, column, data_type, reason });
        }
    }
    Ok(())
}

fn unfit(setting: &str, data_type: &DataType) -> Option<&'static str> {
    let is_nested = matches!(data_type, DataType::Row(_) | DataType::Array(_) | DataType::Map(..));
    match setting {
        CLUSTER_BY => is_nested.then_some("rows can be grouped by single values only"),
        BLOOM_FILTERS if is_nested => Some("a filter holds single values only"),
        BLOOM_FILTERS => match data_type {
            DataType::Float | DataType::Double => {
                Some("equal floats can be of different bits, so a filter cannot tell")
            }
            DataType::Boolean => Some("smallest and largest value say as much as a filter"),
            _ => None,
        },
        _ => None,
    }
}

/// A topic at start: what was decided is not decided again, and nothing stops the start.
pub fn reload(topic: &str, versions: Vec<Arc<TableSchema>>, settings: &TableSettings, schemas: &Schemas) -> TopicTable {
    if !settings.is_typed() {
        return TopicTable { versions, typing: Typing::Untyped };
    }
    if versions.is_empty() {
        return TopicTable { versions, typing: waiting(topic, settings) };
    }
    let writer = newest(topic, settings, schemas).unwrap_or_default();
    let built = build(&versions, settings, schemas, writer).or_else(|error| {
        tracing::warn!(topic, %error, "the newest schema of the subject is not used");
        build(&versions, settings, schemas, None)
    });
    let typing = match built {
        Ok(table) => Typing::Typed(Arc::new(table)),
        Err(error) => Typing::Waiting { reason: error.to_string() },
    };
    TopicTable { versions, typing }
}

fn waiting(topic: &str, settings: &TableSettings) -> Typing {
    let subject = settings.subject_of(topic).unwrap_or_default();
    let reason =
        format!("the topic has no schema yet: register one under subject `{subject}`, or set weir.table.schema");
    Typing::Waiting { reason }
}

fn newest(topic: &str, settings: &TableSettings, schemas: &Schemas) -> Result<Option<WriterSchema>, TablePlanError> {
    match settings.subject_of(topic) {
        None => Ok(None),
        Some(subject) => {
            schemas.latest(&subject, settings.format).map_err(|reason| TablePlanError::Subject { subject, reason })
        }
    }
}

/// The columns that the table is to have; `None`: nobody has said so yet.
fn wanted(
    topic: &str,
    settings: &TableSettings,
    current: Option<&Arc<TableSchema>>,
    writer: Option<&WriterSchema>,
) -> Result<Option<Vec<Field>>, TablePlanError> {
    if let Some(ddl) = &settings.ddl {
        return Ok(Some(ddl::parse(ddl)?));
    }
    let Some(writer) = writer else { return Ok(None) };
    let mut columns = columns_of(settings, writer).map_err(|reason| {
        let subject = settings.subject_of(topic).unwrap_or_default();
        TablePlanError::Subject { subject, reason }
    })?;
    if let Some(current) = current {
        // Key columns need not be part of the value's schema.
        let keys = current.key_columns().into_iter().map(|index| &current.fields[index]);
        let missing: Vec<_> =
            keys.filter(|key| columns.iter().all(|column| column.name != key.name)).cloned().collect();
        columns.splice(0..0, missing);
        keep_defaults(&current.fields, &mut columns);
    }
    Ok(Some(columns))
}

fn columns_of(settings: &TableSettings, writer: &WriterSchema) -> Result<Vec<Field>, String> {
    match settings.format {
        FormatKind::Protobuf => {
            let file = ProtoFile::parse(&writer.text).map_err(|error| error.to_string())?;
            let indexes = message_of(settings, &file)?;
            let message = file.message(&indexes).map_err(|error| error.to_string())?;
            message.columns().map_err(|error| error.to_string())
        }
        FormatKind::Avro => {
            let references: Vec<_> = writer.references.iter().map(|(_, text)| text.clone()).collect();
            let schema = AvroSchema::parse_with(&references, &writer.text).map_err(|error| error.to_string())?;
            schema.columns().map_err(|error| error.to_string())
        }
        FormatKind::Json => {
            let schema = JsonSchema::parse_with(&writer.references, &writer.text);
            schema.and_then(|schema| schema.columns()).map_err(|error| error.to_string())
        }
    }
}

/// Where the table's message is in its file.
fn message_of(settings: &TableSettings, file: &ProtoFile) -> Result<Vec<i32>, String> {
    let Some(name) = &settings.message else { return Ok(vec![0]) };
    file.find(name).ok_or_else(|| format!("the file has no message `{name}`: see weir.value.message"))
}

/// Writers' schemas may change the defaults of their fields; what rows without a column read as stays what it was.
fn keep_defaults(current: &[Field], columns: &mut [Field]) {
    for column in columns {
        let Some(known) = current.iter().find(|field| field.name == column.name) else { continue };
        column.default.clone_from(&known.default);
        keep_child_defaults(&known.data_type, &mut column.data_type);
    }
}

fn keep_child_defaults(current: &DataType, wanted: &mut DataType) {
    let one = std::slice::from_ref::<Field>;
    match (current, wanted) {
        (DataType::Row(current), DataType::Row(wanted)) => keep_defaults(current, wanted),
        (DataType::Array(current), DataType::Array(wanted)) => {
            keep_defaults(one(current), std::slice::from_mut(&mut **wanted));
        }
        (DataType::Map(_, current), DataType::Map(_, wanted)) => {
            keep_defaults(one(current), std::slice::from_mut(&mut **wanted));
        }
        _ => {}
    }
}

/// Adds the next version, if `columns` are not what the table has already.
fn follow(
    versions: &mut Vec<Arc<TableSchema>>,
    settings: &TableSettings,
    columns: Vec<Field>,
) -> Result<(), TablePlanError> {
    let keys: Vec<&str> = settings.key_columns.iter().map(String::as_str).collect();
    let Some(current) = versions.last() else {
        let created = TableSchema::create(columns, &keys).map_err(|error| match error {
            SchemaError::UnknownKeyColumn { .. } => TablePlanError::Keys(error),
            error => TablePlanError::Columns(error),
        })?;
        versions.push(Arc::new(created));
        return Ok(());
    };
    let before: Vec<&str> = current.key_columns().into_iter().map(|at| current.fields[at].name.as_str()).collect();
    if before != keys {
        return Err(TablePlanError::KeysChanged { wanted: keys.join(","), current: before.join(",") });
    }
    let next = match renamed(current, settings, &columns)? {
        None => match current.diff(&columns).map_err(TablePlanError::Evolution)? {
            SchemaDiff::Unchanged => return Ok(()),
            SchemaDiff::Evolved(next) => next,
        },
        // Renamed and changed in one version.
        Some(renamed) => match renamed.diff(&columns).map_err(TablePlanError::Evolution)? {
            SchemaDiff::Unchanged => renamed,
            SchemaDiff::Evolved(next) => TableSchema { version: renamed.version, ..next },
        },
    };
    if versions.len() >= VERSIONS_MAX {
        return Err(TablePlanError::TooManyVersions);
    }
    versions.push(Arc::new(next));
    Ok(())
}

/// `current` with the new names that `columns` use; `None`: they use none. A rename that happened already, or does not
/// yet, is none: the setting may stay.
fn renamed(
    current: &TableSchema,
    settings: &TableSettings,
    columns: &[Field],
) -> Result<Option<TableSchema>, TablePlanError> {
    let mut changes = Vec::new();
    for rename in &settings.renames {
        let pair = rename.split_once(':').map(|(old, new)| (old.trim(), new.trim()));
        let Some((old, new)) = pair.filter(|(old, new)| !old.is_empty() && !new.is_empty()) else {
            return Err(TablePlanError::Rename { text: rename.clone() });
        };
        let wanted = |name: &str| columns.iter().any(|column| column.name == name);
        if current.column(old).is_some() && current.column(new).is_none() && wanted(new) && !wanted(old) {
            changes.push(Change::Rename { path: vec![old.to_owned()], to: new.to_owned() });
        }
    }
    if changes.is_empty() {
        return Ok(None);
    }
    current.evolve(&changes).map(Some).map_err(TablePlanError::Evolution)
}

fn build(
    versions: &[Arc<TableSchema>],
    settings: &TableSettings,
    schemas: &Schemas,
    writer: Option<WriterSchema>,
) -> Result<Table, TableError> {
    let writers = Arc::new(schemas.clone());
    let value = match settings.format {
        // Rows that are made of columns have the frame that consumers of a subject's rows look for.
        FormatKind::Json if settings.subject.is_some() => {
            RowFormat { framing: settings.framing, schema: writer.map(Arc::new), writers, ..RowFormat::json() }
        }
        FormatKind::Json => RowFormat { writers, ..RowFormat::json() },
        kind => {
            let found = |writer: &WriterSchema| match kind {
                FormatKind::Protobuf => {
                    ProtoFile::parse(&writer.text).ok().and_then(|file| message_of(settings, &file).ok())
                }
                _ => None,
            };
            // A message that is not there was refused when its columns were asked for.
            let message = writer.as_ref().and_then(found).unwrap_or_else(|| vec![0]);
            RowFormat { kind, framing: settings.framing, schema: writer.map(Arc::new), message, writers }
        }
    };
    let keyed = versions.last().is_some_and(|schema| !schema.key_columns.is_empty());
    let key = keyed.then(|| match settings.key_kind {
        KeyKind::Raw => KeyFormat::Raw,
        KeyKind::Row(kind) => KeyFormat::Row(RowFormat { kind, ..RowFormat::json() }),
    });
    let options = TableOptions {
        on_invalid: settings.on_invalid,
        on_unknown: settings.on_unknown,
        fidelity: settings.fidelity,
        tombstones: settings.tombstones,
        limits: DecodeLimits::default(),
    };
    Table::new(versions.to_vec(), value, key, options)
}
