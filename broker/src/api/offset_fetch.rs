//! OffsetFetch (key 9): the offsets that groups have committed.
//!
//! Versions 1-9. KIP-447 (require stable, 7), KIP-709 (many groups, 8), KIP-848 (9).
//! Errors per group (in version 1 per partition): UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH, COORDINATOR_LOAD_IN_PROGRESS,
//! COORDINATOR_NOT_AVAILABLE; per partition: UNSTABLE_OFFSET_COMMIT. A partition without an offset answers -1, without an error.
use std::collections::BTreeMap;

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{ApiKey, TopicName};

use super::{Versions, wire};
use crate::broker::Broker;
use crate::error_code::{KafkaError, NONE};
use crate::group::offsets::CommittedOffset;
use crate::group::{Coordinator, GroupError};

pub const VERSIONS: Versions = Versions::new(ApiKey::OffsetFetch, 1, 9);

/// First version with a list of groups.
const MANY_GROUPS_SINCE: i16 = 8;
/// First version with an error code for the whole answer.
const TOP_LEVEL_ERROR_SINCE: i16 = 2;

/// One group of a request, of any version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    group: String,
    /// Member and its epoch, of members of the consumer protocol.
    member: (Option<String>, i32),
    /// None = everything the group committed.
    topics: Option<Vec<(String, Vec<i32>)>>,
}

/// What a group answers: by topic, partitions with their offsets.
type Found = Vec<(String, Vec<(i32, Answer)>)>;

/// `None`: nothing is committed.
type Answer = Result<Option<CommittedOffset>, GroupError>;

/// Answers group by group.
pub fn handle(broker: &Broker, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if version >= MANY_GROUPS_SINCE {
        let groups = request.groups.into_iter().map(wanted_group).map(|wanted| {
            let found = find(&broker.groups, &wanted, request.require_stable);
            group_response(wanted, found)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let topics = request
        .topics
        .map(|topics| topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect());
    let wanted = Wanted { group: request.group_id.to_string(), member: (None, -1), topics };
    let found = find(&broker.groups, &wanted, request.require_stable);
    single_response(version, wanted, found)
}

fn wanted_group(group: OffsetFetchRequestGroup) -> Wanted {
    Wanted {
        group: group.group_id.to_string(),
        member: (group.member_id.as_ref().map(|id| id.to_string()), group.member_epoch),
        topics: group
            .topics
            .map(|topics| topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()),
    }
}

/// An offset that an open transaction may replace is not told to readers that ask for stable ones.
fn stable(
    groups: &Coordinator,
    wanted: &Wanted,
    topic: &str,
    partition: i32,
    committed: Option<CommittedOffset>,
    require_stable: bool,
) -> Result<Answer, GroupError> {
    let unstable = require_stable && groups.is_unstable(&wanted.group, topic, partition)?;
    Ok(if unstable { Err(GroupError::UnstableOffsetCommit) } else { Ok(committed) })
}

fn find(groups: &Coordinator, wanted: &Wanted, require_stable: bool) -> Result<Found, GroupError> {
    // Version 9 names a member and its epoch. Apache Kafka holds them against the new consumer groups only; a member of a
    // classic group may name any (@platformatic/kafka sends an epoch that is not its generation).
    groups.check_fetch(&wanted.group, wanted.member.0.as_deref(), wanted.member.1)?;
    let Some(topics) = &wanted.topics else {
        let mut all: BTreeMap<String, Vec<(i32, Answer)>> = BTreeMap::new();
        for ((topic, partition), committed) in groups.all_committed(&wanted.group)? {
            let answer = stable(groups, wanted, &topic, partition, Some(committed), require_stable)?;
            all.entry(topic).or_default().push((partition, answer));
        }
        return Ok(all.into_iter().collect());
    };
    let mut found = Vec::with_capacity(topics.len());
    for (topic, partitions) in topics {
        let mut offsets = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let committed = groups.committed(&wanted.group, topic, *partition)?;
            offsets.push((*partition, stable(groups, wanted, topic, *partition, committed, require_stable)?));
        }
        found.push((topic.clone(), offsets));
    }
    Ok(found)
}

fn group_response(wanted: Wanted, found: Result<Found, GroupError>) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(wire(wanted.group).into());
    let found = match found {
        Ok(found) => found,
        Err(error) => return response.with_error_code(error.wire_code()),
    };
    let topics = found.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, answer)| {
            let (code, offset, epoch, metadata) = fields(answer);
            OffsetFetchResponsePartitions::default()
                .with_error_code(code)
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(Some(wire(metadata)))
        });
        OffsetFetchResponseTopics::default().with_name(TopicName(wire(topic))).with_partitions(partitions.collect())
    });
    response.with_topics(topics.collect())
}

