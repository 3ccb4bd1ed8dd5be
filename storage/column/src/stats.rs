//! Smallest and largest values of a leaf, as bytes of the block and back as arrays.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, StringArray, downcast_primitive_array, make_array};
use arrow_buffer::{Buffer, NullBuffer, ToByteSlice};
use arrow_data::ArrayData;
use arrow_schema::DataType;

use crate::error::Result;
use crate::layout::Kind;

/// Bytes of a string bound at most.
pub(crate) const BOUND_BYTES_MAX: usize = 64;

/// Bounds of a leaf in one row group; both inclusive. Little-endian numbers, UTF-8, bytes; one byte for a boolean.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: Option<Vec<u8>>,
    pub(crate) max: Option<Vec<u8>>,
}

/// Bounds of an array in Arrow's total order; none for nested types, for no values and where a NaN is.
pub(crate) fn bounds(array: &ArrayRef) -> Bounds {
    match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            let both = |value: bool| vec![u8::from(value)];
            let has = |wanted: bool| values.iter().flatten().any(|value| value == wanted);
            match (has(false), has(true)) {
                (false, false) => Bounds::default(),
                (low, high) => Bounds { min: Some(both(!low)), max: Some(both(high)) },
            }
        }
        DataType::Float32 => floats(array.as_primitive::<Float32Type>().iter().flatten().map(f64::from), |value| {
            (value as f32).to_le_bytes().to_vec()
        }),
        DataType::Float64 => {
            floats(array.as_primitive::<Float64Type>().iter().flatten(), |value| value.to_le_bytes().to_vec())
        }
        DataType::Utf8 => {
            let extremes = extreme_bytes(array.as_string::<i32>().iter().flatten().map(str::as_bytes));
            // Both are whole values of the array.
            let text = |bytes| std::str::from_utf8(bytes).ok();
            extremes
                .and_then(|(min, max)| Some((text(min)?, text(max)?)))
                .map_or_else(Bounds::default, |(min, max)| Bounds { min: Some(cut_text(min)), max: raised_text(max) })
        }
        DataType::Binary => extreme_bytes(array.as_binary::<i32>().iter().flatten())
            .map_or_else(Bounds::default, |(min, max)| Bounds { min: Some(cut_bytes(min)), max: raised_bytes(max) }),
        DataType::FixedSizeBinary(width) if *width as usize <= BOUND_BYTES_MAX => {
            let all = |value: &[u8]| Some(value.to_vec());
            extremes(array.as_fixed_size_binary().iter().flatten(), |value| value.to_vec(), all)
        }
        data_type if data_type.is_primitive() => downcast_primitive_array!(
            array => integers(array),
            _ => Bounds::default()
        ),
        _ => Bounds::default(),
    }
}

fn integers<T: ArrowPrimitiveType>(array: &arrow_array::PrimitiveArray<T>) -> Bounds {
    // Bytes of native integers; `compare` is the total order. Without nulls the slice is walked.
    use arrow_array::ArrowNativeTypeOp;
    let fold = |bounds: Option<(T::Native, T::Native)>, value: T::Native| match bounds {
        None => Some((value, value)),
        Some((min, max)) => {
            Some((if value.is_lt(min) { value } else { min }, if value.is_gt(max) { value } else { max }))
        }
    };
    let bounds = match array.null_count() {
        0 => array.values().iter().copied().fold(None, fold),
        _ => array.iter().flatten().fold(None, fold),
    };
    match bounds {
        None => Bounds::default(),
        Some((min, max)) => Bounds { min: Some(min.to_byte_slice().to_vec()), max: Some(max.to_byte_slice().to_vec()) },
    }
}

/// Zeros widen the bounds: whoever takes -0.0 and 0.0 for equal must not lose rows.
fn floats(values: impl Iterator<Item = f64>, bytes: impl Fn(f64) -> Vec<u8>) -> Bounds {
    let mut found: Option<(f64, f64)> = None;
    for value in values {
        if value.is_nan() {
            return Bounds::default();
        }
        let (min, max) = found.unwrap_or((value, value));
        found = Some((min.min(value), max.max(value)));
    }
    let Some((min, max)) = found else { return Bounds::default() };
    let min = if min == 0.0 { -0.0 } else { min };
    let max = if max == 0.0 { 0.0 } else { max };
    Bounds { min: Some(bytes(min)), max: Some(bytes(max)) }
}

fn extremes<'a, V: Ord + ?Sized + 'a>(
    values: impl Iterator<Item = &'a V>,
    cut: impl Fn(&V) -> Vec<u8>,
    raise: impl Fn(&V) -> Option<Vec<u8>>,
) -> Bounds {
    let mut found: Option<(&V, &V)> = None;
    for value in values {
        let (min, max) = found.unwrap_or((value, value));
        found = Some((min.min(value), max.max(value)));
    }
    found.map_or_else(Bounds::default, |(min, max)| Bounds { min: Some(cut(min)), max: raise(max) })
}

