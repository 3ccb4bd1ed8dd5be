//! Offsets of share groups as tools see, set and delete them.
use super::*;

/// What a group has done with one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOffsets {
    /// `None`: the group has not begun to read it.
    pub start: Option<i64>,
    /// Records from the start on that are done with.
    pub delivery_complete: i64,
}

impl Shares {
    /// Every partition of which a group has a state.
    pub fn of_group(&self, group: &str) -> Result<Vec<(TopicId, i32, ShareOffsets)>, ShareError> {
        if !self.is_ready() {
            return Err(ShareError::Loading);
        }
        let cells: Vec<_> =
            self.inner.cells.read().values().filter(|cell| *cell.key.group == *group).cloned().collect();
        let mut all: Vec<_> = cells.iter().map(|cell| (cell.key.topic, cell.key.partition, offsets(cell))).collect();
        all.sort_by_key(|(topic, partition, _)| (*topic, *partition));
        Ok(all)
    }

    /// One of them; `None`: the group has no state of it.
    pub fn offsets(&self, key: &ShareKey) -> Result<Option<ShareOffsets>, ShareError> {
        Ok(self.find(key)?.map(|cell| offsets(&cell)))
    }

    /// Lets a group read on from `start`, whatever it has done; durable when it returns. Call it while nobody reads.
    pub async fn set_start(&self, key: &ShareKey, start: i64) -> Result<(), ShareError> {
        let cell = self.inner.find_or_create(key)?;
        let durable = {
            let mut entry = cell.entry.lock();
            match &mut entry.partition {
                Some(partition) => partition.reset(start),
                None => entry.partition = Some(SharePartition::new(start, 0)),
            }
            self.inner.finish(&cell, &mut entry)
        };
        durable_or_error(durable).await
    }

    /// Forgets what a group has done with a topic, or with all of them; durable when it returns. Tells whether there was
    /// anything.
    pub async fn delete(&self, group: &str, topic: Option<TopicId>) -> Result<bool, ShareError> {
        self.delete_where(|key| *key.group == *group && topic.is_none_or(|topic| topic == key.topic)).await
    }

    /// Forgets what all groups have done with topics that are no more.
    pub async fn forget_topics(&self, exists: impl Fn(TopicId) -> bool) -> Result<bool, ShareError> {
        self.delete_where(|key| !exists(key.topic)).await
    }

    async fn delete_where(&self, which: impl Fn(&ShareKey) -> bool) -> Result<bool, ShareError> {
        if !self.is_ready() {
            return Err(ShareError::Loading);
        }
        let gone: Vec<Arc<Cell>> = {
            let mut cells = self.inner.cells.write();
            let keys: Vec<ShareKey> = cells.keys().filter(|key| which(key)).cloned().collect();
            keys.iter().filter_map(|key| cells.remove(key)).collect()
        };
        let mut by_partition: BTreeMap<i32, Vec<LogRecord>> = BTreeMap::new();
        for cell in &gone {
            self.inner.stop(cell).await;
            by_partition.entry(cell.log_partition).or_default().push((records::encode_key(&cell.key), None));
        }
        for (partition, tombstones) in by_partition {
            if let Err(error) = self.inner.log.append(partition, tombstones).await {
                tracing::error!(partition, error, "cannot write to __share_group_state");
                return Err(ShareError::NotAvailable);
            }
        }
        Ok(!gone.is_empty())
    }
}

impl Inner {
    /// Nothing more is written of this share partition; what is being written comes before what the caller writes.
    async fn stop(&self, cell: &Arc<Cell>) {
        loop {
            {
                let mut entry = cell.entry.lock();
                entry.gone = true;
                Cell::wake(&mut entry);
                if !entry.writing {
                    entry.partition = None;
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn offsets(cell: &Cell) -> ShareOffsets {
    let told = cell.look(|p| ShareOffsets { start: Some(p.start()), delivery_complete: p.delivery_complete() });
    told.unwrap_or(ShareOffsets { start: None, delivery_complete: 0 })
}
