//! Any JSON row into the builders: every key order, every spacing, every error with its place.

use std::collections::HashSet;

use super::OnUnknown;
use super::error::{RowError, RowErrorKind, ValueKind, within};
use super::scalar::{self, Token};
use super::text::{Cursor, DEPTH_MAX, unescape};
use crate::builder::{Column, Data};
use crate::codec::plan::{Kind, Members, PlanField};
use crate::schema::DataType;

/// Buffers that are reused from row to row.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) text: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Parser<'a, 's> {
    pub(super) cursor: Cursor<'a>,
    pub(super) scratch: &'s mut Scratch,
    pub(super) unknown: OnUnknown,
    /// Column values this row may still have.
    pub(super) cells: usize,
    pub(super) cells_max: usize,
    pub(super) saw_unknown: bool,
    /// Errors of top-level columns that became null instead; `None`: the first error ends the row.
    pub(super) nulled: Option<Vec<RowError>>,
}

impl<'a, 's> Parser<'a, 's> {
    pub(super) fn new(text: &'a str, unknown: OnUnknown, cells: usize, scratch: &'s mut Scratch) -> Parser<'a, 's> {
        let cursor = Cursor::new(text);
        Parser { cursor, scratch, unknown, cells, cells_max: cells, saw_unknown: false, nulled: None }
    }

    fn fail<T>(&self, kind: RowErrorKind) -> Result<T, RowError> {
        Err(RowError { column: String::new(), position: self.cursor.at, kind })
    }

    fn syntax<T>(&self, expected: &'static str) -> Result<T, RowError> {
        self.fail(RowErrorKind::Syntax { expected })
    }

    fn charge(&mut self, cells: usize) -> Result<(), RowError> {
        match self.cells.checked_sub(cells) {
            Some(left) => {
                self.cells = left;
                Ok(())
            }
            None => self.fail(RowErrorKind::TooManyValues { max: self.cells_max }),
        }
    }

    /// A whole row: one object and nothing behind it.
    pub(super) fn row(&mut self, members: &Members, columns: &mut [Column]) -> Result<(), RowError> {
        self.cursor.space();
        if self.cursor.peek() != Some(b'{') {
            if let Some(found) = self.kind() {
                return self.fail(RowErrorKind::Type { expected: "an object with the table's columns".into(), found });
            }
            return self.syntax("an object");
        }
        self.object(members, columns, true)?;
        self.cursor.space();
        if self.cursor.peek().is_some() { self.syntax("the end of the row") } else { Ok(()) }
    }

    fn kind(&self) -> Option<ValueKind> {
        Some(match self.cursor.peek()? {
            b'{' => ValueKind::Object,
            b'[' => ValueKind::Array,
            b'"' => ValueKind::String,
            b't' | b'f' => ValueKind::Boolean,
            b'n' => ValueKind::Null,
            b'-' | b'0'..=b'9' => ValueKind::Number,
            _ => return None,
        })
    }

    fn object(&mut self, members: &Members, columns: &mut [Column], top: bool) -> Result<(), RowError> {
        self.charge(members.cells)?;
        self.cursor.at += 1;
        let mut seen = vec![false; members.fields.len()];
        let mut unknown = HashSet::new();
        let mut guess = 0;
        self.cursor.space();
        let mut more = !self.cursor.eat(b'}');
        while more {
            self.cursor.space();
            let start = self.cursor.at;
            let key = self.key()?;
            match members.find(&key, guess) {
                Some(index) => {
                    guess = index + 1;
                    let field = &members.fields[index];
                    if std::mem::replace(&mut seen[index], true) {
                        self.cursor.at = start;
                        return self.fail(RowErrorKind::DuplicateKey).map_err(|error| within(error, &field.name));
                    }
                    self.member(field, &mut columns[field.slot], top)?;
                }
                None => self.unknown(key, start, &mut unknown)?,
            }
            self.cursor.space();
            more = !self.cursor.eat(b'}');
            if more && !self.cursor.eat(b',') {
                return self.syntax("a comma or } after a member");
            }
        }
        for (field, _) in members.fields.iter().zip(seen).filter(|(_, seen)| !seen) {
            self.absent(field, &mut columns[field.slot]).map_err(|error| within(error, &field.name))?;
        }
        Ok(())
    }

    /// A key and the colon behind it.
    fn key(&mut self) -> Result<String, RowError> {
        let (raw, escaped) = self.cursor.string().or_else(|kind| self.fail(kind))?;
        let key = if escaped { self.unescaped(raw).to_string() } else { raw.to_string() };
        self.cursor.space();
        if !self.cursor.eat(b':') {
            return self.syntax("a colon after a key");
        }
        self.cursor.space();
        Ok(key)
    }

    fn unescaped(&mut self, raw: &str) -> &str {
        self.scratch.text.clear();
        unescape(raw, &mut self.scratch.text);
        // Escapes were checked, and what they stand for is UTF-8.
        std::str::from_utf8(&self.scratch.text).unwrap_or_default()
    }

    fn unknown(&mut self, key: String, start: usize, seen: &mut HashSet<String>) -> Result<(), RowError> {
        let error = |kind| Err(RowError { column: super::error::cut(&key), position: start, kind });
        if self.unknown == OnUnknown::Reject {
            return error(RowErrorKind::Unknown);
        }
        if seen.contains(&key) {
            return error(RowErrorKind::DuplicateKey);
        }
        self.cursor.skip(DEPTH_MAX).or_else(|kind| self.fail(kind))?;
        seen.insert(key);
        self.saw_unknown = true;
        Ok(())
    }

