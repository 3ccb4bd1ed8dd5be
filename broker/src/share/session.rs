//! Share sessions (KIP-932): what a member wants is sent once, later requests carry changes only.
//!
//! Owns the bounded cache of sessions and the rules of their epochs. A session belongs to the connection that made it and
//! ends with it; what its member had acquired then goes to others. Never touches a log or a share partition.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexSet;
use parking_lot::Mutex;
use thiserror::Error;
use weir_protocol::ids::TopicId;

/// One partition of one topic.
pub type TopicPartition = (TopicId, i32);

/// A member of a share group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub group: Arc<str>,
    pub member: Arc<str>,
}

/// Why a session cannot be opened or continued. The numbers on the wire are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShareSessionError {
    #[error("the member has no share session (closed, ended with its connection, or of an earlier run of the broker)")]
    NotFound,
    #[error("the share session is at epoch {expected}, the request says {got}")]
    EpochMismatch { expected: i32, got: i32 },
    #[error("acknowledgements come with an open share session, epoch 0 opens one")]
    AcknowledgesAtOpening,
    #[error("acknowledgements cannot open a share session: the epoch is that of an open one, or -1 to close it")]
    CannotOpen,
    #[error("there are {limit} share sessions, as many as `group.share.max.share.sessions` allows")]
    LimitReached { limit: usize },
}

/// Epochs with a meaning of their own.
pub const OPEN: i32 = 0;
pub const CLOSE: i32 = -1;

#[derive(Debug)]
struct Session {
    connection: u64,
    /// The epoch that the next request must carry.
    epoch: i32,
    wanted: IndexSet<TopicPartition>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionKey, Session>,
    by_connection: HashMap<u64, HashSet<SessionKey>>,
}

/// What a fetch changes of its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub added: Vec<TopicPartition>,
    pub forgotten: Vec<TopicPartition>,
}

/// All sessions of this broker.
#[derive(Debug, Default)]
pub struct ShareSessions {
    table: Mutex<Table>,
}

/// A session that has ended, and what its member read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub key: SessionKey,
    pub partitions: Vec<TopicPartition>,
}

impl ShareSessions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.lock().sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to read for a fetch of this epoch, in the order of serving. To close a session is to read nothing; it stays
    /// until [`ShareSessions::close`], since its last acknowledgements are yet to be applied.
    pub fn fetch(
        &self,
        key: &SessionKey,
        connection: u64,
        epoch: i32,
        acknowledges: bool,
        change: Change,
        limit: usize,
    ) -> Result<Vec<TopicPartition>, ShareSessionError> {
        let mut table = self.table.lock();
        match epoch {
            CLOSE => table.sessions.get(key).map(|_| Vec::new()).ok_or(ShareSessionError::NotFound),
            OPEN if acknowledges => Err(ShareSessionError::AcknowledgesAtOpening),
            OPEN => {
                table.remove(key);
                if table.sessions.len() >= limit {
                    return Err(ShareSessionError::LimitReached { limit });
                }
                let wanted: IndexSet<TopicPartition> = change.added.into_iter().collect();
                let read = wanted.iter().copied().collect();
                table.sessions.insert(key.clone(), Session { connection, epoch: 1, wanted });
                table.by_connection.entry(connection).or_default().insert(key.clone());
                Ok(read)
            }
            _ => {
                let session = table.sessions.get_mut(key).ok_or(ShareSessionError::NotFound)?;
                session.step(epoch)?;
                session.wanted.extend(change.added);
                if !change.forgotten.is_empty() {
                    let forgotten: HashSet<TopicPartition> = change.forgotten.into_iter().collect();
                    session.wanted.retain(|partition| !forgotten.contains(partition));
                }
                Ok(session.rotated())
            }
        }
    }

    /// Admits acknowledgements of this epoch.
    pub fn acknowledge(&self, key: &SessionKey, epoch: i32) -> Result<(), ShareSessionError> {
        if epoch == OPEN {
            return Err(ShareSessionError::CannotOpen);
        }
        let mut table = self.table.lock();
        let session = table.sessions.get_mut(key).ok_or(ShareSessionError::NotFound)?;
        if epoch == CLOSE { Ok(()) } else { session.step(epoch) }
    }

    /// Ends a session; `None`: there is none.
    pub fn close(&self, key: &SessionKey) -> Option<Ended> {
        self.table.lock().remove(key)
    }

    /// Ends the sessions of a connection that has ended.
    pub fn disconnected(&self, connection: u64) -> Vec<Ended> {
        let mut table = self.table.lock();
        let keys = table.by_connection.remove(&connection).unwrap_or_default();
        keys.iter().filter_map(|key| table.remove(key)).collect()
    }
}

impl Table {
    fn remove(&mut self, key: &SessionKey) -> Option<Ended> {
        let session = self.sessions.remove(key)?;
        if let Some(keys) = self.by_connection.get_mut(&session.connection) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_connection.remove(&session.connection);
            }
        }
        Some(Ended { key: key.clone(), partitions: session.wanted.into_iter().collect() })
    }
}

