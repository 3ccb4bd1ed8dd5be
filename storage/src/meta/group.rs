//! Group commit: who waits for the next sync, and what the transactions before in the same group have written.
use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::table::Table;
use super::{Condition, MetaError, Revision, Write};

/// Bytes of keys and values that are synced together; a larger transaction goes alone.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// A transaction that waits for its outcome.
pub(super) struct Waiting {
    pub conditions: Vec<Condition>,
    pub writes: Vec<Write>,
    pub done: oneshot::Sender<Result<Revision, MetaError>>,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.writes.iter().map(|write| write.key().len() + write.value().map_or(0, <[u8]>::len)).sum()
    }
}

/// Transactions in the order they came, and whether somebody works on them.
#[derive(Default)]
pub(super) struct WaitingRoom {
    state: Mutex<(Vec<Waiting>, bool)>,
}

impl WaitingRoom {
    /// True if the caller has to see to it that somebody works.
    pub fn push(&self, transaction: Waiting) -> bool {
        let mut state = self.state.lock();
        state.0.push(transaction);
        !std::mem::replace(&mut state.1, true)
    }

    /// Those that wait learn that there is no outcome; the next one begins anew.
    pub fn give_up(&self) {
        *self.state.lock() = (Vec::new(), false);
    }

    /// The next group; `None`, and nobody works any more, when none waits.
    pub fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.state.lock();
        let mut bytes = 0;
        let fits = state.0.iter().take_while(|transaction| {
            bytes += transaction.bytes();
            bytes <= GROUP_BYTES_MAX
        });
        let count = fits.count().max(1).min(state.0.len());
        state.1 = count > 0;
        (count > 0).then(|| state.0.drain(..count).collect())
    }
}

/// The keys that earlier transactions of the group write: their revision, or `None` where they delete it.
#[derive(Default)]
pub(super) struct Staged<'a> {
    keys: HashMap<&'a [u8], Option<Revision>>,
}

impl<'a> Staged<'a> {
    /// The key of the first condition that does not hold.
    pub fn conflict<'c>(&self, table: &dyn Table, conditions: &'c [Condition]) -> Result<Option<&'c [u8]>, MetaError> {
        for condition in conditions {
            let (key, wanted) = match condition {
                Condition::Absent(key) => (key, None),
                Condition::Unchanged(key, revision) => (key, Some(*revision)),
            };
            let found = match self.keys.get(key.as_slice()) {
                Some(staged) => *staged,
                None => table.get(key)?.map(|row| row.revision),
            };
            if found != wanted {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    pub fn add(&mut self, revision: Revision, writes: &'a [Write]) {
        for write in writes {
            self.keys.insert(write.key(), write.value().map(|_| revision));
        }
    }
}
