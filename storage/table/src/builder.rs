//! Growing columns into which codecs write values one by one, and from which a bad row can be taken back.
//!
//! Values of a row arrive column by column in any order; [`RowBuilder::finish_row`] closes the row. A row that turns out
//! bad is cut off with [`RowBuilder::rollback`], which costs as much as the row had values.

use std::sync::Arc;

use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time64MicrosecondType, TimestampMicrosecondType, TimestampMillisecondType,
};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, MapArray, PrimitiveArray,
    RecordBatch, StringArray, StructArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType as Arrow, SchemaRef, TimeUnit};

use crate::schema::{Field, TableSchema};

/// Most bytes of rows one builder takes: offsets of Arrow's strings and lists are 32 bits.
pub const BUILDER_BYTES_MAX: usize = 1 << 30;

/// Bytes of one column that are reserved before there are values.
const RESERVED_MAX: usize = 256 << 10;

/// A place to go back to: the number of whole rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// Why a builder takes no more, or gives no batch.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// See [`BUILDER_BYTES_MAX`].
    #[error("the column builder holds {bytes} bytes of rows; it takes at most {BUILDER_BYTES_MAX}: finish it first")]
    Full {
        /// Bytes it would hold.
        bytes: usize,
    },
    /// A row was left open.
    #[error("column {column} has {len} values, but {rows} rows were finished")]
    Uneven {
        /// Name of the column.
        column: String,
        /// Its values.
        len: usize,
        /// Whole rows.
        rows: usize,
    },
    /// Arrow refuses the arrays.
    #[error("arrays of the built columns: {0}")]
    Arrow(#[from] ArrowError),
}

/// Columns of one table version, growing.
#[derive(Debug)]
pub struct RowBuilder {
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    pub(crate) columns: Vec<Column>,
    rows: usize,
    fed: usize,
}

impl RowBuilder {
    /// An empty builder; it allocates as rows come.
    pub fn new(schema: Arc<TableSchema>) -> RowBuilder {
        let arrow = schema.to_arrow();
        let columns = schema.fields.iter().map(Column::new).collect();
        RowBuilder { schema, arrow, columns, rows: 0, fed: 0 }
    }

    /// The table version of the columns.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Whole rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of all buffers in use (not their capacity), about what the arrays will take.
    pub fn len_bytes(&self) -> usize {
        self.columns.iter().map(Column::len_bytes).sum()
    }

    /// To be called before a row of `bytes` bytes is decoded: refuses when offsets could overflow.
    pub fn reserve_row(&mut self, bytes: usize) -> Result<(), BuilderError> {
        if self.fed == 0 && self.rows == 0 {
            self.columns.iter_mut().for_each(Column::reserve_as_before);
        }
        let fed = self.fed.saturating_add(bytes);
        if fed > BUILDER_BYTES_MAX {
            return Err(BuilderError::Full { bytes: fed });
        }
        self.fed = fed;
        Ok(())
    }

    /// Where [`RowBuilder::rollback`] can return to.
    pub fn mark(&self) -> Mark {
        Mark(self.rows)
    }

    /// Forgets every value behind `mark`, also of a row that is half written.
    pub fn rollback(&mut self, mark: Mark) {
        self.rows = self.rows.min(mark.0);
        for column in &mut self.columns {
            column.truncate(self.rows);
        }
    }

    /// Forgets rows until there are so many.
    pub fn truncate(&mut self, rows: usize) {
        self.rollback(Mark(rows));
    }

    /// Forgets all rows. Buffers are kept for the next ones, unless they hold more than `keep` bytes.
    pub fn clear(&mut self, keep: usize) {
        if self.len_bytes() > keep {
            self.columns = self.schema.fields.iter().map(Column::new).collect();
        }
        self.rows = 0;
        self.fed = 0;
        self.rollback(Mark(0));
    }

    /// Ends a row. Columns that got no value become null: callers write defaults and check NOT NULL before.
    pub fn finish_row(&mut self) {
        self.rows += 1;
        for column in &mut self.columns {
            debug_assert!(column.len == self.rows || column.len + 1 == self.rows, "one value a row");
            if column.len < self.rows {
                column.append_null();
            }
        }
    }

