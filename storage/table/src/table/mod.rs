//! A typed topic as one value: the versions of its schema, the form of its rows, and what happens to rows that do not fit.
//!
//! A [`Table`] never changes: whoever changes a topic's schema or settings makes another one and puts it in the old one's
//! place. Rows do not say under which version they were written; they are bound by name, and a column is also found under
//! every name it had in another version, so that producers, rows and readers of old and new versions can be mixed:
//!
//! - a column that a row does not have is null, or its default
//! - a field without column (also one of a dropped column) is passed over by readers; [`OnUnknown`] decides for new rows
//! - a name that is in use now means the column that has it now
//!
//! A record without a value (a tombstone) is a row of nulls. New ones are taken if all value columns are nullable or if the
//! topic is compacted ([`TableOptions::tombstones`]); otherwise they are invalid.

mod decode;
mod encode;
mod fits;
mod format;
mod kept;
mod key;
#[cfg(test)]
mod tests;
mod writers;

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::RecordBatch;
use parking_lot::Mutex;

pub use decode::RowDecoder;
pub use encode::{EncodedRows, RowEncoder};
pub use format::{FormatKind, Framing, NoWriters, RowFormat, WriterSchema, WriterSchemas};
pub use kept::{KeptEncoder, KeptError, KeptRows, KeptWriters, WRITER_BYTES_MAX, WRITERS_MAX};
pub use key::KeyFormat;

use crate::codec::{Aliases, DecodeLimits, EncodeError, Fidelity, OnUnknown, RowForm, framing};
use crate::schema::{Field, TableSchema};
use decode::Mode;
use format::Codecs;

/// Decoders of new rows that are kept for the next batch.
const IDLE_MAX: usize = 8;

/// `weir.on.invalid`: rows that are produced and do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnInvalid {
    /// Nothing of the batch is stored.
    #[default]
    Reject,
    /// The row goes to the topic's dead letters, the others are stored.
    DeadLetter,
    /// Nullable columns whose values do not fit are null; the row keeps its bytes.
    Null,
}

/// Rules for rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableOptions {
    /// See [`OnInvalid`].
    pub on_invalid: OnInvalid,
    /// See [`OnUnknown`].
    pub on_unknown: OnUnknown,
    /// See [`Fidelity`].
    pub fidelity: Fidelity,
    /// Records without value are taken even if columns are NOT NULL: they delete, as in compacted topics.
    pub tombstones: bool,
    /// Bounds of a row.
    pub limits: DecodeLimits,
}

/// Why parts make no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A table has at least one version.
    #[error("a table without a schema version")]
    NoVersion,
    /// Versions must ascend.
    #[error("schema version {version} does not follow version {before}")]
    Order {
        /// The version.
        version: i32,
        /// The one in front of it.
        before: i32,
    },
    /// Key columns without the form of keys, or the other way around.
    #[error("weir.key.columns and weir.key.format belong together: the schema has {columns} key column(s)")]
    KeyFormat {
        /// How many key columns there are.
        columns: usize,
    },
    /// A raw key is one value.
    #[error(
        "weir.key.format=raw gives one column of type BOOLEAN, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, STRING, BYTES or UUID; the key is {columns}: use weir.key.format=json for it"
    )]
    RawKey {
        /// The key columns.
        columns: String,
    },
    /// The bound writer's schema does not fit.
    #[error("rows of the topic's schema do not go into its table: {reason}")]
    Writer {
        /// Why.
        reason: String,
    },
}

/// A typed topic's table. Shared, and replaced as a whole.
#[derive(Debug)]
pub struct Table {
    parts: Arc<Parts>,
    idle: Mutex<Vec<RowDecoder>>,
}

/// What decoders keep.
#[derive(Debug)]
pub(crate) struct Parts {
    versions: Vec<Arc<TableSchema>>,
    pub(crate) value: RowFormat,
    pub(crate) key: Option<KeyFormat>,
    pub(crate) options: TableOptions,
    pub(crate) aliases: Aliases,
    pub(crate) codecs: Codecs,
}

impl Table {
    /// `versions` ascend; the last one is current. `key`: the form of keys, if the schema has key columns.
    pub fn new(
        versions: Vec<Arc<TableSchema>>,
        value: RowFormat,
        key: Option<KeyFormat>,
        options: TableOptions,
    ) -> Result<Table, TableError> {
        let names = aliases(&versions);
        Table::with_names(versions, value, key, options, names)
    }

