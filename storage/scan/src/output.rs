//! Rows that match, cut to what fits, and put together into batches.
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat;

use crate::plan::batch_of;

/// Rows of a returned batch.
const BATCH_ROWS: usize = 16 << 10;
/// Rows between gaps from which on a batch ends at a gap instead of carrying its offsets.
const DENSE_RUN_ROWS: usize = 1024;
/// The column that sparse rows carry.
pub const OFFSET_COLUMN: &str = crate::system::OFFSET;

/// One batch of a result.
#[derive(Debug, Clone)]
pub struct ScannedBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    /// Row `i` has offset `first_offset + i`; otherwise the last column is `_offset`.
    pub dense: bool,
    pub batch: RecordBatch,
}

struct Piece {
    columns: Vec<ArrayRef>,
    offsets: Vec<i64>,
}

impl Piece {
    fn slice(&self, from: usize, len: usize) -> Piece {
        Piece {
            columns: self.columns.iter().map(|c| c.slice(from, len)).collect(),
            offsets: self.offsets[from..from + len].to_vec(),
        }
    }
}

/// Collects rows up to a number of bytes.
pub struct Output {
    schema: SchemaRef,
    pieces: Vec<Piece>,
    rows: usize,
    bytes: usize,
    max_bytes: usize,
    at_least_one: bool,
}

impl Output {
    pub fn new(schema: &SchemaRef, max_bytes: usize, at_least_one: bool) -> Output {
        Output { schema: schema.clone(), pieces: Vec::new(), rows: 0, bytes: 0, max_bytes, at_least_one }
    }

    /// Another limit of all that it takes.
    pub fn limit(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the column buffers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether these fit. What is too large to be returned ever is returned alone.
    pub fn has_room<'a>(&self, parts: impl Iterator<Item = &'a Vec<ArrayRef>>) -> bool {
        let size: usize = parts.flatten().map(bytes_of).sum();
        size <= self.max_bytes.saturating_sub(self.bytes) || (self.rows == 0 && self.at_least_one)
    }

    /// Takes all of the rows.
    pub fn push_whole(&mut self, columns: Vec<ArrayRef>, offsets: Vec<i64>) {
        if offsets.is_empty() {
            return;
        }
        self.rows += offsets.len();
        self.bytes += columns.iter().map(bytes_of).sum::<usize>().max(offsets.len() / 8 + 1);
        self.pieces.push(Piece { columns, offsets });
    }

    /// Takes as many of the rows as fit, from the first on; returns how many it took.
    pub fn push(&mut self, columns: Vec<ArrayRef>, offsets: Vec<i64>) -> usize {
        let rows = offsets.len();
        if rows == 0 {
            return 0;
        }
        let size: usize = columns.iter().map(bytes_of).sum();
        // Rows without columns cost what their batch entry costs.
        let size = size.max(rows / 8 + 1);
        let left = self.max_bytes.saturating_sub(self.bytes);
        let mut taken = if size <= left { rows } else { (rows as u128 * left as u128 / size as u128) as usize };
        if taken == 0 && self.rows == 0 && self.at_least_one {
            taken = 1;
        }
        if taken == 0 {
            return 0;
        }
        let piece = Piece { columns, offsets };
        self.pieces.push(if taken < rows { piece.slice(0, taken) } else { piece });
        self.rows += taken;
        self.bytes += size * taken / rows;
        taken
    }

    /// The rows as they came, and the schema they have. A batch has them in offset order.
    pub fn finish(self) -> Result<(SchemaRef, Vec<ScannedBatch>), ArrowError> {
        let offsets: Vec<i64> = self.pieces.iter().flat_map(|p| p.offsets.iter().copied()).collect();
        let runs = 1 + offsets.windows(2).filter(|w| w[1] != w[0] + 1).count();
        let dense = runs == 1 || runs * DENSE_RUN_ROWS <= offsets.len();
        let schema = if dense { self.schema.clone() } else { with_offset(&self.schema) };
        if offsets.is_empty() {
            return Ok((schema, Vec::new()));
        }
        let columns = (0..self.schema.fields().len()).map(|c| self.column(c)).collect::<Result<Vec<_>, _>>()?;
        let mut batches = Vec::new();
        let mut from = 0;
        while from < offsets.len() {
            let len = batch_len(&offsets[from..], dense);
            let mut columns: Vec<ArrayRef> = columns.iter().map(|c| c.slice(from, len)).collect();
            let offsets = &offsets[from..from + len];
            if columns.len() < schema.fields().len() {
                columns.push(Arc::new(Int64Array::from(offsets.to_vec())));
            }
            let batch = batch_of(&schema, columns, len)?;
            let (first_offset, last_offset) = (offsets[0], offsets[len - 1]);
            batches.push(ScannedBatch { first_offset, last_offset, dense, batch });
            from += len;
        }
        Ok((schema, batches))
    }

