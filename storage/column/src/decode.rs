//! Nodes and buffers back to arrays, whatever they hold: every length is compared before it is used, and Arrow's own full
//! validation (offsets, UTF-8, dictionary keys) runs on each array before it is one.

use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType, Field, Fields};

use crate::error::{ColumnError, Result};
use crate::layout::{Kind, children};

/// What is left of a batch's nodes and buffers, and the dictionaries of its dictionary columns.
pub(crate) struct Parts<'a> {
    /// Rows and nulls.
    pub(crate) nodes: &'a mut dyn Iterator<Item = (u64, u64)>,
    /// Uncompressed.
    pub(crate) buffers: &'a mut dyn Iterator<Item = Result<Buffer>>,
    pub(crate) dictionaries: &'a mut dyn Iterator<Item = ArrayRef>,
}

/// The columns of a batch; the parts are used up.
pub(crate) fn columns(fields: &Fields, rows: u64, parts: &mut Parts<'_>) -> Result<Vec<ArrayRef>> {
    fields.iter().map(|field| column(field, rows, parts)).collect()
}

fn column(field: &Field, rows: u64, parts: &mut Parts<'_>) -> Result<ArrayRef> {
    let data = array(field, Some(rows), parts)?;
    if !field.is_nullable() && data.null_count() > 0 {
        return Err(named(field, format!("{} nulls in a NOT NULL column", data.null_count())));
    }
    Ok(make_array(data))
}

fn named(field: &Field, what: String) -> ColumnError {
    ColumnError::corrupt(format!("column {}: {what}", field.name()))
}

/// `rows`: how many there must be; children of lists have as many as they say.
fn array(field: &Field, rows: Option<u64>, parts: &mut Parts<'_>) -> Result<ArrayData> {
    let data_type = field.data_type();
    let (length, nulls) = parts.nodes.next().ok_or_else(|| named(field, "no node for it".into()))?;
    if length > i32::MAX as u64 || rows.is_some_and(|rows| rows != length) {
        return Err(named(field, format!("{length} rows, not {rows:?}")));
    }
    let length = length as usize;
    let mut data = ArrayData::builder(data_type.clone()).len(length).nulls(validity(field, length, nulls, parts)?);
    let kind = keys_kind(data_type).or_else(|| Kind::of(data_type));
    match kind {
        None => return Err(ColumnError::Type { column: field.name().clone(), data_type: data_type.to_string() }),
        Some(Kind::Struct) => {}
        Some(Kind::Fixed(width)) => data = data.add_buffer(sized(field, length.checked_mul(width), parts)?),
        Some(Kind::Bits) => data = data.add_buffer(sized(field, Some(length.div_ceil(8)), parts)?),
        Some(Kind::List) => data = data.add_buffer(offsets(field, length, parts)?),
        Some(Kind::Bytes) => {
            data = data.add_buffer(offsets(field, length, parts)?);
            data = data.add_buffer(next(field, parts)?);
        }
    }
    if let DataType::Dictionary(_, values) = data_type {
        let dictionary = parts.dictionaries.next().filter(|dictionary| dictionary.data_type() == &**values);
        data = data.add_child_data(dictionary.ok_or_else(|| named(field, "no dictionary for it".into()))?.to_data());
    }
    for child in &children(data_type) {
        let rows = matches!(data_type, DataType::Struct(_)).then_some(length as u64);
        data = data.add_child_data(array(child, rows, parts)?);
    }
    data.align_buffers(true).build().map_err(|error: ArrowError| named(field, error.to_string()))
}

/// Keys of a dictionary of strangers may have any width.
fn keys_kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Dictionary(keys, _) => Kind::of(keys),
        _ => None,
    }
}

fn next(field: &Field, parts: &mut Parts<'_>) -> Result<Buffer> {
    parts.buffers.next().ok_or_else(|| named(field, "no buffer for it".into()))?
}

fn sized(field: &Field, bytes: Option<usize>, parts: &mut Parts<'_>) -> Result<Buffer> {
    let buffer = next(field, parts)?;
    match bytes {
        // Writers may pad what they count as the buffer's length.
        Some(bytes) if buffer.len() >= bytes => Ok(buffer.slice_with_length(0, bytes)),
        _ => Err(named(field, format!("a buffer of {} bytes, not {bytes:?}", buffer.len()))),
    }
}

fn offsets(field: &Field, length: usize, parts: &mut Parts<'_>) -> Result<Buffer> {
    let buffer = next(field, parts)?;
    if length == 0 && buffer.is_empty() {
        // Older writers leave out the one offset of an empty array.
        return Ok(Buffer::from_vec(vec![0i32]));
    }
    match length.checked_add(1).and_then(|count| count.checked_mul(4)) {
        Some(bytes) if buffer.len() >= bytes => Ok(buffer.slice_with_length(0, bytes)),
        _ => Err(named(field, format!("offsets of {} bytes for {length} rows", buffer.len()))),
    }
}

fn validity(field: &Field, length: usize, nulls: u64, parts: &mut Parts<'_>) -> Result<Option<NullBuffer>> {
    let buffer = next(field, parts)?;
    if nulls == 0 {
        return Ok(None);
    }
    if buffer.len() < length.div_ceil(8) {
        return Err(named(field, format!("a validity bitmap of {} bytes for {length} rows", buffer.len())));
    }
    let valid = NullBuffer::new(BooleanBuffer::new(buffer, 0, length));
    match valid.null_count() as u64 == nulls {
        true => Ok(Some(valid)),
        false => Err(named(field, format!("{} nulls, not the {nulls} it says", valid.null_count()))),
    }
}
