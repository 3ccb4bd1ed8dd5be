//! The columns of lake tables that do not come from a topic's schema, and their field ids.
//!
//! An untyped topic has all six of them; a typed one its own columns first and `__partition, __offset, __timestamp` behind
//! them, and if it is asked for (`weir.lake.columns.raw`) `__key, __headers, __raw`: the record as it was produced.
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

/// The value of a typed topic's record, as it was produced.
pub const RAW: &str = "__raw";
pub const KEY: &str = "__key";
pub const VALUE: &str = "__value";
pub const HEADERS: &str = "__headers";
pub const TIMESTAMP: &str = "__timestamp";
pub const PARTITION: &str = "__partition";
pub const OFFSET: &str = "__offset";
/// Whether a record deletes its key: behind the other columns of a scan for a table with a primary key, and in no table.
pub const DELETED: &str = "__deleted";

/// Metadata key of the field id, the one Parquet readers and writers know.
pub const FIELD_ID_KEY: &str = "PARQUET:field_id";

/// Field ids of ours begin here: a topic's own columns count up from 1 and never get so far, and what lake formats reserve
/// for themselves is above.
const ID_BASE: i32 = 1_000_000_000;

/// The field with this id.
#[must_use]
pub fn with_id(field: Field, id: i32) -> Field {
    let mut metadata: HashMap<String, String> = field.metadata().clone();
    metadata.insert(FIELD_ID_KEY.to_owned(), id.to_string());
    field.with_metadata(metadata)
}

/// The id of a field, if it has one.
#[must_use]
pub fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID_KEY)?.parse().ok()
}

/// Whether a field id is of a column that is not the topic's own.
#[must_use]
pub fn is_ours(id: i32) -> bool {
    (ID_BASE..ID_BASE + 100).contains(&id)
}

/// The field id of a column that is not the topic's own, by its place among these.
#[must_use]
pub fn id_of(place: i32) -> i32 {
    ID_BASE + place
}

fn ours(place: i32, name: &str, data_type: DataType, nullable: bool) -> FieldRef {
    Arc::new(with_id(Field::new(name, data_type, nullable), ID_BASE + place))
}

/// `List<Struct<key Utf8, value Binary>>`.
fn headers() -> FieldRef {
    let members = vec![ours(7, "key", DataType::Utf8, false), ours(8, "value", DataType::Binary, true)];
    let item = ours(6, "item", DataType::Struct(Fields::from(members)), false);
    ours(3, HEADERS, DataType::List(item), false)
}

/// What every lake table ends with: where a row comes from, and when it was produced.
#[must_use]
pub fn origin() -> [FieldRef; 3] {
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    [
        ours(0, PARTITION, DataType::Int32, false),
        ours(1, OFFSET, DataType::Int64, false),
        ours(2, TIMESTAMP, timestamp, false),
    ]
}

/// The table of an untyped topic: `__key Binary, __value Binary, __headers List<Struct<key Utf8, value Binary>>, __partition
/// Int32, __offset Int64, __timestamp Timestamp(ms, "UTC")`.
#[must_use]
pub fn untyped() -> SchemaRef {
    let mut fields = vec![ours(4, KEY, DataType::Binary, true), ours(5, VALUE, DataType::Binary, true), headers()];
    fields.extend(origin());
    Arc::new(Schema::new(fields))
}

/// Columns as rows of `schema`, one for one: types that differ, if only in the ids of nested fields, are cast.
///
/// # Errors
/// Arrow's, if a column cannot be what the schema says.
pub fn conform(schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() == field.data_type() {
        true => Ok(column.clone()),
        false => cast_with_options(column, field.data_type(), &options),
    };
    let columns = columns.iter().zip(schema.fields()).map(cast).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

/// The table of a typed topic with these columns of its own.
#[must_use]
pub fn typed(columns: &Fields) -> SchemaRef {
    let fields: Vec<FieldRef> = columns.iter().cloned().chain(origin()).collect();
    Arc::new(Schema::new(fields))
}

/// Rows of a typed topic on their way into a table with a primary key: as [`typed`], and [`DELETED`] last. Such a row has its key
/// columns and its origin.
#[must_use]
pub fn keyed(columns: &Fields) -> SchemaRef {
    let deleted = ours(9, DELETED, DataType::Boolean, false);
    Arc::new(Schema::new(typed(columns).fields().iter().cloned().chain([deleted]).collect::<Vec<_>>()))
}

/// And with those of [`raw`] behind them.
#[must_use]
pub fn typed_and_raw(columns: &Fields) -> SchemaRef {
    let fields: Vec<FieldRef> = columns.iter().cloned().chain(origin()).chain(raw()).collect();
    Arc::new(Schema::new(fields))
}

/// `__key Binary, __headers List<Struct<key Utf8, value Binary>>, __raw Binary`. All can be null: rows may be older than they.
#[must_use]
pub fn raw() -> [FieldRef; 3] {
    let headers = Arc::new(headers().as_ref().clone().with_nullable(true));
    [ours(4, KEY, DataType::Binary, true), headers, ours(10, RAW, DataType::Binary, true)]
}
