//! Tiering of topics into lake tables: which topics are tiered, where their rows come from, how they are doing.
//!
//! Topics are looked at now and then: one whose `weir.lake.*` configs changed is tiered by the new ones. What a table holds
//! is known by the table alone (crate `weir-lake-sink`), so nothing here is kept.
mod history;
mod key;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use weir_lake_sink::{Lake, LakeLimits, TableStatus, VerifyProgress};

use crate::broker::Broker;
pub use history::{Histories, PartitionHistory};
pub(crate) use key::{PrimaryKeyError, check as check_key};
use source::LogSource;

/// How often topics are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often a verification tells how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The tables of all topics that are tiered.
#[derive(Clone)]
pub struct LakeTables {
    lake: Lake,
    stop: CancellationToken,
    verifying: Arc<Semaphore>,
}

/// Why log and lake are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyRefused {
    #[error("the broker is starting")]
    Starting,
    #[error("this broker tiers no topic `{topic}`: set weir.lake.format and weir.lake.path on it (`weir topic alter`)")]
    NotTiered { topic: String },
    #[error(
        "topic `{topic}` is compacted: its log keeps the last record of each key and its lake table all of them, so they cannot be equal"
    )]
    Compacted { topic: String },
    #[error("another verification is in progress; this broker does one at a time, try again later")]
    Busy,
}

impl LakeTables {
    /// Tiers until [`LakeTables::stop`].
    #[must_use]
    pub fn start(broker: &Arc<Broker>) -> LakeTables {
        let stop = CancellationToken::new();
        let lake =
            Lake::new(LakeLimits::default(), broker.config.lake_roots(), broker.storage.cpu().clone(), stop.clone());
        let tables = LakeTables { lake, stop, verifying: Arc::new(Semaphore::new(1)) };
        let (this, broker) = (tables.clone(), broker.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = this.stop.cancelled() => {}
                () = this.follow(&broker) => {}
            }
        });
        tables
    }

    async fn follow(&self, broker: &Arc<Broker>) {
        loop {
            let topics = broker.topics.all();
            let tiered = |name: &str| broker.topics.get(name).is_some_and(|topic| topic.settings.lake.is_some());
            self.lake.retain(tiered);
            for topic in topics {
                if let Some(settings) = &topic.settings.lake {
                    let source = || -> Arc<dyn weir_lake_sink::ScanSource> {
                        Arc::new(LogSource::new(broker.topics.clone(), broker.storage.clone(), &topic))
                    };
                    self.lake.put(&topic.name, topic.id.0, settings, source);
                }
            }
            broker.histories.tidy(&broker.topics);
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Every table, by topic.
    #[must_use]
    pub fn status(&self) -> Vec<TableStatus> {
        self.lake.status()
    }

    /// Compares the rows of log and lake. What is received are objects: `{"progress": {...}}` about every second, and at the end
    /// `{"report": {...}}` ([`weir_lake_sink::VerifyReport`]) or `{"error": "..."}`. It ends when nobody receives any more.
    ///
    /// # Errors
    /// [`VerifyRefused`].
    pub fn verify(&self, broker: &Broker, topic: &str) -> Result<mpsc::Receiver<Value>, VerifyRefused> {
        let found = broker.topics.get(topic).filter(|topic| topic.settings.lake.is_some());
        let found = found.ok_or_else(|| VerifyRefused::NotTiered { topic: topic.to_owned() })?;
        let keyed = found.settings.lake.as_ref().is_some_and(|lake| lake.key.is_some());
        if found.settings.compacted && !keyed {
            return Err(VerifyRefused::Compacted { topic: topic.to_owned() });
        }
        let turn = self.verifying.clone().try_acquire_owned().map_err(|_| VerifyRefused::Busy)?;
        let (send, receive) = mpsc::channel(1);
        let (lake, stop, topic) = (self.lake.clone(), self.stop.clone(), topic.to_owned());
        tokio::spawn(async move {
            let progress = VerifyProgress::default();
            let mut work = std::pin::pin!(lake.verify(&topic, &progress));
            let mut told = tokio::time::interval(PROGRESS_INTERVAL);
            let last = loop {
                tokio::select! {
                    () = stop.cancelled() => break json!({ "error": "the broker is shutting down" }),
                    result = &mut work => break match result {
                        Ok(report) => json!({ "report": report }),
                        Err(error) => json!({ "error": error.to_string() }),
                    },
                    _ = told.tick() => if send.send(shown(&progress)).await.is_err() {
                        return;
                    },
                }
            };
            drop(turn);
            let _ = send.send(last).await; // whoever asked may be gone
        });
        Ok(receive)
    }

    /// Gives up the rounds in progress and returns when none works any more; they are begun again by the next start.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.lake.stopped().await;
    }
}

fn shown(progress: &VerifyProgress) -> Value {
    let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    json!({ "progress": {
        "offsets": of(&progress.offsets), "offsets_total": of(&progress.offsets_total),
        "files": of(&progress.files), "files_total": of(&progress.files_total),
    } })
}
