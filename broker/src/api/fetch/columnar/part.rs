//! Plain fetches by clients that may read a part of a topic.
use std::sync::Arc;

use weir_predicate::Clock;
use weir_scan::{ResultRows, ScanRequest};
use weir_storage::log::{Partition, ReadLimit};

use super::{ColumnarFetchError, RestrictedRead, ScanTarget, TypedRead, hash};
use crate::broker::Broker;
use crate::security::rules::Part;
use crate::topics::Topic;
use crate::views::ViewState;

impl ScanTarget {
    /// A plain fetch of a topic, or of a view of it, by a client that may read `part` of the topic: answered as a view of that
    /// part would be.
    pub async fn open_part(
        broker: &Broker,
        topic: &Topic,
        partition: Arc<Partition>,
        start: i64,
        visible: ReadLimit,
        part: &Part,
    ) -> Result<ScanTarget, ColumnarFetchError> {
        let restricted = |reason: String| ColumnarFetchError::Restricted { topic: topic.name.clone(), reason };
        match topic.view.as_ref().map(|view| &view.state) {
            Some(ViewState::Unregistered { .. }) => {
                return Err(ColumnarFetchError::ViewNotYet { view: topic.name.clone() });
            }
            Some(ViewState::Broken { reason }) => {
                let (view, reason) = (topic.name.clone(), reason.clone());
                return Err(ColumnarFetchError::BrokenView { view, reason });
            }
            Some(ViewState::Ready(_)) | None => {}
        }
        // It may be another one than the one that was judged.
        let source = broker.topics.by_id(topic.log_id()).filter(|source| source.id == part.log);
        let source = source.ok_or_else(|| restricted("it was deleted, or made again".to_owned()))?;
        let settings = topic.settings.view.as_ref();
        let request = ScanRequest {
            projection: settings.and_then(|view| view.select.clone()),
            predicate: settings.and_then(|view| view.predicate.as_ref()).map(|text| text.as_bytes().to_vec()),
        };
        let (restriction, rows) = (part.restriction.clone(), ResultRows::Kafka);
        let asked = hash(&(&request, &restriction, source.id));
        let table = source.table().cloned();
        let typed = table.map(|table| TypedRead { topic: source.id, table, version: None, rows });
        let read = RestrictedRead { topic: source.name.clone(), restriction, rows };
        let plan = broker.scan_plans.plan_for(typed, Some(read), request, Clock::Refused).await;
        let plan = plan.map_err(|error| restricted(error.to_string()))?;
        Ok(ScanTarget::of_rows(broker, topic, partition, (plan, asked), start, visible))
    }
}
