//! What one kind of request reads and returns. A plan keeps no state of a request and is shared between them.
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use thiserror::Error;
use weir_predicate::{Clock, PlanError, Predicate};

use crate::projection::{Projection, ProjectionError};
use crate::system::{HEADERS, KEY, TIMESTAMP, VALUE, system_schema};

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
}

/// A projection and a predicate, bound to the columns of a topic.
#[derive(Debug)]
pub struct ScanPlan {
    /// Every column that is read, in the order of the topic's schema.
    input: SchemaRef,
    /// Where the projection's columns are in `input`.
    places: Vec<Option<usize>>,
    projection: Projection,
    predicate: Option<Predicate>,
}

impl ScanPlan {
    /// Plans over an untyped topic: its columns are the system columns.
    pub fn untyped(request: &ScanRequest, clock: Clock) -> Result<ScanPlan, ScanPlanError> {
        let sent = || [KEY, VALUE, HEADERS, TIMESTAMP].map(str::to_owned).to_vec();
        ScanPlan::new(&system_schema(), request, sent, clock)
    }

    fn new(
        columns: &SchemaRef,
        request: &ScanRequest,
        every: impl FnOnce() -> Vec<String>,
        clock: Clock,
    ) -> Result<ScanPlan, ScanPlanError> {
        let paths = request.projection.clone().unwrap_or_else(every);
        let projection = Projection::new(&paths, columns)?;
        let predicate = match &request.predicate {
            None => None,
            Some(text) => Some(Predicate::plan(text, columns, clock)?),
        };
        let mut read: BTreeSet<usize> = projection.inputs().collect();
        let filtered = predicate.iter().flat_map(|p| p.columns().fields().iter());
        read.extend(filtered.filter_map(|field| columns.index_of(field.name()).ok()));
        let fields: Vec<_> = read.iter().map(|at| columns.fields()[*at].clone()).collect();
        let mut places = vec![None; columns.fields().len()];
        for (place, at) in read.iter().enumerate() {
            places[*at] = Some(place);
        }
        Ok(ScanPlan { input: Arc::new(Schema::new(fields)), places, projection, predicate })
    }

    /// The columns that are read.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// The columns that are returned, without an `_offset` that is added to sparse rows.
    pub fn output(&self) -> &SchemaRef {
        self.projection.schema()
    }

    pub fn predicate(&self) -> Option<&Predicate> {
        self.predicate.as_ref()
    }

    /// Whether the plan may serve other requests, later ones too.
    pub fn is_reusable(&self) -> bool {
        self.predicate.as_ref().is_none_or(|p| !p.uses_clock())
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

/// A batch that may have no columns.
pub(crate) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}
