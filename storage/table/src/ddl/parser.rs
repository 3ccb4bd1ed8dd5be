//! Recursive descent over the tokens, at most [`NESTING_MAX`] levels deep.

use super::lexer::{Spanned, Token, tokens};
use crate::schema::{COLUMNS_MAX, DataType, Field, NESTING_MAX, TimeUnit};

/// A DDL text that is not one: where and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {position} of the schema: {kind}")]
pub struct DdlError {
    /// Byte in the text.
    pub position: usize,
    /// What is wrong and what to write.
    pub kind: DdlErrorKind,
}

/// What is wrong with a DDL text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DdlErrorKind {
    /// Longer than [`super::DDL_LEN_MAX`].
    #[error("the text is longer than {} bytes", super::DDL_LEN_MAX)]
    TooLong,
    /// A character that begins nothing.
    #[error("unexpected character {found:?}; quote odd names: \"{found}...\"")]
    Character {
        /// The character.
        found: char,
    },
    /// A quote without its end.
    #[error("the quote {quote} is never closed")]
    OpenQuote {
        /// Which one.
        quote: char,
    },
    /// A comment without its end.
    #[error("the comment is never closed; end it with */")]
    OpenComment,
    /// Something else than the grammar allows here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What the grammar allows.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// No such type.
    #[error(
        "unknown type {name}; types are BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, DECIMAL(p,s), FLOAT, DOUBLE, STRING, BYTES, DATE, TIME(3|6), TIMESTAMP(3|6), TIMESTAMP_LTZ(3|6), UUID, JSON, ARRAY<T>, MAP<STRING,T>, ROW<name T, ...>{hint}"
    )]
    UnknownType {
        /// As written.
        name: String,
        /// What to write instead, where that is known.
        hint: &'static str,
    },
    /// A resolution that is not stored.
    #[error("precision {found} is not supported here; write (3) for milliseconds or (6) for microseconds")]
    Precision {
        /// As written.
        found: String,
    },
    /// Deeper than allowed.
    #[error("types nest at most {NESTING_MAX} levels deep")]
    TooDeep,
    /// More columns than allowed.
    #[error("a table has at most {COLUMNS_MAX} columns, nested ones included")]
    TooManyColumns,
    /// Maps have string keys.
    #[error("the key of a MAP is STRING, found {found}; use ARRAY<ROW<k {found}, v ...>> instead")]
    MapKey {
        /// The key's type.
        found: String,
    },
    /// DEFAULT on a part of a type.
    #[error("DEFAULT is allowed for columns and members of a ROW, not here")]
    DefaultHere,
}

impl DdlError {
    pub(super) fn at(position: usize, kind: DdlErrorKind) -> DdlError {
        DdlError { position, kind }
    }
}

