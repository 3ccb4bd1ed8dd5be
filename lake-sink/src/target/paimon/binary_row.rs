//! Rows in Paimon's binary form: partitions, least and greatest values, keys. Pure.
//!
//! A header of a byte for the kind of row and a bit for each field that is null, in words of eight bytes; a word for each
//! field; behind them what does not fit into a word. Stored with the number of fields in front.

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    Null,
    TinyInt(i8),
    SmallInt(i16),
    /// Dates and times of day too.
    Int(i32),
    /// Timestamps of milliseconds too.
    Long(i64),
    /// Texts and bytes.
    Bytes(Vec<u8>),
    /// A timestamp finer than milliseconds: milliseconds, and nanoseconds (0 to 999,999) within.
    Fine(i64, i32),
}

/// What a field can be that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellType {
    TinyInt,
    SmallInt,
    Int,
    Long,
    Bytes,
    Fine,
}

/// Longest bytes that are in a field's own word.
const SHORT_MAX: usize = 7;

fn header_len(fields: usize) -> usize {
    (fields + 8).div_ceil(64) * 8
}

/// The row, with the number of its fields in front.
pub fn stored(cells: &[Cell]) -> Vec<u8> {
    let mut bytes = (cells.len() as u32).to_be_bytes().to_vec();
    bytes.extend(row(cells));
    bytes
}

/// The row alone, as it is hashed.
pub fn row(cells: &[Cell]) -> Vec<u8> {
    let header = header_len(cells.len());
    let mut bytes = vec![0; header + 8 * cells.len()];
    for (at, cell) in cells.iter().enumerate() {
        if *cell == Cell::Null {
            let bit = at + 8;
            bytes[bit / 8] |= 1 << (bit % 8);
            continue;
        }
        let word = word_of(cell, &mut bytes);
        bytes[header + 8 * at..header + 8 * (at + 1)].copy_from_slice(&word);
    }
    bytes
}

/// A field's word; what does not fit goes to the end.
fn word_of(cell: &Cell, bytes: &mut Vec<u8>) -> [u8; 8] {
    let mut word = [0; 8];
    let place = |at: usize, low: u32| (((at as u64) << 32) | u64::from(low)).to_le_bytes();
    match cell {
        Cell::Null => {}
        Cell::TinyInt(value) => word[..1].copy_from_slice(&value.to_le_bytes()),
        Cell::SmallInt(value) => word[..2].copy_from_slice(&value.to_le_bytes()),
        Cell::Int(value) => word[..4].copy_from_slice(&value.to_le_bytes()),
        Cell::Long(value) => word = value.to_le_bytes(),
        Cell::Bytes(value) if value.len() <= SHORT_MAX => {
            word[..value.len()].copy_from_slice(value);
            word[7] = 0x80 | value.len() as u8;
        }
        Cell::Bytes(value) => {
            word = place(bytes.len(), value.len() as u32);
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        Cell::Fine(millis, nanos) => {
            word = place(bytes.len(), *nanos as u32);
            bytes.extend_from_slice(&millis.to_le_bytes());
        }
    }
    word
}

/// The fields of a stored row; `None` if it is damaged or of another number of fields.
pub fn read(stored: &[u8], types: &[CellType]) -> Option<Vec<Cell>> {
    let (count, row) = stored.split_at_checked(4)?;
    if u32::from_be_bytes(count.try_into().ok()?) as usize != types.len() {
        return None;
    }
    let header = header_len(types.len());
    let cell = |(at, cell_type): (usize, &CellType)| {
        let bit = at + 8;
        if row.get(bit / 8)? & (1 << (bit % 8)) != 0 {
            return Some(Cell::Null);
        }
        let word: [u8; 8] = row.get(header + 8 * at..header + 8 * (at + 1))?.try_into().ok()?;
        Some(match cell_type {
            CellType::TinyInt => Cell::TinyInt(word[0] as i8),
            CellType::SmallInt => Cell::SmallInt(i16::from_le_bytes([word[0], word[1]])),
            CellType::Int => Cell::Int(i32::from_le_bytes([word[0], word[1], word[2], word[3]])),
            CellType::Long => Cell::Long(i64::from_le_bytes(word)),
            CellType::Fine => {
                let place = u64::from_le_bytes(word);
                let from = (place >> 32) as usize;
                let millis = row.get(from..from.checked_add(8)?)?.try_into().ok()?;
                Cell::Fine(i64::from_le_bytes(millis), place as u32 as i32)
            }
            CellType::Bytes if word[7] & 0x80 != 0 => Cell::Bytes(word.get(..usize::from(word[7] & 0x7F))?.to_vec()),
            CellType::Bytes => {
                let place = u64::from_le_bytes(word);
                let (from, len) = ((place >> 32) as usize, place as u32 as usize);
                Cell::Bytes(row.get(from..from.checked_add(len)?)?.to_vec())
            }
        })
    };
    types.iter().enumerate().map(cell).collect()
}

#[cfg(test)]
mod tests {
    //! Expected bytes follow the row format of the specification; that readers agree is seen in compat-tests/lake.
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_are_laid_out_as_paimon_lays_them_out() {
        assert_eq!(stored(&[]), [0; 12], "no fields: a count and a header");
        let short = stored(&[Cell::Int(7), Cell::Null, Cell::Bytes(b"UA".to_vec())]);
        let mut wanted = vec![0, 0, 0, 3, /* header: the second is null */ 0, 2, 0, 0, 0, 0, 0, 0];
        wanted.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        wanted.extend([0; 8]);
        wanted.extend([b'U', b'A', 0, 0, 0, 0, 0, 0x82]);
        assert_eq!(short, wanted);
        let long = stored(&[Cell::Bytes(b"2013-01-01".to_vec())]);
        let mut wanted =
            vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, /* length */ 10, 0, 0, 0, /* place */ 16, 0, 0, 0];
        wanted.extend(b"2013-01-01\0\0\0\0\0\0");
        assert_eq!(long, wanted);
        assert_eq!(stored(&[Cell::Fine(5, 9)])[12..], [9, 0, 0, 0, 16, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((header_len(0), header_len(56), header_len(57)), (8, 8, 16));
    }

    fn cells() -> impl Strategy<Value = Vec<(CellType, Cell)>> {
        let cell = prop_oneof![
            any::<i8>().prop_map(|n| (CellType::TinyInt, Cell::TinyInt(n))),
            any::<i16>().prop_map(|n| (CellType::SmallInt, Cell::SmallInt(n))),
            any::<i32>().prop_map(|n| (CellType::Int, Cell::Int(n))),
            any::<i64>().prop_map(|n| (CellType::Long, Cell::Long(n))),
            (any::<i64>(), 0..999_999).prop_map(|(millis, nanos)| (CellType::Fine, Cell::Fine(millis, nanos))),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| (CellType::Bytes, Cell::Bytes(bytes))),
            Just((CellType::Long, Cell::Null)),
        ];
        prop::collection::vec(cell, 0..70)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(cells in cells()) {
            let (types, cells): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
            prop_assert_eq!(read(&stored(&cells), &types), Some(cells));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 0_usize..4) {
            let _ = read(&bytes, &vec![CellType::Bytes; count]); // it returns
        }
    }
}
