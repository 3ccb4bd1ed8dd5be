//! What one kind of request reads and returns. A plan keeps no state of a request and is shared between them.
use std::cell::Cell;
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
use crate::restriction::{Guard, Restriction, judges_alike};
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
    /// Hides rows before the predicate sees them.
    guard: Option<Guard>,
    /// The reader may not see everything.
    restricted: bool,
}

impl ScanPlan {
    /// Plans over an untyped topic: its columns are the system columns.
    pub fn untyped(request: &ScanRequest, clock: Clock) -> Result<ScanPlan, ScanPlanError> {
        ScanPlan::of_records(request, ResultRows::Arrow, clock, &Restriction::default())
    }

    /// Plans over a typed topic. `version`: of the schema whose names and types the request uses; `None` is the current one.
    pub fn typed(
        table: &Arc<Table>,
        version: Option<i32>,
        request: &ScanRequest,
        rows: ResultRows,
        clock: Clock,
    ) -> Result<ScanPlan, ScanPlanError> {
        ScanPlan::of_table(table, version, request, rows, clock, &Restriction::default())
    }

    /// Plans over any topic for a reader that may not see everything. What it may not see is not there: neither projection nor
    /// predicate find it.
    pub fn restricted(
        table: Option<&Arc<Table>>,
        version: Option<i32>,
        request: &ScanRequest,
        rows: ResultRows,
        clock: Clock,
        restriction: &Restriction,
    ) -> Result<ScanPlan, ScanPlanError> {
        let plan = match table {
            None => ScanPlan::of_records(request, rows, clock, restriction)?,
            Some(table) => ScanPlan::of_table(table, version, request, rows, clock, restriction)?,
        };
        Ok(ScanPlan { restricted: true, ..plan })
    }

    fn of_records(
        request: &ScanRequest,
        rows: ResultRows,
        clock: Clock,
        restriction: &Restriction,
    ) -> Result<ScanPlan, ScanPlanError> {
        let schema = system_schema();
        let seen = Seen::new(&schema, None, restriction);
        let projection = match &request.projection {
            Some(paths) => Projection::new(paths, &seen.schema)?.moved(&seen.places),
            None => {
                let shown = places_of(&[KEY, VALUE, HEADERS, TIMESTAMP], &schema);
                Projection::whole(shown.into_iter().filter(|at| seen.places.contains(at)), &schema)
            }
        };
        let (projection, records) = match rows {
            ResultRows::Arrow => (projection, None),
            ResultRows::Kafka => {
                let names: Vec<String> =
                    projection.schema().fields().iter().map(|field| field.name().clone()).collect();
                let column = |column| ScanPlanError::SystemColumnInRecords { column };
                let (projection, records) = RecordPlan::kept(RecordParts::named(&names).map_err(column)?, &schema);
                (projection, Some(records))
            }
        };
        let plan = ScanPlan::new(&schema, None, projection, request, clock, Some(&seen))?;
        Ok(ScanPlan { records, ..plan })
    }

    fn of_table(
        table: &Arc<Table>,
        version: Option<i32>,
        request: &ScanRequest,
        rows: ResultRows,
        clock: Clock,
        restriction: &Restriction,
    ) -> Result<ScanPlan, ScanPlanError> {
        let (oldest, current) = (table.versions().first().unwrap_or(table.current()), table.current());
        let version = match version {
            None => current,
            Some(id) => {
                let none = ScanPlanError::NoSuchVersion { id, oldest: oldest.version, current: current.version };
                table.version(id).ok_or(none)?
            }
        };
        if restriction.rows.as_ref().is_some_and(|rule| !judges_alike(rule, version, current)) {
            let (id, current) = (version.version, current.version);
            return Err(ScanPlanError::NoSuchVersion { id, oldest: current, current });
        }
        let schema = topic_schema(version);
        let seen = Seen::new(&schema, Some(version), restriction);
        let projection = match &request.projection {
            Some(paths) => Projection::new(paths, &seen.schema)?.moved(&seen.places),
            None => {
                let user = seen.places.iter().copied().filter(|at| *at < version.fields.len());
                Projection::whole(user, &schema)
            }
        };
        let (projection, records) = match rows {
            ResultRows::Arrow => (projection, None),
            ResultRows::Kafka => {
                let parts = restriction.parts();
                let whole = request.projection.is_none() && (restriction.columns.is_none() || parts.value);
                let (projection, records) = RecordPlan::new(table, version, projection, whole, parts, &schema)?;
                (projection, Some(records))
            }
        };
        let plan = ScanPlan::new(&schema, Some((table, version)), projection, request, clock, Some(&seen))?;
        Ok(ScanPlan { schema_id: version.version, table: Some(table.clone()), records, ..plan })
    }

