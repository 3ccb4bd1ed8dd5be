//! Fuzzing on stable Rust of what reads column files and Arrow streams: footers, blocks and whole streams, with checksums that are
//! right where they would only hide what is behind them. It runs two seconds a target with every test run; `WEIRTEST_FUZZ_SECONDS` and
//! `WEIRTEST_SEED` make it longer and different.
#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]
#![allow(clippy::unwrap_used)]

#[path = "../../../protocol/tests/fuzz/allocation.rs"]
mod allocation;
mod data;
#[path = "../../../protocol/tests/fuzz/mutate.rs"]
mod mutate;

use std::sync::Arc;

use allocation::peak_of;
use arrow_array::RecordBatch;
use bytes::Bytes;
use data::{batch_of, nested_schema, random_schema};
use rand::SeedableRng;
use rand::rngs::StdRng;
use weir_column::*;

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

/// Length of footer and magic, and of the tail in front of the footer.
const END: usize = 10;
const TAIL: usize = 32;

fn file(batch: &RecordBatch, codec: Codec) -> Vec<u8> {
    let bloom_columns = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let options = WriterOptions { codec, bloom_columns, ..WriterOptions::default() };
    let mut writer = ColumnSegmentWriter::new(&batch.schema(), options).unwrap();
    writer.write(batch, Offsets::From(7)).unwrap();
    writer.write(batch, Offsets::From(100_000)).unwrap();
    writer.add_original_batch(OriginalBatch {
        base_offset: 7,
        last_offset_delta: 3,
        records: 4,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        attributes: 0,
        leader_epoch: 1,
        max_timestamp: 5,
        marker: None,
    });
    writer.finish().unwrap().chunks.concat()
}

/// A file in its parts: messages with padding, block, footer.
struct Parts {
    messages: Vec<u8>,
    block: Vec<u8>,
    footer: Vec<u8>,
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

impl Parts {
    fn of(file: &[u8]) -> Parts {
        let footer = file.len() - END - number(file, file.len() - END);
        let tail = footer - TAIL;
        let length = number(file, tail + 12);
        let block = tail - length.next_multiple_of(8);
        Parts {
            messages: file[..block].to_vec(),
            block: file[block..block + length].to_vec(),
            footer: file[footer..file.len() - END].to_vec(),
        }
    }

    /// The file with checksums and lengths that are right.
    fn file(&self) -> Vec<u8> {
        let mut file = self.messages.clone();
        file.extend_from_slice(&self.block);
        file.resize(self.messages.len() + self.block.len().next_multiple_of(8), 0);
        let start = file.len();
        file.extend_from_slice(b"WEIRCOL\0\x01\0\0\0");
        for part in [&self.block, &self.footer] {
            file.extend_from_slice(&(part.len() as u32).to_le_bytes());
            file.extend_from_slice(&crc32c::crc32c(part).to_le_bytes());
        }
        let crc = crc32c::crc32c(&file[start..]);
        file.extend_from_slice(&crc.to_le_bytes());
        file.extend_from_slice(&self.footer);
        file.extend_from_slice(&(self.footer.len() as u32).to_le_bytes());
        file.extend_from_slice(b"ARROW1");
        file
    }
}

fn batch_at(base_offset: i64, records: i32) -> OriginalBatch {
    OriginalBatch {
        base_offset,
        last_offset_delta: records - 1,
        records,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        attributes: 0,
        leader_epoch: 0,
        max_timestamp: 0,
        marker: None,
    }
}

/// All that readers do with a file; whether every part of it was read.
fn use_all(file: Vec<u8>) -> bool {
    let Ok(reader) = ColumnSegmentReader::open(Arc::new(Bytes::from(file))) else { return false };
    let mut good = reader.scrub().is_ok();
    let all = Projection::all(reader.schema());
    for group in 0..reader.group_count() {
        good &= reader.read(group, &all).is_ok() & reader.offsets(group).is_ok();
    }
    for field in reader.schema().fields() {
        let _ = (reader.min_values(field.name()), reader.max_values(field.name()), reader.null_counts(field.name()));
    }
    if let Ok(mut slicer) = Slicer::new(&reader, &all) {
        good &= (0..reader.group_count()).all(|group| slicer.add(group).is_ok()) && slicer.into_bytes().is_ok();
    }
    // As a batch of a log that came as columns.
    let rows: i64 = reader.groups().map(|group| i64::from(group.rows)).sum();
    let records = i32::try_from(rows).unwrap_or(i32::MAX);
    if let Ok(placed) = reader.placed(batch_at(1 << 40, records)) {
        let offsets: Vec<i64> = (0..placed.group_count()).flat_map(|group| placed.offsets(group).unwrap()).collect();
        assert!(offsets.iter().copied().eq((1 << 40)..(1 << 40) + rows), "rows of a batch are behind each other");
    }
    good
}

fn seeds() -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(2);
    let nested = batch_of(&mut random, &nested_schema(), 40);
    let other = random_schema(&mut random);
    let other = batch_of(&mut random, &other, 30);
    vec![file(&nested, Codec::None), file(&nested, Codec::Zstd(1)), file(&other, Codec::Lz4)]
}