/// Reads a list of columns. Their ids are 0: [`crate::TableSchema::create`] or `diff` assigns them and checks names.
pub fn parse(text: &str) -> Result<Vec<Field>, DdlError> {
    if text.len() > super::DDL_LEN_MAX {
        return Err(DdlError::at(super::DDL_LEN_MAX, DdlErrorKind::TooLong));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, fields: 0 };
    let columns = parser.members(1)?;
    match parser.peek() {
        Token::End => Ok(columns),
        _ => Err(parser.expected("a comma or the end of the schema")),
    }
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    fields: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is End, and `next` never moves past it.
        &self.tokens[self.at].0
    }

    fn position(&self) -> usize {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn error(&self, kind: DdlErrorKind) -> DdlError {
        DdlError::at(self.position(), kind)
    }

    fn expected(&self, expected: &'static str) -> DdlError {
        let found = match self.peek() {
            Token::Word(word) | Token::Number(word) => word.clone(),
            Token::Quoted(name) => format!("\"{name}\""),
            Token::Text(text) => format!("'{text}'"),
            Token::Sign(sign) => sign.to_string(),
            Token::End => "the end".to_string(),
        };
        self.error(DdlErrorKind::Expected { expected, found: found.chars().take(80).collect() })
    }

    fn accept(&mut self, sign: char) -> bool {
        let yes = *self.peek() == Token::Sign(sign);
        if yes {
            self.next();
        }
        yes
    }

    fn require(&mut self, sign: char, expected: &'static str) -> Result<(), DdlError> {
        if self.accept(sign) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let yes = matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word));
        if yes {
            self.next();
        }
        yes
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Field>, DdlError> {
        let mut members = vec![self.member(depth)?];
        while self.accept(',') {
            members.push(self.member(depth)?);
        }
        Ok(members)
    }

    fn member(&mut self, depth: usize) -> Result<Field, DdlError> {
        let name = match self.peek() {
            Token::Word(name) | Token::Quoted(name) => name.clone(),
            _ => return Err(self.expected("a column name")),
        };
        self.next();
        self.accept(':');
        let mut field = self.typed(name, depth)?;
        loop {
            if self.accept_word("NOT") {
                if !self.accept_word("NULL") {
                    return Err(self.expected("NULL after NOT"));
                }
                field.nullable = false;
            } else if self.accept_word("NULL") {
                field.nullable = true;
            } else if self.accept_word("DEFAULT") {
                field.default = self.default(&field.data_type)?;
            } else {
                return Ok(field);
            }
        }
    }

    fn default(&mut self, data_type: &DataType) -> Result<Option<String>, DdlError> {
        let json = match self.peek() {
            Token::Number(number) if crate::codec::json::is_number(number) => Some(number.clone()),
            Token::Text(text) if *data_type == DataType::Json => Some(text.clone()),
            Token::Text(text) => Some(serde_json::Value::from(text.as_str()).to_string()),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Some("true".to_string()),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Some("false".to_string()),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => None,
            _ => return Err(self.expected("a number, 'text', TRUE, FALSE or NULL after DEFAULT")),
        };
        self.next();
        Ok(json)
    }

    /// A type with its own NOT NULL, inside `<>`.
    fn part(&mut self, name: &str, depth: usize) -> Result<Field, DdlError> {
        let mut field = self.typed(name.to_string(), depth)?;
        if self.accept_word("NOT") {
            if !self.accept_word("NULL") {
                return Err(self.expected("NULL after NOT"));
            }
            field.nullable = false;
        }
        if matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case("DEFAULT")) {
            return Err(self.error(DdlErrorKind::DefaultHere));
        }
        Ok(field)
    }

    fn typed(&mut self, name: String, depth: usize) -> Result<Field, DdlError> {
        self.fields += 1;
        if depth > NESTING_MAX {
            return Err(self.error(DdlErrorKind::TooDeep));
        }
        if self.fields > COLUMNS_MAX {
            return Err(self.error(DdlErrorKind::TooManyColumns));
        }
        Ok(Field::new(name, self.data_type(depth)?))
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, DdlError> {
        let position = self.position();
        let Token::Word(word) = self.peek() else { return Err(self.expected("a type")) };
        let name = word.to_ascii_uppercase();
        self.next();
        Ok(match name.as_str() {
            "BOOLEAN" | "BOOL" => DataType::Boolean,
            "TINYINT" => DataType::TinyInt,
            "SMALLINT" => DataType::SmallInt,
            "INT" | "INTEGER" => DataType::Int,
            "BIGINT" | "LONG" => DataType::BigInt,
            "DECIMAL" | "NUMERIC" | "DEC" => self.decimal()?,
            "FLOAT" | "REAL" => DataType::Float,
            "DOUBLE" => {
                self.accept_word("PRECISION");
                DataType::Double
            }
            "STRING" | "TEXT" => DataType::String,
            "VARCHAR" | "CHAR" => {
                self.ignored_length()?;
                DataType::String
            }
            "BYTES" | "BLOB" => DataType::Bytes,
            "VARBINARY" | "BINARY" => {
                self.ignored_length()?;
                DataType::Bytes
            }
            "DATE" => DataType::Date,
            "TIME" => DataType::Time(self.unit(TimeUnit::Millis)?),
            "TIMESTAMP_LTZ" | "TIMESTAMPTZ" => DataType::TimestampLtz(self.unit(TimeUnit::Millis)?),
            "TIMESTAMP" => self.timestamp()?,
            "ARRAY" => {
                self.require('<', "< after ARRAY")?;
                let item = self.part("item", depth + 1)?;
                self.require('>', "> after the type of the items")?;
                DataType::Array(Box::new(item))
            }
            "MAP" => self.map(depth)?,
            "ROW" | "STRUCT" => {
                self.require('<', "< after ROW")?;
                let members = self.members(depth + 1)?;
                self.require('>', "a comma or > after a member")?;
                DataType::Row(members)
            }
            "UUID" => DataType::Uuid,
            "JSON" | "JSONB" | "VARIANT" => DataType::Json,
            _ => {
                let hint = match name.as_str() {
                    "DATETIME" => "; write TIMESTAMP(3)",
                    "INT8" => "; write TINYINT or BIGINT",
                    "INT16" => "; write SMALLINT",
                    "INT32" => "; write INT",
                    "INT64" => "; write BIGINT",
                    "UINT64" => "; write DECIMAL(20,0)",
                    "FLOAT64" => "; write DOUBLE",
                    _ => "",
                };
                let name = name.chars().take(80).collect();
                return Err(DdlError::at(position, DdlErrorKind::UnknownType { name, hint }));
            }
        })
    }

    fn number(&mut self, expected: &'static str) -> Result<u8, DdlError> {
        let Token::Number(number) = self.peek() else { return Err(self.expected(expected)) };
        let number = number.parse().map_err(|_| self.expected(expected))?;
        self.next();
        Ok(number)
    }

    /// Without arguments (10,0), as SQL has it.
    fn decimal(&mut self) -> Result<DataType, DdlError> {
        if !self.accept('(') {
            return Ok(DataType::Decimal { precision: 10, scale: 0 });
        }
        let precision = self.number("a precision of 1 to 38")?;
        let scale = if self.accept(',') { self.number("a scale of 0 to 38")? } else { 0 };
        self.require(')', ") after the scale")?;
        Ok(DataType::Decimal { precision, scale })
    }

    /// VARCHAR(20): every string is unbounded here, the length is read over.
    fn ignored_length(&mut self) -> Result<(), DdlError> {
        if self.accept('(') {
            if !matches!(self.peek(), Token::Number(_) | Token::Word(_)) {
                return Err(self.expected("a length"));
            }
            self.next();
            self.require(')', ") after the length")?;
        }
        Ok(())
    }

    fn unit(&mut self, without: TimeUnit) -> Result<TimeUnit, DdlError> {
        if !self.accept('(') {
            return Ok(without);
        }
        let unit = match self.peek() {
            Token::Number(number) if number == "3" => TimeUnit::Millis,
            Token::Number(number) if number == "6" => TimeUnit::Micros,
            Token::Number(number) => return Err(self.error(DdlErrorKind::Precision { found: number.clone() })),
            _ => return Err(self.expected("3 or 6")),
        };
        self.next();
        self.require(')', ") after the precision")?;
        Ok(unit)
    }

    fn timestamp(&mut self) -> Result<DataType, DdlError> {
        let unit = self.unit(TimeUnit::Millis)?;
        let with = self.accept_word("WITH");
        if !with && !self.accept_word("WITHOUT") {
            return Ok(DataType::Timestamp(unit));
        }
        let local = with && self.accept_word("LOCAL");
        if !self.accept_word("TIME") || !self.accept_word("ZONE") {
            return Err(self.expected(if local { "TIME ZONE" } else { "[LOCAL] TIME ZONE" }));
        }
        Ok(if with { DataType::TimestampLtz(unit) } else { DataType::Timestamp(unit) })
    }

    fn map(&mut self, depth: usize) -> Result<DataType, DdlError> {
        self.require('<', "< after MAP")?;
        let position = self.position();
        let key = self.part("key", depth + 1)?;
        if key.data_type != DataType::String {
            let found = key.data_type.to_string();
            return Err(DdlError::at(position, DdlErrorKind::MapKey { found }));
        }
        self.require(',', "a comma after the key of a MAP")?;
        let value = self.part("value", depth + 1)?;
        self.require('>', "> after the value of a MAP")?;
        Ok(DataType::Map(Box::new(key.not_null()), Box::new(value)))
    }
}
