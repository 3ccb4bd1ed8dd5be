//! `weir doctor`: what is wrong, or will be, with the machine and the configuration, before or while a broker runs there.
//!
//! A check looks and says; none changes anything, and none needs the broker to run. Each that is not fine names what to do.
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use weir_storage::meta::MetadataBackup;

use crate::config::{Config, ServeArgs};
use crate::limits;

/// How long a connection to an address of ours may take.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);
/// A file whose time is further ahead than this says that the clock went back.
const CLOCK_SLACK: Duration = Duration::from_secs(300);
/// Files that a broker with many connections opens.
const FILES_WANTED: u64 = 65_536;

/// Flags of `weir doctor`.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// As JSON, one object a check
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Fine,
    /// It works, and may not tomorrow.
    Warning,
    /// The broker does not start, or clients cannot use it.
    Broken,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// What to do; empty if all is fine.
    pub fix: String,
}

impl Finding {
    fn fine(check: &'static str, found: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Fine, found: found.into(), fix: String::new() }
    }

    fn warning(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Warning, found: found.into(), fix: fix.into() }
    }

    fn broken(check: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Broken, found: found.into(), fix: fix.into() }
    }
}

impl DoctorArgs {
    /// Runs every check. Returns what to print, and whether nothing is broken.
    pub fn run(&self) -> (String, bool) {
        let findings = match self.serve.load() {
            Ok(config) => examine(&config),
            Err(error) => vec![Finding::broken("configuration", error.to_string(), "mend the setting that it names")],
        };
        let sound = findings.iter().all(|finding| finding.verdict != Verdict::Broken);
        (if self.json { as_json(&findings) } else { as_text(&findings) }, sound)
    }
}

fn as_json(findings: &[Finding]) -> String {
    findings.iter().map(|finding| serde_json::to_string(finding).unwrap_or_default() + "\n").collect()
}

/// For people.
pub(crate) fn as_text(findings: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { check, verdict, found, fix } in findings {
        let mark = match verdict {
            Verdict::Fine => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Broken => "BROKEN ",
        };
        let _ = writeln!(out, "{mark}  {check:<14} {found}"); // a String takes everything
        if !fix.is_empty() {
            let _ = writeln!(out, "         {:<14} fix: {fix}", "");
        }
    }
    out
}

/// Every check on a configuration that can be read.
pub fn examine(config: &Config) -> Vec<Finding> {
    let data = PathBuf::from(&config.node.data_dir);
    let mut findings = vec![settings(config)];
    findings.push(folder(&data));
    findings.push(space(&data, config));
    findings.push(metadata(&data));
    findings.push(clock(&data));
    findings.push(open_files());
    findings.push(memory(config));
    findings.extend(listeners(config, &data));
    findings.extend(advertised(config));
    findings.push(exposure(config));
    findings.push(authorisation(config, &data));
    findings
}

fn settings(config: &Config) -> Finding {
    match config.ignored_variables.as_slice() {
        [] => Finding::fine("configuration", format!("{} settings differ from their defaults", config.sources.len())),
        ignored => Finding::warning(
            "configuration",
            format!("environment variables that are no settings: {}", ignored.join(", ")),
            "correct their names (`weir config show` lists the settings) or remove them",
        ),
    }
}

/// The nearest folder above that exists.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find(|folder| folder.is_dir()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

fn folder(data: &Path) -> Finding {
    let shown = data.display();
    let nearest = existing(data);
    let probe = nearest.join(format!(".weir-doctor-{}", std::process::id()));
    let tried = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe).and_then(|file| file.sync_all());
    let _ = std::fs::remove_file(&probe); // it may not be there
    match tried {
        Ok(()) if data.is_dir() => Finding::fine("data folder", format!("{shown} can be written and synced")),
        Ok(()) => Finding::fine("data folder", format!("{shown} will be made at the first start")),
        Err(error) => Finding::broken(
            "data folder",
            format!("{} cannot be written: {error}", nearest.display()),
            format!("give the broker's user the right to write there, or set data.dir (now {shown}) to another folder"),
        ),
    }
}

fn space(data: &Path, config: &Config) -> Finding {
    let nearest = existing(data);
    let free = match rustix::fs::statvfs(&nearest) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            return Finding::warning(
                "disk space",
                format!("{}: {error}", nearest.display()),
                "look at the file system",
            );
        }
    };
    let wal = config.storage_config().wal_max_bytes;
    let mib = |bytes: u64| bytes >> 20;
    let found = format!("{} MiB free, the write-ahead log takes up to {} MiB", mib(free), mib(2 * wal));
    // Merges write before they free.
    match free {
        free if free < wal => Finding::broken("disk space", found, "free some space, or set a smaller wal.max.bytes"),
        free if free < 4 * wal => {
            Finding::warning("disk space", found, "free some space, shorten retention, or set a smaller wal.max.bytes")
        }
        _ => Finding::fine("disk space", found),
    }
}

