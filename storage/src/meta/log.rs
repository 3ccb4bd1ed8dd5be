//! `meta/meta.log`: the truth of the embedded metadata. Integers little-endian.
//!
//! ```text
//! record   length u32 of the body | CRC32C u32 of revision and body | revision u64 | body
//! body     kind u8 | count u32 | elements
//! kind 0   one transaction at the record's revision; elements are writes
//! kind 1   snapshot of older versions: forget all before; elements are writes, all at the record's revision
//! kind 2   group of transactions that were synced together, the first at the record's revision, each next one higher;
//!          an element is count u32 | writes
//! kind 3   snapshot: forget all before; an element is revision u64 | write
//! write    op u8 (0 put, 1 delete) | key length u32 | key | (put) value length u32 | value
//! ```
//! A torn record at the end is cut; a bad one with a good one behind it is damage. That is why a group is one record: two
//! records of one sync could reach the device in any order.
use std::io;
use std::sync::Arc;

use super::{Change, MetaError, Revision, Versioned, Write};
use crate::disk::{Disk, DiskFile};

pub(super) const META_DIR: &str = "meta";
pub(super) const PATH: &str = "meta/meta.log";
const TEMPORARY: &str = "meta/meta.log.tmp";
const HEADER_LEN: usize = 16;
const CHANGE: u8 = 0;
const OLD_SNAPSHOT: u8 = 1;
const GROUP: u8 = 2;
const SNAPSHOT: u8 = 3;
/// A record larger than this is not believed.
const RECORD_MAX: usize = 256 << 20;

pub(super) struct MetaLog {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    end: u64,
    /// The end is unknown after a failed write: the log is rewritten before the next one.
    broken: bool,
}

fn io_error(source: io::Error) -> MetaError {
    MetaError::Io { path: PATH.to_owned(), source }
}

impl MetaLog {
    /// Opens or makes the log and feeds every change to `apply`; a snapshot comes as `None` first.
    pub fn open(
        disk: Arc<dyn Disk>,
        apply: &mut dyn FnMut(Option<Change>) -> Result<(), MetaError>,
    ) -> Result<(MetaLog, Revision), MetaError> {
        disk.create_dir_all(META_DIR).map_err(io_error)?;
        if disk.exists(TEMPORARY) {
            disk.remove(TEMPORARY).map_err(io_error)?;
        }
        if !disk.exists(PATH) {
            let file = disk.create(PATH).map_err(io_error)?;
            file.sync_all().map_err(io_error)?;
            disk.sync_dir(META_DIR).map_err(io_error)?;
            return Ok((MetaLog { disk, file, end: 0, broken: false }, 0));
        }
        // The process that made or replaced it may have died before that name was durable: a power cut would then take back
        // all that is appended from here on.
        disk.sync_dir(META_DIR).map_err(io_error)?;
        let file = disk.open(PATH).map_err(io_error)?;
        let buf = file.read_vec(0, file.len().map_err(io_error)? as usize).map_err(io_error)?;
        let Replayed { end: at, last_record, revision } = replay(&buf, apply)?;
        if at < buf.len() {
            tracing::warn!(position = at, "cutting a torn record off the end of the metadata log");
            file.set_len(at as u64).map_err(io_error)?;
            file.sync_all().map_err(io_error)?;
        }
        if at > last_record {
            // Its sync may have failed before a restart: then it is only in the page cache, and a later sync would not
            // write it. Written again, it is durable before anything follows it.
            file.write_at(last_record as u64, &[&buf[last_record..at]]).map_err(io_error)?;
            file.sync_data().map_err(io_error)?;
        }
        Ok((MetaLog { disk, file, end: at as u64, broken: false }, revision))
    }

