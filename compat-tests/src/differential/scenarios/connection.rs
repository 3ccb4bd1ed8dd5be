//! Versions, frames and the order of answers.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersionsResponse;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, MetadataRequest};
use kafka_protocol::protocol::{Decodable, StrBytes};
use serde_json::{Value, json};

use crate::differential::context::Ctx;
use crate::differential::tree;
use crate::differential::wire::Outcome;

/// The APIs that weir serves first, and the highest version that it means to advertise (design: KAFKA_SEMANTICS).
const SERVED: [(ApiKey, i64); 37] = [
    (ApiKey::Produce, 13),
    (ApiKey::Fetch, 18),
    (ApiKey::ListOffsets, 10),
    (ApiKey::Metadata, 13),
    (ApiKey::FindCoordinator, 6),
    (ApiKey::ApiVersions, 4),
    (ApiKey::OffsetCommit, 9),
    (ApiKey::OffsetFetch, 9),
    (ApiKey::JoinGroup, 9),
    (ApiKey::Heartbeat, 4),
    (ApiKey::LeaveGroup, 5),
    (ApiKey::SyncGroup, 5),
    (ApiKey::InitProducerId, 5),
    (ApiKey::SaslHandshake, 1),
    (ApiKey::SaslAuthenticate, 2),
    (ApiKey::OffsetForLeaderEpoch, 4),
    (ApiKey::CreateTopics, 7),
    (ApiKey::DeleteTopics, 6),
    (ApiKey::CreatePartitions, 3),
    (ApiKey::DescribeConfigs, 4),
    (ApiKey::IncrementalAlterConfigs, 1),
    (ApiKey::AlterConfigs, 2),
    (ApiKey::DescribeCluster, 2),
    (ApiKey::DescribeGroups, 6),
    (ApiKey::ListGroups, 5),
    (ApiKey::DeleteGroups, 2),
    (ApiKey::OffsetDelete, 0),
    (ApiKey::DeleteRecords, 2),
    (ApiKey::DescribeLogDirs, 4),
    (ApiKey::AlterReplicaLogDirs, 2),
    (ApiKey::ElectLeaders, 2),
    (ApiKey::AlterPartitionReassignments, 1),
    (ApiKey::ListPartitionReassignments, 0),
    (ApiKey::DescribeQuorum, 2),
    (ApiKey::UpdateFeatures, 2),
    (ApiKey::ListConfigResources, 1),
    (ApiKey::DescribeTopicPartitions, 0),
];

/// Cuts an ApiVersions answer to the served APIs, with Kafka's higher maximum lowered to what weir means to serve.
fn keep_served(answer: &mut Value) {
    if let Some(keys) = answer["api_keys"].as_array_mut() {
        keys.retain_mut(|entry| {
            let served = SERVED.iter().find(|(key, _)| entry["api_key"] == json!(*key as i16));
            if let Some((_, max)) = served
                && entry["max_version"].as_i64() > Some(*max)
            {
                entry["max_version"] = json!(max);
            }
            served.is_some()
        });
    }
    // Features are a broker's own.
    for field in ["supported_features", "finalized_features", "finalized_features_epoch", "zk_migration_ready"] {
        if let Some(fields) = answer.as_object_mut() {
            fields.remove(field);
        }
    }
}

pub async fn api_versions(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request = request
                .with_client_software_name(StrBytes::from_static_str("differential"))
                .with_client_software_version(StrBytes::from_static_str("1.0"));
        }
        ctx.call_where("served APIs", version, &request, keep_served).await?;
    }
    for (label, name, version) in
        [("invalid name", "bad name!", "1.0"), ("empty name", "", "1.0"), ("empty version", "name", "")]
    {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(name))
            .with_client_software_version(StrBytes::from_static_str(version));
        ctx.call_where(label, 3, &request, keep_served).await?;
    }
    // A version from the future: the answer has a v0 body, error 35, and the range of ApiVersions itself.
    let correlation = ctx.wire().send_body(ApiKey::ApiVersions as i16, 99, 2, &[1, 2, 3, 0]).await?;
    match ctx.wire().receive_body(correlation, 0).await? {
        Outcome::Closed => ctx.record("version 99".to_owned(), json!("closed")),
        Outcome::Answer(mut body) => {
            let answer = ApiVersionsResponse::decode(&mut body, 0)?;
            let mut value = tree::of(&answer)?;
            if let Some(keys) = value["api_keys"].as_array_mut() {
                keys.retain(|entry| entry["api_key"] == json!(18));
            }
            keep_served(&mut value);
            ctx.record("version 99".to_owned(), json!({"answer": value, "bytes_left": body.len()}));
        }
    }
    Ok(())
}

