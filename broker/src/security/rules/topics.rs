//! Records and topics.
//!
//! | request | needs | without it |
//! |---|---|---|
//! | Produce | Write Topic, Write TransactionalId | per topic; the whole request |
//! | Fetch | Read Topic (a replica: ClusterAction) | per partition |
//! | ListOffsets, OffsetForLeaderEpoch | Describe Topic | per partition |
//! | Metadata, DescribeTopicPartitions | Describe Topic; to create: Create Cluster or Topic | per topic, or left out of "all" |
//! | CreateTopics | Create Cluster or Topic; of a view also Read Topic of its source | per topic |
//! | DeleteTopics, DeleteRecords | Delete Topic | per topic, partition |
//! | CreatePartitions | Alter Topic | per topic |
//! | DescribeProducers | Read Topic | per partition |
use std::collections::HashSet;

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, TopicResponse};
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use weir_protocol::produce::{ProduceFrame, ProduceTopic, TopicRef};

use super::{Access, Guarded, TOPIC_REFUSED, TRANSACTIONAL_ID_REFUSED, Verdict, take_refused};
use crate::api::{authorized, wire};
use crate::error_code::ErrorCode;
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};

const RECORD_ERRORS_SINCE: i16 = 8;

/// Takes out what may not be written, and answers it. Produce is split by our own code, so its rule is a function: the dispatcher
/// calls it where it submits.
pub fn refuse_produce(frame: &mut ProduceFrame, access: &Access) -> Vec<TopicProduceResponse> {
    let id = frame.transactional_id.as_deref();
    if id.is_some_and(|id| !access.allows(Operation::Write, ResourceType::TransactionalId, id)) {
        let all = std::mem::take(&mut frame.topics);
        let code = ErrorCode::TransactionalIdAuthorizationFailed;
        return all.into_iter().map(|topic| refused_topic(access, topic, code, TRANSACTIONAL_ID_REFUSED)).collect();
    }
    let refused = take_refused(&mut frame.topics, |topic| match &topic.topic {
        TopicRef::Name(name) => access.topic(Operation::Write, name),
        // An id that nobody has is the handler's to answer.
        TopicRef::Id(id) => access.topic_name(id.0).is_none_or(|name| access.topic(Operation::Write, &name)),
    });
    let code = ErrorCode::TopicAuthorizationFailed;
    refused.into_iter().map(|topic| refused_topic(access, topic, code, TOPIC_REFUSED)).collect()
}

fn refused_topic(access: &Access, topic: ProduceTopic, error: ErrorCode, code: i16) -> TopicProduceResponse {
    let partitions = topic.partitions.iter().map(|partition| {
        let answer = PartitionProduceResponse::default()
            .with_index(partition.index.0)
            .with_error_code(code)
            .with_base_offset(-1);
        if access.version >= RECORD_ERRORS_SINCE {
            answer.with_error_message(access.message(error, Operation::Write))
        } else {
            answer
        }
    });
    let answer = TopicProduceResponse::default().with_partition_responses(partitions.collect());
    match topic.topic {
        TopicRef::Name(name) => answer.with_name(TopicName(wire(name))),
        TopicRef::Id(id) => answer.with_topic_id(id.0),
    }
}

/// Its partitions are judged by the handler, whose sessions know them; see [`Access::may_fetch`].
impl Guarded for FetchRequest {
    type Response = FetchResponse;

    fn admit<'a>(&mut self, _access: &'a Access) -> Verdict<'a, FetchResponse> {
        Verdict::Allowed
    }
}

impl Guarded for ListOffsetsRequest {
    type Response = ListOffsetsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, ListOffsetsResponse> {
        let refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Describe, &topic.name));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            answer.topics.extend(refused.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    ListOffsetsPartitionResponse::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(TOPIC_REFUSED)
                });
                let partitions = partitions.collect();
                ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
            }));
        })
    }
}

impl Guarded for OffsetForLeaderEpochRequest {
    type Response = OffsetForLeaderEpochResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, OffsetForLeaderEpochResponse> {
        // A replica may ask about every topic.
        if access.would_allow(Operation::ClusterAction, ResourceType::Cluster, CLUSTER_NAME) {
            return Verdict::Allowed;
        }
        let refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Describe, &topic.topic));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            answer.topics.extend(refused.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|asked| {
                    EpochEndOffset::default().with_partition(asked.partition).with_error_code(TOPIC_REFUSED)
                });
                let partitions = partitions.collect();
                OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
            }));
        })
    }
}

