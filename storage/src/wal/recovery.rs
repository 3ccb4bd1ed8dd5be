//! Reading the log back: puts the files in order, cuts a torn end, refuses a hole (WAL-2).
//!
//! The files from the checkpoint's on, ordered by id, make up the log; each counts up to the first sequence of the next. Where
//! the sequences break off, the log ends. Headers and commits say what had been durable when they were written: if
//! that is more than what is found, something was damaged, and the start is refused.
//!
//! What is found beyond that may be in the page cache only: the process died before its sync, or the sync failed. A later
//! sync would not help (after a failed one the system takes the pages for clean), so it is *carried*: written again to the
//! new file, and durable there before the new file's header makes it part of the log.
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use thiserror::Error;
use weir_protocol::ids::Offset;

use super::WalLocation;
use super::format::{
    COMMIT_HEADER_LEN, COMMIT_MAGIC, CommitHeader, EntryKind, FILE_HEADER_LEN, FileHeader, FormatError, entries,
};
use super::local::{WAL_DIR, WalFile, file_path};
use crate::disk::{Disk, DiskFile};
use crate::log::PartitionKey;

#[derive(Debug, Error)]
pub enum WalError {
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
    #[error(
        "{file} is damaged at byte {position}: {detail}. Acknowledged data is missing: restore the file from a copy, or move \
         the folder away to start anew"
    )]
    Hole { file: String, position: u64, detail: String },
    #[error("{file}: {source}")]
    Format { file: String, source: FormatError },
    #[error("entry in {file} at byte {position} cannot be applied: {detail}")]
    Replay { file: String, position: u64, detail: String },
}

/// Where the log begins, as the checkpoint says.
#[derive(Debug, Clone, Copy)]
pub struct WalStart {
    /// Files below are not replayed.
    pub file: u64,
    /// Sequence of the first commit to replay; 0 = not known.
    pub sequence: u64,
    /// Files from here on are kept: the checkpoint before this one needs them.
    pub keep_from: u64,
}

/// One entry as it is read back.
#[derive(Debug)]
pub struct ReplayedEntry<'a> {
    pub kind: EntryKind,
    pub key: PartitionKey,
    pub base_offset: Offset,
    pub location: WalLocation,
    pub data: &'a [u8],
}

/// Writes a commit to the new file; tells where it begins.
pub(super) type Carry<'a> = &'a mut dyn FnMut(&CommitHeader, &[u8]) -> io::Result<WalLocation>;

pub(super) type Visit<'a> = &'a mut dyn FnMut(ReplayedEntry<'_>) -> Result<(), String>;

pub(super) struct Recovered {
    /// Live files, sealed; the new one is not among them.
    pub files: Vec<WalFile>,
    /// Files that are no part of the log; to be removed once the new file's header is durable.
    pub stale: Vec<u64>,
    /// Of the new file: the first commit that was carried to it, or the next to come.
    pub first_sequence: u64,
    pub next_sequence: u64,
}

/// A file of the log: its commits in `[header.first_sequence, limit)` count.
struct Link {
    header: FileHeader,
    limit: u64,
}

/// What is known to have been durable, and the place that says so.
#[derive(Debug, Clone, Copy)]
struct Proof {
    through: u64,
    file: u64,
    position: u64,
}

/// What is in the folder, before anything is replayed.
pub(super) struct Scan<'a> {
    disk: &'a dyn Disk,
    start: WalStart,
    ids: Vec<u64>,
    links: Vec<Link>,
    /// Below the first link, kept for the checkpoint before.
    older: Vec<FileHeader>,
    /// Their header does not verify.
    damaged: Vec<u64>,
    /// Files that never became part of the log, in no order: they can be put to use.
    pub unused: Vec<u64>,
    pub next_file_id: u64,
    buf: Vec<u8>,
}

