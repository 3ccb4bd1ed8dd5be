//! A row that is expected to have a known shape: the literal text is compared, only values are parsed.
//!
//! In exact mode acceptance means that the values written into the shape give back the row: literal text matched, and
//! each value's text is the one its format writes. For integers, plain strings and short decimals that is seen while
//! parsing; other values are formatted once and compared.

use super::OnUnknown;
use super::format::{DecimalStyle, FloatStyle, Format, StringStyle, write};
use super::parse::{Parser, Scratch};
use super::quick::{self, ShortNumber};
use super::scalar::{self, Token};
use super::shape::{Bound, BoundEntry, BoundList, BoundObject, BoundValue, Quick};
use super::text::{Cursor, DEPTH_MAX, unescape};
use crate::builder::{Column, Data, Value};
use crate::codec::literal::append_front;
use crate::codec::plan::{Kind, Members, PlanField};
use crate::schema::DataType;

pub(super) struct Fast<'a, 's> {
    row: &'a [u8],
    /// Its text is empty until it was [checked](Fast::checked).
    cursor: Cursor<'a>,
    scratch: &'s mut Scratch,
    strings: StringStyle,
    cells: usize,
}

/// Whether `row` has the shape (and is UTF-8 then); if not, columns are left half written and must be cut back.
pub(super) fn row<const EXACT: bool>(
    row: &[u8],
    shape: &Bound,
    members: &Members,
    columns: &mut [Column],
    cells: usize,
    scratch: &mut Scratch,
) -> bool {
    let mut fast = Fast { row, cursor: Cursor::new(""), scratch, strings: shape.strings, cells };
    fast.object::<EXACT>(&shape.object, members, columns) && fast.cursor.at == row.len()
}

impl Fast<'_, '_> {
    fn charge(&mut self, cells: usize) -> bool {
        let left = self.cells.checked_sub(cells);
        self.cells = left.unwrap_or(0);
        left.is_some()
    }

    fn object<const EXACT: bool>(&mut self, shape: &BoundObject, members: &Members, columns: &mut [Column]) -> bool {
        if !self.charge(members.cells) || !self.eat_all(&shape.open) {
            return false;
        }
        let mut first = true;
        for entry in &shape.entries {
            if (!first || entry.lead == 0) && self.quick::<EXACT>(entry, columns) {
                first = false;
                continue;
            }
            if !self.checked() {
                return false;
            }
            let glue = entry.glue.bytes();
            let found = self.cursor.eat_all(if first { &glue[entry.lead..] } else { glue });
            let Some(member) = entry.member else {
                // A field that is dropped: it may be there or not.
                if found && self.cursor.skip(DEPTH_MAX).is_err() {
                    return false;
                }
                first &= !found;
                continue;
            };
            let field = &members.fields[member];
            let column = &mut columns[field.slot];
            if !found {
                if !entry.omit || !field.nullable {
                    return false;
                }
                column.append_null();
                continue;
            }
            first = false;
            if self.cursor.peek() == Some(b'n') {
                if entry.omit || !field.nullable || !self.cursor.eat_all(b"null") {
                    return false;
                }
                column.append_null();
            } else if !self.value::<EXACT>(&entry.value, field, column) {
                return false;
            }
        }
        for member in &shape.absent {
            let field = &members.fields[*member];
            let column = &mut columns[field.slot];
            if field.nullable && field.default.is_none() {
                column.append_null();
            } else if Parser::new("", OnUnknown::Keep, self.cells, self.scratch).absent(field, column).is_err() {
                return false;
            }
        }
        self.eat_all(&shape.close)
    }

    /// Steps over `literal` if it comes next.
    fn eat_all(&mut self, literal: &[u8]) -> bool {
        let yes = self.row[self.cursor.at..].starts_with(literal);
        self.cursor.at += if yes { literal.len() } else { 0 };
        yes
    }

