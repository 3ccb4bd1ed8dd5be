//! Bytes that somebody holds.
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::budget::MemoryBudget;
use super::shares::Share;

/// Bytes taken from a budget; dropping it returns them.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    share: Share,
    bytes: usize,
}

impl Reservation {
    pub(super) fn new(budget: MemoryBudget, share: Share, bytes: usize) -> Reservation {
        Reservation { budget, share, bytes }
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whose they are.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share
    }

    /// The budget they are taken from.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Gives back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes).filter(|surplus| *surplus > 0) {
            self.bytes = bytes;
            self.budget.release(self.share, surplus);
        }
    }

    /// Takes `more` bytes if they are free right now.
    #[must_use]
    pub fn try_grow(&mut self, more: usize) -> bool {
        let grown = self.budget.try_take(self.share, more, None);
        if grown {
            self.bytes += more;
        }
        grown
    }

    /// Joins two reservations of one share; one of another share is kept beside it by its holder.
    ///
    /// # Errors
    /// The other one, if it belongs to another share or budget.
    pub fn merge(&mut self, mut other: Reservation) -> Result<(), Reservation> {
        if other.share != self.share || !Arc::ptr_eq(&other.budget.inner, &self.budget.inner) {
            return Err(other);
        }
        self.bytes += std::mem::take(&mut other.bytes);
        Ok(())
    }

    /// What can be given in exchange.
    pub(super) fn given(&self) -> Option<(Share, usize)> {
        (self.bytes > 0).then_some((self.share, self.bytes))
    }

    /// What was held has been given in an exchange.
    pub(super) fn forget(&mut self) {
        self.bytes = 0;
    }

    /// Exchanges these bytes for `bytes` of another share, waiting for them while holding these.
    pub async fn move_to(mut self, share: Share, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.budget.limits_of(share).max);
        let budget = self.budget.clone();
        budget.take(share, bytes, &mut self).await;
        Reservation::new(budget, share, bytes)
    }

    /// For bytes that several holders share.
    #[must_use]
    pub fn shared(self) -> Arc<SharedReservation> {
        Arc::new(SharedReservation { held: Mutex::new(self) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.release(self.share, self.bytes);
        }
    }
}

/// A reservation for one allocation with several holders; returned with the last of them.
#[derive(Debug)]
pub struct SharedReservation {
    held: Mutex<Reservation>,
}

impl SharedReservation {
    /// Moves the bytes to another share, if it has room right now (true as well if they are there already).
    pub fn try_move_to(&self, share: Share) -> bool {
        let mut held = self.held.lock();
        if held.share == share || held.bytes == 0 {
            return true;
        }
        let (from, bytes) = (held.share, held.bytes);
        let moved = held.budget.try_take(share, bytes, Some((from, bytes)));
        if moved {
            held.share = share;
        }
        moved
    }

    /// How many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.held.lock().bytes
    }
}

/// Bytes that carry the reservation of the allocation they are part of: it is returned when the last clone or slice of any
/// part is gone.
pub struct Charged {
    bytes: Bytes,
    _memory: Arc<SharedReservation>,
}

impl Charged {
    /// Ties `bytes` to `memory`.
    #[must_use]
    pub fn tie(bytes: Bytes, memory: Arc<SharedReservation>) -> Bytes {
        Bytes::from_owner(Charged { bytes, _memory: memory })
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