    pub fn len(&self) -> u64 {
        self.end
    }

    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Transactions of consecutive revisions, the first at `revision`. Durable when it returns. After an error they may or
    /// may not be there: `rewrite` first.
    pub fn append(&mut self, revision: Revision, transactions: &[&[Write]]) -> Result<(), MetaError> {
        let record = encode_group(revision, transactions);
        let written = self.file.write_at(self.end, &[&record]).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.broken = true;
            return Err(io_error(error));
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// Replaces the log by one snapshot at `revision`; every key keeps its own.
    pub fn rewrite(&mut self, revision: Revision, rows: &[(Vec<u8>, Versioned)]) -> Result<(), MetaError> {
        let record = encode_snapshot(revision, rows);
        // Until all of this has succeeded nobody may append: the open file may have lost its name.
        self.broken = true;
        if self.disk.exists(TEMPORARY) {
            self.disk.remove(TEMPORARY).map_err(io_error)?;
        }
        let file = self.disk.create(TEMPORARY).map_err(io_error)?;
        file.write_at(0, &[&record]).map_err(io_error)?;
        file.sync_all().map_err(io_error)?;
        self.disk.rename(TEMPORARY, PATH).map_err(io_error)?;
        self.disk.sync_dir(META_DIR).map_err(io_error)?;
        self.file = file;
        self.end = record.len() as u64;
        self.broken = false;
        Ok(())
    }
}

/// What a log's bytes have.
pub(super) struct Replayed {
    /// Where its whole records end; what follows is a torn one.
    pub end: usize,
    /// Where the last of them begins.
    pub last_record: usize,
    pub revision: Revision,
}

/// Feeds every change to `apply`; a snapshot comes as `None` first.
pub(super) fn replay(
    buf: &[u8],
    apply: &mut dyn FnMut(Option<Change>) -> Result<(), MetaError>,
) -> Result<Replayed, MetaError> {
    let (mut at, mut last_record, mut revision) = (0, 0, 0);
    while let Some(record) = record_at(buf, at) {
        last_record = at;
        if record.revision <= revision {
            return Err(damaged(at, format!("revision {} follows {revision}", record.revision)));
        }
        let body = decode_body(record.revision, record.body).map_err(|detail| damaged(at, detail))?;
        revision = body.last_revision;
        if body.snapshot {
            apply(None)?;
        }
        for change in body.changes {
            apply(Some(change))?;
        }
        at += HEADER_LEN + record.body.len();
    }
    if at == 0 && buf.get(HEADER_LEN).is_some_and(|kind| [OLD_SNAPSHOT, SNAPSHOT].contains(kind)) {
        // A snapshot is published whole, so this is no torn write.
        return Err(damaged(0, "the snapshot at the start of the log does not verify".to_owned()));
    }
    // Only a torn end may be cut: nothing after it may be whole.
    let later = (at + 1..buf.len()).find(|p| record_at(buf, *p).is_some_and(|r| r.revision > revision));
    match later {
        Some(later) => Err(damaged(at, format!("a later record at byte {later} is whole"))),
        None => Ok(Replayed { end: at, last_record, revision }),
    }
}

fn damaged(position: usize, detail: String) -> MetaError {
    MetaError::Damaged { path: PATH.to_owned(), position: position as u64, detail }
}

struct Record<'a> {
    revision: Revision,
    body: &'a [u8],
}

fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(buf.get(at..at + 4)?.try_into().ok()?))
}

fn record_at(buf: &[u8], at: usize) -> Option<Record<'_>> {
    let length = u32_at(buf, at)? as usize;
    let crc = u32_at(buf, at + 4)?;
    if length > RECORD_MAX {
        return None;
    }
    let covered = buf.get(at + 8..at + HEADER_LEN + length)?;
    if crc32c::crc32c(covered) != crc {
        return None;
    }
    let revision = u64::from_le_bytes(covered[..8].try_into().ok()?);
    Some(Record { revision, body: &covered[8..] })
}