    /// Whether all of the row is UTF-8. Most rows are read without: literal text is, and each string is looked at by itself.
    fn checked(&mut self) -> bool {
        if self.cursor.text.is_empty() {
            self.cursor.text = super::decode::checked_text(self.row).unwrap_or_default();
        }
        !self.cursor.text.is_empty()
    }

    /// Comma, key and value, if that is one of those that are quickly read. False: nothing was stepped over.
    #[inline]
    fn quick<const EXACT: bool>(&mut self, entry: &BoundEntry, columns: &mut [Column]) -> bool {
        let glue = if entry.quick == Quick::Text { &entry.quoted } else { &entry.glue };
        if entry.quick == Quick::No || !glue.begins(&self.row[self.cursor.at..]) {
            return false;
        }
        let (bytes, at) = (self.row, self.cursor.at + glue.len());
        let column = &mut columns[entry.slot];
        let end = match (entry.quick, &mut column.data) {
            (Quick::Text, Data::Var { ends, values }) => {
                let from = &bytes[at..];
                let Some(len) = quick::string(from) else { return false };
                if EXACT && !self.strings.keeps(&from[..len]) {
                    return false;
                }
                append_front(values, from, len);
                // `reserve_row` keeps all values together below 2^31.
                ends.push(values.len() as i32);
                Some(at + len + 1)
            }
            (Quick::Integer, Data::I64(values)) => quick::integer(bytes, at).map(|(value, end)| {
                values.push(value);
                end
            }),
            (Quick::Double(style), Data::F64(values)) => {
                let read =
                    quick::number(bytes, at).and_then(|(number, end)| Some((number.double::<EXACT>(style)?, end)));
                read.map(|(value, end)| {
                    values.push(value);
                    end
                })
            }
            (Quick::Bool, Data::Bool(values)) => quick::boolean(bytes, at).map(|(value, end)| {
                values.append(value);
                end
            }),
            _ => None,
        };
        let Some(end) = end else { return false };
        self.cursor.at = end;
        column.written();
        true
    }

    /// A value, or null where that is allowed.
    fn item<const EXACT: bool>(&mut self, shape: &BoundValue, field: &PlanField, column: &mut Column) -> bool {
        if self.cursor.peek() != Some(b'n') {
            return self.value::<EXACT>(shape, field, column);
        }
        if !field.nullable || !self.cursor.eat_all(b"null") {
            return false;
        }
        column.append_null();
        true
    }

    #[inline]
    fn value<const EXACT: bool>(&mut self, shape: &BoundValue, field: &PlanField, column: &mut Column) -> bool {
        match (shape, &field.kind, &mut column.data) {
            (BoundValue::Simple(format), Kind::Simple, _) => self.simple::<EXACT>(format, field, column),
            (BoundValue::Row(object), Kind::Row(members), Data::Row(columns)) => {
                if !self.object::<EXACT>(object, members, columns) {
                    return false;
                }
                column.written();
                true
            }
            (BoundValue::List(list), Kind::Array(item), Data::List { item: items, .. }) => {
                if !self.list::<EXACT>(list, item, None, items) {
                    return false;
                }
                column.end_list();
                true
            }
            (BoundValue::List(list), Kind::Map(value), Data::Map { key, value: values, .. }) => {
                if !self.list::<EXACT>(list, value, Some(key), values) {
                    return false;
                }
                column.end_list();
                true
            }
            _ => false,
        }
    }

