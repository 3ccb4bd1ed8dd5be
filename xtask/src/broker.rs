//! A broker for one client suite: `weir serve`, or Apache Kafka to prove the suite itself.
//!
//! Each suite gets a process of its own, with its own data folder and free ports: a failure belongs to one client, and the
//! broker's log holds nothing else. When the suite is done the broker must still be alive, must not have panicked, and
//! must end by itself on SIGTERM.
//!
//! Seen failing: the tests below replace `weir` by programs that die, panic and refuse to end.

use crate::env::Env;
use crate::process;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);

/// Which broker a client suite talks to.
#[derive(Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The product
    #[default]
    Weir,
    /// Apache Kafka from Maven artifacts (compat-tests/kafka/run.sh)
    Kafka,
}

impl Kind {
    /// The name that suites get as WEIRTEST_BROKER.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Weir => "weir",
            Kind::Kafka => "kafka",
        }
    }
}

/// A running broker; killed when dropped.
pub struct Broker {
    /// Address of the Kafka listener.
    pub bootstrap: String,
    /// Address of the HTTP listener (metrics, health); of Kafka, nothing listens there.
    pub http: String,
    /// Address of the schema registry; of Kafka, nothing listens there.
    pub registry: String,
    /// What the broker printed.
    pub log: PathBuf,
    running: Running,
}

enum Running {
    Weir(Child),
    Kafka { script: PathBuf, data: PathBuf },
    Stopped,
}

impl Broker {
    /// Starts a broker with an empty data folder and waits until it serves.
    pub fn start(env: &Env, kind: Kind, step: &str) -> Result<Self> {
        let data = env.scratch.join(step).join("data");
        std::fs::create_dir_all(&data)?;
        let [kafka, http, registry] = free_addresses()?;
        let log = env.scratch.join(format!("{step}.broker.log"));
        let running = match kind {
            Kind::Weir => {
                let out = process::append_to(&log)?;
                let child = Command::new(env.weir())
                    .arg("serve")
                    .args(["--listen".into(), kafka.to_string(), "--http".into(), http.to_string()])
                    .args(["--registry".into(), registry.to_string()])
                    .arg("--data-dir")
                    .arg(&data)
                    .stdin(Stdio::null())
                    .stdout(out.try_clone()?)
                    .stderr(out)
                    .spawn()
                    .with_context(|| format!("cannot start {}", env.weir().display()))?;
                Running::Weir(child)
            }
            Kind::Kafka => {
                let script = env.root.join("compat-tests/kafka/run.sh");
                let out = process::append_to(&log)?;
                let status = Command::new("bash")
                    .arg(&script)
                    .args(["start", &kafka.port().to_string()])
                    .arg(&data)
                    .env("KAFKA_HEAP_OPTS", "-Xms256m -Xmx768m")
                    .stdin(Stdio::null())
                    .stdout(out.try_clone()?)
                    .stderr(out)
                    .status()?;
                if !status.success() {
                    bail!("Apache Kafka did not start:\n{}", process::tail(&log, 40));
                }
                Running::Kafka { script, data }
            }
        };
        let mut broker =
            Self { bootstrap: kafka.to_string(), http: http.to_string(), registry: registry.to_string(), log, running };
        broker.wait_until_ready(kafka, http)?;
        Ok(broker)
    }

