//! Row shapes: everything about the text of a JSON row that its values do not say.
//!
//! A shape is the row with its values taken out: the text in front of each value (key, spacing, colon), the text
//! between and around, and the format of each value. Values written into a shape give the row back byte for byte.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::format::{FloatStyle, Format, StringStyle, canonical};
use crate::codec::literal::Literal;
use crate::codec::plan::{Kind, Members, PlanField};
use crate::schema::{DataType, FieldId, NESTING_MAX};

/// Most shapes of one set: what does not fit keeps its bytes.
pub const SHAPES_MAX: usize = 256;
/// Most bytes of literal text in one set of shapes.
pub const SHAPE_BYTES_MAX: usize = 1 << 20;

/// Position of a shape in its [`ShapeSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShapeId(pub u16);

/// One row with its values taken out. Columns are named by field id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowShape {
    pub(super) strings: StringStyle,
    pub(super) object: ObjectShape,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct ObjectShape {
    /// Up to and with `{`.
    pub(super) open: String,
    /// Between two entries, with the comma.
    pub(super) comma: String,
    /// Behind the last value, with `}`.
    pub(super) close: String,
    pub(super) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Spacing, key, colon.
    pub(super) lead: String,
    /// `None`: a field the table does not have; it is stepped over and not written.
    pub(super) id: Option<FieldId>,
    /// A null is written by leaving the entry out.
    pub(super) omit: bool,
    pub(super) value: ValueShape,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum ValueShape {
    /// Nothing but null was seen.
    Null,
    Simple(Format),
    List(Box<ListShape>),
    Row(ObjectShape),
}

/// An array, or the entries of a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct ListShape {
    pub(super) open: String,
    pub(super) comma: String,
    /// Between key and value of a map's entry.
    pub(super) colon: String,
    pub(super) close: String,
    /// The whole of an empty one.
    pub(super) empty: String,
    pub(super) item: ValueShape,
}

/// The shapes of the rows of one segment (or of one column builder).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShapeSet {
    shapes: Vec<RowShape>,
}

impl ShapeSet {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.shapes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// The shape with this id.
    pub fn get(&self, id: ShapeId) -> Option<&RowShape> {
        self.shapes.get(usize::from(id.0))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RowShape> {
        self.shapes.iter()
    }

    pub(super) fn position(&self, shape: &RowShape) -> Option<ShapeId> {
        // At most SHAPES_MAX, and only asked when no known shape fits a row.
        self.shapes.iter().position(|known| known == shape).map(|index| ShapeId(index as u16))
    }

    /// The id of `shape`, added if it is new; `None` when the set is full.
    pub fn intern(&mut self, shape: &RowShape) -> Option<ShapeId> {
        if let Some(id) = self.position(shape) {
            return Some(id);
        }
        let bytes: usize = self.shapes.iter().map(RowShape::weight).sum();
        if self.shapes.len() >= SHAPES_MAX || bytes + shape.weight() > SHAPE_BYTES_MAX {
            return None;
        }
        self.shapes.push(shape.clone());
        Some(ShapeId((self.shapes.len() - 1) as u16))
    }

    /// Takes over the shapes of `other` (segments that are merged); the result maps its ids to ids of this set, `None`
    /// where it is full and rows of that shape must keep their bytes.
    pub fn absorb(&mut self, other: &ShapeSet) -> Vec<Option<ShapeId>> {
        other.shapes.iter().map(|shape| self.intern(shape)).collect()
    }

    /// As stored in a segment.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Structs of strings and numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`ShapeSet::to_bytes`] wrote; bounded and checked, as bytes from a disk must be.
    pub fn from_bytes(bytes: &[u8]) -> Result<ShapeSet, ShapeError> {
        if bytes.len() > 16 * SHAPE_BYTES_MAX {
            return Err(ShapeError::TooLarge { bytes: bytes.len() });
        }
        let set: ShapeSet =
            serde_json::from_slice(bytes).map_err(|error| ShapeError::Unreadable { reason: error.to_string() })?;
        let literal: usize = set.shapes.iter().map(RowShape::weight).sum();
        if set.shapes.len() > SHAPES_MAX || literal > SHAPE_BYTES_MAX {
            return Err(ShapeError::TooLarge { bytes: literal });
        }
        Ok(set)
    }
}

/// Stored shapes that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Larger than any set that was ever written.
    #[error("{bytes} bytes of row shapes: more than a set may have")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// No set of shapes.
    #[error("row shapes cannot be read: {reason}")]
    Unreadable {
        /// What the parser says.
        reason: String,
    },
    /// A row refers to a shape that is not in the set.
    #[error("row shape {id} is not in the set")]
    Unknown {
        /// The id.
        id: u16,
    },
    /// A shape of another table.
    #[error("row shape {id} names columns that the table does not have")]
    Foreign {
        /// The id.
        id: u16,
    },
}

