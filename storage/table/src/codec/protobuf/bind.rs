//! A writer's message bound to a table: which column each field goes to, and how.

use super::quick::Quick;
use super::schema::{Known, Label, Message, ProtoField, Type, Wire};
use crate::codec::json::OnUnknown;
use crate::codec::plan::{Kind, Members, PlanField};
use crate::schema::DataType;

/// Why rows of a writer's schema do not go into a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoBindError {
    /// The types do not agree.
    #[error("column {column}: the writer's {writer} does not go into {table}")]
    Type {
        /// Path of the column.
        column: String,
        /// Type of the writer.
        writer: String,
        /// Type of the table.
        table: String,
    },
    /// A field that the table does not have, under `weir.on.unknown=reject`.
    #[error("field {field} of the writer's schema is not a column of the table (weir.on.unknown=reject)")]
    Unknown {
        /// Path of the field.
        field: String,
    },
    /// A column without a value.
    #[error("column {column} is NOT NULL without default, and the writer's schema does not have it")]
    Missing {
        /// Path of the column.
        column: String,
    },
}

/// A message, as decoder and encoder walk it.
#[derive(Debug)]
pub(super) struct Record {
    /// By ascending number.
    pub(super) fields: Vec<Bound>,
    /// Members of the table that the writer does not have.
    pub(super) absent: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Bound {
    pub(super) number: u32,
    pub(super) label: Label,
    /// Member of the table's row.
    pub(super) member: Option<usize>,
    pub(super) node: Node,
    /// Slots of the other members of its oneof.
    pub(super) rivals: Vec<usize>,
    pub(super) quick: Option<Quick>,
}

/// One value (of a list: one item, of a map: the value of one entry).
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Wire, Change),
    Wrapper(Wire, Change),
    Known(Known, Change),
    Message(Record),
    /// Nothing of the table; its wire type.
    Skip(u8),
}

/// What happens to a simple value between writer and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing (integers: range is checked).
    None,
    /// Times this (dates into timestamps).
    Times(i64),
    /// Integers into decimals: times 10^n.
    Scaled(u8),
    /// Text of a value of another type.
    Text,
    /// Text that must be JSON.
    Json,
}

