//! Where segments live. Local files today; an object store has the same shape: put once, read ranges, delete.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

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
    sections: BTreeMap<PartitionKey, Arc<SectionFooter>>,
}

impl SegmentFile {
    pub fn section(&self, key: &PartitionKey) -> Option<Arc<SectionFooter>> {
        self.sections.get(key).cloned()
    }
}

/// Immutable objects by number. All calls do blocking IO.
pub trait SegmentStore: Send + Sync {
    /// Publishes a new file; durable when it returns. `write` gets an empty file.
    fn publish(&self, id: u64, write: &mut dyn FnMut(&dyn DiskFile) -> io::Result<()>) -> io::Result<()>;
    fn open(&self, id: u64) -> Result<Arc<SegmentFile>, SegmentError>;
    /// Readers that hold the file keep it until they are done.
    fn remove(&self, id: u64) -> io::Result<()>;
    fn list(&self) -> io::Result<Vec<u64>>;
    fn name(&self, id: u64) -> String;
}

#[derive(Default)]
struct OpenFiles {
    by_id: HashMap<u64, Arc<SegmentFile>>,
    order: VecDeque<u64>,
}

/// Segments in the folder `segments/` of the data disk.
pub struct LocalSegments {
    disk: Arc<dyn Disk>,
    open: Mutex<OpenFiles>,
}

impl LocalSegments {
    /// Opens the folder and removes what an interrupted publication left.
    pub fn new(disk: Arc<dyn Disk>) -> io::Result<LocalSegments> {
        disk.create_dir_all(SEGMENT_DIR)?;
        for name in disk.list(SEGMENT_DIR)? {
            if name.ends_with(".tmp") {
                disk.remove(&format!("{SEGMENT_DIR}/{name}"))?;
            }
        }
        Ok(LocalSegments { disk, open: Mutex::new(OpenFiles::default()) })
    }

    fn read_footer(&self, id: u64) -> Result<SegmentFile, SegmentError> {
        let name = self.name(id);
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
        let mut footer = vec![0; footer_len as usize];
        file.read_at(data_end, &mut footer).map_err(io_error)?;
        let sections = decode_footer(&footer, crc, data_end)?;
        let sections = sections.into_iter().map(|s| (s.key, Arc::new(s))).collect();
        Ok(SegmentFile { id, name, file, sections })
    }
}

impl SegmentStore for LocalSegments {
    fn publish(&self, id: u64, write: &mut dyn FnMut(&dyn DiskFile) -> io::Result<()>) -> io::Result<()> {
        let name = self.name(id);
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
        if let Some(file) = self.open.lock().by_id.get(&id) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.read_footer(id)?);
        let mut open = self.open.lock();
        while open.by_id.len() >= OPEN_FILES_MAX {
            match open.order.pop_front() {
                Some(oldest) => drop(open.by_id.remove(&oldest)),
                None => break,
            }
        }
        open.order.push_back(id);
        Ok(open.by_id.entry(id).or_insert(file).clone())
    }

    fn remove(&self, id: u64) -> io::Result<()> {
        self.open.lock().by_id.remove(&id);
        self.disk.remove(&self.name(id))
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        let names = self.disk.list(SEGMENT_DIR)?;
        Ok(names.iter().filter_map(|n| n.strip_suffix(".rows")?.parse().ok()).collect())
    }

    fn name(&self, id: u64) -> String {
        format!("{SEGMENT_DIR}/{id:020}.rows")
    }
}
