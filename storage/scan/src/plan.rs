//! What one kind of request reads and returns. A plan keeps no state of a request and is shared between them.
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use thiserror::Error;
use weir_predicate::{Clock, PlanError, Predicate};
use weir_table::{RowEncoder, Table, TableSchema};

use crate::columns::Columns;
use crate::projection::{Projection, ProjectionError};
use crate::records::{RecordParts, RecordPlan};
use crate::system::{HEADERS, KEY, TIMESTAMP, VALUE, system_schema, topic_schema};

/// The schema id of untyped topics.
pub const UNTYPED: i32 = 0;

/// Projection and predicate as a client sent them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScanRequest {
    /// Column paths; `None` is every user column, and of an untyped topic what its producers sent.
    pub projection: Option<Vec<String>>,
    pub predicate: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScanPlanError {
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error(transparent)]
    Predicate(#[from] PlanError),
    #[error("the table has no schema version {id}; it has {oldest} to {current}, and -1 asks for the current one")]
    NoSuchVersion { id: i32, oldest: i32, current: i32 },
    #[error(
        "Kafka records carry key, timestamp, headers and offset anyway: leave {column} out of the projection of ResultFormat 1"
    )]
    SystemColumnInRecords { column: String },
    #[error(
        "a view of a typed topic shows key, timestamp, headers and offset anyway: leave {column} out of its columns"
    )]
    SystemColumnInView { column: String },
    #[error(
        "rows of this topic's format cannot be written with part of their columns ({reason}): leave the projection of ResultFormat 1 null, or use ResultFormat 0"
    )]
    NotWritable { reason: String },
}

/// What a scan returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResultRows {
    /// Columns.
    Arrow,
    /// What [`crate::encode_records`] makes Kafka batches of.
    Kafka,
}

/// A projection and a predicate, bound to the columns of a topic.
#[derive(Debug)]
pub struct ScanPlan {
    /// What is read.
    columns: Columns,
    /// Where the projection's columns are in what is read.
    places: Vec<Option<usize>>,
    projection: Projection,
    predicate: Option<Predicate>,
    schema_id: i32,
    table: Option<Arc<Table>>,
    records: Option<RecordPlan>,
}

impl ScanPlan {
    /// Plans over an untyped topic: its columns are the system columns.
    pub fn untyped(request: &ScanRequest, clock: Clock) -> Result<ScanPlan, ScanPlanError> {
        let schema = system_schema();
        let projection = match &request.projection {
            Some(paths) => Projection::new(paths, &schema)?,
            None => Projection::whole(places_of(&[KEY, VALUE, HEADERS, TIMESTAMP], &schema), &schema),
        };
        ScanPlan::new(&schema, None, projection, request, clock)
    }

    /// Plans over a typed topic. `version`: of the schema whose names and types the request uses; `None` is the current one.
    pub fn typed(
        table: &Arc<Table>,
        version: Option<i32>,
        request: &ScanRequest,
        rows: ResultRows,
        clock: Clock,
    ) -> Result<ScanPlan, ScanPlanError> {
        let version = match version {
            None => table.current(),
            Some(id) => table.version(id).ok_or_else(|| {
                let oldest = table.versions().first().map_or(id, |schema| schema.version);
                ScanPlanError::NoSuchVersion { id, oldest, current: table.current().version }
            })?,
        };
        let schema = topic_schema(version);
        let projection = match &request.projection {
            Some(paths) => Projection::new(paths, &schema)?,
            None => Projection::whole(0..version.fields.len(), &schema),
        };
        let (projection, records) = match rows {
            ResultRows::Arrow => (projection, None),
            ResultRows::Kafka => {
                let whole = request.projection.is_none();
                let (projection, records) = RecordPlan::new(table, version, projection, whole, &schema)?;
                (projection, Some(records))
            }
        };
        let plan = ScanPlan::new(&schema, Some((table, version)), projection, request, clock)?;
        Ok(ScanPlan { schema_id: version.version, table: Some(table.clone()), records, ..plan })
    }

    /// Plans a view of an untyped topic: rows that match, and `parts` of each.
    pub fn view_of_records(parts: RecordParts, predicate: Option<Vec<u8>>) -> Result<ScanPlan, ScanPlanError> {
        let schema = system_schema();
        let (projection, records) = RecordPlan::kept(parts, &schema);
        let request = ScanRequest { projection: None, predicate };
        let plan = ScanPlan::new(&schema, None, projection, &request, Clock::Refused)?;
        Ok(ScanPlan { records: Some(records), ..plan })
    }

