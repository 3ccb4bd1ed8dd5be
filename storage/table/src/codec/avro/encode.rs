//! Arrays into Avro's binary encoding, under the schema of the writer whose rows they were.

use arrow_array::{Array, RecordBatch};

use super::bind::{Change, Node, Quick, Record};
use super::decode::AvroCodec;
use super::schema::Wire;
use crate::builder::Value;
use crate::codec::binary;
use crate::codec::json::{EncodeError, write_uuid};
use crate::codec::plan::{Kind, Members, PlanField};
use crate::codec::reader::{Reader, Values, approach};

/// The rows of one batch, ready to be written.
#[derive(Debug)]
pub struct AvroRows<'a> {
    codec: &'a AvroCodec,
    columns: Vec<Reader<'a>>,
    rows: usize,
}

impl AvroCodec {
    /// Looks at the arrays of a batch once, for all its rows. The batch has all columns of the table version.
    pub fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Result<AvroRows<'a>, EncodeError> {
        let mut columns = Vec::with_capacity(self.members.fields.len());
        for field in &self.members.fields {
            let (expected, found) = (field.data_type.to_arrow(), batch.columns().get(field.slot));
            let array = found.filter(|array| *array.data_type() == expected).ok_or_else(|| EncodeError::Column {
                column: field.name.clone(),
                found: found.map_or("missing".to_string(), |array| array.data_type().to_string()),
                expected: expected.to_string(),
            })?;
            columns.push(Reader::new(array));
        }
        Ok(AvroRows { codec: self, columns, rows: batch.num_rows() })
    }
}

impl AvroRows<'_> {
    /// Appends row `row` to `out` (without frame). For a row that [`AvroCodec::decode`] called canonical these are its
    /// bytes; others may have values that the writer's schema cannot say, which is an error.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if row >= self.rows {
            return Err(EncodeError::Row { row, rows: self.rows });
        }
        let start = out.len();
        approach(&self.columns, row);
        let done = write_record(&self.codec.record, &self.codec.members, &self.columns, row, out);
        if done.is_err() {
            out.truncate(start);
        }
        done
    }
}

