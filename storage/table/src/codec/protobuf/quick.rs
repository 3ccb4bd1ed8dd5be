//! Fields in the order in which serializers write them, of the most usual types. What is anything else is left as it is, for
//! [`super::decode`] to read and [`super::encode`] to write.

use super::bind::{Change, Node};
use super::schema::{Label, Wire};
use super::wire::{Cursor, write_tag};
use crate::builder::Column;
use crate::codec::binary::{self, Plain};
use crate::codec::literal::{append_front, word};
use crate::codec::plan::PlanField;
use crate::codec::reader::Reader;
use crate::schema::DataType;

/// How a field is read quickly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quick {
    /// Its tag, as few bytes as it takes.
    tag: u64,
    mask: u64,
    tag_len: usize,
    plain: Plain,
    /// Place of the column.
    slot: usize,
    /// A zero is not written.
    implicit: bool,
}

impl Quick {
    /// `None`: not quickly. `field` is what the node is bound to.
    pub(super) fn new(number: u32, label: Label, node: &Node, field: &PlanField) -> Option<Quick> {
        let Node::Leaf(wire, Change::None) = node else { return None };
        if !matches!(label, Label::Implicit | Label::Explicit | Label::Required) {
            return None;
        }
        let plain = match (wire, &field.data_type) {
            (Wire::Int64, DataType::BigInt) | (Wire::Int32, DataType::Int) => Plain::Varint,
            (Wire::Sint64, DataType::BigInt) | (Wire::Sint32, DataType::Int) => Plain::Zigzag,
            (Wire::Double, DataType::Double) => Plain::Double,
            (Wire::Float, DataType::Float) => Plain::Float,
            (Wire::Bool, DataType::Boolean) => Plain::Bool,
            (Wire::String, DataType::String) => Plain::Text,
            _ => return None,
        };
        let mut tag = Vec::with_capacity(5);
        write_tag(number, wire.wire_type(), &mut tag);
        Some(Quick {
            tag: u64::from_le_bytes(word(&tag, 0)),
            mask: u64::MAX >> (64 - 8 * tag.len()),
            tag_len: tag.len(),
            plain,
            slot: field.slot,
            implicit: label == Label::Implicit,
        })
    }

    /// Whether the field is the next one.
    #[inline]
    pub(super) fn comes(&self, cursor: &Cursor<'_>) -> bool {
        (u64::from_le_bytes(word(&cursor.bytes[..cursor.end], cursor.at)) ^ self.tag) & self.mask == 0
    }

    /// Reads the field, which comes next, unless it is of an unusual form or its column has more than the `base` values of rows
    /// before. False: nothing was read.
    #[inline]
    pub(super) fn read(&self, cursor: &mut Cursor<'_>, columns: &mut [Column], base: usize) -> bool {
        let row = &cursor.bytes[..cursor.end];
        let column = &mut columns[self.slot];
        if column.len > base {
            return false;
        }
        let Some((end, zero)) = binary::read(self.plain, row, cursor.at + self.tag_len, column) else { return false };
        cursor.at = end;
        cursor.short &= !(zero && self.implicit);
        true
    }

    /// Writes the field, unless it is null. False: nothing was written.
    #[inline]
    pub(super) fn write(&self, column: &Reader<'_>, row: usize, out: &mut Vec<u8>) -> bool {
        if column.is_null(row) {
            return false;
        }
        let start = out.len();
        append_front(out, &self.tag.to_le_bytes(), self.tag_len);
        let zero = binary::write(self.plain, column, row, out);
        if zero.is_none_or(|zero| zero && self.implicit) {
            out.truncate(start);
        }
        zero.is_some()
    }
}