impl<'a> Scan<'a> {
    pub fn new(disk: &'a dyn Disk, start: WalStart) -> Result<Scan<'a>, WalError> {
        let names = disk.list(WAL_DIR).map_err(|source| WalError::Io { path: WAL_DIR.to_owned(), source })?;
        let ids: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".wal")?.parse().ok()).collect();
        let mut headers = BTreeMap::new();
        let (mut unused, mut damaged) = (Vec::new(), Vec::new());
        for &id in &ids {
            match read_header(disk, id)? {
                HeaderState::Valid(header) => drop(headers.insert(id, header)),
                HeaderState::Unused => unused.push(id),
                HeaderState::Damaged => damaged.push(id),
            }
        }
        let older = headers.range(start.keep_from.min(start.file)..start.file).map(|(_, header)| *header).collect();
        let next_file_id = ids.iter().max().map_or(1, |id| id + 1).max(start.file);
        let links = links(headers.range(start.file..).map(|(_, header)| *header));
        Ok(Scan { disk, start, ids, links, older, damaged, unused, next_file_id, buf: Vec::new() })
    }

    /// Visits all entries in order. Commits that are not known to be durable are carried first, and visited where they are
    /// then.
    pub fn replay(mut self, carry: Carry<'_>, visit: Visit<'_>) -> Result<Recovered, WalError> {
        let proof = self.proof()?;
        let known = if self.start.sequence > 0 { Some(self.start.sequence) } else { None };
        let first = self.links.first().map(|link| link.header.first_sequence);
        let mut next_sequence = known.or(first).unwrap_or(1);
        let mut first_carried = None;
        let mut files = Vec::new();
        let mut broke_at = None;
        for header in std::mem::take(&mut self.older) {
            files.push(self.wal_file(&header, None)?);
        }
        for link in std::mem::take(&mut self.links) {
            if link.header.first_sequence != next_sequence {
                broke_at = Some((link.header.file_id, 0));
                break;
            }
            let mut file = Replay { link: &link, proof, next: &mut next_sequence, carried: &mut first_carried };
            let (proven_end, end) = file.run(&mut self, carry, visit)?;
            if proven_end > FILE_HEADER_LEN {
                files.push(self.wal_file(&link.header, Some(proven_end))?);
            }
            broke_at = Some((link.header.file_id, end));
            if next_sequence < link.limit {
                break; // the newest file always ends here
            }
        }
        if next_sequence <= proof.through {
            let (file, position) = broke_at.unwrap_or((proof.file, 0));
            let detail = format!(
                "commit {next_sequence} is not there or does not verify, but {} says at byte {} that commit {} had been durable",
                file_path(proof.file),
                proof.position,
                proof.through
            );
            return Err(WalError::Hole { file: file_path(file), position, detail });
        }
        self.refuse_lost_headers(next_sequence)?;
        let live: Vec<u64> = files.iter().map(|f: &WalFile| f.id).collect();
        let stale = self.ids.iter().copied().filter(|id| !live.contains(id)).collect();
        let first_sequence = first_carried.unwrap_or(next_sequence);
        Ok(Recovered { files, stale, first_sequence, next_sequence })
    }

    /// What had been durable: later headers and commits say more, so the newest file's are enough.
    fn proof(&mut self) -> Result<Proof, WalError> {
        let Some(newest) = self.links.last().map(|link| link.header) else {
            return Ok(Proof { through: 0, file: 0, position: 0 });
        };
        self.load(newest.file_id)?;
        let by_header = Proof { through: newest.durable_through, file: newest.file_id, position: 0 };
        let by_commits = commit_headers(&self.buf)
            .filter(|(_, commit)| commit.incarnation == newest.incarnation)
            .map(|(position, commit)| Proof { through: commit.durable_through, file: newest.file_id, position });
        Ok(by_commits.fold(by_header, |most, next| if next.through > most.through { next } else { most }))
    }

    /// No crash leaves a file whose header does not verify and which holds commits: a header lies in one sector.
    fn refuse_lost_headers(&mut self, next_sequence: u64) -> Result<(), WalError> {
        for id in std::mem::take(&mut self.damaged) {
            self.load(id)?;
            if let Some((position, commit)) = commit_headers(&self.buf).find(|(_, c)| c.sequence >= next_sequence) {
                let detail = format!(
                    "its header does not verify, but commit {} at byte {position} continues the log",
                    commit.sequence
                );
                return Err(WalError::Hole { file: file_path(id), position: 0, detail });
            }
        }
        Ok(())
    }

    fn load(&mut self, id: u64) -> Result<(), WalError> {
        let io_error = |source| WalError::Io { path: file_path(id), source };
        let file = open(self.disk, id)?;
        self.buf.clear();
        self.buf.resize(file.len().map_err(io_error)? as usize, 0);
        file.read_at(0, &mut self.buf).map_err(io_error)
    }

    fn wal_file(&self, header: &FileHeader, end: Option<u64>) -> Result<WalFile, WalError> {
        let file = open(self.disk, header.file_id)?;
        let io_error = |source| WalError::Io { path: file_path(header.file_id), source };
        let bytes = end.map_or_else(|| file.len(), Ok).map_err(io_error)?;
        Ok(WalFile {
            id: header.file_id,
            first_sequence: header.first_sequence,
            file,
            created_ms: header.created_ms,
            bytes: AtomicU64::new(bytes),
            sealed: AtomicBool::new(true),
        })
    }
}

/// The replay of one file.
struct Replay<'a> {
    link: &'a Link,
    proof: Proof,
    next: &'a mut u64,
    carried: &'a mut Option<u64>,
}

