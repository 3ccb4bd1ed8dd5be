//! How long a request occupies a thread (KIP-124): the time in which its future is polled. Waiting costs nothing, and neither does work on
//! the threads for computation, for which scans have quotas of their own.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A request's time, which the one task that works on it writes.
#[derive(Debug)]
pub struct Stopwatch {
    nanos: AtomicU64,
    /// Nanoseconds from `origin` to the start of the poll in progress, plus one; 0 = there is none.
    running: AtomicU64,
    origin: Instant,
}

impl Stopwatch {
    /// At zero.
    #[must_use]
    pub fn new() -> Arc<Stopwatch> {
        Arc::new(Stopwatch { nanos: AtomicU64::new(0), running: AtomicU64::new(0), origin: Instant::now() })
    }

    /// The time so far, that of the poll in progress included.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let running = match self.running.load(Ordering::Relaxed) {
            0 => 0,
            started => nanos(self.origin).saturating_sub(started - 1),
        };
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed) + running)
    }

    fn start(&self) {
        self.running.store(nanos(self.origin) + 1, Ordering::Relaxed);
    }

    fn stop(&self) {
        self.nanos.store(self.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.running.store(0, Ordering::Relaxed);
    }
}

fn nanos(origin: Instant) -> u64 {
    origin.elapsed().as_nanos() as u64 // 584 years
}

/// A future whose polls are measured.
pub struct Timed<F> {
    inner: Pin<Box<F>>,
    watch: Arc<Stopwatch>,
}

/// Measures a future.
pub fn timed<F: Future>(watch: Arc<Stopwatch>, inner: F) -> Timed<F> {
    Timed { inner: Box::pin(inner), watch }
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.watch.start();
        let polled = self.inner.as_mut().poll(cx);
        self.watch.stop();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_counts_and_waiting_does_not() {
        let watch = Stopwatch::new();
        let inside = watch.clone();
        let seen = timed(watch.clone(), async move {
            std::thread::sleep(Duration::from_millis(20));
            tokio::time::sleep(Duration::from_millis(200)).await;
            std::thread::sleep(Duration::from_millis(20));
            inside.elapsed()
        })
        .await;
        assert!(seen >= Duration::from_millis(40) && seen < Duration::from_millis(200), "{seen:?}");
        assert!(watch.elapsed() >= seen && watch.elapsed() < Duration::from_millis(200));
    }
}
