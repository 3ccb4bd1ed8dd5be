//! Arrays into Protobuf's wire format, under the message of the writer whose rows they were.

use arrow_array::{Array, RecordBatch};

use super::bind::{Bound, Node, Record};
use super::decode::ProtobufCodec;
use super::schema::Label;
use super::wire::{LENGTH, write_sized, write_tag, write_within};
use super::{known, leaf};
use crate::codec::json::EncodeError;
use crate::codec::plan::{Kind, Members, PlanField};
use crate::codec::reader::{Reader, Values, approach};

/// The rows of one batch, ready to be written.
#[derive(Debug)]
pub struct ProtobufRows<'a> {
    codec: &'a ProtobufCodec,
    columns: Vec<Reader<'a>>,
    rows: usize,
}

impl ProtobufCodec {
    /// Looks at the arrays of a batch once, for all its rows. The batch has all columns of the table version.
    pub fn rows<'a>(&'a self, batch: &'a RecordBatch) -> Result<ProtobufRows<'a>, EncodeError> {
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
        Ok(ProtobufRows { codec: self, columns, rows: batch.num_rows() })
    }
}

impl ProtobufRows<'_> {
    /// Appends row `row` to `out` (without frame). For a row that [`ProtobufCodec::decode`] called exact these are its bytes;
    /// others may have values that the writer's message cannot say, which is an error.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if row >= self.rows {
            return Err(EncodeError::Row { row, rows: self.rows });
        }
        let start = out.len();
        approach(&self.columns, row);
        let done = write_message(&self.codec.record, &self.codec.members, &self.columns, row, out);
        if done.is_err() {
            out.truncate(start);
        }
        done
    }
}

fn write_message(
    record: &Record,
    members: &Members,
    columns: &[Reader<'_>],
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    for bound in &record.fields {
        // What the table has no column for is not there, which every message may say.
        let Some(member) = bound.member else { continue };
        if bound.quick.is_some_and(|quick| quick.write(&columns[member], row, out)) {
            continue;
        }
        write_field(bound, &members.fields[member], &columns[member], row, out)?;
    }
    Ok(())
}

fn write_field(
    bound: &Bound,
    field: &PlanField,
    column: &Reader<'_>,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let unwritable = || EncodeError::Value { column: field.name.clone(), row };
    if column.is_null(row) {
        return if bound.label == Label::Required { Err(unwritable()) } else { Ok(()) };
    }
    match (bound.label, &field.kind, &column.values) {
        (Label::Repeated { packed }, Kind::Array(item), Values::List { offsets, item: items }) => {
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            match &bound.node {
                Node::Leaf(wire, change) if packed && !range.is_empty() => {
                    write_tag(bound.number, LENGTH, out);
                    write_within(out, |out| {
                        for index in range {
                            if items.is_null(index) {
                                return Err(unwritable());
                            }
                            leaf::write(wire, *change, &item.data_type, items.value(index), out)
                                .ok_or_else(unwritable)?;
                        }
                        Ok(())
                    })
                }
                node => {
                    for index in range {
                        write_tag(bound.number, wire_type(node), out);
                        write_value(node, item, items, index, out)?;
                    }
                    Ok(())
                }
            }
        }
        (Label::Map, Kind::Map(value), Values::Map { offsets, keys, item }) => {
            for index in offsets[row] as usize..offsets[row + 1] as usize {
                write_tag(bound.number, LENGTH, out);
                write_within(out, |out| {
                    write_tag(1, LENGTH, out);
                    write_sized(keys.value(index).as_bytes(), out);
                    if item.is_null(index) {
                        return Ok(());
                    }
                    write_tag(2, wire_type(&bound.node), out);
                    write_value(&bound.node, value, item, index, out).map(drop)
                })?;
            }
            Ok(())
        }
        (Label::Repeated { .. } | Label::Map, ..) => Err(unwritable()),
        (label, ..) => {
            let start = out.len();
            write_tag(bound.number, wire_type(&bound.node), out);
            let zero = write_value(&bound.node, field, column, row, out)?;
            if zero && label == Label::Implicit {
                out.truncate(start);
            }
            Ok(())
        }
    }
}

fn wire_type(node: &Node) -> u8 {
    match node {
        Node::Leaf(wire, _) => wire.wire_type(),
        Node::Skip(wire_type) => *wire_type,
        Node::Wrapper(..) | Node::Known(..) | Node::Message(_) => LENGTH,
    }
}

/// One value behind its tag; whether it is a zero.
fn write_value(
    node: &Node,
    field: &PlanField,
    column: &Reader<'_>,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<bool, EncodeError> {
    let unwritable = || EncodeError::Value { column: field.name.clone(), row };
    if column.is_null(row) {
        // A list cannot have holes.
        return Err(unwritable());
    }
    match (node, &field.kind, &column.values) {
        (Node::Leaf(wire, change), ..) => {
            return leaf::write(wire, *change, &field.data_type, column.value(row), out).ok_or_else(unwritable);
        }
        (Node::Message(record), Kind::Row(members), Values::Row(columns)) => {
            write_within(out, |out| write_message(record, members, columns, row, out))?;
        }
        (Node::Known(known, change), ..) => write_within(out, |out| {
            known::write(*known, *change, &field.data_type, column.value(row), out).ok_or_else(unwritable)
        })?,
        (Node::Wrapper(wire, change), ..) => write_within(out, |out| {
            let start = out.len();
            write_tag(1, wire.wire_type(), out);
            let zero = leaf::write(wire, *change, &field.data_type, column.value(row), out).ok_or_else(unwritable)?;
            if zero {
                out.truncate(start);
            }
            Ok::<(), EncodeError>(())
        })?,
        _ => return Err(unwritable()),
    }
    Ok(false)
}
