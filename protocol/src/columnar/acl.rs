//! `AclRestriction`: tag 5700 on the entries of CreateAcls, DescribeAcls and DeleteAcls, versions 2 and later: a READ of some columns
//! and rows of a topic only.
use bytes::{BufMut, BytesMut};

use super::{ColumnarError, VERSION_MAX, count, put_bytes, put_len, put_no_tags, string, utf8, version};
use crate::wire::Wire;

/// The supported feature that ApiVersions lists where brokers keep such entries. A broker without it would skip the tag, and
/// allow everything: clients ask first.
pub const ACL_FEATURE: &str = "weir.column.acls";

/// First version of CreateAcls, DescribeAcls and DeleteAcls that may carry the tag.
pub const ACL_API_VERSION_MIN: i16 = 2;

/// What of a topic an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AclRestriction {
    /// Names of columns; `None` is every column.
    pub columns: Option<Vec<String>>,
    /// SQL text over the topic's columns, true for the rows that are meant; `None` is every row.
    pub filter: Option<String>,
    /// In answers: why no row at all can be read by it now.
    pub problem: Option<String>,
}

impl AclRestriction {
    /// From the bytes of the tag.
    pub fn decode(bytes: &[u8]) -> Result<AclRestriction, ColumnarError> {
        let mut wire = Wire::new(bytes);
        version(&mut wire)?;
        let columns = match count(&mut wire, 1, "Columns")? {
            None => None,
            Some(columns) => Some((0..columns).map(|_| string(&mut wire, "Columns")).collect::<Result<_, _>>()?),
        };
        let filter = nullable(&mut wire, "Where")?;
        let problem = nullable(&mut wire, "Problem")?;
        wire.skip_tagged_fields()?;
        wire.finish()?;
        Ok(AclRestriction { columns, filter, problem })
    }

    /// Appends the bytes of the tag.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i8(VERSION_MAX);
        match &self.columns {
            None => out.put_u8(0),
            Some(columns) => {
                put_len(out, columns.len());
                columns.iter().for_each(|column| put_bytes(out, column.as_bytes()));
            }
        }
        for text in [&self.filter, &self.problem] {
            match text {
                None => out.put_u8(0),
                Some(text) => put_bytes(out, text.as_bytes()),
            }
        }
        put_no_tags(out);
    }
}

fn nullable(wire: &mut Wire<'_>, field: &'static str) -> Result<Option<String>, ColumnarError> {
    let Some(bytes) = wire.nullable_str(true, field)? else { return Ok(None) };
    Ok(Some(utf8(bytes, field)?.to_owned()))
}
