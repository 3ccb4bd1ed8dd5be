//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request as incremental;
use kafka_protocol::messages::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;

use crate::differential::context::Ctx;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

fn describe(kind: i8, name: StrBytes, keys: Option<&[&'static str]>) -> DescribeConfigsRequest {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    DescribeConfigsRequest::default().with_resources(vec![
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configuration_keys(keys),
    ])
}

/// Configs that every topic has, with the defaults that clients count on.
const COMPARED: [&str; 14] = [
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];

pub async fn describe_configs(ctx: &mut Ctx) -> anyhow::Result<()> {
    ctx.create("described", 1, &[("max.message.bytes", "2000000"), ("cleanup.policy", "compact")]).await?;
    let name = ctx.name("described");
    for version in 1..=4 {
        ctx.call("some configs", version, &describe(TOPIC, name.clone(), Some(&COMPARED))).await?;
        let some = describe(TOPIC, name.clone(), Some(&["retention.ms", "no.such.config"]));
        ctx.call("an unknown name among them", version, &some).await?;
        ctx.call("unknown topic", version, &describe(TOPIC, ctx.name("unknown"), None)).await?;
        ctx.call("invalid topic name", version, &describe(TOPIC, text("a b"), None)).await?;
        ctx.call("empty topic name", version, &describe(TOPIC, text(""), None)).await?;
        ctx.call("unknown kind of resource", version, &describe(77, name.clone(), None)).await?;
        ctx.call("broker that does not exist", version, &describe(BROKER, text("9999"), None)).await?;
        ctx.call("broker whose name is no number", version, &describe(BROKER, text("one"), None)).await?;
        // All names that Kafka lists; weir may list more.
        let all = |answer: &mut serde_json::Value| {
            for result in answer["results"].as_array_mut().into_iter().flatten() {
                let listed = |name: &str| {
                    result["configs"].as_array().is_some_and(|all| all.iter().any(|config| config["name"] == name))
                };
                let names: serde_json::Map<_, _> =
                    COMPARED.iter().map(|name| ((*name).to_owned(), listed(name).into())).collect();
                result["configs"] = names.into();
            }
        };
        ctx.call_where("all configs", version, &describe(TOPIC, name.clone(), None), all).await?;
    }
    ctx.call("no names", 4, &describe(TOPIC, name.clone(), Some(&[]))).await?;
    ctx.call("no resources", 4, &DescribeConfigsRequest::default()).await?;
    let twice = describe(TOPIC, name.clone(), Some(&["retention.ms"]));
    let resource = twice.resources[0].clone();
    ctx.call("the same topic twice", 4, &twice.with_resources(vec![resource.clone(), resource])).await?;
    Ok(())
}

async fn told(ctx: &mut Ctx, label: &str, name: &StrBytes) -> anyhow::Result<()> {
    ctx.settle().await;
    let keys = ["cleanup.policy", "max.message.bytes", "retention.ms", "segment.bytes"];
    ctx.call(&format!("told after: {label}"), 1, &describe(TOPIC, name.clone(), Some(&keys))).await?;
    Ok(())
}

pub async fn alter_configs(ctx: &mut Ctx) -> anyhow::Result<()> {
    let request = |kind: i8, name: StrBytes, configs: &[(&'static str, Option<&'static str>)]| {
        let configs = configs
            .iter()
            .map(|(name, value)| AlterableConfig::default().with_name(text(name)).with_value(value.map(text)))
            .collect();
        AlterConfigsRequest::default().with_resources(vec![
            AlterConfigsResource::default().with_resource_type(kind).with_resource_name(name).with_configs(configs),
        ])
    };
    for version in 0..=2 {
        let suffix = format!("v{version}");
        ctx.create(&suffix, 1, &[("max.message.bytes", "2000000")]).await?;
        let name = ctx.name(&suffix);
        let one = request(TOPIC, name.clone(), &[("retention.ms", Some("1000"))]);
        ctx.call("validate only", version, &one.clone().with_validate_only(true)).await?;
        told(ctx, "validate only", &name).await?;
        // What is not named goes back to its default.
        ctx.call("replaces all", version, &one).await?;
        told(ctx, "replaces all", &name).await?;
        ctx.call("unknown config", version, &request(TOPIC, name.clone(), &[("no.such.config", Some("1"))])).await?;
        ctx.call("no number", version, &request(TOPIC, name.clone(), &[("retention.ms", Some("soon"))])).await?;
        ctx.call("null value", version, &request(TOPIC, name.clone(), &[("retention.ms", None)])).await?;
        ctx.call("unknown topic", version, &request(TOPIC, ctx.name("unknown"), &[("retention.ms", Some("1"))]))
            .await?;
        ctx.call("unknown kind of resource", version, &request(77, name.clone(), &[])).await?;
        told(ctx, "all that was refused", &name).await?;
        ctx.call("nothing named", version, &request(TOPIC, name.clone(), &[])).await?;
        told(ctx, "nothing named", &name).await?;
    }
    Ok(())
}

