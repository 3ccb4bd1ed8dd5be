//! Lag of consumer groups: what they committed, against the ends of the partitions.
//!
//! Measured when somebody asks and the last measurement is older than `metrics.group.lag.interval`, so a broker that nobody
//! scrapes does not measure. Holds the timestamps that ages are computed from, for as long as a group stays where it is.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use weir_protocol::ids::{Offset, PartitionId, Timestamp};
use weir_protocol::records::{BatchHeader, TimestampType};
use weir_storage::log::{Partition, PartitionKey, ReadLimit, ReadRequest, Storage};

use super::{GroupSample, PartitionLag};
use crate::group::Coordinator;
use crate::topics::Topics;

/// Batches read for their timestamp in one measurement; the ages of further partitions follow in the next ones.
const READS_MAX: usize = 256;

/// Measures the lag of all groups.
pub struct LagMeter {
    groups: Coordinator,
    topics: Arc<Topics>,
    storage: Arc<Storage>,
    interval: Duration,
    last: Mutex<Measured>,
}

#[derive(Default)]
struct Measured {
    at: Option<Instant>,
    samples: Vec<GroupSample>,
    timestamps: Timestamps,
}

/// Timestamp of the batch at an offset, where it was read.
type Timestamps = HashMap<(PartitionKey, Offset), Timestamp>;

impl LagMeter {
    #[must_use]
    pub fn new(groups: Coordinator, topics: Arc<Topics>, storage: Arc<Storage>, interval: Duration) -> LagMeter {
        LagMeter { groups, topics, storage, interval, last: Mutex::default() }
    }

    /// Every group, with its lag as it is now or was not long ago. `now` is the wall clock, for ages.
    pub async fn sample(&self, now: Timestamp) -> Vec<GroupSample> {
        // Held while measuring: several scrapers at once measure once.
        let mut last = self.last.lock().await;
        if last.at.is_none_or(|at| at.elapsed() >= self.interval) {
            let known = std::mem::take(&mut last.timestamps);
            let (samples, timestamps) = self.measure(now, &known).await;
            *last = Measured { at: Some(Instant::now()), samples, timestamps };
        }
        last.samples.clone()
    }

    /// Only timestamps that were needed are kept for the next time.
    async fn measure(&self, now: Timestamp, known: &Timestamps) -> (Vec<GroupSample>, Timestamps) {
        let (mut samples, mut timestamps) = (Vec::new(), Timestamps::new());
        let mut reads = 0;
        for group in self.groups.list() {
            let mut lags = Vec::new();
            // A group of a partition that still loads has nothing to show yet.
            for ((topic, partition), committed) in self.groups.all_committed(&group.group).unwrap_or_default() {
                let Some(log) = self.partition(&topic, partition) else { continue };
                let ends = log.offsets();
                let records = u64::try_from(ends.high_watermark - committed.offset).unwrap_or(0);
                let first = committed.offset.max(ends.log_start);
                let seconds = if first >= ends.high_watermark {
                    Some(0.0)
                } else {
                    let at = (log.key(), first);
                    let timestamp = match known.get(&at).or_else(|| timestamps.get(&at)) {
                        Some(timestamp) => Some(*timestamp),
                        None if reads < READS_MAX => {
                            reads += 1;
                            timestamp_at(&log, first).await
                        }
                        None => None,
                    };
                    timestamps.extend(timestamp.map(|timestamp| (at, timestamp)));
                    timestamp.map(|timestamp| age_seconds(now, timestamp))
                };
                lags.push(PartitionLag { topic, partition, records, seconds });
            }
            samples.push(GroupSample { group: group.group, members: group.members.len(), lags });
        }
        (samples, timestamps)
    }

    /// None: the topic was deleted, and its offsets will be.
    fn partition(&self, topic: &str, partition: i32) -> Option<Arc<Partition>> {
        self.storage.partition(self.topics.get(topic)?.log_id(), PartitionId(partition))
    }
}

/// When the batch that holds `offset` begins. None: it cannot be read, or its producer gave no time.
async fn timestamp_at(log: &Arc<Partition>, offset: Offset) -> Option<Timestamp> {
    let request = ReadRequest { offset, max_bytes: 1, at_least_one: true, limit: ReadLimit::HighWatermark };
    // What cannot be read is reported by whoever needs the records; here only the age is missing.
    let outcome = log.read(request).await.ok()?;
    let header = BatchHeader::parse(outcome.chunks.first()?).ok()?;
    let attributes = header.attributes;
    // In these two cases the base timestamp is not that of a record.
    let stamped_otherwise =
        attributes.timestamp_type() == TimestampType::LogAppendTime || attributes.has_delete_horizon();
    let timestamp = if stamped_otherwise { header.max_timestamp } else { header.base_timestamp };
    (timestamp >= 0).then_some(Timestamp(timestamp))
}

