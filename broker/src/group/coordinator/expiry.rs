//! Time passes: deadlines of groups, offsets that expire, groups of which nothing is left.
use std::sync::{Arc, Weak};
use std::time::Duration;

use weir_protocol::ids::Timestamp;

use super::now;
use super::room::{Cell, Inner, Kind};

impl Inner {
    /// Drops expired offsets, and groups of which nothing is left.
    async fn expire(self: &Arc<Self>, now: Timestamp) {
        let cells: Vec<_> = self.groups.read().values().cloned().collect();
        for cell in cells {
            let (expired, dead) = {
                let entry = cell.entry.lock();
                let empty_since = entry.kind.empty_since();
                let expired = entry.offsets.expired(now, empty_since, self.settings().offsets_retention_ms);
                let left = entry.offsets.iter().count() - expired.len();
                let idle = entry.kind.ends_by_itself() && empty_since.is_some_and(|at| now.0 - at.0 > 60_000);
                (expired, idle && left == 0)
            };
            if !expired.is_empty() {
                tracing::info!(group = cell.name, count = expired.len(), "committed offsets expired");
                let gone = expired.into_iter().map(|name| (name, None)).collect();
                if self.write_offsets(&cell, gone).await.is_err() {
                    return;
                }
            }
            if dead {
                self.bury(&cell).await;
            }
        }
    }

    async fn bury(self: &Arc<Self>, cell: &Arc<Cell>) {
        let tombstones = {
            let entry = cell.entry.lock();
            // A write under way would come after them.
            if entry.writing || entry.kind.empty_since().is_none() {
                return;
            }
            entry.tombstones(&cell.name)
        };
        if !tombstones.is_empty() && self.append(cell.partition, tombstones).await.is_err() {
            return;
        }
        let still_idle = self.with(cell, |now, entry, effects| {
            let idle = entry.kind.empty_since().is_some() && entry.offsets.is_empty() && !entry.writing;
            if idle {
                entry.kill(&self.settings().limits, now, effects);
            }
            idle
        });
        if still_idle {
            self.groups.write().remove(&cell.name);
        }
    }
}

pub(super) async fn tick_loop(inner: Weak<Inner>) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let first = strong.deadlines.lock().first().cloned();
        let wait = first.map_or(60_000, |(at, _)| (at.0 - now().0).max(0)) as u64;
        if wait > 0 {
            // Either way the deadlines are looked at again.
            let _ = tokio::time::timeout(Duration::from_millis(wait), strong.reschedule.notified()).await;
            continue;
        }
        let due: Vec<String> = {
            let mut deadlines = strong.deadlines.lock();
            let later = deadlines.split_off(&(Timestamp(now().0 + 1), String::new()));
            std::mem::replace(&mut *deadlines, later).into_iter().map(|(_, name)| name).collect()
        };
        for name in due {
            let Some(cell) = strong.groups.read().get(&name).cloned() else { continue };
            strong.with(&cell, |now, entry, effects| {
                entry.scheduled = None;
                match &mut entry.kind {
                    Kind::Classic(group) => group.tick(now, effects),
                    Kind::Consumer(group) => out(&cell.name, group.tick(now)),
                    Kind::Share(group) => out(&cell.name, group.tick(now)),
                }
            });
        }
    }
}

fn out(group: &str, members: Vec<String>) {
    for member in members {
        tracing::info!(group, member, "member is out: it let a deadline pass");
    }
}

pub(super) async fn expiry_loop(inner: Weak<Inner>) {
    loop {
        let Some(interval) = inner.upgrade().map(|i| i.settings().expiry_interval) else { return };
        tokio::time::sleep(interval).await;
        let Some(strong) = inner.upgrade() else { return };
        strong.expire(now()).await;
    }
}
