//! The threads that talk to brokers: made on first use, one set per process.
//!
//! A forked child has none of its parent's threads. It gets a runtime of its own; the parent's is left where it is, since ending it
//! would wait for threads that do not exist.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

static CURRENT: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);

/// The runtime of this process. Called with the GIL only: `os.fork` holds it, so no child is born with this lock taken.
pub(crate) fn current(_py: Python<'_>) -> PyResult<&'static Runtime> {
    let pid = std::process::id();
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, runtime)) = *current
        && owner == pid
    {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("weir-client").enable_all().build()?;
    // It lives as long as the process: nothing is left to wait for it at the end.
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    *current = Some((pid, runtime));
    Ok(runtime)
}
