//! Fuzzing on stable Rust of everything in this crate that reads bytes of strangers. It runs two seconds a target
//! with every test run; `WEIRTEST_FUZZ_SECONDS` and `WEIRTEST_SEED` make it longer and different. A failure prints seed
//! and input.

#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]
#![allow(clippy::expect_used, reason = "seeds are sound by construction, and a failed expectation is the finding")]

#[path = "fuzz/allocation.rs"]
mod allocation;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/seeds.rs"]
mod seeds;

use allocation::peak_of;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ProduceRequest, RequestKind};
use kafka_protocol::protocol::Decodable;
use weir_protocol::frame::RequestHeader;
use weir_protocol::guard::{self, GuardLimits};
use weir_protocol::produce::{TopicRef, split_produce};
use weir_protocol::records::{
    BatchHeader, CompressError, Compression, DecompressLimits, ValidationLimits, WhenEmpty, batches, compress, decode,
    decompress, recompress, rewrite_retained, set_max_timestamp, validate_produced, walk_records,
};
use weir_protocol::{PartitionId, Timestamp};

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

const LIMITS: DecompressLimits = DecompressLimits { max_bytes: 256 << 10, max_ratio: 1024 };

/// Key and version from the first four bytes.
fn key_and_version(input: &[u8]) -> Option<(i16, i16, &[u8])> {
    let (&[a, b, c, d], body) = input.split_first_chunk()?;
    Some((i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]), body))
}

#[test]
fn request_headers_are_read_or_refused() {
    let mut seeds = Vec::new();
    for (key, version) in [(1i16, 4i16), (18, 0), (18, 4), (3, 13), (17, 1)] {
        let flexible = weir_protocol::frame::request_header_version(key, version) == Some(2);
        let mut frame = [key.to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7], [0, 4]].concat();
        frame.extend_from_slice(b"fuzz");
        if flexible {
            frame.extend_from_slice(&[2, 5, 1, b'x', 9, 0]);
        }
        frame.extend_from_slice(b"body");
        seeds.push(frame);
    }
    mutate::run("request header", &seeds, |_, input| {
        let (header, peak) = peak_of(|| RequestHeader::parse(input));
        assert!(peak <= 4 * input.len() + 64, "{peak} bytes for a header of {}", input.len());
        match header {
            Ok(header) => {
                assert!(header.body_offset <= input.len());
                true
            }
            Err(_) => false,
        }
    });
}

#[test]
fn what_the_guard_accepts_decodes_in_bounded_memory_and_to_the_end() {
    mutate::run("guard and decode", &seeds::requests(), |_, input| {
        let Some((key, version, body)) = key_and_version(input) else { return false };
        let (checked, peak) = peak_of(|| guard::check(key, version, body, &GuardLimits::default()));
        assert!(peak < 256, "the guard allocated {peak} bytes");
        let Ok(behind) = checked else { return false };
        let key = ApiKey::try_from(key).expect("the guard knows only keys of the crate");
        let mut bytes = Bytes::copy_from_slice(body);
        let (decoded, peak) = peak_of(|| RequestKind::decode(key, &mut bytes, version));
        // A tagged field of three bytes becomes a map with one node of half a kilobyte.
        assert!(peak <= (64 << 10) + 512 * body.len(), "{peak} bytes to decode {}", body.len());
        assert!(decoded.is_err() || bytes.len() == behind, "guard and crate disagree about the end");
        true
    });
}

#[test]
fn batches_are_validated_walked_and_rewritten_or_refused() {
    let limits = ValidationLimits { max_decompressed_bytes: LIMITS.max_bytes, ..ValidationLimits::default() };
    mutate::run("batch", &seeds::batches(), |random, input| {
        let mut batch = input.to_vec();
        // Most damage would end at the CRC; repair it so that the deeper layers see some.
        if let Ok(header) = BatchHeader::parse(&batch)
            && random.below(4) > 0
        {
            set_max_timestamp(&mut batch, Timestamp(header.max_timestamp));
        }
        for found in batches(&batch) {
            let Ok(found) = found else { break };
            assert_eq!(found.bytes.len(), found.header.total_len());
        }
        let validated = validate_produced(&batch, &limits);
        let walked = walk_records(&batch, &LIMITS);
        let _ = recompress(&batch, Compression::Lz4, None, &LIMITS);
        let half = |_: &BatchHeader, r: &weir_protocol::records::Record<'_>| r.offset_delta % 2 == 0;
        let _ = rewrite_retained(&batch, &LIMITS, WhenEmpty::KeepHeader, half);
        match (validated, walked) {
            (Ok(header), Ok(summary)) => {
                assert_eq!(header.total_len(), batch.len());
                assert_eq!(summary.records, header.record_count as usize);
                true
            }
            _ => false,
        }
    });
}

