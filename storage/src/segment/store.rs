//! Where segments live. Local files today; an object store has the same shape: put once, read ranges, delete.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::columns::{ColumnFile, ColumnFormat};
use super::index::{FILE_MAGIC, SectionFooter, TRAILER_LEN, decode_footer, decode_trailer};
use super::rows::SegmentError;
use crate::disk::{Disk, DiskFile};
use crate::log::PartitionKey;

const SEGMENT_DIR: &str = "segments";
/// Open segment files kept for readers; the least recently opened ones are closed first.
const OPEN_FILES_MAX: usize = 1024;

/// An opened segment file with its decoded footer.
pub struct SegmentFile {
    pub id: u64,
    pub name: String,
    pub(super) file: Arc<dyn DiskFile>,
    sections: BTreeMap<PartitionKey, Arc<Section>>,
}

/// One partition's part of an opened file.
pub(super) struct Section {
    pub footer: SectionFooter,
    /// A bit for each index interval.
    verified: Box<[AtomicU64]>,
}

impl Section {
    fn new(footer: SectionFooter) -> Section {
        let words = footer.index.len().div_ceil(64);
        Section { footer, verified: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether this interval was read and verified since the file was opened (SEG-2).
    pub fn is_verified(&self, interval: usize) -> bool {
        self.verified[interval / 64].load(Ordering::Relaxed) & (1 << (interval % 64)) != 0
    }

    pub fn set_verified(&self, interval: usize) {
        self.verified[interval / 64].fetch_or(1 << (interval % 64), Ordering::Relaxed);
    }
}

impl SegmentFile {
    pub(super) fn section(&self, key: &PartitionKey) -> Option<Arc<Section>> {
        self.sections.get(key).cloned()
    }
}

/// What a file holds, which its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Batches of one or more partitions: `*.rows`.
    Rows,
    /// Columns of one partition: `*.arrow`, an Arrow IPC file.
    Columns,
}

impl FileKind {
    const ALL: [FileKind; 2] = [FileKind::Rows, FileKind::Columns];

    fn extension(self) -> &'static str {
        match self {
            FileKind::Rows => "rows",
            FileKind::Columns => "arrow",
        }
    }

    fn name(self, id: u64) -> String {
        format!("{SEGMENT_DIR}/{id:020}.{}", self.extension())
    }
}

/// Immutable objects by number; one number names one file, of either kind. All calls do blocking IO.
pub trait SegmentStore: Send + Sync {
    /// Publishes a new file; durable when it returns. `write` gets an empty file.
    fn publish(
        &self,
        id: u64,
        kind: FileKind,
        write: &mut dyn FnMut(&dyn DiskFile) -> io::Result<()>,
    ) -> io::Result<()>;
    fn open(&self, id: u64) -> Result<Arc<SegmentFile>, SegmentError>;
    fn open_columns(&self, id: u64) -> Result<Arc<dyn ColumnFile>, SegmentError>;
    /// A batch that came as columns; see [`ColumnFormat::open_batch`].
    fn open_batch(&self, batch: Bytes) -> Result<Arc<dyn ColumnFile>, SegmentError>;
    /// Readers that hold the file keep it until they are done.
    fn remove(&self, id: u64) -> io::Result<()>;
    fn list(&self) -> io::Result<Vec<u64>>;
    fn name(&self, id: u64) -> String;
}

#[derive(Clone)]
enum OpenFile {
    Rows(Arc<SegmentFile>),
    Columns(Arc<dyn ColumnFile>),
}

#[derive(Default)]
struct OpenFiles {
    by_id: HashMap<u64, OpenFile>,
    order: VecDeque<u64>,
}

impl OpenFiles {
    fn keep(&mut self, id: u64, file: OpenFile) -> OpenFile {
        while self.by_id.len() >= OPEN_FILES_MAX {
            match self.order.pop_front() {
                Some(oldest) => drop(self.by_id.remove(&oldest)),
                None => break,
            }
        }
        self.order.push_back(id);
        self.by_id.entry(id).or_insert(file).clone()
    }
}

/// Segments in the folder `segments/` of the data disk.
pub struct LocalSegments {
    disk: Arc<dyn Disk>,
    /// `None`: nobody here knows column files.
    columns: Option<Arc<dyn ColumnFormat>>,
    open: Mutex<OpenFiles>,
}