#[test]
fn parts_are_put_together_as_the_writer_does() {
    for seed in seeds() {
        assert_eq!(Parts::of(&seed).file(), seed);
    }
}

fn with_part(name: &str, part: impl Fn(&mut Parts) -> &mut Vec<u8>) {
    let files = seeds();
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| part(&mut Parts::of(file)).clone()).collect();
    mutate::run(name, &inputs, |random, input| {
        // The part of one file may be put into another one.
        let undamaged = inputs.iter().position(|seed| seed == input);
        let mut parts = Parts::of(&files[undamaged.unwrap_or_else(|| random.below(files.len()))]);
        *part(&mut parts) = input.to_vec();
        let file = parts.file();
        let len = file.len();
        let (good, peak) = peak_of(|| use_all(file));
        assert!(peak <= (16 << 20) + 256 * len, "{peak} bytes for a file of {len}");
        good
    });
}

#[test]
fn blocks_that_lie_are_refused_or_read_in_bounded_memory() {
    with_part("column blocks", |parts| &mut parts.block);
}

#[test]
fn footers_that_lie_are_refused_or_read_in_bounded_memory() {
    with_part("column footers", |parts| &mut parts.footer);
}

/// The whole file, checksums and all: whatever is left to read is what was written.
#[test]
fn damaged_files_are_found_damaged() {
    let files = seeds();
    let rows = |file: &[u8]| -> Option<Vec<RecordBatch>> {
        let reader = ColumnSegmentReader::open(Arc::new(Bytes::from(file.to_vec()))).ok()?;
        let all = Projection::all(reader.schema());
        (0..reader.group_count()).map(|group| reader.read(group, &all).ok()).collect()
    };
    let known: Vec<_> = files.iter().map(|file| rows(file).unwrap()).collect();
    mutate::run("column files", &files, |_, input| {
        let (found, peak) = peak_of(|| rows(input));
        assert!(peak <= (16 << 20) + 64 * input.len(), "{peak} bytes for a file of {}", input.len());
        let Some(found) = found else { return false };
        assert!(known.contains(&found), "a damaged file was served");
        true
    });
}

#[test]
fn streams_of_strangers_are_refused_or_read_in_bounded_memory() {
    let mut random = StdRng::seed_from_u64(3);
    let batch = batch_of(&mut random, &nested_schema(), 40);
    let stream = |codec| {
        let mut encoder = StreamEncoder::new(&batch.schema(), codec).unwrap();
        encoder.write(&batch).unwrap();
        encoder.finish().0.to_vec()
    };
    let limits = StreamLimits { bytes_max: 4 << 20, rows_max: 10_000 };
    let seeds = [stream(Codec::None), stream(Codec::Lz4), stream(Codec::Zstd(1))];
    mutate::run("Arrow streams", &seeds, |_, input| {
        let bytes = Bytes::from(input.to_vec());
        let (decoded, peak) = peak_of(|| decode_stream(&bytes, &batch.schema(), limits));
        assert!(peak <= (16 << 20) + 64 * input.len(), "{peak} bytes for a stream of {}", input.len());
        let Ok(batches) = decoded else { return false };
        // What was taken can be used: every value is looked at.
        for batch in batches {
            batch.columns().iter().for_each(|column| drop(format!("{column:?}")));
        }
        true
    });
}
