//! The command line: everything `weir` does as a client, in the habits of rpk and kcat.
//!
//! | file | what |
//! |---|---|
//! | `topic.rs`, `table.rs`, `view.rs`, `produce.rs`, `consume.rs`, `group.rs`, `reset.rs`, `cluster.rs`, `acl.rs`, `quota.rs`, `user.rs`, `profile.rs`, `registry.rs`, `lake.rs`, `txn.rs`, `completion.rs` | one command group each |
//! | `columns.rs`, `rows/` | consume with columns and predicates; its output formats |
//! | `args.rs` | values of flags: offsets, times, sizes, durations |
//! | `record_format.rs` | the `-f` language and JSON lines |
//! | `output.rs` | tables, JSON, YAML |
//! | `error.rs` | cause, setting, fix |
//!
//! `-o` means *output format* in commands that print tables (`topic`, `group`, `txn`, `cluster`, `profile`) and *offset* in `consume`,
//! as rpk and kcat users expect of each; `consume` prints records by `-f` or as JSON lines. For rows of columns its `-o` takes
//! formats too: no offset is called `csv`.
//!
//! It talks to brokers only through `weir_client`, so it works against any broker of the protocol. Results go to stdout, everything
//! else to stderr. The exit code is 0 for success, 1 for failure, 130 if Ctrl-C ended a command that had not finished.

mod acl;
mod args;
mod cluster;
mod columns;
mod completion;
mod consume;
mod debug;
mod error;
mod group;
mod lake;
mod output;
mod produce;
mod profile;
mod progress;
mod quota;
mod record_format;
mod registry;
mod reset;
mod rest;
mod rows;
mod security;
mod signals;
mod table;
mod topic;
mod txn;
mod user;
mod view;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use weir_client::{Client, ClientConfig, parse_brokers};

pub use error::CliError;
use profile::Profiles;
pub use security::Secret;
use signals::Interrupt;

/// Flags that every client command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct GlobalArgs {
    /// Brokers to ask first; the cluster names the rest [default: those of the profile, else 127.0.0.1:9092]
    #[arg(
        short = 'b',
        long,
        global = true,
        value_name = "HOST:PORT,...",
        env = "WEIR_BROKERS",
        help_heading = "Client options"
    )]
    pub brokers: Option<String>,
    /// Profile to use instead of the current one (see `weir profile`)
    #[arg(long, global = true, value_name = "NAME", env = "WEIR_PROFILE", help_heading = "Client options")]
    pub profile: Option<String>,
    /// How long to wait for one answer of a broker, e.g. 500ms, 30s [default: that of the profile, else 30s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        value_parser = args::parse_duration,
        help_heading = "Client options"
    )]
    pub timeout: Option<Duration>,
    /// Use TLS, trusting the CAs of the system
    #[arg(long, global = true, help_heading = "Client options")]
    pub tls: bool,
    /// Use TLS, trusting the CAs of this file (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "WEIR_TLS_CA", help_heading = "Client options")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate to show to brokers (PEM)
    #[arg(long, global = true, value_name = "FILE", requires = "tls_key", help_heading = "Client options")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", requires = "tls_cert", help_heading = "Client options")]
    pub tls_key: Option<PathBuf>,
    /// User to authenticate as; the password comes from WEIR_PASSWORD, --password-file or the profile
    #[arg(long, global = true, value_name = "NAME", env = "WEIR_USERNAME", help_heading = "Client options")]
    pub username: Option<String>,
    /// File whose first line is the password
    #[arg(long, global = true, value_name = "FILE", help_heading = "Client options")]
    pub password_file: Option<PathBuf>,
    /// The password itself, from the environment: a flag would show it in the list of processes.
    #[arg(long, global = true, env = "WEIR_PASSWORD", hide = true, hide_env_values = true)]
    pub password: Option<Secret>,
    /// How to authenticate: SCRAM-SHA-512, SCRAM-SHA-256, PLAIN or OAUTHBEARER (the password is the token) [default: SCRAM-SHA-512]
    #[arg(long, global = true, value_name = "MECHANISM", help_heading = "Client options")]
    pub sasl_mechanism: Option<String>,
    /// File with profiles [default: weir/profiles.toml in the user's config folder]
    #[arg(long, global = true, value_name = "FILE", env = "WEIR_PROFILES", help_heading = "Client options")]
    pub profiles: Option<PathBuf>,
    /// The user's config folder, as the XDG convention names it.
    #[arg(long, global = true, env = "XDG_CONFIG_HOME", hide = true)]
    pub xdg_config_home: Option<PathBuf>,
    /// The user's home folder.
    #[arg(long, global = true, env = "HOME", hide = true)]
    pub home: Option<PathBuf>,
}

