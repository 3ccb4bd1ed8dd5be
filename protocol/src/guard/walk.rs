//! Interprets a shape over bytes. Recursion follows the static tables, so it is as deep as they are.

use super::GuardLimits;
use super::shape::{Api, Field, Shape};
use crate::wire::{Wire, WireError};

/// Walks a whole request body. Bytes behind its last field are let be, as Apache Kafka does: librdkafka 2.16 asks for all
/// topics with the null array in place of a wider length, and three bytes of it stay behind the request. Returns how many there are; the crate must leave as many.
pub(super) fn request(api: &Api, version: i16, body: &[u8], limits: &GuardLimits) -> Result<usize, WireError> {
    let mut walk = Walk { version, compact: version >= api.flexible, budget: limits.max_elements, limits };
    let mut wire = Wire::new(body);
    walk.fields(&mut wire, api.fields)?;
    Ok(wire.remaining())
}

struct Walk<'a> {
    version: i16,
    /// Compact lengths and tagged fields.
    compact: bool,
    /// Elements that may still come.
    budget: usize,
    limits: &'a GuardLimits,
}

impl Walk<'_> {
    fn fields(&mut self, wire: &mut Wire<'_>, fields: &'static [Field]) -> Result<(), WireError> {
        let version = self.version;
        for field in fields.iter().filter(|f| f.tag.is_none() && f.in_version(version)) {
            self.shape(wire, field.name, &field.shape)?;
        }
        if self.compact { self.tagged_fields(wire, fields) } else { Ok(()) }
    }

    fn shape(&mut self, wire: &mut Wire<'_>, name: &'static str, shape: &'static Shape) -> Result<(), WireError> {
        match shape {
            Shape::Fixed(len) => wire.take(*len, name).map(drop),
            Shape::Str => wire.nullable_str(self.compact, name).map(drop),
            Shape::Bytes => wire.nullable_bytes(self.compact, name).map(drop),
            Shape::Array(element) => self.array(wire, name, element),
            Shape::Struct(fields) => self.fields(wire, fields),
            Shape::OptionStruct(fields) => match wire.i8(name)? {
                1 => self.fields(wire, fields),
                _ => Ok(()),
            },
        }
    }

    fn array(&mut self, wire: &mut Wire<'_>, name: &'static str, element: &'static Shape) -> Result<(), WireError> {
        let Some(count) = wire.nullable_count(self.compact, name)? else { return Ok(()) };
        let least = self.min_len(element);
        if count > wire.remaining() / least.max(1) {
            return Err(WireError::CountTooLarge { field: name, count, remaining: wire.remaining() });
        }
        if let Shape::Fixed(len) = element {
            // Decodes to as many bytes as it has here: nothing to budget.
            return wire.take(count * len, name).map(drop);
        }
        self.spend(count, name)?;
        for _ in 0..count {
            self.shape(wire, name, element)?;
        }
        Ok(())
    }

    fn tagged_fields(&mut self, wire: &mut Wire<'_>, fields: &'static [Field]) -> Result<(), WireError> {
        let count = wire.tag_count()?;
        self.spend(count, "tagged fields")?;
        for _ in 0..count {
            let tag = wire.unsigned_varint("tag")?;
            let len = wire.unsigned_varint("tagged field size")? as usize;
            let known = fields.iter().find(|f| f.tag == Some(tag));
            let name = known.map_or("tagged field", |f| f.name);
            let mut value = Wire::new(wire.take(len, name)?);
            let Some(field) = known else { continue };
            if !field.in_version(self.version) {
                return Err(WireError::TagNotInVersion { field: field.name, tag, version: self.version });
            }
            self.shape(&mut value, field.name, &field.shape)?;
            if value.remaining() > 0 {
                return Err(WireError::TagSize { field: field.name, tag, extra: value.remaining() });
            }
        }
        Ok(())
    }

    fn spend(&mut self, elements: usize, field: &'static str) -> Result<(), WireError> {
        match self.budget.checked_sub(elements) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(WireError::TooManyElements { field, limit: self.limits.max_elements }),
        }
    }

    /// The fewest bytes that a value of this shape takes in this version.
    fn min_len(&self, shape: &Shape) -> usize {
        match shape {
            Shape::Fixed(len) => *len,
            Shape::Str => {
                if self.compact {
                    1
                } else {
                    2
                }
            }
            Shape::Bytes | Shape::Array(_) => {
                if self.compact {
                    1
                } else {
                    4
                }
            }
            Shape::OptionStruct(_) => 1,
            Shape::Struct(fields) => {
                let present = fields.iter().filter(|f| f.tag.is_none() && f.in_version(self.version));
                let tags = usize::from(self.compact);
                present.map(|f| self.min_len(&f.shape)).sum::<usize>() + tags
            }
        }
    }
}
