//! One row group while its segment is written.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef};
use arrow_schema::Schema;
use bytes::Bytes;

use crate::TIMESTAMP_COLUMN;
use crate::block::GroupInfo;
use crate::bloom;
use crate::codec::Compressor;
use crate::error::Result;
use crate::flatten::flatten;
use crate::layout::Layout;
use crate::stats::{Bounds, bounds, hashes};

/// A buffer as it goes into the file.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) stored: Bytes,
    pub(crate) raw: u32,
}

/// A column's nodes (rows, nulls) and buffers.
#[derive(Debug)]
pub(crate) struct StoredColumn {
    pub(crate) nodes: Vec<(u64, u64)>,
    pub(crate) buffers: Vec<Buffer>,
}

/// A column that is done, or keys of a dictionary that may be given up yet.
#[derive(Debug)]
pub(crate) enum Column {
    Stored(StoredColumn),
    Keys(ArrayRef),
}

impl Column {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Column::Stored(stored) => stored.buffers.iter().map(|buffer| buffer.stored.len() as u64).sum(),
            Column::Keys(keys) => 2 * keys.len() as u64,
        }
    }
}

/// Encodes and compresses an array.
pub(crate) fn encode_column(array: &ArrayRef, compressor: &mut Compressor, keep_raw: bool) -> Result<StoredColumn> {
    let mut flat = Vec::new();
    flatten(array, &mut flat)?;
    let nodes = flat.iter().map(|node| (node.array.len() as u64, node.array.null_count() as u64)).collect();
    let mut buffers = Vec::new();
    for raw in flat.iter().flat_map(|node| &node.buffers) {
        buffers.push(Buffer { stored: compressor.store(raw, keep_raw)?, raw: raw.len() as u32 });
    }
    Ok(StoredColumn { nodes, buffers })
}

/// A row group: columns and what the block says about them.
#[derive(Debug)]
pub(crate) struct EncodedGroup {
    pub(crate) info: GroupInfo,
    pub(crate) columns: Vec<Column>,
    /// Of each node.
    pub(crate) bounds: Vec<Bounds>,
    /// Node and filter.
    pub(crate) blooms: Vec<(u32, Bytes)>,
}

impl EncodedGroup {
    /// `offsets` are not empty and go up.
    pub(crate) fn new(schema: &Schema, columns: &[ArrayRef], offsets: &[i64]) -> EncodedGroup {
        let (first_offset, last_offset) = (offsets[0], offsets[offsets.len() - 1]);
        let timestamps = schema.index_of(TIMESTAMP_COLUMN).ok();
        let timestamps = timestamps.and_then(|column| columns[column].as_primitive_opt::<TimestampMillisecondType>());
        let timestamps = timestamps.and_then(|times| {
            let known = times.iter().flatten();
            known.fold(None, |range: Option<(i64, i64)>, time| match range {
                None => Some((time, time)),
                Some((min, max)) => Some((min.min(time), max.max(time))),
            })
        });
        let dense = i128::from(last_offset) - i128::from(first_offset) + 1 == offsets.len() as i128;
        let info = GroupInfo { rows: offsets.len() as u32, first_offset, last_offset, dense, timestamps };
        EncodedGroup { info, columns: Vec::new(), bounds: Vec::new(), blooms: Vec::new() }
    }

    /// Bounds and filters of a column's nodes, from its plain form.
    pub(crate) fn measure(
        &mut self,
        layout: &Layout,
        root: usize,
        column: &ArrayRef,
        wanted: &BTreeSet<String>,
    ) -> Result<()> {
        let mut flat = Vec::new();
        flatten(column, &mut flat)?;
        for (index, node) in flat.iter().enumerate() {
            self.bounds.push(bounds(&node.array));
            let node_index = root + index;
            if wanted.contains(&layout.nodes[node_index].path)
                && let Some(hashes) = hashes(&node.array)
            {
                let mut known: Vec<u64> = hashes.into_iter().flatten().collect();
                self.blooms.push((node_index as u32, bloom::build(&mut known).into()));
            }
        }
        Ok(())
    }

    /// Takes the last column out.
    pub(crate) fn drop_offsets(&mut self) {
        self.columns.pop();
        self.bounds.pop();
        let left = self.bounds.len();
        self.blooms.retain(|(node, _)| (*node as usize) < left);
    }
}
