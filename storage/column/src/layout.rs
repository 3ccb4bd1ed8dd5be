//! The nodes and buffers that Arrow IPC stores for a schema: pre-order, parents before children.

use arrow_schema::{DataType, Field, Fields};

use crate::error::{ColumnError, Result};

/// Nesting at most; deeper schemas are refused.
const DEPTH_MAX: usize = 32;
/// Nodes of a schema at most.
pub(crate) const NODES_MAX: usize = 16 << 10;
/// Bytes of a fixed-size value at most.
const WIDTH_MAX: i32 = 1 << 20;

/// What buffers a node has, after its validity bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One buffer of values of this many bytes.
    Fixed(usize),
    /// One buffer of bits.
    Bits,
    /// Offsets and bytes.
    Bytes,
    /// Offsets; one child. Maps too.
    List,
    /// No buffer; children.
    Struct,
}

impl Kind {
    /// Buffers with the validity bitmap.
    pub(crate) fn buffers(self) -> usize {
        match self {
            Kind::Struct => 1,
            Kind::Fixed(_) | Kind::Bits | Kind::List => 2,
            Kind::Bytes => 3,
        }
    }

    /// How a value of this type is stored. `None`: it is not.
    pub(crate) fn of(data_type: &DataType) -> Option<Kind> {
        use DataType::*;
        Some(match data_type {
            Boolean => Kind::Bits,
            Int8 | UInt8 => Kind::Fixed(1),
            Int16 | UInt16 => Kind::Fixed(2),
            Int32 | UInt32 | Float32 | Date32 | Time32(_) => Kind::Fixed(4),
            Int64 | UInt64 | Float64 | Date64 | Time64(_) | Timestamp(_, _) => Kind::Fixed(8),
            Decimal128(_, _) => Kind::Fixed(16),
            FixedSizeBinary(width) if (1..=WIDTH_MAX).contains(width) => Kind::Fixed(*width as usize),
            Utf8 | Binary => Kind::Bytes,
            List(_) | Map(_, _) => Kind::List,
            Struct(_) => Kind::Struct,
            Dictionary(keys, values) if **keys == Int16 && **values == Utf8 => Kind::Fixed(2),
            _ => return None,
        })
    }
}

/// Children of a nested type.
pub(crate) fn children(data_type: &DataType) -> Fields {
    match data_type {
        DataType::Struct(fields) => fields.clone(),
        DataType::List(child) | DataType::Map(child, _) => Fields::from(vec![child.clone()]),
        _ => Fields::empty(),
    }
}

/// One node of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Names from the column down, dots between.
    pub(crate) path: String,
    pub(crate) data_type: DataType,
    pub(crate) kind: Kind,
    /// The first node after this one's descendants.
    pub(crate) end: usize,
    /// Index of the validity bitmap among all buffers.
    pub(crate) first_buffer: usize,
}

/// All nodes of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) nodes: Vec<Node>,
    pub(crate) buffers: usize,
    /// Index of each column's node.
    pub(crate) roots: Vec<usize>,
}

impl Layout {
    pub(crate) fn of(fields: &Fields) -> Result<Layout> {
        let mut layout = Layout { nodes: Vec::new(), buffers: 0, roots: Vec::new() };
        for field in fields {
            layout.roots.push(layout.nodes.len());
            layout.add(field, field.name().clone(), 0)?;
        }
        Ok(layout)
    }

    fn add(&mut self, field: &Field, path: String, depth: usize) -> Result<()> {
        let kind = Kind::of(field.data_type());
        let sound = match field.data_type() {
            DataType::Map(entries, _) => matches!(entries.data_type(), DataType::Struct(two) if two.len() == 2),
            DataType::Dictionary(_, _) => depth == 0,
            _ => true,
        };
        let (Some(kind), true) = (kind, sound && depth < DEPTH_MAX && self.nodes.len() < NODES_MAX) else {
            return Err(ColumnError::Type { column: path, data_type: field.data_type().to_string() });
        };
        let index = self.nodes.len();
        let data_type = field.data_type().clone();
        self.nodes.push(Node { path: path.clone(), data_type, kind, end: 0, first_buffer: self.buffers });
        self.buffers += kind.buffers();
        for child in &children(field.data_type()) {
            self.add(child, format!("{path}.{}", child.name()), depth + 1)?;
        }
        self.nodes[index].end = self.nodes.len();
        Ok(())
    }

    /// Index of the leaf or inner node with that path.
    pub(crate) fn find(&self, path: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.path == path)
    }

    /// The columns that are dictionary-encoded, in order: the n-th has dictionary id n.
    pub(crate) fn dictionary_columns(&self) -> Vec<usize> {
        let is_dictionary = |root: &usize| matches!(self.nodes[*root].data_type, DataType::Dictionary(_, _));
        (0..self.roots.len()).filter(|column| is_dictionary(&self.roots[*column])).collect()
    }
}

/// A dictionary-encoded column's type in files.
pub(crate) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::Utf8))
}
