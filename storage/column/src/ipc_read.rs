//! Flatbuffers of strangers: verified, bounded, and turned into types without a panic.
//!
//! arrow-ipc's own conversion panics on types it does not expect, so schemas are converted here, for the types that column
//! segments store only.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_ipc::{DateUnit, Endianness, Footer, Message, Precision, TimeUnit as IpcUnit, Type};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use flatbuffers::VerifierOptions;

use crate::error::{ColumnError, Result};
use crate::layout::Layout;

/// Nesting of schemas at most (checked again by [`Layout`]).
const DEPTH_MAX: usize = 32;
/// Bytes of a message header or footer at most.
pub(crate) const HEADER_BYTES_MAX: u64 = 16 << 20;

fn options() -> VerifierOptions {
    // Tables of a schema: field, type and metadata entries; the bytes bound them, but vectors may point at one table often.
    VerifierOptions { max_depth: 3 * DEPTH_MAX, max_tables: 200_000, ..VerifierOptions::default() }
}

/// A verified message.
pub(crate) fn message(bytes: &[u8]) -> Result<Message<'_>> {
    arrow_ipc::root_as_message_with_opts(&options(), bytes)
        .map_err(|error| ColumnError::corrupt(format!("IPC message: {error}")))
}

/// A verified footer.
pub(crate) fn footer(bytes: &[u8]) -> Result<Footer<'_>> {
    arrow_ipc::root_as_footer_with_opts(&options(), bytes)
        .map_err(|error| ColumnError::corrupt(format!("IPC footer: {error}")))
}

/// The schema of a segment and its layout.
pub(crate) fn schema(from: arrow_ipc::Schema<'_>) -> Result<(Schema, Layout)> {
    let (schema, _) = fields(from)?;
    let layout = Layout::of(schema.fields())?;
    Ok((schema, layout))
}

/// The schema, not checked for what can be stored, and the ids of the dictionaries of dictionary fields in pre-order.
pub(crate) fn fields(from: arrow_ipc::Schema<'_>) -> Result<(Schema, Vec<i64>)> {
    if from.endianness() != Endianness::Little {
        return Err(ColumnError::corrupt("a big-endian schema"));
    }
    let mut dictionaries = Vec::new();
    let mut left = crate::layout::NODES_MAX;
    let fields = from.fields().map(|fields| fields.iter().collect::<Vec<_>>()).unwrap_or_default();
    let fields = fields.into_iter().map(|from| field(from, 0, &mut left, &mut dictionaries));
    let fields = fields.collect::<Result<Vec<_>>>()?;
    let schema = Schema::new_with_metadata(fields, metadata(from.custom_metadata()));
    Ok((schema, dictionaries))
}

type Pairs<'a> = flatbuffers::Vector<'a, flatbuffers::ForwardsUOffset<arrow_ipc::KeyValue<'a>>>;

fn metadata(pairs: Option<Pairs<'_>>) -> HashMap<String, String> {
    let pairs = pairs.into_iter().flatten();
    pairs.filter_map(|pair| Some((pair.key()?.to_owned(), pair.value()?.to_owned()))).collect()
}

fn field(from: arrow_ipc::Field<'_>, depth: usize, left: &mut usize, ids: &mut Vec<i64>) -> Result<Field> {
    let name = from.name().unwrap_or_default();
    let strange = || ColumnError::Type { column: name.to_owned(), data_type: format!("{:?}", from.type_type()) };
    if depth > DEPTH_MAX || *left == 0 {
        return Err(ColumnError::corrupt("a schema with too many fields or levels"));
    }
    *left -= 1;
    let mut children = Vec::new();
    for child in from.children().into_iter().flatten() {
        children.push(field(child, depth + 1, left, ids)?);
    }
    let mut data_type = data_type(&from, children).ok_or_else(strange)?;
    if let Some(dictionary) = from.dictionary() {
        // Absent index type: int32, says the format. Only what this crate writes, and what clients send, is known.
        let keys = match dictionary.indexType().map(|keys| (keys.bitWidth(), keys.is_signed())) {
            Some((8, true)) => DataType::Int8,
            Some((16, true)) => DataType::Int16,
            Some((32, true)) | None => DataType::Int32,
            Some((64, true)) => DataType::Int64,
            Some((8, false)) => DataType::UInt8,
            Some((16, false)) => DataType::UInt16,
            Some((32, false)) => DataType::UInt32,
            Some((64, false)) => DataType::UInt64,
            Some(_) => return Err(strange()),
        };
        data_type = DataType::Dictionary(Box::new(keys), Box::new(data_type));
        ids.push(dictionary.id());
    }
    Ok(Field::new(name, data_type, from.nullable()).with_metadata(metadata(from.custom_metadata())))
}