    /// The same for columns that have other names too, whatever the versions say (see [`Table::former_names`]).
    pub fn with_names(
        versions: Vec<Arc<TableSchema>>,
        value: RowFormat,
        key: Option<KeyFormat>,
        options: TableOptions,
        aliases: Aliases,
    ) -> Result<Table, TableError> {
        let current = versions.last().ok_or(TableError::NoVersion)?;
        for pair in versions.windows(2) {
            if pair[1].version <= pair[0].version {
                return Err(TableError::Order { version: pair[1].version, before: pair[0].version });
            }
        }
        key::check(current, key.as_ref())?;
        let parts = Parts { versions, value, key, options, aliases, codecs: Codecs::default() };
        parts.check_writer()?;
        Ok(Table { parts: Arc::new(parts), idle: Mutex::default() })
    }

    /// The version that new rows must fit.
    pub fn current(&self) -> &Arc<TableSchema> {
        self.parts.current()
    }

    /// Every name that the columns of `schema` (a version, or some columns of one) have or had, newest first, by id; only of columns
    /// with more than one, and without names that other columns have now.
    pub fn former_names(&self, schema: &TableSchema) -> Aliases {
        self.parts.aliases_of(schema).into_owned()
    }

    /// A version that the table had or has.
    pub fn version(&self, version: i32) -> Option<&Arc<TableSchema>> {
        self.parts.versions.iter().find(|schema| schema.version == version)
    }

    /// All versions, ascending.
    pub fn versions(&self) -> &[Arc<TableSchema>] {
        &self.parts.versions
    }

    /// The form of values.
    pub fn value_format(&self) -> &RowFormat {
        &self.parts.value
    }

    /// The form of keys, if there are key columns.
    pub fn key_format(&self) -> Option<&KeyFormat> {
        self.parts.key.as_ref()
    }

    /// The rules for rows.
    pub fn options(&self) -> &TableOptions {
        &self.parts.options
    }

    /// Reads stored rows into columns of `schema`, a version of this table. Every top-level column is nullable in what
    /// comes out, because stored rows may be older than the version (or than the table). Nothing is refused that can be
    /// read: unknown fields are passed over, a missing NOT NULL column is null.
    pub fn decoder(self: &Arc<Self>, schema: &Arc<TableSchema>) -> RowDecoder {
        RowDecoder::new(&self.parts, schema, Mode::Read)
    }

    /// As [`Table::decoder`] of the current version; it also tells for each row how its value can be written again byte for
    /// byte ([`RowDecoder::form`]), for those who store columns instead of rows.
    pub fn keeper(self: &Arc<Self>) -> RowDecoder {
        RowDecoder::new(&self.parts, self.current(), Mode::Keep)
    }

    /// As [`Table::decoder`], for scans: of the columns of `schema` only those at `columns` (ascending positions), and every
    /// record becomes a row. What does not fit is null: of JSON rows the column in question, of other formats (and of what
    /// is no row at all) every column that comes out of that part of the record. So one column reads the same whatever
    /// others are read with it.
    pub fn scanner(self: &Arc<Self>, schema: &Arc<TableSchema>, columns: &[usize]) -> RowDecoder {
        let fields = columns.iter().filter_map(|at| schema.fields.get(*at)).cloned().collect();
        let pruned = TableSchema { fields, ..TableSchema::clone(schema) };
        RowDecoder::new(&self.parts, &Arc::new(pruned), Mode::Scan)
    }

    /// Reads new rows under the current version and all rules of the topic. Give it back with [`Table::release`]: it
    /// knows the shape of the rows it has seen.
    pub fn validator(&self) -> RowDecoder {
        self.idle_of(false).unwrap_or_else(|| RowDecoder::new(&self.parts, self.current(), Mode::Produce))
    }

    /// As [`Table::validator`], for rows whose columns are kept: it also tells how values can be written again
    /// ([`RowDecoder::form`]), as [`Table::keeper`] does. `None` where only who stores columns can tell: of formats other than
    /// JSON, and where a value that does not fit may be taken as null.
    pub fn keeping_validator(&self) -> Option<RowDecoder> {
        let options = self.options();
        if self.parts.value.kind != FormatKind::Json || options.on_invalid == OnInvalid::Null {
            return None;
        }
        let new = || RowDecoder::new(&self.parts, self.current(), Mode::ProduceKeep);
        Some(self.idle_of(true).unwrap_or_else(new))
    }

