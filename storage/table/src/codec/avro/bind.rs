//! A writer's schema bound to a table: which column each part goes to, and how.

use std::collections::HashSet;

use super::schema::{Avro, AvroField, Logical, Wire};
use crate::codec::binary::Plain;
use crate::codec::json::OnUnknown;
use crate::codec::plan::{Kind, Members, PlanField};
use crate::schema::{DataType, TimeUnit};

/// Why rows of a writer's schema do not go into a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
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
    /// Two branches of a union with one name.
    #[error("column {column}: two branches of the writer's union have this name")]
    Ambiguous {
        /// Path of the column.
        column: String,
    },
    /// A column without a value.
    #[error("column {column} is NOT NULL without default, and the writer's schema does not have it")]
    Missing {
        /// Path of the column.
        column: String,
    },
}

/// One part of the writer's schema; `Skip` where the table has nothing for it.
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Wire, Change),
    /// A union of null and one type, or of one type only (`null` is out of range then).
    Optional {
        null: usize,
        value: usize,
        inner: Box<Node>,
    },
    /// A union of more types: member of the row for each branch, `None` for null.
    Union(Vec<Option<(usize, Node)>>),
    Array(Box<Node>),
    Map(Box<Node>),
    Record(Record),
    Skip(Avro),
}

#[derive(Debug)]
pub(super) struct Record {
    /// In the writer's order: member of the table's row, and how.
    pub(super) fields: Vec<(Option<usize>, Node)>,
    /// Of each field: how it is read if it is of a usual type.
    pub(super) quick: Vec<Option<Quick>>,
    /// Members of the table that the writer does not have.
    pub(super) absent: Vec<usize>,
}

/// A field that is read quickly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quick {
    /// The byte of a union in front of the value.
    pub(super) branch: Option<u8>,
    pub(super) plain: Plain,
    /// Place of the column.
    pub(super) slot: usize,
}

impl Quick {
    fn new(node: &Node, field: &PlanField) -> Option<Quick> {
        let (branch, leaf) = match node {
            // Numbers below 64 are one byte.
            Node::Optional { value, inner, .. } if *value < 64 => (Some(2 * *value as u8), &**inner),
            node => (None, node),
        };
        let Node::Leaf(wire, Change::None) = leaf else { return None };
        let plain = match (wire, &field.data_type) {
            (Wire::Long, DataType::BigInt) | (Wire::Int, DataType::Int) => Plain::Zigzag,
            (Wire::Double, DataType::Double) => Plain::Double,
            (Wire::Float, DataType::Float) => Plain::Float,
            (Wire::Boolean, DataType::Boolean) => Plain::Bool,
            (Wire::String, DataType::String) => Plain::ZigzagText,
            _ => return None,
        };
        Some(Quick { branch, plain, slot: field.slot })
    }
}

/// What happens to a simple value between writer and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing (integers: range is checked).
    None,
    /// Times this, going in.
    Times(i64),
    /// Divided by this going in, without a rest.
    Divided(i64),
    /// An unscaled decimal times 10^n; also integers into decimals.
    Scaled(u8),
    /// Text of a UUID.
    UuidText,
    /// Text that must be JSON.
    JsonText,
}

pub(super) fn record(
    path: &str,
    fields: &[AvroField],
    members: &Members,
    unknown: OnUnknown,
) -> Result<Record, BindError> {
    let mut bound = Vec::with_capacity(fields.len());
    let mut seen = vec![false; members.fields.len()];
    let found = members.bind(fields.iter().map(|field| field.name.as_str()));
    for (field, member) in fields.iter().zip(found) {
        let name = joined(path, &field.name);
        match member {
            Some(member) => {
                seen[member] = true;
                bound.push((Some(member), node(&name, &field.avro, &members.fields[member], unknown)?));
            }
            None if unknown == OnUnknown::Reject => return Err(BindError::Unknown { field: name }),
            None => bound.push((None, Node::Skip(field.avro.clone()))),
        }
    }
    let quick = |(member, node): &(Option<usize>, Node)| Quick::new(node, &members.fields[(*member)?]);
    let quick = bound.iter().map(quick).collect();
    let absent: Vec<_> = (0..seen.len()).filter(|index| !seen[*index]).collect();
    for member in &absent {
        let field = &members.fields[*member];
        if !field.nullable && field.default.is_none() {
            return Err(BindError::Missing { column: joined(path, &field.name) });
        }
    }
    Ok(Record { fields: bound, quick, absent })
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_string() } else { format!("{path}.{name}") }
}

