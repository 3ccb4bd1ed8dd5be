//! Reading the log back: follows the chain of files, cuts a torn tail, refuses a hole (WAL-2).
use std::collections::BTreeMap;
use std::io;
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
    #[error("{file} is damaged at byte {position}: {detail}")]
    Hole { file: String, position: u64, detail: String },
    #[error("{file}: {source}")]
    Format { file: String, source: FormatError },
    #[error("entry in {file} at byte {position} cannot be applied: {detail}")]
    Replay { file: String, position: u64, detail: String },
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

pub(super) struct Recovered {
    pub files: Vec<WalFile>,
    /// Files off the chain; removed once the next file's header is durable.
    pub stale: Vec<String>,
    pub next_file_id: u64,
    pub next_sequence: u64,
    /// 0 if there is none.
    pub last_file: u64,
    pub last_length: u64,
}

/// A file of the chain with the length that counts.
struct Link {
    header: FileHeader,
    /// Known-good length, from the header of the file after it; `None` for the newest.
    good_length: Option<u64>,
}

pub(super) fn recover(
    disk: &dyn Disk,
    first_file: u64,
    visit: &mut dyn FnMut(ReplayedEntry<'_>) -> Result<(), String>,
) -> Result<Recovered, WalError> {
    let mut names = BTreeMap::new();
    for name in disk.list(WAL_DIR).map_err(|source| WalError::Io { path: WAL_DIR.to_owned(), source })? {
        if let Some(id) = name.strip_suffix(".wal").and_then(|n| n.parse::<u64>().ok()) {
            names.insert(id, name);
        }
    }
    let mut headers = BTreeMap::new();
    let mut damaged = Vec::new();
    for &id in names.keys() {
        match read_header(disk, id)? {
            HeaderState::Valid(header) => {
                headers.insert(id, header);
            }
            HeaderState::Unused => {}
            HeaderState::Damaged => damaged.push(id),
        }
    }
    let chain = follow_chain(&headers, first_file)?;

    let mut recovered = Recovered {
        files: Vec::new(),
        stale: Vec::new(),
        next_file_id: names.keys().next_back().map_or(1, |id| id + 1).max(first_file),
        next_sequence: chain.first().map_or(1, |link| link.header.first_sequence),
        last_file: 0,
        last_length: 0,
    };
    let mut scanner = Scanner { disk, buf: Vec::new() };
    for (index, link) in chain.iter().enumerate() {
        let id = link.header.file_id;
        if link.header.first_sequence != recovered.next_sequence {
            return Err(hole(
                id,
                0,
                format!(
                    "it begins with commit {}, but the files before it end before commit {}",
                    link.header.first_sequence, recovered.next_sequence
                ),
            ));
        }
        let file = open(disk, id)?;
        let end = scanner.replay(&*file, link, &mut recovered.next_sequence, visit)?;
        recovered.last_file = id;
        recovered.last_length = end;
        recovered.files.push(WalFile {
            id,
            file,
            created_ms: link.header.created_ms,
            bytes: AtomicU64::new(end),
            sealed: AtomicBool::new(true),
        });
        let complete = link.good_length.is_none_or(|good| end >= good);
        if !complete || index + 1 == chain.len() {
            // Nothing after a cut counts, if none of it proves that what is missing had been durable.
            scanner.refuse_if_known_durable(&chain[index..], end, recovered.next_sequence)?;
            break;
        }
    }
    let kept: Vec<u64> = recovered.files.iter().map(|f| f.id).collect();
    for (id, name) in names {
        if kept.contains(&id) {
            continue;
        }
        if damaged.contains(&id) {
            scanner.refuse_if_lost_header(id, recovered.next_sequence)?;
        }
        recovered.stale.push(format!("{WAL_DIR}/{name}"));
    }
    Ok(recovered)
}

fn hole(file: u64, position: u64, detail: String) -> WalError {
    WalError::Hole { file: file_path(file), position, detail }
}

fn open(disk: &dyn Disk, id: u64) -> Result<std::sync::Arc<dyn DiskFile>, WalError> {
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

/// From the newest file back to `first_file`, returned oldest first.
fn follow_chain(headers: &BTreeMap<u64, FileHeader>, first_file: u64) -> Result<Vec<Link>, WalError> {
    let mut chain = Vec::new();
    let mut next = headers.values().next_back().map(|header| Link { header: *header, good_length: None });
    while let Some(link) = next.take() {
        let header = link.header;
        if header.file_id < first_file {
            break;
        }
        if header.prev_id != 0 && header.prev_id >= first_file {
            let prev = headers.get(&header.prev_id).ok_or_else(|| {
                hole(
                    header.prev_id,
                    0,
                    format!("it is missing or has no valid header, and {} continues it", file_path(header.file_id)),
                )
            })?;
            next = Some(Link { header: *prev, good_length: Some(header.prev_length) });
        }
        chain.push(link);
    }
    chain.reverse();
    Ok(chain)
}

struct Scanner<'a> {
    disk: &'a dyn Disk,
    buf: Vec<u8>,
}

impl Scanner<'_> {
    fn load(&mut self, file: &dyn DiskFile, id: u64, length: u64) -> Result<(), WalError> {
        self.buf.clear();
        self.buf.resize(length as usize, 0);
        file.read_at(0, &mut self.buf).map_err(|source| WalError::Io { path: file_path(id), source })
    }

    /// Visits the commits of one file; returns the end of the last good one.
    fn replay(
        &mut self,
        file: &dyn DiskFile,
        link: &Link,
        next_sequence: &mut u64,
        visit: &mut dyn FnMut(ReplayedEntry<'_>) -> Result<(), String>,
    ) -> Result<u64, WalError> {
        let id = link.header.file_id;
        let on_disk = file.len().map_err(|source| WalError::Io { path: file_path(id), source })?;
        let length = link.good_length.unwrap_or(on_disk).min(on_disk);
        self.load(file, id, length)?;
        let mut at = FILE_HEADER_LEN;
        while let Some((commit, payload)) = commit_at(&self.buf, at, link.header.incarnation) {
            if commit.sequence != *next_sequence {
                break;
            }
            let payload_start = at + COMMIT_HEADER_LEN as u64;
            for entry in entries(payload) {
                let (header, data_at) = entry.map_err(|source| WalError::Format { file: file_path(id), source })?;
                let position = payload_start + data_at as u64;
                let data = &payload[data_at..data_at + header.length as usize];
                visit(ReplayedEntry {
                    kind: header.kind,
                    key: header.key,
                    base_offset: header.base_offset,
                    location: WalLocation { file: id, position },
                    data,
                })
                .map_err(|detail| WalError::Replay { file: file_path(id), position, detail })?;
            }
            at += commit.total_len();
            *next_sequence += 1;
        }
        Ok(at)
    }

    /// Looks for proof, in what follows `end`, that commit `missing` had been durable.
    fn refuse_if_known_durable(&mut self, links: &[Link], end: u64, missing: u64) -> Result<(), WalError> {
        for (index, link) in links.iter().enumerate() {
            let id = link.header.file_id;
            let file = open(self.disk, id)?;
            let on_disk = file.len().map_err(|source| WalError::Io { path: file_path(id), source })?;
            let length = link.good_length.unwrap_or(on_disk).min(on_disk);
            self.load(&*file, id, length)?;
            let from = if index == 0 { end } else { FILE_HEADER_LEN };
            let proof = commit_headers(&self.buf, from)
                .find(|(_, c)| c.incarnation == link.header.incarnation && c.durable_through >= missing);
            if let Some((at, commit)) = proof {
                return Err(hole(
                    links[0].header.file_id,
                    end,
                    format!(
                        "commit {missing} does not verify, but commit {} in {} at byte {at} says that it had been durable. \
                     Acknowledged data is damaged: restore the file from a copy, or move the folder away to start anew",
                        commit.sequence,
                        file_path(id)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// A file whose header does not verify was torn by a crash, unless it holds commits that continue the log.
    fn refuse_if_lost_header(&mut self, id: u64, next_sequence: u64) -> Result<(), WalError> {
        let file = open(self.disk, id)?;
        let length = file.len().map_err(|source| WalError::Io { path: file_path(id), source })?;
        self.load(&*file, id, length)?;
        let proof = commit_headers(&self.buf, FILE_HEADER_LEN).find(|(_, c)| c.durable_through >= next_sequence);
        match proof {
            Some((at, commit)) => Err(hole(
                id,
                0,
                format!(
                    "its header does not verify, but commit {} at byte {at} continues the log. Restore the file from a copy, or \
                 move the folder away to start anew",
                    commit.sequence
                ),
            )),
            None => Ok(()),
        }
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

/// Every place at or after `from` that holds a valid commit header.
fn commit_headers(buf: &[u8], from: u64) -> impl Iterator<Item = (u64, CommitHeader)> + '_ {
    (from..buf.len() as u64).step_by(8).filter_map(move |at| {
        let rest = &buf[at as usize..];
        if !rest.starts_with(&COMMIT_MAGIC) {
            return None;
        }
        CommitHeader::decode(rest).ok().map(|commit| (at, commit))
    })
}
