//! Split-block Bloom filters: eight 32-bit words a block, one bit in each per value (the construction of Putze, Sanders and
//! Singler that Parquet uses too; the hash is our own, so the filters are not Parquet's).
//!
//! Ten bits a value give about 1 % of false positives.

/// Bytes of one block.
const BLOCK_BYTES: usize = 32;
/// Bits per distinct value.
const BITS_PER_VALUE: usize = 10;
/// Bytes of a filter at most.
pub(crate) const FILTER_BYTES_MAX: usize = 64 << 10;
/// Odd constants that spread a hash over the eight words.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// 64-bit hash of a value's bytes (little-endian for numbers), the same on every machine for ever: part of the format.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (bytes.len() as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
    for chunk in bytes.chunks(8) {
        let mut word = [0u8; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word));
    }
    mix(state)
}

/// The finaliser of MurmurHash3: every bit of the input moves every bit of the output.
fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

fn bit(hash: u64, word: usize) -> u32 {
    1 << ((hash as u32).wrapping_mul(SALT[word]) >> 27)
}

/// A filter of the distinct values with these hashes.
pub(crate) fn build(hashes: &mut Vec<u64>) -> Vec<u8> {
    hashes.sort_unstable();
    hashes.dedup();
    let wanted = (hashes.len() * BITS_PER_VALUE).div_ceil(8 * BLOCK_BYTES).max(1);
    let blocks = wanted.min(FILTER_BYTES_MAX / BLOCK_BYTES);
    let mut words = vec![0u32; blocks * 8];
    for hash in hashes.iter() {
        let block = block_of(*hash, blocks) * 8;
        (0..8).for_each(|word| words[block + word] |= bit(*hash, word));
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Whether a value with this hash may be in it. A filter of an odd size says yes.
pub(crate) fn may_hold(filter: &[u8], hash: u64) -> bool {
    let blocks = filter.len() / BLOCK_BYTES;
    if blocks == 0 || !filter.len().is_multiple_of(BLOCK_BYTES) {
        return true;
    }
    let block = &filter[block_of(hash, blocks) * BLOCK_BYTES..][..BLOCK_BYTES];
    block.chunks_exact(4).enumerate().all(|(word, bytes)| {
        let word_bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        word_bits & bit(hash, word) != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_holds_what_went_in_and_little_else() {
        let mut hashes: Vec<u64> = (0..5_000u64).map(|value| hash(&value.to_le_bytes())).collect();
        let filter = build(&mut hashes);
        assert!((0..5_000u64).all(|value| may_hold(&filter, hash(&value.to_le_bytes()))));
        let wrong = (5_000..105_000u64).filter(|value| may_hold(&filter, hash(&value.to_le_bytes()))).count();
        assert!((1..3_000).contains(&wrong), "{wrong} of 100000 false positives");
    }

    #[test]
    fn the_hash_is_part_of_the_format() {
        assert_eq!(hash(b""), hash(b""));
        assert_ne!(hash(b"a"), hash(b"a\0"));
        assert_ne!(hash(b"12345678"), hash(b"1234567812345678"));
    }
}
