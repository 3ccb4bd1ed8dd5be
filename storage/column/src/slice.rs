//! Slicing: stored buffers copied unopened into an IPC stream.
//!
//! A projection without predicate needs no decoding: only the message around the buffers is new. The plan names byte ranges
//! of the file, so that the caller can send them without looking at them; the checksum of the whole stream comes from the
//! stored checksums of the buffers and is known before anything is read.

use std::ops::Range;

use arrow_schema::{Field, Schema};
use bytes::{Bytes, BytesMut};

use crate::block::StoredBuffer;
use crate::bytes_io::{padded, padding, read};
use crate::error::{ColumnError, Result};
use crate::flatten::plain_field;
use crate::ipc::{self, BatchShape, END_OF_STREAM};
use crate::{ColumnSegmentReader, Projection};

/// A piece of a stream.
#[derive(Debug, Clone)]
pub enum Part {
    /// Bytes that were made for it: headers and padding.
    Made(Bytes),
    /// A range of the segment file, as it is.
    Stored(Range<u64>),
}

/// One record batch of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceBatch {
    /// Row group of the segment.
    pub group: usize,
    /// Rows of it, all of them.
    pub rows: u32,
}

/// An IPC stream that is not put together yet.
#[derive(Debug, Clone)]
pub struct Sliced {
    /// Its pieces, in order.
    pub parts: Vec<Part>,
    /// Bytes of all pieces.
    pub length: u64,
    /// CRC-32C of all bytes.
    pub crc: u32,
    /// Record batches in stream order.
    pub batches: Vec<SliceBatch>,
}

impl Sliced {
    fn made(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.length += bytes.len() as u64;
        self.parts.push(Part::Made(bytes));
    }

    fn stored(&mut self, buffer: &StoredBuffer) {
        let length = u64::from(buffer.length);
        if length == 0 {
            return;
        }
        self.crc = crc32c::crc32c_combine(self.crc, buffer.crc, length as usize);
        self.length += length;
        let range = buffer.offset..buffer.offset + length;
        match self.parts.last_mut() {
            Some(Part::Stored(last)) if last.end == range.start => last.end = range.end,
            _ => self.parts.push(Part::Stored(range)),
        }
        self.made(Bytes::from_static(padding(length)));
    }
}

/// Makes a stream of row groups of one segment.
pub struct Slicer<'a> {
    reader: &'a ColumnSegmentReader,
    nodes: Vec<usize>,
    buffers: Vec<usize>,
    out: Sliced,
}

