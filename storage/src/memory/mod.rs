//! One budget for every buffer of the broker (NET-1).
//!
//! Bytes are reserved before they are held and come back when the [`Reservation`] is dropped; the sum never passes the
//! limit. Each [`Share`] owns a *reserved* part that nobody else can take, and may borrow from what no share owns (the
//! *pool*) up to its maximum. Add a user by adding a row to [`Share`] and to `shares.rs`; nothing else knows their number.
//!
//! Nothing waits in a circle: shares have a rank (their order in [`Share`]), who holds bytes of one share waits only for
//! shares of a higher rank, and a single reservation above the lowest rank is not larger than what its share owns. So the
//! highest rank always proceeds, and by induction every other one. The pool goes to the highest rank that waits. A cache
//! ([`Reclaim`]) gives way as soon as somebody needs the pool.
//!
//! Not counted: page cache, thread stacks, indexes and other bookkeeping, 8 KiB of read buffer for a busy connection.
mod budget;
mod reservation;
mod shares;
#[cfg(test)]
mod tests;

pub use budget::{MemoryBudget, Reclaim};
pub use reservation::{Charged, Reservation, SharedReservation};
pub use shares::{Share, ShareLimits};
