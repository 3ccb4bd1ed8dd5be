//! The one place where the broker's errors become Kafka error codes.
//!
//! Each domain error has an exhaustive match here, without a `_` arm: a new variant does not compile until somebody has
//! decided what clients are told. A snapshot test lists variant -> code -> retriable.
use weir_protocol::columnar::ColumnarError;
use weir_protocol::records::{BatchError, CompressError, DecodeError, RecordError, RewriteError};
use weir_storage::log::{AppendError, ReadError};

use crate::api::alter_partition_reassignments::ReassignmentError;
use crate::api::alter_user_scram_credentials::AlterUserError;
use crate::api::config_change::AlterConfigsError;
use crate::api::config_resource::ResourceError;
use crate::api::create_partitions::CreatePartitionsError;
use crate::api::create_topics::{AssignmentError, CreateTopicError};
use crate::api::delete_records::DeleteRecordsError;
use crate::api::delete_topics::DeleteTopicError;
use crate::api::describe_configs::DescribeConfigsError;
use crate::api::fetch::read::ZstdUnsupported;
use crate::api::fetch::session::FetchSessionError;
use crate::api::find_coordinator::UnknownCoordinatorType;
use crate::api::init_producer_id::InitProducerIdError;
use crate::api::list_transactions::ListTransactionsError;
use crate::api::lookup::{EpochError, LookupError};
use crate::api::produce::ProduceError;
use crate::api::produce::columns::ColumnarProduceError;
use crate::api::produce::validate::ValidateError;
use crate::dynamic_config::{DynamicConfigError, NotDynamic};
use crate::group::{GroupConfigError, GroupError};
use crate::loggers::LoggerError;
use crate::quota::QuotaError;
use crate::security::UserError;
use crate::security::acl::{AclError, AclStoreError, GrantError};
use crate::security::sasl::session::HandshakeRefused;
use crate::share::ShareError;
use crate::share::partition::AckError;
use crate::topic_config::TopicConfigError;
use crate::topics::TopicError;
use crate::txn::TxnError;
use crate::views::ViewError;

/// Kafka's error codes, by Kafka's names.
pub use kafka_protocol::ResponseError as ErrorCode;

/// The code of "no error".
pub const NONE: i16 = 0;

/// An error that a client can be told.
pub trait KafkaError: std::error::Error {
    /// The code that makes clients do the right thing: retry, refresh metadata, rejoin, or give up.
    fn error_code(&self) -> ErrorCode;

    /// The code as it goes over the wire.
    fn wire_code(&self) -> i16 {
        self.error_code().code()
    }
}

impl KafkaError for LookupError {
    fn error_code(&self) -> ErrorCode {
        match self {
            LookupError::UnknownTopic { .. } | LookupError::UnknownPartition { .. } => {
                ErrorCode::UnknownTopicOrPartition
            }
            LookupError::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
        }
    }
}

impl KafkaError for HandshakeRefused {
    fn error_code(&self) -> ErrorCode {
        match self {
            HandshakeRefused::Mechanism => ErrorCode::UnsupportedSaslMechanism,
            HandshakeRefused::State => ErrorCode::IllegalSaslState,
        }
    }
}

