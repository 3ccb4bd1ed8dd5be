//! Order, fairness and lending of turns.
//!
//! Seen failing: without the release of the turn in `blocking`, `waiting_for_a_device_...` stands still.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use std::future::Future;

use parking_lot::Mutex;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// Fills the only thread of a pool until the sender is used or dropped.
fn occupy(pool: &CpuPool) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let pool = pool.clone();
    let (begun, has_begun) = mpsc::channel();
    tokio::spawn(async move {
        let work = move || {
            begun.send(()).unwrap();
            let _ = released.recv();
        };
        pool.run(Priority::Background, work).await
    });
    tokio::task::block_in_place(|| has_begun.recv().unwrap());
    release
}

#[tokio::test]
async fn results_and_panics_come_back() {
    let pool = CpuPool::new(2);
    assert_eq!(pool.run(Priority::Request, || 6 * 7).await, Ok(42));
    assert_eq!(pool.run(Priority::Background, || -> i32 { panic!("on purpose") }).await, Err(CpuError::Panicked));
    assert_eq!(pool.run(Priority::Background, || 1).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_first_and_background_work_gets_its_turns() {
    let pool = CpuPool::new(1);
    let release = occupy(&pool);
    let order = Arc::new(Mutex::new(String::new()));
    let mut jobs = Vec::new();
    for (priority, letter, count) in [(Priority::Background, 'b', 3), (Priority::Request, 'r', 16)] {
        for _ in 0..count {
            let (pool, order) = (pool.clone(), order.clone());
            let mut run = Box::pin(async move { pool.run(priority, move || order.lock().push(letter)).await });
            // Polled once, so that it is queued in this order.
            std::future::poll_fn(|cx| std::task::Poll::Ready(run.as_mut().poll(cx).is_pending())).await;
            jobs.push(run);
        }
    }
    release.send(()).unwrap();
    for job in jobs {
        tokio::time::timeout(SOON, job).await.unwrap().unwrap();
    }
    assert_eq!(*order.lock(), "rrrrrrrbrrrrrrrbrrb");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_run_while_long_background_work_breathes() {
    let pool = CpuPool::new(1);
    let (stop, stopped) = mpsc::channel::<()>();
    let long = tokio::spawn({
        let pool = pool.clone();
        async move {
            let work = move || {
                while stopped.try_recv().is_err() {
                    breathe();
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            pool.run(Priority::Background, work).await
        }
    });
    let request = pool.run(Priority::Request, || std::thread::current().name().map(str::to_owned));
    assert_eq!(tokio::time::timeout(SOON, request).await.unwrap().unwrap().as_deref(), Some("cpu"));
    assert!(!long.is_finished());
    stop.send(()).unwrap();
    long.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_device_lends_the_turn() {
    let pool = CpuPool::new(1);
    let (written, device) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let merge = tokio::spawn({
        let pool = pool.clone();
        async move {
            let wait = move || {
                begun.send(()).unwrap();
                device.recv().is_ok()
            };
            pool.run(Priority::Background, move || blocking(wait)).await
        }
    });
    // Otherwise the request could go first.
    tokio::task::block_in_place(|| has_begun.recv().unwrap());
    let request = pool.run(Priority::Request, move || written.send(()).is_ok());
    assert_eq!(tokio::time::timeout(SOON, request).await.unwrap(), Ok(true));
    assert_eq!(tokio::time::timeout(SOON, merge).await.unwrap().unwrap(), Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_limit_compute_at_once() {
    let pool = CpuPool::new(2);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..200)
        .map(|job| {
            let (pool, now, most) = (pool.clone(), now.clone(), most.clone());
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_micros(200));
                    now.fetch_sub(1, Ordering::SeqCst);
                    if job % 3 == 0 {
                        blocking(|| std::thread::sleep(Duration::from_micros(300)));
                    }
                };
                pool.run(Priority::Request, work).await
            })
        })
        .collect();
    for job in jobs {
        tokio::time::timeout(SOON, job).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_end_with_the_last_handle_and_work_nobody_waits_for_is_not_done() {
    let pool = CpuPool::new(1);
    let release = occupy(&pool);
    let done = Arc::new(AtomicUsize::new(0));
    let abandoned = {
        let done = done.clone();
        tokio::time::timeout(
            Duration::from_millis(5),
            pool.run(Priority::Request, move || done.fetch_add(1, Ordering::SeqCst)),
        )
    };
    assert!(abandoned.await.is_err());
    let threads = pool.owner.threads.clone();
    drop(pool);
    release.send(()).unwrap();
    let ended = async {
        while threads.has_threads() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, ended).await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 0);
}