    /// The arrays of all finished rows; the builder is empty afterwards.
    pub fn finish(&mut self) -> Result<RecordBatch, BuilderError> {
        self.rollback(Mark(self.rows));
        for (column, field) in self.columns.iter().zip(&self.schema.fields) {
            if column.len != self.rows {
                let column_name = field.name.clone();
                return Err(BuilderError::Uneven { column: column_name, len: column.len, rows: self.rows });
            }
        }
        let columns = self.columns.iter_mut().zip(self.arrow.fields());
        let arrays = columns.map(|(column, field)| column.finish(field.data_type())).collect::<Result<Vec<_>, _>>()?;
        (self.rows, self.fed) = (0, 0);
        Ok(RecordBatch::try_new(self.arrow.clone(), arrays)?)
    }
}

/// One simple value on its way between bytes and a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Bool(bool),
    /// Integers, dates, times and timestamps, in the unit of the type.
    Int(i64),
    Decimal(i128),
    Float(f32),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Values of one column, or of one part of a nested column.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) len: usize,
    /// Values, and bytes of strings, that were taken last.
    before: (usize, usize),
    nullable: bool,
    /// Only since the first null.
    valid: Option<BooleanBufferBuilder>,
    pub(crate) data: Data,
}

#[derive(Debug)]
pub(crate) enum Data {
    Bool(BooleanBufferBuilder),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Strings and bytes; strings hold only whole, valid UTF-8 values.
    Var {
        ends: Vec<i32>,
        values: Vec<u8>,
    },
    Uuid(Vec<u8>),
    List {
        ends: Vec<i32>,
        item: Box<Column>,
    },
    Map {
        ends: Vec<i32>,
        key: Box<Column>,
        value: Box<Column>,
    },
    Row(Vec<Column>),
}

impl Column {
    pub(crate) fn new(field: &Field) -> Column {
        use crate::schema::{DataType as T, TimeUnit as U};
        let data = match &field.data_type {
            T::Boolean => Data::Bool(BooleanBufferBuilder::new(0)),
            T::TinyInt => Data::I8(Vec::new()),
            T::SmallInt => Data::I16(Vec::new()),
            T::Int | T::Date | T::Time(U::Millis) => Data::I32(Vec::new()),
            T::BigInt | T::Time(U::Micros) | T::Timestamp(_) | T::TimestampLtz(_) => Data::I64(Vec::new()),
            T::Decimal { .. } => Data::I128(Vec::new()),
            T::Float => Data::F32(Vec::new()),
            T::Double => Data::F64(Vec::new()),
            T::String | T::Json | T::Bytes => Data::Var { ends: vec![0], values: Vec::new() },
            T::Uuid => Data::Uuid(Vec::new()),
            T::Array(item) => Data::List { ends: vec![0], item: Box::new(Column::new(item)) },
            T::Map(key, value) => {
                Data::Map { ends: vec![0], key: Box::new(Column::new(key)), value: Box::new(Column::new(value)) }
            }
            T::Row(members) => Data::Row(members.iter().map(Column::new).collect()),
        };
        Column { len: 0, before: (0, 0), nullable: field.nullable, valid: None, data }
    }

    /// Room for as many values as the last time, since the next rows are often as many: growing step by step copies every
    /// value once more.
    fn reserve_as_before(&mut self) {
        let (len, bytes) = self.before;
        let (len, bytes) = (len.min(RESERVED_MAX / 16), bytes.min(RESERVED_MAX));
        match &mut self.data {
            Data::I8(values) => values.reserve(len),
            Data::I16(values) => values.reserve(len),
            Data::I32(values) => values.reserve(len),
            Data::I64(values) => values.reserve(len),
            Data::I128(values) => values.reserve(len),
            Data::F32(values) => values.reserve(len),
            Data::F64(values) => values.reserve(len),
            Data::Uuid(values) => values.reserve(16 * len),
            Data::Var { ends, values } => {
                ends.reserve(len);
                values.reserve(bytes);
            }
            Data::Row(members) => members.iter_mut().for_each(Column::reserve_as_before),
            // A bit a value, and lists of any length.
            Data::Bool(_) | Data::List { .. } | Data::Map { .. } => {}
        }
    }

    /// Counts one value that was just written into `data`.
    #[inline]
    pub(crate) fn written(&mut self) {
        self.len += 1;
        if let Some(valid) = &mut self.valid {
            valid.append(true);
        }
    }

