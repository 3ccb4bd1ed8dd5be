//! Protobuf's wire format into column builders.

use std::sync::Arc;

use super::bind::{Bound, Node, ProtoBindError, Record, record};
use super::schema::{Label, ProtoSchema};
use super::wire::{Cursor, LENGTH};
use super::{known, leaf, normal};
use crate::builder::{BuilderError, Column, Data, RowBuilder};
use crate::codec::json::{DecodeLimits, OnUnknown, RowError, RowErrorKind, RowPart, append_absent, cut, within};
use crate::codec::plan::{Aliases, Kind, Members, PlanField};
use crate::schema::TableSchema;

/// How rows are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProtobufOptions {
    /// Fields that the table does not have, and fields that the writer's schema does not have.
    pub unknown: OnUnknown,
    /// Bounds of a row.
    pub limits: DecodeLimits,
}

/// What columns say of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtoFit {
    /// [`super::ProtobufRows::write`] gives the same bytes back.
    pub exact: bool,
    /// It gives the same message back.
    pub complete: bool,
}

/// Rows of one writer's message in one table version: reads and writes them.
#[derive(Debug)]
pub struct ProtobufCodec {
    pub(super) members: Members,
    pub(super) record: Record,
    schema: Arc<ProtoSchema>,
    options: ProtobufOptions,
}

/// Why reading ends.
enum Stop {
    Bad(RowError),
    /// A field is there twice: the row is to be read again, with care.
    Twice,
}

impl From<RowError> for Stop {
    fn from(error: RowError) -> Stop {
        Stop::Bad(error)
    }
}

type Done = Result<(), Stop>;

/// How far the fields of a message were read.
#[derive(Default)]
struct Place {
    /// Where fields of larger numbers begin.
    from: usize,
    /// The largest number so far.
    last: u32,
}

impl ProtobufCodec {
    /// Binds the writer's message to the columns of `part`.
    pub fn new(
        table: &TableSchema,
        part: RowPart,
        writer: Arc<ProtoSchema>,
        options: ProtobufOptions,
    ) -> Result<ProtobufCodec, ProtoBindError> {
        ProtobufCodec::with_aliases(table, part, writer, &Aliases::default(), options)
    }

    /// The same; columns are also found under the names that `aliases` gives them.
    pub fn with_aliases(
        table: &TableSchema,
        part: RowPart,
        writer: Arc<ProtoSchema>,
        aliases: &Aliases,
        options: ProtobufOptions,
    ) -> Result<ProtobufCodec, ProtoBindError> {
        let members = Members::new(&table.fields, &part.columns(table), aliases);
        let record = record("", &writer.message, &members, options.unknown)?;
        Ok(ProtobufCodec { members, record, schema: writer, options })
    }

    /// The message that rows are.
    pub fn schema(&self) -> &Arc<ProtoSchema> {
        &self.schema
    }

    /// Reads one row (without frame) into the columns of `builder`; the caller ends it with [`RowBuilder::finish_row`].
    /// After an error the columns are as before.
    pub fn decode(&self, row: &[u8], builder: &mut RowBuilder) -> Result<ProtoFit, RowError> {
        let fail = |kind| Err(RowError { column: String::new(), position: 0, kind });
        let max = self.options.limits.row_bytes;
        if row.len() > max {
            return fail(RowErrorKind::TooLong { len: row.len(), max });
        }
        if let Err(BuilderError::Full { bytes }) = builder.reserve_row(row.len()) {
            return fail(RowErrorKind::BuilderFull { bytes });
        }
        match self.walk(row, builder, false) {
            Ok(fit) => Ok(fit),
            Err(Stop::Bad(error)) => Err(error),
            Err(Stop::Twice) => match self.walk(row, builder, true) {
                Ok(fit) => Ok(ProtoFit { exact: false, ..fit }),
                Err(Stop::Bad(error)) => Err(error),
                Err(Stop::Twice) => fail(RowErrorKind::Malformed { expected: "every field once" }),
            },
        }
    }

