//! Which partition a record goes to: by its key as Kafka's Java client does it, or in runs ("sticky") if it has none.

use rand::Rng;

/// MurmurHash2 with Kafka's seed, bit for bit as in the Java client.
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's `length` is an i32 and wraps the same way; keys of 4 GiB do not exist.
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (position, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * position);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions`.
pub fn partition_for_key(key: &[u8], partitions: u32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    // Smaller than `partitions`, which came from an i32.
    (positive % partitions.max(1)) as i32
}

/// Keeps records without a key on one partition until it got its share of bytes, so that batches fill.
#[derive(Debug, Clone, Default)]
pub struct Sticky {
    current: Option<i32>,
    bytes: usize,
}

impl Sticky {
    /// The partition for a record of this size among the `available` ones; moves on after `share_bytes`.
    pub fn next(&mut self, available: &[i32], record_bytes: usize, share_bytes: usize, rng: &mut impl Rng) -> i32 {
        let current = match self.current.filter(|current| self.bytes < share_bytes && available.contains(current)) {
            Some(current) => current,
            None => {
                self.bytes = 0;
                another(available, self.current, rng)
            }
        };
        self.current = Some(current);
        self.bytes = self.bytes.saturating_add(record_bytes);
        current
    }
}

/// Any but the one just used, if there is a choice.
fn another(available: &[i32], used: Option<i32>, rng: &mut impl Rng) -> i32 {
    let others = available.iter().filter(|partition| available.len() == 1 || Some(**partition) != used);
    let others: Vec<_> = others.collect();
    if others.is_empty() { 0 } else { *others[rng.random_range(0..others.len())] }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    /// The vectors of `UtilsTest.testMurmur2` in Apache Kafka.
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, expected) in vectors {
            assert_eq!(murmur2(key) as i32, expected, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_key_always_lands_in_range() {
        for partitions in 1..20 {
            for key in 0..100_u32 {
                let partition = partition_for_key(&key.to_le_bytes(), partitions);
                assert!((0..partitions as i32).contains(&partition));
            }
        }
    }

    #[test]
    fn records_stick_until_the_share_is_full_and_then_move() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut sticky = Sticky::default();
        let chosen: Vec<_> = (0..30).map(|_| sticky.next(&[0, 1, 2], 10, 50, &mut rng)).collect();
        for run in chosen.chunks(5) {
            assert!(run.iter().all(|partition| *partition == run[0]), "{chosen:?}");
        }
        assert!(chosen.chunks(5).zip(chosen.chunks(5).skip(1)).all(|(run, next)| run[0] != next[0]), "{chosen:?}");
    }

    #[test]
    fn a_partition_that_became_unavailable_is_left() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut sticky = Sticky::default();
        assert_eq!(sticky.next(&[4], 1, 1000, &mut rng), 4);
        assert_eq!(sticky.next(&[5], 1, 1000, &mut rng), 5);
    }
}
