//! The columns of a typed topic, also of one that has no row yet: its setting `weir.table.schema` has them as DDL, whether they were set
//! there or come from the Schema Registry.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use kafka_protocol::error::ResponseError;
use weir_table::ddl;

use super::TopicQuery;
use crate::admin::{Admin, ConfigResource};
use crate::cluster::Client;
use crate::error::{ClientError, Result};

const SETTING: &str = "weir.table.schema";
/// Field ids are known to the broker only.
const FIELD_ID: &str = "PARQUET:field_id";

impl TopicQuery {
    /// The columns of the topic's table: names, types and whether nulls are refused. None: it is untyped, the broker is another one, or
    /// the user may not see the topic's settings.
    pub async fn table_schema(&self) -> Result<Option<SchemaRef>> {
        of_topic(&self.client, &self.topic).await
    }
}

pub(crate) async fn of_topic(client: &Client, topic: &str) -> Result<Option<SchemaRef>> {
    let entries = match Admin::new(client.clone()).describe_configs(&ConfigResource::topic(topic), false).await {
        Ok(entries) => entries,
        Err(error) if is_kept_from_us(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = entries.into_iter().find(|entry| entry.name == SETTING).and_then(|entry| entry.value);
    // A newer broker may know types that this client does not: then it does without.
    let columns = text.filter(|text| !text.is_empty()).and_then(|text| ddl::parse(&text).ok());
    let fields =
        columns.map(|columns| columns.iter().map(|column| without_ids(&column.to_arrow())).collect::<Vec<_>>());
    Ok(fields.map(|fields| Arc::new(Schema::new(fields))))
}

fn is_kept_from_us(error: &ClientError) -> bool {
    let refused = matches!(
        error.code(),
        Some(ResponseError::TopicAuthorizationFailed | ResponseError::ClusterAuthorizationFailed)
    );
    refused || matches!(error, ClientError::ApiNotServed { .. } | ClientError::NoCommonVersion { .. })
}

fn without_ids(field: &Field) -> Field {
    let inner = |fields: &Fields| fields.iter().map(|field| without_ids(field)).collect::<Fields>();
    let kind = match field.data_type() {
        DataType::List(item) => DataType::List(Arc::new(without_ids(item))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(without_ids(entries)), *sorted),
        DataType::Struct(members) => DataType::Struct(inner(members)),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    metadata.remove(FIELD_ID);
    Field::new(field.name(), kind, field.is_nullable()).with_metadata(metadata)
}