    fn walk(&self, row: &[u8], builder: &mut RowBuilder, careful: bool) -> Result<ProtoFit, Stop> {
        let limits = self.options.limits;
        let cells_max = limits.row_values.saturating_add(4 * row.len()).max(self.members.cells);
        let mut walk = Walk {
            cursor: Cursor::new(row),
            careful,
            unknown: self.options.unknown,
            complete: true,
            cells: cells_max,
            cells_max,
        };
        let rows = builder.rows();
        if let Err(stop) = walk.message(&self.record, &self.members, &mut builder.columns, rows) {
            for field in &self.members.fields {
                builder.columns[field.slot].truncate(rows);
            }
            return Err(stop);
        }
        Ok(ProtoFit { exact: walk.cursor.short && walk.complete, complete: walk.complete })
    }
}

/// A place in a row. `cursor.short` = so far the row is as [`super::ProtobufRows`] would write it.
struct Walk<'a> {
    cursor: Cursor<'a>,
    /// Messages are brought into normal form before they are read.
    careful: bool,
    unknown: OnUnknown,
    complete: bool,
    cells: usize,
    cells_max: usize,
}

impl Walk<'_> {
    fn fail(&self, kind: RowErrorKind) -> Done {
        Ok(self.cursor.fail(kind)?)
    }

    fn malformed(&self, expected: &'static str) -> Done {
        Ok(self.cursor.malformed(expected)?)
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

    /// From here to the end of the cursor: the fields of `record`, into columns that have `base` values each.
    fn message(&mut self, record: &Record, members: &Members, columns: &mut [Column], base: usize) -> Done {
        self.charge(members.cells)?;
        if self.careful {
            let rest = &self.cursor.bytes[self.cursor.at..self.cursor.end];
            if let Some(normal) = normal::form(rest, record)? {
                let mut inner = Walk { cursor: Cursor::new(&normal), ..*self };
                inner.fields(record, members, columns, base)?;
                (self.cells, self.complete) = (inner.cells, inner.complete);
                (self.cursor.at, self.cursor.short) = (self.cursor.end, false);
                return Ok(());
            }
        }
        self.fields(record, members, columns, base)
    }

    fn fields(&mut self, record: &Record, members: &Members, columns: &mut [Column], base: usize) -> Done {
        let (mut place, mut read) = (Place::default(), 0);
        while self.cursor.at < self.cursor.end {
            // Fields that are not there are passed by: serializers write them by ascending number.
            while let Some(bound) = record.fields.get(place.from)
                && let Some(quick) = &bound.quick
            {
                place.from += 1;
                if quick.comes(&self.cursor) {
                    if !quick.read(&mut self.cursor, columns, base) {
                        break;
                    }
                    debug_assert!(place.last < bound.number, "fields from there on come later");
                    place.last = bound.number;
                    read += 1;
                }
            }
            if self.cursor.at < self.cursor.end {
                self.next(record, members, columns, base, &mut place)?;
            }
        }
        if read < record.fields.len() {
            self.rest(record, members, columns, base)?;
        }
        self.absent(record, members, columns)
    }

    /// Any field.
    fn next(
        &mut self,
        record: &Record,
        members: &Members,
        columns: &mut [Column],
        base: usize,
        place: &mut Place,
    ) -> Done {
        let (number, wire_type) = self.cursor.tag()?;
        let again = number == place.last;
        self.cursor.short &= number >= place.last;
        place.last = number.max(place.last);
        let Some(index) = record.find(number, &mut place.from) else {
            return self.pass(number, wire_type);
        };
        let bound = &record.fields[index];
        place.from = place.from.max(index + 1);
        if bound.rivals.iter().any(|slot| columns[*slot].len > base) {
            return Err(Stop::Twice);
        }
        let Some(member) = bound.member else {
            self.complete = false;
            self.cursor.skip(wire_type)?;
            return Ok(());
        };
        let field = &members.fields[member];
        let done = self.field(bound, wire_type, again, field, &mut columns[field.slot], base);
        done.map_err(|stop| inside(stop, &field.name))
    }

    fn field(
        &mut self,
        bound: &Bound,
        wire_type: u8,
        again: bool,
        field: &PlanField,
        column: &mut Column,
        base: usize,
    ) -> Done {
        match (bound.label, &field.kind, &mut column.data) {
            (Label::Repeated { packed }, Kind::Array(item), Data::List { item: items, .. }) => {
                self.items(&bound.node, packed, wire_type, again, item, items)
            }
            (Label::Map, Kind::Map(value), Data::Map { key: keys, value: values, .. }) => {
                self.entry(&bound.node, wire_type, value, keys, values)
            }
            _ if column.len > base => Err(Stop::Twice),
            (label, ..) => self.value(&bound.node, wire_type, label == Label::Implicit, field, column),
        }
    }

    /// A field that the writer's schema does not have.
    fn pass(&mut self, number: u32, wire_type: u8) -> Done {
        if self.unknown == OnUnknown::Reject {
            let done = self.fail(RowErrorKind::Unknown);
            return done.map_err(|stop| inside(stop, &format!("field {number}")));
        }
        self.complete = false;
        self.cursor.skip(wire_type)?;
        Ok(())
    }

    /// Fields that are not there, and the ends of lists.
    fn rest(&mut self, record: &Record, members: &Members, columns: &mut [Column], base: usize) -> Done {
        for bound in &record.fields {
            let Some(member) = bound.member else { continue };
            let field = &members.fields[member];
            let column = &mut columns[field.slot];
            let done = match (bound.label, &bound.node) {
                (Label::Repeated { .. } | Label::Map, _) => {
                    column.end_list();
                    Ok(())
                }
                _ if column.len > base => Ok(()),
                (Label::Implicit, Node::Leaf(wire, change)) if leaf::zero(wire, *change, field, column) => Ok(()),
                (Label::Required, _) => self.fail(RowErrorKind::Missing),
                _ => self.null(field, column),
            };
            done.map_err(|stop| inside(stop, &field.name))?;
        }
        Ok(())
    }

    /// Columns that the writer does not have.
    fn absent(&self, record: &Record, members: &Members, columns: &mut [Column]) -> Done {
        for member in &record.absent {
            let field = &members.fields[*member];
            let done = append_absent(field, &mut columns[field.slot]);
            done.or_else(|kind| self.fail(kind)).map_err(|stop| inside(stop, &field.name))?;
        }
        Ok(())
    }

    fn null(&self, field: &PlanField, column: &mut Column) -> Done {
        if !field.nullable {
            return self.fail(RowErrorKind::NotNull);
        }
        column.append_null();
        Ok(())
    }

    /// Items of a list: one, or all of a packed one. `again`: the field before was this one too.
    fn items(
        &mut self,
        node: &Node,
        packed: bool,
        wire_type: u8,
        again: bool,
        item: &PlanField,
        items: &mut Column,
    ) -> Done {
        let Node::Leaf(wire, change) = node else {
            self.charge(1)?;
            let index = items.len;
            return self.value(node, wire_type, false, item, items).map_err(|stop| inside(stop, &format!("[{index}]")));
        };
        if wire_type != LENGTH || wire.wire_type() == LENGTH {
            self.charge(1)?;
            self.cursor.short &= !packed;
            return self.value(node, wire_type, false, item, items);
        }
        let outer = self.cursor.enter()?;
        self.cursor.short &= packed && !again && self.cursor.at < self.cursor.end;
        while self.cursor.at < self.cursor.end {
            self.charge(1)?;
            leaf::read(&mut self.cursor, wire, *change, item, items)?;
        }
        self.cursor.leave(outer);
        Ok(())
    }

    /// One entry of a map. Serializers write both its fields always, key first.
    fn entry(&mut self, node: &Node, wire_type: u8, value: &PlanField, keys: &mut Column, values: &mut Column) -> Done {
        self.expect(wire_type == LENGTH)?;
        self.charge(2)?;
        let outer = self.cursor.enter()?;
        let (mut key, mut fields, base) = ("", 0, values.len);
        while self.cursor.at < self.cursor.end {
            let (number, wire_type) = self.cursor.tag()?;
            fields += 1;
            self.cursor.short &= number == fields;
            match number {
                1 => {
                    self.expect(wire_type == LENGTH)?;
                    let bytes = self.cursor.sized()?;
                    key = std::str::from_utf8(bytes).or_else(|_| self.cursor.fail(RowErrorKind::Utf8))?;
                }
                2 => {
                    values.truncate(base);
                    let done = self.value(node, wire_type, false, value, values);
                    done.map_err(|stop| inside(stop, &format!("[{:?}]", cut(key))))?;
                }
                _ => self.pass(number, wire_type)?,
            }
        }
        self.cursor.short &= fields == 2;
        self.cursor.leave(outer);
        if values.len == base {
            self.empty(node, value, values).map_err(|stop| inside(stop, &format!("[{:?}]", cut(key))))?;
        }
        keys.append_bytes(key.as_bytes());
        Ok(())
    }

    fn expect(&self, right: bool) -> Done {
        if right { Ok(()) } else { self.malformed("the wire type of the field") }
    }

    /// The value of an entry without one.
    fn empty(&mut self, node: &Node, field: &PlanField, column: &mut Column) -> Done {
        match node {
            Node::Leaf(wire, change) | Node::Wrapper(wire, change) if leaf::zero(wire, *change, field, column) => {
                Ok(())
            }
            Node::Message(record) => {
                let outer = self.cursor.end;
                self.cursor.end = self.cursor.at;
                self.nested(record, field, column)?;
                self.cursor.leave(outer);
                Ok(())
            }
            _ => self.null(field, column),
        }
    }

    /// One value behind its tag.
    #[inline]
    fn value(&mut self, node: &Node, wire_type: u8, implicit: bool, field: &PlanField, column: &mut Column) -> Done {
        if let Node::Leaf(wire, change) = node {
            self.expect(wire_type == wire.wire_type())?;
            let zero = leaf::read(&mut self.cursor, wire, *change, field, column)?;
            self.cursor.short &= !(zero && implicit);
            return Ok(());
        }
        self.expect(wire_type == LENGTH)?;
        match node {
            Node::Known(kind, change) => {
                let payload = self.cursor.sized()?;
                let exact =
                    known::read(*kind, *change, payload, field, column).or_else(|kind| self.cursor.fail(kind))?;
                self.cursor.short &= exact;
                Ok(())
            }
            Node::Message(record) => {
                let outer = self.cursor.enter()?;
                self.nested(record, field, column)?;
                self.cursor.leave(outer);
                Ok(())
            }
            _ => self.wrapper(node, field, column),
        }
    }

    /// The message from here to the end of the cursor.
    fn nested(&mut self, record: &Record, field: &PlanField, column: &mut Column) -> Done {
        let base = column.len;
        let (Kind::Row(members), Data::Row(columns)) = (&field.kind, &mut column.data) else {
            return self.malformed("a bound schema");
        };
        self.message(record, members, columns, base)?;
        column.written();
        Ok(())
    }

    fn wrapper(&mut self, node: &Node, field: &PlanField, column: &mut Column) -> Done {
        let Node::Wrapper(wire, change) = node else { return self.malformed("a bound schema") };
        let (outer, base) = (self.cursor.enter()?, column.len);
        while self.cursor.at < self.cursor.end {
            let (number, wire_type) = self.cursor.tag()?;
            if number != 1 {
                self.pass(number, wire_type)?;
                continue;
            }
            self.expect(wire_type == wire.wire_type())?;
            self.cursor.short &= column.len == base;
            column.truncate(base);
            let zero = leaf::read(&mut self.cursor, wire, *change, field, column)?;
            self.cursor.short &= !zero;
        }
        self.cursor.leave(outer);
        if column.len == base && !leaf::zero(wire, *change, field, column) {
            return self.null(field, column);
        }
        Ok(())
    }
}

fn inside(stop: Stop, name: &str) -> Stop {
    match stop {
        Stop::Bad(error) => Stop::Bad(within(error, name)),
        Stop::Twice => Stop::Twice,
    }
}
