//! Creating, describing, growing and deleting topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, TopicName};

use super::{Admin, wire_text};
use crate::cluster::AutoCreate;
use crate::connection::{Connection, retrying};
use crate::error::Result;
use crate::metadata::TopicInfo;

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; the broker's default if none.
    pub partitions: Option<i32>,
    /// How many replicas; the broker's default if none.
    pub replication_factor: Option<i16>,
    /// Topic configs that differ from the defaults.
    pub configs: Vec<(String, String)>,
}

/// A topic that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it got, if the broker tells.
    pub partitions: Option<i32>,
    /// How many replicas it got, if the broker tells.
    pub replication_factor: Option<i16>,
}

impl Admin {
    /// Creates topics. With `validate_only` the broker checks everything and changes nothing.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<Vec<(String, Result<CreatedTopic>)>> {
        let (response, connection) = retrying(self.client.config(), || async {
            let connection = self.client.controller().await?;
            let response = connection
                .call(|version| {
                    CreateTopicsRequest::default()
                        .with_topics(topics.iter().map(|topic| creatable(topic, version)).collect())
                        .with_timeout_ms(self.operation_timeout_ms())
                        .with_validate_only(validate_only)
                })
                .await?;
            self.check_controller(&connection, response.topics.iter().map(|topic| topic.error_code)).await?;
            Ok((response, connection))
        })
        .await?;
        let results = response.topics.iter().map(|topic| {
            let name = topic.name.to_string();
            let checked = connection.check::<CreateTopicsRequest>(
                &subject(&name),
                topic.error_code,
                topic.error_message.as_deref(),
            );
            let created = checked.map(|()| CreatedTopic {
                name: name.clone(),
                partitions: (topic.num_partitions > 0).then_some(topic.num_partitions),
                replication_factor: (topic.replication_factor > 0).then_some(topic.replication_factor),
            });
            (name, created)
        });
        Ok(results.collect())
    }

    /// Deletes topics by name.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<Vec<(String, Result<()>)>> {
        let (response, connection) = retrying(self.client.config(), || async {
            let connection = self.client.controller().await?;
            let response = connection
                .call(|version| {
                    let request = DeleteTopicsRequest::default().with_timeout_ms(self.operation_timeout_ms());
                    let topics = names.iter().map(|name| TopicName(wire_text(name)));
                    match version {
                        ..6 => request.with_topic_names(topics.collect()),
                        _ => request.with_topics(
                            topics.map(|name| DeleteTopicState::default().with_name(Some(name))).collect(),
                        ),
                    }
                })
                .await?;
            self.check_controller(&connection, response.responses.iter().map(|topic| topic.error_code)).await?;
            Ok((response, connection))
        })
        .await?;
        let results = response.responses.iter().map(|topic| {
            let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
            self.client.forget_topic(&name);
            let detail = topic.error_message.as_deref();
            let checked = connection.check::<DeleteTopicsRequest>(&subject(&name), topic.error_code, detail);
            (name, checked)
        });
        Ok(results.collect())
    }

    /// Raises the number of partitions of topics to these totals.
    pub async fn create_partitions(&self, totals: &[(&str, i32)]) -> Result<Vec<(String, Result<()>)>> {
        let (response, connection) = retrying(self.client.config(), || async {
            let connection = self.client.controller().await?;
            let response = connection
                .call(|_| {
                    let topics = totals.iter().map(|(name, total)| {
                        let topic = CreatePartitionsTopic::default().with_name(TopicName(wire_text(name)));
                        topic.with_count(*total).with_assignments(None)
                    });
                    CreatePartitionsRequest::default()
                        .with_topics(topics.collect())
                        .with_timeout_ms(self.operation_timeout_ms())
                })
                .await?;
            self.check_controller(&connection, response.results.iter().map(|topic| topic.error_code)).await?;
            Ok((response, connection))
        })
        .await?;
        let results = response.results.iter().map(|topic| {
            let name = topic.name.to_string();
            self.client.forget_topic(&name);
            let detail = topic.error_message.as_deref();
            let checked = connection.check::<CreatePartitionsRequest>(&subject(&name), topic.error_code, detail);
            (name, checked)
        });
        Ok(results.collect())
    }

    /// All topics by name, internal ones too.
    pub async fn list_topics(&self) -> Result<BTreeMap<String, Arc<TopicInfo>>> {
        self.client.refresh_all().await?;
        let metadata = self.client.metadata();
        Ok(metadata.topics().map(|topic| (topic.name.clone(), topic.clone())).collect())
    }

    /// One topic as the cluster describes it now.
    pub async fn describe_topic(&self, name: &str) -> Result<Arc<TopicInfo>> {
        self.client.fresh_topic(name, AutoCreate::Forbidden).await
    }

    /// Fails with a retriable error if the broker said that another one is the controller, after asking which.
    async fn check_controller(&self, connection: &Connection, codes: impl Iterator<Item = i16>) -> Result<()> {
        let moved = kafka_protocol::error::ResponseError::NotController.code();
        for code in codes {
            if code == moved {
                self.client.refresh(&[], AutoCreate::Forbidden).await?;
                return Err(connection.refusal::<CreateTopicsRequest>("", code, None));
            }
        }
        Ok(())
    }
}

fn creatable(topic: &NewTopic, version: i16) -> CreatableTopic {
    // "The broker's default" has a sentinel only since version 4; before it, one of each is what brokers default to.
    let absent = if version >= 4 { -1 } else { 1 };
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(wire_text(name)).with_value(Some(wire_text(value)))
    });
    CreatableTopic::default()
        .with_name(TopicName(wire_text(&topic.name)))
        .with_num_partitions(topic.partitions.unwrap_or(i32::from(absent)))
        .with_replication_factor(topic.replication_factor.unwrap_or(absent))
        .with_configs(configs.collect())
}

fn subject(name: &str) -> String {
    format!("topic `{name}`")
}
