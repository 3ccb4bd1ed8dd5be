//! Which columns, and which parts of nested columns, are read.

use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};

use crate::error::{ColumnError, Result};
use crate::layout::{Layout, children};

/// Columns in the order they are wanted; parts of structs keep the order of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    columns: Vec<(usize, Pick)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pick {
    All,
    /// Children by position, ascending.
    Some(Vec<(usize, Pick)>),
}

impl Projection {
    /// Every column.
    pub fn all(schema: &Schema) -> Projection {
        Projection { columns: (0..schema.fields().len()).map(|column| (column, Pick::All)).collect() }
    }

    /// Whole columns by position.
    pub fn columns(positions: &[usize]) -> Projection {
        Projection { columns: positions.iter().map(|column| (*column, Pick::All)).collect() }
    }

    /// Columns by path: the name, then names of nested fields (`["address", "city"]`; a list's element has its field's name,
    /// usually `item`; a map is taken whole). Several parts of one column give one pruned struct.
    pub fn paths<P: AsRef<[S]>, S: AsRef<str>>(schema: &Schema, paths: &[P]) -> Result<Projection> {
        let mut columns: Vec<(usize, Pick)> = Vec::new();
        for path in paths {
            let names: Vec<&str> = path.as_ref().iter().map(AsRef::as_ref).collect();
            let missing = || ColumnError::NoColumn { path: names.join(".") };
            let (first, rest) = names.split_first().ok_or_else(missing)?;
            let column = schema.index_of(first).map_err(|_| missing())?;
            let pick = descend(schema.field(column), rest).ok_or_else(missing)?;
            match columns.iter_mut().find(|(known, _)| *known == column) {
                Some((_, known)) => merge(known, pick),
                None => columns.push((column, pick)),
            }
        }
        Ok(Projection { columns })
    }

    /// Positions of the columns that are read, whole or in parts.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|(column, _)| *column)
    }

    /// The schema of what is read.
    pub fn schema(&self, from: &Schema) -> Result<Schema> {
        let fields = self.columns.iter().map(|(column, pick)| {
            let field = from.fields().get(*column);
            let field = field.ok_or_else(|| ColumnError::NoColumn { path: format!("number {column}") })?;
            Ok(prune(field, pick))
        });
        let fields = fields.collect::<Result<Vec<FieldRef>>>()?;
        Ok(Schema::new_with_metadata(fields, from.metadata().clone()))
    }

    /// Nodes of the layout, in the order of the result's layout. Positions were checked by [`Projection::schema`].
    pub(crate) fn nodes(&self, layout: &Layout) -> Vec<usize> {
        let mut nodes = Vec::new();
        for (column, pick) in &self.columns {
            collect(layout, layout.roots[*column], pick, &mut nodes);
        }
        nodes
    }
}

fn descend(field: &Field, names: &[&str]) -> Option<Pick> {
    let Some((first, rest)) = names.split_first() else { return Some(Pick::All) };
    if matches!(field.data_type(), DataType::Map(_, _)) {
        return None;
    }
    let fields = children(field.data_type());
    let child = fields.iter().position(|child| child.name() == first)?;
    Some(Pick::Some(vec![(child, descend(&fields[child], rest)?)]))
}

fn merge(known: &mut Pick, more: Pick) {
    match (&mut *known, more) {
        (Pick::All, _) => {}
        (_, Pick::All) => *known = Pick::All,
        (Pick::Some(have), Pick::Some(want)) => {
            for (child, pick) in want {
                match have.binary_search_by_key(&child, |(child, _)| *child) {
                    Ok(at) => merge(&mut have[at].1, pick),
                    Err(at) => have.insert(at, (child, pick)),
                }
            }
        }
    }
}

fn prune(field: &FieldRef, pick: &Pick) -> FieldRef {
    let Pick::Some(picks) = pick else { return field.clone() };
    let fields = children(field.data_type());
    let kept: Vec<FieldRef> = picks.iter().map(|(child, pick)| prune(&fields[*child], pick)).collect();
    let data_type = match (field.data_type(), kept.first()) {
        (DataType::List(_), Some(item)) => DataType::List(item.clone()),
        _ => DataType::Struct(Fields::from(kept)),
    };
    field.as_ref().clone().with_data_type(data_type).into()
}

fn collect(layout: &Layout, node: usize, pick: &Pick, nodes: &mut Vec<usize>) {
    let end = layout.nodes[node].end;
    let Pick::Some(picks) = pick else { return nodes.extend(node..end) };
    nodes.push(node);
    let (mut child, mut position) = (node + 1, 0);
    while child < end {
        if let Some((_, pick)) = picks.iter().find(|(wanted, _)| *wanted == position) {
            collect(layout, child, pick, nodes);
        }
        child = layout.nodes[child].end;
        position += 1;
    }
}