impl KafkaError for UserError {
    fn error_code(&self) -> ErrorCode {
        match self {
            UserError::Name | UserError::Iterations { .. } | UserError::Shape { .. } => {
                ErrorCode::UnacceptableCredential
            }
            UserError::Missing { .. } => ErrorCode::ResourceNotFound,
            UserError::NoRandomness => ErrorCode::UnknownServerError,
            UserError::Metadata(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl KafkaError for AlterUserError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AlterUserError::Twice => ErrorCode::DuplicateResource,
            AlterUserError::Mechanism { .. } => ErrorCode::UnsupportedSaslMechanism,
            AlterUserError::User(error) => error.error_code(),
        }
    }
}

impl KafkaError for EpochError {
    fn error_code(&self) -> ErrorCode {
        match self {
            EpochError::Fenced { .. } => ErrorCode::FencedLeaderEpoch,
            EpochError::Unknown { .. } => ErrorCode::UnknownLeaderEpoch,
        }
    }
}

impl KafkaError for FetchSessionError {
    fn error_code(&self) -> ErrorCode {
        match self {
            FetchSessionError::NotFound { .. } => ErrorCode::FetchSessionIdNotFound,
            FetchSessionError::EpochMismatch { .. } => ErrorCode::InvalidFetchSessionEpoch,
            FetchSessionError::TopicNaming { .. } => ErrorCode::FetchSessionTopicIdError,
        }
    }
}

impl KafkaError for AppendError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            AppendError::StaleProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            // Clients take this one for a success, which it is: the batch was stored before.
            AppendError::DuplicateTooOld { .. } => ErrorCode::DuplicateSequenceNumber,
            AppendError::NoTransaction { .. } | AppendError::NotTransactional { .. } => ErrorCode::InvalidTxnState,
            AppendError::StaleCoordinator { .. } => ErrorCode::TransactionCoordinatorFenced,
            AppendError::DiskFull | AppendError::LogUnavailable { .. } => ErrorCode::KafkaStorageError,
            // Retriable everywhere and not a reason to refresh metadata.
            AppendError::Overloaded { .. } | AppendError::LogFull { .. } => ErrorCode::NotEnoughReplicas,
            AppendError::PartitionDeleted(_) => ErrorCode::UnknownTopicOrPartition,
            AppendError::ShuttingDown => ErrorCode::NotLeaderOrFollower,
        }
    }
}

impl KafkaError for ReadError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            ReadError::Corrupt { .. } | ReadError::Io { .. } | ReadError::NoMemory { .. } => {
                ErrorCode::KafkaStorageError
            }
            ReadError::PartitionDeleted(_) => ErrorCode::UnknownTopicOrPartition,
        }
    }
}

impl KafkaError for BatchError {
    fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::BadLength { .. } | BatchError::UnknownMagic { .. } | BatchError::CrcMismatch { .. } => {
                ErrorCode::CorruptMessage
            }

            BatchError::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
            // Not CORRUPT_MESSAGE, which clients retry: the same bytes would come again.
            BatchError::OldMagic { .. }
            | BatchError::TooShort { .. }
            | BatchError::BaseOffset { .. }
            | BatchError::TrailingBytes { .. }
            | BatchError::CountMismatch { .. }
            | BatchError::ProducerFields { .. }
            | BatchError::ControlBatch => ErrorCode::InvalidRecord,
            BatchError::BrokerOnlyAttributes { .. } => ErrorCode::InvalidTimestamp,
            BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        }
    }
}

impl KafkaError for DecodeError {
    fn error_code(&self) -> ErrorCode {
        match self {
            DecodeError::Batch(error) => error.error_code(),
            DecodeError::Compress(CompressError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
            // The CRC was right, so the producer made them: a retry would bring the same bytes.
            DecodeError::Compress(CompressError::Malformed { .. } | CompressError::Encoder { .. }) => {
                ErrorCode::InvalidRecord
            }
            DecodeError::Record(
                RecordError::Truncated { .. }
                | RecordError::VarintTooLong { .. }
                | RecordError::NegativeLength { .. }
                | RecordError::TooManyHeaders { .. }
                | RecordError::TooManyRecords { .. }
                | RecordError::TrailingBytes { .. }
                | RecordError::OffsetDelta { .. },
            ) => ErrorCode::InvalidRecord,
        }
    }
}

impl KafkaError for ValidateError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ValidateError::NoBatch
            | ValidateError::NullKeys { .. }
            | ValidateError::Rows { .. }
            | ValidateError::NoTable { .. } => ErrorCode::InvalidRecord,
            ValidateError::Batch(error) => error.error_code(),
            ValidateError::ZstdTooEarly { .. } => ErrorCode::UnsupportedCompressionType,
            ValidateError::Records(error) => error.error_code(),
            ValidateError::Timestamps { .. } => ErrorCode::InvalidTimestamp,
            ValidateError::Recompress(RewriteError::Decode(error)) => error.error_code(),
            ValidateError::Recompress(RewriteError::Compress(_) | RewriteError::Build(_)) => ErrorCode::CorruptMessage,
        }
    }
}