pub async fn incremental_alter_configs(ctx: &mut Ctx) -> anyhow::Result<()> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    type Op = (&'static str, i8, Option<&'static str>);
    let request = |kind: i8, name: StrBytes, ops: &[Op]| {
        let configs = ops
            .iter()
            .map(|(name, op, value)| {
                incremental::AlterableConfig::default()
                    .with_name(text(name))
                    .with_config_operation(*op)
                    .with_value(value.map(text))
            })
            .collect();
        IncrementalAlterConfigsRequest::default().with_resources(vec![
            incremental::AlterConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_configs(configs),
        ])
    };
    for version in 0..=1 {
        let suffix = format!("v{version}");
        ctx.create(&suffix, 1, &[("max.message.bytes", "2000000")]).await?;
        let name = ctx.name(&suffix);
        let steps: [(&str, &[Op]); 15] = [
            ("set", &[("retention.ms", SET, Some("1000")), ("segment.bytes", SET, Some("10485760"))]),
            ("append", &[("cleanup.policy", APPEND, Some("compact"))]),
            ("append what is there", &[("cleanup.policy", APPEND, Some("compact"))]),
            ("subtract", &[("cleanup.policy", SUBTRACT, Some("delete"))]),
            ("delete", &[("retention.ms", DELETE, None)]),
            ("delete what is a default", &[("retention.ms", DELETE, None)]),
            ("append to a number", &[("retention.ms", APPEND, Some("1"))]),
            ("set to null", &[("retention.ms", SET, None)]),
            ("unknown operation", &[("retention.ms", 9, Some("1"))]),
            ("unknown config", &[("no.such.config", SET, Some("1"))]),
            ("delete of an unknown config", &[("no.such.config", DELETE, None)]),
            ("no number", &[("retention.ms", SET, Some("soon"))]),
            ("unknown policy", &[("cleanup.policy", SET, Some("shred"))]),
            ("one good, one bad", &[("max.message.bytes", SET, Some("3000000")), ("retention.ms", SET, Some("soon"))]),
            ("the same config twice", &[("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))]),
        ];
        for (label, ops) in steps {
            ctx.call(label, version, &request(TOPIC, name.clone(), ops)).await?;
            told(ctx, label, &name).await?;
        }
        let set = request(TOPIC, name.clone(), &[("retention.ms", SET, Some("77"))]);
        ctx.call("validate only", version, &set.clone().with_validate_only(true)).await?;
        told(ctx, "validate only", &name).await?;
        ctx.call("unknown topic", version, &request(TOPIC, ctx.name("unknown"), &[("retention.ms", SET, Some("1"))]))
            .await?;
        ctx.call("empty topic name", version, &request(TOPIC, text(""), &[("retention.ms", SET, Some("1"))])).await?;
        ctx.call("unknown kind of resource", version, &request(77, name.clone(), &[])).await?;
        ctx.call("nothing named", version, &request(TOPIC, name.clone(), &[])).await?;
        let resource = set.resources[0].clone();
        let twice = set.with_resources(vec![resource.clone(), resource]);
        ctx.call("the same topic twice", version, &twice).await?;
    }
    Ok(())
}
