//! What clients are told for each variant, and whether they may try again. Change a line here only on purpose: a client
//! somewhere depends on it.
use std::fmt::Write as _;

use uuid::Uuid;
use weir_protocol::ids::{Offset, PartitionId, ProducerEpoch, ProducerId, TopicId};
use weir_protocol::records::Compression;
use weir_storage::log::PartitionKey;
use weir_storage::meta::MetaError;

use super::*;
use crate::tables::TablePlanError;

fn key() -> PartitionKey {
    PartitionKey { topic: TopicId(Uuid::nil()), partition: PartitionId(0) }
}

fn text() -> String {
    String::new()
}

/// One line for each error: its variant (from Debug, up to the fields), code, and `retriable` or `final`.
fn lines(kind: &str, errors: Vec<&dyn KafkaError>) -> String {
    let mut out = String::new();
    for error in errors {
        let debug = format!("{error:?}");
        let variant = debug.split([' ', '(', '{']).next().unwrap_or_default();
        let code = error.error_code();
        let retriable = if code.is_retriable() { "retriable" } else { "final" };
        writeln!(out, "{kind}::{variant} {} {code:?} {retriable}", code.code()).unwrap();
    }
    out
}

#[test]
fn lookups_epochs_and_sessions() {
    let mut got = lines(
        "Lookup",
        vec![
            &LookupError::UnknownTopic { name: text() },
            &LookupError::UnknownTopicId { id: Uuid::nil() },
            &LookupError::UnknownPartition { topic: text(), partitions: 1, partition: 1 },
        ],
    );
    got += &lines(
        "Epoch",
        vec![&EpochError::Fenced { claimed: 1, current: 2 }, &EpochError::Unknown { claimed: 2, current: 1 }],
    );
    got += &lines(
        "FetchSession",
        vec![
            &FetchSessionError::NotFound { id: 1 },
            &FetchSessionError::EpochMismatch { id: 1, expected: 1, got: 2 },
            &FetchSessionError::TopicNaming { id: 1, made_with_ids: true },
        ],
    );
    let expected = "\
Lookup::UnknownTopic 3 UnknownTopicOrPartition retriable
Lookup::UnknownTopicId 100 UnknownTopicId retriable
Lookup::UnknownPartition 3 UnknownTopicOrPartition retriable
Epoch::Fenced 74 FencedLeaderEpoch retriable
Epoch::Unknown 75 UnknownLeaderEpoch retriable
FetchSession::NotFound 70 FetchSessionIdNotFound retriable
FetchSession::EpochMismatch 71 InvalidFetchSessionEpoch retriable
FetchSession::TopicNaming 106 FetchSessionTopicIdError retriable
";
    assert_eq!(got, expected);
}

#[test]
fn appends_and_reads() {
    let (partition, producer) = (key(), ProducerId(1));
    let (current, stale) = (ProducerEpoch(2), ProducerEpoch(1));
    let mut got = lines(
        "Append",
        vec![
            &AppendError::OutOfOrderSequence { partition, producer, expected: 1, got: 3 },
            &AppendError::StaleProducerEpoch { partition, producer, current, got: stale },
            &AppendError::DuplicateTooOld { partition, producer },
            &AppendError::NoTransaction { partition, producer },
            &AppendError::NotTransactional { partition, producer },
            &AppendError::StaleCoordinator { partition, current: 2, got: 1 },
            &AppendError::DiskFull,
            &AppendError::LogUnavailable { reason: text() },
            &AppendError::Overloaded { limit_bytes: 1 },
            &AppendError::LogFull { limit_bytes: 1 },
            &AppendError::PartitionDeleted(partition),
            &AppendError::ShuttingDown,
        ],
    );
    let offset = Offset(0);
    got += &lines(
        "Read",
        vec![
            &ReadError::OffsetOutOfRange { partition, offset, log_start: offset, limit: offset },
            &ReadError::Corrupt { partition, offset, file: text(), position: 0, detail: text() },
            &ReadError::Io { partition, file: text(), reason: text() },
            &ReadError::NoMemory { partition, bytes: 1, waited: std::time::Duration::ZERO },
            &ReadError::PartitionDeleted(partition),
        ],
    );
    let expected = "\
Append::OutOfOrderSequence 45 OutOfOrderSequenceNumber final
Append::StaleProducerEpoch 47 InvalidProducerEpoch final
Append::DuplicateTooOld 46 DuplicateSequenceNumber final
Append::NoTransaction 48 InvalidTxnState final
Append::NotTransactional 48 InvalidTxnState final
Append::StaleCoordinator 52 TransactionCoordinatorFenced final
Append::DiskFull 56 KafkaStorageError retriable
Append::LogUnavailable 56 KafkaStorageError retriable
Append::Overloaded 19 NotEnoughReplicas retriable
Append::LogFull 19 NotEnoughReplicas retriable
Append::PartitionDeleted 3 UnknownTopicOrPartition retriable
Append::ShuttingDown 6 NotLeaderOrFollower retriable
Read::OffsetOutOfRange 1 OffsetOutOfRange final
Read::Corrupt 56 KafkaStorageError retriable
Read::Io 56 KafkaStorageError retriable
Read::NoMemory 56 KafkaStorageError retriable
Read::PartitionDeleted 3 UnknownTopicOrPartition retriable
";
    assert_eq!(got, expected);
}