impl KafkaError for ProduceError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ProduceError::InvalidRequiredAcks { .. } => ErrorCode::InvalidRequiredAcks,
            ProduceError::Lookup(error) => error.error_code(),
            ProduceError::InternalTopic { .. } => ErrorCode::InvalidTopicException,
            ProduceError::View(_) => ErrorCode::InvalidTopicException,
            ProduceError::Columns(error) => error.error_code(),
            ProduceError::Invalid(error) => error.error_code(),
            ProduceError::Append(error) => error.error_code(),
            ProduceError::TimedOut { .. } => ErrorCode::RequestTimedOut,
            ProduceError::ValidationLost => ErrorCode::UnknownServerError,
            ProduceError::NoTransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            ProduceError::DeadLetters { .. } => ErrorCode::InvalidRecord,
            ProduceError::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ProduceError::NotInTransaction => ErrorCode::InvalidTxnState,
            // Retriable everywhere and not a reason to refresh metadata.
            ProduceError::TransactionBusy(_) => ErrorCode::NotEnoughReplicas,
            ProduceError::Transaction(error) => error.error_code(),
        }
    }
}

impl KafkaError for UnknownCoordinatorType {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }
}

impl KafkaError for InitProducerIdError {
    fn error_code(&self) -> ErrorCode {
        match self {
            InitProducerIdError::HalfAnIdentity { .. } => ErrorCode::InvalidRequest,
            InitProducerIdError::Transaction(error) => error.error_code(),
            InitProducerIdError::NotRecorded { .. } => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl KafkaError for ListTransactionsError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ListTransactionsError::Pattern { .. } => ErrorCode::InvalidRegularExpression,
            ListTransactionsError::Loading => ErrorCode::CoordinatorLoadInProgress,
        }
    }
}

impl KafkaError for TxnError {
    fn error_code(&self) -> ErrorCode {
        match self {
            TxnError::InvalidProducerIdMapping => ErrorCode::InvalidProducerIdMapping,
            TxnError::ProducerFenced => ErrorCode::ProducerFenced,
            TxnError::ConcurrentTransactions | TxnError::NothingToCommit { .. } => ErrorCode::ConcurrentTransactions,
            TxnError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
            TxnError::TransactionAbortable => ErrorCode::TransactionAbortable,
            TxnError::InvalidTransactionTimeout { .. } => ErrorCode::InvalidTransactionTimeout,
            TxnError::EmptyTransactionalId => ErrorCode::InvalidRequest,
            TxnError::TransactionalIdNotFound { .. } => ErrorCode::TransactionalIdNotFound,
            TxnError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            TxnError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl KafkaError for ZstdUnsupported {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::UnsupportedCompressionType
    }
}

impl KafkaError for AssignmentError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AssignmentError::Repeated { .. }
            | AssignmentError::NotConsecutive { .. }
            | AssignmentError::NoBroker { .. }
            | AssignmentError::UnknownBroker { .. }
            | AssignmentError::RepeatedBroker { .. }
            | AssignmentError::WrongCount { .. } => ErrorCode::InvalidReplicaAssignment,
        }
    }
}

impl KafkaError for ReassignmentError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ReassignmentError::Lookup(error) => error.error_code(),
            ReassignmentError::Assignment(error) => error.error_code(),
            ReassignmentError::NothingToCancel => ErrorCode::NoReassignmentInProgress,
        }
    }
}

impl KafkaError for CreateTopicError {
    fn error_code(&self) -> ErrorCode {
        match self {
            CreateTopicError::NamedTwice { .. } | CreateTopicError::CountsWithAssignment => ErrorCode::InvalidRequest,
            CreateTopicError::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            CreateTopicError::PartitionCount { .. } => ErrorCode::InvalidPartitions,
            CreateTopicError::Assignment(error) => error.error_code(),
            CreateTopicError::Config(error) => error.error_code(),
            CreateTopicError::Topic(error) => error.error_code(),
        }
    }
}