    /// Plans a view of an untyped topic: rows that match, and `parts` of each.
    pub fn view_of_records(parts: RecordParts, predicate: Option<Vec<u8>>) -> Result<ScanPlan, ScanPlanError> {
        let schema = system_schema();
        let (projection, records) = RecordPlan::kept(parts, &schema);
        let request = ScanRequest { projection: None, predicate };
        let plan = ScanPlan::new(&schema, None, projection, &request, Clock::Refused, None)?;
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
        let plan = ScanPlan::new(&schema, Some((table, version)), projection, request, Clock::Refused, None)?;
        Ok(ScanPlan { schema_id: version.version, table: Some(table.clone()), records: Some(records), ..plan })
    }

    fn new(
        schema: &SchemaRef,
        table: Option<(&Arc<Table>, &Arc<TableSchema>)>,
        projection: Projection,
        request: &ScanRequest,
        clock: Clock,
        seen: Option<&Seen>,
    ) -> Result<ScanPlan, ScanPlanError> {
        let named = seen.map_or(schema, |seen| &seen.schema);
        let predicate = match &request.predicate {
            None => None,
            Some(text) => Some(Predicate::plan(text, named, clock)?),
        };
        let guard = seen.and_then(|seen| seen.guard.take());
        let mut read: BTreeSet<usize> = projection.inputs().collect();
        let filtered = predicate.iter().flat_map(|p| p.columns().fields().iter().map(|field| field.name()));
        let filtered = filtered.chain(guard.iter().flat_map(|guard| guard.columns()));
        read.extend(filtered.filter_map(|name| schema.index_of(name).ok()));
        let mut places = vec![None; schema.fields().len()];
        for (place, at) in read.iter().enumerate() {
            places[*at] = Some(place);
        }
        let columns = Columns::new(schema, table, &read);
        Ok(ScanPlan {
            columns,
            places,
            projection,
            predicate,
            schema_id: UNTYPED,
            table: None,
            records: None,
            guard,
            restricted: false,
        })
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

    pub(crate) fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Whether its reader may not see everything.
    pub fn is_restricted(&self) -> bool {
        self.restricted
    }

    /// Why its reader may not see any row, if that is so: for whoever runs the broker.
    pub fn hides_all(&self) -> Option<&str> {
        self.guard.as_ref().and_then(Guard::hides_all)
    }

    /// Where, among the columns that are read, those are that decide about rows.
    pub(crate) fn deciding(&self) -> Vec<usize> {
        let schema = self.columns.schema();
        let predicate = self.predicate.iter().flat_map(|p| p.columns().fields().iter().map(|field| field.name()));
        let names = predicate.chain(self.guard.iter().flat_map(|guard| guard.columns()));
        let places: BTreeSet<usize> = names.filter_map(|name| schema.index_of(name).ok()).collect();
        places.into_iter().collect()
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

/// What a reader may name.
struct Seen {
    schema: SchemaRef,
    /// Where its columns are in the topic's schema.
    places: Vec<usize>,
    /// Taken by the plan.
    guard: Cell<Option<Guard>>,
}

impl Seen {
    fn new(schema: &SchemaRef, table: Option<&TableSchema>, restriction: &Restriction) -> Seen {
        let places = restriction.visible(schema, table);
        let fields: Vec<_> = places.iter().map(|at| schema.fields()[*at].clone()).collect();
        let guard = Cell::new(restriction.guard(schema, table));
        Seen { schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())), places, guard }
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
