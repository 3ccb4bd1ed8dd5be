//! The columns that every topic has, for the schema of a topic in which there is no row yet.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::error::{ClientError, Result};

/// What a projection of null stands for on an untyped topic (protocol/COLUMNAR.md).
const SENT: [&str; 4] = ["_key", "_value", "_headers", "_timestamp"];

/// The schema of these columns: of a typed topic, which has `table`, or of an untyped one.
pub(crate) fn projected(topic: &str, columns: Option<&[String]>, table: Option<&Schema>) -> Result<SchemaRef> {
    let user: Vec<Field> = table.iter().flat_map(|table| table.fields()).map(|field| sent(field)).collect();
    let Some(columns) = columns else {
        let plain = || SENT.iter().filter_map(|name| field(name)).collect();
        return Ok(Arc::new(Schema::new(if table.is_some() { user } else { plain() })));
    };
    let unknown = |name: &str| ClientError::InvalidQuery {
        topic: topic.to_owned(),
        reason: format!("the topic has no row yet that would tell of a column {name}"),
    };
    let of_table = |name: &str| user.iter().find(|field| is_called(field, name)).cloned();
    let fields = columns.iter().map(|name| of_table(name).or_else(|| field(name)).ok_or_else(|| unknown(name)));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// In results every column of a table may be null.
fn sent(field: &Field) -> Field {
    field.clone().with_nullable(true)
}

/// Whether a path is just this name, as it is or quoted.
fn is_called(field: &Field, path: &str) -> bool {
    let quoted = path.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted
        .map_or_else(|| path == field.name() && !path.contains('.'), |name| name.replace("\"\"", "\"") == *field.name())
}

/// Parts of a record that are no columns of a table and can be written.
pub(crate) fn parts_of_records() -> impl Iterator<Item = Field> {
    ["_key", "_timestamp", "_headers"].iter().filter_map(|name| field(name))
}

fn field(name: &str) -> Option<Field> {
    let (data_type, nullable) = match name {
        "_partition" => (DataType::Int32, false),
        "_offset" => (DataType::Int64, false),
        "_timestamp" => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        "_key" | "_value" => (DataType::Binary, true),
        "_headers" => {
            let header = [Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)];
            let header = DataType::Struct(Fields::from(header.to_vec()));
            (DataType::List(Arc::new(Field::new("item", header, false))), false)
        }
        _ => return None,
    };
    Some(Field::new(name, data_type, nullable))
}

#[cfg(test)]
#[cfg(feature = "stock-kafka")]
mod tests {
    use super::*;

    /// The broker's and this one must be the same.
    #[test]
    fn the_columns_are_those_of_a_scan() {
        let scanned = weir_scan::system_schema();
        let names: Vec<String> = scanned.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(projected("t", Some(&names), None).unwrap(), scanned);
        assert_eq!(projected("t", None, None).unwrap().fields().len(), 4);
        let error = projected("t", Some(&["carrier".to_owned()]), None).unwrap_err();
        assert!(error.to_string().contains("carrier"), "{error}");
    }

    #[test]
    fn a_typed_topic_without_rows_has_the_columns_of_its_table() {
        let table =
            Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("a.b", DataType::Utf8, true)]);
        let all = projected("t", None, Some(&table)).unwrap();
        assert_eq!(all.fields().iter().map(|field| field.is_nullable()).collect::<Vec<_>>(), [true, true]);
        let some = ["\"a.b\"", "_offset", "id"].map(str::to_owned);
        let names = projected("t", Some(&some), Some(&table)).unwrap();
        assert_eq!(
            names.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
            ["a.b", "_offset", "id"]
        );
        let error = projected("t", Some(&["a.b".to_owned()]), Some(&table)).unwrap_err();
        assert!(error.to_string().contains("a.b"), "{error}");
    }
}
