//! What the block knows about row groups, as arrays with one value per group, for pruning.

use arrow_array::{ArrayRef, UInt64Array};
use arrow_schema::DataType;
use bytes::Bytes;

use super::{ColumnSegmentReader, compare};
use crate::block::{BloomAt, NodeAt};
use crate::bloom;
use crate::bytes_io::read;
use crate::error::Result;
use crate::stats::{array_of, hashes};

impl ColumnSegmentReader {
    /// Position of a column or nested field by its path, names with dots between.
    fn node(&self, path: &str) -> Option<usize> {
        self.layout.find(path)
    }

    fn plain(&self, node: usize) -> &DataType {
        match &self.layout.nodes[node].data_type {
            DataType::Dictionary(_, values) => values,
            other => other,
        }
    }

    fn bound(&self, path: &str, side: impl Fn(&NodeAt) -> Option<&Vec<u8>> + Copy) -> Result<Option<ArrayRef>> {
        let Some(node) = self.node(path) else { return Ok(None) };
        let values = self.block.groups.iter().map(|group| side(&group.nodes[node]).map(Vec::as_slice));
        array_of(self.plain(node), values)
    }

    /// Lower bounds per row group in Arrow's total order; null where none is known. `None`: no such leaf.
    pub fn min_values(&self, path: &str) -> Result<Option<ArrayRef>> {
        self.bound(path, |node| node.bounds.min.as_ref())
    }

    /// Upper bounds per row group in Arrow's total order; null where none is known. `None`: no such leaf.
    pub fn max_values(&self, path: &str) -> Result<Option<ArrayRef>> {
        self.bound(path, |node| node.bounds.max.as_ref())
    }

    /// Nulls per row group (of a nested leaf: its own, not those of its parents).
    pub fn null_counts(&self, path: &str) -> Option<UInt64Array> {
        let node = self.node(path)?;
        Some(self.block.groups.iter().map(|group| Some(u64::from(group.nodes[node].nulls))).collect())
    }

    /// Rows per row group.
    pub fn row_counts(&self) -> UInt64Array {
        self.block.groups.iter().map(|group| Some(u64::from(group.info.rows))).collect()
    }

    /// Whether each row group may hold any of `values` (of the leaf's type), by its Bloom filter; a group without filter
    /// may. `None`: no filters for this leaf, or the type of `values` is another one. Reads the filters.
    pub fn may_hold(&self, path: &str, values: &ArrayRef) -> Result<Option<Vec<bool>>> {
        let Some(node) = self.node(path) else { return Ok(None) };
        let has = |group: &crate::block::GroupAt| group.blooms.iter().any(|bloom| bloom.node as usize == node);
        if values.data_type() != self.plain(node) || !self.block.groups.iter().any(has) {
            return Ok(None);
        }
        let Some(hashes) = hashes(values) else { return Ok(None) };
        let mut may = Vec::with_capacity(self.block.groups.len());
        for group in &self.block.groups {
            let bloom = group.blooms.iter().find(|bloom| bloom.node as usize == node);
            may.push(match bloom {
                None => true,
                Some(bloom) => {
                    let filter = self.filter(bloom)?;
                    hashes.iter().any(|hash| hash.is_none_or(|hash| bloom::may_hold(&filter, hash)))
                }
            });
        }
        Ok(Some(may))
    }

    pub(super) fn filter(&self, bloom: &BloomAt) -> Result<Bytes> {
        let filter = read(&*self.source, bloom.offset, u64::from(bloom.length))?;
        compare("a Bloom filter", bloom.offset, bloom.crc, crc32c::crc32c(&filter))?;
        Ok(filter)
    }
}
