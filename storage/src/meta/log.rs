//! `meta/meta.log`: the truth of the embedded metadata. Integers little-endian.
//!
//! ```text
//! record   length u32 of the body | CRC32C u32 of revision and body | revision u64 | body
//! body     kind u8 (0 change, 1 snapshot: forget all before) | count u32 | writes
//! write    op u8 (0 put, 1 delete) | key length u32 | key | (put) value length u32 | value
//! ```
//! A torn record at the end is cut; a bad one with a good one behind it is damage.
use std::io;
use std::sync::Arc;

use super::{Change, MetaError, Revision, Write};
use crate::disk::{Disk, DiskFile};

pub(super) const META_DIR: &str = "meta";
const PATH: &str = "meta/meta.log";
const TEMPORARY: &str = "meta/meta.log.tmp";
const HEADER_LEN: usize = 16;
/// First byte of a snapshot's body.
const SNAPSHOT: u8 = 1;
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
        let file = disk.open(PATH).map_err(io_error)?;
        let mut buf = vec![0; file.len().map_err(io_error)? as usize];
        file.read_at(0, &mut buf).map_err(io_error)?;
        let mut at = 0;
        let mut last_record = 0;
        let mut revision = 0;
        while let Some(record) = record_at(&buf, at) {
            last_record = at;
            if record.revision <= revision {
                return Err(damaged(at, format!("revision {} follows {revision}", record.revision)));
            }
            revision = record.revision;
            let (snapshot, writes) = decode_body(record.body).map_err(|detail| damaged(at, detail))?;
            if snapshot {
                apply(None)?;
            }
            for write in writes {
                apply(Some(Change { revision, write }))?;
            }
            at += HEADER_LEN + record.body.len();
        }
        if at == 0 && buf.get(HEADER_LEN) == Some(&SNAPSHOT) {
            // A snapshot is published whole, so this is no torn write.
            return Err(damaged(0, "the snapshot at the start of the log does not verify".to_owned()));
        }
        if at < buf.len() {
            // Only a torn end may be cut: nothing after it may be whole.
            let later = (at + 1..buf.len()).find(|p| record_at(&buf, *p).is_some_and(|r| r.revision > revision));
            if let Some(later) = later {
                return Err(damaged(at, format!("a later record at byte {later} is whole")));
            }
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

    /// Durable when it returns. After an error the record may or may not be there: `rewrite` first.
    pub fn append(&mut self, revision: Revision, writes: &[Write]) -> Result<(), MetaError> {
        let record = encode(revision, false, writes);
        let written = self.file.write_at(self.end, &[&record]).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.broken = true;
            return Err(io_error(error));
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// Replaces the log by one snapshot.
    pub fn rewrite(&mut self, revision: Revision, writes: &[Write]) -> Result<(), MetaError> {
        let record = encode(revision, true, writes);
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

fn encode(revision: Revision, snapshot: bool, writes: &[Write]) -> Vec<u8> {
    let mut out = vec![0; 8];
    out.extend_from_slice(&revision.to_le_bytes());
    out.push(u8::from(snapshot));
    out.extend_from_slice(&(writes.len() as u32).to_le_bytes());
    let put = |bytes: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    for write in writes {
        match write {
            Write::Put(key, value) => {
                out.push(0);
                put(key, &mut out);
                put(value, &mut out);
            }
            Write::Delete(key) => {
                out.push(1);
                put(key, &mut out);
            }
        }
    }
    let length = (out.len() - HEADER_LEN) as u32;
    let crc = crc32c::crc32c(&out[8..]);
    out[0..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode_body(body: &[u8]) -> Result<(bool, Vec<Write>), String> {
    let mut at = 5;
    let snapshot = *body.first().ok_or("empty record")? == 1;
    let count = u32_at(body, 1).ok_or("no count")?;
    let take = |at: &mut usize| -> Result<Vec<u8>, String> {
        let length = u32_at(body, *at).ok_or("a length is cut off")? as usize;
        let bytes = body.get(*at + 4..*at + 4 + length).ok_or("a string is cut off")?;
        *at += 4 + length;
        Ok(bytes.to_vec())
    };
    let mut writes = Vec::new();
    for _ in 0..count {
        let op = *body.get(at).ok_or("a write is cut off")?;
        at += 1;
        let key = take(&mut at)?;
        writes.push(match op {
            0 => Write::Put(key, take(&mut at)?),
            1 => Write::Delete(key),
            other => return Err(format!("unknown operation {other}")),
        });
    }
    if at != body.len() { Err("bytes follow the last write".to_owned()) } else { Ok((snapshot, writes)) }
}