fn data_type(from: &arrow_ipc::Field<'_>, mut children: Vec<Field>) -> Option<DataType> {
    let expected = match from.type_type() {
        Type::List | Type::Map => Some(1),
        Type::Struct_ => None,
        _ => Some(0),
    };
    if expected.is_some_and(|count| count != children.len()) {
        return None;
    }
    Some(match from.type_type() {
        Type::Bool => DataType::Boolean,
        Type::Utf8 => DataType::Utf8,
        Type::Binary => DataType::Binary,
        Type::LargeUtf8 => DataType::LargeUtf8,
        Type::LargeBinary => DataType::LargeBinary,
        Type::Int => match (from.type_as_int()?.bitWidth(), from.type_as_int()?.is_signed()) {
            (8, true) => DataType::Int8,
            (16, true) => DataType::Int16,
            (32, true) => DataType::Int32,
            (64, true) => DataType::Int64,
            (8, false) => DataType::UInt8,
            (16, false) => DataType::UInt16,
            (32, false) => DataType::UInt32,
            (64, false) => DataType::UInt64,
            _ => return None,
        },
        Type::FloatingPoint => match from.type_as_floating_point()?.precision() {
            Precision::SINGLE => DataType::Float32,
            Precision::DOUBLE => DataType::Float64,
            _ => return None,
        },
        Type::FixedSizeBinary => DataType::FixedSizeBinary(from.type_as_fixed_size_binary()?.byteWidth()),
        Type::Decimal => {
            let decimal = from.type_as_decimal()?;
            let precision = u8::try_from(decimal.precision()).ok().filter(|digits| (1..=38).contains(digits))?;
            let scale = i8::try_from(decimal.scale()).ok().filter(|scale| *scale <= precision as i8)?;
            (decimal.bitWidth() == 128).then_some(DataType::Decimal128(precision, scale))?
        }
        Type::Date => match from.type_as_date()?.unit() {
            DateUnit::DAY => DataType::Date32,
            DateUnit::MILLISECOND => DataType::Date64,
            _ => return None,
        },
        Type::Time => match (from.type_as_time()?.bitWidth(), unit(from.type_as_time()?.unit())?) {
            (32, unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => DataType::Time32(unit),
            (64, unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => DataType::Time64(unit),
            _ => return None,
        },
        Type::Timestamp => {
            let timestamp = from.type_as_timestamp()?;
            DataType::Timestamp(unit(timestamp.unit())?, timestamp.timezone().map(Into::into))
        }
        Type::List => DataType::List(Arc::new(children.pop()?)),
        Type::Map => DataType::Map(Arc::new(children.pop()?), from.type_as_map()?.keysSorted()),
        Type::Struct_ => DataType::Struct(children.into()),
        _ => return None,
    })
}

fn unit(from: IpcUnit) -> Option<TimeUnit> {
    match from {
        IpcUnit::SECOND => Some(TimeUnit::Second),
        IpcUnit::MILLISECOND => Some(TimeUnit::Millisecond),
        IpcUnit::MICROSECOND => Some(TimeUnit::Microsecond),
        IpcUnit::NANOSECOND => Some(TimeUnit::Nanosecond),
        _ => None,
    }
}