impl Guarded for MetadataRequest {
    type Response = MetadataResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, MetadataResponse> {
        // In version 0 an empty list means every topic.
        let is_all = self.topics.as_ref().is_none_or(|topics| topics.is_empty() && access.version == 0);
        let creates = self.allow_auto_topic_creation && access.broker.settings.auto_create_topics_enable;
        let mut refused = Vec::new();
        if !is_all && let Some(topics) = &mut self.topics {
            refused = take_refused(topics, |topic| may_describe(access, topic, creates));
        }
        let nothing_left = self.topics.as_ref().is_some_and(Vec::is_empty);
        Verdict::completed(move |answer: &mut Self::Response| {
            let describable = |topic: &MetadataResponseTopic| {
                let name = topic.name.as_ref().map_or("", |name| name.as_str());
                access.would_allow(Operation::Describe, ResourceType::Topic, name)
            };
            if is_all {
                answer.topics.retain(describable);
            } else if nothing_left {
                // Version 0 would have answered with every topic.
                answer.topics.clear();
            }
            for topic in &mut answer.topics {
                let name = topic.name.as_ref().map_or("", |name| name.as_str());
                let field = &mut topic.topic_authorized_operations;
                access.correct(field, ResourceType::Topic, name, authorized::TOPIC);
            }
            let refused = refused.into_iter().map(|topic| {
                let by_name = topic.topic_id.is_nil();
                MetadataResponseTopic::default()
                    .with_error_code(TOPIC_REFUSED)
                    .with_name(if by_name { topic.name } else { None })
                    .with_topic_id(topic.topic_id)
            });
            answer.topics.extend(refused);
            correct_cluster(access, &mut answer.cluster_authorized_operations);
        })
    }
}

/// Whether a topic may be described, and, if it would be created by asking, created.
fn may_describe(access: &Access, topic: &MetadataRequestTopic, creates: bool) -> bool {
    let name = match &topic.name {
        Some(name) if topic.topic_id.is_nil() => name.to_string(),
        // Older versions know no ids, and an id that nobody has is unknown to everybody.
        _ => match access.topic_name(topic.topic_id) {
            Some(name) => name,
            None => return true,
        },
    };
    access.topic(Operation::Describe, &name)
        && (!creates || access.broker.topics.get(&name).is_some() || may_create(access, &name))
}

fn may_create(access: &Access, name: &str) -> bool {
    access.would_allow(Operation::Create, ResourceType::Cluster, CLUSTER_NAME) || access.topic(Operation::Create, name)
}

/// Kafka shows what may be done to the cluster to those who may describe it, and to others nothing.
pub(super) fn correct_cluster(access: &Access, field: &mut i32) {
    if access.would_allow(Operation::Describe, ResourceType::Cluster, CLUSTER_NAME) {
        access.correct(field, ResourceType::Cluster, CLUSTER_NAME, authorized::CLUSTER);
    } else if *field != authorized::NOT_ASKED {
        *field = 0;
    }
}

impl Guarded for DescribeTopicPartitionsRequest {
    type Response = DescribeTopicPartitionsResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeTopicPartitionsResponse> {
        let mut refused = Vec::new();
        if self.topics.is_empty() {
            let all = access.broker.topics.all();
            let may = |name: &str| access.would_allow(Operation::Describe, ResourceType::Topic, name);
            let names = all.iter().filter(|topic| may(&topic.name));
            let topic = |name: &str| TopicRequest::default().with_name(TopicName(wire(name)));
            self.topics = names.map(|found| topic(&found.name)).collect();
        } else {
            refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Describe, &topic.name));
        }
        let refused = refused.into_iter().map(|topic| {
            DescribeTopicPartitionsResponseTopic::default().with_error_code(TOPIC_REFUSED).with_name(Some(topic.name))
        });
        let refused: Vec<_> = refused.collect();
        if self.topics.is_empty() {
            // The handler would take that for every topic.
            return Verdict::refused(DescribeTopicPartitionsResponse::default().with_topics(refused));
        }
        Verdict::completed(move |answer: &mut Self::Response| {
            for topic in &mut answer.topics {
                let name = topic.name.as_ref().map_or("", |name| name.as_str());
                let field = &mut topic.topic_authorized_operations;
                access.correct(field, ResourceType::Topic, name, authorized::TOPIC);
            }
            answer.topics.extend(refused);
        })
    }
}

