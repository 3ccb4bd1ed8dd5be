//! The coordinator over a log in memory, with the real clock and short timeouts.
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use weir_protocol::ids::Generation;

use super::*;
use crate::group::configs::TimingBounds;
use crate::group::offsets::CommittedOffset;
use crate::group::state::{JoinRequest, Joined, Phase, SyncRequest, Synced};
use crate::topics::CommittedOffsets;

#[derive(Default)]
struct MemoryLog {
    /// Appends fail.
    broken: std::sync::atomic::AtomicBool,
    partitions: Mutex<HashMap<i32, Vec<LogEntry>>>,
}

#[async_trait]
impl OffsetsLog for MemoryLog {
    fn partitions(&self) -> i32 {
        50
    }

    async fn append(&self, partition: i32, records: Vec<LogRecord>) -> Result<Offset, String> {
        if self.broken.load(Ordering::Relaxed) {
            return Err("the disk is on fire".to_owned());
        }
        let mut partitions = self.partitions.lock();
        let log = partitions.entry(partition).or_default();
        let first = Offset(log.len() as i64);
        log.extend(records.into_iter().map(|(key, value)| LogEntry::Record {
            offset: Offset(0),
            key,
            value,
            transaction_of: None,
        }));
        Ok(first)
    }

    async fn append_transactional(
        &self,
        partition: i32,
        records: Vec<LogRecord>,
        writer: TransactionalWriter,
    ) -> Result<Offset, AppendError> {
        let mut partitions = self.partitions.lock();
        let log = partitions.entry(partition).or_default();
        let first = Offset(log.len() as i64);
        log.extend(records.into_iter().map(|(key, value)| LogEntry::Record {
            offset: Offset(0),
            key,
            value,
            transaction_of: Some(writer.producer_id),
        }));
        Ok(first)
    }

    async fn read_all(&self, partition: i32, visit: &mut (dyn FnMut(LogEntry) + Send)) -> Result<(), String> {
        let log = self.partitions.lock().get(&partition).cloned().unwrap_or_default();
        for (at, mut entry) in (0..).map(Offset).zip(log) {
            if let LogEntry::Record { offset, .. } = &mut entry {
                *offset = at;
            }
            visit(entry);
        }
        Ok(())
    }
}

/// One topic "t" of four partitions.
fn topics() -> TopicsNow {
    let id = weir_protocol::ids::TopicId(uuid::Uuid::from_u128(1));
    let image = Arc::new(TopicImage::new(1, [("t".to_owned(), id, 4)]));
    Arc::new(move || image.clone())
}

fn configs() -> Arc<GroupConfigs> {
    Arc::new(GroupConfigs::in_memory(TimingBounds::default()))
}

async fn start(log: &Arc<MemoryLog>) -> Coordinator {
    let settings = GroupSettings {
        limits: GroupLimits { initial_rebalance_delay_ms: 50, session_timeout_min_ms: 100, ..GroupLimits::default() },
        ..GroupSettings::default()
    };
    let coordinator = Coordinator::start(settings, log.clone(), topics(), configs());
    while !coordinator.is_ready() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    coordinator
}

