//! Damage to every byte of a column file: it is found, or it is where no data is.
#![allow(clippy::unwrap_used)]

mod data;

use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use data::{batch_of, nested_schema, random_schema};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_column::*;

fn file(batch: &RecordBatch, codec: Codec) -> Vec<u8> {
    let mut writer =
        ColumnSegmentWriter::new(&batch.schema(), WriterOptions { codec, ..WriterOptions::default() }).unwrap();
    writer.write(batch, Offsets::From(0)).unwrap();
    writer.finish().unwrap().chunks.concat()
}

fn read(file: &[u8]) -> Result<Vec<RecordBatch>, ColumnError> {
    let reader = ColumnSegmentReader::open(Arc::new(Bytes::from(file.to_vec())))?;
    let all = Projection::all(reader.schema());
    (0..reader.group_count()).map(|group| reader.read(group, &all)).collect()
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_changes_nothing() {
    for (seed, codec) in [(1, Codec::None), (2, Codec::Lz4), (3, Codec::Zstd(1))] {
        let mut rng = StdRng::seed_from_u64(seed);
        let schema = if seed == 1 { nested_schema() } else { random_schema(&mut rng) };
        let whole = file(&batch_of(&mut rng, &schema, 24), codec);
        let rows = read(&whole).unwrap();
        let mut unnoticed = 0;
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << rng.random_range(0..8);
            match read(&damaged) {
                Ok(found) => {
                    assert_eq!(found, rows, "seed {seed}: byte {at} of {} was served damaged", whole.len());
                    unnoticed += 1;
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        // Padding, and headers of messages, which are there for other readers (scrubbing verifies them).
        assert!(unnoticed < whole.len() / 2, "seed {seed}: {unnoticed} of {} bytes", whole.len());
    }
}

#[test]
fn headers_for_other_readers_are_verified_by_scrubbing() {
    let mut rng = StdRng::seed_from_u64(4);
    let batch = batch_of(&mut rng, &nested_schema(), 24);
    let whole = file(&batch, Codec::Zstd(1));
    let open = |file: &[u8]| ColumnSegmentReader::open(Arc::new(Bytes::from(file.to_vec())));
    open(&whole).unwrap().scrub().unwrap();
    // Behind the magic comes the schema message.
    let mut damaged = whole.clone();
    damaged[16] ^= 1;
    let error = open(&damaged).unwrap().scrub().unwrap_err();
    assert!(error.to_string().contains("a message header"), "{error}");
}

#[test]
fn a_file_that_was_cut_is_not_opened() {
    let mut rng = StdRng::seed_from_u64(5);
    let whole = file(&batch_of(&mut rng, &nested_schema(), 24), Codec::Lz4);
    for len in 0..whole.len() {
        assert!(read(&whole[..len]).is_err(), "cut to {len} of {} bytes", whole.len());
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(read(&longer).is_err(), "a byte too many");
}