impl KafkaError for CreatePartitionsError {
    fn error_code(&self) -> ErrorCode {
        match self {
            CreatePartitionsError::NamedTwice { .. } => ErrorCode::InvalidRequest,
            CreatePartitionsError::Lookup(error) => error.error_code(),
            CreatePartitionsError::NotAnIncrease { .. } => ErrorCode::InvalidPartitions,
            CreatePartitionsError::Assignment(error) => error.error_code(),
            CreatePartitionsError::Topic(error) => error.error_code(),
        }
    }
}

impl KafkaError for DeleteTopicError {
    fn error_code(&self) -> ErrorCode {
        match self {
            DeleteTopicError::NamedTwice | DeleteTopicError::NameAndId | DeleteTopicError::Unnamed => {
                ErrorCode::InvalidRequest
            }
            DeleteTopicError::Disabled => ErrorCode::TopicDeletionDisabled,
            DeleteTopicError::Lookup(error) => error.error_code(),
            DeleteTopicError::Topic(error) => error.error_code(),
        }
    }
}

impl KafkaError for DeleteRecordsError {
    fn error_code(&self) -> ErrorCode {
        match self {
            DeleteRecordsError::Lookup(error) => error.error_code(),
            DeleteRecordsError::InternalTopic { .. } => ErrorCode::InvalidTopicException,
            DeleteRecordsError::View(error) => error.error_code(),
            DeleteRecordsError::CompactedOnly { .. } => ErrorCode::PolicyViolation,
            DeleteRecordsError::NegativeOffset { .. } => ErrorCode::OffsetOutOfRange,
            DeleteRecordsError::Log(error) => error.error_code(),
            DeleteRecordsError::TimedOut { .. } => ErrorCode::RequestTimedOut,
        }
    }
}

impl KafkaError for ColumnarProduceError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ColumnarProduceError::Tag(ColumnarError::UnsupportedVersion { .. }) => ErrorCode::UnsupportedVersion,
            ColumnarProduceError::Tag(
                ColumnarError::Wire(_) | ColumnarError::Value { .. } | ColumnarError::TopicTwice { .. },
            )
            | ColumnarProduceError::Untyped
            | ColumnarProduceError::NoSuchVersion { .. }
            | ColumnarProduceError::Stream { .. }
            | ColumnarProduceError::NoRows
            | ColumnarProduceError::KeyTwice { .. }
            | ColumnarProduceError::Rows { .. } => ErrorCode::InvalidRecord,
            ColumnarProduceError::TooLarge { .. } => ErrorCode::MessageTooLarge,
            ColumnarProduceError::Crc { .. } => ErrorCode::CorruptMessage,
        }
    }
}

impl KafkaError for ViewError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ViewError::NoSource { .. }
            | ViewError::BadSource { .. }
            | ViewError::Waiting { .. }
            | ViewError::Plan(_)
            | ViewError::NoPart { .. }
            | ViewError::OtherColumn { .. }
            | ViewError::Schema { .. }
            | ViewError::NotAView { .. }
            | ViewError::StaysView { .. }
            | ViewError::CannotFollow { .. } => ErrorCode::InvalidConfig,
            ViewError::Partitions { .. } => ErrorCode::InvalidPartitions,
            ViewError::InUse { .. } | ViewError::NothingOfItsOwn { .. } => ErrorCode::InvalidRequest,
        }
    }
}

