//! The decoder: which way a row is read, and what is remembered from row to row.

use serde::{Deserialize, Serialize};

use super::derive;
use super::error::{RowError, RowErrorKind};
use super::fast;
use super::parse::{Parser, Scratch};
use super::shape::{Bound, ShapeId, ShapeSet};
use crate::builder::{BuilderError, Column, RowBuilder};
use crate::codec::plan::{Aliases, Members};
use crate::schema::TableSchema;

/// `weir.on.unknown`: fields of a row that the table does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// The row is kept as bytes besides its columns, so that plain readers see the field.
    #[default]
    Keep,
    /// The field is dropped.
    Drop,
    /// The row is refused.
    Reject,
}

/// `weir.fidelity`: what plain readers get back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fidelity {
    /// The same bytes.
    #[default]
    Exact,
    /// The same values.
    Semantic,
}

/// Which columns a decoder or encoder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowPart {
    /// The record's value: all columns but those of the key.
    Value,
    /// The record's key: the key columns.
    Key,
}

impl RowPart {
    pub(crate) fn columns(self, schema: &TableSchema) -> Vec<usize> {
        match self {
            RowPart::Value => schema.value_columns(),
            RowPart::Key => schema.key_columns(),
        }
    }
}

/// Bounds of one row.
#[derive(Clone, Copy, Debug)]
pub struct DecodeLimits {
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Column values of a row (members of nested rows count each), besides four for each of its bytes.
    pub row_values: usize,
}

impl Default for DecodeLimits {
    fn default() -> DecodeLimits {
        DecodeLimits { row_bytes: 64 << 20, row_values: 64 << 10 }
    }
}

/// How rows are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonOptions {
    /// See [`OnUnknown`].
    pub unknown: OnUnknown,
    /// See [`Fidelity`].
    pub fidelity: Fidelity,
    /// See [`DecodeLimits`].
    pub limits: DecodeLimits,
}

/// How a decoded row is to be written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RowForm {
    /// Any form will do (`semantic`).
    Canonical,
    /// Values written into this shape of the decoder's set are the row, byte for byte.
    Shape(ShapeId),
    /// Values written as the writer with this number does are the row, byte for byte: see [`crate::table::KeptWriters`].
    Writer(u16),
    /// Only the row's own bytes will do: the caller keeps them.
    Raw,
}

/// Shapes that are tried before a new one is guessed.
const TRIES: usize = 4;
/// After so many guesses in a row that led nowhere, only every so-maniest row is guessed.
const GUESSES: u32 = 16;

/// Reads rows of one table version. One decoder feeds one builder at a time; its shapes belong to what was built.
#[derive(Debug)]
pub struct JsonDecoder {
    members: Members,
    options: JsonOptions,
    shapes: ShapeSet,
    bound: Vec<Bound>,
    /// Last used first.
    recent: Vec<usize>,
    /// Guesses in a row that led nowhere.
    failed: u32,
    scratch: Scratch,
}

impl JsonDecoder {
    /// A decoder for the columns of `part`.
    pub fn new(schema: &TableSchema, part: RowPart, options: JsonOptions) -> JsonDecoder {
        JsonDecoder::with_aliases(schema, part, &Aliases::default(), options)
    }

    /// The same; columns are also found under the names that `aliases` gives them.
    pub fn with_aliases(schema: &TableSchema, part: RowPart, aliases: &Aliases, options: JsonOptions) -> JsonDecoder {
        let members = Members::new(&schema.fields, &part.columns(schema), aliases);
        JsonDecoder {
            members,
            options,
            shapes: ShapeSet::default(),
            bound: Vec::new(),
            recent: Vec::new(),
            failed: 0,
            scratch: Scratch::default(),
        }
    }

    /// The shapes that rows were given so far.
    pub fn shapes(&self) -> &ShapeSet {
        &self.shapes
    }

    /// Takes over shapes; the ids they have here, `None` of what there is no room for.
    pub fn absorb_shapes(&mut self, shapes: &ShapeSet) -> Vec<Option<ShapeId>> {
        shapes.iter().map(|shape| self.shapes.position(shape).or_else(|| self.add(shape))).collect()
    }

    /// The shapes so far; the decoder starts with none again (a new segment begins). The last used one stays known
    /// and gets an id again when a row has it.
    pub fn take_shapes(&mut self) -> ShapeSet {
        (self.bound, self.failed) = (Vec::new(), 0);
        let last = self.recent.first().and_then(|index| self.shapes.get(ShapeId(*index as u16))).cloned();
        self.recent.clear();
        let taken = std::mem::take(&mut self.shapes);
        if let Some(shape) = last {
            self.add(&shape);
        }
        taken
    }

    fn add(&mut self, shape: &super::shape::RowShape) -> Option<ShapeId> {
        let bound = Bound::new(shape, &self.members)?;
        let id = self.shapes.intern(shape)?;
        let index = usize::from(id.0);
        if index == self.bound.len() {
            self.bound.push(bound);
        }
        self.recent.retain(|known| *known != index);
        self.recent.insert(0, index);
        Some(id)
    }

