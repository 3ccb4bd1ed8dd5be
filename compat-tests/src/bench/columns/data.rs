//! Generated tables: rows of JSON that are the same in each run.
use anyhow::Result;
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, Compression};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The number of the row: ascends.
    Sequence,
    /// Uniform in `0..limit`.
    Int {
        limit: u64,
    },
    /// One of so many short strings.
    Tag {
        values: u64,
    },
    /// About so many bytes made of a thousand words.
    Text {
        bytes: usize,
    },
    /// Two decimals.
    Price,
    Flag,
}

pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// A table, and how its rows look.
pub struct Dataset {
    pub name: &'static str,
    pub columns: Vec<Column>,
}

fn named(prefix: &str, kinds: impl IntoIterator<Item = Kind>) -> impl Iterator<Item = Column> {
    kinds.into_iter().enumerate().map(move |(at, kind)| Column { name: format!("{prefix}_{at:02}"), kind })
}

impl Dataset {
    /// 20 columns, about 2 KB of JSON a row: the shape of the table in Fluss's published comparison.
    pub fn wide20() -> Dataset {
        let ints =
            [Kind::Sequence, Kind::Int { limit: 1_000 }, Kind::Int { limit: 1 << 20 }, Kind::Int { limit: 1 << 40 }];
        let texts = [Kind::Text { bytes: 108 }; 16];
        Dataset { name: "wide20", columns: named("int", ints).chain(named("text", texts)).collect() }
    }

    /// The exposure log: 14 ints, 20 strings of which 12 have few values, 8 doubles with two decimals, 2 booleans; about 950 B of JSON a row.
    pub fn exposure44() -> Dataset {
        let limits = [1_000, 100, 24, 60, 10_000, 1 << 20, 1 << 31, 1 << 16, 7, 50, 500, 5_000, 1 << 40];
        let ints = std::iter::once(Kind::Sequence).chain(limits.map(|limit| Kind::Int { limit }));
        let tags = [3, 5, 8, 12, 20, 30, 50, 80, 120, 150, 200, 250].map(|values| Kind::Tag { values });
        let texts = [Kind::Text { bytes: 20 }; 8];
        let columns = named("int", ints)
            .chain(named("tag", tags))
            .chain(named("text", texts))
            .chain(named("price", [Kind::Price; 8]))
            .chain(named("flag", [Kind::Flag; 2]));
        Dataset { name: "exposure44", columns: columns.collect() }
    }

    /// As `weir.table.schema` wants it.
    pub fn ddl(&self) -> String {
        let column = |column: &Column| {
            let kind = match column.kind {
                Kind::Sequence | Kind::Int { .. } => "BIGINT",
                Kind::Tag { .. } | Kind::Text { .. } => "STRING",
                Kind::Price => "DOUBLE",
                Kind::Flag => "BOOLEAN",
            };
            format!("{} {kind}", column.name)
        };
        self.columns.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    /// Appends row `number`.
    fn write(&self, number: u64, random: &mut Random, out: &mut Vec<u8>) {
        use std::io::Write;
        for (at, column) in self.columns.iter().enumerate() {
            out.push(if at == 0 { b'{' } else { b',' });
            // Writing to memory cannot fail.
            let _ = write!(out, "\"{}\":", column.name);
            let _ = match column.kind {
                Kind::Sequence => write!(out, "{number}"),
                Kind::Int { limit } => write!(out, "{}", random.below(limit)),
                Kind::Tag { values } => write!(out, "\"value-{}\"", random.below(values)),
                Kind::Price => write!(out, "{}.{}{}", random.below(1_000), random.below(10), 1 + random.below(9)),
                Kind::Flag => write!(out, "{}", random.below(2) == 1),
                Kind::Text { bytes } => {
                    let end = out.len() + bytes;
                    out.push(b'"');
                    while out.len() < end {
                        let _ = write!(out, "{:x} ", WORD.wrapping_mul(random.below(1_000) + 1) >> 40);
                    }
                    out.push(b'"');
                    Ok(())
                }
            };
        }
        out.push(b'}');
    }

    /// The first rows, one by one.
    pub fn rows(&self, rows: u64) -> Vec<Vec<u8>> {
        let mut random = Random(1);
        let row = |number| {
            let mut value = Vec::new();
            self.write(number, &mut random, &mut value);
            value
        };
        (0..rows).map(row).collect()
    }

    /// The rows of a partition as compressed batches of `per_batch` rows, and the bytes of JSON in them.
    pub fn batches(
        &self,
        partition: u64,
        rows: u64,
        per_batch: u64,
        compression: Compression,
    ) -> Result<(Vec<Vec<u8>>, u64)> {
        let mut random = Random(partition.wrapping_mul(WORD) | 1);
        let (mut batches, mut bytes, mut value) = (Vec::new(), 0, Vec::new());
        for first in (0..rows).step_by(per_batch as usize) {
            let mut builder = BatchBuilder::new().compression(compression, None);
            for number in first..(first + per_batch).min(rows) {
                value.clear();
                self.write(number, &mut random, &mut value);
                bytes += value.len() as u64;
                builder.append(None, Some(&value), &[], Timestamp(1_700_000_000_000 + number as i64))?;
            }
            batches.push(builder.build()?.to_vec());
        }
        Ok((batches, bytes))
    }
}

/// An odd multiplier that spreads bits.
const WORD: u64 = 0x9e37_79b9_7f4a_7c15;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(WORD) >> 11) % limit
    }
}