/// The client commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Create, list, describe, alter and delete topics
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Topic(topic::TopicArgs),
    /// Typed topics: show and change their columns
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Table(table::TableArgs),
    /// Views: topics that show columns and rows of another one to any consumer
    #[command(subcommand_required = true, arg_required_else_help = true)]
    View(view::ViewArgs),
    /// Write records read from standard input, one per line
    Produce(produce::ProduceArgs),
    /// Read records
    Consume(consume::ConsumeArgs),
    /// List, describe, reset and delete consumer groups
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Group(group::GroupArgs),
    /// List, describe and abort transactions
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Txn(txn::TxnArgs),
    /// Show the cluster
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Cluster(cluster::ClusterArgs),
    /// Schemas of keys and values: list, register, check, configure, delete
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Registry(registry::RegistryArgs),
    /// Topics that are lake tables: what is tiered, lag, errors
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Lake(lake::LakeArgs),
    /// Access control lists: who may do what
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Acl(acl::AclArgs),
    /// How much clients may produce and fetch in a second
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Quota(quota::QuotaArgs),
    /// Create, list and delete users with passwords
    #[command(subcommand_required = true, arg_required_else_help = true)]
    User(user::UserArgs),
    /// Keep brokers and settings under a name
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Profile(profile::ProfileArgs),
    /// Gather what somebody needs who is to find out what is wrong
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Debug(debug::DebugArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
}

/// Runs a client command and reports its error, if any, on stderr. `root` is the whole command line, for `completion`.
pub async fn run(command: Command, globals: GlobalArgs, root: clap::Command) -> ExitCode {
    let mut context = match Context::new(globals) {
        Ok(context) => context,
        Err(error) => return fail(&error, None),
    };
    let interrupt = Interrupt::listen();
    let result = match command {
        // These two end by themselves when interrupted: what was read or written so far is accounted for.
        Command::Produce(args) => produce::run(&mut context, args, &interrupt).await,
        Command::Consume(args) => consume::run(&mut context, args, &interrupt).await,
        other => tokio::select! {
            result = run_short(&mut context, other, root) => result,
            () = interrupt.received() => Err(CliError::Interrupted),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, Some(&context)),
    }
}

async fn run_short(context: &mut Context, command: Command, root: clap::Command) -> Result<(), CliError> {
    let mut out = std::io::stdout();
    match command {
        Command::Topic(args) => topic::run(context, args, &mut out).await,
        Command::Table(args) => table::run(context, args, &mut out).await,
        Command::View(args) => view::run(context, args, &mut out).await,
        Command::Group(args) => group::run(context, args, &mut out).await,
        Command::Txn(args) => txn::run(context, args, &mut out).await,
        Command::Cluster(args) => cluster::run(context, args, &mut out).await,
        Command::Registry(args) => registry::run(context, args, &mut out).await,
        Command::Lake(args) => lake::run(context, args, &mut out).await,
        Command::Acl(args) => acl::run(context, args, &mut out).await,
        Command::Quota(args) => quota::run(context, args, &mut out).await,
        Command::User(args) => user::run(context, args, &mut out).await,
        Command::Debug(args) => debug::run(context, args, &mut out).await,
        Command::Profile(args) => profile::run(context, args, &mut out),
        Command::Completion(args) => completion::run(args, root, &mut out),
        Command::Produce(_) | Command::Consume(_) => Ok(()),
    }
}

fn fail(error: &CliError, context: Option<&Context>) -> ExitCode {
    let setting = context.filter(|_| error.is_about_brokers()).map(|context| {
        let brokers: Vec<_> = context.client.bootstrap.iter().map(ToString::to_string).collect();
        format!("--brokers {} ({})", brokers.join(","), context.brokers_from)
    });
    // Nobody is left to tell if stderr is gone.
    let _ = error.report(setting.as_deref(), &mut std::io::stderr());
    ExitCode::from(error.exit_code())
}

/// What a command needs beside its own flags.
pub(crate) struct Context {
    client: ClientConfig,
    brokers_from: &'static str,
    globals: GlobalArgs,
    profiles: Profiles,
}

impl Context {
    fn new(globals: GlobalArgs) -> Result<Self, CliError> {
        let profiles = Profiles::load(&globals)?;
        let profile = profiles.selected(globals.profile.as_deref())?;
        let mut client = ClientConfig { client_id: "weir-cli".into(), ..ClientConfig::default() };
        let from_profile = profile.and_then(|profile| profile.brokers.as_deref());
        let (brokers, brokers_from) = match (globals.brokers.as_deref(), from_profile) {
            (Some(brokers), _) => (Some(brokers), "flag or WEIR_BROKERS"),
            (None, Some(brokers)) => (Some(brokers), "from the profile"),
            (None, None) => (None, "the default"),
        };
        if let Some(brokers) = brokers {
            client.bootstrap = parse_brokers(brokers)?;
        }
        let from_profile = profile.and_then(|profile| profile.timeout.as_deref()).map(args::parse_duration);
        let from_profile = from_profile.transpose().map_err(|reason| CliError::Invalid {
            setting: "timeout",
            value: profile.and_then(|profile| profile.timeout.clone()).unwrap_or_default(),
            reason,
            fix: "write it as 500ms, 30s or 2m".into(),
        })?;
        if let Some(timeout) = globals.timeout.or(from_profile) {
            client.request_timeout = timeout;
            client.connect_timeout = timeout.min(client.connect_timeout);
            client.retry_timeout = timeout;
        }
        let empty = profile::Profile::default();
        let profile = profile.unwrap_or(&empty);
        client.tls = security::tls(&globals, profile);
        client.sasl = security::sasl(&globals, profile)?;
        Ok(Self { client, brokers_from, globals, profiles })
    }

    /// A client with the settings of flags and profile.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        Ok(Client::new(self.client.clone())?)
    }
}

/// A remark for the person at the terminal; scripts that read stdout never see it.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether somebody looks at stderr.
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}