    fn wait_until_ready(&mut self, kafka: SocketAddr, http: SocketAddr) -> Result<()> {
        let Running::Weir(child) = &mut self.running else { return Ok(()) };
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("weir serve ended with {status}:\n{}", process::tail(&self.log, 40));
            }
            if TcpStream::connect_timeout(&kafka, Duration::from_secs(1)).is_ok() && is_ready(http) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("weir serve is not ready after {} s:\n{}", START.as_secs(), process::tail(&self.log, 40));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the broker and says what was wrong with it: it had died, had panicked, or did not stop when asked.
    pub fn finish(mut self) -> Result<()> {
        match std::mem::replace(&mut self.running, Running::Stopped) {
            Running::Weir(mut child) => {
                if let Some(status) = child.try_wait()? {
                    bail!("weir died during the suite with {status}:\n{}", process::tail(&self.log, 40));
                }
                let clean = process::terminate(&mut child, STOP);
                let printed = std::fs::read(&self.log).unwrap_or_default();
                if String::from_utf8_lossy(&printed).contains("panicked at") {
                    bail!("weir panicked (log: {}):\n{}", self.log.display(), process::tail(&self.log, 40));
                }
                if !clean {
                    bail!("weir did not end with exit code 0 within {} s of SIGTERM", STOP.as_secs());
                }
                Ok(())
            }
            Running::Kafka { script, data } => stop_kafka(&script, &data),
            Running::Stopped => Ok(()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Weir(child) => {
                // Already a failure path: nothing more can be done about a process that will not die.
                let _ = child.kill();
                let _ = child.wait();
            }
            Running::Kafka { script, data } => {
                let _ = stop_kafka(script, data);
            }
            Running::Stopped => {}
        }
    }
}

fn stop_kafka(script: &std::path::Path, data: &std::path::Path) -> Result<()> {
    let status = Command::new("bash").arg(script).arg("stop").arg(data).stdin(Stdio::null()).status()?;
    if !status.success() {
        bail!("Apache Kafka did not stop");
    }
    Ok(())
}

/// Ports that were free a moment ago. All are bound at once, so they differ.
fn free_addresses() -> Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [bind()?, bind()?, bind()?];
    let [a, b, c] = &listeners;
    Ok([a.local_addr()?, b.local_addr()?, c.local_addr()?])
}

/// GET /readyz answers 200.
fn is_ready(http: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|status| status.starts_with("HTTP/1.") && status.ends_with(" 200"))
}

#[cfg(test)]
// The ban on plain writes is for product files.
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A `weir` that answers /readyz, accepts Kafka connections, and does `extra` when it is told to end.
    const SERVES: &str = r#"
import http.server, signal, socket, sys, threading
flag = lambda name: sys.argv[sys.argv.index(name) + 1].rsplit(":", 1)
listener = socket.create_server((flag("--listen")[0], int(flag("--listen")[1])))
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer((flag("--http")[0], int(flag("--http")[1])), Ready)
signal.signal(signal.SIGTERM, lambda *_: EXTRA)
server.serve_forever()
"#;

    fn env_with(name: &str, program: &str) -> Env {
        let target = std::env::temp_dir().join(format!("xtask-broker-{}-{name}", std::process::id()));
        std::fs::create_dir_all(target.join("debug")).unwrap();
        let path = target.join("debug/weir");
        std::fs::write(&path, format!("#!/usr/bin/env python3\n{program}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let scratch = target.join("scratch");
        Env { root: target.clone(), cache: target.clone(), target, scratch, ci: false }
    }

    fn outcome(name: &str, program: &str) -> Result<()> {
        let env = env_with(name, program);
        let result = Broker::start(&env, Kind::Weir, "step").and_then(Broker::finish);
        std::fs::remove_dir_all(&env.target).unwrap();
        result
    }

    #[test]
    fn a_broker_that_serves_and_ends_when_asked_is_fine() {
        outcome("fine", &SERVES.replace("EXTRA", "sys.exit(0)")).unwrap();
    }

    #[test]
    fn a_broker_that_does_not_start_is_told_with_its_words() {
        let error = outcome("dies", "print('no such folder'); raise SystemExit(2)").unwrap_err().to_string();
        assert!(error.contains("exit status: 2") && error.contains("no such folder"), "{error}");
    }

    #[test]
    fn a_panic_or_a_bad_end_is_a_failure() {
        let panics = "(print('thread main panicked at x', flush=True), sys.exit(0))";
        let error = outcome("panics", &SERVES.replace("EXTRA", panics)).unwrap_err().to_string();
        assert!(error.contains("weir panicked"), "{error}");
        let error = outcome("code", &SERVES.replace("EXTRA", "sys.exit(1)")).unwrap_err().to_string();
        assert!(error.contains("exit code 0"), "{error}");
    }

    #[test]
    fn a_broker_that_dies_during_the_suite_is_a_failure() {
        let env = env_with("died", &SERVES.replace("EXTRA", "sys.exit(0)"));
        let mut broker = Broker::start(&env, Kind::Weir, "step").unwrap();
        let Running::Weir(child) = &mut broker.running else { panic!("weir was started") };
        child.kill().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let error = broker.finish().unwrap_err().to_string();
        assert!(error.contains("died during the suite"), "{error}");
        std::fs::remove_dir_all(&env.target).unwrap();
    }
}
