//! Memory budgets: bytes are reserved before they are held, and given back when the reservation is dropped (NET-1).
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::MemorySettings;

/// The largest single reservation; more is clamped, so that nothing waits for what can never come.
const RESERVATION_MAX: usize = u32::MAX as usize;

/// A number of bytes that holders share.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    total: usize,
}

/// Bytes taken from a budget; dropping it returns them.
#[derive(Debug)]
pub struct Reservation {
    permit: OwnedSemaphorePermit,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(total: usize) -> MemoryBudget {
        let total = total.clamp(1, Semaphore::MAX_PERMITS);
        MemoryBudget { free: Arc::new(Semaphore::new(total)), total }
    }

    /// All bytes of the budget.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes taken now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.total.saturating_sub(self.free.available_permits())
    }

    /// Waits for its turn and for the bytes. More than the whole budget counts as the whole budget.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.total).min(RESERVATION_MAX) as u32;
        match self.free.clone().acquire_many_owned(bytes).await {
            Ok(permit) => Reservation { permit },
            // Nobody closes the semaphore; if somebody did, waiting for ever would be right.
            Err(_) => std::future::pending().await,
        }
    }

    /// The bytes, if they are free right now.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let bytes = u32::try_from(bytes).ok()?;
        self.free.clone().try_acquire_many_owned(bytes).ok().map(|permit| Reservation { permit })
    }
}

impl Reservation {
    /// How many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Gives back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes().checked_sub(bytes) {
            drop(self.permit.split(surplus));
        }
    }

    /// Joins two reservations of one budget.
    pub fn merge(&mut self, other: Reservation) {
        self.permit.merge(other.permit);
    }

    /// Takes `bytes` out of this one; all of it if it has less.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Option<Reservation> {
        let bytes = bytes.min(self.bytes());
        self.permit.split(bytes).map(|permit| Reservation { permit })
    }
}

/// The budgets of the broker's own buffers. Storage has its own for batches on their way to the disk.
#[derive(Debug, Clone)]
pub struct Budgets {
    /// Requests being read or processed.
    pub requests: MemoryBudget,
    /// Fetched data on its way to clients.
    pub responses: MemoryBudget,
}

impl Budgets {
    pub(crate) fn new(settings: &MemorySettings) -> Budgets {
        Budgets {
            requests: MemoryBudget::new(settings.requests.as_usize()),
            responses: MemoryBudget::new(settings.responses.as_usize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reservations_are_returned_split_and_clamped() {
        let budget = MemoryBudget::new(100);
        let mut all = budget.reserve(1_000).await;
        assert_eq!((all.bytes(), budget.used()), (100, 100));
        assert!(budget.try_reserve(1).is_none());
        all.shrink_to(60);
        let part = all.split(10).unwrap();
        assert_eq!((all.bytes(), part.bytes(), budget.used()), (50, 10, 60));
        all.merge(part);
        drop(all);
        assert_eq!(budget.used(), 0);
        assert!(budget.try_reserve(101).is_none());
    }
}
