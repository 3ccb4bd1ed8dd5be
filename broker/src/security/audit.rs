//! The audit log: who was refused what, and who changed what, one JSON object a line.
//!
//! Events are queued and written by one thread; nobody waits for it. What does not fit into the queue is counted, and the next line
//! says how many were lost. Values never go in: not of configs, not of credentials, only names. The file is bounded: it is renamed
//! to `FILE.1` when it is full, which replaces the one before.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Principal;

/// Events that wait to be written.
const QUEUE_MAX: usize = 8_192;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditEvent {
    /// Somebody could not prove who they are.
    AuthenticationFailed {
        /// How they tried: a SASL mechanism, or TLS.
        mechanism: String,
        /// Who they claimed to be, if they did.
        user: Option<String>,
    },
    /// Somebody may not do what they asked for.
    AuthorizationFailed {
        /// Kafka's name of the API.
        api: String,
        /// As access control lists name it.
        operation: &'static str,
        /// Kind of resource.
        resource: &'static str,
        /// Name of the resource.
        name: String,
    },
    /// An administrator's request was answered.
    AdminRequest {
        /// Kafka's name of the API.
        api: String,
        /// What it was about; names only.
        subjects: Vec<String>,
        /// Kafka's names of the errors in the answer; none = it was done.
        errors: Vec<String>,
    },
}

#[derive(Serialize)]
struct Line<'a> {
    time_ms: u64,
    principal: String,
    host: IpAddr,
    client_id: Option<&'a str>,
    #[serde(flatten)]
    event: &'a AuditEvent,
    /// Events before this one that could not be written.
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where events go; cheap to ask whether there is any.
#[derive(Debug, Default)]
pub struct Audit {
    queue: Option<SyncSender<String>>,
    lost: AtomicU64,
}

impl Audit {
    /// Nowhere.
    #[must_use]
    pub fn off() -> Audit {
        Audit::default()
    }

    /// To the end of a file, which is renamed when it has `max_bytes`.
    pub fn to_file(path: &Path, max_bytes: u64) -> std::io::Result<Audit> {
        let file = AuditFile::open(path.to_owned(), max_bytes)?;
        let (queue, lines) = sync_channel(QUEUE_MAX);
        std::thread::Builder::new().name("weir-audit".to_owned()).spawn(move || write_all(file, &lines))?;
        Ok(Audit { queue: Some(queue), lost: AtomicU64::new(0) })
    }

    /// Whether events are kept.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Keeps an event of a client.
    pub fn record(&self, principal: &Principal, host: IpAddr, client_id: Option<&str>, event: &AuditEvent) {
        let Some(queue) = &self.queue else { return };
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let lost = self.lost.swap(0, Ordering::AcqRel);
        let line = Line { time_ms, principal: principal.to_string(), host, client_id, event, lost };
        // Texts and numbers always serialise.
        let Ok(line) = serde_json::to_string(&line) else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(line) {
            if lost == 0 {
                tracing::error!("the audit log does not keep up, or its file cannot be written; events are lost");
            }
            self.lost.fetch_add(lost + 1, Ordering::AcqRel);
        }
    }
}

struct AuditFile {
    path: PathBuf,
    max_bytes: u64,
    file: File,
    bytes: u64,
}

impl AuditFile {
    fn open(path: PathBuf, max_bytes: u64) -> std::io::Result<AuditFile> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(AuditFile { path, max_bytes, file, bytes })
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "lines for people, of which a crash may take the last; no data of the broker"
    )]
    fn append(&mut self, lines: &str) -> std::io::Result<()> {
        if self.bytes >= self.max_bytes {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            *self = AuditFile::open(self.path.clone(), self.max_bytes)?;
        }
        self.file.write_all(lines.as_bytes())?;
        self.bytes += lines.len() as u64;
        Ok(())
    }
}

/// Until nobody can record any more.
fn write_all(mut file: AuditFile, lines: &Receiver<String>) {
    let mut failing = false;
    while let Ok(first) = lines.recv() {
        let mut together = first;
        together.push('\n');
        for line in lines.try_iter().take(256) {
            together.push_str(&line);
            together.push('\n');
        }
        match file.append(&together) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(path = %file.path.display(), %error, "the audit log cannot be written; events are lost");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> AuditEvent {
        AuditEvent::AuthorizationFailed {
            api: "Fetch".to_owned(),
            operation: "READ",
            resource: "TOPIC",
            name: name.to_owned(),
        }
    }

    /// The lines of a file once it has so many.
    fn lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
        for _ in 0..2_000 {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            // A file that is still to be renamed holds no JSON.
            let lines: Result<Vec<_>, _> = text.lines().map(serde_json::from_str).collect();
            if let Ok(lines) = lines
                && lines.len() >= count
            {
                return lines;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("{count} lines never came");
    }

    #[test]
    fn events_are_lines_of_json_whatever_names_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::to_file(&path, 1 << 20).unwrap();
        audit.record(&Principal::user("a\n\"b"), [10, 0, 0, 1].into(), Some("c"), &refused("t\r\n{}"));
        let found = &lines(&path, 1)[0];
        assert_eq!(
            (found["event"].as_str(), found["principal"].as_str()),
            (Some("authorization_failed"), Some("User:a\n\"b"))
        );
        assert_eq!((found["host"].as_str(), found["name"].as_str()), (Some("10.0.0.1"), Some("t\r\n{}")));
        assert!(found.get("lost").is_none() && found["time_ms"].as_u64().unwrap() > 0);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn full_file_is_renamed_and_a_new_one_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "x".repeat(100)).unwrap();
        let audit = Audit::to_file(&path, 100).unwrap();
        audit.record(&Principal::user("a"), [10, 0, 0, 1].into(), None, &refused("t"));
        assert_eq!(lines(&path, 1).len(), 1);
        assert_eq!(std::fs::read(folder.path().join("audit.jsonl.1")).unwrap().len(), 100);
        assert!(!Audit::off().is_on());
    }
}