impl Session {
    fn step(&mut self, epoch: i32) -> Result<(), ShareSessionError> {
        if self.epoch != epoch {
            return Err(ShareSessionError::EpochMismatch { expected: self.epoch, got: epoch });
        }
        // After the largest epoch comes 1, as 0 opens a session.
        self.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        Ok(())
    }

    /// Each fetch begins with another partition, so that the limits starve none.
    fn rotated(&self) -> Vec<TopicPartition> {
        let mut wanted: Vec<TopicPartition> = self.wanted.iter().copied().collect();
        if !wanted.is_empty() {
            let by = self.epoch as usize % wanted.len();
            wanted.rotate_left(by);
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn p(n: i32) -> TopicPartition {
        (TopicId(Uuid::from_u128(7)), n)
    }

    fn key(member: &str) -> SessionKey {
        SessionKey { group: "g".into(), member: member.into() }
    }

    fn adds(partitions: &[i32]) -> Change {
        Change { added: partitions.iter().map(|n| p(*n)).collect(), forgotten: Vec::new() }
    }

    #[test]
    fn a_session_goes_on_epoch_by_epoch_and_remembers_what_was_asked() {
        let sessions = ShareSessions::default();
        let fetch = |epoch, change| sessions.fetch(&key("m"), 1, epoch, false, change, 10);
        assert_eq!(fetch(1, adds(&[0])), Err(ShareSessionError::NotFound));
        assert_eq!(fetch(OPEN, adds(&[0, 1])), Ok(vec![p(0), p(1)]));
        let mut read = fetch(1, adds(&[2])).unwrap();
        read.sort();
        assert_eq!(read, [p(0), p(1), p(2)]);
        assert_eq!(fetch(1, adds(&[])), Err(ShareSessionError::EpochMismatch { expected: 2, got: 1 }));
        let forget = Change { added: Vec::new(), forgotten: vec![p(0), p(2)] };
        assert_eq!(fetch(2, forget), Ok(vec![p(1)]));
        assert_eq!(sessions.acknowledge(&key("m"), 3), Ok(()));
        assert_eq!(fetch(4, adds(&[])), Ok(vec![p(1)]), "acknowledgements have epochs too");
        assert_eq!(fetch(CLOSE, adds(&[])), Ok(Vec::new()));
        assert_eq!(sessions.close(&key("m")).unwrap().partitions, [p(1)]);
        assert_eq!(sessions.close(&key("m")), None);
    }

    #[test]
    fn the_epoch_after_the_largest_one_is_1() {
        let sessions = ShareSessions::default();
        sessions.fetch(&key("m"), 1, OPEN, false, adds(&[0]), 10).unwrap();
        sessions.table.lock().sessions.get_mut(&key("m")).unwrap().epoch = i32::MAX;
        sessions.acknowledge(&key("m"), i32::MAX).unwrap();
        assert_eq!(sessions.acknowledge(&key("m"), 1), Ok(()));
    }

    #[test]
    fn acknowledgements_neither_open_a_session_nor_come_with_its_opening() {
        let sessions = ShareSessions::default();
        let opening = sessions.fetch(&key("m"), 1, OPEN, true, adds(&[0]), 10);
        assert_eq!(opening, Err(ShareSessionError::AcknowledgesAtOpening));
        assert_eq!(sessions.acknowledge(&key("m"), OPEN), Err(ShareSessionError::CannotOpen));
        assert_eq!(sessions.acknowledge(&key("m"), CLOSE), Err(ShareSessionError::NotFound));
    }

    #[test]
    fn every_partition_comes_first_in_its_turn() {
        let sessions = ShareSessions::default();
        sessions.fetch(&key("m"), 1, OPEN, false, adds(&[0, 1, 2]), 10).unwrap();
        let first: HashSet<_> =
            (1..4).map(|epoch| sessions.fetch(&key("m"), 1, epoch, false, adds(&[]), 10).unwrap()[0]).collect();
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn sessions_end_with_their_connection_and_are_bounded() {
        let sessions = ShareSessions::default();
        sessions.fetch(&key("a"), 1, OPEN, false, adds(&[0]), 2).unwrap();
        sessions.fetch(&key("b"), 2, OPEN, false, adds(&[1]), 2).unwrap();
        let third = sessions.fetch(&key("c"), 3, OPEN, false, adds(&[0]), 2);
        assert_eq!(third, Err(ShareSessionError::LimitReached { limit: 2 }));
        sessions.fetch(&key("a"), 4, OPEN, false, adds(&[0]), 2).unwrap();
        assert_eq!(sessions.disconnected(1), [], "it has gone to another connection");
        assert_eq!(sessions.disconnected(4), [Ended { key: key("a"), partitions: vec![p(0)] }]);
        assert_eq!(sessions.len(), 1);
    }
}