    fn column(&self, at: usize) -> Result<ArrayRef, ArrowError> {
        let parts: Vec<&dyn Array> = self.pieces.iter().map(|p| p.columns[at].as_ref()).collect();
        match parts.as_slice() {
            [_] => Ok(self.pieces[0].columns[at].clone()),
            many => concat(many),
        }
    }
}

fn bytes_of(column: &ArrayRef) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or(0)
}

/// How many of the rows make the next batch.
fn batch_len(offsets: &[i64], dense: bool) -> usize {
    let len = offsets.len().min(BATCH_ROWS);
    if !dense {
        // Rows of another group of a window begin where offsets go down.
        return offsets[..len].windows(2).position(|w| w[1] <= w[0]).map_or(len, |at| at + 1);
    }
    let gap = offsets[..len].windows(2).position(|w| w[1] != w[0] + 1);
    gap.map_or(len, |at| at + 1)
}

fn with_offset(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().last().is_some_and(|f| f.name() == OFFSET_COLUMN) {
        return schema.clone();
    }
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(OFFSET_COLUMN, DataType::Int64, false)));
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Int32Array;

    fn output(max_bytes: usize, at_least_one: bool) -> Output {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true)]));
        Output::new(&schema, max_bytes, at_least_one)
    }

    fn push(output: &mut Output, offsets: Vec<i64>) -> usize {
        let values: Vec<i32> = offsets.iter().map(|o| *o as i32).collect();
        output.push(vec![Arc::new(Int32Array::from(values))], offsets)
    }

    fn ranges(output: Output) -> Vec<(i64, i64, bool, usize)> {
        let (_, batches) = output.finish().unwrap();
        batches.iter().map(|b| (b.first_offset, b.last_offset, b.dense, b.batch.num_columns())).collect()
    }

    #[test]
    fn contiguous_rows_are_dense_and_need_no_offsets() {
        let mut output = output(1 << 20, true);
        assert_eq!(push(&mut output, (5..10).collect()), 5);
        assert_eq!(push(&mut output, (10..12).collect()), 2);
        assert_eq!(ranges(output), [(5, 11, true, 1)]);
    }

    #[test]
    fn sparse_rows_carry_their_offsets_in_the_last_column() {
        let mut output = output(1 << 20, true);
        push(&mut output, vec![3, 7, 8]);
        let (schema, batches) = output.finish().unwrap();
        assert_eq!(schema.field(1).name(), "_offset");
        assert!(!batches[0].dense);
        let offsets = batches[0].batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!(offsets.values().to_vec(), [3, 7, 8]);
    }

    #[test]
    fn a_rare_gap_ends_a_dense_batch() {
        let mut output = output(1 << 20, true);
        push(&mut output, (0..3000).collect());
        push(&mut output, (3001..6000).collect());
        assert_eq!(ranges(output), [(0, 2999, true, 1), (3001, 5999, true, 1)]);
    }

    /// Seen failing when errors were swallowed: the rows were missing, and nobody was told.
    #[test]
    fn columns_that_cannot_be_put_together_are_an_error_and_not_missing_rows() {
        let mut output = output(1 << 20, true);
        push(&mut output, vec![0, 1]);
        output.push(vec![Arc::new(Int64Array::from(vec![2]))], vec![2]);
        assert!(output.finish().is_err());
    }

    #[test]
    fn what_does_not_fit_is_left_except_for_the_first_row() {
        let mut full = output(40, true);
        assert_eq!(push(&mut full, (0..20).collect()), 10);
        assert_eq!(push(&mut full, (10..20).collect()), 0);
        assert_eq!(ranges(full), [(0, 9, true, 1)]);
        assert_eq!(push(&mut output(0, true), (0..5).collect()), 1);
        assert_eq!(push(&mut output(0, false), (0..5).collect()), 0);
    }
}
