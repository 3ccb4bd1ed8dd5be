//! What a file's columns are, and what its metadata says of them.
use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use weir_storage::segment::{EncodeError, SegmentError};
use weir_table::TableSchema;
use weir_table::codec::RowForm;
use weir_table::codec::json::{SHAPES_MAX, ShapeId, ShapeSet};
use weir_table::table::{KeptWriters, WRITERS_MAX};

pub const TIMESTAMP: &str = weir_column::TIMESTAMP_COLUMN;
pub const KEY: &str = "_key";
pub const VALUE: &str = "_value";
pub const HEADERS: &str = "_headers";
/// Row shape or writer of a value that is made of columns; null where `_value` has the bytes (or is null itself).
pub const SHAPE_COLUMN: &str = "_shape";

const TABLE_METADATA: &str = "weir.table";
pub const SHAPES_METADATA: &str = "weir.shapes";
pub const WRITERS_METADATA: &str = "weir.writers";

/// The table of a file: that of the topic with every column nullable, since a row that does not fit it is stored too (as
/// nulls and bytes).
#[derive(Debug, Clone)]
pub struct StoredTable {
    pub schema: Arc<TableSchema>,
}

/// What `_shape` says of a value; `None` where its bytes are kept.
pub(crate) fn form_number(form: RowForm) -> Option<u16> {
    match form {
        RowForm::Shape(id) => Some(id.0),
        RowForm::Writer(number) => Some(FIRST_WRITER + number),
        RowForm::Canonical => Some(CANONICAL),
        RowForm::Raw => None,
    }
}

/// The form of this number.
pub(crate) fn form_of(number: u16) -> RowForm {
    match number {
        CANONICAL => RowForm::Canonical,
        FIRST_WRITER.. => RowForm::Writer(number - FIRST_WRITER),
        _ => RowForm::Shape(ShapeId(number)),
    }
}

/// From here on numbers are those of writers; there are fewer shapes than this, and fewer writers than numbers.
const FIRST_WRITER: u16 = 1 << 15;
const _: () = assert!(SHAPES_MAX < FIRST_WRITER as usize && WRITERS_MAX < (CANONICAL - FIRST_WRITER) as usize);

/// Any form will do (`weir.fidelity=semantic`).
const CANONICAL: u16 = u16::MAX;

impl StoredTable {
    /// The table that a file's metadata tells of.
    pub(crate) fn read(metadata: &HashMap<String, String>) -> Result<Option<StoredTable>, SegmentError> {
        let Some(json) = metadata.get(TABLE_METADATA) else { return Ok(None) };
        let unreadable =
            |reason: String| SegmentError::Columns { detail: format!("its table cannot be read: {reason}") };
        let schema: TableSchema = serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
        schema.validate().map_err(|error| unreadable(error.to_string()))?;
        Ok(Some(StoredTable { schema: Arc::new(schema) }))
    }
}

pub(crate) fn read_shapes(metadata: &HashMap<String, String>) -> Result<ShapeSet, SegmentError> {
    let Some(json) = metadata.get(SHAPES_METADATA) else { return Ok(ShapeSet::default()) };
    ShapeSet::from_bytes(json.as_bytes()).map_err(|error| SegmentError::Columns { detail: error.to_string() })
}

pub(crate) fn read_writers(metadata: &HashMap<String, String>) -> Result<KeptWriters, SegmentError> {
    let Some(json) = metadata.get(WRITERS_METADATA) else { return Ok(KeptWriters::default()) };
    KeptWriters::from_json(json).map_err(|error| SegmentError::Columns { detail: error.to_string() })
}

pub(crate) fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

pub(crate) fn header_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), false))
}

/// Columns of the table, then `_timestamp`, `_key`, `_headers`, `_shape` (of tables only), `_value`. The writer adds `_offset`.
pub(crate) fn stored_schema(table: Option<&TableSchema>) -> Result<Schema, EncodeError> {
    let mut metadata = HashMap::new();
    let mut fields: Vec<Arc<Field>> = Vec::new();
    if let Some(table) = table {
        let json = serde_json::to_string(table).map_err(|error| EncodeError { reason: error.to_string() })?;
        metadata.insert(TABLE_METADATA.to_owned(), json);
        fields.extend(table.to_arrow().fields().iter().cloned());
    }
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    fields.push(Arc::new(Field::new(TIMESTAMP, timestamp, false)));
    fields.push(Arc::new(Field::new(KEY, DataType::Binary, true)));
    fields.push(Arc::new(Field::new(HEADERS, DataType::List(header_item()), false)));
    if table.is_some() {
        fields.push(Arc::new(Field::new(SHAPE_COLUMN, DataType::UInt16, true)));
    }
    fields.push(Arc::new(Field::new(VALUE, DataType::Binary, true)));
    Ok(Schema::new_with_metadata(fields, metadata))
}
