//! The schema of a view of Protobuf rows: its source's, without the fields that the view does not show. What is shown keeps its numbers.
use std::collections::BTreeMap;

use weir_registry::format::protobuf::{Shown, part};
use weir_table::codec::protobuf::ProtoFile;
use weir_table::table::{FormatKind, RowFormat};
use weir_table::{DataType, Field, TableSchema};

use crate::tables::DerivedSchema;

/// The schema of `columns`, a part of the columns of the source. The error is for people.
pub fn derive(source: &RowFormat, columns: &TableSchema) -> Result<DerivedSchema, String> {
    let writer = source.schema.as_ref().ok_or("the source has no schema that is newest")?;
    let fields = columns.fields.iter().filter(|column| !columns.key_columns.contains(&column.id));
    let part = part(&writer.text, &source.message, &shown(fields))?;
    let file = ProtoFile::parse(&part.set).map_err(|error| error.to_string())?;
    let message = file.find(&part.message).ok_or("the row's message is not in its schema")?;
    Ok(DerivedSchema { format: FormatKind::Protobuf, text: part.text, written: part.set, message })
}

fn shown<'a>(fields: impl Iterator<Item = &'a Field>) -> Shown {
    Shown::Fields(fields.map(|field| (field.name.clone(), shown_of(&field.data_type))).collect::<BTreeMap<_, _>>())
}

/// What is shown of a type that is a message, or a list of messages.
fn shown_of(data_type: &DataType) -> Shown {
    match data_type {
        DataType::Row(members) => shown(members.iter()),
        DataType::Array(item) => shown_of(&item.data_type),
        _ => Shown::All,
    }
}
