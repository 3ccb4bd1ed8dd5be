//! Limits of the process.
use std::path::Path;

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

/// Memory this process may use: what the machine has, or its container allows. None where the system does not tell.
pub fn memory_of_machine() -> Option<u64> {
    let total = parse_total(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(container_limits().into_iter().fold(total, u64::min))
}

fn parse_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Limits of the control groups this process is in, of either version, from its own group upwards.
fn container_limits() -> Vec<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        for group in Path::new(path).ancestors() {
            let group = group.strip_prefix("/").unwrap_or(group);
            let text = std::fs::read_to_string(Path::new(root).join(group).join(file)).unwrap_or_default();
            // "max" is no number, and no limit.
            limits.extend(text.trim().parse::<u64>());
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_machine_is_read_from_proc() {
        assert_eq!(parse_total("MemTotal:       24689364 kB\nMemFree: 1 kB\n"), Some(24_689_364 * 1024));
        assert_eq!(parse_total("MemFree: 1 kB\n"), None);
        assert!(memory_of_machine().is_some_and(|bytes| bytes > 64 << 20));
    }
}