#[test]
fn records_sections_decompress_within_the_limit_and_iterate() {
    mutate::run("records", &seeds::batches(), |_, input| {
        let Ok(header) = BatchHeader::parse(input) else { return false };
        let section = &input[weir_protocol::records::HEADER_LEN..];
        let codec = header.attributes.compression();
        let (plain, peak) = peak_of(|| decompress(codec, section, &LIMITS));
        assert!(peak <= 3 * LIMITS.max_bytes + (256 << 10), "{codec:?} held {peak} bytes");
        let Ok(plain) = plain else { return false };
        assert!(plain.len() <= LIMITS.max_bytes);
        let records = weir_protocol::records::Records::new(&plain, header.record_count as usize);
        let (sound, peak) = peak_of(|| {
            let mut count = 0;
            for record in records {
                let Ok(record) = record else { return false };
                assert_eq!(record.headers.iter().count(), record.headers.len());
                count += 1;
            }
            count == header.record_count
        });
        assert!(peak < 256, "iterating allocated {peak} bytes");
        if let Ok(batch) = decode(input, &LIMITS) {
            assert_eq!(batch.section, plain);
        }
        sound
    });
}

#[test]
fn a_decompression_bomb_is_stopped_while_it_grows() {
    let zeros = vec![0; 64 << 20];
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut bomb = Vec::new();
        compress(codec, None, &zeros, &mut bomb).expect("zeros compress");
        let (plain, peak) = peak_of(|| decompress(codec, &bomb, &LIMITS));
        assert!(matches!(plain, Err(CompressError::TooLarge { .. })), "{codec:?}");
        assert!(peak <= 3 * LIMITS.max_bytes + (256 << 10), "{codec:?} held {peak} bytes");
    }
}

#[test]
fn produce_requests_are_split_as_the_crate_would_decode_them() {
    mutate::run("produce", &seeds::produce(), |_, input| {
        let Some((0, version @ 3..=13, body)) = key_and_version(input) else { return false };
        let frame = BytesMut::from(input);
        let (split, peak) = peak_of(|| split_produce(frame, 4, version, &GuardLimits::default()));
        assert!(peak <= 4096 + 64 * input.len(), "{peak} bytes to split {}", input.len());
        let Ok(split) = split else { return false };
        guard::check(0, version, body, &GuardLimits::default()).expect("the guard refuses what was split");
        let mut bytes = Bytes::copy_from_slice(body);
        let theirs = ProduceRequest::decode(&mut bytes, version).expect("the crate refuses what was split");
        assert_eq!(split.topics.len(), theirs.topic_data.len());
        for (ours, theirs) in split.topics.iter().zip(&theirs.topic_data) {
            match &ours.topic {
                TopicRef::Name(name) => assert_eq!(name.as_str(), &**theirs.name),
                TopicRef::Id(id) => assert_eq!(id.0, theirs.topic_id),
            }
            assert_eq!(ours.partitions.len(), theirs.partition_data.len());
            for (ours, theirs) in ours.partitions.iter().zip(&theirs.partition_data) {
                assert_eq!(ours.index, PartitionId(theirs.index));
                assert_eq!(ours.records.as_deref(), theirs.records.as_deref());
            }
        }
        true
    });
}

/// First messages of every mechanism, and both sides' second ones. What is taken keeps within its bounds, and whoever proves
/// nothing is not let in.
#[test]
fn sasl_messages_are_read_or_refused() {
    use std::num::NonZeroU32;
    use weir_protocol::sasl::scram::{ClientStart, Hash, ScramError, ScramKeys, ServerStart};
    use weir_protocol::sasl::{NAME_MAX, oauthbearer::BearerMessage, plain::PlainMessage};
    let iterations = NonZeroU32::new(4096).expect("not zero");
    let keys = ScramKeys::of_nobody(Hash::Sha256, b"secret", "user", iterations);
    let mut seeds: Vec<Vec<u8>> = vec![
        PlainMessage::encode("alice", "secret"),
        BearerMessage::encode("aaaa.bbbb.cccc"),
        b"n,a=user@example.com,\x01host=x\x01auth=Bearer abc==\x01\x01".to_vec(),
        b"n,a=us=2Cer,n=us=2Cer,r=rOprNGfwEbeRWgbNEkqO,x=y".to_vec(),
        b"r=noncenonce2,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_vec(),
        b"c=biws,r=noncenonce2,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".to_vec(),
    ];
    seeds.push(ClientStart::new(Hash::Sha512, "user", "pencil", "nonce").1);
    mutate::run("SASL messages", &seeds, |_, input| {
        let (taken, peak) = peak_of(|| {
            let plain = PlainMessage::parse(input);
            let bearer = BearerMessage::parse(input);
            let start = ServerStart::parse(input);
            let names = [plain.as_ref().ok().map(|m| m.name.len()), start.as_ref().ok().map(|s| s.name.len())];
            assert!(names.iter().flatten().all(|name| (1..=NAME_MAX).contains(name)));
            plain.is_ok() || bearer.is_ok() || start.is_ok()
        });
        assert!(peak <= 16 * input.len() + (16 << 10), "{peak} bytes for a message of {}", input.len());
        let own = ClientStart::new(Hash::Sha256, "user", "pencil", "nonce").1;
        let Ok(start) = ServerStart::parse(&own) else { panic!("our own message is not understood") };
        let (server, _) = start.challenge("nonce2", keys.clone());
        let finished = server.finish(input);
        assert!(finished.is_err(), "let in without a password");
        let client = ClientStart::new(Hash::Sha256, "user", "pencil", "nonce").0;
        taken || client.prove(input).is_ok() || matches!(finished, Err(ScramError::Proof))
    });
}