fn request(member_id: &str) -> JoinRequest {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    JoinRequest {
        member_id: member_id.to_owned(),
        instance_id: None,
        client_id: "c".to_owned(),
        client_host: "/h".to_owned(),
        session_timeout_ms: 400,
        rebalance_timeout_ms: 1_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"))],
        require_known_member_id: false,
        supports_skip_assignment: true,
        new_member_id: format!("member-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}

fn offset(at: i64) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(at),
        leader_epoch: None,
        metadata: "x".to_owned(),
        committed_at: now(),
        expires_at: None,
    }
}

const STANDALONE: Committer = Committer { member_id: String::new(), instance_id: None, generation: Generation(-1) };

async fn sync(
    coordinator: &Coordinator,
    joined: &Joined,
    assignments: Vec<(String, Bytes)>,
) -> Result<Synced, GroupError> {
    let request = SyncRequest {
        member_id: joined.member_id.clone(),
        instance_id: None,
        generation: joined.generation,
        protocol_type: None,
        protocol_name: None,
        assignments,
    };
    coordinator.sync("g", request).await
}

#[tokio::test]
async fn two_members_rebalance_when_one_dies_and_commits_survive_a_restart() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log).await;
    let (one, two) = tokio::join!(coordinator.join("g", request("")), coordinator.join("g", request("")));
    let (one, two) = (one.unwrap(), two.unwrap());
    let (leader, follower) = if one.leader == one.member_id { (one, two) } else { (two, one) };
    let assignment = |m: &Joined| (m.member_id.clone(), Bytes::from(m.member_id.clone()));
    let (a, b) = tokio::join!(
        sync(&coordinator, &leader, vec![assignment(&leader), assignment(&follower)]),
        sync(&coordinator, &follower, vec![])
    );
    assert_eq!(a.unwrap().assignment, leader.member_id.as_bytes());
    assert_eq!(b.unwrap().assignment, follower.member_id.as_bytes());
    let committer = Committer { member_id: leader.member_id.clone(), instance_id: None, generation: leader.generation };
    let commit = coordinator.commit("g", &committer, vec![(("t".to_owned(), 0), offset(7))]).await.unwrap();
    assert_eq!(commit, [Ok(())]);
    let subscribed = coordinator.delete_offsets("g", &[("t".to_owned(), 0), ("u".to_owned(), 0)]).await.unwrap();
    assert_eq!(subscribed, [Err(GroupError::GroupSubscribedToTopic), Ok(())]);
    assert_eq!(coordinator.delete("g").await, Err(GroupError::NonEmptyGroup));

    // The follower falls silent.
    let heartbeat = || coordinator.heartbeat("g", &leader.member_id, None, leader.generation);
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while heartbeat() == Ok(()) {
        assert!(std::time::Instant::now() < until, "the silent member is never noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(heartbeat(), Err(GroupError::RebalanceInProgress));
    let again = coordinator.join("g", request(&leader.member_id)).await.unwrap();
    assert_eq!(again.members.len(), 1);
    assert!(again.generation > leader.generation);
    sync(&coordinator, &again, vec![assignment(&again)]).await.unwrap();

    let restarted = start(&log).await;
    assert_eq!(restarted.committed("g", "t", 0).unwrap().unwrap().offset, Offset(7));
    assert_eq!(restarted.heartbeat("g", &again.member_id, None, again.generation), Ok(()), "it need not rejoin");
    assert_eq!(restarted.describe("g").unwrap().unwrap().state, Phase::Stable.name());
}

#[tokio::test]
async fn standalone_offsets_are_kept_deleted_and_forgotten_with_their_topic() {
    let log = Arc::new(MemoryLog::default());
    let coordinator = start(&log).await;
    let mut huge = offset(1);
    huge.metadata = "m".repeat(5000);
    let offsets = vec![(("t".to_owned(), 0), offset(1)), (("t".to_owned(), 1), huge), (("u".to_owned(), 0), offset(2))];
    let results = coordinator.commit("s", &STANDALONE, offsets).await.unwrap();
    assert_eq!(results, [Ok(()), Err(GroupError::OffsetMetadataTooLarge), Ok(())]);
    coordinator.forget("t").await.unwrap();
    assert_eq!(coordinator.all_committed("s").unwrap().len(), 1);
    let restarted = start(&log).await;
    assert_eq!(restarted.committed("s", "t", 0).unwrap(), None);
    assert_eq!(restarted.committed("s", "u", 0).unwrap().unwrap().offset, Offset(2));
    restarted.delete("s").await.unwrap();
    assert_eq!(restarted.delete("s").await, Err(GroupError::GroupIdNotFound));
    assert!(start(&log).await.list().is_empty());
    let wrong = Committer { generation: Generation(3), ..STANDALONE };
    assert_eq!(restarted.commit("new", &wrong, vec![]).await, Err(GroupError::IllegalGeneration));
}

mod consumer;
