//! Why a group refuses.
use thiserror::Error;

/// Why a group refuses. Names are Kafka's error names.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GroupError {
    #[error("the member id is not known to the group; join again")]
    UnknownMemberId,
    #[error("join again with the member id `{member_id}`")]
    MemberIdRequired { member_id: String },
    #[error("another member has taken over this group.instance.id")]
    FencedInstanceId,
    #[error("the generation is not the current one; join again")]
    IllegalGeneration,
    #[error("the group is rebalancing; join again")]
    RebalanceInProgress,
    #[error("the protocol type or the protocols do not fit those of the group's members")]
    InconsistentGroupProtocol,
    #[error("the group has as many members as `groups.max_size` allows")]
    GroupMaxSizeReached,
    #[error(
        "session.timeout.ms is {got_ms}, it must be from {min_ms} to {max_ms} (`groups.session_timeout_min`, `groups.session_timeout_max`)"
    )]
    InvalidSessionTimeout { got_ms: i32, min_ms: i32, max_ms: i32 },
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("the group does not exist")]
    GroupIdNotFound,
    #[error("the group still has members")]
    NonEmptyGroup,
    #[error("a member of the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    #[error("the offsets of this group are being loaded; retry")]
    CoordinatorLoadInProgress,
    #[error("the coordinator is not available; retry")]
    CoordinatorNotAvailable,
    #[error("the producer has no open transaction with this group, or it has just ended")]
    NoTransaction,
    #[error("a newer producer with this transactional id has taken over")]
    InvalidProducerEpoch,
    #[error("an open transaction has offsets of this partition; retry when it has ended")]
    UnstableOffsetCommit,
    #[error("the metadata of an offset is larger than `groups.offset_metadata_max_bytes`")]
    OffsetMetadataTooLarge,
    #[error("the member is in epoch {known}, not in {got}; it must give up all its partitions and join again")]
    FencedMemberEpoch { got: i32, known: i32 },
    #[error("the member epoch is not the current one; heartbeat and try again")]
    StaleMemberEpoch,
    #[error("another member with this group.instance.id has not left yet")]
    UnreleasedInstanceId,
    #[error("the assignor `{name}` is not supported; these are: {supported}")]
    UnsupportedAssignor { name: String, supported: String },
    #[error("the regular expression is not valid: {detail}")]
    InvalidRegularExpression { detail: String },
    #[error("{detail}")]
    InvalidRequest { detail: &'static str },
    #[error("the group is of another type; this is for {wanted} groups")]
    OtherGroupType { wanted: &'static str },
    #[error("the classic group cannot become a consumer group: {why}")]
    NotUpgradable { why: &'static str },
    #[error("members of the consumer protocol need version {since} or later of this request")]
    UnsupportedVersion { since: i16 },
}
