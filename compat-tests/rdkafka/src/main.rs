//! Compat suite for librdkafka through the crate rdkafka.
//!
//!     suite --bootstrap 127.0.0.1:9092 --data FLIGHTS.jsonl [--rows N] [--broker weir|kafka] [--only CHECK]
//!
//! Prints one JSON line per check and a summary line; exits with 1 when a check failed.

mod admin;
mod checks;
mod drain;
mod ledger;
mod report;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};

use crate::report::Suite;

/// Most checks of groups only wait (session timeouts, rebalance delays).
const CHECKS_AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("rdkafka suite: {problem:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let (mut bootstrap, mut data, mut rows) = ("127.0.0.1:9092".to_owned(), None, 20_000);
    let (mut kafka, mut only, mut member) = (false, String::new(), None);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--bootstrap" => bootstrap = value,
            "--data" => data = Some(value),
            "--rows" => rows = value.parse()?,
            "--broker" => kafka = value == "kafka",
            "--only" => only = value,
            "--member" => member = Some(value),
            "--drain" => return drain::run(&value).map(|()| true),
            _ => bail!("unknown argument {flag}"),
        }
    }
    if let Some((group, topic)) = member.as_deref().and_then(|member| member.split_once(',')) {
        return checks::be_member(&bootstrap, group, topic).map(|()| true);
    }
    let data = data.context("--data FLIGHTS.jsonl is missing")?;
    let suite = Suite::new(bootstrap, ledger::load_flights(&data, rows)?, kafka);
    let all: Vec<_> =
        checks::all().into_iter().chain(admin::all()).filter(|(name, _)| name.contains(only.as_str())).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CHECKS_AT_A_TIME {
            scope.spawn(|| {
                while let Some((name, body)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    suite.execute(name, *body);
                }
            });
        }
    });
    Ok(suite.finish())
}
