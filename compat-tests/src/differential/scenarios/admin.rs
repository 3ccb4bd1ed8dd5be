//! The cluster, its log directories, and SASL on a listener without SASL.

use bytes::Bytes;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeLogDirsRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::StrBytes;
use serde_json::{Value, json};

use crate::differential::batch::Batch;
use crate::differential::context::Ctx;

pub async fn describe_cluster(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in 0..=2 {
        let request = DescribeClusterRequest::default();
        ctx.call("brokers", version, &request).await?;
        ctx.call("authorized operations", version, &request.clone().with_include_cluster_authorized_operations(true))
            .await?;
        if version >= 1 {
            ctx.call("controllers, asked of a broker", version, &request.clone().with_endpoint_type(2)).await?;
            ctx.call("unknown endpoint type", version, &request.clone().with_endpoint_type(7)).await?;
        }
        if version >= 2 {
            ctx.call("fenced brokers too", version, &request.with_include_fenced_brokers(true)).await?;
        }
    }
    Ok(())
}

/// All directories as one: a broker may have several, and another broker's disk has other sizes.
fn merged(prefix: &str) -> impl Fn(&mut Value) + use<> {
    let prefix = prefix.to_owned();
    move |answer| {
        let mut codes = Vec::new();
        let mut topics = Vec::new();
        for result in answer["results"].as_array_mut().into_iter().flatten() {
            codes.push(result["error_code"].clone());
            for topic in result["topics"].as_array_mut().into_iter().flatten() {
                if topic["name"].as_str().is_some_and(|name| name.starts_with(&prefix)) {
                    topics.push(topic.take());
                }
            }
        }
        codes.dedup();
        answer["results"] = json!({"error_codes": codes, "topics": topics});
    }
}

pub async fn describe_log_dirs(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("topic", 2, &[]).await?;
    for partition in 0..2 {
        ctx.seed("topic", partition, Batch::of(10).encode()).await?;
    }
    let own = merged(&format!("{}.", ctx.prefix()));
    for version in 1..=4 {
        let request = |topics: Option<Vec<(StrBytes, Vec<i32>)>>| {
            let topics = topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|(name, partitions)| {
                        DescribableLogDirTopic::default().with_topic(name.into()).with_partitions(partitions)
                    })
                    .collect()
            });
            DescribeLogDirsRequest::default().with_topics(topics)
        };
        ctx.call_where("all", version, &request(None), &own).await?;
        ctx.call_where("no topics", version, &request(Some(Vec::new())), &own).await?;
        ctx.call_where("one partition", version, &request(Some(vec![(ctx.name("topic"), vec![0])])), &own).await?;
        ctx.call_where("unknown topic", version, &request(Some(vec![(ctx.name("unknown"), vec![0])])), &own).await?;
        ctx.call_where("unknown partition", version, &request(Some(vec![(ctx.name("topic"), vec![9])])), &own).await?;
    }
    Ok(())
}

pub async fn sasl_without_sasl(ctx: &mut Ctx) -> anyhow::Result<()> {
    for version in 0..=1 {
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
        ctx.call_or_close("handshake", version, &request).await?;
        ctx.reconnect().await?;
    }
    for version in 0..=2 {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from_static(b"\0user\0secret"));
        ctx.call_or_close("authenticate", version, &request).await?;
        ctx.reconnect().await?;
    }
    Ok(())
}