fn encode_group(revision: Revision, transactions: &[&[Write]]) -> Vec<u8> {
    let mut out = begin(revision);
    // What older versions read stays what older versions wrote.
    if let [writes] = transactions {
        out.push(CHANGE);
        put_writes(writes, &mut out);
    } else {
        out.push(GROUP);
        out.extend_from_slice(&(transactions.len() as u32).to_le_bytes());
        for writes in transactions {
            put_writes(writes, &mut out);
        }
    }
    finish(out)
}

pub(super) fn encode_snapshot(revision: Revision, rows: &[(Vec<u8>, Versioned)]) -> Vec<u8> {
    let mut out = begin(revision);
    out.push(SNAPSHOT);
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    for (key, row) in rows {
        out.extend_from_slice(&row.revision.to_le_bytes());
        put_write(key, Some(&row.value), &mut out);
    }
    finish(out)
}

fn begin(revision: Revision) -> Vec<u8> {
    let mut out = vec![0; 8];
    out.extend_from_slice(&revision.to_le_bytes());
    out
}

fn finish(mut out: Vec<u8>) -> Vec<u8> {
    let length = (out.len() - HEADER_LEN) as u32;
    let crc = crc32c::crc32c(&out[8..]);
    out[0..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn put_writes(writes: &[Write], out: &mut Vec<u8>) {
    out.extend_from_slice(&(writes.len() as u32).to_le_bytes());
    for write in writes {
        match write {
            Write::Put(key, value) => put_write(key, Some(value), out),
            Write::Delete(key) => put_write(key, None, out),
        }
    }
}

fn put_write(key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(u8::from(value.is_none()));
    for bytes in [Some(key), value].into_iter().flatten() {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

struct Body {
    snapshot: bool,
    changes: Vec<Change>,
    last_revision: Revision,
}

fn decode_body(revision: Revision, body: &[u8]) -> Result<Body, String> {
    let mut cursor = Cursor { body, at: 1 };
    let kind = *body.first().ok_or("empty record")?;
    let mut changes = Vec::new();
    let mut last_revision = revision;
    match kind {
        CHANGE | OLD_SNAPSHOT => cursor.writes(revision, &mut changes)?,
        GROUP => {
            let transactions = cursor.u32()?;
            for index in 0..transactions {
                last_revision = revision + u64::from(index);
                cursor.writes(last_revision, &mut changes)?;
            }
        }
        SNAPSHOT => {
            for _ in 0..cursor.u32()? {
                let own = cursor.u64()?;
                if own > revision {
                    return Err(format!("a key has revision {own} in a snapshot at {revision}"));
                }
                changes.push(Change { revision: own, write: cursor.write()? });
            }
        }
        other => return Err(format!("unknown kind of record {other}; was it written by a newer version?")),
    }
    if cursor.at != body.len() {
        return Err("bytes follow the last write".to_owned());
    }
    Ok(Body { snapshot: matches!(kind, OLD_SNAPSHOT | SNAPSHOT), changes, last_revision })
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn u32(&mut self) -> Result<u32, String> {
        let value = u32_at(self.body, self.at).ok_or("a number is cut off")?;
        self.at += 4;
        Ok(value)
    }

    fn u64(&mut self) -> Result<u64, String> {
        let (low, high) = (self.u32()?, self.u32()?);
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, String> {
        let length = self.u32()? as usize;
        let bytes = self.body.get(self.at..self.at + length).ok_or("a string is cut off")?;
        self.at += length;
        Ok(bytes.to_vec())
    }

    fn write(&mut self) -> Result<Write, String> {
        let op = *self.body.get(self.at).ok_or("a write is cut off")?;
        self.at += 1;
        let key = self.bytes()?;
        match op {
            0 => Ok(Write::Put(key, self.bytes()?)),
            1 => Ok(Write::Delete(key)),
            other => Err(format!("unknown operation {other}")),
        }
    }

    fn writes(&mut self, revision: Revision, changes: &mut Vec<Change>) -> Result<(), String> {
        for _ in 0..self.u32()? {
            changes.push(Change { revision, write: self.write()? });
        }
        Ok(())
    }
}
