//! Groups come back from `__consumer_offsets`, partition by partition.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::room::{FAILED, Inner, Kind, READY};
use super::{LogEntry, now};
use crate::group::consumer::{ConsumerGroup, StoredConsumerGroup};
use crate::group::offsets::Offsets;
use crate::group::records::{self, Key};
use crate::group::share::{ShareGroup, StoredShareGroup};
use crate::group::state::{Group, StoredGroup};

impl Inner {
    async fn load(self: &Arc<Self>, partition: i32) -> Result<(), String> {
        let mut damaged = 0;
        let mut groups: HashMap<String, Option<StoredGroup>> = HashMap::new();
        let mut newer: HashMap<String, StoredConsumerGroup> = HashMap::new();
        let mut shares: HashMap<String, StoredShareGroup> = HashMap::new();
        let mut offsets: HashMap<String, Offsets> = HashMap::new();
        let mut visit = |entry: LogEntry| {
            let (at, key, value, transaction_of) = match entry {
                LogEntry::Record { offset, key, value, transaction_of } => (offset, key, value, transaction_of),
                LogEntry::Marker { producer_id, commit } => {
                    offsets.values_mut().for_each(|of_group| of_group.end(producer_id, commit));
                    return;
                }
            };
            let applied = match records::decode_key(key) {
                Ok(Key::Offset { group, topic, partition }) => {
                    value.map(records::decode_offset).transpose().map(|committed| {
                        let of_group = offsets.entry(group).or_default();
                        match (transaction_of, committed) {
                            (Some(producer_id), Some(committed)) => {
                                of_group.restage(producer_id, (topic, partition), committed, at);
                            }
                            (_, committed) => of_group.apply((topic, partition), committed, at),
                        }
                    })
                }
                Ok(Key::Group { group }) => value.map(records::decode_group).transpose().map(|stored| {
                    groups.insert(group, stored);
                }),
                Ok(Key::Consumer { group, key }) => {
                    value.map(|bytes| records::consumer::decode_value(&key, bytes)).transpose().map(|value| {
                        newer.entry(group).or_default().apply(key, value);
                    })
                }
                Ok(Key::Share { group, key }) => {
                    value.map(|bytes| records::share::decode_value(&key, bytes)).transpose().map(|value| {
                        shares.entry(group).or_default().apply(key, value);
                    })
                }
                Ok(Key::Other { .. }) => Ok(()),
                Err(error) => Err(error),
            };
            if applied.is_err() {
                damaged += 1;
            }
        };
        self.log.read_all(partition, &mut visit).await?;
        if damaged > 0 {
            tracing::error!(partition, damaged, "records of __consumer_offsets that do not decode were passed over");
        }
        let now = now();
        let settings = self.settings();
        let limits = &settings.limits;
        let mut cells = Vec::new();
        for (name, stored) in newer {
            let session_timeout_ms = self.configs.timing(&name).session_timeout_ms;
            let limits = settings.consumer.clone();
            if let Some(group) = ConsumerGroup::restore(limits, stored, session_timeout_ms, now) {
                // A group that has changed its kind left a tombstone of what it was, in the same batch.
                groups.remove(&name);
                let offsets = offsets.remove(&name).unwrap_or_default();
                cells.push((name, Kind::Consumer(group), offsets, true));
            }
        }
        for (name, stored) in shares {
            let session_timeout_ms = self.configs.share(&name).timing.session_timeout_ms;
            if let Some(group) = ShareGroup::restore(settings.share_max_size, stored, session_timeout_ms, now) {
                groups.remove(&name);
                let offsets = offsets.remove(&name).unwrap_or_default();
                cells.push((name, Kind::Share(group), offsets, true));
            }
        }
        for (name, stored) in groups {
            let offsets = offsets.remove(&name).unwrap_or_default();
            let Some(stored) = stored else {
                if !offsets.is_empty() {
                    cells.push((name, Kind::Classic(Group::new(limits.clone(), now)), offsets, false));
                }
                continue;
            };
            let group = Group::restore(limits.clone(), stored, now);
            cells.push((name, Kind::Classic(group), offsets, true));
        }
        for (name, offsets) in offsets {
            if !offsets.is_empty() {
                cells.push((name, Kind::Classic(Group::new(limits.clone(), now)), offsets, false));
            }
        }
        for (name, kind, offsets, has_record) in cells {
            let cell = Inner::cell(&name, partition, kind);
            for producer_id in offsets.writers() {
                self.note_transaction(partition, producer_id, &name);
            }
            {
                let mut entry = cell.entry.lock();
                entry.offsets = offsets;
                entry.has_record = has_record;
                self.schedule(&cell, &mut entry);
            }
            self.groups.write().insert(name, cell);
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
                    tracing::warn!(partition, error, "loading __consumer_offsets failed; trying again");
                    tokio::time::sleep(Duration::from_millis(200 * attempt)).await;
                }
                Err(error) => {
                    tracing::error!(
                        partition,
                        error,
                        "groups of this partition cannot be served; repair the data folder and restart"
                    );
                    break FAILED;
                }
            }
        };
        inner.loaded[partition as usize].store(outcome, Ordering::Release);
    }
}
