//! Runs the table of [`crate::steps`]: phase after phase, a few steps at once, each with a log of its own.

use crate::broker::{Broker, Kind};
use crate::clients::{Expected, Reports};
use crate::env::{self, Env};
use crate::process;
use crate::steps::{self, Action, Phase, STEPS, Step};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of a failed step's log that are printed.
const TAIL_LINES: usize = 40;

enum Outcome {
    Passed,
    Failed,
    Skipped,
}

struct Suite<'a> {
    env: &'a Env,
    expected: Expected,
    against: Kind,
}

/// Runs the chosen steps; true when all passed.
pub fn run(env: &Env, only: &[String], skip: &[String], against: Kind) -> Result<bool> {
    let chosen = choose(only, skip)?;
    let expected = Expected::read(&env.root.join("compat-tests/expected.toml"))?;
    let suite = Suite { env, expected, against };
    let started = Instant::now();
    println!("logs: {}", env.scratch.display());
    let mut outcomes = BTreeMap::new();
    for phase in Phase::ALL {
        let steps = chosen.iter().copied().filter(|step| step.phase == phase).collect();
        suite.run_phase(phase, steps, &mut outcomes);
    }
    let count = |which: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| which(outcome)).count();
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped));
    println!("total {:.1} s", started.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0 && passed > 0)
}

/// The named steps with everything that they need, in table order; all steps when none is named.
fn choose(only: &[String], skip: &[String]) -> Result<Vec<&'static Step>> {
    let find = |name: &str| STEPS.iter().find(|step| step.name == name);
    for name in only.iter().chain(skip) {
        if find(name).is_none() {
            let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            bail!("unknown step `{name}`; steps are: {}", known.join(", "));
        }
    }
    let mut wanted: Vec<&str> = if only.is_empty() {
        STEPS.iter().map(|step| step.name).collect()
    } else {
        only.iter().map(String::as_str).collect()
    };
    let mut next = 0;
    while let Some(name) = wanted.get(next) {
        if let Some(step) = find(name) {
            wanted.extend(step.needs);
        }
        next += 1;
    }
    let is_skipped = |name: &str| skip.iter().any(|skipped| skipped == name);
    Ok(STEPS.iter().filter(|step| wanted.contains(&step.name) && !is_skipped(step.name)).collect())
}

/// What the workers of a phase share: the steps still to be taken and what became of the others.
struct Board<'a> {
    pending: Vec<&'static Step>,
    running: Vec<&'static str>,
    outcomes: &'a mut BTreeMap<&'static str, Outcome>,
}

impl Suite<'_> {
    fn run_phase(&self, phase: Phase, steps: Vec<&'static Step>, outcomes: &mut BTreeMap<&'static str, Outcome>) {
        let workers = phase.width().min(steps.len());
        let board = Mutex::new(Board { pending: steps, running: Vec::new(), outcomes });
        let changed = Condvar::new();
        // A worker that panicked ends the run through the scope; the board itself stays sound.
        let lock = || board.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let mut guard = lock();
                    while !guard.pending.is_empty() {
                        let Some((step, obstacle)) = take_ready(&mut guard) else {
                            // Every pending step waits for one that another worker runs.
                            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
                            continue;
                        };
                        drop(guard);
                        let outcome = self.run_step(step, obstacle);
                        guard = lock();
                        guard.running.retain(|name| *name != step.name);
                        guard.outcomes.insert(step.name, outcome);
                        changed.notify_all();
                    }
                });
            }
        });
    }

    fn run_step(&self, step: &Step, obstacle: Option<String>) -> Outcome {
        let missing = step.tools.iter().find(|tool| !self.has_tool(tool));
        let obstacle =
            obstacle.or_else(|| missing.map(|tool| format!("{tool} is not installed; {}", steps::hint(tool))));
        if let Some(reason) = obstacle {
            return if self.env.ci {
                println!("FAIL  {:<24} skipped, which is a failure with CI=true: {reason}", step.name);
                Outcome::Failed
            } else {
                println!("skip  {:<24} {reason}", step.name);
                Outcome::Skipped
            };
        }
        let log = self.env.scratch.join(format!("{}.log", step.name));
        let started = Instant::now();
        let result = self.perform(step, &log);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(detail) => {
                println!("ok    {:<24} {seconds:>7.1} s  {detail}", step.name);
                // Data of a suite that passed is of no more use, and all suites together hold gigabytes.
                let _ = std::fs::remove_dir_all(self.env.scratch.join(step.name));
                Outcome::Passed
            }
            Err(error) => {
                let tail = process::tail(&log, TAIL_LINES);
                println!("FAIL  {:<24} {seconds:>7.1} s  {error:#}\n  log: {}\n{tail}", step.name, log.display());
                Outcome::Failed
            }
        }
    }

    fn has_tool(&self, tool: &str) -> bool {
        env::has_program(tool) || self.env.cache.join("tools/bin").join(tool).is_file()
    }

    /// Does what the step says; the text of a success is printed beside its name.
    fn perform(&self, step: &Step, log: &Path) -> Result<String> {
        let limit = Duration::from_secs(step.minutes * 60);
        match &step.action {
            Action::Command(words) => {
                process::run(command(self.env, words, &[])?, log, limit, |_| {})?;
                Ok(String::new())
            }
            Action::CargoTest(words) => {
                let mut tests = 0;
                process::run(command(self.env, words, &[])?, log, limit, |line| tests += tests_passed(line))?;
                if tests == 0 {
                    bail!("no test was executed");
                }
                Ok(format!("{tests} tests"))
            }
            Action::Client { clients, command: words } => {
                let broker = Broker::start(self.env, self.against, step.name)?;
                let values = [
                    ("rows", self.expected.rows.to_string()),
                    ("bootstrap", broker.bootstrap.clone()),
                    ("http", broker.http.clone()),
                    ("registry", broker.registry.clone()),
                    ("broker", self.against.name().to_string()),
                ];
                let mut reports = Reports::default();
                let ran = process::run(command(self.env, words, &values)?, log, limit, |line| reports.line(line));
                let mut problems = reports.problems(&self.expected, clients);
                let broker_log = broker.log.clone();
                problems.extend(ran.err().map(|error| format!("{error:#}")));
                problems.extend(broker.finish().err().map(|error| format!("{error:#}")));
                if !problems.is_empty() {
                    bail!("{}\n  broker log: {}", problems.join("\n    "), broker_log.display());
                }
                Ok(reports.summary())
            }
        }
    }
}

