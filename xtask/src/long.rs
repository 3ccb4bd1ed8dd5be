//! Long jobs: `cargo xtask test --long NAME`, at most an hour each, in release, with a record in docs/long-runs.md.
//!
//! A job is a command that gets its seed as WEIRTEST_SEED (and {seed}) and prints, as the last JSON line with a `counts` key,
//! what it did: {"counts": {"cycles": 200, "acked": 10000000, "lost": 0}}. A job that printed none has failed.

use crate::env::Env;
use crate::{process, runner};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One line of the table.
pub struct Job {
    /// For `--long`.
    pub name: &'static str,
    /// For `--list`.
    pub about: &'static str,
    /// Its time limit.
    pub minutes: u64,
    /// Binaries that are built in release for it.
    pub binaries: &'static [&'static str],
    /// The command; words in braces as in [`crate::steps`], {weir} is the release binary, {seed} the seed.
    pub command: &'static [&'static str],
}

/// Every long job. To add one: a line here.
#[rustfmt::skip]
pub const JOBS: &[Job] = &[
    Job { name: "clients-all-rows", about: "Python clients with all 336,776 rows in every check", minutes: 60, binaries: &["weir"],
        command: &["{python}", "compat-tests/python/all_rows.py"] },
    Job { name: "kafka-record", about: "record Apache Kafka's answers for the differential test", minutes: 20, binaries: &["differential"],
        command: &["bash", "compat-tests/kafka/record.sh", "{target}/release/differential"] },
    Job { name: "crash-200", about: "at least 200 kills under load and 10 M acknowledged records; resumable", minutes: 60, binaries: &["weir", "crash"],
        command: &["{target}/release/crash", "--weir", "{weir}", "--cycles", "200", "--records", "10000000", "--seed", "{seed}",
            "--folder", "{target}/long/crash-200"] },
    Job { name: "txn-100", about: "100 kills of broker and clients in transactions: nothing lost, doubled, or seen though aborted", minutes: 20,
        binaries: &["weir"], command: &["{python}", "compat-tests/python/txn_crash.py", "--weir", "{weir}", "--cycles", "100",
            "--seed", "{seed}"] },
    Job { name: "streams-50", about: "Kafka Streams with exactly_once_v2, two instances, 50 kills of broker and instances", minutes: 40,
        binaries: &["weir"], command: &["{python}", "compat-tests/ecosystem/streams.py", "--weir", "{weir}", "--kills", "50",
            "--instances", "2", "--seed", "{seed}"] },
    Job { name: "crash-columns-50", about: "50 kills of a typed topic stored as columns; resumable", minutes: 60, binaries: &["weir", "crash"],
        command: &["{target}/release/crash", "--weir", "{weir}", "--cycles", "50", "--records", "2000000", "--seed", "{seed}",
            "--layout", "column", "--folder", "{target}/long/crash-columns-50"] },
    Job { name: "txn-history-100", about: "random transactions of librdkafka, Java and franz-go clients, 100 kills, checked against the log",
        minutes: 40, binaries: &["weir"], command: &["{python}", "compat-tests/ecosystem/history.py", "--weir", "{weir}", "--cycles", "100",
            "--java", "3", "--rdkafka", "3", "--franz", "2", "--seed", "{seed}"] },
    Job { name: "lake-200", about: "200 kills under load while topics are tiered into tables of each format: every record once", minutes: 60,
        binaries: &["weir"], command: &["{cache}/lake/bin/python", "compat-tests/lake/crash.py", "--weir", "{weir}", "--cycles", "200",
            "--seed", "{seed}"] },
    Job { name: "lake-engines", about: "tables of each format read by ClickHouse, Spark and Flink: every record", minutes: 40,
        binaries: &["weir"], command: &["bash", "compat-tests/lake/engines.sh", "--weir", "{weir}", "--seed", "{seed}"] },
    Job { name: "flink-connect-mm2", about: "Flink SQL's exactly-once sink, Kafka Connect, MirrorMaker 2 from and to Apache Kafka, with kills",
        minutes: 40, binaries: &["weir"], command: &["{python}", "compat-tests/ecosystem/long.py", "--weir", "{weir}"] },
    Job { name: "power-cut-500", about: "3 times 500 histories of simulated power cuts: fsync, os, metadata", minutes: 60, binaries: &[],
        command: &["bash", "compat-tests/power_cut.sh", "500", "{seed}"] },
    Job { name: "full-disk", about: "a real file system that fills up under a client: refused, read, deleted from, healed", minutes: 10,
        binaries: &["weir"], command: &["{python}", "compat-tests/python/full_disk.py"] },
    Job { name: "lake-kills-200", about: "200 kills while a table with a primary key and one of all rows are written and compacted", minutes: 40,
        binaries: &["weir"], command: &["{cache}/lake/bin/python", "compat-tests/lake/paimon.py", "--weir", "{weir}", "--kills", "200",
            "--seed", "{seed}"] },
    Job { name: "conns-10k", about: "10,000 idle connections: what each costs, and how soon another client gets in", minutes: 10,
        binaries: &["weir"], command: &["{python}", "compat-tests/python/connections.py", "--weir", "{weir}"] },
    Job { name: "soak", about: "30 minutes of steady mixed work: nothing lost, memory within 5 %", minutes: 45, binaries: &["weir"],
        command: &["{python}", "compat-tests/python/soak.py", "--weir", "{weir}", "--minutes", "30"] },
    Job { name: "attacks", about: "each attack five times: memory within 64 MiB, the honest client's p99 below twice what it was", minutes: 30,
        binaries: &["weir"], command: &["{python}", "compat-tests/python/attacks.py", "--long", "--weir", "{weir}"] },
    Job { name: "fuzz", about: "each fuzz target for 3 minutes, led by coverage; the corpus grows", minutes: 60, binaries: &[],
        command: &["bash", "compat-tests/fuzz.sh", "180", "{seed}"] },
];

