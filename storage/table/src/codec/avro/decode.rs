//! Avro's binary encoding into column builders.

use super::bind::{BindError, Change, Node, Quick, Record, record};
use super::schema::{Avro, AvroSchema, Wire};
use crate::builder::{BuilderError, Column, Data, RowBuilder, Value};
use crate::codec::binary;
use crate::codec::json::{
    DecodeLimits, OnUnknown, RowError, RowErrorKind, RowForm, RowPart, append_absent, cut, is_json, parse_uuid, within,
};
use crate::codec::plan::{Aliases, Kind, Members, PlanField};
use crate::schema::{DataType, TableSchema};

/// How rows are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct AvroOptions {
    /// `keep` and `drop`: a row of a writer with more fields than the table keeps its bytes, because Avro rows cannot
    /// be written without them.
    pub unknown: OnUnknown,
    /// Bounds of a row.
    pub limits: DecodeLimits,
}

/// Rows of one writer's schema in one table version: reads and writes them.
#[derive(Debug)]
pub struct AvroCodec {
    pub(super) members: Members,
    pub(super) record: Record,
    limits: DecodeLimits,
}

impl AvroCodec {
    /// Binds the writer's schema to the columns of `part`.
    pub fn new(
        table: &TableSchema,
        part: RowPart,
        writer: &AvroSchema,
        options: AvroOptions,
    ) -> Result<AvroCodec, BindError> {
        AvroCodec::with_aliases(table, part, writer, &Aliases::default(), options)
    }

    /// The same; columns are also found under the names that `aliases` gives them.
    pub fn with_aliases(
        table: &TableSchema,
        part: RowPart,
        writer: &AvroSchema,
        aliases: &Aliases,
        options: AvroOptions,
    ) -> Result<AvroCodec, BindError> {
        let members = Members::new(&table.fields, &part.columns(table), aliases);
        let record = record("", &writer.fields, &members, options.unknown)?;
        Ok(AvroCodec { members, record, limits: options.limits })
    }

    /// Reads one row (without frame) into the columns of `builder`; the caller ends it with
    /// [`RowBuilder::finish_row`]. After an error the columns are as before. `Canonical`: [`super::AvroRows::write`]
    /// gives the same bytes back. `Raw`: only the row's own bytes will do.
    pub fn decode(&self, row: &[u8], builder: &mut RowBuilder) -> Result<RowForm, RowError> {
        let fail = |kind| Err(RowError { column: String::new(), position: 0, kind });
        let max = self.limits.row_bytes;
        if row.len() > max {
            return fail(RowErrorKind::TooLong { len: row.len(), max });
        }
        if let Err(BuilderError::Full { bytes }) = builder.reserve_row(row.len()) {
            return fail(RowErrorKind::BuilderFull { bytes });
        }
        let cells_max = self.limits.row_values.saturating_add(4 * row.len()).max(self.members.cells);
        let mut walk = Walk { bytes: row, at: 0, exact: true, cells: cells_max, cells_max, scratch: Vec::new() };
        let done = walk
            .record(&self.record, &self.members, &mut builder.columns)
            .and_then(|()| if walk.at < row.len() { walk.malformed("the end of the row") } else { Ok(()) });
        if let Err(error) = done {
            let rows = builder.rows();
            for field in &self.members.fields {
                builder.columns[field.slot].truncate(rows);
            }
            return Err(error);
        }
        Ok(if walk.exact { RowForm::Canonical } else { RowForm::Raw })
    }
}

/// A place in a row.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// So far the row is as [`super::AvroRows`] would write it.
    exact: bool,
    cells: usize,
    cells_max: usize,
    scratch: Vec<u8>,
}

type Done = Result<(), RowError>;

impl<'a> Walk<'a> {
    fn fail<T>(&self, kind: RowErrorKind) -> Result<T, RowError> {
        Err(RowError { column: String::new(), position: self.at, kind })
    }

    fn malformed<T>(&self, expected: &'static str) -> Result<T, RowError> {
        self.fail(RowErrorKind::Malformed { expected })
    }

    fn wrong<T>(&self, field: &PlanField, text: impl std::fmt::Display, rule: &'static str) -> Result<T, RowError> {
        let (expected, text) = (field.data_type.to_string(), cut(&text.to_string()));
        self.fail(RowErrorKind::Value { expected, text, rule })
    }