impl RowShape {
    /// Bytes of literal text, plus something for each entry.
    fn weight(&self) -> usize {
        self.object.weight()
    }

    /// The form of rows for which nothing else is known: no spacing, all columns in order, nulls left out where that
    /// means null.
    pub(super) fn canonical(members: &Members) -> RowShape {
        RowShape { strings: StringStyle::default(), object: ObjectShape::canonical(members) }
    }
}

impl ObjectShape {
    fn weight(&self) -> usize {
        let entries = self.entries.iter().map(|entry| 32 + entry.lead.len() + entry.value.weight());
        32 + self.open.len() + self.comma.len() + self.close.len() + entries.sum::<usize>()
    }

    fn canonical(members: &Members) -> ObjectShape {
        let entry = |field: &PlanField| Entry {
            // Serialising a string cannot fail.
            lead: serde_json::to_string(&field.name).unwrap_or_default() + ":",
            id: Some(field.id),
            omit: field.nullable && field.default.is_none(),
            value: ValueShape::canonical(field),
        };
        let entries = members.fields.iter().map(entry).collect();
        ObjectShape { open: "{".into(), comma: ",".into(), close: "}".into(), entries }
    }
}

impl ValueShape {
    fn weight(&self) -> usize {
        match self {
            ValueShape::Null | ValueShape::Simple(_) => 16,
            ValueShape::Row(object) => object.weight(),
            ValueShape::List(list) => {
                let literals = [&list.open, &list.comma, &list.colon, &list.close, &list.empty];
                64 + literals.iter().map(|literal| literal.len()).sum::<usize>() + list.item.weight()
            }
        }
    }

    fn canonical(field: &PlanField) -> ValueShape {
        let list = |open: &str, close: &str, item| {
            ValueShape::List(Box::new(ListShape {
                open: open.into(),
                comma: ",".into(),
                colon: ":".into(),
                close: close.into(),
                empty: format!("{open}{close}"),
                item: ValueShape::canonical(item),
            }))
        };
        match &field.kind {
            Kind::Simple => ValueShape::Simple(canonical(&field.data_type)),
            Kind::Array(item) => list("[", "]", item),
            Kind::Map(value) => list("{", "}", value),
            Kind::Row(members) => ValueShape::Row(ObjectShape::canonical(members)),
        }
    }
}

/// A shape bound to the columns of a table, as parser and writer walk it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) strings: StringStyle,
    pub(super) object: BoundObject,
}

#[derive(Debug)]
pub(super) struct BoundObject {
    pub(super) open: Box<[u8]>,
    pub(super) close: Box<[u8]>,
    pub(super) entries: Box<[BoundEntry]>,
    /// Members without an entry.
    pub(super) absent: Box<[usize]>,
}

#[derive(Debug)]
pub(super) struct BoundEntry {
    /// Comma (if there are entries before) and lead.
    pub(super) glue: Literal,
    /// The same, and the quote of a string.
    pub(super) quoted: Literal,
    /// Where the lead begins in it.
    pub(super) lead: usize,
    pub(super) quick: Quick,
    pub(super) member: Option<usize>,
    /// Place of the member's column.
    pub(super) slot: usize,
    pub(super) omit: bool,
    pub(super) value: BoundValue,
}