const RECORD: &str = "docs/long-runs.md";
const HEADER: &str = "# Long runs\n\nAppended by `cargo xtask test --long NAME`; the newest run is last. A commit \
with `+` had uncommitted changes.\n\n| date | job | commit | seed | seconds | result | counts |\n|---|---|---|---|---|---|---|\n";

/// Runs one job; true when it passed. Passed or failed, it leaves a line in docs/long-runs.md.
pub fn run(env: &Env, name: &str, seed: Option<u64>) -> Result<bool> {
    let Some(job) = JOBS.iter().find(|job| job.name == name) else {
        let known: Vec<_> = JOBS.iter().map(|job| job.name).collect();
        bail!("unknown long job `{name}`; jobs are: {}", known.join(", "));
    };
    let log = env.scratch.join(format!("{name}.log"));
    if !job.binaries.is_empty() {
        println!("building {} in release; log: {}", job.binaries.join(" and "), log.display());
        let mut build = vec!["cargo", "build", "--locked", "--release", "-p", "weir", "-p", "weir-compat-tests"];
        build.extend(job.binaries.iter().flat_map(|binary| ["--bin", *binary]));
        process::run(runner::command(env, &build, &[])?, &log, Duration::from_secs(60 * 60), |_| {})
            .with_context(|| process::tail(&log, 40))?;
    }

    let seed = match seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    println!("{name}: seed {seed}, at most {} min", job.minutes);
    let values = [("seed", seed.to_string()), ("weir", env.target.join("release/weir").display().to_string())];
    let mut counts = None;
    let started = Instant::now();
    let command = runner::command(env, job.command, &values)?;
    let result = process::run(command, &log, Duration::from_secs(job.minutes * 60), |line| {
        if let Some(found) = counts_of(line) {
            counts = Some(found);
        }
    });
    let seconds = started.elapsed().as_secs();
    let passed = result.is_ok() && counts.is_some();
    let shown = counts.unwrap_or_else(|| "no counts printed".into());
    append(env, name, seed, seconds, passed, &shown)?;
    match &result {
        Ok(()) => println!("{name}: {} in {seconds} s: {shown}", if passed { "passed" } else { "FAILED" }),
        Err(error) => println!("{name}: FAILED in {seconds} s: {error:#}\n{}", process::tail(&log, 40)),
    }
    println!("log: {}; recorded in {RECORD}", log.display());
    Ok(passed)
}

/// `cycles 200, acked 10000000, lost 0` from a JSON line that has counts.
fn counts_of(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let counts = value.get("counts")?.as_object()?;
    let shown: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    Some(shown.join(", "))
}

fn append(env: &Env, name: &str, seed: u64, seconds: u64, passed: bool, counts: &str) -> Result<()> {
    let path = env.root.join(RECORD);
    let is_new = !path.exists();
    let mut file = process::append_to(&path)?;
    if is_new {
        file.write_all(HEADER.as_bytes())?;
    }
    let commit = output(env, &["git", "rev-parse", "--short=12", "HEAD"])?;
    // The record itself is such a change, so runs one after the other must not count it.
    let changed =
        output(env, &["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/long-runs.md"])?;
    let dirty = if changed.is_empty() { "" } else { "+" };
    let date = output(env, &["date", "-u", "+%F"])?;
    let result = if passed { "passed" } else { "FAILED" };
    writeln!(file, "| {date} | {name} | {commit}{dirty} | {seed} | {seconds} | {result} | {counts} |")?;
    Ok(())
}

fn output(env: &Env, words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().context("empty command")?;
    let output = Command::new(program).args(arguments).current_dir(&env.root).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::counts_of;

    #[test]
    fn counts_are_read_from_the_line_that_has_them() {
        assert_eq!(counts_of(r#"{"counts":{"cycles":3,"lost":0}}"#).as_deref(), Some("cycles 3, lost 0"));
        assert_eq!(counts_of(r#"{"client":"kcat","check":"a"}"#), None);
        assert_eq!(counts_of("plain text"), None);
    }
}