#[test]
fn produced_batches() {
    let mut got = lines(
        "Batch",
        vec![
            &BatchError::TooShort { have: 1, need: 2 },
            &BatchError::BadLength { batch_length: 1 },
            &BatchError::TrailingBytes { bytes: 1 },
            &BatchError::BaseOffset { base_offset: 1 },
            &BatchError::OldMagic { magic: 1 },
            &BatchError::UnknownMagic { magic: 9 },
            &BatchError::CrcMismatch { stored: 1, computed: 2 },
            &BatchError::UnknownCompression { codec: 7 },
            &BatchError::CountMismatch { record_count: 1, last_offset_delta: 5, body_bytes: 9 },
            &BatchError::ProducerFields { producer_id: 1, producer_epoch: -1, base_sequence: 0, transactional: false },
            &BatchError::ControlBatch,
            &BatchError::BrokerOnlyAttributes { attributes: 8 },
            &BatchError::TooLarge { bytes: 2, limit: 1 },
        ],
    );
    got += &lines(
        "Decode",
        vec![
            &DecodeError::Compress(CompressError::Malformed { codec: Compression::Gzip, reason: text() }),
            &DecodeError::Compress(CompressError::TooLarge {
                codec: Compression::Gzip,
                input_bytes: 1,
                limit_bytes: 1,
            }),
            &DecodeError::Record(RecordError::Truncated { field: "key" }),
        ],
    );
    got += &lines(
        "Validate",
        vec![
            &ValidateError::NoBatch,
            &ValidateError::ZstdTooEarly { version: 6 },
            &ValidateError::NullKeys { refused: Vec::new() },
            &ValidateError::Timestamps { refused: Vec::new() },
            &ValidateError::Rows { count: 1, refused: Vec::new() },
            &ValidateError::NoTable { reason: text() },
        ],
    );
    got += &lines(
        "Produce",
        vec![
            &ProduceError::InvalidRequiredAcks { acks: 2 },
            &ProduceError::InternalTopic { topic: text() },
            &ProduceError::TimedOut { timeout_ms: 1 },
            &ProduceError::ValidationLost,
            &ProduceError::DeadLetters { reason: text() },
        ],
    );
    let expected = "\
Batch::TooShort 87 InvalidRecord final
Batch::BadLength 2 CorruptMessage retriable
Batch::TrailingBytes 87 InvalidRecord final
Batch::BaseOffset 87 InvalidRecord final
Batch::OldMagic 87 InvalidRecord final
Batch::UnknownMagic 2 CorruptMessage retriable
Batch::CrcMismatch 2 CorruptMessage retriable
Batch::UnknownCompression 76 UnsupportedCompressionType final
Batch::CountMismatch 87 InvalidRecord final
Batch::ProducerFields 87 InvalidRecord final
Batch::ControlBatch 87 InvalidRecord final
Batch::BrokerOnlyAttributes 32 InvalidTimestamp final
Batch::TooLarge 10 MessageTooLarge final
Decode::Compress 87 InvalidRecord final
Decode::Compress 10 MessageTooLarge final
Decode::Record 87 InvalidRecord final
Validate::NoBatch 87 InvalidRecord final
Validate::ZstdTooEarly 76 UnsupportedCompressionType final
Validate::NullKeys 87 InvalidRecord final
Validate::Timestamps 32 InvalidTimestamp final
Validate::Rows 87 InvalidRecord final
Validate::NoTable 87 InvalidRecord final
Produce::InvalidRequiredAcks 21 InvalidRequiredAcks final
Produce::InternalTopic 17 InvalidTopicException final
Produce::TimedOut 7 RequestTimedOut retriable
Produce::ValidationLost -1 UnknownServerError final
Produce::DeadLetters 87 InvalidRecord final
";
    assert_eq!(got, expected);
}