fn single_response(version: i16, wanted: Wanted, found: Result<Found, GroupError>) -> OffsetFetchResponse {
    let found = match found {
        Ok(found) => found,
        Err(error) if version >= TOP_LEVEL_ERROR_SINCE => {
            return OffsetFetchResponse::default().with_error_code(error.wire_code());
        }
        // Version 1 can only say it for each partition.
        Err(error) => {
            let refused = |index| (index, Err(error.clone()));
            let topics = wanted.topics.unwrap_or_default().into_iter();
            topics.map(|(topic, list)| (topic, list.into_iter().map(refused).collect())).collect()
        }
    };
    let topics = found.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(index, answer)| {
            let (code, offset, epoch, metadata) = fields(answer);
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(if version >= 5 { epoch } else { -1 })
                .with_metadata(Some(wire(metadata)))
                .with_error_code(code)
        });
        OffsetFetchResponseTopic::default().with_name(TopicName(wire(topic))).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

/// Error, offset, epoch and metadata as the wire has them.
fn fields(answer: Answer) -> (i16, i64, i32, String) {
    match answer {
        Err(error) => (error.wire_code(), -1, -1, String::new()),
        Ok(None) => (NONE, -1, -1, String::new()),
        Ok(Some(c)) => (NONE, c.offset.0, c.leader_epoch.map_or(-1, |epoch| epoch.0), c.metadata),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;
    use weir_protocol::ids::{LeaderEpoch, Offset, Timestamp};

    fn wanted() -> Wanted {
        let topics = Some(vec![("t".to_owned(), vec![0, 1])]);
        Wanted { group: "g".into(), member: (None, -1), topics }
    }

    fn found() -> Found {
        let committed = CommittedOffset {
            offset: Offset(5),
            leader_epoch: Some(LeaderEpoch(2)),
            metadata: "note".into(),
            committed_at: Timestamp(1),
            expires_at: None,
        };
        vec![(
            "t".to_owned(),
            vec![(0, Ok(Some(committed))), (1, Ok(None)), (2, Err(GroupError::UnstableOffsetCommit))],
        )]
    }

    #[test]
    fn partition_without_an_offset_is_minus_one_and_no_error() {
        let group = group_response(wanted(), Ok(found()));
        let partitions = &group.topics[0].partitions;
        assert_eq!((partitions[0].committed_offset, partitions[0].committed_leader_epoch), (5, 2));
        assert_eq!((partitions[1].committed_offset, partitions[1].error_code), (-1, 0));
        assert_eq!((partitions[2].committed_offset, partitions[2].error_code), (-1, 88));
    }

    #[test]
    fn version_1_repeats_the_groups_error_for_each_partition() {
        let response = single_response(1, wanted(), Err(GroupError::CoordinatorLoadInProgress));
        assert!(response.topics[0].partitions.iter().all(|p| p.error_code == 14 && p.committed_offset == -1));
        let response = single_response(2, wanted(), Err(GroupError::CoordinatorLoadInProgress));
        assert_eq!((response.error_code, response.topics.len()), (14, 0));
    }

    #[test]
    fn every_version_encodes_success_and_error() {
        for version in VERSIONS.min..=VERSIONS.max {
            for found in [Ok(found()), Err(GroupError::UnknownMemberId)] {
                let response = if version >= MANY_GROUPS_SINCE {
                    OffsetFetchResponse::default().with_groups(vec![group_response(wanted(), found)])
                } else {
                    single_response(version, wanted(), found)
                };
                response.encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
