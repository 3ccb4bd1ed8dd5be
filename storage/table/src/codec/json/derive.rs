//! Guesses the shape of a row that fits none of the known ones. A guess needs not be right: it is used only after the
//! row was read with it ([`super::fast`]) and came out the same.

use super::OnUnknown;
use super::format::{DecimalStyle, FloatStyle, Format, Fraction, StringStyle, Zone, write};
use super::parse::Scratch;
use super::scalar::{self, Token};
use super::shape::{Entry, ListShape, ObjectShape, RowShape, ValueShape};
use super::text::{Cursor, DEPTH_MAX};
use super::time::parse_zone;
use crate::codec::plan::{Kind, Members, PlanField};
use crate::schema::DataType;

pub(super) struct Deriver<'a, 's> {
    cursor: Cursor<'a>,
    scratch: &'s mut Scratch,
    unknown: OnUnknown,
    /// The style that was last seen for certain.
    float: FloatStyle,
}

/// The shape of `text`, as close to `prior` as possible: fields that only `prior` has become fields that are left out
/// when null, so that rows with different fields converge to one shape.
pub(super) fn shape(
    text: &str,
    members: &Members,
    prior: Option<&RowShape>,
    unknown: OnUnknown,
    scratch: &mut Scratch,
) -> Option<RowShape> {
    let strings = string_style(text, prior.map(|prior| prior.strings).unwrap_or_default());
    let cursor = Cursor::new(text);
    let mut deriver = Deriver { cursor, scratch, unknown, float: FloatStyle::JavaScript };
    let lead = deriver.cursor.space();
    let mut object = deriver.object(lead, members, prior.map(|prior| &prior.object), true)?;
    let behind = deriver.cursor.space();
    object.close.push_str(behind);
    (deriver.cursor.at == text.len()).then_some(RowShape { strings, object })
}

/// What the escapes of a row tell about its writer; what they do not tell stays as it was.
fn string_style(text: &str, prior: StringStyle) -> StringStyle {
    let (mut style, bytes, mut at) = (prior, text.as_bytes(), 0);
    let (mut ascii, mut slash, mut html) = (false, false, false);
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        match bytes.get(at + 1) {
            Some(b'/') => slash = true,
            Some(b'b' | b'f') => style.long = false,
            Some(b'u') => {
                let digits = bytes.get(at + 2..at + 6).unwrap_or_default();
                if digits.iter().any(u8::is_ascii_alphabetic) {
                    style.upper = digits.iter().any(u8::is_ascii_uppercase);
                }
                match digits.to_ascii_lowercase().as_slice() {
                    b"003c" | b"003e" | b"0026" | b"2028" | b"2029" => html = true,
                    b"0008" | b"000c" => style.long = true,
                    [b'0', b'0', b'0' | b'1', _] => {}
                    _ => ascii = true,
                }
            }
            _ => {}
        }
        at = (at + 2).min(bytes.len());
    }
    style.slash = slash || (style.slash && !text.contains('/'));
    style.html = html || (style.html && !text.contains(['<', '>', '&']));
    style.ascii = ascii || (style.ascii && text.is_ascii());
    style
}

impl Deriver<'_, '_> {
    fn object(
        &mut self,
        before: &str,
        members: &Members,
        prior: Option<&ObjectShape>,
        top: bool,
    ) -> Option<ObjectShape> {
        if !self.cursor.eat(b'{') {
            return None;
        }
        let open = if top { format!("{before}{{") } else { "{".to_string() };
        let mut shape = ObjectShape { open, comma: String::new(), close: String::new(), entries: Vec::new() };
        let spaces = self.cursor.at;
        self.cursor.space();
        if self.cursor.eat(b'}') {
            shape.close = self.cursor.text[spaces..self.cursor.at].to_string();
        } else {
            self.cursor.at = spaces;
            self.entries(&mut shape, members, prior)?;
        }
        if let Some(prior) = prior.filter(|prior| shape.comma.is_empty() || prior.comma == shape.comma) {
            shape.comma.clone_from(&prior.comma);
            merge(&mut shape, prior, members);
        }
        if shape.comma.is_empty() {
            shape.comma.push(',');
        }
        Some(shape)
    }