#[test]
fn groups() {
    let got = lines(
        "Group",
        vec![
            &GroupError::UnknownMemberId,
            &GroupError::MemberIdRequired { member_id: text() },
            &GroupError::FencedInstanceId,
            &GroupError::IllegalGeneration,
            &GroupError::RebalanceInProgress,
            &GroupError::InconsistentGroupProtocol,
            &GroupError::GroupMaxSizeReached,
            &GroupError::InvalidSessionTimeout { got_ms: 1, min_ms: 2, max_ms: 3 },
            &GroupError::InvalidGroupId,
            &GroupError::GroupIdNotFound,
            &GroupError::NonEmptyGroup,
            &GroupError::GroupSubscribedToTopic,
            &GroupError::CoordinatorLoadInProgress,
            &GroupError::CoordinatorNotAvailable,
            &GroupError::NoTransaction,
            &GroupError::InvalidProducerEpoch,
            &GroupError::UnstableOffsetCommit,
            &GroupError::OffsetMetadataTooLarge,
            &GroupError::FencedMemberEpoch { got: 1, known: 2 },
            &GroupError::StaleMemberEpoch,
            &GroupError::UnreleasedInstanceId,
            &GroupError::UnsupportedAssignor { name: text(), supported: text() },
            &GroupError::InvalidRegularExpression { detail: text() },
            &GroupError::InvalidRequest { detail: "x" },
            &GroupError::OtherGroupType { wanted: "classic" },
            &GroupError::NotUpgradable { why: "x" },
            &GroupError::UnsupportedVersion { since: 9 },
        ],
    );
    let invalid = GroupConfigError::Invalid { name: "x", value: text(), min: 1, max: 2, setting: "x" };
    let got = got
        + &lines(
            "GroupConfig",
            vec![
                &GroupConfigError::Unknown { name: text() },
                &GroupConfigError::NoValue { name: text() },
                &GroupConfigError::NotAList { name: text() },
                &invalid,
                &GroupConfigError::InvalidText { name: "x", value: text(), allowed: "y" },
                &GroupConfigError::SessionTooShort { kind: "consumer", session_ms: 1, interval_ms: 2 },
                &GroupConfigError::NoName,
                &ResourceError::NamelessGroup,
            ],
        );
    let expected = "\
Group::UnknownMemberId 25 UnknownMemberId final
Group::MemberIdRequired 79 MemberIdRequired final
Group::FencedInstanceId 82 FencedInstanceId final
Group::IllegalGeneration 22 IllegalGeneration final
Group::RebalanceInProgress 27 RebalanceInProgress final
Group::InconsistentGroupProtocol 23 InconsistentGroupProtocol final
Group::GroupMaxSizeReached 81 GroupMaxSizeReached final
Group::InvalidSessionTimeout 26 InvalidSessionTimeout final
Group::InvalidGroupId 24 InvalidGroupId final
Group::GroupIdNotFound 69 GroupIdNotFound final
Group::NonEmptyGroup 68 NonEmptyGroup final
Group::GroupSubscribedToTopic 86 GroupSubscribedToTopic final
Group::CoordinatorLoadInProgress 14 CoordinatorLoadInProgress retriable
Group::CoordinatorNotAvailable 15 CoordinatorNotAvailable retriable
Group::NoTransaction 48 InvalidTxnState final
Group::InvalidProducerEpoch 47 InvalidProducerEpoch final
Group::UnstableOffsetCommit 88 UnstableOffsetCommit retriable
Group::OffsetMetadataTooLarge 12 OffsetMetadataTooLarge final
Group::FencedMemberEpoch 110 FencedMemberEpoch final
Group::StaleMemberEpoch 113 StaleMemberEpoch final
Group::UnreleasedInstanceId 111 UnreleasedInstanceId final
Group::UnsupportedAssignor 112 UnsupportedAssignor final
Group::InvalidRegularExpression 128 InvalidRegularExpression final
Group::InvalidRequest 42 InvalidRequest final
Group::OtherGroupType 69 GroupIdNotFound final
Group::NotUpgradable 69 GroupIdNotFound final
Group::UnsupportedVersion 35 UnsupportedVersion final
GroupConfig::Unknown 40 InvalidConfig final
GroupConfig::NoValue 40 InvalidConfig final
GroupConfig::NotAList 40 InvalidConfig final
GroupConfig::Invalid 40 InvalidConfig final
GroupConfig::InvalidText 40 InvalidConfig final
GroupConfig::SessionTooShort 40 InvalidConfig final
GroupConfig::NoName 42 InvalidRequest final
GroupConfig::NamelessGroup 42 InvalidRequest final
";
    assert_eq!(got, expected);
}

