//! What the admin client does.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::ledger::Ledger;
use crate::report::{Body, Check};

const WAIT: Duration = Duration::from_secs(20);

pub fn all() -> Vec<(&'static str, Body)> {
    vec![
        ("admin-topics", topics),
        ("admin-replication-factor-3", replication_factor_3),
        ("admin-configs", configs),
        ("admin-partitions", partitions),
        ("admin-groups", groups),
        ("admin-delete-records", delete_records),
    ]
}

type Admin = AdminClient<DefaultClientContext>;

fn admin(check: &Check) -> anyhow::Result<Admin> {
    Ok(check.suite.config(&[]).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT)).request_timeout(Some(WAIT))
}

/// Waits for an admin call, on a runtime of its own: the suite is plain threads.
fn wait<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(future))
}

/// The result of a call about one thing.
fn only<T, E: std::fmt::Debug>(mut results: Vec<Result<T, E>>) -> anyhow::Result<Result<T, E>> {
    match (results.pop(), results.is_empty()) {
        (Some(result), true) => Ok(result),
        _ => bail!("not exactly one result"),
    }
}

fn create_topic(
    check: &Check,
    topic: &str,
    partitions: i32,
    factor: i32,
    configs: &[(&str, &str)],
) -> anyhow::Result<Option<RDKafkaErrorCode>> {
    let admin = admin(check)?;
    let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(factor));
    for (name, value) in configs {
        wanted = wanted.set(name, value);
    }
    let results = wait(admin.create_topics(&[wanted], &options()))??;
    Ok(only(results)?.err().map(|(_, code)| code))
}

/// Makes a topic whose partitions are served. The flights are of 2013, so retention is off unless `configs` set it.
pub fn create(check: &Check, suffix: &str, partitions: i32, configs: &[(&str, &str)]) -> anyhow::Result<Ledger> {
    let topic = check.suite.name(suffix);
    let configs: Vec<_> = [("retention.ms", "-1")].into_iter().chain(configs.iter().copied()).collect();
    if let Some(code) = create_topic(check, &topic, partitions, 1, &configs)? {
        bail!("creating {topic}: {code}");
    }
    let consumer: BaseConsumer =
        check.suite.config(&[("group.id", "unused"), ("topic.metadata.refresh.fast.interval.ms", "50")]).create()?;
    check.eventually("the partitions are served", 10, || {
        Ok((0..partitions)
            .all(|partition| consumer.fetch_watermarks(&topic, partition, Duration::from_secs(2)).is_ok()))
    })?;
    Ok(Ledger::new(topic))
}

fn listed(check: &Check, topic: &str) -> anyhow::Result<usize> {
    let metadata = admin(check)?.inner().fetch_metadata(None, WAIT)?;
    Ok(metadata.topics().iter().find(|found| found.name() == topic).map_or(0, |found| found.partitions().len()))
}

fn topics(check: &Check) -> anyhow::Result<()> {
    let ledger = create(check, "topics", 5, &[])?;
    let topic = ledger.topic.as_str();
    check.that(listed(check, topic)? == 5, || "five partitions listed".to_owned())?;
    for (name, partitions, configs, expected) in [
        (topic, 1, vec![], RDKafkaErrorCode::TopicAlreadyExists),
        ("in valid", 1, vec![], RDKafkaErrorCode::InvalidTopic),
        (&check.suite.name("bad"), 1, vec![("no.such.config", "1")], RDKafkaErrorCode::InvalidConfig),
        (&check.suite.name("bad"), 1, vec![("retention.ms", "soon")], RDKafkaErrorCode::InvalidConfig),
    ] {
        let code = create_topic(check, name, partitions, 1, &configs)?;
        check.that(code == Some(expected), || format!("creating {name} with {configs:?}: {code:?}"))?;
    }
    let delete = || -> anyhow::Result<_> { only(wait(admin(check)?.delete_topics(&[topic], &options()))??) };
    check.that(delete()?.is_ok(), || "deleting".to_owned())?;
    check.eventually("the topic is gone", 10, || Ok(listed(check, topic)? == 0))?;
    let again = delete()?.err().map(|(_, code)| code);
    check.that(again == Some(RDKafkaErrorCode::UnknownTopicOrPartition), || format!("deleting it again: {again:?}"))
}