    fn entries(&mut self, shape: &mut ObjectShape, members: &Members, prior: Option<&ObjectShape>) -> Option<()> {
        loop {
            let start = self.cursor.at;
            self.cursor.space();
            let (raw, escaped) = self.cursor.string().ok()?;
            let key = if escaped { serde_json::from_str(&format!("\"{raw}\"")).ok()? } else { raw.to_string() };
            self.cursor.space();
            if !self.cursor.eat(b':') {
                return None;
            }
            self.cursor.space();
            let lead = self.cursor.text[start..self.cursor.at].to_string();
            let entry = match members.find(&key, shape.entries.len()) {
                Some(index) => self.entry(lead, &members.fields[index], prior)?,
                None if self.unknown == OnUnknown::Drop => {
                    self.cursor.skip(DEPTH_MAX).ok()?;
                    Entry { lead, id: None, omit: true, value: ValueShape::Null }
                }
                None => return None,
            };
            shape.entries.push(entry);
            let start = self.cursor.at;
            self.cursor.space();
            let last = self.cursor.eat(b'}');
            if !last && !self.cursor.eat(b',') {
                return None;
            }
            let between = &self.cursor.text[start..self.cursor.at];
            if last {
                shape.close = between.to_string();
                return Some(());
            }
            if shape.comma.is_empty() {
                shape.comma = between.to_string();
            } else if shape.comma != between {
                return None;
            }
        }
    }

    fn entry(&mut self, lead: String, field: &PlanField, prior: Option<&ObjectShape>) -> Option<Entry> {
        let known = prior.and_then(|prior| prior.entries.iter().find(|entry| entry.id == Some(field.id)));
        if self.cursor.eat_all(b"null") {
            let value = known.map_or(ValueShape::Null, |known| known.value.clone());
            return Some(Entry { lead, id: Some(field.id), omit: false, value });
        }
        let value = self.value(field, known.map(|known| &known.value))?;
        let may_miss = field.nullable && field.default.is_none();
        // A field that earlier rows did not have at all is one that may be missing.
        let omit = may_miss && known.map_or(prior.is_some(), |known| known.omit);
        Some(Entry { lead, id: Some(field.id), omit, value })
    }

    fn value(&mut self, field: &PlanField, prior: Option<&ValueShape>) -> Option<ValueShape> {
        match &field.kind {
            Kind::Simple => {
                let prior = match prior {
                    Some(ValueShape::Simple(format)) => Some(format),
                    _ => None,
                };
                self.simple(&field.data_type, prior).map(ValueShape::Simple)
            }
            Kind::Row(members) => {
                let prior = match prior {
                    Some(ValueShape::Row(object)) => Some(object),
                    _ => None,
                };
                self.object("", members, prior, false).map(ValueShape::Row)
            }
            Kind::Array(item) => self.list(item, b'[', b']', prior),
            Kind::Map(value) => self.list(value, b'{', b'}', prior),
        }
    }

    fn list(&mut self, item: &PlanField, open: u8, close: u8, prior: Option<&ValueShape>) -> Option<ValueShape> {
        let mut list = match prior {
            Some(ValueShape::List(list)) => (**list).clone(),
            _ => ListShape {
                open: (open as char).into(),
                comma: ",".into(),
                colon: ":".into(),
                close: (close as char).into(),
                empty: format!("{}{}", open as char, close as char),
                item: ValueShape::Null,
            },
        };
        let start = self.cursor.at;
        if !self.cursor.eat(open) {
            return None;
        }
        self.cursor.space();
        let opened = self.cursor.at;
        if self.cursor.eat(close) {
            list.empty = self.cursor.text[start..self.cursor.at].to_string();
            return Some(ValueShape::List(Box::new(list)));
        }
        list.open = self.cursor.text[start..opened].to_string();
        let mut comma: Option<&str> = None;
        loop {
            if close == b'}' {
                self.cursor.string().ok()?;
                let colon = self.cursor.at;
                self.cursor.space();
                if !self.cursor.eat(b':') {
                    return None;
                }
                self.cursor.space();
                list.colon = self.cursor.text[colon..self.cursor.at].to_string();
            }
            if !self.cursor.eat_all(b"null") {
                let before = (list.item != ValueShape::Null).then_some(&list.item);
                list.item = self.value(item, before)?;
            }
            let start = self.cursor.at;
            self.cursor.space();
            if self.cursor.eat(close) {
                list.close = self.cursor.text[start..self.cursor.at].to_string();
                break;
            }
            if !self.cursor.eat(b',') {
                return None;
            }
            self.cursor.space();
            let between = &self.cursor.text[start..self.cursor.at];
            if comma.is_some_and(|comma| comma != between) {
                return None;
            }
            comma = Some(between);
        }
        if let Some(comma) = comma {
            list.comma = comma.to_string();
        }
        Some(ValueShape::List(Box::new(list)))
    }

