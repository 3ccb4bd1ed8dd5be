//! Child processes with a log file, a time limit, and no survivors.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Runs `command` with both outputs appended to the log file, and hands each line of standard output to `on_line`.
///
/// Fails on an exit code other than 0 and when `limit` has passed; then the process and its descendants are killed.
pub fn run(mut command: Command, log: &Path, limit: Duration, mut on_line: impl FnMut(&str)) -> Result<()> {
    let mut sink = append_to(log)?;
    writeln!(sink, "$ {}", shown(&command))?;
    let errors = append_to(log)?;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let Some(stdout) = child.stdout.take() else { bail!("{program} has no standard output") };
    let pid = child.id();
    let (finished, timed_out) = (AtomicBool::new(false), AtomicBool::new(false));
    let status = std::thread::scope(|scope| -> Result<std::process::ExitStatus> {
        let watchdog = scope.spawn(|| {
            let deadline = Instant::now() + limit;
            while !finished.load(Ordering::Acquire) {
                if Instant::now() >= deadline {
                    timed_out.store(true, Ordering::Release);
                    kill_tree(pid);
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(500));
            }
        });
        let read = copy_lines(BufReader::new(stdout), &mut sink, &mut on_line);
        let status = child.wait();
        finished.store(true, Ordering::Release);
        watchdog.thread().unpark();
        read?;
        Ok(status?)
    })?;
    if timed_out.load(Ordering::Acquire) {
        bail!("{program} ran longer than {} s and was killed", limit.as_secs());
    }
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}

/// The words of a command, without the environment it gets.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn copy_lines(mut from: impl BufRead, sink: &mut File, on_line: &mut impl FnMut(&str)) -> Result<()> {
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        sink.write_all(&line)?;
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

/// Opens a log for appending, with the folders above it.
pub fn append_to(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().create(true).append(true).open(log).with_context(|| format!("cannot write {}", log.display()))
}

/// Kills a process and all its descendants. They stay in our process group, so that Ctrl-C reaches them too.
fn kill_tree(root: u32) {
    let mut tree = vec![root];
    let parents = parents();
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    for pid in tree {
        // It may have ended meanwhile; then there is nothing to kill.
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
    }
}

/// (process, parent) of everything that runs, from /proc.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may hold spaces; state and parent follow the last one.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

/// Asks a child to end (SIGTERM) and waits; true when it ended by itself with exit code 0 in time.
pub fn terminate(child: &mut Child, patience: Duration) -> bool {
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).stderr(Stdio::null()).status();
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    kill_tree(child.id());
    let _ = child.wait();
    false
}

/// The last lines of a log, indented, to be printed on failure.
pub fn tail(log: &Path, lines: usize) -> String {
    let Ok(bytes) = std::fs::read(log) else { return String::from("    (no log)") };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let shown: Vec<String> = all[all.len().saturating_sub(lines)..]
        .iter()
        .map(|line| format!("    {}", line.chars().take(400).collect::<String>()))
        .collect();
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("xtask-{}-{name}.log", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn bash(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_goes_to_the_log_and_lines_to_the_caller() {
        let log = log("lines");
        let mut lines = Vec::new();
        let script = "echo one; echo oops >&2; printf two";
        run(bash(script), &log, Duration::from_secs(10), |line| lines.push(line.to_string())).unwrap();
        assert_eq!(lines, ["one", "two"]);
        let text = tail(&log, 10);
        assert!(text.contains("oops") && text.contains("$ bash -c"), "{text}");
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn an_exit_code_is_a_failure() {
        let log = log("code");
        let error = run(bash("exit 3"), &log, Duration::from_secs(10), |_| {}).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let log = log("hang");
        let started = Instant::now();
        let mut pids = Vec::new();
        // The background child holds the pipe open: without its death the run would last a minute.
        let script = "sleep 61 & echo $!; echo $$; wait";
        let error = run(bash(script), &log, Duration::from_secs(1), |line| pids.push(line.to_string())).unwrap_err();
        assert!(error.to_string().contains("longer than 1 s"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
        let alive = |pid: &String| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains("sleep") && !stat.contains(") Z")
        };
        assert_eq!(pids.len(), 2);
        // A kill is sent, not awaited.
        let deadline = Instant::now() + Duration::from_secs(10);
        while pids.iter().any(alive) {
            assert!(Instant::now() < deadline, "the children live on");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(log).unwrap();
    }
}