/// Timestamps are the producers', so they may lie in the future.
fn age_seconds(now: Timestamp, timestamp: Timestamp) -> f64 {
    now.0.saturating_sub(timestamp.0).max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::BytesMut;
    use weir_protocol::ids::{Generation, LeaderEpoch};
    use weir_protocol::records::BatchBuilder;
    use weir_storage::disk::OsDisk;
    use weir_storage::log::{AckLevel, AppendOrigin, PendingAppend, StorageConfig};
    use weir_storage::meta::EmbeddedMetadata;

    use super::*;
    use crate::group::GroupConfigs;
    use crate::group::configs::TimingBounds;
    use crate::group::coordinator::Committer;
    use crate::group::offsets::CommittedOffset;
    use crate::group::{GroupSettings, StorageLog};
    use crate::topic_config::TopicConfigs;
    use crate::topics::{LoadedTopics, OFFSETS_TOPIC};

    struct Fixture {
        topics: Arc<Topics>,
        storage: Arc<Storage>,
        groups: Coordinator,
    }

    async fn open(dir: &Path) -> Fixture {
        let disk = Arc::new(OsDisk::open(dir).unwrap());
        let meta = Arc::new(EmbeddedMetadata::open(disk.clone(), Some(dir.join("meta/sled"))).unwrap());
        let loaded = LoadedTopics::load(&*meta).unwrap();
        let storage =
            Storage::open(disk, StorageConfig::default(), LeaderEpoch(1), loaded.specs(), &|_| false).await.unwrap();
        let topics = Arc::new(Topics::new(meta, storage.clone(), loaded, 1));
        let internal = topics.ensure_internal(OFFSETS_TOPIC, 1, TopicConfigs::default()).await.unwrap();
        let log = Arc::new(StorageLog::new(storage.clone(), internal));
        let groups = {
            let seen = topics.clone();
            let configs = Arc::new(GroupConfigs::in_memory(TimingBounds::default()));
            Coordinator::start(GroupSettings::default(), log, Arc::new(move || seen.image()), configs)
        };
        while !groups.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        topics.create("flights", Some(2), TopicConfigs::default()).await.unwrap();
        Fixture { topics, storage, groups }
    }

    impl Fixture {
        fn meter(&self, interval: Duration) -> LagMeter {
            LagMeter::new(self.groups.clone(), self.topics.clone(), self.storage.clone(), interval)
        }

        /// One batch, all of whose records have this timestamp.
        async fn produce(&self, partition: i32, records: usize, at_ms: i64) {
            let id = self.topics.get("flights").unwrap().id;
            let mut builder = BatchBuilder::new();
            for _ in 0..records {
                builder.append(None, Some(b"JFK-LAX"), &[], Timestamp(at_ms)).unwrap();
            }
            let bytes = builder.build().unwrap();
            let header = BatchHeader::parse(&bytes).unwrap();
            let partition = self.storage.partition(id, PartitionId(partition)).unwrap();
            let batch = BytesMut::from(&bytes[..]);
            let pending = PendingAppend::rows(partition, batch, header, AppendOrigin::Client);
            self.storage.submit(vec![pending], AckLevel::Durable).await.await.remove(0).unwrap();
        }

        async fn commit(&self, partition: i32, offset: i64) {
            let committer = Committer { member_id: String::new(), instance_id: None, generation: Generation(-1) };
            let committed = CommittedOffset {
                offset: Offset(offset),
                leader_epoch: None,
                metadata: String::new(),
                committed_at: Timestamp(0),
                expires_at: None,
            };
            let results =
                self.groups.commit("etl", &committer, vec![(("flights".to_owned(), partition), committed)]).await;
            results.unwrap();
        }
    }

    fn lag(partition: i32, records: u64, seconds: Option<f64>) -> PartitionLag {
        PartitionLag { topic: "flights".to_owned(), partition, records, seconds }
    }

    #[tokio::test]
    async fn lag_is_the_distance_to_the_end_and_the_age_of_the_first_record_left() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = open(dir.path()).await;
        fixture.produce(0, 3, 10_000).await;
        fixture.produce(0, 4, 17_500).await;
        fixture.produce(1, 2, 20_000).await;
        let meter = fixture.meter(Duration::ZERO);
        let now = Timestamp(20_000);
        assert!(meter.sample(now).await.is_empty(), "no group, no lag");

        fixture.commit(0, 3).await;
        fixture.commit(1, 2).await;
        let samples = meter.sample(now).await;
        assert_eq!((samples[0].group.as_str(), samples[0].members), ("etl", 0));
        assert_eq!(samples[0].lags, [lag(0, 4, Some(2.5)), lag(1, 0, Some(0.0))]);

        fixture.commit(0, 1).await;
        assert_eq!(meter.sample(now).await[0].lags[0], lag(0, 6, Some(10.0)), "the first batch again");
        // The next one comes from the timestamps that are kept.
        assert_eq!(meter.sample(Timestamp(21_000)).await[0].lags[0], lag(0, 6, Some(11.0)));
    }

    #[tokio::test]
    async fn partitions_of_deleted_topics_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = open(dir.path()).await;
        fixture.produce(0, 3, 10_000).await;
        fixture.commit(0, 0).await;
        let flights = fixture.topics.get("flights").unwrap();
        fixture.topics.delete(&flights).await.unwrap();
        assert!(fixture.meter(Duration::ZERO).sample(Timestamp(0)).await.iter().all(|sample| sample.lags.is_empty()));
    }

    #[tokio::test]
    async fn a_measurement_serves_for_the_interval() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = open(dir.path()).await;
        fixture.commit(0, 0).await;
        let meter = fixture.meter(Duration::from_secs(3600));
        let before = meter.sample(Timestamp(0)).await;
        fixture.produce(0, 1, 0).await;
        assert_eq!(meter.sample(Timestamp(0)).await, before);
        assert_eq!(fixture.meter(Duration::ZERO).sample(Timestamp(0)).await[0].lags[0].records, 1);
    }
}
