//! How a request looks on the wire, as data: fields with version ranges, in wire order.
//!
//! From its `flexible` version on, an API writes strings, bytes and arrays in compact form and ends every struct with
//! tagged fields; the walker derives that from the version, so shapes do not mention it.

/// The wire type of a field.
#[derive(Debug)]
pub(crate) enum Shape {
    /// So many bytes.
    Fixed(usize),
    /// A string, possibly null.
    Str,
    /// Bytes, possibly null.
    Bytes,
    /// A list, possibly null.
    Array(&'static Shape),
    /// Fields in order.
    Struct(&'static [Field]),
    /// A presence byte, then fields if it is 1.
    OptionStruct(&'static [Field]),
}

pub(crate) const BOOL: Shape = Shape::Fixed(1);
pub(crate) const I8: Shape = Shape::Fixed(1);
pub(crate) const I16: Shape = Shape::Fixed(2);
pub(crate) const I32: Shape = Shape::Fixed(4);
pub(crate) const I64: Shape = Shape::Fixed(8);
pub(crate) const F64: Shape = Shape::Fixed(8);
pub(crate) const UUID: Shape = Shape::Fixed(16);
pub(crate) const STR: Shape = Shape::Str;
pub(crate) const BYTES: Shape = Shape::Bytes;

/// The `flexible` version of an API that has none.
pub(crate) const NEVER: i16 = i16::MAX;

/// One field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// First and last version that has the field.
    pub(crate) since: i16,
    pub(crate) until: i16,
    /// Set for a tagged field.
    pub(crate) tag: Option<u32>,
}

/// A field of every version.
pub(crate) const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, since: 0, until: i16::MAX, tag: None }
}

/// A tagged field of every flexible version.
pub(crate) const fn tagged(tag: u32, name: &'static str, shape: Shape) -> Field {
    Field { name, shape, since: 0, until: i16::MAX, tag: Some(tag) }
}

impl Field {
    /// The same field from this version on.
    pub(crate) const fn since(self, version: i16) -> Field {
        Field { since: version, ..self }
    }

    /// The same field up to this version.
    pub(crate) const fn until(self, version: i16) -> Field {
        Field { until: version, ..self }
    }

    pub(crate) fn in_version(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }
}

/// The requests of one API.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: &'static str,
    /// First and last version.
    pub(crate) min: i16,
    pub(crate) max: i16,
    /// First version with compact encoding and tagged fields.
    pub(crate) flexible: i16,
    pub(crate) fields: &'static [Field],
}
