//! Reads what a client suite reports and holds it against compat-tests/expected.toml.
//!
//! A suite prints one JSON line per check. A check that is missing, is not in expected.toml, failed, or counted less than
//! expected fails the step: a check that silently did nothing must not pass. Seen failing: see the tests below.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Least counts of a check, as in expected.toml; as reported, what was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Records acknowledged by the broker.
    #[serde(default)]
    pub produced: u64,
    /// Records read back.
    #[serde(default)]
    pub consumed: u64,
    /// Records of which every field was compared, and single assertions.
    #[serde(default)]
    pub compared: u64,
}

/// compat-tests/expected.toml.
#[derive(Debug, Deserialize)]
pub struct Expected {
    /// Rows of the flights that a quick run takes.
    pub rows: u64,
    /// Client -> check -> least counts.
    pub client: BTreeMap<String, BTreeMap<String, Counts>>,
}

impl Expected {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not what xtask expects", path.display()))
    }
}

#[derive(Deserialize)]
struct Line {
    client: String,
    check: Option<String>,
    ok: Option<bool>,
    #[serde(default)]
    produced: u64,
    #[serde(default)]
    consumed: u64,
    #[serde(default)]
    compared: u64,
    #[serde(default)]
    detail: String,
}

/// Collects the lines of one suite, which reports as one client or as several.
#[derive(Default)]
pub struct Reports {
    seen: BTreeMap<(String, String), (bool, Counts, String)>,
    summaries: u64,
}

impl Reports {
    /// Takes a line of standard output; what is not a report is ignored, the log has it.
    pub fn line(&mut self, text: &str) {
        if !text.starts_with('{') {
            return;
        }
        let Ok(line) = serde_json::from_str::<Line>(text) else { return };
        match (line.check, line.ok) {
            (Some(check), Some(ok)) => {
                let counts = Counts { produced: line.produced, consumed: line.consumed, compared: line.compared };
                self.seen.insert((line.client, check), (ok, counts, line.detail));
            }
            _ => self.summaries += 1,
        }
    }

    /// What is wrong, one text per finding; empty when all is as expected.
    pub fn problems(&self, expected: &Expected, clients: &[&str]) -> Vec<String> {
        let mut problems = Vec::new();
        for name in clients {
            let Some(checks) = expected.client.get(*name) else {
                problems
                    .push(format!("{name} is not in compat-tests/expected.toml; it reported:\n{}", self.as_toml(name)));
                continue;
            };
            for (check, least) in checks {
                match self.seen.get(&(name.to_string(), check.clone())) {
                    None => problems.push(format!("{name}: check {check} did not run")),
                    Some((false, _, detail)) => problems.push(format!("{name}: {check} failed: {detail}")),
                    Some((true, got, _)) => problems.extend(less(name, check, *got, *least)),
                }
            }
        }
        for ((name, check), (ok, ..)) in &self.seen {
            let known = expected.client.get(name).is_some_and(|checks| checks.contains_key(check));
            if clients.contains(&name.as_str()) && expected.client.contains_key(name) && !known {
                let how = if *ok { "passed" } else { "failed" };
                problems.push(format!("{name}: check {check} {how} but is not in compat-tests/expected.toml"));
            } else if !clients.contains(&name.as_str()) {
                problems.push(format!("{name} reported {check}, but its step names the clients {clients:?}"));
            }
        }
        if self.summaries == 0 {
            problems.push("the suite ended without a summary line".into());
        }
        problems
    }

    /// One line for the step's result.
    pub fn summary(&self) -> String {
        let mut total = Counts::default();
        for (_, counts, _) in self.seen.values() {
            total.produced += counts.produced;
            total.consumed += counts.consumed;
            total.compared += counts.compared;
        }
        let Counts { produced, consumed, compared } = total;
        format!("{} checks; {produced} produced, {consumed} consumed, {compared} compared", self.seen.len())
    }

    /// The checks of a client in the form of expected.toml, to be read and copied by a person.
    fn as_toml(&self, client: &str) -> String {
        let mut text = format!("[client.{client}]\n");
        for ((name, check), (_, c, _)) in &self.seen {
            if name == client {
                text += &format!(
                    "{check} = {{ produced = {}, consumed = {}, compared = {} }}\n",
                    c.produced, c.consumed, c.compared
                );
            }
        }
        text
    }
}

fn less(client: &str, check: &str, got: Counts, least: Counts) -> Vec<String> {
    [
        ("produced", got.produced, least.produced),
        ("consumed", got.consumed, least.consumed),
        ("compared", got.compared, least.compared),
    ]
    .into_iter()
    .filter(|(_, got, least)| got < least)
    .map(|(what, got, least)| format!("{client}: {check} {what} {got}, expected at least {least}"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        toml::from_str("rows = 10\n[client.c]\na = { produced = 5, consumed = 5, compared = 5 }\n").unwrap()
    }

    fn problems(lines: &[&str]) -> Vec<String> {
        let mut reports = Reports::default();
        lines.iter().for_each(|line| reports.line(line));
        reports.problems(&expected(), &["c"])
    }

    const SUMMARY: &str = r#"{"client":"c","summary":true,"passed":1,"failed":0}"#;

    #[test]
    fn full_counts_are_no_problem() {
        let line = r#"{"client":"c","check":"a","ok":true,"produced":5,"consumed":6,"compared":5,"detail":""}"#;
        assert_eq!(problems(&[line, SUMMARY]), Vec::<String>::new());
    }

    #[test]
    fn a_check_that_did_nothing_is_a_problem() {
        let line = r#"{"client":"c","check":"a","ok":true,"produced":5,"consumed":0,"compared":0}"#;
        let found = problems(&[line, SUMMARY]);
        assert_eq!(found, ["c: a consumed 0, expected at least 5", "c: a compared 0, expected at least 5"]);
    }

    #[test]
    fn missing_failed_and_unknown_checks_are_problems() {
        assert_eq!(problems(&[SUMMARY]), ["c: check a did not run"]);
        let failed = r#"{"client":"c","check":"a","ok":false,"produced":5,"consumed":5,"compared":5,"detail":"lost"}"#;
        assert_eq!(problems(&[failed, SUMMARY]), ["c: a failed: lost"]);
        let fine = r#"{"client":"c","check":"a","ok":true,"produced":5,"consumed":5,"compared":5}"#;
        let unknown = r#"{"client":"c","check":"b","ok":true,"produced":1}"#;
        assert_eq!(problems(&[fine, unknown, SUMMARY]).len(), 1);
        assert_eq!(problems(&[fine]), ["the suite ended without a summary line"]);
    }

    #[test]
    fn a_client_that_nobody_expects_is_a_problem() {
        let mut reports = Reports::default();
        reports.line(r#"{"client":"d","check":"a","ok":true,"produced":5}"#);
        reports.line(SUMMARY);
        assert!(reports.problems(&expected(), &["d"])[0].contains("d is not in compat-tests/expected.toml"));
        assert!(reports.problems(&expected(), &["c"]).iter().any(|p| p.contains("its step names the clients")));
    }
}