impl Replay<'_> {
    /// Ends of the commits that stay where they are, and of all that count.
    fn run(&mut self, scan: &mut Scan<'_>, carry: Carry<'_>, visit: Visit<'_>) -> Result<(u64, u64), WalError> {
        let id = self.link.header.file_id;
        scan.load(id)?;
        let mut proven_end = FILE_HEADER_LEN;
        let mut at = FILE_HEADER_LEN;
        while let Some((commit, payload)) = commit_at(&scan.buf, at, self.link.header.incarnation) {
            if commit.sequence != *self.next || commit.sequence >= self.link.limit {
                break;
            }
            let mut begin = WalLocation { file: id, position: at };
            at += commit.total_len();
            if commit.sequence <= self.proof.through {
                proven_end = at;
            } else {
                begin = carry(&commit, payload).map_err(|source| WalError::Io { path: WAL_DIR.to_owned(), source })?;
                self.carried.get_or_insert(commit.sequence);
            }
            visit_entries(begin, payload, visit)?;
            *self.next += 1;
        }
        Ok((proven_end, at))
    }
}

fn visit_entries(begin: WalLocation, payload: &[u8], visit: Visit<'_>) -> Result<(), WalError> {
    let file = || file_path(begin.file);
    for entry in entries(payload) {
        let (header, data_at) = entry.map_err(|source| WalError::Format { file: file(), source })?;
        let position = begin.position + (COMMIT_HEADER_LEN + data_at) as u64;
        visit(ReplayedEntry {
            kind: header.kind,
            key: header.key,
            base_offset: header.base_offset,
            location: WalLocation { file: begin.file, position },
            data: &payload[data_at..data_at + header.length as usize],
        })
        .map_err(|detail| WalError::Replay { file: file(), position, detail })?;
    }
    Ok(())
}

/// Orders files by id and leaves out those that a later one supersedes wholly: it begins at or before their first sequence.
fn links(headers: impl DoubleEndedIterator<Item = FileHeader>) -> Vec<Link> {
    let mut links = Vec::new();
    let mut limit = u64::MAX;
    for header in headers.rev() {
        if header.first_sequence < limit {
            links.push(Link { header, limit });
            limit = header.first_sequence;
        }
    }
    links.reverse();
    links
}

fn open(disk: &dyn Disk, id: u64) -> Result<Arc<dyn DiskFile>, WalError> {
    disk.open(&file_path(id)).map_err(|source| WalError::Io { path: file_path(id), source })
}

enum HeaderState {
    Valid(FileHeader),
    /// A spare: zeros, or the header of an earlier use under another id.
    Unused,
    Damaged,
}

fn read_header(disk: &dyn Disk, id: u64) -> Result<HeaderState, WalError> {
    let io_error = |source| WalError::Io { path: file_path(id), source };
    let file = open(disk, id)?;
    if file.len().map_err(io_error)? < FILE_HEADER_LEN {
        return Ok(HeaderState::Unused);
    }
    let mut buf = vec![0; FILE_HEADER_LEN as usize];
    file.read_at(0, &mut buf).map_err(io_error)?;
    match FileHeader::decode(&buf) {
        Ok(header) if header.file_id == id => Ok(HeaderState::Valid(header)),
        Ok(_) => Ok(HeaderState::Unused),
        Err(FormatError::NotAHeader) if buf.iter().all(|byte| *byte == 0) => Ok(HeaderState::Unused),
        Err(FormatError::NotAHeader) => Ok(HeaderState::Damaged),
        Err(source) => Err(WalError::Format { file: file_path(id), source }),
    }
}

/// The commit at `at`, if header, length and payload verify.
fn commit_at(buf: &[u8], at: u64, incarnation: u64) -> Option<(CommitHeader, &[u8])> {
    let rest = buf.get(at as usize..)?;
    let commit = CommitHeader::decode(rest).ok()?;
    if commit.incarnation != incarnation {
        return None;
    }
    let payload = rest.get(COMMIT_HEADER_LEN..COMMIT_HEADER_LEN + commit.payload_len as usize)?;
    (crc32c::crc32c(payload) == commit.payload_crc).then_some((commit, payload))
}

/// Every place in a file that holds a valid commit header.
fn commit_headers(buf: &[u8]) -> impl Iterator<Item = (u64, CommitHeader)> + '_ {
    (FILE_HEADER_LEN..buf.len() as u64).step_by(8).filter_map(move |at| {
        let rest = &buf[at as usize..];
        if !rest.starts_with(&COMMIT_MAGIC) {
            return None;
        }
        CommitHeader::decode(rest).ok().map(|commit| (at, commit))
    })
}