    fn simple(&mut self, data_type: &DataType, prior: Option<&Format>) -> Option<Format> {
        let raw = self.cursor.skip(DEPTH_MAX).ok()?;
        if matches!(data_type, DataType::String | DataType::Json | DataType::Boolean) {
            return Some(Format::Plain);
        }
        let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        let token = match inner {
            Some(text) if text.contains('\\') => return None,
            Some(text) => Token::Text(text),
            None if raw.starts_with(['t', 'f', '[', '{']) => return None,
            None => Token::Number(raw),
        };
        let Scratch { text, bytes } = &mut *self.scratch;
        let value = scalar::value(data_type, token, bytes).ok()?;
        let mut writes = |format: &Format| {
            text.clear();
            write(format, data_type, value, StringStyle::default(), text);
            text == raw.as_bytes()
        };
        if let Some(prior) = prior.filter(|prior| writes(prior)) {
            return Some(prior.clone());
        }
        let found = candidates(data_type, raw, inner, prior, self.float).into_iter().find(writes)?;
        if let Format::Float(style) = found {
            self.float = style;
        }
        Some(found)
    }
}

/// Formats that may have written `raw`, likely ones first.
fn candidates(
    data_type: &DataType,
    raw: &str,
    inner: Option<&str>,
    prior: Option<&Format>,
    float: FloatStyle,
) -> Vec<Format> {
    let text = inner.unwrap_or(raw);
    let decimals = text.split_once('.').map_or(0, |(_, behind)| behind.bytes().take_while(u8::is_ascii_digit).count());
    let decimals = u8::try_from(decimals).unwrap_or(u8::MAX);
    match data_type {
        DataType::Float | DataType::Double => {
            use FloatStyle::{Fixed, Java, JavaScript, Python, Rust};
            [float, JavaScript, Python, Rust, Java, Fixed(decimals)].map(Format::Float).to_vec()
        }
        DataType::Decimal { scale, .. } => {
            use DecimalStyle::{Fixed, PointZero, Short};
            // Another number of decimals than before: they are not fixed.
            let other = matches!(prior, Some(Format::Decimal { style: Fixed(before), .. }) if *before != decimals);
            let first = if !other && decimals == *scale { Fixed(decimals) } else { Short };
            let quoted = inner.is_some();
            [first, Short, PointZero, Fixed(decimals)].map(|style| Format::Decimal { quoted, style }).to_vec()
        }
        DataType::Time(_) => fractions(decimals, prior).map(Format::Clock).to_vec(),
        DataType::Timestamp(_) | DataType::TimestampLtz(_) => {
            let behind = text
                .get(19..)
                .unwrap_or_default()
                .trim_start_matches(|each: char| each == '.' || each.is_ascii_digit());
            let zone = match behind {
                "" => Zone::None,
                "Z" => Zone::Z,
                zone => Zone::Offset(parse_zone(zone.as_bytes()).and_then(|zone| zone.try_into().ok()).unwrap_or(0)),
            };
            let between = text.chars().nth(10).filter(char::is_ascii).unwrap_or('T');
            let stamp = |fraction| Format::Stamp { between, fraction, zone };
            let mut formats = fractions(decimals, prior).map(stamp).to_vec();
            formats.push(Format::Plain);
            formats
        }
        DataType::Uuid => vec![Format::Plain, Format::UpperUuid],
        _ => vec![Format::Plain, Format::Quoted],
    }
}

fn fractions(digits: u8, prior: Option<&Format>) -> [Fraction; 3] {
    use Fraction::{Fixed, Short, ZeroOr};
    let before = match prior {
        Some(Format::Clock(fraction) | Format::Stamp { fraction, .. }) => Some(*fraction),
        _ => None,
    };
    match before {
        Some(Fixed(before) | ZeroOr(before)) if before != digits && digits > 0 && before > 0 => {
            [Short, ZeroOr(digits), Fixed(digits)]
        }
        _ if digits == 0 => [ZeroOr(3), Fixed(0), Short],
        _ => [ZeroOr(digits), Fixed(digits), Short],
    }
}

/// Entries only `prior` has are put behind the entry they followed there, left out when null.
fn merge(shape: &mut ObjectShape, prior: &ObjectShape, members: &Members) {
    let mut at = 0;
    for entry in &prior.entries {
        let same = |known: &Entry| match entry.id {
            Some(_) => known.id == entry.id,
            None => known.id.is_none() && known.lead == entry.lead,
        };
        if let Some(index) = shape.entries.iter().position(same) {
            at = index + 1;
            continue;
        }
        let field = entry.id.and_then(|id| members.find_id(id)).map(|index| &members.fields[index]);
        if field.is_none_or(|field| field.nullable && field.default.is_none()) {
            shape.entries.insert(at, Entry { omit: true, ..entry.clone() });
            at += 1;
        }
    }
}
