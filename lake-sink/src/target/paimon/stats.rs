//! Least and greatest values of columns, as manifests keep them.
use apache_avro::types::Value as Avro;
use arrow_schema::{DataType, TimeUnit};

use super::binary_row::{self, Cell, CellType};
use crate::target::avro::{field, none, record, some};
use crate::target::figures::Bounds;

/// Longest texts that are kept as least and greatest.
const BOUND_LEN: usize = 64;

/// Least and greatest values and counts of nulls, by column: `_MIN_VALUES`, `_MAX_VALUES`, `_NULL_COUNTS`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    pub min: Vec<Cell>,
    pub max: Vec<Cell>,
    pub nulls: Vec<Option<i64>>,
}

impl Stats {
    /// Of columns one after the other: least, greatest, count of nulls.
    pub fn of(columns: impl Iterator<Item = (Option<Cell>, Option<Cell>, Option<i64>)>) -> Stats {
        let mut stats = Stats::default();
        for (min, max, nulls) in columns {
            stats.min.push(min.unwrap_or(Cell::Null));
            stats.max.push(max.unwrap_or(Cell::Null));
            stats.nulls.push(nulls);
        }
        stats
    }

    /// As manifests and lists have it.
    pub fn record(&self) -> Avro {
        let count = |nulls: &Option<i64>| nulls.map_or_else(none, |nulls| some(Avro::Long(nulls)));
        record(vec![
            ("_MIN_VALUES", Avro::Bytes(binary_row::stored(&self.min))),
            ("_MAX_VALUES", Avro::Bytes(binary_row::stored(&self.max))),
            ("_NULL_COUNTS", some(Avro::Array(self.nulls.iter().map(count).collect()))),
        ])
    }

    /// Of a record, for columns of these types; `None` if it is not that.
    pub fn read(stats: &Avro, types: &[CellType]) -> Option<Stats> {
        let cells = |name: &str| match field(stats, name) {
            Some(Avro::Bytes(bytes)) => binary_row::read(bytes, types),
            _ => None,
        };
        let nulls = match field(stats, "_NULL_COUNTS") {
            Some(Avro::Array(counts)) => counts.iter().map(long).collect(),
            _ => vec![None; types.len()],
        };
        Some(Stats { min: cells("_MIN_VALUES")?, max: cells("_MAX_VALUES")?, nulls })
    }

    /// A record that somebody wrote, as we write it.
    pub fn checked(stats: Option<&Avro>) -> Option<Avro> {
        let stats = stats?;
        let bytes = |name: &str| field(stats, name).filter(|value| matches!(value, Avro::Bytes(_))).cloned();
        let counts = match field(stats, "_NULL_COUNTS") {
            Some(Avro::Array(counts)) => {
                let count = |value| long(value).map_or_else(none, |count| some(Avro::Long(count)));
                some(Avro::Array(counts.iter().map(count).collect()))
            }
            _ => none(),
        };
        Some(record(vec![
            ("_MIN_VALUES", bytes("_MIN_VALUES")?),
            ("_MAX_VALUES", bytes("_MAX_VALUES")?),
            ("_NULL_COUNTS", counts),
        ]))
    }
}

fn long(value: &Avro) -> Option<i64> {
    match value {
        Avro::Union(_, inner) => long(inner),
        Avro::Long(value) => Some(*value),
        _ => None,
    }
}

/// Bounds of a file's column as cells, where readers can use them.
pub fn cells_of(bounds: &Bounds, data_type: &DataType) -> Option<(Cell, Cell)> {
    let fine = |micros: i64| Cell::Fine(micros.div_euclid(1_000), micros.rem_euclid(1_000) as i32 * 1_000);
    Some(match (bounds, data_type) {
        (Bounds::Int(min, max), DataType::Int8) => (Cell::TinyInt(*min as i8), Cell::TinyInt(*max as i8)),
        (Bounds::Int(min, max), DataType::Int16) => (Cell::SmallInt(*min as i16), Cell::SmallInt(*max as i16)),
        (Bounds::Int(min, max), DataType::Int32 | DataType::Date32 | DataType::Time32(_)) => {
            (Cell::Int(*min), Cell::Int(*max))
        }
        (Bounds::Long(min, max), DataType::Int64 | DataType::Timestamp(TimeUnit::Millisecond, _)) => {
            (Cell::Long(*min), Cell::Long(*max))
        }
        (Bounds::Long(min, max), DataType::Timestamp(TimeUnit::Microsecond, _)) => (fine(*min), fine(*max)),
        // Long ones are cut by the writer of the file; what is cut may be no text any more.
        (Bounds::Bytes(min, max), DataType::Utf8) if min.len() < BOUND_LEN && max.len() < BOUND_LEN => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok().then(|| Cell::Bytes(bytes.to_vec()));
            (text(min)?, text(max)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_cells_of_the_columns_type() {
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert_eq!(cells_of(&Bounds::Long(-1, 5), &millis), Some((Cell::Long(-1), Cell::Long(5))));
        assert_eq!(cells_of(&Bounds::Long(-1, 1_001), &micros), Some((Cell::Fine(-1, 999_000), Cell::Fine(1, 1_000))));
        assert_eq!(cells_of(&Bounds::Int(-1, 5), &DataType::Int8), Some((Cell::TinyInt(-1), Cell::TinyInt(5))));
        assert_eq!(cells_of(&Bounds::Bytes(vec![b'a'], vec![b'z'; 64]), &DataType::Utf8), None, "perhaps cut");
        assert_eq!(cells_of(&Bounds::Bytes(vec![1], vec![2]), &DataType::Binary), None);
    }
}
