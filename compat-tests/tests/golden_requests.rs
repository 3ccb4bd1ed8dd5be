//! Requests as real clients sent them (compat-tests/data/golden-requests.jsonl, recorded by record_requests.py beside
//! it): the header is read, the guard lets each pass, the protocol crate decodes it to its last byte, and what it encodes
//! again is the same bytes.
//!
//! Seen failing: with a byte of a recorded request changed (`a_changed_byte_is_noticed` does that to every request), and
//! with the file emptied.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use weir_protocol::frame::RequestHeader;
use weir_protocol::guard::{self, GuardLimits};

#[derive(Deserialize)]
struct Line {
    client: String,
    api: i16,
    version: i16,
    request: String,
}

impl Line {
    fn name(&self) -> String {
        format!("{} {} version {}", self.client, guard::api_name(self.api).unwrap_or("?"), self.version)
    }

    fn frame(&self) -> Vec<u8> {
        let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        self.request.as_bytes().chunks(2).map(digit).collect()
    }
}

fn recorded() -> Vec<Line> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/golden-requests.jsonl");
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Those of an API and version that weir can serve at all; a client falls back to these when that is what it is told.
fn decodable() -> Vec<Line> {
    let fits =
        |line: &Line| guard::decodable_versions(line.api).is_some_and(|(min, max)| (min..=max).contains(&line.version));
    recorded().into_iter().filter(fits).collect()
}

/// Decodes a frame and encodes it again: the bytes of the body, or why not.
fn round_trip(frame: &[u8]) -> Result<Vec<u8>, String> {
    let header = RequestHeader::parse(frame).map_err(|error| format!("header: {error}"))?;
    let body = &frame[header.body_offset..];
    guard::check(header.api_key, header.api_version, body, &GuardLimits::default())
        .map_err(|error| format!("guard: {error}"))?;
    let key = ApiKey::try_from(header.api_key).map_err(|()| format!("unknown key {}", header.api_key))?;
    let mut bytes = Bytes::copy_from_slice(body);
    let request =
        RequestKind::decode(key, &mut bytes, header.api_version).map_err(|error| format!("decode: {error:#}"))?;
    if !bytes.is_empty() {
        return Err(format!("{} bytes are left after decoding", bytes.len()));
    }
    let mut encoded = BytesMut::new();
    request.encode(&mut encoded, header.api_version).map_err(|error| format!("encode: {error:#}"))?;
    Ok(encoded.to_vec())
}

#[test]
fn recorded_requests_decode_and_encode_to_the_same_bytes() {
    let mut wrong = Vec::new();
    for line in decodable() {
        let frame = line.frame();
        let header = RequestHeader::parse(&frame).unwrap();
        assert_eq!((header.api_key, header.api_version), (line.api, line.version));
        match round_trip(&frame) {
            Ok(encoded) if encoded == frame[header.body_offset..] => {}
            Ok(_) => wrong.push(format!("{}: encoded to other bytes", line.name())),
            Err(error) => wrong.push(format!("{}: {error}", line.name())),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_client_and_the_apis_of_a_plain_broker_are_recorded() {
    let mut apis_of: BTreeMap<String, BTreeSet<i16>> = BTreeMap::new();
    // What weir cannot serve counts here: with a newer Kafka, franz-go sends OffsetCommit in version 10 only.
    for line in recorded() {
        apis_of.entry(line.client).or_default().insert(line.api);
    }
    let clients: Vec<&str> = apis_of.keys().map(String::as_str).collect();
    for client in
        ["aiokafka", "confluent-kafka", "franz-go", "java", "kafka-python", "kafkajs", "kcat", "platformatic", "sarama"]
    {
        assert!(clients.contains(&client), "{client} is not recorded, only {clients:?}");
        // Produce, Fetch, Metadata, OffsetCommit, FindCoordinator, JoinGroup, Heartbeat, SyncGroup, ApiVersions.
        for api in [0, 1, 3, 8, 10, 11, 12, 14, 18] {
            assert!(apis_of[client].contains(&api), "{client} has no {}", guard::api_name(api).unwrap());
        }
    }
    let all: BTreeSet<i16> = decodable().into_iter().map(|line| line.api).collect();
    // ListOffsets, OffsetFetch, LeaveGroup, DescribeGroups, ListGroups, CreateTopics, DeleteTopics, DeleteRecords,
    // InitProducerId, DescribeConfigs, CreatePartitions, DeleteGroups, IncrementalAlterConfigs, OffsetDelete, DescribeCluster.
    for api in [2, 9, 13, 15, 16, 19, 20, 21, 22, 32, 37, 42, 44, 47, 60] {
        assert!(all.contains(&api), "no client sent {}", guard::api_name(api).unwrap());
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    for line in decodable() {
        let frame = line.frame();
        let body_offset = RequestHeader::parse(&frame).unwrap().body_offset;
        let mut changed = frame.clone();
        // The last byte, or the API version where the body is empty, so that another request results in any case.
        let at = if frame.len() > body_offset { frame.len() - 1 } else { 3 };
        changed[at] ^= 0x01;
        let same = round_trip(&changed).is_ok_and(|encoded| encoded == frame[body_offset..]);
        assert!(!same || at == 3, "{}: a changed byte gave the same bytes", line.name());
    }
}
