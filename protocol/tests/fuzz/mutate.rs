//! A seeded mutation fuzzer: takes an input, damages it, calls the target, until the time is over.

#[path = "corpus.rs"]
mod corpus;
#[path = "coverage.rs"]
mod coverage;

use std::time::{Duration, Instant};

use coverage::Coverage;

/// Longer inputs are not damaged further.
const INPUT_MAX: usize = 32 << 10;

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

/// Runs `target` on damaged `seeds`, and on the corpus and what came of it, for `WEIRTEST_FUZZ_SECONDS` (2). It returns whether the input was
/// accepted; some must be, or the target tests nothing but its first check.
///
/// Where the code counts what it does, an input that reached anything new is damaged further; with `WEIRTEST_FUZZ_CORPUS=1` the corpus is
/// written anew at the end.
pub fn run(name: &str, seeds: &[Vec<u8>], mut target: impl FnMut(&mut Random, &[u8]) -> bool) {
    let seed = knob("WEIRTEST_SEED").unwrap_or(0x0077_6569_7221);
    let time = Duration::from_secs(knob("WEIRTEST_FUZZ_SECONDS").unwrap_or(2));
    let kept = corpus::load(name);
    let count = seeds.len();
    println!(
        "fuzz target {name}: WEIRTEST_SEED={seed}, {} s, {count} seed inputs, {} kept",
        time.as_secs(),
        kept.len()
    );
    let mut random = Random::new(seed);
    let mut coverage = Coverage::new();
    let mut slowest = Duration::ZERO;
    let mut one = |random: &mut Random, coverage: &mut Coverage, input: &[u8]| {
        let _show = ShowOnPanic(name, seed, input);
        let began = Instant::now();
        let found = coverage.reaches(|| target(random, input));
        slowest = slowest.max(began.elapsed());
        found
    };
    for input in seeds {
        assert!(one(&mut random, &mut coverage, input).0, "an undamaged seed is accepted");
    }
    let mut pool = seeds.to_vec();
    for input in kept {
        one(&mut random, &mut coverage, &input);
        pool.push(input);
    }
    let start = Instant::now();
    let (mut inputs, mut accepted) = (0u64, 0u64);
    let mut input = Vec::new();
    while start.elapsed() < time {
        for _ in 0..64 {
            // Sound ones as often as all that was found, most of which is refused.
            let from = if random.below(2) == 0 { seeds } else { &pool };
            input.clone_from(random.pick(from));
            mutate(&mut random, &mut input, &pool);
            let (was_accepted, is_new) = one(&mut random, &mut coverage, &input);
            accepted += u64::from(was_accepted);
            inputs += 1;
            if is_new && input.len() <= INPUT_MAX {
                pool.push(input.clone());
            }
        }
    }
    let (edges, pool_len) = (coverage.edges(), pool.len());
    if coverage.is_known() && knob("WEIRTEST_FUZZ_CORPUS").is_some_and(|wanted| wanted > 0) {
        pool.drain(..seeds.len());
        pool.sort_by_key(Vec::len);
        let mut coverage = Coverage::new();
        pool.retain(|input| one(&mut random, &mut coverage, input).1);
        corpus::store(name, &pool);
    }
    println!("fuzz target {name}: {edges} edges, {pool_len} inputs to damage, slowest {} ms", slowest.as_millis());
    println!("fuzz target {name}: {inputs} inputs, {accepted} accepted");
    assert!(accepted > 0 && accepted < inputs, "{name}: {accepted} of {inputs} damaged inputs were accepted");
}
