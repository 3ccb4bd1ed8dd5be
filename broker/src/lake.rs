//! Tiering of topics into lake tables: which topics are tiered, where their rows come from, how they are doing.
//!
//! Topics are looked at now and then: one whose `weir.lake.*` configs changed is tiered by the new ones. What a table holds
//! is known by the table alone (crate `weir-lake-sink`), so nothing here is kept.
mod source;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_lake_sink::{Lake, LakeLimits, TableStatus};

use crate::broker::Broker;
use source::LogSource;

/// How often topics are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The tables of all topics that are tiered.
#[derive(Clone)]
pub struct LakeTables {
    lake: Lake,
    stop: CancellationToken,
}

impl LakeTables {
    /// Tiers until [`LakeTables::stop`].
    #[must_use]
    pub fn start(broker: &Arc<Broker>) -> LakeTables {
        let stop = CancellationToken::new();
        let lake =
            Lake::new(LakeLimits::default(), broker.config.lake_roots(), broker.storage.cpu().clone(), stop.clone());
        let tables = LakeTables { lake, stop };
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
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Every table, by topic.
    #[must_use]
    pub fn status(&self) -> Vec<TableStatus> {
        self.lake.status()
    }

    /// Gives up the rounds in progress and returns when none works any more; they are begun again by the next start.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.lake.stopped().await;
    }
}