    fn charge(&mut self, cells: usize) -> Done {
        match self.cells.checked_sub(cells) {
            Some(left) => {
                self.cells = left;
                Ok(())
            }
            None => self.fail(RowErrorKind::TooManyValues { max: self.cells_max }),
        }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], RowError> {
        match self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => self.malformed("more bytes"),
        }
    }

    /// A zigzag varint. Longer ones than needed are read, but are not what the encoder writes.
    #[inline]
    fn long(&mut self) -> Result<i64, RowError> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let Some(byte) = self.bytes.get(self.at).copied() else { return self.malformed("more bytes") };
            if shift == 63 && byte > 1 {
                return self.malformed("a number of at most 64 bits");
            }
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                self.exact &= byte != 0 || shift == 0;
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
    }

    fn int(&mut self) -> Result<i64, RowError> {
        let value = self.long()?;
        if i32::try_from(value).is_ok() { Ok(value) } else { self.malformed("a number of at most 32 bits") }
    }

    #[inline]
    fn sized(&mut self) -> Result<&'a [u8], RowError> {
        match usize::try_from(self.long()?) {
            Ok(len) => self.take(len),
            Err(_) => self.malformed("a length of at least 0"),
        }
    }

    #[inline]
    fn text(&mut self) -> Result<&'a str, RowError> {
        let bytes = self.sized()?;
        std::str::from_utf8(bytes).or_else(|_| self.fail(RowErrorKind::Utf8))
    }

    fn record(&mut self, record: &Record, members: &Members, columns: &mut [Column]) -> Done {
        self.charge(members.cells)?;
        for ((member, node), quick) in record.fields.iter().zip(&record.quick) {
            if quick.is_some_and(|quick| self.quick(quick, columns)) {
                continue;
            }
            match (member, node) {
                (Some(member), node) => {
                    let field = &members.fields[*member];
                    let done = self.node(node, field, &mut columns[field.slot]);
                    done.map_err(|error| within(error, &field.name))?;
                }
                (None, Node::Skip(avro)) => {
                    self.exact = false;
                    self.skip(avro)?;
                }
                (None, _) => return self.malformed("a bound schema"),
            }
        }
        for member in &record.absent {
            let field = &members.fields[*member];
            let done = append_absent(field, &mut columns[field.slot]);
            done.or_else(|kind| self.fail(kind).map_err(|error| within(error, &field.name)))?;
        }
        Ok(())
    }

    /// A field of a usual type, and a value of usual form. False: nothing was read.
    #[inline]
    fn quick(&mut self, quick: Quick, columns: &mut [Column]) -> bool {
        let mut at = self.at;
        if let Some(branch) = quick.branch {
            if self.bytes.get(at) != Some(&branch) {
                return false;
            }
            at += 1;
        }
        let Some((end, _)) = binary::read(quick.plain, self.bytes, at, &mut columns[quick.slot]) else { return false };
        self.at = end;
        true
    }

    fn null(&self, field: &PlanField, column: &mut Column) -> Done {
        if !field.nullable {
            return self.fail(RowErrorKind::NotNull);
        }
        column.append_null();
        Ok(())
    }

    fn node(&mut self, node: &Node, field: &PlanField, column: &mut Column) -> Done {
        match (node, &field.kind, &mut column.data) {
            (Node::Leaf(wire, change), ..) => return self.leaf(wire, *change, field, column),
            (Node::Optional { null, value, inner }, ..) => {
                return match usize::try_from(self.long()?) {
                    Ok(branch) if branch == *value => self.node(inner, field, column),
                    Ok(branch) if branch == *null => self.null(field, column),
                    _ => self.malformed("a branch of the union"),
                };
            }
            (Node::Union(branches), Kind::Row(members), Data::Row(columns)) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|branch| branches.get(branch));
                match branch {
                    None => return self.malformed("a branch of the union"),
                    Some(None) => return self.null(field, column),
                    Some(Some((member, node))) => {
                        self.charge(members.cells)?;
                        self.branch(*member, node, members, columns)?;
                    }
                }
                column.written();
            }
            (Node::Record(record), Kind::Row(members), Data::Row(columns)) => {
                self.record(record, members, columns)?;
                column.written();
            }
            (Node::Array(inner), Kind::Array(item), Data::List { item: items, .. }) => {
                self.blocks(|walk, index| {
                    walk.charge(item.cells)?;
                    walk.node(inner, item, items).map_err(|error| within(error, &format!("[{index}]")))
                })?;
                column.end_list();
            }
            (Node::Map(inner), Kind::Map(value), Data::Map { key: keys, value: values, .. }) => {
                self.blocks(|walk, _| {
                    walk.charge(1 + value.cells)?;
                    let key = walk.text()?;
                    keys.append_bytes(key.as_bytes());
                    let done = walk.node(inner, value, values);
                    done.map_err(|error| within(error, &format!("[{:?}]", cut(key))))
                })?;
                column.end_list();
            }
            _ => return self.malformed("a bound schema"),
        }
        Ok(())
    }

    /// The one branch that is set, nulls for the others.
    fn branch(&mut self, member: usize, node: &Node, members: &Members, columns: &mut [Column]) -> Done {
        for (index, field) in members.fields.iter().enumerate() {
            let column = &mut columns[field.slot];
            if index != member {
                self.null(field, column).map_err(|error| within(error, &field.name))?;
                continue;
            }
            let len = column.len;
            self.node(node, field, column).map_err(|error| within(error, &field.name))?;
            debug_assert_eq!(column.len, len + 1, "one value a branch");
        }
        Ok(())
    }

    /// Blocks of items until an empty one. The encoder writes one block at most.
    fn blocks(&mut self, mut each: impl FnMut(&mut Self, usize) -> Done) -> Done {
        let (mut blocks, mut index) = (0, 0);
        loop {
            let count = self.long()?;
            if count == 0 {
                self.exact &= blocks <= 1;
                return Ok(());
            }
            blocks += 1;
            if count < 0 {
                // Followed by the size of the block in bytes, for readers that skip it.
                self.exact = false;
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                each(self, index)?;
                index += 1;
            }
        }
    }

    #[inline]
    fn leaf(&mut self, wire: &Wire, change: Change, field: &PlanField, column: &mut Column) -> Done {
        let appended = match wire {
            Wire::Int | Wire::Long => {
                let value = if *wire == Wire::Int { self.int()? } else { self.long()? };
                return self.integer(value, change, field, column);
            }
            Wire::Boolean => match self.take(1)?[0] {
                byte @ (0 | 1) => column.append(Value::Bool(byte == 1)),
                _ => return self.malformed("a boolean of 0 or 1"),
            },
            Wire::Float => {
                let bytes = self.take(4)?.try_into().unwrap_or_default();
                let value = f32::from_le_bytes(bytes);
                if field.data_type == DataType::Double {
                    // A NaN may lose its payload on the way to a double and back.
                    self.exact &= !value.is_nan();
                    column.append(Value::Double(value.into()))
                } else {
                    column.append(Value::Float(value))
                }
            }
            Wire::Double => {
                let bytes = self.take(8)?.try_into().unwrap_or_default();
                column.append(Value::Double(f64::from_le_bytes(bytes)))
            }
            Wire::String => {
                let text = self.text()?;
                return self.string(text, change, field, column);
            }
            Wire::Enum(symbols) => {
                let index = usize::try_from(self.int()?).ok();
                match index.and_then(|index| symbols.get(index)) {
                    Some(symbol) => column.append(Value::Text(symbol)),
                    None => return self.malformed("a symbol of the enum"),
                }
            }
            Wire::Bytes | Wire::Fixed(_) => {
                let bytes = if let Wire::Fixed(size) = wire { self.take(*size)? } else { self.sized()? };
                if let Change::Scaled(scale) = change {
                    return self.decimal(bytes, matches!(wire, Wire::Bytes), scale, field, column);
                }
                column.append(Value::Bytes(bytes))
            }
        };
        if appended { Ok(()) } else { self.malformed("a bound schema") }
    }

    #[inline]
    fn integer(&mut self, value: i64, change: Change, field: &PlanField, column: &mut Column) -> Done {
        const RANGE: &str = "out of range";
        let converted = match change {
            Change::Times(factor) => value.checked_mul(factor),
            Change::Divided(by) if value % by == 0 => Some(value / by),
            Change::Divided(_) => return self.wrong(field, value, "finer than the column; nothing is rounded"),
            Change::Scaled(scale) => return self.scaled(i128::from(value), scale, field, column),
            _ => Some(value),
        };
        let fits = |value: &i64| match field.data_type {
            DataType::TinyInt => i8::try_from(*value).is_ok(),
            DataType::SmallInt => i16::try_from(*value).is_ok(),
            DataType::Int | DataType::Date => i32::try_from(*value).is_ok(),
            DataType::Time(unit) => (0..86_400 * unit.per_second()).contains(value),
            _ => true,
        };
        match converted.filter(fits) {
            Some(value) if column.append(Value::Int(value)) => Ok(()),
            Some(_) => self.malformed("a bound schema"),
            None => self.wrong(field, value, RANGE),
        }
    }

    fn scaled(&mut self, value: i128, scale: u8, field: &PlanField, column: &mut Column) -> Done {
        let DataType::Decimal { precision, .. } = field.data_type else { return self.malformed("a bound schema") };
        let limit = 10u128.pow(u32::from(precision.min(38)));
        let scaled = 10i128.checked_pow(u32::from(scale)).and_then(|power| value.checked_mul(power));
        match scaled.filter(|scaled| scaled.unsigned_abs() < limit) {
            Some(scaled) if column.append(Value::Decimal(scaled)) => Ok(()),
            _ => self.wrong(field, value, "more digits than the precision allows"),
        }
    }

    /// Big-endian two's complement.
    fn decimal(&mut self, bytes: &[u8], minimal: bool, scale: u8, field: &PlanField, column: &mut Column) -> Done {
        let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let fill = if negative { 0xff } else { 0 };
        let extra = bytes.len().saturating_sub(16);
        if bytes[..extra].iter().any(|byte| *byte != fill) {
            return self.wrong(field, format_args!("{} bytes", bytes.len()), "more digits than the precision allows");
        }
        let mut wide = [fill; 16];
        let kept = &bytes[extra..];
        wide[16 - kept.len()..].copy_from_slice(kept);
        let value = i128::from_be_bytes(wide);
        if (value < 0) != negative {
            return self.wrong(field, format_args!("{} bytes", bytes.len()), "more digits than the precision allows");
        }
        if minimal {
            self.exact &= bytes.len() == super::encode::decimal_len(value);
        }
        self.scaled(value, scale, field, column)
    }

    fn string(&mut self, text: &str, change: Change, field: &PlanField, column: &mut Column) -> Done {
        match change {
            Change::UuidText => {
                let Some(uuid) = parse_uuid(text) else {
                    return self.wrong(field, text, "a UUID is written as 8-4-4-4-12 hex digits");
                };
                self.exact &= !text.bytes().any(|byte| byte.is_ascii_uppercase());
                self.scratch.clear();
                self.scratch.extend_from_slice(&uuid);
                column.append(Value::Bytes(&self.scratch));
            }
            Change::JsonText if !is_json(text) => return self.wrong(field, text, "not valid JSON"),
            _ => column.append_bytes(text.as_bytes()),
        }
        Ok(())
    }

    /// Steps over a value the table has no column for.
    fn skip(&mut self, avro: &Avro) -> Done {
        match avro {
            Avro::Null => {}
            Avro::Leaf(wire, _) => {
                match wire {
                    Wire::Boolean => self.take(1)?,
                    Wire::Int | Wire::Long | Wire::Enum(_) => {
                        self.long()?;
                        &[]
                    }
                    Wire::Float => self.take(4)?,
                    Wire::Double => self.take(8)?,
                    Wire::Bytes | Wire::String => self.sized()?,
                    Wire::Fixed(size) => self.take(*size)?,
                };
            }
            Avro::Array(item) => self.blocks(|walk, _| {
                walk.charge(1)?;
                walk.skip(item)
            })?,
            Avro::Map(value) => self.blocks(|walk, _| {
                walk.charge(1)?;
                walk.sized()?;
                walk.skip(value)
            })?,
            Avro::Record(_, fields) => {
                for field in fields {
                    self.skip(&field.avro)?;
                }
            }
            Avro::Union(branches) => {
                let branch = usize::try_from(self.long()?).ok().and_then(|branch| branches.get(branch));
                match branch {
                    Some(branch) => self.skip(branch)?,
                    None => return self.malformed("a branch of the union"),
                }
            }
        }
        Ok(())
    }
}