fn metadata(data: &Path) -> Finding {
    let path = data.join(MetadataBackup::LOG);
    let Ok(bytes) = std::fs::read(&path) else {
        return Finding::fine("metadata", "none yet");
    };
    match MetadataBackup::read(&bytes) {
        Ok(backup) => {
            let found = format!("{} topics at revision {}", backup.count("topic/"), backup.revision);
            Finding::fine("metadata", found)
        }
        Err(_) if bytes.is_empty() => Finding::fine("metadata", "none yet"),
        Err(error) => Finding::broken("metadata", error.to_string(), "restore a backup: weir restore FILE --replace"),
    }
}

fn clock(data: &Path) -> Finding {
    let now = SystemTime::now();
    let wal = std::fs::read_dir(data.join("wal")).into_iter().flatten().flatten();
    let written = wal.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
    let year_2024 = UNIX_EPOCH + Duration::from_secs(1_704_067_200);
    match written {
        _ if now < year_2024 => Finding::broken(
            "clock",
            "it says that it is before 2024",
            "set it and start a time service: retention and lag are counted in wall-clock time",
        ),
        Some(written) if written > now + CLOCK_SLACK => Finding::warning(
            "clock",
            "data was written in what it takes for the future",
            "check the time service (chronyc tracking, timedatectl): records may be kept too long",
        ),
        _ => Finding::fine("clock", "agrees with what was written last"),
    }
}

fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile).maximum;
    match limit {
        Some(limit) if limit < FILES_WANTED => Finding::warning(
            "open files",
            format!("at most {limit}: each connection and each segment is one"),
            format!("raise it: LimitNOFILE={FILES_WANTED} in the unit, --ulimit nofile={FILES_WANTED} for a container"),
        ),
        Some(limit) => Finding::fine("open files", format!("up to {limit}")),
        None => Finding::fine("open files", "no limit"),
    }
}

fn memory(config: &Config) -> Finding {
    let Some(machine) = limits::memory_of_machine() else {
        return Finding::warning("memory", "the system does not tell how much there is", "set memory.limit");
    };
    let limit = config.memory.limit.0;
    let mib = |bytes: u64| bytes >> 20;
    if limit > machine / 4 * 3 {
        return Finding::warning(
            "memory",
            format!("memory.limit is {} MiB of the {} MiB there are", mib(limit), mib(machine)),
            "leave a quarter to the page cache, which serves reads of older data, and to the process itself",
        );
    }
    let told = if limit == 0 { "by itself".to_owned() } else { format!("{} MiB", mib(limit)) };
    Finding::fine("memory", format!("{} MiB; memory.limit is chosen {told}", mib(machine)))
}

/// Ports are free, or a broker uses this very data folder.
fn listeners(config: &Config, data: &Path) -> Vec<Finding> {
    let running = is_locked(data);
    let check = |address: String| {
        if address.ends_with(":0") {
            return Finding::fine("listener", format!("{address}: any free port"));
        }
        match TcpListener::bind(&address) {
            Ok(_) if running => Finding::warning(
                "listener",
                format!("{address} is not listened on, though a broker uses the data folder"),
                "it was started with another configuration: look at its banner, or restart it",
            ),
            Ok(_) => Finding::fine("listener", format!("{address} is free")),
            Err(_) if running => Finding::fine("listener", format!("{address} is in use, and a broker runs")),
            Err(error) => Finding::broken(
                "listener",
                format!("{address}: {error}"),
                "stop what listens there (ss -ltnp), or choose another address",
            ),
        }
    };
    let kafka = config.node.listeners.0.iter().map(|listener| listener.address.to_string());
    let others = std::iter::once(config.node.http_listen).chain(config.node.registry_listen.0);
    kafka.chain(others.map(|address| address.to_string())).map(check).collect()
}

