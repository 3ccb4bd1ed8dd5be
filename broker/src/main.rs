//! The `weir` binary: `serve` (the default), what concerns the machine and the data folder, and the client commands.
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weir::backup::{BackupArgs, RestoreArgs};
use weir::cli;
use weir::config::{Config, ConfigCommand, HTTP, LogFormat, REGISTRY, ServeArgs};
use weir::doctor::DoctorArgs;
use weir::loggers;
use weir::security::tls::dev::TlsCommand;
use weir::server::Server;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A Kafka-protocol broker in one binary. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "weir", version)]
struct Weir {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    globals: cli::GlobalArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker
    Serve(Box<ServeArgs>),
    /// Check, show and document the configuration of the broker
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Copy everything that is not records into a file, also while the broker runs
    Backup(Box<BackupArgs>),
    /// Make such a file the metadata of a data folder that no broker uses
    Restore(Box<RestoreArgs>),
    /// Look for what is wrong with this machine and the configuration
    Doctor(Box<DoctorArgs>),
    /// Certificates for trying TLS out
    #[command(subcommand)]
    Tls(TlsCommand),
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    let started = Instant::now();
    let Weir { command, serve: flags, globals } = Weir::parse();
    let result = match command {
        None => serve(&flags, started),
        // Flags in front of the command are for all client commands; those of the broker belong behind `serve`.
        Some(_) if flags != ServeArgs::default() => Err(anyhow::anyhow!(
            "flags of the broker stand before another command; write them behind it: weir serve --data-dir DIR"
        )),
        Some(Command::Serve(flags)) => serve(&flags, started),
        Some(Command::Config(command)) => configure(&command),
        Some(Command::Backup(args)) => args.run().map_err(anyhow::Error::from).and_then(|text| print(&text)),
        Some(Command::Restore(args)) => args.run().map_err(anyhow::Error::from).and_then(|text| print(&text)),
        Some(Command::Doctor(args)) => {
            let (text, sound) = args.run();
            print(&text).map(|code| if sound { code } else { ExitCode::FAILURE })
        }
        Some(Command::Tls(command)) => command.run().map_err(anyhow::Error::from).and_then(|text| print(&text)),
        Some(Command::Client(command)) => client(command, globals),
    };
    result.unwrap_or_else(|error| {
        eprintln!("weir: {}", told(&error));
        ExitCode::FAILURE
    })
}

/// The error with its causes, each said once: most of our messages hold their cause already.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn client(command: cli::Command, globals: cli::GlobalArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(cli::run(command, globals, Weir::command())))
}

fn configure(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    print(&command.run()?)
}

/// To stdout; a closed pipe (`| head`) is not a failure.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn serve(flags: &ServeArgs, started: Instant) -> anyhow::Result<ExitCode> {
    let config = flags.load()?;
    start_logging(&config)?;
    for variable in &config.ignored_variables {
        tracing::warn!(variable, "an environment variable begins with WEIR_ but is no setting");
    }
    weir::limits::raise_open_files();
    let metrics = weir::metrics::Metrics::install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let server = Server::start(config, Some(metrics), started).await?;
        print(&banner(&server))?;
        tell_service_manager(&[sd_notify::NotifyState::Ready]);
        server
            .run_until(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tell_service_manager(&[sd_notify::NotifyState::Stopping]);
            })
            .await;
        Ok(ExitCode::SUCCESS)
    })
}

/// systemd, if it is who started us (`Type=notify`); it waits for this before it starts what depends on us.
fn tell_service_manager(states: &[sd_notify::NotifyState]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "the service manager is not told how it goes");
    }
}

/// Logs go to stderr, so that stdout holds the banner and nothing else.
fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.observe.log_level)
        .with_context(|| format!("setting `logging.level`: `{}` is no level", config.observe.log_level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let directives = &config.observe.log_level;
    // The handle knows the kind of subscriber, so it is made when all else is decided.
    match config.observe.log_format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let builder = builder.with_ansi(colours).with_filter_reloading();
            let levels = builder.reload_handle();
            loggers::install(directives, move |filter| levels.reload(filter).map_err(|error| error.to_string()));
            builder.init();
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let levels = builder.reload_handle();
            loggers::install(directives, move |filter| levels.reload(filter).map_err(|error| error.to_string()));
            builder.init();
        }
    }
    Ok(())
}

/// Where everything is, and three commands to try.
fn banner(server: &Server) -> String {
    let config = &server.broker.config;
    let mut text =
        format!("weir {} is ready after {} ms\n\n", env!("CARGO_PKG_VERSION"), server.started_in.as_millis());
    for (listener, address) in &server.listeners {
        let told = format!("{}:{}", listener.advertised.host, listener.advertised.port);
        let note = if told == address.to_string() { String::new() } else { format!(" (clients are told {told})") };
        text.push_str(&format!("  kafka     {address}  [{}]{note}\n", listener.name));
    }
    let data = std::path::Path::new(&config.node.data_dir);
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let scheme =
        |name| if config.security_of(name).is_ok_and(|security| security.tls.is_some()) { "https" } else { "http" };
    text.push_str(&format!("  http      {}://{}  metrics, health\n", scheme(HTTP), server.http));
    match server.registry {
        Some(address) => text.push_str(&format!("  registry  {}://{address}  schemas\n", scheme(REGISTRY))),
        None => text.push_str("  registry  off\n"),
    }
    text.push_str(&format!("  data      {}\n", data.display()));
    if let Some(password) = &server.admin_password {
        text.push_str(&format!("\n  user `admin` was created; its password, which is shown only now: {password}\n"));
    }
    text.push_str("\nTry:\n");
    let brokers = server.listeners.first().map(|(_, address)| address.to_string()).unwrap_or_default();
    let flag = if brokers == "127.0.0.1:9092" { String::new() } else { format!(" -b {brokers}") };
    text.push_str(&format!("  weir topic create demo -p 3{flag}\n"));
    text.push_str(&format!("  echo 'hello' | weir produce demo{flag}\n"));
    text.push_str(&format!("  weir consume demo -o start -n 1{flag}\n\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let cause = || std::io::Error::other("no space");
        assert_eq!(told(&anyhow::Error::new(cause()).context("cannot write x")), "cannot write x: no space");
        assert_eq!(
            told(&anyhow::Error::new(cause()).context("cannot write x: no space; free some")),
            "cannot write x: no space; free some"
        );
    }
}
