//! The column `_headers`: a list of key and value per record.
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, ListArray, StringArray, StructArray};
use arrow_buffer::OffsetBuffer;
use weir_protocol::records::Record;
use weir_storage::segment::{EncodeError, SegmentError};

use crate::schema::{header_fields, header_item};

#[derive(Default)]
pub(crate) struct HeadersBuilder {
    keys: StringBuilder,
    values: BinaryBuilder,
    lengths: Vec<usize>,
}

impl HeadersBuilder {
    /// Kafka's clients write keys in UTF-8; a key that is not would not come back as it was.
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), EncodeError> {
        for header in record.headers.iter() {
            self.keys.append_value(key_of(header.key)?);
            self.values.append_option(header.value);
        }
        self.lengths.push(record.headers.len());
        Ok(())
    }

    pub fn finish(&mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> = vec![Arc::new(self.keys.finish()), Arc::new(self.values.finish())];
        let items = StructArray::new(header_fields(), columns, None);
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        Arc::new(ListArray::new(header_item(), offsets, Arc::new(items), None))
    }
}

fn key_of(key: &[u8]) -> Result<&str, EncodeError> {
    std::str::from_utf8(key).map_err(|_| EncodeError { reason: "a header's key is not UTF-8".to_owned() })
}

/// One header.
pub(crate) type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The column of a row group, looked at once.
pub(crate) struct Headers<'a> {
    offsets: &'a [i32],
    keys: &'a StringArray,
    values: &'a BinaryArray,
}

impl<'a> Headers<'a> {
    pub fn of(column: &'a ArrayRef) -> Result<Headers<'a>, SegmentError> {
        let other = || SegmentError::Columns { detail: format!("_headers is of type {}", column.data_type()) };
        let list = column.as_list_opt::<i32>().ok_or_else(other)?;
        let items = list.values().as_struct_opt().filter(|items| items.num_columns() == 2).ok_or_else(other)?;
        let keys = items.column(0).as_string_opt::<i32>().ok_or_else(other)?;
        let values = items.column(1).as_binary_opt::<i32>().ok_or_else(other)?;
        Ok(Headers { offsets: list.value_offsets(), keys, values })
    }

    pub fn row(&self, row: usize, out: &mut Vec<Header<'a>>) {
        out.clear();
        for at in self.offsets[row] as usize..self.offsets[row + 1] as usize {
            let value = self.values.is_valid(at).then(|| self.values.value(at));
            out.push((self.keys.value(at).as_bytes(), value));
        }
    }
}
