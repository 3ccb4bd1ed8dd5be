//! Share partitions come back from `__share_group_state`.
use super::*;

impl Inner {
    async fn load(&self, log_partition: i32) -> Result<(), String> {
        let mut damaged = 0;
        let mut found: BTreeMap<ShareKey, (SnapshotFacts, StoredPartition)> = BTreeMap::new();
        let mut visit = |entry: LogEntry| {
            let LogEntry::Record { key, value, .. } = entry else { return };
            let applied = match (records::decode_key(key), value) {
                (Ok(None), _) => Ok(()),
                (Ok(Some(key)), None) => {
                    found.remove(&key);
                    Ok(())
                }
                (Ok(Some(key)), Some(value)) => {
                    records::decode_value(value).map(|state| drop(found.insert(key, state)))
                }
                (Err(error), _) => Err(error),
            };
            damaged += u32::from(applied.is_err());
        };
        self.log.read_all(log_partition, &mut visit).await?;
        if damaged > 0 {
            tracing::error!(
                log_partition,
                damaged,
                "records of __share_group_state that do not decode were passed over"
            );
        }
        let mut cells = self.cells.write();
        for (key, (facts, stored)) in found {
            let cell = Cell::new(key.clone(), log_partition);
            {
                let mut entry = cell.entry.lock();
                entry.partition = SharePartition::restore(&stored);
                entry.durable = entry.partition.as_ref().map(SharePartition::revision);
                entry.snapshot_epoch = facts.snapshot_epoch;
                entry.created_at = facts.created_at;
            }
            cells.insert(key, cell);
        }
        Ok(())
    }
}

pub(super) async fn load_all(inner: Arc<Inner>) {
    for partition in 0..inner.log.partitions() {
        let mut attempt = 0;
        let outcome = loop {
            match inner.load(partition).await {
                Ok(()) => break READY,
                Err(error) if attempt < 5 => {
                    attempt += 1;
                    tracing::warn!(partition, error, "loading __share_group_state failed; trying again");
                    tokio::time::sleep(Duration::from_millis(200 * attempt)).await;
                }
                Err(error) => {
                    tracing::error!(
                        partition,
                        error,
                        "share partitions of this partition cannot be served; repair the data folder and restart"
                    );
                    break FAILED;
                }
            }
        };
        inner.loaded[partition as usize].store(outcome, Ordering::Release);
    }
}