/// Smallest and largest. Most values are told apart by their first eight bytes, which are compared as a number.
fn extreme_bytes<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<(&'a [u8], &'a [u8])> {
    let first = values.next()?;
    let (mut min, mut max) = ((head(first), first), (head(first), first));
    for value in values {
        let value = (head(value), value);
        if value < min {
            min = value;
        } else if value > max {
            max = value;
        }
    }
    Some((min.1, max.1))
}

/// The first eight bytes as a number that sorts as they do; zeros stand for what is missing, so that equal ones need not be.
fn head(value: &[u8]) -> u64 {
    match value.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut head = [0; 8];
            head[..value.len()].copy_from_slice(value);
            u64::from_be_bytes(head)
        }
    }
}

/// The longest beginning of whole characters that fits a bound.
fn boundary(value: &str) -> usize {
    (0..=value.len().min(BOUND_BYTES_MAX)).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0)
}

fn cut_text(value: &str) -> Vec<u8> {
    value.as_bytes()[..boundary(value)].to_vec()
}

/// The value, or the smallest text of its beginning that is larger: the last character that can be raised, is.
fn raised_text(value: &str) -> Option<Vec<u8>> {
    let cut = boundary(value);
    if cut == value.len() {
        return Some(value.as_bytes().to_vec());
    }
    let mut kept = value[..cut].to_owned();
    while let Some(last) = kept.pop() {
        // The surrogates are no characters; beyond the last character nothing can be raised. A character that would get
        // longer is fine: UTF-8 sorts like code points.
        let next = (last as u32 + 1..=last as u32 + 0x801).find_map(char::from_u32);
        if let Some(next) = next {
            kept.push(next);
            return Some(kept.into_bytes());
        }
    }
    None
}

fn cut_bytes(value: &[u8]) -> Vec<u8> {
    value[..value.len().min(BOUND_BYTES_MAX)].to_vec()
}

fn raised_bytes(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() <= BOUND_BYTES_MAX {
        return Some(value.to_vec());
    }
    let mut kept = value[..BOUND_BYTES_MAX].to_vec();
    while let Some(last) = kept.pop() {
        if let Some(next) = last.checked_add(1) {
            kept.push(next);
            return Some(kept);
        }
    }
    None
}

/// One bound per row group as an array of the leaf's type; unknown ones are null. `None`: the type has no bounds.
pub(crate) fn array_of<'a>(
    data_type: &DataType,
    values: impl Iterator<Item = Option<&'a [u8]>> + Clone,
) -> Result<Option<ArrayRef>> {
    let text = |value: Option<&'a [u8]>| value.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let array: ArrayRef = match (data_type, Kind::of(data_type)) {
        (DataType::Boolean, _) => {
            let bools = values.map(|value| value.and_then(|bytes| bytes.first()).map(|byte| *byte != 0));
            std::sync::Arc::new(bools.collect::<BooleanArray>())
        }
        (DataType::Utf8, _) => std::sync::Arc::new(values.map(text).collect::<StringArray>()),
        (DataType::Binary, _) => std::sync::Arc::new(values.collect::<BinaryArray>()),
        (_, Some(Kind::Fixed(width))) => {
            // A bound of a wrong width cannot come from a block whose CRC holds; it counts as unknown.
            let fits = |value: Option<&'a [u8]>| value.filter(|bytes| bytes.len() == width);
            let known: NullBuffer = values.clone().map(|value| fits(value).is_some()).collect();
            let mut bytes = Vec::with_capacity(known.len() * width);
            for value in values {
                match fits(value) {
                    Some(value) => bytes.extend_from_slice(value),
                    None => bytes.resize(bytes.len() + width, 0),
                }
            }
            let data = ArrayData::builder(data_type.clone()).len(known.len()).nulls(Some(known));
            make_array(data.add_buffer(Buffer::from_vec(bytes)).align_buffers(true).build()?)
        }
        _ => return Ok(None),
    };
    Ok(Some(array))
}

/// Hash of each value that is not null, as Bloom filters have it. `None`: the type has no filters.
pub(crate) fn hashes(array: &ArrayRef) -> Option<Vec<Option<u64>>> {
    use crate::bloom::hash;
    Some(match (array.data_type(), Kind::of(array.data_type())) {
        (DataType::Utf8, _) => array.as_string::<i32>().iter().map(|v| v.map(|v| hash(v.as_bytes()))).collect(),
        (DataType::Binary, _) => array.as_binary::<i32>().iter().map(|v| v.map(hash)).collect(),
        // Equal floats may have different bits.
        (DataType::Float32 | DataType::Float64 | DataType::Dictionary(_, _), _) => return None,
        (_, Some(Kind::Fixed(width))) => {
            let data = array.to_data();
            let bytes = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
            let values = bytes.chunks_exact(width).enumerate();
            values.map(|(row, value)| array.is_valid(row).then(|| hash(value))).collect()
        }
        _ => return None,
    })
}
