//! Benches and generated docs: both are programs of other crates, built and run here with the right profile.

use crate::env::Env;
use anyhow::{Context, Result};

/// Runs the bench binary of compat-tests in release; it lists its benches when it gets no name.
pub fn run(arguments: &[String]) -> Result<bool> {
    let env = Env::discover()?;
    if let [name, rest @ ..] = arguments
        && name == "fluss"
    {
        // The baseline by itself, which needs nothing of ours.
        let mut words = vec!["bash", "compat-tests/fluss/run.sh"];
        words.extend(rest.iter().map(String::as_str));
        return watch(&env, &words);
    }
    // The broker under test is a process of its own, so its binary must be built too, and by the same profile.
    if !watch(&env, &["cargo", "build", "--locked", "--release", "-p", "weir"])? {
        return Ok(false);
    }
    let weir = env.target.join("release/weir").display().to_string();
    if let [name, rest @ ..] = arguments
        && name == "lake"
    {
        // Readers of lakes are Python's.
        let mut words = vec!["{cache}/lake/bin/python", "compat-tests/lake/bench.py"];
        words.extend(rest.iter().map(String::as_str));
        if !watch(&env, &["bash", "compat-tests/lake/install.sh"])? {
            return Ok(false);
        }
        let mut command = crate::runner::command(&env, &words, &[("weir", weir)])?;
        return Ok(command.status().context("cannot start Python")?.success());
    }
    let mut words = vec!["cargo", "run", "--locked", "--release", "-p", "weir-compat-tests", "--bin", "bench", "--"];
    words.extend(arguments.iter().map(String::as_str));
    let mut command = crate::runner::command(&env, &words, &[("weir", weir)])?;
    Ok(command.status().context("cannot start cargo")?.success())
}

/// Writes docs/generated from the product's declarations of configs, APIs, errors and metrics.
pub fn docs() -> Result<bool> {
    let env = Env::discover()?;
    let words = ["cargo", "run", "--locked", "-p", "weir", "--", "config", "docs", "--out", "docs/generated"];
    watch(&env, &words)
}

fn watch(env: &Env, words: &[&str]) -> Result<bool> {
    Ok(crate::runner::command(env, words, &[])?.status().context("cannot start cargo")?.success())
}