fn node(path: &str, avro: &Avro, field: &PlanField, unknown: OnUnknown) -> Result<Node, BindError> {
    Ok(match (avro, &field.kind) {
        (Avro::Union(branches), _) => return union(path, branches, field, unknown),
        (Avro::Array(inner), Kind::Array(item)) => Node::Array(Box::new(node(path, inner, item, unknown)?)),
        (Avro::Map(inner), Kind::Map(value)) => Node::Map(Box::new(node(path, inner, value, unknown)?)),
        (Avro::Record(_, fields), Kind::Row(members)) => Node::Record(record(path, fields, members, unknown)?),
        (Avro::Leaf(wire, logical), Kind::Simple) => match change(wire, *logical, &field.data_type) {
            Some(change) => Node::Leaf(wire.clone(), change),
            None => return Err(mismatch(path, avro, field)),
        },
        _ => return Err(mismatch(path, avro, field)),
    })
}

fn mismatch(path: &str, avro: &Avro, field: &PlanField) -> BindError {
    let writer = match avro {
        Avro::Leaf(_, logical) if *logical != Logical::None => format!("{} ({logical:?})", avro.branch_name()),
        _ => avro.branch_name().to_string(),
    };
    BindError::Type { column: path.to_string(), writer, table: field.data_type.to_string() }
}

fn union(path: &str, branches: &[Avro], field: &PlanField, unknown: OnUnknown) -> Result<Node, BindError> {
    let null = branches.iter().position(|branch| matches!(branch, Avro::Null));
    let values: Vec<_> = (0..branches.len()).filter(|index| Some(*index) != null).collect();
    if let [value] = values.as_slice() {
        let inner = Box::new(node(path, &branches[*value], field, unknown)?);
        return Ok(Node::Optional { null: null.unwrap_or(usize::MAX), value: *value, inner });
    }
    let Kind::Row(members) = &field.kind else {
        let (writer, table) = ("union".to_string(), field.data_type.to_string());
        return Err(BindError::Type { column: path.to_string(), writer, table });
    };
    let mut taken = HashSet::new();
    let branch = |(index, branch): (usize, &Avro)| {
        if Some(index) == null {
            return Ok(None);
        }
        let name = branch.branch_name();
        let column = joined(path, name);
        let member = members.find(name, index).ok_or_else(|| BindError::Unknown { field: column.clone() })?;
        if !taken.insert(member) {
            return Err(BindError::Ambiguous { column });
        }
        Ok(Some((member, node(&column, branch, &members.fields[member], unknown)?)))
    };
    Ok(Node::Union(branches.iter().enumerate().map(branch).collect::<Result<_, _>>()?))
}

fn change(wire: &Wire, logical: Logical, table: &DataType) -> Option<Change> {
    use DataType as T;
    let units = |from: TimeUnit, to: TimeUnit| match (from, to) {
        (TimeUnit::Millis, TimeUnit::Micros) => Change::Times(1_000),
        (TimeUnit::Micros, TimeUnit::Millis) => Change::Divided(1_000),
        _ => Change::None,
    };
    Some(match (logical, wire, table) {
        (Logical::None, Wire::Boolean, T::Boolean) => Change::None,
        (Logical::None, Wire::Int | Wire::Long, T::TinyInt | T::SmallInt | T::Int | T::BigInt) => Change::None,
        (Logical::None, Wire::Int | Wire::Long, T::Decimal { scale, .. }) => Change::Scaled(*scale),
        (Logical::None, Wire::Float, T::Float | T::Double) | (Logical::None, Wire::Double, T::Double) => Change::None,
        (Logical::None, Wire::String | Wire::Enum(_), T::String) => Change::None,
        (Logical::None, Wire::String, T::Json) => Change::JsonText,
        (Logical::None, Wire::Bytes | Wire::Fixed(_), T::Bytes) => Change::None,
        (Logical::Decimal { scale: from, .. }, _, T::Decimal { scale, .. }) => Change::Scaled(scale.checked_sub(from)?),
        (Logical::Uuid, Wire::Fixed(16), T::Uuid | T::Bytes) => Change::None,
        (Logical::Uuid, Wire::String, T::Uuid) => Change::UuidText,
        (Logical::Uuid, Wire::String, T::String) => Change::None,
        (Logical::Date, _, T::Date) => Change::None,
        (Logical::Date, _, T::Timestamp(unit)) => Change::Times(86_400 * unit.per_second()),
        (Logical::Time(from), _, T::Time(to)) => units(from, *to),
        (Logical::Timestamp(from), _, T::TimestampLtz(to)) => units(from, *to),
        (Logical::Local(from), _, T::Timestamp(to)) => units(from, *to),
        _ => return None,
    })
}