#[test]
fn share_groups() {
    use crate::api::share_acknowledge::{AcknowledgeError, Nameless};
    use crate::share::partition::AckError;
    use crate::share::{ShareError, ShareSessionError};
    let acknowledgement = |error| ShareError::Acknowledgement(error);
    let got = lines(
        "Share",
        vec![
            &ShareError::Loading,
            &ShareError::NotAvailable,
            &ShareError::Unknown,
            &acknowledgement(AckError::Malformed { first: 2, last: 1, why: "x" }),
            &acknowledgement(AckError::NeverAcquired { last: 2, next: 1 }),
            &acknowledgement(AckError::NotOwner { offset: 1 }),
            &AcknowledgeError::NotAuthorized,
            &Nameless,
            &ShareSessionError::NotFound,
            &ShareSessionError::EpochMismatch { expected: 1, got: 2 },
            &ShareSessionError::AcknowledgesAtOpening,
            &ShareSessionError::CannotOpen,
            &ShareSessionError::LimitReached { limit: 1 },
        ],
    );
    let expected = "\
Share::Loading 14 CoordinatorLoadInProgress retriable
Share::NotAvailable 15 CoordinatorNotAvailable retriable
Share::Unknown 3 UnknownTopicOrPartition retriable
Share::Acknowledgement 42 InvalidRequest final
Share::Acknowledgement 42 InvalidRequest final
Share::Acknowledgement 121 InvalidRecordState final
Share::NotAuthorized 29 TopicAuthorizationFailed final
Share::Nameless 42 InvalidRequest final
Share::NotFound 122 ShareSessionNotFound retriable
Share::EpochMismatch 123 InvalidShareSessionEpoch retriable
Share::AcknowledgesAtOpening 42 InvalidRequest final
Share::CannotOpen 123 InvalidShareSessionEpoch retriable
Share::LimitReached 133 ShareSessionLimitReached retriable
";
    assert_eq!(got, expected);
}