/// Values of the most usual kinds: what is read and written without looking at format and type each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quick {
    /// STRING.
    Text,
    /// Integers as their digits.
    Integer,
    /// DOUBLE.
    Double(FloatStyle),
    /// BOOLEAN.
    Bool,
    /// All others.
    No,
}

#[derive(Debug)]
pub(super) enum BoundValue {
    Null,
    Simple(Format),
    List(Box<BoundList>),
    Row(BoundObject),
}

#[derive(Debug)]
pub(super) struct BoundList {
    pub(super) text: ListShape,
    pub(super) item: BoundValue,
}

impl Quick {
    fn of(value: &BoundValue, field: &PlanField) -> Quick {
        match (value, &field.data_type) {
            (BoundValue::Simple(_), DataType::String) => Quick::Text,
            (BoundValue::Simple(Format::Plain), DataType::BigInt) => Quick::Integer,
            (BoundValue::Simple(Format::Float(style)), DataType::Double) => Quick::Double(*style),
            (BoundValue::Simple(_), DataType::Boolean) => Quick::Bool,
            _ => Quick::No,
        }
    }
}

impl Bound {
    /// `None` when the shape is not one of rows of these members.
    pub(super) fn new(shape: &RowShape, members: &Members) -> Option<Bound> {
        Some(Bound { strings: shape.strings, object: bind_object(&shape.object, members, 0)? })
    }
}

fn bind_object(shape: &ObjectShape, members: &Members, depth: usize) -> Option<BoundObject> {
    if depth > NESTING_MAX {
        return None;
    }
    let mut absent: HashMap<usize, ()> = (0..members.fields.len()).map(|index| (index, ())).collect();
    let mut entries = Vec::with_capacity(shape.entries.len());
    for (place, entry) in shape.entries.iter().enumerate() {
        let member = match entry.id {
            Some(id) => Some(members.find_id(id)?),
            None => None,
        };
        let value = match member {
            // Twice the same member would write it twice.
            Some(member) => {
                absent.remove(&member)?;
                bind_value(&entry.value, &members.fields[member], depth)?
            }
            None => BoundValue::Null,
        };
        if entry.lead.is_empty() {
            return None;
        }
        let quick = member.map_or(Quick::No, |member| Quick::of(&value, &members.fields[member]));
        let comma = if place == 0 { "" } else { &shape.comma };
        let glue = format!("{comma}{}", entry.lead);
        let quoted = Literal::new(format!("{glue}\"").as_bytes());
        let (glue, lead) = (Literal::new(glue.as_bytes()), comma.len());
        let slot = member.map_or(0, |member| members.fields[member].slot);
        entries.push(BoundEntry { glue, quoted, lead, quick, member, slot, omit: entry.omit, value });
    }
    let mut absent: Vec<_> = absent.into_keys().collect();
    absent.sort_unstable();
    Some(BoundObject {
        open: shape.open.as_bytes().into(),
        close: shape.close.as_bytes().into(),
        entries: entries.into(),
        absent: absent.into(),
    })
}

fn bind_value(shape: &ValueShape, field: &PlanField, depth: usize) -> Option<BoundValue> {
    Some(match (shape, &field.kind) {
        (ValueShape::Null, _) => BoundValue::Null,
        (ValueShape::Simple(format), Kind::Simple) => BoundValue::Simple(format.clone()),
        (ValueShape::List(list), Kind::Array(item) | Kind::Map(item)) => {
            let inner = bind_value(&list.item, item, depth + 1)?;
            let text = ListShape { item: ValueShape::Null, ..(**list).clone() };
            BoundValue::List(Box::new(BoundList { text, item: inner }))
        }
        (ValueShape::Row(object), Kind::Row(members)) => BoundValue::Row(bind_object(object, members, depth + 1)?),
        _ => return None,
    })
}
