//! The budget: who holds how much, who waits, who is next.
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::reservation::Reservation;
use super::shares::{Share, ShareLimits};

/// The smallest limit: below, the shares would be too small to work with.
const LIMIT_MIN: usize = 16 << 20;

/// How often one that waits for the pool asks the caches again: they may have grown before it came.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(20);

/// A cache inside the budget.
pub trait Reclaim: Send + Sync {
    /// Gives up `bytes` of its share, or what it can; returns how many came back. Called without locks of the budget, from
    /// any task; must not wait.
    fn reclaim(&self, bytes: usize) -> usize;
}

/// Memory that all parts of the broker share; clones are handles on the same budget.
#[derive(Clone)]
pub struct MemoryBudget {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    limit: usize,
    limits: [ShareLimits; Share::COUNT],
    /// What no share owns.
    pool: usize,
    state: Mutex<State>,
    caches: RwLock<Vec<Weak<dyn Reclaim>>>,
}

#[derive(Default)]
struct State {
    used: [usize; Share::COUNT],
    queues: [VecDeque<Waiter>; Share::COUNT],
}

/// What somebody waits for: `bytes` of a share, in exchange for `gives`. Sending on `grant` and booking happen under the
/// lock, so a waiter that leaves either has its bytes or never will.
struct Waiter {
    bytes: usize,
    gives: Option<(Share, usize)>,
    grant: oneshot::Sender<()>,
}

/// Whether a reservation is possible now.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    /// The share's maximum is reached: others of the share must finish first.
    ShareFull,
    /// So many bytes are missing in the pool.
    PoolShort(usize),
}

impl std::fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryBudget({} of {})", self.used(), self.inner.limit)
    }
}

impl MemoryBudget {
    /// A budget of so many bytes (at least 16 MiB) with the parts that [`Share::limits`] says.
    #[must_use]
    pub fn new(limit: usize) -> MemoryBudget {
        let limit = limit.max(LIMIT_MIN);
        MemoryBudget::with_shares(limit, |share| share.limits(limit))
    }

    /// A budget with other parts; what shares own together must fit the limit.
    #[must_use]
    pub fn with_shares(limit: usize, limits: impl Fn(Share) -> ShareLimits) -> MemoryBudget {
        let limits = Share::ALL.map(limits);
        let owned: usize = limits.iter().map(|l| l.reserved).sum();
        assert!(owned <= limit, "shares own {owned} bytes of a budget of {limit}");
        let pool = limit - owned;
        // A share can never have more than its own and the whole pool: who waits for that would wait for ever.
        let limits = limits
            .map(|ShareLimits { reserved, max }| ShareLimits { reserved, max: max.clamp(reserved, reserved + pool) });
        let inner = Inner { limit, limits, pool, state: Mutex::default(), caches: RwLock::default() };
        MemoryBudget { inner: Arc::new(inner) }
    }

    /// All bytes of the budget.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// Bytes reserved now by everybody.
    #[must_use]
    pub fn used(&self) -> usize {
        self.inner.state.lock().used.iter().sum()
    }

    /// Bytes reserved now by one share.
    #[must_use]
    pub fn used_by(&self, share: Share) -> usize {
        self.inner.state.lock().used[share.index()]
    }

    /// What a share owns and may use.
    #[must_use]
    pub fn limits_of(&self, share: Share) -> ShareLimits {
        self.inner.limits[share.index()]
    }

    /// How many reservations of a share wait.
    #[must_use]
    pub fn waiting(&self, share: Share) -> usize {
        self.inner.state.lock().queues[share.index()].iter().filter(|w| !w.grant.is_closed()).count()
    }

    /// Asks `cache` to give way when the pool is short.
    pub fn add_cache(&self, cache: Weak<dyn Reclaim>) {
        let mut caches = self.inner.caches.write();
        caches.retain(|cache| cache.strong_count() > 0);
        caches.push(cache);
    }

    /// Waits for its turn and for the bytes. More than the share's maximum counts as the maximum, so that nothing waits for
    /// what can never come.
    pub async fn reserve(&self, share: Share, bytes: usize) -> Reservation {
        Reservation::new(self.clone(), share, 0).move_to(share, bytes).await
    }

    /// The bytes, if they are free right now; a cache gives way for them.
    #[must_use]
    pub fn try_reserve(&self, share: Share, bytes: usize) -> Option<Reservation> {
        self.try_take(share, bytes, None).then(|| Reservation::new(self.clone(), share, bytes))
    }

    /// Takes bytes in exchange for others, both or nothing.
    pub(super) fn try_take(&self, share: Share, bytes: usize, gives: Option<(Share, usize)>) -> bool {
        for attempt in 0..2 {
            let short = {
                let mut state = self.inner.state.lock();
                match self.inner.fit_newcomer(&state, share, bytes, gives) {
                    Fit::Yes => {
                        self.inner.book(&mut state, share, bytes, gives);
                        if gives.is_some() {
                            self.inner.serve_waiters(&mut state);
                        }
                        return true;
                    }
                    Fit::ShareFull => return false,
                    Fit::PoolShort(short) => short,
                }
            };
            if attempt == 0 && share != Share::Tail {
                self.reclaim(short);
            }
        }
        false
    }