    fn member(&mut self, field: &PlanField, column: &mut Column, top: bool) -> Result<(), RowError> {
        let (start, len) = (self.cursor.at, column.len);
        let error = match self.value(field, column) {
            Ok(()) => return Ok(()),
            Err(error) => within(error, &field.name),
        };
        let fits = !matches!(error.kind, RowErrorKind::Syntax { .. } | RowErrorKind::TooManyValues { .. });
        if !top || !field.nullable || !fits || self.nulled.is_none() {
            return Err(error);
        }
        column.truncate(len);
        column.append_null();
        self.cursor.at = start;
        self.cursor.skip(DEPTH_MAX).or_else(|kind| self.fail(kind))?;
        self.nulled.get_or_insert_default().push(error);
        Ok(())
    }

    /// A field that the row does not have.
    pub(super) fn absent(&mut self, field: &PlanField, column: &mut Column) -> Result<(), RowError> {
        if let Some(default) = &field.default {
            let mut parser = Parser::new(default, self.unknown, self.cells, self.scratch);
            return parser.value(field, column);
        }
        if !field.nullable {
            return self.fail(RowErrorKind::Missing);
        }
        column.append_null();
        Ok(())
    }

    pub(super) fn value(&mut self, field: &PlanField, column: &mut Column) -> Result<(), RowError> {
        if self.cursor.eat_all(b"null") {
            if !field.nullable {
                return self.fail(RowErrorKind::NotNull);
            }
            column.append_null();
            return Ok(());
        }
        match (&field.kind, &mut column.data) {
            (Kind::Simple, _) => return self.simple(field, column),
            (Kind::Row(members), Data::Row(columns)) => {
                self.open(b'{', field)?;
                self.cursor.at -= 1;
                self.object(members, columns, false)?;
                column.written();
            }
            (Kind::Array(item), Data::List { item: items, .. }) => {
                self.open(b'[', field)?;
                let mut index = 0;
                while self.next_item(b']', index == 0)? {
                    self.charge(item.cells)?;
                    self.value(item, items).map_err(|error| within(error, &format!("[{index}]")))?;
                    index += 1;
                }
                column.end_list();
            }
            (Kind::Map(value), Data::Map { key: keys, value: values, .. }) => {
                self.open(b'{', field)?;
                self.map(value, keys, values)?;
                column.end_list();
            }
            _ => return self.syntax("a column of the table"),
        }
        Ok(())
    }

    fn map(&mut self, value: &PlanField, keys: &mut Column, values: &mut Column) -> Result<(), RowError> {
        let mut seen = HashSet::new();
        while self.next_item(b'}', seen.is_empty())? {
            self.charge(1 + value.cells)?;
            let start = self.cursor.at;
            let key = self.key()?;
            keys.append_bytes(key.as_bytes());
            let shown = format!("[{:?}]", super::error::cut(&key));
            if !seen.insert(key) {
                self.cursor.at = start;
                return self.fail(RowErrorKind::DuplicateKey).map_err(|error| within(error, &shown));
            }
            self.value(value, values).map_err(|error| within(error, &shown))?;
        }
        Ok(())
    }

    fn open(&mut self, open: u8, field: &PlanField) -> Result<(), RowError> {
        if self.cursor.eat(open) {
            return Ok(());
        }
        match self.kind() {
            Some(found) => self.fail(RowErrorKind::Type { expected: field.data_type.to_string(), found }),
            None => self.syntax("a value"),
        }
    }

    /// Whether another item comes, and moves to it.
    fn next_item(&mut self, close: u8, first: bool) -> Result<bool, RowError> {
        self.cursor.space();
        if self.cursor.eat(close) {
            return Ok(false);
        }
        if !first && !self.cursor.eat(b',') {
            return self.syntax("a comma or the end of the list");
        }
        self.cursor.space();
        Ok(true)
    }

    fn simple(&mut self, field: &PlanField, column: &mut Column) -> Result<(), RowError> {
        let start = self.cursor.at;
        if field.data_type == DataType::Json {
            let text = self.cursor.skip(DEPTH_MAX).or_else(|kind| self.fail(kind))?;
            column.append_bytes(text.as_bytes());
            return Ok(());
        }
        let token = match self.cursor.peek() {
            Some(b'"') => {
                let (raw, escaped) = self.cursor.string().or_else(|kind| self.fail(kind))?;
                if escaped {
                    self.scratch.text.clear();
                    unescape(raw, &mut self.scratch.text);
                    Token::Text(std::str::from_utf8(&self.scratch.text).unwrap_or_default())
                } else {
                    Token::Text(raw)
                }
            }
            Some(b'-' | b'0'..=b'9') => Token::Number(self.cursor.number().or_else(|kind| self.fail(kind))?),
            Some(b't') if self.cursor.eat_all(b"true") => Token::Bool(true),
            Some(b'f') if self.cursor.eat_all(b"false") => Token::Bool(false),
            Some(b'{' | b'[') => {
                let found = if self.cursor.peek() == Some(b'{') { ValueKind::Object } else { ValueKind::Array };
                return self.fail(RowErrorKind::Type { expected: field.data_type.to_string(), found });
            }
            _ => return self.syntax("a value"),
        };
        match scalar::value(&field.data_type, token, &mut self.scratch.bytes) {
            Ok(value) if column.append(value) => Ok(()),
            Ok(_) => self.syntax("a column of the table"),
            Err(kind) => Err(RowError { column: String::new(), position: start, kind }),
        }
    }
}
