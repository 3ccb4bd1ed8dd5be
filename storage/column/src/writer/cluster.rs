//! Which rows of a window belong together.
//!
//! The values of the clustering columns that occur in a window are put in order and packed, neighbours together, into at most
//! [`GROUPS_MAX`] groups of about the same number of rows. A value with many rows has a group of its own, rare ones share
//! theirs with their neighbours, so that the ranges of groups' statistics are narrow in both cases, and a condition on the first
//! of several columns finds a run of groups.
use std::collections::HashMap;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{DataType, Schema};

use crate::WINDOW_BYTES_MAX;
use crate::codec::Codec;
use crate::error::{ColumnError, Result};

/// Groups of a window at most.
pub(super) const GROUPS_MAX: usize = 64;

/// Uncompressed bytes of a window: about 8 MiB as it is stored.
pub(super) fn window_bytes(codec: Codec) -> usize {
    match codec {
        Codec::None => WINDOW_BYTES_MAX / 2,
        Codec::Lz4 | Codec::Zstd(_) => WINDOW_BYTES_MAX,
    }
}

/// The columns that rows are grouped by.
pub(super) struct Clustering {
    columns: Vec<usize>,
    types: Vec<SortField>,
    rows_min: usize,
}

impl Clustering {
    /// `None`: by none. Columns are of the schema, with values that have an order.
    pub(super) fn new(schema: &Schema, names: &[String], rows_min: usize) -> Result<Option<Clustering>> {
        if names.is_empty() {
            return Ok(None);
        }
        let (mut columns, mut types) = (Vec::new(), Vec::new());
        for name in names {
            // A user's column comes before one of the log's with the same name.
            let found = schema.fields().iter().position(|field| field.name() == name);
            let at = found.ok_or_else(|| ColumnError::NoColumn { path: name.clone() })?;
            let data_type = schema.field(at).data_type();
            if data_type.is_nested() || *data_type == DataType::Null {
                return Err(ColumnError::Type { column: name.clone(), data_type: data_type.to_string() });
            }
            columns.push(at);
            types.push(SortField::new(data_type.clone()));
        }
        Ok(Some(Clustering { columns, types, rows_min: rows_min.max(1) }))
    }

    /// The rows of each group, ascending; `None`: they stay together.
    pub(super) fn groups(&self, columns: &[ArrayRef]) -> Result<Option<Vec<UInt32Array>>> {
        let values: Vec<ArrayRef> = self.columns.iter().map(|at| columns[*at].clone()).collect();
        let rows = RowConverter::new(self.types.clone())?.convert_columns(&values)?;
        if rows.num_rows() < 2 * self.rows_min {
            return Ok(None);
        }
        // Each value a number, in the order of their first rows; rows of a converter compare as their bytes do.
        let mut numbers: HashMap<&[u8], u32, ahash::RandomState> = HashMap::default();
        let mut counts: Vec<usize> = Vec::new();
        let mut of_row: Vec<u32> = Vec::with_capacity(rows.num_rows());
        for row in &rows {
            let number = *numbers.entry(row.data()).or_insert(counts.len() as u32);
            if number as usize == counts.len() {
                counts.push(0);
            }
            counts[number as usize] += 1;
            of_row.push(number);
        }
        let mut sorted: Vec<(&[u8], u32)> = numbers.into_iter().collect();
        sorted.sort_unstable();
        let sizes: Vec<usize> = sorted.iter().map(|(_, number)| counts[*number as usize]).collect();
        let packed = pack(&sizes, self.rows_min);
        let groups = packed.last().map_or(0, |last| last + 1);
        if groups < 2 {
            return Ok(None);
        }
        let mut group_of = vec![0; counts.len()];
        for ((_, number), group) in sorted.iter().zip(packed) {
            group_of[*number as usize] = group;
        }
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); groups];
        for (row, number) in of_row.into_iter().enumerate() {
            members[group_of[number as usize]].push(row as u32);
        }
        Ok(Some(members.into_iter().map(UInt32Array::from).collect()))
    }
}

/// The group of each of these, neighbours together: at most [`GROUPS_MAX`] groups, of about the same size where that can be.
fn pack(sizes: &[usize], rows_min: usize) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    let mut target = (total / GROUPS_MAX).max(rows_min);
    loop {
        let (mut group, mut held) = (0, 0);
        let mut packed = Vec::with_capacity(sizes.len());
        for size in sizes {
            if held > 0 && held + size > target {
                (group, held) = (group + 1, 0);
            }
            held += size;
            packed.push(group);
        }
        if group < GROUPS_MAX {
            return packed;
        }
        target += target.div_ceil(4);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, StringArray};
    use arrow_schema::Field;

    use super::*;

    fn sizes_of(packed: &[usize], sizes: &[usize]) -> Vec<usize> {
        let mut of = vec![0; packed.last().map_or(0, |last| last + 1)];
        packed.iter().zip(sizes).for_each(|(group, size)| of[*group] += size);
        of
    }

    #[test]
    fn frequent_values_are_alone_and_rare_ones_share_with_their_neighbours() {
        let sizes = [10_000, 3, 4, 5, 9_000, 100, 100, 8_000, 1];
        let packed = pack(&sizes, 256);
        assert_eq!(packed, [0, 1, 1, 1, 2, 3, 3, 4, 5]);
        let even = [1_000; 100];
        let groups = sizes_of(&pack(&even, 256), &even);
        assert!((48..=GROUPS_MAX).contains(&groups.len()), "{groups:?}");
        assert!(groups.iter().all(|rows| *rows <= 3_000), "{groups:?}");
        for many in [vec![1; 128 << 10], vec![300; 400], (0..5_000).collect::<Vec<_>>()] {
            let groups = sizes_of(&pack(&many, 256), &many);
            assert!(groups.len() <= GROUPS_MAX && groups.len() > GROUPS_MAX / 2, "{}", groups.len());
        }
    }

    #[test]
    fn groups_hold_each_row_once_in_order_and_all_rows_of_a_value_together() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Utf8, true),
            Field::new("b", DataType::Int32, true),
            Field::new("c", DataType::Int32, true),
        ]);
        let by = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Clustering::new(&schema, &names, 256)
        };
        let a: Vec<Option<String>> = (0..20_000).map(|row| (row % 7 > 0).then(|| format!("v{}", row % 7))).collect();
        let b: Vec<Option<i32>> = (0..20_000).map(|row| Some(row % 3)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(a.clone())),
            Arc::new(Int32Array::from(b.clone())),
            Arc::new(Int32Array::from_iter_values(0..20_000)),
        ];
        let groups = by(&["a", "b"]).unwrap().unwrap().groups(&columns).unwrap().unwrap();
        assert_eq!(groups.len(), 21);
        let mut seen = vec![false; 20_000];
        for group in &groups {
            assert!(group.values().is_sorted());
            let of = |row: &u32| (&a[*row as usize], b[*row as usize]);
            let first = of(&group.values()[0]);
            for row in group.values() {
                assert_eq!(of(row), first);
                assert!(!std::mem::replace(&mut seen[*row as usize], true), "row {row} twice");
            }
        }
        assert!(seen.iter().all(|seen| *seen));
        assert!(matches!(by(&["nope"]), Err(ColumnError::NoColumn { .. })));
        assert!(by(&[]).unwrap().is_none());
    }
}
