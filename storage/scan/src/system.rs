//! The system columns: what Kafka knows of every record. An untyped topic has these and no others.
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder};
use arrow_array::{ArrayRef, ListArray, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use weir_protocol::ids::{Offset, Timestamp};
use weir_protocol::records::Record;
use weir_table::TableSchema;

pub const PARTITION: &str = "_partition";
pub const OFFSET: &str = "_offset";
pub const TIMESTAMP: &str = "_timestamp";
pub const KEY: &str = "_key";
pub const VALUE: &str = "_value";
pub const HEADERS: &str = "_headers";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new(PARTITION, DataType::Int32, false),
        Field::new(OFFSET, DataType::Int64, false),
        Field::new(TIMESTAMP, DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new(KEY, DataType::Binary, true),
        Field::new(VALUE, DataType::Binary, true),
        Field::new(HEADERS, DataType::List(header_field()), false),
    ]))
});

/// `_partition Int32, _offset Int64, _timestamp Timestamp(ms, "UTC"), _key Binary, _value Binary, _headers List<Struct<key Utf8,
/// value Binary>>`.
pub fn system_schema() -> SchemaRef {
    SCHEMA.clone()
}

/// The columns of a topic: those of its table, then the system columns. Every user column is nullable, because a record without
/// a value is a row as well, and so is one that was stored before it had to fit.
pub fn topic_schema(table: &TableSchema) -> SchemaRef {
    let user = table.to_arrow();
    let nullable = user.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
    let fields: Vec<_> = nullable.chain(SCHEMA.fields().iter().cloned()).collect();
    Arc::new(Schema::new_with_metadata(fields, user.metadata().clone()))
}

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

fn header_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), false))
}

/// Builds one system column, record by record.
pub enum SystemBuilder {
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMillisecondBuilder),
    Key(BinaryBuilder),
    Value(BinaryBuilder),
    Headers(HeadersBuilder),
}

#[derive(Default)]
pub struct HeadersBuilder {
    keys: StringBuilder,
    values: BinaryBuilder,
    lengths: Vec<usize>,
}

impl SystemBuilder {
    /// `None` if there is no system column of this name.
    pub fn new(name: &str) -> Option<SystemBuilder> {
        Some(match name {
            PARTITION => SystemBuilder::Partition(Int32Builder::new()),
            OFFSET => SystemBuilder::Offset(Int64Builder::new()),
            TIMESTAMP => SystemBuilder::Timestamp(TimestampMillisecondBuilder::new().with_timezone("UTC")),
            KEY => SystemBuilder::Key(BinaryBuilder::new()),
            VALUE => SystemBuilder::Value(BinaryBuilder::new()),
            HEADERS => SystemBuilder::Headers(HeadersBuilder::default()),
            _ => return None,
        })
    }

    pub fn append(&mut self, partition: i32, offset: Offset, timestamp: Timestamp, record: &Record<'_>) {
        match self {
            SystemBuilder::Partition(column) => column.append_value(partition),
            SystemBuilder::Offset(column) => column.append_value(offset.0),
            SystemBuilder::Timestamp(column) => column.append_value(timestamp.0),
            SystemBuilder::Key(column) => column.append_option(record.key),
            SystemBuilder::Value(column) => column.append_option(record.value),
            SystemBuilder::Headers(headers) => headers.append(record),
        }
    }

    pub fn finish(&mut self) -> ArrayRef {
        match self {
            SystemBuilder::Partition(column) => Arc::new(column.finish()),
            SystemBuilder::Offset(column) => Arc::new(column.finish()),
            SystemBuilder::Timestamp(column) => Arc::new(column.finish()),
            SystemBuilder::Key(column) | SystemBuilder::Value(column) => Arc::new(column.finish()),
            SystemBuilder::Headers(headers) => headers.finish(),
        }
    }
}

impl HeadersBuilder {
    fn append(&mut self, record: &Record<'_>) {
        for header in record.headers.iter() {
            // Kafka's clients write UTF-8; what is not is shown as far as it can be.
            self.keys.append_value(String::from_utf8_lossy(header.key));
            self.values.append_option(header.value);
        }
        self.lengths.push(record.headers.len());
    }

    fn finish(&mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let items = StructArray::new(header_fields(), columns, None);
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        Arc::new(ListArray::new(header_field(), offsets, Arc::new(items), None))
    }
}
