//! `cargo xtask`: the tests, benches and generated docs of the project, as one command each.
//!
//! What runs is a table in [`steps`]; how it runs is in [`runner`]. This crate depends on no product crate, so it builds
//! in seconds and can report that the product does not.

mod bench;
mod broker;
mod clients;
mod env;
mod long;
mod process;
mod runner;
mod steps;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Test, bench and docs commands of Weir")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything that CI runs; the last line is `N passed, N failed, N skipped`
    Test(TestArgs),
    /// Build in release and run a benchmark of compat-tests; without NAME, list them
    Bench {
        /// Name of the benchmark, followed by its own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Write docs/generated from the declarations in the product
    Docs,
}

#[derive(clap::Args)]
struct TestArgs {
    /// Only these steps (and the installs and builds they need); repeat or separate by commas
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave these steps out
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<String>,
    /// List steps and long jobs, run nothing
    #[arg(long)]
    list: bool,
    /// Run a long job instead and append its result to docs/long-runs.md
    #[arg(long, value_name = "NAME")]
    long: Option<String>,
    /// Seed of a long job; drawn from the clock and printed when not given
    #[arg(long, requires = "long")]
    seed: Option<u64>,
    /// Run client suites against this broker; `kafka` shows that a suite is right before weir is held against it
    #[arg(long, value_enum, default_value_t)]
    against: broker::Kind,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Test(args) => test(args),
        Command::Bench { arguments } => bench::run(&arguments),
        Command::Docs => bench::docs(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn test(args: TestArgs) -> anyhow::Result<bool> {
    if args.list {
        println!("steps of `cargo xtask test`:");
        for step in steps::STEPS {
            println!("  {:<24} {}", step.name, step.about);
        }
        println!("long jobs of `cargo xtask test --long NAME`:");
        for job in long::JOBS {
            println!("  {:<24} {} (at most {} min)", job.name, job.about, job.minutes);
        }
        return Ok(true);
    }
    let env = env::Env::discover()?;
    if let Some(name) = &args.long {
        return long::run(&env, name, args.seed);
    }
    runner::run(&env, &args.only, &args.skip, args.against)
}
