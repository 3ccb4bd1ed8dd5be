//! The queue and the threads that work on it.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use super::Priority;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Requests in a row after which a background job gets a turn.
const REQUESTS_IN_A_ROW: usize = 7;
/// Added to the nice value of the process.
const NICE: i32 = 5;
/// Threads beyond the limit that may exist because others wait in [`blocking`].
const SPARE_THREADS: usize = 8;

thread_local! {
    /// The pool that this thread belongs to.
    static POOL: RefCell<Weak<Threads>> = const { RefCell::new(Weak::new()) };
}

#[derive(Default)]
struct State {
    requests: VecDeque<Job>,
    background: VecDeque<Job>,
    in_a_row: usize,
    /// Threads that compute: never more than the limit.
    running: usize,
    /// Threads that want to go on after [`blocking`].
    resuming: usize,
    idle: usize,
    threads: usize,
    closed: bool,
}

pub(super) struct Threads {
    limit: usize,
    /// Of the threads; absolute, since a new thread inherits its maker's.
    nice: i32,
    state: Mutex<State>,
    changed: Condvar,
}

impl State {
    fn next(&mut self) -> Option<Job> {
        let background_turn = self.in_a_row >= REQUESTS_IN_A_ROW && !self.background.is_empty();
        if !background_turn && let Some(job) = self.requests.pop_front() {
            self.in_a_row += 1;
            return Some(job);
        }
        self.in_a_row = 0;
        self.background.pop_front().or_else(|| self.requests.pop_front())
    }

    fn has_work(&self) -> bool {
        !self.requests.is_empty() || !self.background.is_empty()
    }
}

impl Threads {
    pub fn new(limit: usize) -> Arc<Threads> {
        let normal = rustix::process::getpriority_process(None).unwrap_or(0);
        Arc::new(Threads { limit, nice: normal + NICE, state: Mutex::default(), changed: Condvar::new() })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn push(self: &Arc<Self>, priority: Priority, job: Job) {
        let mut state = self.state.lock();
        match priority {
            Priority::Request => state.requests.push_back(job),
            Priority::Background => state.background.push_back(job),
        }
        self.wake(&mut state);
    }

    /// Finds a thread for queued work, if one more may run.
    fn wake(self: &Arc<Self>, state: &mut State) {
        if state.running >= self.limit || !state.has_work() {
            return;
        }
        if state.idle > 0 {
            self.changed.notify_all();
        } else if state.threads < self.limit + SPARE_THREADS {
            let this = Arc::downgrade(self);
            let spawned = std::thread::Builder::new().name("cpu".to_owned()).spawn(move || work(&this));
            match spawned {
                Ok(_) => state.threads += 1,
                // One that exists goes on with the queue; without any, the next push tries again.
                Err(error) => {
                    tracing::error!(%error, threads = state.threads, "cannot start a thread for computations")
                }
            }
        }
    }

    #[cfg(test)]
    pub fn has_threads(&self) -> bool {
        self.state.lock().threads > 0
    }

    /// The threads end when nothing is queued any more.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

fn work(pool: &Weak<Threads>) {
    let Some(threads) = pool.upgrade() else { return };
    // Lower than the threads of sockets and of the log. Linux keeps the value by thread.
    if let Err(error) = rustix::process::setpriority_process(None, threads.nice) {
        tracing::debug!(%error, "computations run at normal priority");
    }
    POOL.with(|own| *own.borrow_mut() = pool.clone());
    let mut state = threads.state.lock();
    loop {
        let may_run = state.running + state.resuming < threads.limit;
        if may_run && let Some(job) = state.next() {
            state.running += 1;
            threads.wake(&mut state);
            parking_lot::MutexGuard::unlocked(&mut state, job);
            state.running -= 1;
            threads.changed.notify_all();
            continue;
        }
        if state.closed {
            state.threads -= 1;
            return;
        }
        state.idle += 1;
        threads.changed.wait(&mut state);
        state.idle -= 1;
    }
}

fn pool() -> Option<Arc<Threads>> {
    POOL.with(|own| own.borrow().upgrade())
}

/// Runs requests that wait, a few at most. For background jobs, about every [`super::SLICE_BYTES`]; elsewhere it does nothing.
pub fn breathe() {
    let Some(threads) = pool() else { return };
    for _ in 0..REQUESTS_IN_A_ROW {
        let Some(job) = threads.state.lock().requests.pop_front() else { return };
        job();
    }
}

/// Runs `wait`, which waits for a device, while another thread takes this one's turn. Outside of the pool it just runs it.
pub fn blocking<R>(wait: impl FnOnce() -> R) -> R {
    let Some(threads) = pool() else { return wait() };
    {
        let mut state = threads.state.lock();
        state.running -= 1;
        threads.wake(&mut state);
    }
    let result = wait();
    let mut state = threads.state.lock();
    state.resuming += 1;
    while state.running >= threads.limit {
        threads.changed.wait(&mut state);
    }
    state.resuming -= 1;
    state.running += 1;
    result
}
