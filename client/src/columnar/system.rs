//! The columns that every topic has, for the schema of a topic in which there is no row yet.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::error::{ClientError, Result};

/// What a projection of null stands for on an untyped topic (protocol/COLUMNAR.md).
const SENT: [&str; 4] = ["_key", "_value", "_headers", "_timestamp"];

/// The schema of these columns of an untyped topic.
pub(crate) fn projected(topic: &str, columns: Option<&[String]>) -> Result<SchemaRef> {
    let sent = SENT.map(str::to_owned);
    let unknown = |name: &str| ClientError::InvalidQuery {
        topic: topic.to_owned(),
        reason: format!("the topic has no row yet that would tell of a column {name}"),
    };
    let fields = columns.unwrap_or(&sent).iter().map(|name| field(name).ok_or_else(|| unknown(name)));
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
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
        assert_eq!(projected("t", Some(&names)).unwrap(), scanned);
        assert_eq!(projected("t", None).unwrap().fields().len(), 4);
        let error = projected("t", Some(&["carrier".to_owned()])).unwrap_err();
        assert!(error.to_string().contains("carrier"), "{error}");
    }
}