/// The next step whose needs are settled, and why it cannot run if one of them did not pass.
fn take_ready(board: &mut Board<'_>) -> Option<(&'static Step, Option<String>)> {
    let unsettled = |name: &str| board.running.contains(&name) || board.pending.iter().any(|step| step.name == name);
    let position = board.pending.iter().position(|step| !step.needs.iter().any(|need| unsettled(need)))?;
    let step = board.pending.remove(position);
    board.running.push(step.name);
    let obstacle = step.needs.iter().find_map(|need| match board.outcomes.get(need) {
        Some(Outcome::Failed) => Some(format!("needs {need}, which failed")),
        Some(Outcome::Skipped) => Some(format!("needs {need}, which was skipped")),
        // Absent: left out with --skip, so the caller says that it is done already.
        Some(Outcome::Passed) | None => None,
    });
    Some((step, obstacle))
}

/// Builds a command of the table: words in braces replaced, the same values in the environment.
pub fn command(env: &Env, words: &[&str], more: &[(&str, String)]) -> Result<Command> {
    let text = |path: PathBuf| path.display().to_string();
    let mut values: Vec<(&str, String)> = more.to_vec();
    let defaults = [
        ("root", text(env.root.clone())),
        ("cache", text(env.cache.clone())),
        ("target", text(env.target.clone())),
        ("scratch", text(env.scratch.clone())),
        ("weir", text(env.weir())),
        ("data", text(env.data())),
        ("python", text(env.python())),
        ("node", text(env.node())),
    ];
    for (name, value) in defaults {
        if !more.iter().any(|(given, _)| *given == name) {
            values.push((name, value));
        }
    }
    let replaced = words.iter().map(|word| {
        let known =
            values.iter().fold(word.to_string(), |word, (name, value)| word.replace(&format!("{{{name}}}"), value));
        if known.starts_with('{') && known.ends_with('}') {
            bail!("the table of steps has an unknown word {word}");
        }
        Ok(known)
    });
    let replaced = replaced.collect::<Result<Vec<_>>>()?;
    let (program, arguments) = replaced.split_first().context("the table of steps has an empty command")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&env.root).env("CARGO_TARGET_DIR", &env.target);
    for (name, value) in &values {
        let name = match *name {
            "weir" => "WEIRTEST_BIN".to_string(),
            "data" => "WEIRTEST_DATA_FILE".to_string(),
            "cache" => "WEIR_CACHE".to_string(),
            name => format!("WEIRTEST_{}", name.to_uppercase()),
        };
        command.env(name, value);
    }
    command.env("WEIRTEST_NODE_DIR", env.node_folder());
    let tools = env.cache.join("tools/bin");
    let paths = env::variable("PATH").unwrap_or_default();
    let all = std::iter::once(tools).chain(std::env::split_paths(&paths));
    command.env("PATH", std::env::join_paths(all)?);
    Ok(command)
}

/// The N of `test result: ok. N passed; ...`, which cargo prints for each test binary.
fn tests_passed(line: &str) -> u64 {
    line.strip_prefix("test result: ")
        .and_then(|rest| rest.split_once(". "))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brings_what_a_step_needs_and_skip_takes_it_out() {
        let names = |only: &[&str], skip: &[&str]| -> Vec<&str> {
            let owned = |list: &[&str]| list.iter().map(|name| name.to_string()).collect::<Vec<_>>();
            choose(&owned(only), &owned(skip)).unwrap().iter().map(|step| step.name).collect()
        };
        assert_eq!(names(&["client-kcat"], &[]), ["build", "install-python", "data", "client-kcat"]);
        assert_eq!(names(&["client-kcat"], &["build", "data"]), ["install-python", "client-kcat"]);
        assert_eq!(names(&[], &[]).len(), STEPS.len());
        assert!(choose(&["nothing".to_string()], &[]).is_err());
    }

    #[test]
    fn counts_of_cargo_test_are_read() {
        assert_eq!(tests_passed("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured"), 12);
        assert_eq!(tests_passed("test result: FAILED. 3 passed; 1 failed"), 3);
        assert_eq!(tests_passed("running 5 tests"), 0);
    }

    #[test]
    fn steps_wait_for_their_needs_and_are_skipped_with_them() {
        let steps: Vec<&'static Step> = STEPS.iter().filter(|s| s.phase == Phase::Build).collect();
        let mut outcomes = BTreeMap::new();
        let mut board = Board { pending: steps, running: Vec::new(), outcomes: &mut outcomes };
        let mut taken = Vec::new();
        while let Some((step, obstacle)) = take_ready(&mut board) {
            assert_eq!(obstacle, None);
            taken.push(step.name);
        }
        assert!(taken.contains(&"install-python") && !taken.contains(&"data"), "{taken:?}");
        board.running.retain(|name| *name != "install-python");
        board.outcomes.insert("install-python", Outcome::Failed);
        let (step, obstacle) = take_ready(&mut board).unwrap();
        assert_eq!((step.name, obstacle.as_deref()), ("data", Some("needs install-python, which failed")));
    }
}