impl Record {
    /// The field with this number; `from`: where fields of larger numbers begin.
    #[inline]
    pub(super) fn find(&self, number: u32, from: &mut usize) -> Option<usize> {
        if let Some(field) = self.fields.get(*from) {
            if field.number == number {
                return Some(*from);
            }
            if field.number < number {
                let ahead = self.fields[*from..].iter().position(|field| field.number >= number);
                *from = ahead.map_or(self.fields.len(), |ahead| *from + ahead);
                return self.fields.get(*from).filter(|field| field.number == number).map(|_| *from);
            }
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }
}

pub(super) fn record(
    path: &str,
    message: &Message,
    members: &Members,
    unknown: OnUnknown,
) -> Result<Record, ProtoBindError> {
    let mut fields = Vec::with_capacity(message.fields.len());
    let mut seen = vec![false; members.fields.len()];
    let bound = members.bind(message.fields.iter().map(|field| field.name.as_str()));
    for (field, member) in message.fields.iter().zip(bound) {
        let name = joined(path, &field.name);
        let node = match member {
            Some(member) => {
                seen[member] = true;
                bind(&name, field, &members.fields[member], unknown)?
            }
            None if unknown == OnUnknown::Reject => return Err(ProtoBindError::Unknown { field: name }),
            None => Node::Skip(field.kind.wire_type()),
        };
        let (number, label) = (field.number, field.label);
        let quick = member.and_then(|member| Quick::new(number, label, &node, &members.fields[member]));
        fields.push(Bound { number, label, member, node, rivals: Vec::new(), quick });
    }
    rivals(&mut fields, members);
    let absent: Vec<_> = (0..seen.len()).filter(|index| !seen[*index]).collect();
    for member in &absent {
        let field = &members.fields[*member];
        if !field.nullable && field.default.is_none() {
            return Err(ProtoBindError::Missing { column: joined(path, &field.name) });
        }
    }
    Ok(Record { fields, absent })
}

fn rivals(fields: &mut [Bound], members: &Members) {
    let slots: Vec<_> = fields
        .iter()
        .filter_map(|field| match (field.label, field.member) {
            (Label::Oneof(group), Some(member)) => Some((group, field.number, members.fields[member].slot)),
            _ => None,
        })
        .collect();
    for field in fields {
        if let Label::Oneof(group) = field.label {
            let others = slots.iter().filter(|(of, number, _)| *of == group && *number != field.number);
            field.rivals = others.map(|(.., slot)| *slot).collect();
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

fn bind(path: &str, field: &ProtoField, column: &PlanField, unknown: OnUnknown) -> Result<Node, ProtoBindError> {
    match (field.label, &column.kind) {
        (Label::Repeated { .. }, Kind::Array(inner)) | (Label::Map, Kind::Map(inner)) => {
            one(path, &field.kind, inner, unknown)
        }
        (Label::Repeated { .. } | Label::Map, _) | (_, Kind::Array(_) | Kind::Map(_)) => {
            let many = match field.label {
                Label::Repeated { .. } => "repeated ",
                Label::Map => "map of ",
                _ => "",
            };
            Err(mismatch(path, format!("{many}{}", field.kind.name()), column))
        }
        _ => one(path, &field.kind, column, unknown),
    }
}

fn mismatch(path: &str, writer: String, column: &PlanField) -> ProtoBindError {
    ProtoBindError::Type { column: path.to_string(), writer, table: column.data_type.to_string() }
}

fn one(path: &str, kind: &Type, column: &PlanField, unknown: OnUnknown) -> Result<Node, ProtoBindError> {
    let node = match (kind, &column.kind) {
        (Type::Message(message), Kind::Row(members)) => {
            return Ok(Node::Message(record(path, message, members, unknown)?));
        }
        (Type::Leaf(wire), Kind::Simple) => {
            change(wire, &column.data_type).map(|change| Node::Leaf(wire.clone(), change))
        }
        (Type::Wrapper(wire), Kind::Simple) => {
            change(wire, &column.data_type).map(|change| Node::Wrapper(wire.clone(), change))
        }
        (Type::Known(known), Kind::Simple) => {
            known_change(*known, &column.data_type).map(|change| Node::Known(*known, change))
        }
        _ => None,
    };
    node.ok_or_else(|| mismatch(path, kind.name().to_string(), column))
}

fn change(wire: &Wire, table: &DataType) -> Option<Change> {
    use DataType as T;
    use Wire as W;
    let integral = !matches!(wire, W::Double | W::Float | W::Bool | W::String | W::Bytes | W::Enum(_));
    Some(match (wire, table) {
        (W::Bool, T::Boolean) => Change::None,
        (_, T::TinyInt | T::SmallInt | T::Int | T::BigInt) if integral => Change::None,
        (_, T::Decimal { scale, .. }) if integral => Change::Scaled(*scale),
        (W::Float, T::Float | T::Double) | (W::Double, T::Double) => Change::None,
        (W::String | W::Enum(_), T::String) => Change::None,
        (W::String, T::Json) => Change::Json,
        (W::String, T::Uuid | T::Decimal { .. } | T::Date | T::Time(_) | T::Timestamp(_) | T::TimestampLtz(_)) => {
            Change::Text
        }
        (W::Bytes, T::Bytes | T::Uuid) => Change::None,
        _ => return None,
    })
}

fn known_change(known: Known, table: &DataType) -> Option<Change> {
    use DataType as T;
    Some(match (known, table) {
        (Known::Timestamp, T::TimestampLtz(_)) => Change::None,
        (Known::Date, T::Date) => Change::None,
        (Known::Date, T::Timestamp(unit)) => Change::Times(86_400 * unit.per_second()),
        (Known::TimeOfDay, T::Time(_)) => Change::None,
        (Known::Struct | Known::Value | Known::List, T::Json) => Change::None,
        _ => return None,
    })
}
