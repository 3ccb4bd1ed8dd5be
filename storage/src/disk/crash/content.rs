//! Bytes of a simulated file: sparse, and cheap to copy because pages are shared.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::random::Random;

const PAGE: u64 = 4096;
/// What a device writes whole or not at all.
const SECTOR: u64 = 512;

/// One change of a file that a power cut may take.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { position: u64, bytes: Arc<[u8]> },
    SetLen(u64),
}

/// Holes read as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Arc<[u8; PAGE as usize]>>,
    len: u64,
}

impl Content {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { position, bytes } => self.write(*position, bytes),
            Change::SetLen(len) => self.set_len(*len),
        }
    }

    /// One of the things a power cut may make of a change: nothing, all, some sectors, or only the new length.
    pub fn apply_some(&mut self, change: &Change, random: &mut Random) {
        match (random.below(4), change) {
            (0, _) => {}
            (1, Change::Write { position, bytes }) => self.write_torn(*position, bytes, random),
            (2, Change::Write { position, bytes }) => self.set_len(self.len.max(position + bytes.len() as u64)),
            (_, change) => self.apply(change),
        }
    }

    fn write_torn(&mut self, position: u64, bytes: &[u8], random: &mut Random) {
        for (at, piece) in pieces(position, bytes, SECTOR) {
            if random.below(2) == 0 {
                self.write(at, piece);
            }
        }
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        for (at, piece) in pieces(position, bytes, PAGE) {
            let page = self.pages.entry(at / PAGE).or_insert_with(|| Arc::new([0; PAGE as usize]));
            let from = (at % PAGE) as usize;
            Arc::make_mut(page)[from..from + piece.len()].copy_from_slice(piece);
        }
        self.len = self.len.max(position + bytes.len() as u64);
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE));
            if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
                Arc::make_mut(page)[(len % PAGE) as usize..].fill(0);
            }
        }
        self.len = len;
    }

    /// Fills the buffer; `false` if the file ends before.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> bool {
        if position.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return false;
        }
        let mut at = position;
        let mut rest = buffer;
        while !rest.is_empty() {
            let from = (at % PAGE) as usize;
            let (piece, more) = rest.split_at_mut(rest.len().min(PAGE as usize - from));
            match self.pages.get(&(at / PAGE)) {
                Some(page) => piece.copy_from_slice(&page[from..from + piece.len()]),
                None => piece.fill(0),
            }
            at += piece.len() as u64;
            rest = more;
        }
        true
    }

    pub fn flip_bit(&mut self, position: u64) {
        let mut byte = [0];
        if self.read(position, &mut byte) {
            self.write(position, &[byte[0] ^ 0x10]);
        }
    }
}

/// Cuts bytes at the multiples of `unit` of the file.
fn pieces(position: u64, bytes: &[u8], unit: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = position;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, more) = rest.split_at(rest.len().min((unit - at % unit) as usize));
        let begin = at;
        at += piece.len() as u64;
        rest = more;
        Some((begin, piece))
    })
}