    /// A null; for a NOT NULL column (below a null row) a value that its parent masks.
    pub(crate) fn append_null(&mut self) {
        match &mut self.data {
            Data::Bool(values) => values.append(false),
            Data::I8(values) => values.push(0),
            Data::I16(values) => values.push(0),
            Data::I32(values) => values.push(0),
            Data::I64(values) => values.push(0),
            Data::I128(values) => values.push(0),
            Data::F32(values) => values.push(0.0),
            Data::F64(values) => values.push(0.0),
            Data::Var { ends, .. } | Data::List { ends, .. } | Data::Map { ends, .. } => {
                ends.push(ends.last().copied().unwrap_or(0));
            }
            Data::Uuid(values) => values.extend_from_slice(&[0; 16]),
            Data::Row(members) => members.iter_mut().for_each(Column::append_null),
        }
        if !self.nullable {
            return self.written();
        }
        let len = self.len;
        let valid = self.valid.get_or_insert_with(|| {
            let mut valid = BooleanBufferBuilder::new(len + 64);
            valid.append_n(len, true);
            valid
        });
        valid.append(false);
        self.len += 1;
    }

    #[inline]
    pub(crate) fn append_bytes(&mut self, bytes: &[u8]) {
        if let Data::Var { ends, values } = &mut self.data {
            values.extend_from_slice(bytes);
            // `reserve_row` keeps all values together below 2^31.
            ends.push(values.len() as i32);
        }
        self.written();
    }

    /// False when the value is not one of this column's type; nothing is written then.
    #[inline]
    pub(crate) fn append(&mut self, value: Value<'_>) -> bool {
        match (&mut self.data, value) {
            (Data::Bool(values), Value::Bool(value)) => values.append(value),
            (Data::I8(values), Value::Int(value)) => values.push(value as i8),
            (Data::I16(values), Value::Int(value)) => values.push(value as i16),
            (Data::I32(values), Value::Int(value)) => values.push(value as i32),
            (Data::I64(values), Value::Int(value)) => values.push(value),
            (Data::I128(values), Value::Decimal(value)) => values.push(value),
            (Data::F32(values), Value::Float(value)) => values.push(value),
            (Data::F64(values), Value::Double(value)) => values.push(value),
            (Data::Var { .. }, Value::Text(text)) => {
                self.append_bytes(text.as_bytes());
                return true;
            }
            (Data::Var { .. }, Value::Bytes(bytes)) => {
                self.append_bytes(bytes);
                return true;
            }
            (Data::Uuid(values), Value::Bytes(bytes)) if bytes.len() == 16 => values.extend_from_slice(bytes),
            _ => return false,
        }
        self.written();
        true
    }

    /// Ends one list or map: as many entries as its child has grown by.
    pub(crate) fn end_list(&mut self) {
        match &mut self.data {
            Data::List { ends, item } => ends.push(item.len as i32),
            Data::Map { ends, key, .. } => ends.push(key.len as i32),
            _ => {}
        }
        self.written();
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if self.len <= len && !matches!(self.data, Data::Row(_) | Data::List { .. } | Data::Map { .. }) {
            return;
        }
        let len = len.min(self.len);
        self.len = len;
        if let Some(valid) = &mut self.valid {
            valid.truncate(len);
        }
        match &mut self.data {
            Data::Bool(values) => values.truncate(len),
            Data::I8(values) => values.truncate(len),
            Data::I16(values) => values.truncate(len),
            Data::I32(values) => values.truncate(len),
            Data::I64(values) => values.truncate(len),
            Data::I128(values) => values.truncate(len),
            Data::F32(values) => values.truncate(len),
            Data::F64(values) => values.truncate(len),
            Data::Var { ends, values } => {
                ends.truncate(len + 1);
                values.truncate(ends[len] as usize);
            }
            Data::Uuid(values) => values.truncate(16 * len),
            // Children may be ahead of a parent whose value was not ended.
            Data::List { ends, item } => {
                ends.truncate(len + 1);
                item.truncate(ends[len] as usize);
            }
            Data::Map { ends, key, value } => {
                ends.truncate(len + 1);
                key.truncate(ends[len] as usize);
                value.truncate(ends[len] as usize);
            }
            Data::Row(members) => members.iter_mut().for_each(|member| member.truncate(len)),
        }
    }