#[test]
fn topics_configs_and_the_rest() {
    let mut got = lines(
        "Topic",
        vec![
            &TopicError::InvalidName { name: text() },
            &TopicError::AlreadyExists { name: text() },
            &TopicError::Collides { name: text(), existing: text() },
            &TopicError::Unknown { name: text() },
            &TopicError::UnknownId { id: TopicId(Uuid::nil()) },
            &TopicError::Internal { name: text(), action: "deleted" },
            &TopicError::InvalidPartitions { name: text(), wanted: 0 },
            &TopicError::PartitionsNotGrown { name: text(), current: 2, wanted: 1 },
            &TopicError::TooManyPartitions,
            &TopicError::Table(TablePlanError::TooManyVersions),
            &TopicError::Metadata(MetaError::Table { detail: text() }),
        ],
    );
    got += &lines(
        "View",
        vec![
            &ViewError::NoSource { source_name: text() },
            &ViewError::BadSource { source_name: text(), kind: "a view itself" },
            &ViewError::Waiting { source_name: text(), reason: text() },
            &ViewError::Partitions { source_name: text(), partitions: 1, wanted: 2 },
            &ViewError::NoPart { source_name: text(), column: text() },
            &ViewError::OtherColumn { column: text() },
            &ViewError::Schema { reason: text() },
            &ViewError::NotAView { topic: text() },
            &ViewError::StaysView { topic: text(), source_name: text() },
            &ViewError::InUse { topic: text(), views: text() },
            &ViewError::CannotFollow { view: text(), reason: text() },
            &ViewError::NothingOfItsOwn { topic: text(), source_name: text(), what: "records" },
        ],
    );
    got += &lines(
        "CreateTopic",
        vec![
            &CreateTopicError::NamedTwice { name: text() },
            &CreateTopicError::CountsWithAssignment,
            &CreateTopicError::ReplicationFactor { got: 0 },
            &CreateTopicError::PartitionCount { got: 0 },
            &CreateTopicError::Assignment(AssignmentError::NoBroker { partition: 0 }),
            &CreateTopicError::Config(TopicConfigError::NoValue { name: text() }),
        ],
    );
    got += &lines(
        "DeleteRecords",
        vec![
            &DeleteRecordsError::InternalTopic { topic: text() },
            &DeleteRecordsError::CompactedOnly { topic: text() },
            &DeleteRecordsError::NegativeOffset { offset: -2 },
            &DeleteRecordsError::TimedOut { timeout_ms: 1 },
        ],
    );
    got += &lines(
        "Resource",
        vec![
            &ResourceError::InvalidTopic { name: text() },
            &ResourceError::OtherBroker { name: text(), this: 1 },
            &ResourceError::NoTopicName,
            &ResourceError::NoConfigs { kind: 16 },
        ],
    );
    got += &lines(
        "AlterConfigs",
        vec![
            &AlterConfigsError::UnknownOperation { operation: 9 },
            &AlterConfigsError::Config(TopicConfigError::NoValue { name: text() }),
        ],
    );
    got += &lines(
        "Logger",
        vec![
            &LoggerError::Unknown { name: text() },
            &LoggerError::NoLevel { value: text() },
            &LoggerError::RootStays,
            &LoggerError::OnlySetOrDelete,
            &LoggerError::Refused { reason: text() },
        ],
    );
    got += &lines(
        "DynamicConfig",
        vec![
            &DynamicConfigError::NotDynamic(NotDynamic::Unknown { name: text(), nearest: None }),
            &DynamicConfigError::Defaults(TopicConfigError::LagOrder { min: 2, max: 1 }),
            &DynamicConfigError::NoValue { name: text() },
            &DynamicConfigError::NotAList { name: text() },
            &DynamicConfigError::Metadata(MetaError::Closed),
        ],
    );
    got += &lines("Coordinator", vec![&UnknownCoordinatorType { key_type: 2 }]);
    got += &lines("Fetch", vec![&ZstdUnsupported { version: 9 }]);
    got += &lines(
        "InitProducerId",
        vec![
            &InitProducerIdError::Transaction(TxnError::EmptyTransactionalId),
            &InitProducerIdError::NotRecorded { reason: text() },
        ],
    );
    let expected = "\
Topic::InvalidName 17 InvalidTopicException final
Topic::AlreadyExists 36 TopicAlreadyExists final
Topic::Collides 17 InvalidTopicException final
Topic::Unknown 3 UnknownTopicOrPartition retriable
Topic::UnknownId 100 UnknownTopicId retriable
Topic::Internal 17 InvalidTopicException final
Topic::InvalidPartitions 37 InvalidPartitions final
Topic::PartitionsNotGrown 37 InvalidPartitions final
Topic::TooManyPartitions 44 PolicyViolation final
Topic::Table 40 InvalidConfig final
Topic::Metadata 56 KafkaStorageError retriable
View::NoSource 40 InvalidConfig final
View::BadSource 40 InvalidConfig final
View::Waiting 40 InvalidConfig final
View::Partitions 37 InvalidPartitions final
View::NoPart 40 InvalidConfig final
View::OtherColumn 40 InvalidConfig final
View::Schema 40 InvalidConfig final
View::NotAView 40 InvalidConfig final
View::StaysView 40 InvalidConfig final
View::InUse 42 InvalidRequest final
View::CannotFollow 40 InvalidConfig final
View::NothingOfItsOwn 42 InvalidRequest final
CreateTopic::NamedTwice 42 InvalidRequest final
CreateTopic::CountsWithAssignment 42 InvalidRequest final
CreateTopic::ReplicationFactor 38 InvalidReplicationFactor final
CreateTopic::PartitionCount 37 InvalidPartitions final
CreateTopic::Assignment 39 InvalidReplicaAssignment final
CreateTopic::Config 40 InvalidConfig final
DeleteRecords::InternalTopic 17 InvalidTopicException final
DeleteRecords::CompactedOnly 44 PolicyViolation final
DeleteRecords::NegativeOffset 1 OffsetOutOfRange final
DeleteRecords::TimedOut 7 RequestTimedOut retriable
Resource::InvalidTopic 17 InvalidTopicException final
Resource::OtherBroker 42 InvalidRequest final
Resource::NoTopicName 42 InvalidRequest final
Resource::NoConfigs 42 InvalidRequest final
AlterConfigs::UnknownOperation 42 InvalidRequest final
AlterConfigs::Config 42 InvalidRequest final
Logger::Unknown 40 InvalidConfig final
Logger::NoLevel 40 InvalidConfig final
Logger::RootStays 42 InvalidRequest final
Logger::OnlySetOrDelete 42 InvalidRequest final
Logger::Refused -1 UnknownServerError final
DynamicConfig::NotDynamic 40 InvalidConfig final
DynamicConfig::Defaults 42 InvalidRequest final
DynamicConfig::NoValue 42 InvalidRequest final
DynamicConfig::NotAList 42 InvalidRequest final
DynamicConfig::Metadata 56 KafkaStorageError retriable
Coordinator::UnknownCoordinatorType 42 InvalidRequest final
Fetch::ZstdUnsupported 76 UnsupportedCompressionType final
InitProducerId::Transaction 42 InvalidRequest final
InitProducerId::NotRecorded 15 CoordinatorNotAvailable retriable
";
    assert_eq!(got, expected);
}

