//! Threads for work that computes: decode, encode, compression, predicates, merges.
//!
//! I own `max(1, cores - 1)` threads of lower priority, so that sockets and the log are served first. Requests go before
//! background work, which gets every eighth turn all the same. Work that takes long calls [`breathe`] about every 256 KiB:
//! requests that wait are run in between. Waiting for a device in here would stop everybody else: that part belongs into
//! [`blocking`], which lends the turn to another thread meanwhile. Jobs never wait for memory: they are given theirs.
#[cfg(test)]
mod tests;
mod threads;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use tokio::sync::oneshot;

use threads::{Job, Threads};
pub use threads::{blocking, breathe};

/// Work between two calls of [`breathe`], in bytes that are worked on.
pub const SLICE_BYTES: usize = 256 << 10;

/// Who waits for the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// A request.
    Request,
    /// Nobody: merge, compaction.
    Background,
}

impl Priority {
    /// Name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Priority::Request => "request",
            Priority::Background => "background",
        }
    }
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CpuError {
    /// A mistake of ours; the panic hook has logged where.
    #[error("the work panicked")]
    Panicked,
    /// The pool was dropped first.
    #[error("the broker is shutting down")]
    Closed,
}

/// A handle on the pool; the threads end with the last one.
#[derive(Clone)]
pub struct CpuPool {
    owner: Arc<Owner>,
}

struct Owner {
    threads: Arc<Threads>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.threads.close();
    }
}

impl std::fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CpuPool({} threads)", self.owner.threads.limit())
    }
}

impl Default for CpuPool {
    /// `max(1, cores - 1)` threads.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        CpuPool::new(cores.saturating_sub(1).max(1))
    }
}

impl CpuPool {
    /// So many threads (at least one); each is started when there is first work for it.
    #[must_use]
    pub fn new(threads: usize) -> CpuPool {
        CpuPool { owner: Arc::new(Owner { threads: Threads::new(threads.max(1)) }) }
    }

    /// Runs `work` on the pool. Work whose future is dropped before it began is not done.
    ///
    /// # Errors
    /// [`CpuError`], if there is no result.
    pub async fn run<R: Send + 'static>(
        &self,
        priority: Priority,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, CpuError> {
        let (done, result) = oneshot::channel();
        let queued = Instant::now();
        let job: Job = Box::new(move || {
            if done.is_closed() {
                return;
            }
            let label = priority.name();
            let begun = Instant::now();
            metrics::histogram!("weir_cpu_queue_seconds", "priority" => label).record((begun - queued).as_secs_f64());
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| CpuError::Panicked);
            metrics::histogram!("weir_cpu_run_seconds", "priority" => label).record(begun.elapsed().as_secs_f64());
            let _ = done.send(outcome); // nobody waits any more
        });
        self.owner.threads.push(priority, job);
        result.await.unwrap_or(Err(CpuError::Closed))
    }
}
