//! Messages with fields twice, as they are to be understood: the last of simple values counts, messages are merged, and of a
//! oneof the last field counts.

use super::bind::{Node, Record};
use super::schema::Label;
use super::wire::{Cursor, LENGTH, write_tag, write_varint};
use crate::codec::json::RowError;

/// What was seen of a field that is there once at most.
#[derive(Default)]
struct Seen<'a> {
    wire_type: u8,
    /// Of a message the contents of every occurrence, of a simple value the last one.
    parts: Vec<&'a [u8]>,
}

/// The message with each such field once, behind the others. `None`: it is like that already.
pub(super) fn form(message: &[u8], record: &Record) -> Result<Option<Vec<u8>>, RowError> {
    let mut seen: Vec<Seen<'_>> = record.fields.iter().map(|_| Seen::default()).collect();
    let mut twice = false;
    let mut out = Vec::with_capacity(message.len() + 16);
    let (mut cursor, mut from) = (Cursor::new(message), 0);
    while cursor.at < cursor.end {
        let start = cursor.at;
        let (number, wire_type) = cursor.tag()?;
        let index = record.find(number, &mut from);
        let single = index.filter(|index| !matches!(record.fields[*index].label, Label::Repeated { .. } | Label::Map));
        let Some(index) = single else {
            cursor.skip(wire_type)?;
            out.extend_from_slice(&message[start..cursor.at]);
            continue;
        };
        let bound = &record.fields[index];
        if let Label::Oneof(_) = bound.label {
            for (other, field) in record.fields.iter().enumerate() {
                if other != index && field.label == bound.label && !seen[other].parts.is_empty() {
                    seen[other].parts.clear();
                    twice = true;
                }
            }
        }
        let entry = &mut seen[index];
        twice |= !entry.parts.is_empty();
        let merged = wire_type == LENGTH && !matches!(bound.node, Node::Leaf(..) | Node::Skip(_));
        let part = if merged { cursor.sized()? } else { cursor.skip(wire_type)? };
        if !merged || entry.wire_type != wire_type {
            entry.parts.clear();
        }
        entry.wire_type = wire_type;
        entry.parts.push(part);
    }
    if !twice {
        return Ok(None);
    }
    for (bound, entry) in record.fields.iter().zip(&seen).filter(|(_, entry)| !entry.parts.is_empty()) {
        write_tag(bound.number, entry.wire_type, &mut out);
        if entry.wire_type == LENGTH && !matches!(bound.node, Node::Leaf(..) | Node::Skip(_)) {
            write_varint(entry.parts.iter().map(|part| part.len() as u64).sum(), &mut out);
        }
        entry.parts.iter().for_each(|part| out.extend_from_slice(part));
    }
    Ok(Some(out))
}
