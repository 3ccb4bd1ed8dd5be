//! Which batches a reader sees: no control batches, and under read_committed nothing of an aborted transaction.
use std::collections::HashMap;

use weir_protocol::records::{BatchHeader, ControlType, DecompressLimits, decode};
use weir_storage::log::AbortedTransaction;

/// Follows the transactions of one read, in the way of Kafka's consumer: an aborted transaction begins at its first offset
/// and ends at its producer's next abort marker.
pub struct Visibility {
    /// First offsets of aborted transactions by producer, ascending.
    aborted: HashMap<i64, Vec<i64>>,
}

impl Visibility {
    pub fn new(aborted: &[AbortedTransaction]) -> Visibility {
        let mut by_producer: HashMap<i64, Vec<i64>> = HashMap::new();
        for transaction in aborted {
            by_producer.entry(transaction.producer_id.0).or_default().push(transaction.first_offset.0);
        }
        for first_offsets in by_producer.values_mut() {
            first_offsets.sort_unstable();
        }
        Visibility { aborted: by_producer }
    }

    /// Whether the reader sees the records of this batch. Call it for each batch in offset order.
    pub fn sees(&mut self, header: &BatchHeader, batch: &[u8]) -> bool {
        if header.attributes.is_control() {
            if is_abort(batch)
                && let Some(first_offsets) = self.aborted.get_mut(&header.producer_id)
                && first_offsets.first().is_some_and(|first| *first <= header.base_offset.0)
            {
                first_offsets.remove(0);
            }
            return false;
        }
        if !header.attributes.is_transactional() {
            return true;
        }
        let aborted = self.aborted.get(&header.producer_id).and_then(|first_offsets| first_offsets.first());
        aborted.is_none_or(|first| header.base_offset.0 < *first)
    }
}

fn is_abort(batch: &[u8]) -> bool {
    // Control batches are small, whatever a header claims.
    let limits = DecompressLimits { max_bytes: 4096, ..DecompressLimits::default() };
    let Ok(decoded) = decode(batch, &limits) else { return false };
    let first = decoded.records().next();
    matches!(first, Some(Ok(record)) if record.key.and_then(ControlType::from_key) == Some(ControlType::Abort))
}