impl<'a> Slicer<'a> {
    /// Begins with schema and dictionaries of the projected columns.
    pub fn new(reader: &'a ColumnSegmentReader, projection: &Projection) -> Result<Slicer<'a>> {
        Slicer::begin(reader, projection, projection.schema(reader.stored_schema())?)
    }

    /// The same under other names: `fields` has the projected columns as the reader of the stream knows them. Their types must
    /// be the stored ones, which a dictionary stands for too.
    pub fn named(reader: &'a ColumnSegmentReader, projection: &Projection, fields: &Schema) -> Result<Slicer<'a>> {
        let stored = projection.schema(reader.stored_schema())?;
        let named = stored.fields().iter().zip(fields.fields()).map(|(stored, field)| {
            match stored.data_type() == field.data_type() || plain_field(stored).data_type() == field.data_type() {
                true => Ok(field.as_ref().clone().with_data_type(stored.data_type().clone())),
                false => Err(ColumnError::corrupt(format!("{} is stored as {}", field.name(), stored.data_type()))),
            }
        });
        let named = named.collect::<Result<Vec<Field>>>()?;
        if named.len() != stored.fields().len() || named.len() != fields.fields().len() {
            return Err(ColumnError::corrupt("as many names as columns are needed"));
        }
        Slicer::begin(reader, projection, Schema::new_with_metadata(named, fields.metadata().clone()))
    }

    fn begin(reader: &'a ColumnSegmentReader, projection: &Projection, schema: Schema) -> Result<Slicer<'a>> {
        let out = Sliced { parts: Vec::new(), length: 0, crc: 0, batches: Vec::new() };
        let (nodes, buffers) = (projection.nodes(reader.layout()), reader.buffer_indexes(projection));
        let mut slicer = Slicer { reader, nodes, buffers, out };
        slicer.out.made(ipc::schema_message(&schema));
        let keyed =
            projection.positions().filter_map(|column| reader.keyed().iter().position(|keyed| *keyed == column));
        for (id, stored) in keyed.enumerate() {
            // Decoded once per reader, which verifies it.
            reader.dictionary(stored)?;
            let at = &reader.block().dictionaries[stored];
            let lengths = at.buffers.iter().map(|buffer| u64::from(buffer.length)).collect();
            let rows = u64::from(at.rows);
            let shape = BatchShape { rows, nodes: vec![(rows, 0)], buffers: lengths };
            slicer.out.made(ipc::dictionary_message(id as i64, &shape, reader.codec()));
            at.buffers.iter().for_each(|buffer| slicer.out.stored(buffer));
        }
        Ok(slicer)
    }

    /// Bytes of the stream when this row group is added too.
    pub fn length_with(&self, group: usize) -> Result<u64> {
        let at = self.reader.group(group)?;
        let body: u64 = self.buffers.iter().map(|buffer| padded(u64::from(at.buffers[*buffer].length))).sum();
        // The header: 16 bytes per node and buffer, and about 160 around them.
        let header = 160 + 16 * (self.nodes.len() + self.buffers.len()) as u64;
        Ok(self.out.length + header + body + END_OF_STREAM.len() as u64)
    }

    /// Adds a row group, all of its rows.
    pub fn add(&mut self, group: usize) -> Result<()> {
        let at = self.reader.group(group)?;
        let nodes = self.nodes.iter().map(|node| (u64::from(at.nodes[*node].rows), u64::from(at.nodes[*node].nulls)));
        let lengths = self.buffers.iter().map(|buffer| u64::from(at.buffers[*buffer].length));
        let shape = BatchShape { rows: u64::from(at.info.rows), nodes: nodes.collect(), buffers: lengths.collect() };
        self.out.made(ipc::batch_message(&shape, self.reader.codec()));
        for buffer in &self.buffers {
            self.out.stored(&at.buffers[*buffer]);
        }
        self.out.batches.push(SliceBatch { group, rows: at.info.rows });
        Ok(())
    }

    /// Ends the stream. Buffers this reader has not seen yet are read and verified first (SEG-2), so that what is sent
    /// unopened is what was written.
    pub fn finish(mut self) -> Result<Sliced> {
        for batch in &self.out.batches {
            let at = self.reader.group(batch.group)?;
            let unseen = self.buffers.iter().filter(|buffer| !self.reader.is_verified(batch.group, **buffer));
            let unseen: Vec<usize> = unseen.copied().collect();
            self.reader.fetch(batch.group, at, &unseen)?;
        }
        self.out.made(Bytes::from_static(&END_OF_STREAM));
        Ok(self.out)
    }

    /// Ends the stream and puts it together. The bytes are compared with the checksum, so nothing is read twice.
    pub fn into_bytes(mut self) -> Result<(Bytes, Sliced)> {
        self.out.made(Bytes::from_static(&END_OF_STREAM));
        let mut bytes = BytesMut::with_capacity(self.out.length as usize);
        for part in &self.out.parts {
            match part {
                Part::Made(made) => bytes.extend_from_slice(made),
                Part::Stored(range) => {
                    let stored = read(&**self.reader.source(), range.start, range.end - range.start)?;
                    bytes.extend_from_slice(&stored);
                }
            }
        }
        let bytes = bytes.freeze();
        let read = crc32c::crc32c(&bytes);
        if read != self.out.crc {
            let what = "a slice of row groups".to_owned();
            return Err(ColumnError::Checksum { what, offset: 0, stored: self.out.crc, read });
        }
        Ok((bytes, self.out))
    }
}
