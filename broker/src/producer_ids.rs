//! Producer ids for InitProducerId: handed out from blocks that are reserved durably, so none is ever given twice.
use std::sync::Arc;

use tokio::sync::Mutex;
use weir_protocol::ids::ProducerId;
use weir_storage::meta::{Condition, MetaError, MetadataStore, Write};

/// Where the first id is that is not reserved.
pub const KEY: &[u8] = b"producer-ids/next";
/// A restart wastes at most so many.
const BLOCK: i64 = 1000;

#[derive(Debug, Default)]
struct Block {
    next: i64,
    end: i64,
}

/// The allocator.
pub struct ProducerIds {
    meta: Arc<dyn MetadataStore>,
    block: Mutex<Block>,
}

impl ProducerIds {
    pub fn new(meta: Arc<dyn MetadataStore>) -> ProducerIds {
        ProducerIds { meta, block: Mutex::default() }
    }

    /// A producer id that nobody had before.
    pub async fn next(&self) -> Result<ProducerId, MetaError> {
        let mut block = self.block.lock().await;
        if block.next == block.end {
            let stored = self.meta.get(KEY)?;
            let first =
                stored.as_ref().and_then(|v| v.value.as_slice().try_into().ok().map(i64::from_le_bytes)).unwrap_or(0);
            let condition = match &stored {
                Some(v) => Condition::Unchanged(KEY.to_vec(), v.revision),
                None => Condition::Absent(KEY.to_vec()),
            };
            let end = first + BLOCK;
            self.meta.transact(vec![condition], vec![Write::Put(KEY.to_vec(), end.to_le_bytes().to_vec())]).await?;
            *block = Block { next: first, end };
        }
        let id = block.next;
        block.next += 1;
        Ok(ProducerId(id))
    }
}

#[cfg(test)]
mod tests {
    use weir_storage::disk::OsDisk;
    use weir_storage::meta::EmbeddedMetadata;

    use super::*;

    #[tokio::test]
    async fn ids_are_never_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 {
            let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
            let meta = Arc::new(EmbeddedMetadata::open(disk, None).unwrap());
            let ids = ProducerIds::new(meta);
            for _ in 0..BLOCK + 10 {
                assert!(seen.insert(ids.next().await.unwrap()));
            }
        }
    }
}