/// Apache Kafka with one node refuses; weir accepts, and reports one replica.
fn replication_factor_3(check: &Check) -> anyhow::Result<()> {
    let topic = check.suite.name("three-replicas");
    let code = create_topic(check, &topic, 2, 3, &[("retention.ms", "-1")])?;
    if check.suite.kafka {
        return check.that(code == Some(RDKafkaErrorCode::InvalidReplicationFactor), || format!("{code:?}"));
    }
    check.that(code.is_none(), || format!("{code:?}"))?;
    let mut ledger = Ledger::new(topic);
    ledger.send(check, check.suite.first(100), &[])?;
    ledger.consume_all(check, &[])
}

fn value_of(check: &Check, topic: &str, name: &str) -> anyhow::Result<Option<String>> {
    let resources = wait(admin(check)?.describe_configs(&[ResourceSpecifier::Topic(topic)], &options()))??;
    let resource = only(resources)?.map_err(|code| anyhow::anyhow!("describing configs: {code}"))?;
    Ok(resource.get(name).and_then(|entry| entry.value.clone()))
}

fn configs(check: &Check) -> anyhow::Result<()> {
    let ledger = create(check, "configs", 1, &[("max.message.bytes", "2000000")])?;
    let topic = ledger.topic.as_str();
    for (name, expected) in [("max.message.bytes", "2000000"), ("cleanup.policy", "delete"), ("retention.ms", "-1")] {
        let value = value_of(check, topic, name)?;
        check.that(value.as_deref() == Some(expected), || format!("{name} is {value:?}"))?;
    }
    // librdkafka's AlterConfigs replaces all: what is not named goes back to its default.
    let alter = |name: &'static str, value: &'static str| -> anyhow::Result<_> {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        only(wait(admin(check)?.alter_configs(&[change], &options()))??)
    };
    check.that(alter("retention.ms", "3600000")?.is_ok(), || "altering".to_owned())?;
    check.eventually("the new value is told", 5, || {
        Ok(value_of(check, topic, "retention.ms")?.as_deref() == Some("3600000"))
    })?;
    check.eventually("the other is a default", 5, || {
        Ok(value_of(check, topic, "max.message.bytes")?.as_deref() == Some("1048588"))
    })?;
    // rdkafka 0.39 never tells the error of a single resource here, so what counts is that nothing has changed.
    for (name, value) in [("retention.ms", "soon"), ("no.such.config", "1")] {
        alter(name, value)?.ok();
        std::thread::sleep(Duration::from_millis(200));
        let kept = value_of(check, topic, "retention.ms")?;
        check.that(kept.as_deref() == Some("3600000"), || format!("after {name}={value}: {kept:?}"))?;
    }
    Ok(())
}

fn partitions(check: &Check) -> anyhow::Result<()> {
    let mut ledger = create(check, "partitions", 1, &[])?;
    ledger.send(check, check.suite.first(100), &[])?;
    let topic = ledger.topic.clone();
    let grow = |count: usize| -> anyhow::Result<_> {
        only(wait(admin(check)?.create_partitions(&[NewPartitions::new(&topic, count)], &options()))??)
    };
    check.that(grow(4)?.is_ok(), || "four partitions".to_owned())?;
    check.eventually("there are four", 10, || Ok(listed(check, &topic)? == 4))?;
    let code = grow(2)?.err().map(|(_, code)| code);
    check.that(code == Some(RDKafkaErrorCode::InvalidPartitions), || format!("fewer partitions: {code:?}"))?;
    ledger.send(check, check.suite.first(1_000), &[])?;
    check.that(ledger.acked.len() > 1, || "records reach the new partitions".to_owned())?;
    ledger.consume_all(check, &[])
}