#[test]
fn transactions() {
    let all = [
        TxnError::InvalidProducerIdMapping,
        TxnError::ProducerFenced,
        TxnError::ConcurrentTransactions,
        TxnError::NothingToCommit { phase: "Empty" },
        TxnError::InvalidTxnState { phase: "Empty" },
        TxnError::TransactionAbortable,
        TxnError::InvalidTransactionTimeout { got_ms: 0, max_ms: 1 },
        TxnError::EmptyTransactionalId,
        TxnError::TransactionalIdNotFound { id: text() },
        TxnError::CoordinatorLoadInProgress,
        TxnError::CoordinatorNotAvailable,
    ];
    let expected = "\
Txn::InvalidProducerIdMapping 49 InvalidProducerIdMapping final
Txn::ProducerFenced 90 ProducerFenced final
Txn::ConcurrentTransactions 51 ConcurrentTransactions final
Txn::NothingToCommit 51 ConcurrentTransactions final
Txn::InvalidTxnState 48 InvalidTxnState final
Txn::TransactionAbortable 120 TransactionAbortable final
Txn::InvalidTransactionTimeout 50 InvalidTransactionTimeout final
Txn::EmptyTransactionalId 42 InvalidRequest final
Txn::TransactionalIdNotFound 105 TransactionalIdNotFound final
Txn::CoordinatorLoadInProgress 14 CoordinatorLoadInProgress retriable
Txn::CoordinatorNotAvailable 15 CoordinatorNotAvailable retriable
";
    assert_eq!(lines("Txn", all.iter().map(|error| error as &dyn KafkaError).collect()), expected);
    assert_eq!(ProduceError::ProducerFenced.wire_code(), 47);
    assert_eq!(ProduceError::NotInTransaction.wire_code(), 48);
    assert_eq!(ProduceError::TransactionBusy(TxnError::ConcurrentTransactions).wire_code(), 19);
    assert_eq!(ProduceError::Transaction(TxnError::TransactionAbortable).wire_code(), 120);
    assert_eq!(ProduceError::NoTransactionalId.wire_code(), 53);
}

