//! The schema of a view of Protobuf rows: its source's, without the fields that the view does not show. What is shown keeps its numbers.
use weir_registry::format::protobuf::{Shown, ShownField, part};
use weir_table::codec::Aliases;
use weir_table::table::{FormatKind, RowFormat};
use weir_table::{DataType, Field, TableSchema};

use crate::tables::DerivedSchema;

/// The schema of `columns`, a part of the columns of the source. `names`: further names of them. The error is for people.
pub fn derive(source: &RowFormat, columns: &TableSchema, names: &Aliases) -> Result<DerivedSchema, String> {
    let writer = source.schema.as_ref().ok_or("the source has no schema that is newest")?;
    let fields = columns.fields.iter().filter(|column| !columns.key_columns.contains(&column.id));
    let part = part(&writer.text, &source.message, &shown(fields, names))?;
    Ok(DerivedSchema { format: FormatKind::Protobuf, text: part.text, written: part.set, message: vec![0] })
}

fn shown<'a>(fields: impl Iterator<Item = &'a Field>, names: &Aliases) -> Shown {
    let field = |field: &Field| {
        let mut known = vec![field.name.clone()];
        known.extend(names.get(&field.id).into_iter().flatten().filter(|name| **name != field.name).cloned());
        ShownField { names: known, inner: shown_of(&field.data_type, names) }
    };
    Shown::Fields(fields.map(field).collect())
}

/// What is shown of a type that is a message, or a list of messages.
fn shown_of(data_type: &DataType, names: &Aliases) -> Shown {
    match data_type {
        DataType::Row(members) => shown(members.iter(), names),
        DataType::Array(item) => shown_of(&item.data_type, names),
        _ => Shown::All,
    }
}
