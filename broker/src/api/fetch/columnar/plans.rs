//! Plans of scans, shared between requests: a consumer sends the same projection and predicate with every fetch.
use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use weir_predicate::Clock;
use weir_scan::{ScanPlan, ScanPlanError, ScanRequest};

/// Plans kept; the one unused for longest goes first. Each is at most a few times its 16 KiB of text.
const PLANS_MAX: usize = 512;

/// The plans in use.
#[derive(Debug, Default)]
pub struct PlanCache {
    /// In the order of last use.
    untyped: Mutex<IndexMap<ScanRequest, Arc<ScanPlan>>>,
}

impl PlanCache {
    /// The plan of a request for an untyped topic. Planning is done off the network threads.
    pub async fn untyped(&self, request: ScanRequest, clock: Clock) -> Result<Arc<ScanPlan>, ScanPlanError> {
        if let Some(plan) = self.find(&request) {
            return Ok(plan);
        }
        let planned = {
            let request = request.clone();
            tokio::task::spawn_blocking(move || ScanPlan::untyped(&request, clock)).await
        };
        let detail = |join: tokio::task::JoinError| weir_predicate::PlanError::Unplannable { detail: join.to_string() };
        let plan = Arc::new(planned.map_err(detail)??);
        if plan.is_reusable() {
            let mut plans = self.untyped.lock();
            while plans.len() >= PLANS_MAX {
                plans.shift_remove_index(0);
            }
            plans.insert(request, plan.clone());
        }
        Ok(plan)
    }

    fn find(&self, request: &ScanRequest) -> Option<Arc<ScanPlan>> {
        let mut plans = self.untyped.lock();
        let at = plans.get_index_of(request)?;
        let last = plans.len() - 1;
        plans.move_index(at, last);
        plans.get_index(last).map(|(_, plan)| plan.clone())
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
        let a = cache.untyped(request("_offset > 3"), Clock::At(0)).await.unwrap();
        let b = cache.untyped(request("_offset > 3"), Clock::At(1)).await.unwrap();
        assert!(Arc::ptr_eq(&a, &b));
        let a = cache.untyped(request("_timestamp > now()"), Clock::At(0)).await.unwrap();
        let b = cache.untyped(request("_timestamp > now()"), Clock::At(1)).await.unwrap();
        assert!(!Arc::ptr_eq(&a, &b));
        assert!(cache.untyped(request("offset > 3"), Clock::At(0)).await.is_err());
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let cache = PlanCache::default();
        for i in 0..PLANS_MAX + 10 {
            let request = ScanRequest { projection: Some(vec!["_key".to_owned(); i % 600 + 1]), predicate: None };
            cache.untyped(request, Clock::At(0)).await.unwrap();
        }
        assert_eq!(cache.untyped.lock().len(), PLANS_MAX);
    }
}