    fn list<const EXACT: bool>(
        &mut self,
        shape: &BoundList,
        item: &PlanField,
        mut keys: Option<&mut Box<Column>>,
        items: &mut Column,
    ) -> bool {
        let text = &shape.text;
        if self.cursor.eat_all(text.empty.as_bytes()) {
            return true;
        }
        if !self.cursor.eat_all(text.open.as_bytes()) {
            return false;
        }
        let mut seen = std::collections::HashSet::new();
        loop {
            if !self.charge(1 + item.cells) {
                return false;
            }
            if let Some(keys) = &mut keys {
                let Ok((raw, escaped)) = self.cursor.string() else { return false };
                if escaped || !self.strings.keeps(raw.as_bytes()) || !seen.insert(raw) {
                    return false;
                }
                keys.append_bytes(raw.as_bytes());
                if !self.cursor.eat_all(text.colon.as_bytes()) {
                    return false;
                }
            }
            if !self.item::<EXACT>(&shape.item, item, items) {
                return false;
            }
            if !self.cursor.eat_all(text.comma.as_bytes()) {
                return self.cursor.eat_all(text.close.as_bytes());
            }
        }
    }

    #[inline]
    fn simple<const EXACT: bool>(&mut self, format: &Format, field: &PlanField, column: &mut Column) -> bool {
        let first = self.cursor.peek().unwrap_or(0);
        match (&field.data_type, format) {
            (DataType::String, _) => self.text::<EXACT>(column),
            (DataType::Json, _) => match self.cursor.skip(DEPTH_MAX) {
                Ok(text) => {
                    column.append_bytes(text.as_bytes());
                    true
                }
                Err(_) => false,
            },
            (DataType::TinyInt | DataType::SmallInt | DataType::Int | DataType::BigInt, Format::Plain)
                if first != b'"' =>
            {
                self.integer::<EXACT>(field, column)
            }
            (DataType::Double | DataType::Float, Format::Float(style)) if first != b'"' => {
                self.float::<EXACT>(*style, format, field, column)
            }
            (DataType::Decimal { precision, scale }, Format::Decimal { quoted: false, style }) if first != b'"' => {
                let start = self.cursor.at;
                match self.short_decimal::<EXACT>(*style, *precision, *scale) {
                    Some(value) => column.append(Value::Decimal(value)),
                    None => {
                        self.cursor.at = start;
                        self.formatted::<EXACT>(format, field, column)
                    }
                }
            }
            _ => self.formatted::<EXACT>(format, field, column),
        }
    }

    #[inline]
    fn text<const EXACT: bool>(&mut self, column: &mut Column) -> bool {
        let Ok((raw, escaped)) = self.cursor.string() else { return false };
        if !escaped {
            if EXACT && !self.strings.keeps(raw.as_bytes()) {
                return false;
            }
            column.append_bytes(raw.as_bytes());
            return true;
        }
        self.scratch.text.clear();
        unescape(raw, &mut self.scratch.text);
        if EXACT {
            let Ok(text) = std::str::from_utf8(&self.scratch.text) else { return false };
            self.scratch.bytes.clear();
            self.strings.write(text, &mut self.scratch.bytes);
            if self.scratch.bytes != raw.as_bytes() {
                return false;
            }
        }
        column.append_bytes(&self.scratch.text);
        true
    }