    /// Plans a view of a typed topic. Without a projection values keep their bytes; otherwise `encoder` gives what writes the
    /// projected columns as rows, or the reason why nothing can.
    pub fn view_of_table(
        table: &Arc<Table>,
        request: &ScanRequest,
        encoder: &dyn Fn(&Arc<TableSchema>) -> Result<RowEncoder, String>,
    ) -> Result<ScanPlan, ScanPlanError> {
        let version = table.current();
        let schema = topic_schema(version);
        let (projection, records) = match &request.projection {
            None => RecordPlan::kept(RecordParts::ALL, &schema),
            Some(paths) => {
                let projection = Projection::new(paths, &schema)?;
                if let Some(system) = projection.inputs().find(|at| *at >= version.fields.len()) {
                    let column = schema.field(system).name().clone();
                    return Err(ScanPlanError::SystemColumnInView { column });
                }
                let pruned = Arc::new(projection.table(version));
                let encoder = encoder(&pruned).map_err(|reason| ScanPlanError::NotWritable { reason })?;
                RecordPlan::rewritten(projection, encoder, &schema)
            }
        };
        let plan = ScanPlan::new(&schema, Some((table, version)), projection, request, Clock::Refused)?;
        Ok(ScanPlan { schema_id: version.version, table: Some(table.clone()), records: Some(records), ..plan })
    }

    fn new(
        schema: &SchemaRef,
        table: Option<(&Arc<Table>, &Arc<TableSchema>)>,
        projection: Projection,
        request: &ScanRequest,
        clock: Clock,
    ) -> Result<ScanPlan, ScanPlanError> {
        let predicate = match &request.predicate {
            None => None,
            Some(text) => Some(Predicate::plan(text, schema, clock)?),
        };
        let mut read: BTreeSet<usize> = projection.inputs().collect();
        let filtered = predicate.iter().flat_map(|p| p.columns().fields().iter());
        read.extend(filtered.filter_map(|field| schema.index_of(field.name()).ok()));
        let mut places = vec![None; schema.fields().len()];
        for (place, at) in read.iter().enumerate() {
            places[*at] = Some(place);
        }
        let columns = Columns::new(schema, table, &read);
        Ok(ScanPlan { columns, places, projection, predicate, schema_id: UNTYPED, table: None, records: None })
    }

    /// The columns that are read.
    pub fn input(&self) -> &SchemaRef {
        self.columns.schema()
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The columns that are returned, without an `_offset` that is added to sparse rows.
    pub fn output(&self) -> &SchemaRef {
        self.projection.schema()
    }

    pub fn predicate(&self) -> Option<&Predicate> {
        self.predicate.as_ref()
    }

    /// The version of the table's schema that columns are of; 0 of an untyped topic.
    pub fn schema_id(&self) -> i32 {
        self.schema_id
    }

    /// The table it was planned for.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    pub(crate) fn records(&self) -> Option<&RecordPlan> {
        self.records.as_ref()
    }

    /// Whether the plan may serve other requests, later ones too.
    pub fn is_reusable(&self) -> bool {
        self.predicate.as_ref().is_none_or(|p| !p.uses_clock())
    }

    /// Where each returned column is among those that are read; `None` if one is returned in part, or rows are made of them.
    pub(crate) fn output_places(&self) -> Option<Vec<usize>> {
        let whole = self.projection.whole_columns().filter(|_| self.records.is_none())?;
        whole.into_iter().map(|at| self.places[at]).collect()
    }

    /// The returned columns of a batch with the columns of [`ScanPlan::input`].
    pub(crate) fn project(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.projection.apply(|at| match self.places[at] {
            Some(place) => batch.column(place).clone(),
            // Every column of the projection is among those that are read.
            None => arrow_array::new_null_array(&arrow_schema::DataType::Null, batch.num_rows()),
        })
    }
}

/// The places of columns by name.
pub(crate) fn places_of(names: &[&str], schema: &Schema) -> Vec<usize> {
    names.iter().filter_map(|name| schema.index_of(name).ok()).collect()
}

/// A batch that may have no columns.
pub(crate) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}