    fn len_bytes(&self) -> usize {
        let valid = if self.valid.is_some() { self.len.div_ceil(8) } else { 0 };
        valid
            + match &self.data {
                Data::Bool(_) => self.len.div_ceil(8),
                Data::I8(_) => self.len,
                Data::I16(_) => 2 * self.len,
                Data::I32(_) | Data::F32(_) => 4 * self.len,
                Data::I64(_) | Data::F64(_) => 8 * self.len,
                Data::I128(_) | Data::Uuid(_) => 16 * self.len,
                Data::Var { ends, values } => 4 * ends.len() + values.len(),
                Data::List { ends, item } => 4 * ends.len() + item.len_bytes(),
                Data::Map { ends, key, value } => 4 * ends.len() + key.len_bytes() + value.len_bytes(),
                Data::Row(members) => members.iter().map(Column::len_bytes).sum(),
            }
    }

    /// The array of all values; the column is empty afterwards and keeps nothing of it.
    pub(crate) fn finish(&mut self, arrow: &Arrow) -> Result<ArrayRef, ArrowError> {
        let len = std::mem::take(&mut self.len);
        self.before = (len, if let Data::Var { values, .. } = &self.data { values.len() } else { 0 });
        let nulls = self.valid.take().map(|mut valid| NullBuffer::new(valid.finish()));
        let ends = |ends: &mut Vec<i32>| OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, vec![0])));
        Ok(match &mut self.data {
            Data::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Data::I8(values) => primitive::<Int8Type>(values, nulls, arrow),
            Data::I16(values) => primitive::<Int16Type>(values, nulls, arrow),
            Data::I32(values) => match arrow {
                Arrow::Date32 => primitive::<Date32Type>(values, nulls, arrow),
                Arrow::Time32(_) => primitive::<Time32MillisecondType>(values, nulls, arrow),
                _ => primitive::<Int32Type>(values, nulls, arrow),
            },
            Data::I64(values) => match arrow {
                Arrow::Time64(_) => primitive::<Time64MicrosecondType>(values, nulls, arrow),
                Arrow::Timestamp(TimeUnit::Millisecond, _) => {
                    primitive::<TimestampMillisecondType>(values, nulls, arrow)
                }
                Arrow::Timestamp(..) => primitive::<TimestampMicrosecondType>(values, nulls, arrow),
                _ => primitive::<Int64Type>(values, nulls, arrow),
            },
            Data::I128(values) => primitive::<Decimal128Type>(values, nulls, arrow),
            Data::F32(values) => primitive::<Float32Type>(values, nulls, arrow),
            Data::F64(values) => primitive::<Float64Type>(values, nulls, arrow),
            Data::Var { ends: offsets, values } => {
                let values = Buffer::from_vec(std::mem::take(values));
                match arrow {
                    Arrow::Utf8 => Arc::new(StringArray::try_new(ends(offsets), values, nulls)?),
                    _ => Arc::new(BinaryArray::try_new(ends(offsets), values, nulls)?),
                }
            }
            Data::Uuid(values) => {
                let values = Buffer::from_vec(std::mem::take(values));
                Arc::new(FixedSizeBinaryArray::try_new(16, values, nulls)?)
            }
            Data::List { ends: offsets, item } => {
                let Arrow::List(field) = arrow else { return Err(mismatch(arrow)) };
                let child = item.finish(field.data_type())?;
                Arc::new(ListArray::try_new(field.clone(), ends(offsets), child, nulls)?)
            }
            Data::Map { ends: offsets, key, value } => {
                let Arrow::Map(entries, sorted) = arrow else { return Err(mismatch(arrow)) };
                let Arrow::Struct(fields) = entries.data_type() else { return Err(mismatch(arrow)) };
                let pair = vec![key.finish(fields[0].data_type())?, value.finish(fields[1].data_type())?];
                let pairs = StructArray::try_new(fields.clone(), pair, None)?;
                Arc::new(MapArray::try_new(entries.clone(), ends(offsets), pairs, nulls, *sorted)?)
            }
            Data::Row(members) => {
                let Arrow::Struct(fields) = arrow else { return Err(mismatch(arrow)) };
                let children = members.iter_mut().zip(fields).map(|(member, field)| member.finish(field.data_type()));
                let children = children.collect::<Result<Vec<_>, _>>()?;
                Arc::new(StructArray::try_new_with_length(fields.clone(), children, nulls, len)?)
            }
        })
    }
}

fn mismatch(arrow: &Arrow) -> ArrowError {
    ArrowError::SchemaError(format!("a nested column cannot be of type {arrow}"))
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>, arrow: &Arrow) -> ArrayRef {
    let array = PrimitiveArray::<T>::new(ScalarBuffer::from(std::mem::take(values)), nulls);
    // Precision and zone are part of the data type and not of the Rust type.
    Arc::new(array.with_data_type(arrow.clone()))
}
