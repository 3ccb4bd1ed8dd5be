//! Arrays as the nodes and buffers that IPC stores: slices cut to size, offsets from zero, no bits beyond the last row.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, FieldRef, Fields, SchemaRef};

use crate::error::{ColumnError, Result};
use crate::layout::Kind;

/// One node: its array (sliced to what is stored) and its buffers.
pub(crate) struct FlatNode {
    pub(crate) array: ArrayRef,
    pub(crate) buffers: Vec<Buffer>,
}

/// Appends the nodes of an array in pre-order.
pub(crate) fn flatten(array: &ArrayRef, out: &mut Vec<FlatNode>) -> Result<()> {
    let unknown = || ColumnError::Type { column: String::new(), data_type: array.data_type().to_string() };
    let mut buffers = vec![validity(array.nulls())];
    let mut children: Vec<ArrayRef> = Vec::new();
    match (Kind::of(array.data_type()).ok_or_else(unknown)?, array.data_type()) {
        (Kind::Bits, _) => buffers.push(bits(array.as_boolean().values())),
        (Kind::Fixed(width), _) => {
            let data = array.to_data();
            buffers.push(data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width));
        }
        (Kind::Bytes, DataType::Utf8) => {
            let strings = array.as_string::<i32>();
            bytes_of(strings.offsets(), strings.values(), &mut buffers);
        }
        (Kind::Bytes, _) => {
            let binary = array.as_binary::<i32>();
            bytes_of(binary.offsets(), binary.values(), &mut buffers);
        }
        (Kind::List, DataType::Map(_, _)) => {
            let map = array.as_map();
            let (from, length) = span(map.offsets());
            buffers.push(rebased(map.offsets()));
            children.push(std::sync::Arc::new(map.entries().slice(from, length)));
        }
        (Kind::List, _) => {
            let list = array.as_list::<i32>();
            let (from, length) = span(list.offsets());
            buffers.push(rebased(list.offsets()));
            children.push(list.values().slice(from, length));
        }
        (Kind::Struct, _) => children.extend(array.as_struct().columns().iter().cloned()),
    }
    out.push(FlatNode { array: array.clone(), buffers });
    children.iter().try_for_each(|child| flatten(child, out))
}

/// Uncompressed bytes that an array will take, near enough for cutting row groups. Of the items of lists those that its rows have.
pub(crate) fn stored_bytes(array: &ArrayRef) -> usize {
    let own = array.nulls().map_or(0, |nulls| nulls.len().div_ceil(8));
    let listed = |offsets: &OffsetBuffer<i32>, items: &dyn Array| {
        let (from, length) = span(offsets);
        own + 4 * offsets.len() + stored_bytes(&items.slice(from, length))
    };
    match array.data_type() {
        DataType::List(_) => listed(array.as_list::<i32>().offsets(), array.as_list::<i32>().values()),
        DataType::Map(_, _) => listed(array.as_map().offsets(), array.as_map().entries()),
        DataType::Struct(_) => own + array.as_struct().columns().iter().map(stored_bytes).sum::<usize>(),
        _ => array.to_data().get_slice_memory_size().unwrap_or(usize::MAX),
    }
}

fn validity(nulls: Option<&NullBuffer>) -> Buffer {
    match nulls {
        Some(nulls) if nulls.null_count() > 0 => bits(nulls.inner()),
        _ => Buffer::from_vec(Vec::<u8>::new()),
    }
}

/// Bits from bit 0 on, those of the last byte beyond the end zero: the same rows give the same bytes.
pub(crate) fn bits(bits: &BooleanBuffer) -> Buffer {
    let mut bytes = bits.sliced().to_vec();
    bytes.truncate(bits.len().div_ceil(8));
    if let (Some(last), used @ 1..) = (bytes.last_mut(), bits.len() % 8) {
        *last &= (1u8 << used) - 1;
    }
    Buffer::from_vec(bytes)
}

fn span(offsets: &OffsetBuffer<i32>) -> (usize, usize) {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    (first as usize, (last - first) as usize)
}

fn rebased(offsets: &OffsetBuffer<i32>) -> Buffer {
    match offsets[0] {
        0 => offsets.inner().inner().clone(),
        first => Buffer::from_vec(offsets.iter().map(|offset| offset - first).collect::<Vec<i32>>()),
    }
}

fn bytes_of(offsets: &OffsetBuffer<i32>, values: &Buffer, out: &mut Vec<Buffer>) {
    let (from, length) = span(offsets);
    out.push(rebased(offsets));
    out.push(values.slice_with_length(from, length));
}

/// The type under which a type is stored: large, view and dictionary forms become the plain one.
fn plain_type(data_type: &DataType) -> DataType {
    let child = |field: &FieldRef| -> FieldRef { plain_field(field).into() };
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            DataType::List(child(item))
        }
        DataType::Map(entries, sorted) => DataType::Map(child(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect::<Fields>()),
        other => other.clone(),
    }
}

/// A field of the plain type.
pub(crate) fn plain_field(field: &Field) -> Field {
    field.clone().with_data_type(plain_type(field.data_type()))
}

/// The columns of a batch as the schema (of plain types) has them.
pub(crate) fn plain_columns(batch: &RecordBatch, schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
    if batch.num_columns() != schema.fields().len() {
        let (found, expected) = (batch.num_columns().to_string(), schema.fields().len().to_string());
        return Err(ColumnError::Mismatch { column: "(all)".into(), found, expected });
    }
    let pairs = batch.columns().iter().zip(schema.fields());
    pairs.map(|(array, field)| plain_array(array, field)).collect()
}

fn plain_array(array: &ArrayRef, field: &FieldRef) -> Result<ArrayRef> {
    let mismatch = |found: String| ColumnError::Mismatch {
        column: field.name().clone(),
        found,
        expected: field.data_type().to_string(),
    };
    if !field.is_nullable() && array.logical_null_count() > 0 {
        return Err(mismatch(format!("{} nulls in a NOT NULL column", array.logical_null_count())));
    }
    if array.data_type() == field.data_type() {
        return Ok(array.clone());
    }
    if !array.data_type().equals_datatype(field.data_type())
        && plain_type(array.data_type()) != *field.data_type()
        && !plain_type(array.data_type()).equals_datatype(field.data_type())
    {
        return Err(mismatch(array.data_type().to_string()));
    }
    Ok(cast(array, field.data_type())?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int64Type;
    use arrow_array::{ListArray, StructArray};

    use super::*;

    /// A part of a list counts its own items: or a row group of a large one would be cut into single rows.
    #[test]
    fn a_part_of_a_list_has_a_part_of_its_items() {
        let rows = (0..1_000).map(|row| Some((0..100).map(move |item| Some(row + item))));
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows));
        let field = Arc::new(Field::new("items", list.data_type().clone(), true));
        let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, list.clone())]));
        for array in [list, nested] {
            let (whole, part) = (stored_bytes(&array), stored_bytes(&array.slice(500, 10)));
            assert!((800_000..820_000).contains(&whole) && (8_000..8_300).contains(&part), "{whole} {part}");
        }
    }
}