#[test]
fn quotas() {
    let got = lines(
        "Quota",
        vec![
            &QuotaError::UnknownKey { key: text() },
            &QuotaError::NotEnforced { key: text() },
            &QuotaError::Value { key: "producer_byte_rate", value: 0.0 },
            &QuotaError::NoEntity,
            &QuotaError::Misplaced { key: "producer_byte_rate" },
            &QuotaError::Combination,
            &QuotaError::Address { ip: text() },
            &QuotaError::EntityType { kind: text() },
            &QuotaError::Twice { kind: text() },
            &QuotaError::Length { kind: "user", bytes: 0 },
            &QuotaError::MatchType { code: 9 },
            &QuotaError::TooMany,
            &QuotaError::Metadata(MetaError::Closed),
        ],
    );
    let expected = "\
Quota::UnknownKey 42 InvalidRequest final
Quota::NotEnforced 42 InvalidRequest final
Quota::Value 42 InvalidRequest final
Quota::NoEntity 42 InvalidRequest final
Quota::Misplaced 42 InvalidRequest final
Quota::Combination 42 InvalidRequest final
Quota::Address 42 InvalidRequest final
Quota::EntityType 42 InvalidRequest final
Quota::Twice 42 InvalidRequest final
Quota::Length 42 InvalidRequest final
Quota::MatchType 42 InvalidRequest final
Quota::TooMany 44 PolicyViolation final
Quota::Metadata 56 KafkaStorageError retriable
";
    assert_eq!(got, expected);
}

#[test]
fn access_control_lists() {
    let got = lines(
        "Acl",
        vec![
            &AclError::InvalidField { field: "operation", code: 0 },
            &AclError::EmptyName,
            &AclError::ClusterName { name: text() },
            &AclError::Principal { principal: text() },
            &AclError::Length { field: "host", bytes: 2000 },
            &AclError::Host { host: text() },
            &AclStoreError::TooMany { have: 1 },
            &AclStoreError::Metadata(MetaError::Closed),
        ],
    ) + &lines(
        "Grant",
        vec![
            &GrantError::Shape { binding: text() },
            &GrantError::Nothing,
            &GrantError::NoTopic { topic: text() },
            &GrantError::Kind { topic: text(), kind: "a view" },
            &GrantError::NoColumn { topic: text(), column: text(), known: text() },
            &GrantError::TooManyColumns { count: 3_000 },
            &GrantError::Filter(weir_predicate::PlanError::Empty),
            &GrantError::Exists { principal: text(), topic: text() },
            &GrantError::Tag(text()),
        ],
    );
    let expected = "\
Acl::InvalidField 42 InvalidRequest final
Acl::EmptyName 42 InvalidRequest final
Acl::ClusterName 42 InvalidRequest final
Acl::Principal 42 InvalidRequest final
Acl::Length 42 InvalidRequest final
Acl::Host 42 InvalidRequest final
Acl::TooMany 44 PolicyViolation final
Acl::Metadata 56 KafkaStorageError retriable
Grant::Shape 42 InvalidRequest final
Grant::Nothing 42 InvalidRequest final
Grant::NoTopic 42 InvalidRequest final
Grant::Kind 42 InvalidRequest final
Grant::NoColumn 42 InvalidRequest final
Grant::TooManyColumns 42 InvalidRequest final
Grant::Filter 42 InvalidRequest final
Grant::Exists 42 InvalidRequest final
Grant::Tag 42 InvalidRequest final
";
    assert_eq!(got, expected);
}

#[test]
fn handshakes_and_users() {
    use weir_protocol::sasl::Mechanism;
    let mechanism = Mechanism::Plain;
    let mut got = lines("Handshake", vec![&HandshakeRefused::Mechanism, &HandshakeRefused::State]);
    got += &lines(
        "User",
        vec![
            &UserError::Name,
            &UserError::Iterations { given: 1 },
            &UserError::Shape { mechanism },
            &UserError::Missing { name: text(), mechanism },
            &UserError::NoRandomness,
            &UserError::Metadata(MetaError::Closed),
        ],
    );
    got += &lines(
        "AlterUser",
        vec![&AlterUserError::Twice, &AlterUserError::Mechanism { number: 9 }, &AlterUserError::User(UserError::Name)],
    );
    let expected = "\
Handshake::Mechanism 33 UnsupportedSaslMechanism final
Handshake::State 34 IllegalSaslState final
User::Name 93 UnacceptableCredential final
User::Iterations 93 UnacceptableCredential final
User::Shape 93 UnacceptableCredential final
User::Missing 91 ResourceNotFound final
User::NoRandomness -1 UnknownServerError final
User::Metadata 56 KafkaStorageError retriable
AlterUser::Twice 92 DuplicateResource final
AlterUser::Mechanism 33 UnsupportedSaslMechanism final
AlterUser::User 93 UnacceptableCredential final
";
    assert_eq!(got, expected);
}
