//! Plans of scans, shared between requests: a consumer sends the same projection and predicate with every fetch.
use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use weir_predicate::Clock;
use weir_protocol::ids::TopicId;
use weir_scan::{Restriction, ResultRows, ScanPlan, ScanPlanError, ScanRequest};
use weir_table::Table;

/// Plans kept; the one unused for longest goes first. Each is at most a few times its 16 KiB of text.
const PLANS_MAX: usize = 512;

/// The plans in use.
#[derive(Debug, Default)]
pub struct PlanCache {
    /// In the order of last use.
    plans: Mutex<IndexMap<PlanKey, Arc<ScanPlan>>>,
}

/// What a plan is made for. All untyped topics share theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PlanKey {
    table: Option<(TopicId, Option<i32>, ResultRows)>,
    request: ScanRequest,
    restriction: Option<(Arc<Restriction>, ResultRows)>,
}

/// A reader that may not see everything.
#[derive(Debug, Clone)]
pub struct RestrictedRead {
    /// Whose records they are: for the log.
    pub topic: String,
    pub restriction: Arc<Restriction>,
    pub rows: ResultRows,
}

/// A typed topic, and how it is read.
#[derive(Debug, Clone)]
pub struct TypedRead {
    pub topic: TopicId,
    pub table: Arc<Table>,
    /// `None`: the current one.
    pub version: Option<i32>,
    pub rows: ResultRows,
}

impl PlanCache {
    /// The plan of a request; `typed` is `None` for an untyped topic. Planning is done off the network threads.
    pub async fn plan(
        &self,
        typed: Option<TypedRead>,
        request: ScanRequest,
        clock: Clock,
    ) -> Result<Arc<ScanPlan>, ScanPlanError> {
        self.plan_for(typed, None, request, clock).await
    }

    /// The same for a reader that may not see everything. That it sees nothing is logged when it is planned.
    pub async fn plan_for(
        &self,
        typed: Option<TypedRead>,
        restricted: Option<RestrictedRead>,
        request: ScanRequest,
        clock: Clock,
    ) -> Result<Arc<ScanPlan>, ScanPlanError> {
        let table = typed.as_ref().map(|typed| (typed.topic, typed.version, typed.rows));
        let restriction = restricted.as_ref().map(|read| (read.restriction.clone(), read.rows));
        let key = PlanKey { table, request: request.clone(), restriction };
        if let Some(plan) = self.find(&key, typed.as_ref().map(|typed| &typed.table)) {
            return Ok(plan);
        }
        let planning = move || match (typed, restricted) {
            (typed, Some(RestrictedRead { topic, restriction, rows })) => {
                let (table, version) = typed.map_or((None, None), |typed| (Some(typed.table), typed.version));
                let plan = ScanPlan::restricted(table.as_ref(), version, &request, rows, clock, &restriction)?;
                if let Some(reason) = plan.hides_all() {
                    tracing::warn!(topic, reason, "a restricted READ gives no row of the topic");
                }
                Ok(plan)
            }
            (None, None) => ScanPlan::untyped(&request, clock),
            (Some(typed), None) => ScanPlan::typed(&typed.table, typed.version, &request, typed.rows, clock),
        };
        let planned = tokio::task::spawn_blocking(planning).await;
        let detail = |join: tokio::task::JoinError| weir_predicate::PlanError::Unplannable { detail: join.to_string() };
        let plan = Arc::new(planned.map_err(detail)??);
        if plan.is_reusable() {
            let mut plans = self.plans.lock();
            while plans.len() >= PLANS_MAX {
                plans.shift_remove_index(0);
            }
            plans.insert(key, plan.clone());
        }
        Ok(plan)
    }

    /// A plan of a table that was replaced since is of no use.
    fn find(&self, key: &PlanKey, table: Option<&Arc<Table>>) -> Option<Arc<ScanPlan>> {
        let mut plans = self.plans.lock();
        let at = plans.get_index_of(key)?;
        let last = plans.len() - 1;
        plans.move_index(at, last);
        let (_, plan) = plans.get_index(last)?;
        let same = match (plan.table(), table) {
            (Some(planned), Some(now)) => Arc::ptr_eq(planned, now),
            (None, None) => true,
            _ => false,
        };
        same.then(|| plan.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(predicate: &str) -> ScanRequest {
        ScanRequest { projection: None, predicate: Some(predicate.as_bytes().to_vec()) }
    }

    #[tokio::test]
    async fn equal_requests_share_a_plan_unless_it_depends_on_the_clock() {
        let cache = PlanCache::default();
        let a = cache.plan(None, request("_offset > 3"), Clock::At(0)).await.unwrap();
        let b = cache.plan(None, request("_offset > 3"), Clock::At(1)).await.unwrap();
        assert!(Arc::ptr_eq(&a, &b));
        let a = cache.plan(None, request("_timestamp > now()"), Clock::At(0)).await.unwrap();
        let b = cache.plan(None, request("_timestamp > now()"), Clock::At(1)).await.unwrap();
        assert!(!Arc::ptr_eq(&a, &b));
        assert!(cache.plan(None, request("offset > 3"), Clock::At(0)).await.is_err());
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let cache = PlanCache::default();
        for i in 0..PLANS_MAX + 10 {
            let request = ScanRequest { projection: Some(vec!["_key".to_owned(); i % 600 + 1]), predicate: None };
            cache.plan(None, request, Clock::At(0)).await.unwrap();
        }
        assert_eq!(cache.plans.lock().len(), PLANS_MAX);
    }
}
