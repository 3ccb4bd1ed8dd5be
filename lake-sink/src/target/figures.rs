//! What a Parquet file's footer says of its columns.
use std::collections::BTreeMap;

use parquet::basic::ConvertedType;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

/// Figures of a file's columns by field id; those of nested columns by the ids of their innermost ones.
#[derive(Debug, Default)]
pub struct ColumnFigures {
    /// Bytes in the file.
    pub sizes: BTreeMap<i32, i64>,
    /// Values, nulls included.
    pub values: BTreeMap<i32, i64>,
    pub nulls: BTreeMap<i32, i64>,
    /// Where they are known, of the whole file.
    pub bounds: BTreeMap<i32, Bounds>,
}

impl ColumnFigures {
    pub fn of(metadata: &ParquetMetaData) -> ColumnFigures {
        let mut figures = ColumnFigures::default();
        let mut bounds: BTreeMap<i32, Option<Bounds>> = BTreeMap::new();
        for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
            let leaf = column.column_descr();
            let info = leaf.self_type().get_basic_info();
            if !info.has_id() {
                continue;
            }
            let id = info.id();
            *figures.sizes.entry(id).or_default() += column.compressed_size();
            *figures.values.entry(id).or_default() += column.num_values();
            let statistics = column.statistics();
            if let Some(nulls) = statistics.and_then(Statistics::null_count_opt) {
                *figures.nulls.entry(id).or_default() += nulls as i64;
            }
            // Bounds of what repeats are of no use, and a row group without them makes those of the others wrong.
            // Decimals are stored in another form than the bounds of lake formats have.
            let plain = leaf.max_rep_level() == 0 && leaf.converted_type() != ConvertedType::DECIMAL;
            let here = statistics.filter(|_| plain).and_then(Bounds::of);
            let all_null = statistics.and_then(Statistics::null_count_opt) == Some(column.num_values() as u64);
            match (bounds.remove(&id), here) {
                (None, here) => drop(bounds.insert(id, here)),
                (Some(Some(before)), Some(here)) => drop(bounds.insert(id, before.with(here))),
                (Some(before), None) if all_null => drop(bounds.insert(id, before)),
                (Some(_), _) => drop(bounds.insert(id, None)),
            }
        }
        figures.bounds = bounds.into_iter().filter_map(|(id, bounds)| Some((id, bounds?))).collect();
        figures
    }
}

/// Least and greatest value of a column; of long texts something that is less and greater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    Int(i32, i32),
    Long(i64, i64),
    Bytes(Vec<u8>, Vec<u8>),
}

impl Bounds {
    fn of(statistics: &Statistics) -> Option<Bounds> {
        match statistics {
            Statistics::Int32(s) => Some(Bounds::Int(*s.min_opt()?, *s.max_opt()?)),
            Statistics::Int64(s) => Some(Bounds::Long(*s.min_opt()?, *s.max_opt()?)),
            Statistics::ByteArray(s) => Some(Bounds::Bytes(s.min_opt()?.data().to_vec(), s.max_opt()?.data().to_vec())),
            // NaN has no place in an order, and the rest is not worth it.
            _ => None,
        }
    }

    fn with(self, other: Bounds) -> Option<Bounds> {
        match (self, other) {
            (Bounds::Int(a, b), Bounds::Int(c, d)) => Some(Bounds::Int(a.min(c), b.max(d))),
            (Bounds::Long(a, b), Bounds::Long(c, d)) => Some(Bounds::Long(a.min(c), b.max(d))),
            (Bounds::Bytes(a, b), Bounds::Bytes(c, d)) => Some(Bounds::Bytes(a.min(c), b.max(d))),
            _ => None,
        }
    }
}
