//! Deadlines: sessions, partitions that are not given up, classic members that do not come back.
use weir_protocol::ids::Timestamp;

use super::{ConsumerGroup, Member};

impl Member {
    fn deadlines(&self) -> impl Iterator<Item = Timestamp> {
        let others = [self.revoke_deadline, self.join_deadline, self.sync_deadline];
        std::iter::once(self.session_deadline).chain(others.into_iter().flatten())
    }
}

impl ConsumerGroup {
    /// When [`ConsumerGroup::tick`] has something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.members.values().flat_map(Member::deadlines).min()
    }

    /// Members that let a deadline pass are out. Returns their ids.
    pub fn tick(&mut self, now: Timestamp) -> Vec<String> {
        let late = |m: &&Member| m.deadlines().any(|at| at <= now);
        let gone: Vec<String> = self.members.values().filter(late).map(|m| m.id.clone()).collect();
        for id in &gone {
            self.fence(now, id);
        }
        self.check();
        gone
    }
}
