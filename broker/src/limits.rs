//! Limits of the process.
use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the number of files the process may open as far as it is allowed: each connection and each segment is one.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the number of open files; many connections may fail");
    }
}
