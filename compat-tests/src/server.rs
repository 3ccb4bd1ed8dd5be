//! Broker processes under test: weir, and Apache Kafka as the baseline.
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// CPU seconds (user and system), memory and bytes written of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub peak_rss_mib: f64,
    pub rss_mib: f64,
    /// Bytes that it made the kernel write to disk, sooner or later.
    pub written_bytes: u64,
}

/// Reads `/proc`.
pub fn usage(pid: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name may hold spaces; fields are counted after its closing bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mib = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_whitespace().nth(1)).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).and_then(|v| v.trim().parse().ok());
    Ok(Usage {
        cpu_seconds: ticks as f64 / 100.0,
        peak_rss_mib: mib("VmHWM:"),
        rss_mib: mib("VmRSS:"),
        written_bytes: written.unwrap_or(0),
    })
}

/// A running broker. Killed when dropped.
pub struct Server {
    pub name: &'static str,
    pub address: String,
    /// Where weir's metrics are.
    pub http: Option<String>,
    pub pid: u32,
    pub ready_after: Duration,
    child: Option<Child>,
    kafka_dir: Option<PathBuf>,
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_ready(address: &str, limit: Duration) -> Result<()> {
    let until = Instant::now() + limit;
    while std::net::TcpStream::connect(address).is_err() {
        if Instant::now() > until {
            bail!("nothing listens on {address} after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// `cpus`: a list for taskset, or none.
fn command(program: &Path, cpus: Option<&str>) -> Command {
    match cpus {
        Some(cpus) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(cpus).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Starts `weir serve` on a data folder; `log` gets what it prints.
pub fn start_weir(binary: &Path, data: &Path, port: u16, cpus: Option<&str>, extra: &[&str]) -> Result<Server> {
    let address = format!("127.0.0.1:{port}");
    let http = format!("127.0.0.1:{}", free_port()?);
    std::fs::create_dir_all(data)?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(data.join("../weir.log"))?;
    let started = Instant::now();
    let child = command(binary, cpus)
        .args(["serve", "--data-dir"])
        .arg(data)
        .args(["--listen", &address, "--http", &http, "--registry", "off"])
        .args(extra)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))?;
    wait_ready(&address, Duration::from_secs(30))?;
    let ready_after = started.elapsed();
    let http = Some(http);
    Ok(Server { name: "weir", address, http, pid: child.id(), ready_after, child: Some(child), kafka_dir: None })
}

/// Starts Apache Kafka through `compat-tests/kafka/run.sh`.
pub fn start_kafka(data: &Path, port: u16, cpus: Option<&str>, properties: &[&str]) -> Result<Server> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/run.sh");
    std::fs::create_dir_all(data)?;
    let mut start = Command::new("bash");
    start.arg(&script).args(["start", &port.to_string()]).arg(data);
    for property in properties {
        start.args(["-o", property]);
    }
    if let Some(cpus) = cpus {
        start.env("KAFKA_PREFIX", format!("taskset -c {cpus}"));
    }
    let started = Instant::now();
    let output = start.stderr(Stdio::inherit()).output()?;
    let ready_after = started.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    let pid = text.split_whitespace().last().and_then(|pid| pid.parse().ok());
    let pid = pid.with_context(|| format!("Kafka did not start: {text}"))?;
    let address = format!("127.0.0.1:{port}");
    Ok(Server { name: "kafka", address, http: None, pid, ready_after, child: None, kafka_dir: Some(data.to_owned()) })
}

impl Server {
    pub fn usage(&self) -> Result<Usage> {
        usage(self.pid)
    }

    /// SIGKILL: what a crash of the process is.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(dir) = self.kafka_dir.take() {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/run.sh");
            let _ = Command::new("bash").arg(script).arg("stop").arg(dir).output();
        }
    }

    /// Still running?
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
