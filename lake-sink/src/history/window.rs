//! The next rows of a partition, in the order of their offsets. Pure.
use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::interleave::interleave_record_batch;

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub offset: i64,
    /// Number of the row group among those that are read.
    pub group: usize,
    /// In the group.
    pub row: usize,
}

/// Rows that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// By offset.
    pub places: Vec<Place>,
    /// There are more behind them.
    pub more: bool,
}

/// The first `rows_max` of these rows.
///
/// # Errors
/// An offset that is there twice.
pub fn next_window(mut places: Vec<Place>, rows_max: usize) -> Result<Window, i64> {
    places.sort_unstable();
    if let Some(twice) = places.windows(2).find(|pair| pair[0].offset == pair[1].offset) {
        return Err(twice[0].offset);
    }
    let more = places.len() > rows_max;
    places.truncate(rows_max);
    Ok(Window { places, more })
}

impl Window {
    /// Rows of one group, ascending.
    #[must_use]
    pub fn rows_of(&self, group: usize) -> Vec<usize> {
        let mut rows: Vec<usize> = self.places.iter().filter(|at| at.group == group).map(|at| at.row).collect();
        rows.sort_unstable();
        rows
    }

    /// The rows by offset. `batches`: for each group those of [`Window::rows_of`].
    ///
    /// # Errors
    /// Arrow's, if the batches do not have the columns.
    pub fn put_together(
        &self,
        batches: &[RecordBatch],
        columns: &SchemaRef,
    ) -> Result<(RecordBatch, Vec<i64>), ArrowError> {
        let offsets = self.places.iter().map(|place| place.offset).collect();
        let rows: Vec<Vec<usize>> = (0..batches.len()).map(|group| self.rows_of(group)).collect();
        let at = |place: &Place| {
            let found = rows[place.group].binary_search(&place.row);
            found.map(|at| (place.group, at)).map_err(|_| ArrowError::ComputeError("a row was not read".to_owned()))
        };
        let places = self.places.iter().map(at).collect::<Result<Vec<_>, _>>()?;
        if let ([only], true) = (batches, places.is_sorted()) {
            return Ok((only.clone(), offsets));
        }
        let refs: Vec<&RecordBatch> = batches.iter().collect();
        let batch = interleave_record_batch(&refs, &places)?;
        Ok((RecordBatch::try_new(columns.clone(), batch.columns().to_vec())?, offsets))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn rows_of_several_groups_come_by_offset_and_end_where_there_is_no_room() {
        let place = |offset, group, row| Place { offset, group, row };
        let places = vec![place(7, 0, 9), place(5, 0, 2), place(6, 1, 0), place(9, 1, 3)];
        let window = next_window(places, 3).unwrap();
        assert!(window.more && window.places.last() == Some(&place(7, 0, 9)));
        assert_eq!((window.rows_of(0), window.rows_of(1)), (vec![2, 9], vec![0]));
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        let batch = |values: Vec<i64>| RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(values))]);
        let batches = [batch(vec![50, 70]).unwrap(), batch(vec![60]).unwrap()];
        let (rows, offsets) = window.put_together(&batches, &schema).unwrap();
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().values().to_vec(), [50, 60, 70]);
        assert_eq!(offsets, [5, 6, 7]);
    }

    #[test]
    fn an_offset_that_is_there_twice_is_an_error() {
        let place = |offset, group| Place { offset, group, row: 0 };
        assert_eq!(next_window(vec![place(3, 0), place(4, 0), place(3, 1)], 10), Err(3));
    }
}
