//! Which rows of a batch match.
//!
//! An error anywhere in a batch fails the kernel that met it, so a failing slice is halved until the rows that raise are alone:
//! those count as NULL. The outcome for a row is that of evaluating it alone, whatever lies around it.
use std::panic::AssertUnwindSafe;

use arrow_array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};

use crate::error::EvaluateError;
use crate::plan::Predicate;

/// Rows evaluated at once; the budget is looked at between slices.
pub const SLICE_ROWS: usize = 8 << 10;

/// The outcome for one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matches {
    /// A bit per row: set where the predicate is TRUE.
    pub rows: BooleanBuffer,
    /// Bits set.
    pub matched: usize,
    /// Rows whose evaluation raised an error, ascending; none of them matches.
    pub errored: Vec<usize>,
}

impl Matches {
    /// As a mask for the filter kernels.
    pub fn mask(&self) -> BooleanArray {
        BooleanArray::new(self.rows.clone(), None)
    }
}

impl Predicate {
    /// Evaluates over `batch`, which holds at least [`Predicate::columns`]. `proceed` is asked before each piece of work and
    /// ends the evaluation with its reason when the time or memory of the request is used up.
    pub fn evaluate(
        &self,
        batch: &RecordBatch,
        proceed: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<Matches, EvaluateError> {
        let input = self.input_of(batch)?;
        let mut rows = BooleanBufferBuilder::new(batch.num_rows());
        let mut errored = Vec::new();
        let mut at = 0;
        while at < input.num_rows() {
            let len = SLICE_ROWS.min(input.num_rows() - at);
            self.slice(&input.slice(at, len), &mut rows, &mut errored, proceed)?;
            at += len;
        }
        let rows = rows.finish();
        let matched = rows.count_set_bits();
        Ok(Matches { rows, matched, errored })
    }

    fn input_of(&self, batch: &RecordBatch) -> Result<RecordBatch, EvaluateError> {
        let mut columns = Vec::with_capacity(self.columns().fields().len());
        for field in self.columns().fields() {
            let column = batch.column_by_name(field.name());
            let column = column.filter(|c| c.data_type() == field.data_type());
            let Some(column) = column else {
                return Err(EvaluateError::MissingColumn { column: field.name().clone() });
            };
            columns.push(column.clone());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.columns().clone(), columns, &options)
            .map_err(|error| EvaluateError::Stopped { reason: error.to_string() })
    }

    fn slice(
        &self,
        slice: &RecordBatch,
        rows: &mut BooleanBufferBuilder,
        errored: &mut Vec<usize>,
        proceed: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<(), EvaluateError> {
        proceed().map_err(|reason| EvaluateError::Stopped { reason })?;
        match self.try_slice(slice) {
            Some(result) => {
                append(&result, rows);
                Ok(())
            }
            None if slice.num_rows() <= 1 => {
                errored.extend(rows.len()..rows.len() + slice.num_rows());
                rows.append_n(slice.num_rows(), false);
                Ok(())
            }
            // At most log2(8192) = 13 levels deep.
            None => {
                let half = slice.num_rows() / 2;
                self.slice(&slice.slice(0, half), rows, errored, proceed)?;
                self.slice(&slice.slice(half, slice.num_rows() - half), rows, errored, proceed)
            }
        }
    }

    /// `None` if any row raised an error.
    fn try_slice(&self, slice: &RecordBatch) -> Option<BooleanArray> {
        let evaluated = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.expr.evaluate(slice).and_then(|value| value.into_array(slice.num_rows()))
        }));
        let array = evaluated.ok()?.ok()?;
        match array.as_any().downcast_ref::<BooleanArray>() {
            Some(result) if result.len() == slice.num_rows() => Some(result.clone()),
            // The literal NULL has a type of its own, and matches nothing.
            _ => Some(BooleanArray::new_null(slice.num_rows())),
        }
    }
}

/// Only TRUE matches.
fn append(result: &BooleanArray, rows: &mut BooleanBufferBuilder) {
    match result.nulls() {
        None => rows.append_buffer(result.values()),
        Some(valid) => rows.append_buffer(&(result.values() & valid.inner())),
    }
}
