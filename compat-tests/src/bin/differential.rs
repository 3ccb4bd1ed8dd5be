//! `differential prepare|record|replay --bootstrap HOST:PORT`: see `weir_compat_tests::differential`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use weir_compat_tests::differential::{self, compare};

const USAGE: &str =
    "usage: differential prepare|record|replay --bootstrap HOST:PORT [--file FILE] [--only SCENARIO] [--itself yes]
  prepare   creates what a later restart of the broker must have found (before record)
  record    runs every scenario against Apache Kafka and writes the answers to FILE
  replay    runs every scenario and compares the answers with FILE; with --itself yes the broker is Apache Kafka
            again, and no difference is an intended one";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("differential: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<bool> {
    let mut args = std::env::args().skip(1);
    let command = args.next().context(USAGE)?;
    let mut bootstrap = None;
    let mut only = None;
    let mut itself = false;
    let mut file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/differential/recorded.json"));
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value\n{USAGE}"))?;
        match flag.as_str() {
            "--bootstrap" => bootstrap = Some(value),
            "--file" => file = PathBuf::from(value),
            "--only" => only = Some(value),
            "--itself" => itself = value == "yes",
            _ => bail!("unknown argument {flag}\n{USAGE}"),
        }
    }
    let bootstrap = bootstrap.context(USAGE)?;
    let begun = Instant::now();
    match command.as_str() {
        "prepare" => {
            differential::prepare(&bootstrap).await?;
            Ok(true)
        }
        "record" => {
            let mut recording = differential::run(&bootstrap, only.as_deref(), true).await?;
            if only.is_some() {
                // The scenarios that were not asked for stay as they were.
                let mut whole = differential::parse(&std::fs::read_to_string(&file)?)?;
                whole.append(&mut recording);
                recording = whole;
            }
            let steps: usize = recording.values().map(Vec::len).sum();
            write(&file, &differential::render(&recording)?)?;
            println!("{}", serde_json::json!({"counts": {"scenarios": recording.len(), "answers": steps}}));
            Ok(true)
        }
        "replay" => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let recorded = differential::parse(&text)?;
            let replayed = differential::run(&bootstrap, only.as_deref(), itself).await?;
            let report = compare(&recorded, &replayed, only.as_deref(), itself);
            for difference in &report.unexpected {
                println!("DIFFERENT {difference}");
            }
            for unused in &report.unused {
                println!("STALE allowed difference that was not met: {unused}");
            }
            // The last line in the form that the client suites use.
            let (ok, failed) = (report.is_ok(), usize::from(!report.is_ok()));
            println!(
                "{}",
                serde_json::json!({
                    "client": "differential", "check": "replay", "ok": ok, "produced": 0, "consumed": report.steps,
                    "compared": report.fields, "seconds": begun.elapsed().as_secs_f64(),
                    "detail": format!(
                        "{} unexpected differences, {} intended, {} stale entries in allowed.rs",
                        report.unexpected.len(), report.allowed, report.unused.len()
                    ),
                })
            );
            println!(
                "{}",
                serde_json::json!({"client": "differential", "summary": true, "passed": 1 - failed, "failed": failed})
            );
            Ok(report.is_ok())
        }
        _ => bail!("unknown command {command}\n{USAGE}"),
    }
}

// The recording is no product file: nothing is lost when a crash tears it.
#[allow(clippy::disallowed_methods)]
fn write(file: &std::path::Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
