//! Short runs of bytes, copied and compared in whole words: most keys and values of rows are so short that a call costs more than
//! the work.

/// Appends the first `len` bytes of `from`. What is behind them may be copied as well, and is cut off again.
#[inline]
pub(crate) fn append_front(out: &mut Vec<u8>, from: &[u8], len: usize) {
    let end = out.len() + len;
    if len <= 16
        && let Some(chunk) = from.first_chunk::<16>()
    {
        out.extend_from_slice(chunk);
        out.truncate(end);
    } else if len <= 32
        && let Some(chunk) = from.first_chunk::<32>()
    {
        out.extend_from_slice(chunk);
        out.truncate(end);
    } else {
        out.extend_from_slice(&from[..len]);
    }
}

/// Eight bytes of the row from `at` on; zeros behind its end.
#[inline]
pub(crate) fn word(row: &[u8], at: usize) -> [u8; 8] {
    match row.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => *word,
        None => std::array::from_fn(|index| row.get(at + index).copied().unwrap_or(0)),
    }
}

/// Text that is expected in rows, or written into them.
#[derive(Debug, Clone)]
pub(crate) struct Literal {
    /// Its first bytes, and zeros.
    front: [u64; 4],
    /// Ones where there are bytes.
    mask: [u64; 4],
    whole: Box<[u8]>,
}

impl Literal {
    pub(crate) fn new(text: &[u8]) -> Literal {
        let word = |index: usize, byte: fn(u8) -> u8| {
            let bytes = std::array::from_fn(|at| text.get(8 * index + at).map_or(0, |found| byte(*found)));
            u64::from_le_bytes(bytes)
        };
        Literal {
            front: std::array::from_fn(|index| word(index, |byte| byte)),
            mask: std::array::from_fn(|index| word(index, |_| 0xff)),
            whole: text.into(),
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.whole.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.whole
    }

    /// Whether `bytes` begins with it.
    #[inline]
    pub(crate) fn begins(&self, bytes: &[u8]) -> bool {
        if self.len() <= 16
            && let Some(chunk) = bytes.first_chunk::<16>()
        {
            return self.differs(0, chunk) == 0;
        }
        if self.len() <= 32
            && let Some(chunk) = bytes.first_chunk::<32>()
        {
            return self.differs(0, &chunk[..16]) | self.differs(2, &chunk[16..]) == 0;
        }
        bytes.starts_with(&self.whole)
    }

    /// Compares sixteen bytes from word `from` on.
    #[inline]
    fn differs(&self, from: usize, bytes: &[u8]) -> u64 {
        let word = |at: usize| bytes[at..].first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        (word(0) ^ self.front[from]) & self.mask[from] | (word(8) ^ self.front[from + 1]) & self.mask[from + 1]
    }

    #[inline]
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        let end = out.len() + self.len();
        if self.len() > 32 {
            return out.extend_from_slice(&self.whole);
        }
        let words = if self.len() <= 16 { &self.front[..2] } else { &self.front };
        for pair in words.chunks_exact(2) {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&pair[0].to_le_bytes());
            bytes[8..].copy_from_slice(&pair[1].to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Seen failing with the mask of the word before.
        #[test]
        fn literals_are_found_and_written_as_they_are(text in prop::collection::vec(any::<u8>(), 0..40), behind: Vec<u8>) {
            let literal = Literal::new(&text);
            let row = [&text[..], &behind].concat();
            prop_assert!(literal.begins(&row));
            for at in 0..text.len() {
                let mut other = row.clone();
                other[at] ^= 1 << (at % 8);
                prop_assert!(!literal.begins(&other), "{at}");
                prop_assert!(!literal.begins(&row[..at]), "{at}");
            }
            let mut out = behind.clone();
            literal.append(&mut out);
            prop_assert_eq!(out, [&behind[..], &text].concat());
        }

        #[test]
        fn the_front_is_appended_and_nothing_else(bytes: Vec<u8>, len in 0..50_usize, before: Vec<u8>) {
            let len = len.min(bytes.len());
            let mut out = before.clone();
            append_front(&mut out, &bytes, len);
            prop_assert_eq!(out, [&before[..], &bytes[..len]].concat());
        }
    }
}