fn groups(check: &Check) -> anyhow::Result<()> {
    let mut ledger = create(check, "groups", 1, &[])?;
    ledger.send(check, check.suite.first(200), &[])?;
    let group = check.suite.name("groups-group");
    let settings = [("group.id", group.as_str()), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let consumer: BaseConsumer = check.suite.config(&settings).create()?;
    consumer.subscribe(&[&ledger.topic])?;
    check.eventually("the member has its partition", 30, || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            ledger.compare(check, &message?)?;
        }
        Ok(consumer.assignment()?.count() == 1)
    })?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&ledger.topic, 0, Offset::Offset(120))?;
    consumer.commit(&offsets, CommitMode::Sync)?;
    let described = |group: &str| -> anyhow::Result<(String, usize)> {
        let list = admin(check)?.inner().fetch_group_list(Some(group), WAIT)?;
        let found = list.groups().iter().find(|found| found.name() == group).context("the group is not listed")?;
        Ok((found.state().to_owned(), found.members().len()))
    };
    let (state, members) = described(&group)?;
    check.that(state == "Stable" && members == 1, || format!("{state}, {members} members"))?;
    let delete = || -> anyhow::Result<_> { only(wait(admin(check)?.delete_groups(&[&group], &options()))??) };
    let code = delete()?.err().map(|(_, code)| code);
    check
        .that(code == Some(RDKafkaErrorCode::NonEmptyGroup), || format!("deleting a group with a member: {code:?}"))?;
    drop(consumer);
    check.eventually("the group is empty", 10, || Ok(described(&group)?.0 == "Empty"))?;

    // Committed offsets are where the next one starts, and it may commit from outside while the group is empty.
    let outside: BaseConsumer = check.suite.config(&settings).create()?;
    let mut question = TopicPartitionList::new();
    question.add_partition(&ledger.topic, 0);
    let committed = |outside: &BaseConsumer| -> anyhow::Result<Offset> {
        Ok(outside.committed_offsets(question.clone(), WAIT)?.elements()[0].offset())
    };
    let offset = committed(&outside)?;
    check.that(offset == Offset::Offset(120), || format!("committed: {offset:?}"))?;
    offsets.set_all_offsets(Offset::Offset(7))?;
    outside.commit(&offsets, CommitMode::Sync)?;
    let offset = committed(&outside)?;
    check.that(offset == Offset::Offset(7), || format!("after the reset: {offset:?}"))?;
    drop(outside);
    check.that(delete()?.is_ok(), || "deleting the group".to_owned())?;
    let code = delete()?.err().map(|(_, code)| code);
    check.that(code == Some(RDKafkaErrorCode::GroupIdNotFound), || format!("deleting it again: {code:?}"))
}

fn delete_records(check: &Check) -> anyhow::Result<()> {
    let mut ledger = create(check, "delete-records", 1, &[])?;
    ledger.send(check, check.suite.first(3_000), &[("compression.type", "gzip")])?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&ledger.topic, 0, Offset::Offset(1_234))?;
    let answer = wait(admin(check)?.delete_records(&offsets, &options()))??;
    check.that(answer.elements()[0].offset() == Offset::Offset(1_234), || format!("low watermark: {answer:?}"))?;
    if let Some(rows) = ledger.acked.get_mut(&0) {
        *rows = rows.split_off(&1_234);
    }
    ledger.consume_all(check, &[])?;
    offsets.set_all_offsets(Offset::Offset(3_001))?;
    let answer = wait(admin(check)?.delete_records(&offsets, &options()))??;
    let refused = answer.elements()[0].error();
    check.that(refused.is_err(), || format!("beyond the end: {answer:?}"))
}
