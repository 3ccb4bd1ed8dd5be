//! What the clients know: the oracle. It outlives the tool itself, so that a long run can go on where it was stopped.
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// What one producer knows.
#[derive(Default)]
pub struct Ledger {
    /// By record number: the offset it was acked at. Numbers are acked in order, so the length is the next number.
    pub acked: Vec<i64>,
    /// A batch without an answer: (first number, count).
    pub open: Option<(i64, i64)>,
    /// How many of `acked` are in the file.
    saved: usize,
}

/// A record that a consumer read: (offset, producer, number).
pub type Seen = (i64, i64, i64);

#[derive(Serialize, Deserialize)]
struct State {
    seed: u64,
    cycles: u32,
    resent: u64,
    ids: Vec<(i64, i16)>,
    open: Vec<Option<(i64, i64)>>,
    /// Length of each producer's file.
    acked: Vec<usize>,
    seen: Vec<Option<Seen>>,
}

/// Everything that a run knows. Each part has a lock of its own.
pub struct Ledgers {
    pub seed: u64,
    pub cycles: u32,
    pub ids: Vec<(i64, i16)>,
    pub producers: Vec<Arc<Mutex<Ledger>>>,
    /// By partition: the last record that a consumer read.
    pub seen: Vec<Arc<Mutex<Option<Seen>>>>,
    pub resent: Arc<Mutex<u64>>,
}

pub fn locked<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| anyhow::anyhow!("a client panicked"))
}

impl Ledgers {
    pub fn new(seed: u64, producers: i64, partitions: i32) -> Ledgers {
        Ledgers {
            seed,
            cycles: 0,
            ids: Vec::new(),
            producers: (0..producers).map(|_| Arc::default()).collect(),
            seen: (0..partitions).map(|_| Arc::default()).collect(),
            resent: Arc::default(),
        }
    }

    pub fn acked(&self) -> Result<u64> {
        self.producers.iter().map(|p| Ok(locked(p)?.acked.len() as u64)).sum()
    }

    /// What an earlier run left in `folder`, if it left anything.
    pub fn load(folder: &Path, producers: i64, partitions: i32) -> Result<Option<Ledgers>> {
        let path = folder.join("state.json");
        if !path.exists() {
            return Ok(None);
        }
        let state: State = serde_json::from_slice(&std::fs::read(&path)?)?;
        let mut ledgers = Ledgers::new(state.seed, producers, partitions);
        ensure!(state.acked.len() == ledgers.producers.len() && state.seen.len() == ledgers.seen.len(), "{path:?}");
        for (index, producer) in ledgers.producers.iter().enumerate() {
            let mut bytes = Vec::new();
            File::open(folder.join(format!("acked-{index}")))?.read_to_end(&mut bytes)?;
            bytes.truncate(state.acked[index] * 8);
            let mut ledger = locked(producer)?;
            for offset in bytes.chunks_exact(8) {
                ledger.acked.push(i64::from_le_bytes(offset.try_into()?));
            }
            if ledger.acked.len() != state.acked[index] {
                bail!("{} has {} offsets, expected {}", index, ledger.acked.len(), state.acked[index]);
            }
            ledger.saved = ledger.acked.len();
            ledger.open = state.open[index];
        }
        for (mutex, seen) in ledgers.seen.iter().zip(state.seen) {
            *locked(mutex)? = seen;
        }
        *locked(&ledgers.resent)? = state.resent;
        (ledgers.cycles, ledgers.ids) = (state.cycles, state.ids);
        Ok(Some(ledgers))
    }

    /// Called when no broker runs: nothing can be acked that is not saved.
    #[allow(clippy::disallowed_methods)] // a file of the test's own
    pub fn save(&self, folder: &Path) -> Result<()> {
        let (mut open, mut lengths, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for (index, producer) in self.producers.iter().enumerate() {
            let mut ledger = locked(producer)?;
            let path = folder.join(format!("acked-{index}"));
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            // A run that ended within a save has left more than its state says.
            file.set_len(ledger.saved as u64 * 8)?;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
            let bytes: Vec<u8> = ledger.acked[ledger.saved..].iter().flat_map(|o| o.to_le_bytes()).collect();
            file.write_all(&bytes)?;
            file.sync_all()?;
            ledger.saved = ledger.acked.len();
            open.push(ledger.open);
            lengths.push(ledger.saved);
        }
        for mutex in &self.seen {
            seen.push(*locked(mutex)?);
        }
        let state = State {
            seed: self.seed,
            cycles: self.cycles,
            resent: *locked(&self.resent)?,
            ids: self.ids.clone(),
            open,
            acked: lengths,
            seen,
        };
        let temporary = folder.join("state.json.tmp");
        std::fs::write(&temporary, serde_json::to_vec(&state)?)?;
        File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, folder.join("state.json")).context("state.json")
    }
}
