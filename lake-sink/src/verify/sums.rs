//! Counts and hashes of rows, by ranges of offsets and by column. Pure.
//!
//! Each value becomes a number that depends on its partition, offset and column too; the numbers of a column are added up.
//! So sums do not depend on the order of rows, and a row that is missing, doubled, changed or moved changes them. A null adds
//! nothing: it is what a file without the column has. The function is another one in each verification, so that nobody can
//! make rows that pass for others.
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher};

use ahash::{AHasher, RandomState};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, downcast_primitive};
use arrow_buffer::ToByteSlice;
use arrow_schema::DataType;

/// Counts of one side, in all: so many numbers are kept at most, whatever the table.
const NUMBERS_MAX: u64 = 2 << 20;
/// Offsets that are told apart at the least.
const WIDTH_MIN: i64 = 1000;

/// Which offsets are compared, and in which ranges.
#[derive(Debug, Clone)]
pub struct Windows {
    /// `start..end` by partition.
    pub ranges: BTreeMap<i32, (i64, i64)>,
    width: i64,
    columns: usize,
    hashes: RandomState,
}

impl Windows {
    /// Windows over these offsets of a table with so many columns.
    pub fn new(ranges: BTreeMap<i32, (i64, i64)>, columns: usize) -> Windows {
        let offsets: u64 = ranges.values().map(|(start, end)| u64::try_from(end - start).unwrap_or(0)).sum();
        let width = offsets.saturating_mul(columns as u64 + 1) / NUMBERS_MAX;
        let width = i64::try_from(width).unwrap_or(i64::MAX).max(WIDTH_MIN);
        Windows { ranges, width, columns, hashes: RandomState::new() }
    }

    /// The window of an offset, if it is compared.
    fn of(&self, partition: i32, offset: i64) -> Option<(i32, i64)> {
        let (start, end) = *self.ranges.get(&partition)?;
        (start..end).contains(&offset).then(|| (partition, offset.div_euclid(self.width)))
    }

    /// The offsets of a window: `start..end`.
    pub fn offsets(&self, (partition, window): (i32, i64)) -> (i64, i64) {
        let (start, end) = self.ranges.get(&partition).copied().unwrap_or_default();
        let from = window.saturating_mul(self.width);
        (from.max(start), from.saturating_add(self.width).min(end))
    }
}

/// What is in one window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    /// By column.
    pub columns: Vec<u64>,
    /// Columns that some of these rows do not have.
    pub lacking: Vec<usize>,
}

/// What is in all windows that have rows.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    pub windows: BTreeMap<(i32, i64), Sum>,
}

/// A type whose values cannot be hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("values of type {0} cannot be compared")]
pub struct UnknownType(pub DataType);

impl Sums {
    /// Adds rows; `columns` are those of the table in their order, `None` where these rows lack one.
    ///
    /// # Errors
    /// [`UnknownType`]; then nothing was added.
    pub fn add(
        &mut self,
        windows: &Windows,
        partitions: &PrimitiveArray<Int32Type>,
        offsets: &PrimitiveArray<Int64Type>,
        columns: &[Option<ArrayRef>],
    ) -> Result<(), UnknownType> {
        let feeds = columns.iter().map(|column| column.as_deref().map(feed).transpose());
        let feeds = feeds.collect::<Result<Vec<_>, _>>()?;
        let mut places = HashMap::new();
        let (mut found, mut sums) = (Vec::with_capacity(offsets.len()), Vec::<((i32, i64), Sum)>::new());
        for row in 0..offsets.len() {
            let place = windows.of(partitions.value(row), offsets.value(row)).map(|window| {
                *places.entry(window).or_insert_with(|| {
                    sums.push((window, Sum { columns: vec![0; windows.columns], ..Sum::default() }));
                    sums.len() - 1
                })
            });
            if let Some(place) = place {
                sums[place].1.rows += 1;
                found.push((row, place));
            }
        }
        for (at, (column, feed)) in columns.iter().zip(&feeds).enumerate() {
            let (Some(column), Some(feed)) = (column, feed) else {
                sums.iter_mut().for_each(|(_, sum)| sum.lacking.push(at));
                continue;
            };
            for &(row, place) in found.iter().filter(|(row, _)| column.is_valid(*row)) {
                let mut hasher = windows.hashes.build_hasher();
                hasher.write_usize(at);
                hasher.write_i32(partitions.value(row));
                hasher.write_i64(offsets.value(row));
                feed(row, &mut hasher);
                let sum = &mut sums[place].1.columns[at];
                *sum = sum.wrapping_add(hasher.finish());
            }
        }
        self.merge(Sums { windows: sums.into_iter().collect() });
        Ok(())
    }

