//! Counts, assertions, and the lines that the suite prints.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use rdkafka::ClientConfig;
use serde_json::json;

use crate::ledger::Record;

/// One running check.
pub struct Check<'a> {
    pub suite: &'a Suite,
    pub produced: Cell<u64>,
    pub consumed: Cell<u64>,
    pub compared: Cell<u64>,
}

/// The body of a check.
pub type Body = fn(&Check) -> anyhow::Result<()>;

pub fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get() + by);
}

impl Check<'_> {
    /// Asserts, and counts the assertion.
    pub fn that(&self, condition: bool, problem: impl FnOnce() -> String) -> anyhow::Result<()> {
        ensure!(condition, problem());
        add(&self.compared, 1);
        Ok(())
    }

    /// Polls until the condition holds: a broker may need a moment for what it has promised to do soon.
    pub fn eventually(
        &self,
        what: &str,
        seconds: u64,
        mut condition: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while !condition()? {
            ensure!(Instant::now() < deadline, "not within {seconds} s: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        add(&self.compared, 1);
        Ok(())
    }
}

/// The broker, the data and the results.
pub struct Suite {
    pub bootstrap: String,
    pub flights: Vec<Record>,
    /// The broker is Apache Kafka itself, which refuses a replication factor above its broker count.
    pub kafka: bool,
    run: u128,
    results: Mutex<Vec<(bool, [u64; 3])>>,
}

impl Suite {
    pub fn new(bootstrap: String, flights: Vec<Record>, kafka: bool) -> Suite {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() % 1_000_000_000);
        Suite { bootstrap, flights, kafka, run, results: Mutex::new(Vec::new()) }
    }

    /// A topic or group name that no earlier run against the same broker has used.
    pub fn name(&self, suffix: &str) -> String {
        format!("rdkafka-{:x}-{suffix}", self.run)
    }

    /// The first rows, or all when there are fewer.
    pub fn first(&self, count: usize) -> &[Record] {
        &self.flights[..count.min(self.flights.len())]
    }

    /// A client's settings.
    pub fn config(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("broker.address.family", "v4");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        config
    }

    pub fn execute(&self, name: &str, body: Body) {
        let zero = || Cell::new(0);
        let check = Check { suite: self, produced: zero(), consumed: zero(), compared: zero() };
        let begun = Instant::now();
        let outcome = body(&check);
        let counts = [check.produced.get(), check.consumed.get(), check.compared.get()];
        println!(
            "{}",
            json!({
                "client": "rdkafka", "check": name, "ok": outcome.is_ok(), "produced": counts[0], "consumed": counts[1],
                "compared": counts[2], "seconds": begun.elapsed().as_secs_f64(),
                "detail": outcome.as_ref().err().map(|problem| format!("{problem:#}")).unwrap_or_default(),
            })
        );
        if let Ok(mut results) = self.results.lock() {
            results.push((outcome.is_ok(), counts));
        }
    }

    /// Prints the summary line; true when all passed.
    pub fn finish(&self) -> bool {
        let results = self.results.lock().map(|results| results.clone()).unwrap_or_default();
        let passed = results.iter().filter(|(ok, _)| *ok).count();
        let total = |i: usize| results.iter().map(|(_, counts)| counts[i]).sum::<u64>();
        let ok = passed > 0 && passed == results.len();
        println!(
            "{}",
            json!({
                "client": "rdkafka", "summary": true, "ok": ok, "passed": passed, "failed": results.len() - passed,
                "produced": total(0), "consumed": total(1), "compared": total(2),
            })
        );
        ok
    }
}
