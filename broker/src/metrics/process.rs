//! Figures of the process itself, read when somebody asks for them.
use std::time::{SystemTime, UNIX_EPOCH};

use super::tables::process;

/// Recorded once, at the start.
pub(super) fn record_constants() {
    metrics::gauge!(process::BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    if let Ok(since) = SystemTime::now().duration_since(UNIX_EPOCH) {
        metrics::gauge!(process::START_TIME.name).set(since.as_secs_f64());
    }
}

/// Reads the figures of this moment. What a system does not tell is not recorded.
pub(super) fn sample() {
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!(process::RESIDENT_BYTES.name).set(bytes as f64);
    }
    if let Some(bytes) = allocated_bytes() {
        metrics::gauge!(process::ALLOCATED_BYTES.name).set(bytes as f64);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        metrics::gauge!(process::OPEN_FILES.name).set(entries.count().saturating_sub(1) as f64);
    }
}

/// Memory of this process in RAM, as Linux tells it.
fn resident_bytes() -> Option<u64> {
    parse_resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes that jemalloc has handed out; its figures are of the last time its epoch advanced.
fn allocated_bytes() -> Option<usize> {
    tikv_jemalloc_ctl::epoch::advance().ok()?;
    tikv_jemalloc_ctl::stats::allocated::read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_size_is_read_from_proc() {
        assert_eq!(parse_resident("Name:\tweir\nVmRSS:\t   12345 kB\nThreads:\t4\n"), Some(12345 * 1024));
        assert_eq!(parse_resident("Name:\tweir\n"), None);
    }
}