    fn idle_of(&self, keeping: bool) -> Option<RowDecoder> {
        let mut idle = self.idle.lock();
        let at = idle.iter().rposition(|decoder| decoder.is_keeping() == keeping)?;
        Some(idle.swap_remove(at))
    }

    /// Takes a validator back, for the next batch.
    pub fn release(&self, mut validator: RowDecoder) {
        if !validator.belongs_to(&self.parts) {
            return;
        }
        validator.clear();
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(validator);
        }
    }

    /// Writes columns of `schema` as rows of this topic: the same values, not the same bytes as were produced. `schema` is a
    /// version of this table, or a part of its columns (which not every format can write).
    pub fn encoder(&self, schema: &Arc<TableSchema>) -> Result<RowEncoder, EncodeError> {
        RowEncoder::new(&self.parts, schema)
    }
}

impl Table {
    /// How rows that come as columns are written, and the writers that this form names. `None`: as what their format can say.
    pub fn written(&self) -> Option<(RowForm, KeptWriters)> {
        let format = &self.parts.value;
        let id = match (format.kind, format.framing) {
            (FormatKind::Json, Framing::Plain) => None,
            (FormatKind::Json, Framing::Registry) => format.schema.as_ref().and_then(|schema| schema.id),
            (FormatKind::Avro | FormatKind::Protobuf, _) => return None,
        };
        let Some(id) = id else { return Some((RowForm::Canonical, KeptWriters::default())) };
        let mut frame = Vec::new();
        framing::write(id, &mut frame);
        Some(KeptWriters::of_json(&frame))
    }

    /// Bytes that JSON rows of these columns (of the current version, all of them) take, about and rather too many.
    pub fn bytes_of_rows(&self, columns: &RecordBatch) -> usize {
        fits::bytes_of_rows(self.current(), columns)
    }

    /// Whether rows that are made of these columns (of the current version, all of them) would be taken, and read as the same
    /// columns: then they need not be made. False where that is not known.
    pub fn takes_columns(&self, columns: &RecordBatch) -> bool {
        let plain_key = match &self.parts.key {
            None | Some(KeyFormat::Raw) => true,
            Some(KeyFormat::Row(format)) => format.kind == FormatKind::Json,
        };
        plain_key && self.written().is_some() && fits::rows_say(self.current(), columns, &self.options().limits)
    }
}

impl Parts {
    pub(crate) fn current(&self) -> &Arc<TableSchema> {
        // Checked when the table was made: there is at least one.
        &self.versions[self.versions.len() - 1]
    }

    /// The older names of the columns of `schema`, a version or some columns of one, without names that other columns of that
    /// version have: which columns are read must not decide what a name means.
    pub(crate) fn aliases_of(&self, schema: &TableSchema) -> Cow<'_, Aliases> {
        let version = self.versions.iter().find(|version| version.version == schema.version);
        let Some(version) = version.filter(|version| version.fields.len() != schema.fields.len()) else {
            return Cow::Borrowed(&self.aliases);
        };
        let is_key = |field: &Field| version.key_columns.contains(&field.id);
        let in_use = |field: &Field, alias: &String| {
            version
                .fields
                .iter()
                .any(|other| other.name == *alias && other.id != field.id && is_key(other) == is_key(field))
        };
        let mut aliases = Cow::Borrowed(&self.aliases);
        for field in &schema.fields {
            if self.aliases.get(&field.id).is_some_and(|names| names.iter().any(|alias| in_use(field, alias)))
                && let Some(names) = aliases.to_mut().get_mut(&field.id)
            {
                names.retain(|alias| !in_use(field, alias));
            }
        }
        aliases
    }
}

/// Every name that a column has or had, by id, newest first; only of columns with more than one.
fn aliases(versions: &[Arc<TableSchema>]) -> Aliases {
    let mut names = Aliases::default();
    fn see(field: &Field, names: &mut Aliases) {
        let known = names.entry(field.id).or_default();
        if !known.contains(&field.name) {
            known.push(field.name.clone());
        }
        for child in field.data_type.children() {
            see(child, names);
        }
    }
    for schema in versions.iter().rev() {
        schema.fields.iter().for_each(|field| see(field, &mut names));
    }
    names.retain(|_, names| names.len() > 1);
    names
}