impl LocalSegments {
    /// Opens the folder and removes what an interrupted publication left.
    pub fn new(disk: Arc<dyn Disk>, columns: Option<Arc<dyn ColumnFormat>>) -> io::Result<LocalSegments> {
        disk.create_dir_all(SEGMENT_DIR)?;
        for name in disk.list(SEGMENT_DIR)? {
            if name.ends_with(".tmp") {
                disk.remove(&format!("{SEGMENT_DIR}/{name}"))?;
            }
        }
        Ok(LocalSegments { disk, columns, open: Mutex::new(OpenFiles::default()) })
    }

    fn format(&self) -> Result<&Arc<dyn ColumnFormat>, SegmentError> {
        self.columns.as_ref().ok_or_else(|| SegmentError::Columns {
            detail: "this process was started without a reader of column files".to_owned(),
        })
    }

    fn read_footer(&self, id: u64) -> Result<SegmentFile, SegmentError> {
        let name = FileKind::Rows.name(id);
        let io_error = |source| SegmentError::Io { source };
        let file = self.disk.open_read(&name).map_err(io_error)?;
        let len = file.len().map_err(io_error)?;
        if len < (FILE_MAGIC.len() + TRAILER_LEN) as u64 {
            return Err(SegmentError::Footer { detail: format!("the file has only {len} bytes") });
        }
        let mut trailer = [0; TRAILER_LEN];
        file.read_at(len - TRAILER_LEN as u64, &mut trailer).map_err(io_error)?;
        let (footer_len, crc) = decode_trailer(&trailer, len)?;
        let data_end = len - TRAILER_LEN as u64 - footer_len;
        let footer = file.read_vec(data_end, footer_len as usize).map_err(io_error)?;
        let sections = decode_footer(&footer, crc, data_end)?;
        let sections = sections.into_iter().map(|s| (s.key, Arc::new(Section::new(s)))).collect();
        Ok(SegmentFile { id, name, file, sections })
    }
}

impl SegmentStore for LocalSegments {
    fn publish(
        &self,
        id: u64,
        kind: FileKind,
        write: &mut dyn FnMut(&dyn DiskFile) -> io::Result<()>,
    ) -> io::Result<()> {
        let name = kind.name(id);
        let temporary = format!("{name}.tmp");
        let result = (|| {
            let file = self.disk.create(&temporary)?;
            write(&*file)?;
            // The device may take long; a thread that computes lends its turn meanwhile.
            crate::cpu::blocking(|| {
                file.sync_all()?;
                self.disk.rename(&temporary, &name)?;
                self.disk.sync_dir(SEGMENT_DIR)
            })
        })();
        if result.is_err() && self.disk.exists(&temporary) {
            // Best effort: the start removes what is left here.
            let _ = self.disk.remove(&temporary);
        }
        result
    }

    fn open(&self, id: u64) -> Result<Arc<SegmentFile>, SegmentError> {
        if let Some(OpenFile::Rows(file)) = self.open.lock().by_id.get(&id) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.read_footer(id)?);
        match self.open.lock().keep(id, OpenFile::Rows(file.clone())) {
            OpenFile::Rows(kept) => Ok(kept),
            OpenFile::Columns(_) => Ok(file),
        }
    }

    fn open_columns(&self, id: u64) -> Result<Arc<dyn ColumnFile>, SegmentError> {
        if let Some(OpenFile::Columns(file)) = self.open.lock().by_id.get(&id) {
            return Ok(file.clone());
        }
        let format = self.format()?;
        let file = self.disk.open_read(&FileKind::Columns.name(id)).map_err(|source| SegmentError::Io { source })?;
        let file = format.open(file)?;
        match self.open.lock().keep(id, OpenFile::Columns(file.clone())) {
            OpenFile::Columns(kept) => Ok(kept),
            OpenFile::Rows(_) => Ok(file),
        }
    }

    fn open_batch(&self, batch: Bytes) -> Result<Arc<dyn ColumnFile>, SegmentError> {
        self.format()?.open_batch(batch)
    }

    fn remove(&self, id: u64) -> io::Result<()> {
        self.open.lock().by_id.remove(&id);
        self.disk.remove(&self.name(id))
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        let names = self.disk.list(SEGMENT_DIR)?;
        let id = |name: &String| {
            let (stem, extension) = name.rsplit_once('.')?;
            FileKind::ALL.iter().find(|kind| kind.extension() == extension)?;
            stem.parse().ok()
        };
        Ok(names.iter().filter_map(id).collect())
    }

    fn name(&self, id: u64) -> String {
        let columns = FileKind::Columns.name(id);
        if self.disk.exists(&columns) { columns } else { FileKind::Rows.name(id) }
    }
}