    #[inline]
    fn integer<const EXACT: bool>(&mut self, field: &PlanField, column: &mut Column) -> bool {
        let bytes = self.cursor.rest();
        let negative = bytes.first() == Some(&b'-');
        let digits = &bytes[usize::from(negative)..];
        let (mut value, mut len) = (0u64, 0);
        while let Some(digit) = digits.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            if len == 18 {
                break;
            }
            value = value * 10 + u64::from(digit);
            len += 1;
        }
        let behind = digits.get(len).copied().unwrap_or(0);
        let plain = !matches!(behind, b'.' | b'e' | b'E' | b'0'..=b'9');
        if len == 0 || !plain || (digits[0] == b'0' && (len > 1 || negative)) {
            // Long ones, and those only lenient mode takes.
            return self.formatted::<EXACT>(&Format::Plain, field, column);
        }
        // At most 18 digits.
        let value = if negative { -(value as i64) } else { value as i64 };
        let fits = match &mut column.data {
            Data::I64(values) => {
                values.push(value);
                true
            }
            Data::I32(values) => i32::try_from(value).map(|value| values.push(value)).is_ok(),
            Data::I16(values) => i16::try_from(value).map(|value| values.push(value)).is_ok(),
            Data::I8(values) => i8::try_from(value).map(|value| values.push(value)).is_ok(),
            _ => false,
        };
        if !fits {
            return false;
        }
        self.cursor.at += usize::from(negative) + len;
        column.written();
        true
    }

    /// Digits of a number without exponent and with at most 15 digits: value without point, digits behind the point,
    /// whether there is a point. The cursor is behind it.
    #[inline]
    fn short_number(&mut self) -> Option<ShortNumber> {
        let bytes = self.cursor.rest();
        let negative = bytes.first() == Some(&b'-');
        let mut at = usize::from(negative);
        let (start, mut mantissa, mut point) = (at, 0u64, None);
        loop {
            match bytes.get(at) {
                Some(byte @ b'0'..=b'9') => {
                    mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                }
                Some(b'.') if point.is_none() => point = Some(at),
                Some(b'e' | b'E' | b'.') => return None,
                _ => break,
            }
            at += 1;
        }
        let digits = at - start - usize::from(point.is_some());
        let whole = point.unwrap_or(at) - start;
        let decimals = point.map_or(0, |point| at - point - 1);
        // JSON: a digit on both sides of the point, no leading zero.
        if digits > 15 || whole == 0 || (bytes[start] == b'0' && whole > 1) || (point.is_some() && decimals == 0) {
            return None;
        }
        let last_zero = bytes[at - 1] == b'0';
        self.cursor.at += at;
        Some(ShortNumber { negative, mantissa, whole, decimals, last_zero })
    }

    #[inline]
    fn float<const EXACT: bool>(
        &mut self,
        style: FloatStyle,
        format: &Format,
        field: &PlanField,
        column: &mut Column,
    ) -> bool {
        let start = self.cursor.at;
        if let Some(number) = self.short_number() {
            let value = match &mut column.data {
                Data::F64(_) => number.double::<EXACT>(style).map(Value::Double),
                _ => number.float::<EXACT>(style).map(Value::Float),
            };
            if let Some(value) = value {
                return column.append(value);
            }
        }
        self.cursor.at = start;
        self.formatted::<EXACT>(format, field, column)
    }

    #[inline]
    fn short_decimal<const EXACT: bool>(&mut self, style: DecimalStyle, precision: u8, scale: u8) -> Option<i128> {
        let number = self.short_number()?;
        let shift = usize::from(scale).checked_sub(number.decimals)?;
        if EXACT && (!number.is_decimal_of(style) || (number.negative && number.mantissa == 0)) {
            return None;
        }
        let value = i128::from(number.mantissa).checked_mul(10i128.checked_pow(shift as u32)?)?;
        if value >= 10i128.checked_pow(u32::from(precision))? {
            return None;
        }
        Some(if number.negative { -value } else { value })
    }

    /// Any simple value, formatted once and compared.
    fn formatted<const EXACT: bool>(&mut self, format: &Format, field: &PlanField, column: &mut Column) -> bool {
        let start = self.cursor.at;
        let token = match self.cursor.peek() {
            Some(b'"') => match self.cursor.string() {
                Ok((raw, false)) => Token::Text(raw),
                _ => return false,
            },
            Some(b't') if self.cursor.eat_all(b"true") => Token::Bool(true),
            Some(b'f') if self.cursor.eat_all(b"false") => Token::Bool(false),
            _ => match self.cursor.number() {
                Ok(number) => Token::Number(number),
                Err(_) => return false,
            },
        };
        let Scratch { text, bytes } = &mut *self.scratch;
        let Ok(value) = scalar::value(&field.data_type, token, bytes) else { return false };
        if EXACT {
            text.clear();
            write(format, &field.data_type, value, self.strings, text);
            if text.as_slice() != &self.cursor.text.as_bytes()[start..self.cursor.at] {
                return false;
            }
        }
        column.append(value)
    }
}
