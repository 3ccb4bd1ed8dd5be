//! What code an input reached, where the code was built to count it (see compat-tests/fuzz.sh); otherwise nothing is known, and every input
//! looks the same.
//!
//! LLVM keeps a counter of a byte for each edge and tells a program where they are as it starts. All of the process counts, so a target has
//! its process to itself.

use std::sync::Mutex;

/// Where counters are, as addresses.
static RANGES: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called by what LLVM adds to each object file, before `main`, often with the same range.
///
/// # Safety
/// Counters are between `start` and `end`, as long as the process lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let range = (start as usize, end as usize);
    if let Ok(mut ranges) = RANGES.lock()
        && range.0 < range.1
        && !ranges.contains(&range)
    {
        ranges.push(range);
    }
}

/// A count as one of eight bits: once, twice, ... many times.
fn class(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        _ => 128,
    }
}

/// What all inputs so far reached.
pub struct Coverage {
    ranges: Vec<(usize, usize)>,
    seen: Vec<u8>,
}

impl Coverage {
    /// Nothing was reached yet.
    pub fn new() -> Coverage {
        let ranges = RANGES.lock().map(|ranges| ranges.clone()).unwrap_or_default();
        let edges = ranges.iter().map(|(start, end)| end - start).sum();
        Coverage { ranges, seen: vec![0; edges] }
    }

    /// Whether anything is counted.
    pub fn is_known(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Edges that were reached.
    pub fn edges(&self) -> usize {
        self.seen.iter().filter(|classes| **classes != 0).count()
    }

    /// Runs `call` and tells whether it reached what nothing did before it.
    pub fn reaches<T>(&mut self, call: impl FnOnce() -> T) -> (T, bool) {
        self.counters().for_each(|(_, counters)| counters.fill(0));
        let result = call();
        let mut found = false;
        let mut seen = std::mem::take(&mut self.seen);
        for (from, counters) in self.counters() {
            for (at, count) in counters.iter().enumerate().filter(|(_, count)| **count != 0) {
                let classes = &mut seen[from + at];
                let now = *classes | class(*count);
                found |= now != *classes;
                *classes = now;
            }
        }
        self.seen = seen;
        (result, found)
    }

    /// Counters, each range with the number of those before it.
    fn counters(&self) -> impl Iterator<Item = (usize, &'static mut [u8])> {
        let mut before = 0;
        self.ranges.iter().map(move |(start, end)| {
            let from = before;
            before += end - start;
            // SAFETY: the range is as LLVM told it. Other threads may count meanwhile, which at worst loses a count.
            (from, unsafe { std::slice::from_raw_parts_mut(*start as *mut u8, end - start) })
        })
    }
}