impl Guarded for CreateTopicsRequest {
    type Response = CreateTopicsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(self.topics.iter().map(|topic| topic.name.to_string()).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, CreateTopicsResponse> {
        let source = |topic: &CreatableTopic| {
            let config = topic.configs.iter().find(|config| config.name.as_str() == VIEW_SOURCE);
            config.and_then(|config| config.value.as_ref()).map(|source| source.trim().to_owned())
        };
        let refused = take_refused(&mut self.topics, |topic| {
            may_create(access, &topic.name) && may_show(access, source(topic).as_deref())
        });
        Verdict::completed(move |answer: &mut Self::Response| {
            for topic in answer.topics.iter_mut().filter(|topic| topic.error_code == 0) {
                let may = access.would_allow(Operation::DescribeConfigs, ResourceType::Topic, &topic.name);
                if !may && access.version >= CONFIGS_SINCE {
                    topic.topic_config_error_code = TOPIC_REFUSED;
                    topic.configs = None;
                    topic.num_partitions = -1;
                    topic.replication_factor = -1;
                }
            }
            let message = access.message(ErrorCode::TopicAuthorizationFailed, Operation::Create);
            // The same topic twice is refused once, as Kafka has it.
            let mut seen = HashSet::new();
            for topic in refused {
                if seen.insert(topic.name.clone()) {
                    let result = CreatableTopicResult::default().with_error_code(TOPIC_REFUSED).with_name(topic.name);
                    let result = if access.version >= 1 { result.with_error_message(message.clone()) } else { result };
                    answer.topics.push(result);
                }
            }
        })
    }
}

const VIEW_SOURCE: &str = "weir.view.source";

/// A view shows records of its source to its own readers: whoever makes or changes it must be able to read them (AUTH-1).
pub(super) fn may_show(access: &Access, source: Option<&str>) -> bool {
    source.is_none_or(|source| source.is_empty() || access.topic(Operation::Read, source))
}

/// First version of CreateTopics that answers with the topic's configs.
const CONFIGS_SINCE: i16 = 5;

impl Guarded for DeleteTopicsRequest {
    type Response = DeleteTopicsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        let named = self.topic_names.iter().map(|name| name.to_string());
        let by_state = self.topics.iter().map(|topic| match &topic.name {
            Some(name) => name.to_string(),
            None => topic.topic_id.to_string(),
        });
        Some(named.chain(by_state).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DeleteTopicsResponse> {
        let mut refused = Vec::new();
        for name in take_refused(&mut self.topic_names, |name| access.topic(Operation::Delete, name)) {
            refused.push(DeletableTopicResult::default().with_name(Some(name)));
        }
        let by_state = take_refused(&mut self.topics, |topic| match (&topic.name, access.topic_name(topic.topic_id)) {
            (Some(name), _) => access.topic(Operation::Delete, name),
            (None, Some(name)) => access.topic(Operation::Delete, &name),
            (None, None) => true,
        });
        for topic in by_state {
            // An id is no secret, the name behind it is one to those who may not describe it.
            let name = topic.name.or_else(|| {
                let name = access.topic_name(topic.topic_id)?;
                let may = access.would_allow(Operation::Describe, ResourceType::Topic, &name);
                may.then(|| TopicName(wire(name)))
            });
            refused.push(DeletableTopicResult::default().with_name(name).with_topic_id(topic.topic_id));
        }
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            let message = access.message(ErrorCode::TopicAuthorizationFailed, Operation::Delete);
            answer.responses.extend(refused.into_iter().map(|result| {
                let result = result.with_error_code(TOPIC_REFUSED);
                if access.version >= 5 { result.with_error_message(message.clone()) } else { result }
            }));
        })
    }
}

impl Guarded for DeleteRecordsRequest {
    type Response = DeleteRecordsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(self.topics.iter().map(|topic| topic.name.to_string()).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DeleteRecordsResponse> {
        let refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Delete, &topic.name));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            answer.topics.extend(refused.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    DeleteRecordsPartitionResult::default()
                        .with_partition_index(partition.partition_index)
                        .with_low_watermark(-1)
                        .with_error_code(TOPIC_REFUSED)
                });
                let partitions = partitions.collect();
                DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
            }));
        })
    }
}

impl Guarded for CreatePartitionsRequest {
    type Response = CreatePartitionsResponse;

    fn audited(&self) -> Option<Vec<String>> {
        Some(self.topics.iter().map(|topic| topic.name.to_string()).collect())
    }

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, CreatePartitionsResponse> {
        let refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Alter, &topic.name));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            let message = access.message(ErrorCode::TopicAuthorizationFailed, Operation::Alter);
            answer.results.extend(refused.into_iter().map(|topic| {
                CreatePartitionsTopicResult::default()
                    .with_error_code(TOPIC_REFUSED)
                    .with_error_message(message.clone())
                    .with_name(topic.name)
            }));
        })
    }
}

impl Guarded for DescribeProducersRequest {
    type Response = DescribeProducersResponse;

    fn admit<'a>(&mut self, access: &'a Access) -> Verdict<'a, DescribeProducersResponse> {
        let refused = take_refused(&mut self.topics, |topic| access.topic(Operation::Read, &topic.name));
        Verdict::without(refused, |answer: &mut Self::Response, refused| {
            let message = access.message(ErrorCode::TopicAuthorizationFailed, Operation::Read);
            answer.topics.extend(refused.into_iter().map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| {
                    PartitionResponse::default()
                        .with_partition_index(*index)
                        .with_error_code(TOPIC_REFUSED)
                        .with_error_message(message.clone())
                });
                let partitions = partitions.collect();
                TopicResponse::default().with_name(topic.name).with_partitions(partitions)
            }));
        })
    }
}