impl KafkaError for TopicError {
    fn error_code(&self) -> ErrorCode {
        match self {
            TopicError::InvalidName { .. } | TopicError::Collides { .. } | TopicError::Internal { .. } => {
                ErrorCode::InvalidTopicException
            }
            TopicError::AlreadyExists { .. } => ErrorCode::TopicAlreadyExists,
            TopicError::Unknown { .. } => ErrorCode::UnknownTopicOrPartition,
            TopicError::UnknownId { .. } => ErrorCode::UnknownTopicId,
            TopicError::InvalidPartitions { .. } | TopicError::PartitionsNotGrown { .. } => {
                ErrorCode::InvalidPartitions
            }
            TopicError::TooManyPartitions => ErrorCode::PolicyViolation,
            TopicError::Config(error) => error.error_code(),
            TopicError::Table(_) => ErrorCode::InvalidConfig,
            TopicError::View(error) => error.error_code(),
            // Retriable: it is done when the offsets are loaded, or the log takes writes again.
            TopicError::OldOffsets { .. } => ErrorCode::CoordinatorNotAvailable,
            TopicError::Metadata(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl KafkaError for TopicConfigError {
    fn error_code(&self) -> ErrorCode {
        match self {
            TopicConfigError::Unknown { .. }
            | TopicConfigError::Invalid { .. }
            | TopicConfigError::NoValue { .. }
            | TopicConfigError::NotAList { .. }
            | TopicConfigError::NotSupported { .. }
            | TopicConfigError::LagOrder { .. }
            | TopicConfigError::NoViewSource { .. }
            | TopicConfigError::OnView { .. }
            | TopicConfigError::Lake(_)
            | TopicConfigError::PrimaryKey(_) => ErrorCode::InvalidConfig,
        }
    }
}

impl KafkaError for ResourceError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ResourceError::InvalidTopic { .. } => ErrorCode::InvalidTopicException,
            ResourceError::OtherBroker { .. }
            | ResourceError::NoConfigs { .. }
            | ResourceError::NamelessGroup
            | ResourceError::NoTopicName
            | ResourceError::NamedTwice { .. }
            | ResourceError::ConfigTwice { .. } => ErrorCode::InvalidRequest,
        }
    }
}

impl KafkaError for DescribeConfigsError {
    fn error_code(&self) -> ErrorCode {
        match self {
            // As Kafka answers it here; alterations of no topic are INVALID_REQUEST.
            DescribeConfigsError::Resource(ResourceError::NoTopicName) => ErrorCode::InvalidTopicException,
            DescribeConfigsError::Resource(error) => error.error_code(),
            DescribeConfigsError::Lookup(error) => error.error_code(),
        }
    }
}

impl KafkaError for LoggerError {
    fn error_code(&self) -> ErrorCode {
        match self {
            LoggerError::Unknown { .. } | LoggerError::NoLevel { .. } => ErrorCode::InvalidConfig,
            LoggerError::RootStays | LoggerError::OnlySetOrDelete => ErrorCode::InvalidRequest,
            LoggerError::Refused { .. } => ErrorCode::UnknownServerError,
        }
    }
}

impl KafkaError for DynamicConfigError {
    fn error_code(&self) -> ErrorCode {
        match self {
            DynamicConfigError::NotDynamic(NotDynamic::Unknown { .. }) => ErrorCode::InvalidConfig,
            // Of a broker Kafka calls these a bad request, not a bad config (KAFKA-13609).
            DynamicConfigError::NotDynamic(NotDynamic::ReadOnly { .. })
            | DynamicConfigError::Value(_)
            | DynamicConfigError::Accepted { .. }
            | DynamicConfigError::Defaults(_)
            | DynamicConfigError::NoValue { .. }
            | DynamicConfigError::NotAList { .. } => ErrorCode::InvalidRequest,
            DynamicConfigError::Metadata(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl KafkaError for AlterConfigsError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AlterConfigsError::Resource(error) => error.error_code(),
            // As Kafka answers it here; CreateTopics answers INVALID_CONFIG.
            AlterConfigsError::Config(TopicConfigError::NoValue { .. })
            | AlterConfigsError::Topic(TopicError::Config(TopicConfigError::NoValue { .. })) => {
                ErrorCode::InvalidRequest
            }
            AlterConfigsError::UnknownOperation { .. } => ErrorCode::InvalidRequest,
            AlterConfigsError::Broker(error) => error.error_code(),
            AlterConfigsError::Config(error) => error.error_code(),
            AlterConfigsError::Topic(error) => error.error_code(),
            AlterConfigsError::Group(error) => error.error_code(),
            AlterConfigsError::Logger(error) => error.error_code(),
        }
    }
}

impl KafkaError for GroupConfigError {
    fn error_code(&self) -> ErrorCode {
        match self {
            GroupConfigError::Unknown { .. }
            | GroupConfigError::NoValue { .. }
            | GroupConfigError::NotAList { .. }
            | GroupConfigError::Invalid { .. }
            | GroupConfigError::InvalidText { .. }
            | GroupConfigError::SessionTooShort { .. } => ErrorCode::InvalidConfig,
            GroupConfigError::NoName => ErrorCode::InvalidRequest,
            GroupConfigError::Metadata(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl KafkaError for GroupError {
    fn error_code(&self) -> ErrorCode {
        match self {
            GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
            GroupError::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
            GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
            GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
            GroupError::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
            GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            GroupError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
            GroupError::NoTransaction => ErrorCode::InvalidTxnState,
            GroupError::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
            GroupError::UnstableOffsetCommit => ErrorCode::UnstableOffsetCommit,
            GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
            GroupError::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
            GroupError::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
            GroupError::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
            GroupError::UnsupportedAssignor { .. } => ErrorCode::UnsupportedAssignor,
            GroupError::InvalidRegularExpression { .. } => ErrorCode::InvalidRegularExpression,
            GroupError::InvalidRequest { .. } => ErrorCode::InvalidRequest,
            // As Kafka: for this kind of request there is no such group.
            GroupError::OtherGroupType { .. } | GroupError::NotUpgradable { .. } => ErrorCode::GroupIdNotFound,
            GroupError::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
        }
    }
}

impl KafkaError for ShareError {
    fn error_code(&self) -> ErrorCode {
        match self {
            ShareError::Loading => ErrorCode::CoordinatorLoadInProgress,
            ShareError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
            ShareError::Unknown => ErrorCode::UnknownTopicOrPartition,
            ShareError::Acknowledgement(AckError::NotOwner { .. }) => ErrorCode::InvalidRecordState,
            ShareError::Acknowledgement(AckError::Malformed { .. } | AckError::NeverAcquired { .. }) => {
                ErrorCode::InvalidRequest
            }
        }
    }
}

impl KafkaError for AclError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AclError::InvalidField { .. }
            | AclError::EmptyName
            | AclError::ClusterName { .. }
            | AclError::Principal { .. }
            | AclError::Length { .. }
            | AclError::Host { .. } => ErrorCode::InvalidRequest,
        }
    }
}

impl KafkaError for QuotaError {
    fn error_code(&self) -> ErrorCode {
        match self {
            QuotaError::UnknownKey { .. }
            | QuotaError::NotEnforced { .. }
            | QuotaError::Value { .. }
            | QuotaError::NoEntity
            | QuotaError::Misplaced { .. }
            | QuotaError::Combination
            | QuotaError::Address { .. }
            | QuotaError::EntityType { .. }
            | QuotaError::Twice { .. }
            | QuotaError::Length { .. }
            | QuotaError::MatchType { .. } => ErrorCode::InvalidRequest,
            QuotaError::TooMany => ErrorCode::PolicyViolation,
            QuotaError::Metadata(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl KafkaError for AclStoreError {
    fn error_code(&self) -> ErrorCode {
        match self {
            AclStoreError::TooMany { .. } => ErrorCode::PolicyViolation,
            AclStoreError::Metadata(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl KafkaError for GrantError {
    fn error_code(&self) -> ErrorCode {
        match self {
            GrantError::Shape { .. }
            | GrantError::Nothing
            | GrantError::NoTopic { .. }
            | GrantError::Kind { .. }
            | GrantError::NoColumn { .. }
            | GrantError::TooManyColumns { .. }
            | GrantError::Filter(_)
            | GrantError::Exists { .. }
            | GrantError::Tag(_) => ErrorCode::InvalidRequest,
        }
    }
}

#[cfg(test)]
#[path = "error_code_tests.rs"]
mod tests;