    /// Adds what others counted in the same windows.
    pub fn merge(&mut self, other: Sums) {
        for (window, sum) in other.windows {
            let mine = self.windows.entry(window).or_default();
            mine.rows += sum.rows;
            mine.columns.resize(mine.columns.len().max(sum.columns.len()), 0);
            for (mine, other) in mine.columns.iter_mut().zip(sum.columns) {
                *mine = mine.wrapping_add(other);
            }
            for column in sum.lacking {
                if let Err(at) = mine.lacking.binary_search(&column) {
                    mine.lacking.insert(at, column);
                }
            }
        }
    }

    /// These rows do not have these columns.
    pub fn lack(&mut self, columns: &[usize]) {
        for sum in self.windows.values_mut() {
            for column in columns {
                if let Err(at) = sum.lacking.binary_search(column) {
                    sum.lacking.insert(at, *column);
                }
            }
        }
    }

    /// Forgets a partition.
    pub fn forget(&mut self, partition: i32) {
        self.windows.retain(|(of, _), _| *of != partition);
    }
}

/// Writes the value of a row, which may be null, into a hasher so that no two values write the same.
type Feed<'a> = Box<dyn Fn(usize, &mut AHasher) + 'a>;

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array) -> Feed<'_> {
    let array = array.as_primitive::<T>();
    present(array, move |row, hasher| hasher.write(array.value(row).to_byte_slice()))
}

/// A null writes 0, a value 1 and then what `value` writes.
fn present<'a>(array: &'a dyn Array, value: impl Fn(usize, &mut AHasher) + 'a) -> Feed<'a> {
    Box::new(move |row, hasher| match array.is_null(row) {
        true => hasher.write_u8(0),
        false => {
            hasher.write_u8(1);
            value(row, hasher);
        }
    })
}

fn bytes(hasher: &mut AHasher, bytes: &[u8]) {
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}

fn feed(array: &dyn Array) -> Result<Feed<'_>, UnknownType> {
    macro_rules! of_primitive {
        ($t:ty) => {
            primitive::<$t>(array)
        };
    }
    Ok(downcast_primitive! {
        array.data_type() => (of_primitive),
        DataType::Boolean => {
            let values = array.as_boolean();
            present(array, move |row, hasher| hasher.write_u8(u8::from(values.value(row))))
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            present(array, move |row, hasher| bytes(hasher, values.value(row).as_bytes()))
        }
        DataType::Binary => {
            let values = array.as_binary::<i32>();
            present(array, move |row, hasher| bytes(hasher, values.value(row)))
        }
        DataType::FixedSizeBinary(_) => {
            let values = array.as_fixed_size_binary();
            present(array, move |row, hasher| bytes(hasher, values.value(row)))
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            items(array, lists.value_offsets(), feed(lists.values())?)
        }
        DataType::Map(_, _) => {
            let maps = array.as_map();
            items(array, maps.value_offsets(), feed(maps.entries())?)
        }
        DataType::Struct(_) => {
            let members = array.as_struct().columns().iter().map(|member| feed(member));
            let members = members.collect::<Result<Vec<_>, _>>()?;
            present(array, move |row, hasher| members.iter().for_each(|member| member(row, hasher)))
        }
        other => return Err(UnknownType(other.clone())),
    })
}

/// Lists and maps, whose items lie between these offsets.
fn items<'a>(array: &'a dyn Array, offsets: &'a [i32], item: Feed<'a>) -> Feed<'a> {
    present(array, move |row, hasher| {
        let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
        hasher.write_usize(to - from);
        (from..to).for_each(|at| item(at, hasher));
    })
}
