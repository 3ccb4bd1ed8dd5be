//! `strace_check --weir BINARY`: kill -9 cannot see a missing sync, so the system calls are watched from outside. For each
//! of some produce requests with acks=all: the record is written to a WAL file, then a sync of that file returns, and only then
//! is anything written to the client's socket.
//!
//! Seen failing: with `--durability os` in place of fsync (`WEIR_STRACE_DURABILITY=os`) no sync stands between write and answer.
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use weir_compat_tests::server::free_port;
use weir_compat_tests::wire::{Connection, produce_request, produce_response};
use weir_protocol::ids::Timestamp;
use weir_protocol::records::BatchBuilder;

const ROUNDS: usize = 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let weir = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--weir"), Some(path)) => PathBuf::from(path),
        _ => bail!("usage: strace_check --weir BINARY"),
    };
    #[allow(clippy::disallowed_methods)] // only to see this check fail
    let durability = std::env::var("WEIR_STRACE_DURABILITY").unwrap_or_else(|_| "fsync".to_owned());
    let folder = std::env::temp_dir().join(format!("weir-strace-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let trace = folder.join("trace");
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut child = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "4096",
            "-e",
            "trace=pwritev,pwrite64,fdatasync,fsync,writev,write,sendto,sendmsg",
            "-o",
        ])
        .arg(&trace)
        .arg(&weir)
        .args([
            "serve",
            "--listen",
            &address,
            "--http",
            "127.0.0.1:0",
            "--registry",
            "off",
            "--durability",
            &durability,
            "--data-dir",
        ])
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting strace")?;
    let produced = produce(&address);
    // strace blocks signals to itself; it ends, with a complete trace, when weir does.
    let stopped = Command::new("pkill").args(["-TERM", "-P", &child.id().to_string()]).status()?;
    ensure!(stopped.success(), "weir could not be stopped");
    child.wait()?;
    produced?;
    let text = String::from_utf8_lossy(&std::fs::read(&trace)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    for round in 0..ROUNDS {
        check(&lines, round)?;
    }
    std::fs::remove_dir_all(&folder)?;
    println!("{ROUNDS} records: each was written, synced, then answered");
    Ok(())
}

fn marker(round: usize) -> String {
    format!("strace-marker-{round:04}")
}

fn produce(address: &str) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    let mut connection = loop {
        match Connection::open(address) {
            Ok(connection) => break connection,
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    connection.create_topic("strace", 1, &[])?;
    for round in 0..ROUNDS {
        let mut builder = BatchBuilder::new();
        builder.append(None, Some(marker(round).as_bytes()), &[], Timestamp(1_700_000_000_000))?;
        let correlation = connection.next_correlation();
        let response = connection.call(&produce_request(correlation, "strace", -1, &[(0, &builder.build()?)]))?;
        let (_, error, _) = *produce_response(&response)?.first().context("an empty response")?;
        ensure!(error == 0, "produce answered error {error}");
    }
    Ok(())
}

fn thread_of(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or("")
}

/// Where the call that begins at `at` has returned, and whether it succeeded.
fn returned(lines: &[&str], at: usize) -> Option<(usize, bool)> {
    if !lines[at].contains("<unfinished ...>") {
        return Some((at, !lines[at].contains("= -1 ")));
    }
    let thread = thread_of(lines[at]);
    let later = (at + 1..lines.len()).find(|i| thread_of(lines[*i]) == thread && lines[*i].contains("resumed>"))?;
    Some((later, !lines[later].contains("= -1 ")))
}

fn check(lines: &[&str], round: usize) -> Result<()> {
    let marker = marker(round);
    let is_wal_write = |line: &str| (line.contains("pwritev(") || line.contains("pwrite64(")) && line.contains(".wal>");
    let write = (0..lines.len())
        .find(|i| is_wal_write(lines[*i]) && lines[*i].contains(&marker))
        .with_context(|| format!("no write of {marker} to a WAL file"))?;
    let (written, ok) = returned(lines, write).context("the write never returned")?;
    ensure!(ok, "the write of {marker} failed: {}", lines[write]);
    let answer = (write + 1..lines.len())
        .find(|i| lines[*i].contains("<TCP:") || lines[*i].contains("<socket:"))
        .with_context(|| format!("no answer after {marker}"))?;
    let synced = (written + 1..answer)
        .filter(|i| (lines[*i].contains("fdatasync(") || lines[*i].contains("fsync(")) && lines[*i].contains(".wal>"))
        .filter_map(|i| returned(lines, i))
        .any(|(at, ok)| ok && at < answer);
    ensure!(
        synced,
        "{marker}: answered without a sync of the WAL file between write and answer\n{}\n{}",
        lines[write],
        lines[answer]
    );
    Ok(())
}