fn write_record(
    record: &Record,
    members: &Members,
    columns: &[Reader<'_>],
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    for ((member, node), quick) in record.fields.iter().zip(&record.quick) {
        // A field without column: its value is gone.
        let Some(member) = member else { return Err(EncodeError::Raw) };
        if quick.is_some_and(|quick| write_quick(quick, &columns[*member], row, out)) {
            continue;
        }
        write_node(node, &members.fields[*member], &columns[*member], row, out)?;
    }
    Ok(())
}

/// A field of a usual type that is not null. False: nothing was written.
#[inline]
fn write_quick(quick: Quick, column: &Reader<'_>, row: usize, out: &mut Vec<u8>) -> bool {
    if column.is_null(row) {
        return false;
    }
    let start = out.len();
    out.extend(quick.branch);
    let written = binary::write(quick.plain, column, row, out).is_some();
    if !written {
        out.truncate(start);
    }
    written
}

fn write_node(
    node: &Node,
    field: &PlanField,
    column: &Reader<'_>,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let unwritable = || EncodeError::Value { column: field.name.clone(), row };
    let null = column.is_null(row);
    match (node, &field.kind, &column.values) {
        (Node::Optional { null: branch, .. }, ..) if null => {
            write_long(i64::try_from(*branch).map_err(|_| unwritable())?, out);
        }
        (Node::Optional { value, inner, .. }, ..) => {
            write_long(*value as i64, out);
            write_node(inner, field, column, row, out)?;
        }
        (Node::Union(branches), ..) if null => {
            let branch = branches.iter().position(Option::is_none).ok_or_else(unwritable)?;
            write_long(branch as i64, out);
        }
        _ if null => return Err(unwritable()),
        (Node::Union(branches), Kind::Row(members), Values::Row(columns)) => {
            let set = |(index, branch): (usize, &Option<(usize, Node)>)| match branch {
                Some((member, _)) if !columns[*member].is_null(row) => Some(index),
                _ => None,
            };
            let index = branches.iter().enumerate().find_map(set).ok_or_else(unwritable)?;
            write_long(index as i64, out);
            if let Some((member, node)) = &branches[index] {
                write_node(node, &members.fields[*member], &columns[*member], row, out)?;
            }
        }
        (Node::Record(record), Kind::Row(members), Values::Row(columns)) => {
            write_record(record, members, columns, row, out)?;
        }
        (Node::Array(inner), Kind::Array(field), Values::List { offsets, item }) => {
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            if end > start {
                write_long((end - start) as i64, out);
            }
            for index in start..end {
                write_node(inner, field, item, index, out)?;
            }
            out.push(0);
        }
        (Node::Map(inner), Kind::Map(field), Values::Map { offsets, keys, item }) => {
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            if end > start {
                write_long((end - start) as i64, out);
            }
            for index in start..end {
                write_sized(keys.value(index).as_bytes(), out);
                write_node(inner, field, item, index, out)?;
            }
            out.push(0);
        }
        (Node::Leaf(wire, change), Kind::Simple, _) => {
            write_leaf(wire, *change, column.value(row), out).ok_or_else(unwritable)?;
        }
        _ => return Err(unwritable()),
    }
    Ok(())
}

fn write_leaf(wire: &Wire, change: Change, value: Value<'_>, out: &mut Vec<u8>) -> Option<()> {
    match (wire, value) {
        (Wire::Boolean, Value::Bool(value)) => out.push(value.into()),
        (Wire::Int | Wire::Long, value) => {
            let value = match (change, value) {
                (Change::Times(factor), Value::Int(value)) => (value % factor == 0).then(|| value / factor)?,
                (Change::Divided(by), Value::Int(value)) => value.checked_mul(by)?,
                (Change::Scaled(scale), Value::Decimal(value)) => i64::try_from(unscaled(value, scale)?).ok()?,
                (_, Value::Int(value)) => value,
                _ => return None,
            };
            if *wire == Wire::Int {
                i32::try_from(value).ok()?;
            }
            write_long(value, out);
        }
        (Wire::Float, Value::Float(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Wire::Float, Value::Double(value)) => out.extend_from_slice(&(value as f32).to_le_bytes()),
        (Wire::Double, Value::Double(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Wire::String, Value::Text(text)) => write_sized(text.as_bytes(), out),
        (Wire::String, Value::Bytes(uuid)) if change == Change::UuidText => {
            write_long(36, out);
            write_uuid(uuid, false, out);
        }
        (Wire::Enum(symbols), Value::Text(text)) => {
            write_long(symbols.iter().position(|symbol| symbol == text)? as i64, out);
        }
        (Wire::Bytes, Value::Bytes(bytes)) => write_sized(bytes, out),
        (Wire::Fixed(size), Value::Bytes(bytes)) if bytes.len() == *size => out.extend_from_slice(bytes),
        (Wire::Bytes | Wire::Fixed(_), Value::Decimal(value)) => {
            let Change::Scaled(scale) = change else { return None };
            let value = unscaled(value, scale)?;
            let needed = decimal_len(value);
            if let Wire::Fixed(size) = wire {
                out.resize(out.len() + size.checked_sub(needed)?, if value < 0 { 0xff } else { 0 });
            } else {
                write_long(needed as i64, out);
            }
            out.extend_from_slice(&value.to_be_bytes()[16 - needed..]);
        }
        _ => return None,
    }
    Some(())
}

fn unscaled(value: i128, scale: u8) -> Option<i128> {
    let power = 10i128.checked_pow(scale.into())?;
    (value % power == 0).then(|| value / power)
}

/// Bytes of the shortest two's complement of `value`: 1 to 16.
pub(super) fn decimal_len(value: i128) -> usize {
    let bits = 128 - (if value < 0 { !value } else { value }).leading_zeros() as usize;
    bits / 8 + 1
}

#[inline]
fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut zigzag = (value << 1 ^ value >> 63) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

#[inline]
fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}