    /// Reads one row into the decoder's columns of `builder`; the caller ends it with [`RowBuilder::finish_row`]. After
    /// an error the columns are as before.
    pub fn decode(&mut self, row: &[u8], builder: &mut RowBuilder) -> Result<RowForm, RowError> {
        self.check(row, builder)?;
        let cells = self.options.limits.row_values.saturating_add(4 * row.len()).max(self.members.cells);
        let exact = self.options.fidelity == Fidelity::Exact;
        let known =
            if exact { self.known::<true>(row, builder, cells) } else { self.known::<false>(row, builder, cells) };
        if let Some(id) = known {
            return Ok(if exact { RowForm::Shape(id) } else { RowForm::Canonical });
        }
        let text = checked_text(row).map_err(|error| {
            let (column, kind) = (String::new(), RowErrorKind::Utf8);
            RowError { column, position: error.valid_up_to(), kind }
        })?;
        let new = if exact {
            self.new_shape::<true>(text, builder, cells)
        } else {
            self.new_shape::<false>(text, builder, cells)
        };
        if let Some(id) = new {
            return Ok(if exact { RowForm::Shape(id) } else { RowForm::Canonical });
        }
        let rows = builder.rows();
        let mut parser = Parser::new(text, self.options.unknown, cells, &mut self.scratch);
        if let Err(error) = parser.row(&self.members, &mut builder.columns) {
            self.cut(&mut builder.columns, rows);
            return Err(error);
        }
        let kept = parser.saw_unknown && self.options.unknown == OnUnknown::Keep;
        let semantic = self.options.fidelity == Fidelity::Semantic;
        Ok(if semantic && !kept { RowForm::Canonical } else { RowForm::Raw })
    }

    /// The same under `weir.on.invalid=null`: top-level nullable columns whose values do not fit become null, and the
    /// errors are returned. Such a row keeps its bytes.
    pub fn decode_nulling(
        &mut self,
        row: &[u8],
        builder: &mut RowBuilder,
    ) -> Result<(RowForm, Vec<RowError>), RowError> {
        let fed = match self.decode(row, builder) {
            Ok(form) => return Ok((form, Vec::new())),
            Err(error) => error,
        };
        let Ok(text) = checked_text(row) else { return Err(fed) };
        if matches!(fed.kind, RowErrorKind::TooLong { .. } | RowErrorKind::BuilderFull { .. }) {
            return Err(fed);
        }
        let rows = builder.rows();
        let cells = self.options.limits.row_values.saturating_add(4 * row.len()).max(self.members.cells);
        let mut parser = Parser::new(text, self.options.unknown, cells, &mut self.scratch);
        parser.nulled = Some(Vec::new());
        let done = parser.row(&self.members, &mut builder.columns);
        let errors = parser.nulled.take().unwrap_or_default();
        if let Err(error) = done {
            self.cut(&mut builder.columns, rows);
            return Err(error);
        }
        Ok((RowForm::Raw, errors))
    }

    /// The values of a row without any field: nulls and defaults, or the error which column needs a value.
    pub fn decode_absent(&mut self, builder: &mut RowBuilder) -> Result<(), RowError> {
        let rows = builder.rows();
        let mut parser = Parser::new("{}", OnUnknown::Keep, self.members.cells, &mut self.scratch);
        let done = parser.row(&self.members, &mut builder.columns);
        if done.is_err() {
            self.cut(&mut builder.columns, rows);
        }
        done
    }

    fn check(&self, row: &[u8], builder: &mut RowBuilder) -> Result<(), RowError> {
        let fail = |kind| Err(RowError { column: String::new(), position: 0, kind });
        let max = self.options.limits.row_bytes;
        if row.len() > max {
            return fail(RowErrorKind::TooLong { len: row.len(), max });
        }
        if let Err(BuilderError::Full { bytes }) = builder.reserve_row(row.len()) {
            return fail(RowErrorKind::BuilderFull { bytes });
        }
        Ok(())
    }

    fn cut(&self, columns: &mut [Column], rows: usize) {
        for field in &self.members.fields {
            columns[field.slot].truncate(rows);
        }
    }

    /// A known shape that fits.
    #[inline]
    fn known<const EXACT: bool>(&mut self, row: &[u8], builder: &mut RowBuilder, cells: usize) -> Option<ShapeId> {
        let rows = builder.rows();
        for place in 0..self.recent.len().min(TRIES) {
            let index = self.recent[place];
            let (shape, columns) = (&self.bound[index], &mut builder.columns);
            if fast::row::<EXACT>(row, shape, &self.members, columns, cells, &mut self.scratch) {
                self.recent[..=place].rotate_right(1);
                self.failed = 0;
                return Some(ShapeId(index as u16));
            }
            self.cut(columns, rows);
        }
        None
    }

    /// A new shape, now and then.
    fn new_shape<const EXACT: bool>(&mut self, text: &str, builder: &mut RowBuilder, cells: usize) -> Option<ShapeId> {
        self.failed = self.failed.saturating_add(1);
        if self.failed > GUESSES && !self.failed.is_multiple_of(GUESSES) {
            return None;
        }
        self.guess::<EXACT>(text, builder, cells)
    }

    #[cold]
    fn guess<const EXACT: bool>(&mut self, text: &str, builder: &mut RowBuilder, cells: usize) -> Option<ShapeId> {
        let rows = builder.rows();
        let prior = self.recent.first().and_then(|index| self.shapes.get(ShapeId(*index as u16)));
        let shape = derive::shape(text, &self.members, prior, self.options.unknown, &mut self.scratch)?;
        let bound = Bound::new(&shape, &self.members)?;
        let columns = &mut builder.columns;
        if fast::row::<EXACT>(text.as_bytes(), &bound, &self.members, columns, cells, &mut self.scratch)
            && let Some(id) = self.add(&shape)
        {
            self.failed = 0;
            return Some(id);
        }
        self.cut(columns, rows);
        None
    }
}

/// The row as text, looked at many bytes at a time; the slower look says where it is none.
pub(super) fn checked_text(row: &[u8]) -> Result<&str, std::str::Utf8Error> {
    simdutf8::basic::from_utf8(row).or_else(|_| std::str::from_utf8(row))
}
