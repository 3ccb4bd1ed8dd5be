//! A seeded mutation fuzzer: takes a seed input, damages it, calls the target, until the time is over.

use std::time::{Duration, Instant};

/// xorshift64*: enough to pick mutations, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const BYTES: [u8; 9] = [0, 1, 2, 0x0f, 0x7f, 0x80, 0x81, 0xfe, 0xff];
const NUMBERS: [i32; 9] = [0, 1, -1, -2, i32::MAX, i32::MIN, 0x7fff, 0x00ff_ffff, 61];

/// Damages `input` in one to six places.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    for _ in 0..=random.below(6) {
        let at = random.below(input.len() + 1);
        let len = 1 + random.below(8);
        let end = (at + len).min(input.len());
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = *random.pick(&BYTES),
            2 if at < input.len() => input[at] = random.next() as u8,
            3 => {
                let number = random.pick(&NUMBERS).to_be_bytes();
                input.splice(at..(at + 4).min(input.len()), number);
            }
            4 => {
                let bytes: Vec<u8> = (0..len).map(|_| *random.pick(&BYTES)).collect();
                input.splice(at..at, bytes);
            }
            5 => drop(input.drain(at..end)),
            6 => {
                let copy = input[at..end].to_vec();
                input.splice(at..at, copy);
            }
            _ => {
                let other = random.pick(seeds);
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// Shows the input when the target panics.
struct ShowOnPanic<'a>(&'a str, u64, &'a [u8]);

impl Drop for ShowOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("fuzz target {} failed, WEIRTEST_SEED={}, input: {:02x?}", self.0, self.1, self.2);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test's own knobs; the product's configuration is not involved")]
fn knob(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// Runs `target` on damaged `seeds` for `WEIRTEST_FUZZ_SECONDS` (2). It returns whether the input was accepted; some must
/// be, or the target tests nothing but its first check.
pub fn run(name: &str, seeds: &[Vec<u8>], mut target: impl FnMut(&mut Random, &[u8]) -> bool) {
    let seed = knob("WEIRTEST_SEED").unwrap_or(0x0077_6569_7221);
    let time = Duration::from_secs(knob("WEIRTEST_FUZZ_SECONDS").unwrap_or(2));
    println!("fuzz target {name}: WEIRTEST_SEED={seed}, {} s, {} seed inputs", time.as_secs(), seeds.len());
    let mut random = Random::new(seed);
    for input in seeds {
        let _show = ShowOnPanic(name, seed, input);
        assert!(target(&mut random, input), "an undamaged seed is accepted");
    }
    let start = Instant::now();
    let (mut inputs, mut accepted) = (0u64, 0u64);
    let mut input = Vec::new();
    while start.elapsed() < time {
        for _ in 0..64 {
            input.clone_from(random.pick(seeds));
            mutate(&mut random, &mut input, seeds);
            let _show = ShowOnPanic(name, seed, &input);
            accepted += u64::from(target(&mut random, &input));
            inputs += 1;
        }
    }
    println!("fuzz target {name}: {inputs} inputs, {accepted} accepted");
    assert!(accepted > 0 && accepted < inputs, "{name}: {accepted} of {inputs} damaged inputs were accepted");
}