/// Sends a body under a key and version, and records whether anything came back before the connection closed.
async fn raw(ctx: &mut Ctx, label: &str, key: i16, version: i16, header: i16, body: &[u8]) -> anyhow::Result<()> {
    ctx.reconnect().await?;
    let correlation = ctx.wire().send_body(key, version, header, body).await?;
    let value = match ctx.wire().receive_body(correlation, 0).await? {
        Outcome::Closed => json!("closed"),
        Outcome::Answer(_) => json!("answered"),
    };
    ctx.record(label.to_owned(), value);
    ctx.reconnect().await
}

pub async fn unsupported_versions(ctx: &mut Ctx) -> anyhow::Result<()> {
    raw(ctx, "Fetch v99", ApiKey::Fetch as i16, 99, 2, &[0; 40]).await?;
    raw(ctx, "Fetch v3", ApiKey::Fetch as i16, 3, 1, &[0; 40]).await?;
    raw(ctx, "Metadata v99", ApiKey::Metadata as i16, 99, 2, &[0; 10]).await?;
    raw(ctx, "Metadata v-1", ApiKey::Metadata as i16, -1, 1, &[0; 10]).await?;
    raw(ctx, "ListOffsets v0", ApiKey::ListOffsets as i16, 0, 1, &[0; 10]).await?;
    raw(ctx, "CreateTopics v1", ApiKey::CreateTopics as i16, 1, 1, &[0; 10]).await?;
    raw(ctx, "unknown API key", 9_999, 0, 1, &[0; 10]).await?;
    raw(ctx, "negative API key", -5, 0, 1, &[0; 10]).await?;
    Ok(())
}

pub async fn broken_frames(ctx: &mut Ctx) -> anyhow::Result<()> {
    let frames: [(&str, Bytes); 5] = [
        ("frame of two bytes", Bytes::from_static(&[0, 0, 0, 2, 0, 3])),
        ("negative frame length", Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe, 0, 3, 0, 0])),
        ("frame length of 2 GiB", Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0])),
        ("array longer than the frame", {
            let mut frame = BytesMut::new();
            frame.put_i16(ApiKey::Metadata as i16);
            frame.put_i16(1);
            frame.put_i32(1);
            frame.put_i16(-1);
            frame.put_i32(2_000_000_000);
            framed(&frame)
        }),
        ("client id longer than the frame", {
            let mut frame = BytesMut::new();
            frame.put_i16(ApiKey::Metadata as i16);
            frame.put_i16(1);
            frame.put_i32(1);
            frame.put_i16(20_000);
            frame.put_i32(0);
            framed(&frame)
        }),
    ];
    for (label, bytes) in frames {
        ctx.reconnect().await?;
        ctx.wire().send_bytes(&bytes).await?;
        let value = match ctx.wire().receive_body(1, 0).await? {
            Outcome::Closed => json!("closed"),
            Outcome::Answer(_) => json!("answered"),
        };
        ctx.record(label.to_owned(), value);
    }
    ctx.reconnect().await
}

fn framed(frame: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u32(frame.len() as u32);
    bytes.extend_from_slice(frame);
    bytes.freeze()
}

/// Ten requests are sent before the first answer is read; the answers come in the order of the requests.
pub async fn pipelining(ctx: &mut Ctx) -> anyhow::Result<()> {
    let metadata = MetadataRequest::default().with_topics(Some(Vec::new()));
    let versions = ApiVersionsRequest::default();
    let mut correlations = Vec::new();
    for i in 0..10 {
        correlations.push(match i % 2 {
            0 => ctx.wire().send(12, &metadata).await?,
            _ => ctx.wire().send(0, &versions).await?,
        });
    }
    for (i, correlation) in correlations.into_iter().enumerate() {
        let answered = match i % 2 {
            0 => matches!(ctx.wire().receive::<MetadataRequest>(12, correlation).await?, Outcome::Answer(_)),
            _ => matches!(ctx.wire().receive::<ApiVersionsRequest>(0, correlation).await?, Outcome::Answer(_)),
        };
        ctx.record(format!("request {i}"), json!({ "answered": answered }));
    }
    Ok(())
}