    /// [`MemoryBudget::try_take`], or waits; `held` is given in exchange and is empty afterwards.
    pub(super) async fn take(&self, share: Share, bytes: usize, held: &mut Reservation) {
        let gives = held.given();
        if self.try_take(share, bytes, gives) {
            held.forget();
            return;
        }
        let (grant, granted) = oneshot::channel();
        {
            let mut state = self.inner.state.lock();
            state.queues[share.index()].push_back(Waiter { bytes, gives, grant });
            // Something may have been given back since the attempt.
            self.inner.serve_waiters(&mut state);
        }
        metrics::counter!("weir_memory_waits_total", "share" => share.name()).increment(1);
        let mut waiting = Waiting { budget: self, share, bytes, held, granted, done: false };
        while tokio::time::timeout(RECLAIM_INTERVAL, &mut waiting.granted).await.is_err() {
            let short = self.inner.pool_short(share, bytes, gives);
            if short > 0 {
                self.reclaim(short);
            }
        }
        waiting.done = true;
        waiting.held.forget();
    }

    fn reclaim(&self, bytes: usize) {
        let caches: Vec<_> = self.inner.caches.read().iter().filter_map(Weak::upgrade).collect();
        let mut freed = 0;
        for cache in caches {
            if freed < bytes {
                freed += cache.reclaim(bytes - freed);
            }
        }
    }

    /// Gives bytes back and lets waiters have them.
    pub(super) fn release(&self, share: Share, bytes: usize) {
        let mut state = self.inner.state.lock();
        debug_assert!(state.used[share.index()] >= bytes, "NET-1: more is given back than was taken");
        state.used[share.index()] = state.used[share.index()].saturating_sub(bytes);
        self.inner.serve_waiters(&mut state);
    }
}

/// One that waits. If it leaves, what it was granted at the last moment goes back, and those behind it move up.
struct Waiting<'a> {
    budget: &'a MemoryBudget,
    share: Share,
    bytes: usize,
    held: &'a mut Reservation,
    granted: oneshot::Receiver<()>,
    done: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.granted.close();
        if self.granted.try_recv().is_ok() {
            self.held.forget();
            self.budget.release(self.share, self.bytes);
        } else {
            let mut state = self.budget.inner.state.lock();
            for queue in &mut state.queues {
                queue.retain(|waiter| !waiter.grant.is_closed());
            }
            self.budget.inner.serve_waiters(&mut state);
        }
    }
}

impl Inner {
    fn pool_used(&self, used: &[usize; Share::COUNT]) -> usize {
        used.iter().zip(&self.limits).map(|(used, limits)| used.saturating_sub(limits.reserved)).sum()
    }

    fn fit(&self, state: &State, share: Share, bytes: usize, gives: Option<(Share, usize)>) -> Fit {
        let mut used = state.used;
        if let Some((from, given)) = gives {
            used[from.index()] = used[from.index()].saturating_sub(given);
        }
        used[share.index()] += bytes;
        if used[share.index()] > self.limits[share.index()].max {
            return Fit::ShareFull;
        }
        match self.pool_used(&used).saturating_sub(self.pool) {
            0 => Fit::Yes,
            short => Fit::PoolShort(short),
        }
    }

    /// As [`Inner::fit`], for one that has not waited: those of its share that wait are first, and the pool is for higher
    /// ranks that wait.
    fn fit_newcomer(&self, state: &State, share: Share, bytes: usize, gives: Option<(Share, usize)>) -> Fit {
        if waits(state, share) {
            return Fit::ShareFull;
        }
        let borrows = state.used[share.index()] + bytes > self.limits[share.index()].reserved && bytes > 0;
        let others_wait =
            Share::ALL.iter().any(|other| (*other > share || share == Share::Tail) && waits(state, *other));
        if borrows && others_wait {
            return Fit::ShareFull;
        }
        self.fit(state, share, bytes, gives)
    }

    fn pool_short(&self, share: Share, bytes: usize, gives: Option<(Share, usize)>) -> usize {
        match self.fit(&self.state.lock(), share, bytes, gives) {
            Fit::PoolShort(short) => short,
            Fit::Yes | Fit::ShareFull => 0,
        }
    }

    fn book(&self, state: &mut State, share: Share, bytes: usize, gives: Option<(Share, usize)>) {
        state.used[share.index()] += bytes;
        if let Some((from, given)) = gives {
            state.used[from.index()] = state.used[from.index()].saturating_sub(given);
        }
        debug_assert!(state.used.iter().sum::<usize>() <= self.limit, "NET-1: the sum never passes the limit");
    }

    /// Serves waiters, highest rank first, each share in the order of arrival. Once one waits for the pool, lower ranks get
    /// only what they own.
    fn serve_waiters(&self, state: &mut State) {
        let mut pool_is_awaited = false;
        for share in Share::ALL.into_iter().rev() {
            while let Some(waiter) = state.queues[share.index()].front() {
                let (bytes, gives) = (waiter.bytes, waiter.gives);
                let borrows = state.used[share.index()] + bytes > self.limits[share.index()].reserved;
                let fit =
                    if borrows && pool_is_awaited { Fit::ShareFull } else { self.fit(state, share, bytes, gives) };
                match fit {
                    _ if waiter.grant.is_closed() => {}
                    Fit::Yes => {}
                    Fit::ShareFull => break,
                    Fit::PoolShort(_) => {
                        pool_is_awaited = true;
                        break;
                    }
                }
                let Some(waiter) = state.queues[share.index()].pop_front() else { break };
                // Whoever left meanwhile gets nothing booked.
                if waiter.grant.send(()).is_ok() {
                    self.book(state, share, bytes, gives);
                }
            }
        }
    }
}

fn waits(state: &State, share: Share) -> bool {
    state.queues[share.index()].iter().any(|waiter| !waiter.grant.is_closed())
}