/// Whether a process has the lock of the folder.
fn is_locked(data: &Path) -> bool {
    let Ok(lock) = std::fs::OpenOptions::new().write(true).open(data.join("lock")) else { return false };
    // Given back when the file is closed.
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Clients are told these addresses, so a name must at least mean something here.
fn advertised(config: &Config) -> Vec<Finding> {
    let check = |address: String| {
        let resolved: Vec<SocketAddr> = match address.to_socket_addrs() {
            Ok(all) => all.collect(),
            Err(error) => {
                return Finding::broken(
                    "advertised",
                    format!("clients are told {address}, which is no address here: {error}"),
                    "set advertised.listeners to a name that clients can resolve",
                );
            }
        };
        if resolved.iter().any(|one| one.ip().is_unspecified()) {
            let fix = "set advertised.listeners to the name or address of this machine that clients use";
            return Finding::broken(
                "advertised",
                format!("clients are told {address}, which is every address and none"),
                fix,
            );
        }
        let reached = resolved.iter().any(|one| TcpStream::connect_timeout(one, REACH_TIMEOUT).is_ok());
        let state = if reached { "something answers there" } else { "nothing answers there now" };
        Finding::fine("advertised", format!("{address}: {state}"))
    };
    config.node.advertised_listeners.0.iter().map(|listener| check(listener.address.to_string())).collect()
}

fn exposure(config: &Config) -> Finding {
    if config.node.insecure {
        return Finding::warning(
            "exposure",
            "`insecure` is set: listeners that other machines reach may ask nobody who they are",
            "set listener.security.protocol.map to SASL_SSL for them (`weir tls dev` makes certificates to try it)",
        );
    }
    Finding::fine("exposure", "nobody from other machines comes in without authentication")
}

/// Lists are in force, and somebody is there who can write the first one.
fn authorisation(config: &Config, data: &Path) -> Finding {
    const CHECK: &str = "authorisation";
    if !config.authorizes() {
        return Finding::fine(CHECK, "no lists are in force: whoever may connect may do everything");
    }
    let stored = std::fs::read(data.join(MetadataBackup::LOG)).ok().and_then(|log| MetadataBackup::read(&log).ok());
    let count = |prefix: &str| stored.as_ref().map_or(0, |stored| stored.count(prefix));
    let (super_users, lists) = (config.authorization.super_users.0.len(), count("acl/"));
    let admin = config.security.init_admin || count("scram-admin-created") > 0;
    let found = format!("{lists} lists, {super_users} super users{}", if admin { " and the first admin" } else { "" });
    if super_users > 0 || lists > 0 || admin || config.authorization.allow_if_no_acl {
        return Finding::fine(CHECK, found);
    }
    Finding::warning(
        CHECK,
        format!("{found}: nobody may do anything, nor allow it to anybody"),
        "set super.users = \"User:NAME\", or start once with --init-admin",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn with(pairs: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        for (name, value) in pairs {
            config.set(name, value, Source::File).unwrap();
        }
        config
    }

    fn verdict(findings: &[Finding], check: &str) -> Verdict {
        findings
            .iter()
            .find(|finding| finding.check == check)
            .unwrap_or_else(|| panic!("{check}: {findings:?}"))
            .verdict
    }

    #[test]
    fn a_port_that_is_taken_and_a_folder_that_cannot_be_written_are_broken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap().to_string();
        let config = with(&[
            ("listeners", &listen),
            ("http.listen", "127.0.0.1:0"),
            ("registry.listen", "off"),
            ("data.dir", "/proc/no/such/folder"),
        ]);
        let findings = examine(&config);
        assert_eq!(verdict(&findings, "listener"), Verdict::Broken);
        assert_eq!(verdict(&findings, "data folder"), Verdict::Broken);
        for finding in findings.iter().filter(|finding| finding.verdict != Verdict::Fine) {
            assert!(!finding.fix.is_empty(), "{finding:?}");
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a test's own files")]
    #[test]
    fn lists_that_nobody_can_write_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let with = |more: &[(&str, &str)]| {
            let settings = [&[("data.dir", data), ("registry.listen", "off")], more].concat();
            verdict(&examine(&with(&settings)), "authorisation")
        };
        assert_eq!(with(&[]), Verdict::Fine);
        assert_eq!(with(&[("authorizer", "on")]), Verdict::Warning);
        assert_eq!(with(&[("authorizer", "on"), ("super.users", "User:admin")]), Verdict::Fine);
        assert_eq!(with(&[("authorizer", "on"), ("init.admin", "true")]), Verdict::Fine);
        std::fs::create_dir_all(dir.path().join("meta")).unwrap();
        let mut backup = MetadataBackup::default();
        backup.put(b"acl/0", b"{}".to_vec());
        std::fs::write(dir.path().join(MetadataBackup::LOG), backup.encode()).unwrap();
        assert_eq!(with(&[("authorizer", "on")]), Verdict::Fine);
    }

    #[allow(clippy::disallowed_methods, reason = "a test's own files")]
    #[test]
    fn damaged_metadata_and_a_clock_that_went_back_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let config = with(&[("data.dir", dir.path().to_str().unwrap()), ("registry.listen", "off")]);
        assert_eq!(verdict(&examine(&config), "metadata"), Verdict::Fine);
        std::fs::create_dir_all(dir.path().join("meta")).unwrap();
        std::fs::create_dir_all(dir.path().join("wal")).unwrap();
        let mut backup = MetadataBackup::default();
        backup.put(b"topic/t", b"{}".to_vec());
        let mut bytes = backup.encode();
        std::fs::write(dir.path().join(MetadataBackup::LOG), &bytes).unwrap();
        assert_eq!(verdict(&examine(&config), "metadata"), Verdict::Fine);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(dir.path().join(MetadataBackup::LOG), &bytes).unwrap();
        assert_eq!(verdict(&examine(&config), "metadata"), Verdict::Broken);

        assert_eq!(verdict(&examine(&config), "clock"), Verdict::Fine);
        let file = std::fs::File::create(dir.path().join("wal").join("1")).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(86_400)).unwrap();
        assert_eq!(verdict(&examine(&config), "clock"), Verdict::Warning);
    }

    #[test]
    fn an_advertised_address_that_nobody_can_use_is_broken() {
        let config = with(&[("advertised.listeners", "no-such-host.invalid:9092"), ("registry.listen", "off")]);
        assert_eq!(verdict(&examine(&config), "advertised"), Verdict::Broken);
    }
}
