//! What can go wrong, said in the terms of the person who has to fix it.
//!
//! Every variant names the broker and the API it concerns where there is one; [`ClientError::hint`] adds which setting to
//! look at. Kafka's error codes keep Kafka's names (`UNKNOWN_TOPIC_OR_PARTITION`), because that is what people search for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;

/// Result of a client call.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;

/// Any failure of the client. Cloneable, since one lost connection fails many waiting calls.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A broker address could not be parsed.
    #[error("`{address}` is not a broker address: {reason}")]
    InvalidAddress {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A client setting has a value that cannot work.
    #[error("`{setting}` cannot be {value}: {reason}")]
    InvalidSetting {
        /// Name of the setting.
        setting: &'static str,
        /// The refused value.
        value: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// No TCP (or TLS) connection could be made.
    #[error("cannot connect to {broker}: {source}")]
    Connect {
        /// `host:port`.
        broker: String,
        /// Whether the address came from the cluster's metadata and not from the user.
        advertised: bool,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// A file of TLS cannot be used.
    #[error("{setting}: {path} cannot be used: {reason}")]
    InvalidFile {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker and the client do not agree about who the client, or the broker, is.
    #[error("cannot authenticate to {broker}: {reason}")]
    Authentication {
        /// `host:port`.
        broker: String,
        /// Why.
        reason: String,
    },
    /// Every bootstrap broker failed.
    #[error("none of {brokers} answered; the last one: {last}")]
    NoBrokerReachable {
        /// All that were tried, comma separated.
        brokers: String,
        /// What the last one failed with.
        last: Box<ClientError>,
    },
    /// An established connection ended while it was needed.
    #[error("the connection to {broker} was lost: {reason}")]
    Disconnected {
        /// `host:port`.
        broker: String,
        /// What ended it.
        reason: String,
    },
    /// No answer in time. The connection is closed, since everything behind the missing answer would wait too.
    #[error("{broker} did not answer {api:?} within {} ms", waited.as_millis())]
    Timeout {
        /// `host:port`.
        broker: String,
        /// The API that was called.
        api: ApiKey,
        /// How long the client waited.
        waited: Duration,
    },
    /// Client and broker share no version of an API.
    #[error("{broker} serves {api:?} in versions {broker_versions}, this client speaks {client_versions}")]
    NoCommonVersion {
        /// `host:port`.
        broker: String,
        /// The API that was called.
        api: ApiKey,
        /// `min..max` of the broker.
        broker_versions: String,
        /// `min..max` of this client.
        client_versions: String,
    },
    /// The broker does not list the API at all.
    #[error("{broker} does not serve {api:?}")]
    ApiNotServed {
        /// `host:port`.
        broker: String,
        /// The API that was called.
        api: ApiKey,
    },
    /// The broker announced a frame larger than the client is willing to hold.
    #[error("{broker} announced a response of {bytes} bytes, more than the limit of {bytes_max}")]
    FrameTooLarge {
        /// `host:port`.
        broker: String,
        /// The announced length.
        bytes: i64,
        /// The limit.
        bytes_max: usize,
    },
    /// A response could not be decoded.
    #[error("{broker} answered {api:?} v{version} with bytes that do not decode: {reason}")]
    Malformed {
        /// `host:port`.
        broker: String,
        /// The API that was called.
        api: ApiKey,
        /// Version of the call.
        version: i16,
        /// The decoder's reason.
        reason: String,
    },
    /// A request could not be encoded in the negotiated version.
    #[error("{api:?} v{version} cannot carry this request: {reason}")]
    Encode {
        /// The API that was called.
        api: ApiKey,
        /// Version of the call.
        version: i16,
        /// The encoder's reason.
        reason: String,
    },
    /// The broker answered with an error code.
    #[error("{broker} refused {api:?}{}: {}{}", for_subject(subject), kafka_name(*code), with_detail(detail))]
    Broker {
        /// `host:port`.
        broker: String,
        /// The API that was called.
        api: ApiKey,
        /// The topic, partition, group or other thing that the code concerns; empty if it is the request as a whole.
        subject: String,
        /// Kafka's error code.
        code: ResponseError,
        /// The broker's message, if it sent one.
        detail: Option<String>,
    },
    /// The metadata names no broker with this id.
    #[error("broker {node_id} is not part of the cluster")]
    UnknownBroker {
        /// The missing broker's id.
        node_id: i32,
    },
    /// A partition number beyond the end of a topic.
    #[error("topic `{topic}` has partitions 0 to {}, not {partition}", partitions - 1)]
    UnknownPartition {
        /// Name of the topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// How many the topic has.
        partitions: usize,
    },
    /// A record that no request may carry.
    #[error("a record of {bytes} bytes is larger than the producer's limit of {bytes_max}")]
    RecordTooLarge {
        /// Size of key, value and headers.
        bytes: usize,
        /// `request_bytes_max` of the producer.
        bytes_max: usize,
    },
    /// A record was not acknowledged within the delivery timeout, whatever was retried.
    #[error("a record for {topic}-{partition} was not acknowledged within {} ms; the last reason: {last}", waited.as_millis())]
    DeliveryTimeout {
        /// Name of the topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// The delivery timeout.
        waited: Duration,
        /// What the last attempt failed with.
        last: Box<ClientError>,
    },
    /// Fetched batches that fail their checks.
    #[error("{topic}-{partition} holds a batch at offset {offset} that cannot be read: {reason}")]
    CorruptBatch {
        /// Name of the topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Where reading stopped.
        offset: i64,
        /// What failed.
        reason: String,
    },
    /// A stream of columns keeps one schema, and the broker answered in another.
    #[error("{topic}-{partition} was asked for columns of schema {asked} and answered with schema {got}")]
    SchemaChanged {
        /// Name of the topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Schema version that was asked for; 0 is an untyped topic.
        asked: i32,
        /// Schema version of the answer.
        got: i32,
    },
    /// Columns or a predicate that this side, which has to do without the broker's help, cannot apply.
    #[error("the columns or the predicate for topic `{topic}` cannot be used: {reason}")]
    InvalidQuery {
        /// Name of the topic.
        topic: String,
        /// Names the column or the place in the predicate.
        reason: String,
    },
    /// Rows that are to be written do not fit the topic's table.
    #[error("the rows for topic `{topic}` do not fit its table: {reason}")]
    Unfit {
        /// Name of the topic.
        topic: String,
        /// Names column, row and fix.
        reason: String,
    },
    /// The producer or consumer was closed, or its task has ended.
    #[error("the {what} is closed")]
    Closed {
        /// `producer`, `consumer`, ...
        what: &'static str,
    },
}

fn for_subject(subject: &str) -> String {
    if subject.is_empty() { String::new() } else { format!(" for {subject}") }
}

fn with_detail(detail: &Option<String>) -> String {
    detail.as_deref().filter(|detail| !detail.is_empty()).map(|detail| format!(" ({detail})")).unwrap_or_default()
}

/// Kafka's own spelling of an error code, as its documentation and other clients print it.
pub fn kafka_name(code: ResponseError) -> String {
    if let ResponseError::Unknown(code) = code {
        return format!("error code {code}");
    }
    let mut name = String::new();
    for character in code.to_string().chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

impl ClientError {
    /// The Kafka error code, if a broker sent one.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            Self::DeliveryTimeout { last, .. } => last.code(),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later without anybody changing anything.
    pub fn is_retriable(&self) -> bool {
        match self {
            // In Kafka's table this one is retriable too: the transaction before is being completed.
            Self::Broker { code: ResponseError::ConcurrentTransactions, .. } => true,
            Self::Broker { code, .. } => code.is_retriable(),
            _ => self.is_connection_failure(),
        }
    }

    /// Whether the broker could not be talked to at all, so that the outcome of the call is unknown.
    pub fn is_connection_failure(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::NoBrokerReachable { .. } | Self::Disconnected { .. } | Self::Timeout { .. }
        )
    }

    /// Whether the client routed the call by stale metadata and should look again.
    pub fn is_stale_metadata(&self) -> bool {
        let Some(code) = self.code() else { return self.is_connection_failure() };
        matches!(
            code,
            ResponseError::NotLeaderOrFollower
                | ResponseError::LeaderNotAvailable
                | ResponseError::UnknownTopicOrPartition
                | ResponseError::UnknownTopicId
                | ResponseError::InconsistentTopicId
                | ResponseError::FencedLeaderEpoch
                | ResponseError::UnknownLeaderEpoch
                | ResponseError::ReplicaNotAvailable
                | ResponseError::KafkaStorageError
                | ResponseError::NotController
        )
    }

    /// Whether the group's coordinator moved or is not ready.
    pub fn is_stale_coordinator(&self) -> bool {
        match self.code() {
            Some(code) => {
                matches!(code, ResponseError::NotCoordinator | ResponseError::CoordinatorNotAvailable)
            }
            None => self.is_connection_failure(),
        }
    }

    /// Which setting to look at, or what to do, for failures where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InvalidAddress { .. } => Some("write brokers as host:port, several separated by commas".into()),
            Self::Connect { advertised: true, broker, .. } => Some(format!(
                "the cluster advertises {broker} to its clients; if that address is wrong from here, change the \
                 advertised address of the broker's listener"
            )),
            Self::Connect { source, .. } => Some(connect_hint(source)),
            Self::NoBrokerReachable { last, .. } | Self::DeliveryTimeout { last, .. } => last.hint(),
            Self::Disconnected { .. } => {
                Some("is this a Kafka listener, and one without TLS? The broker's log says why it closed".into())
            }
            Self::Timeout { .. } => Some("raise the request timeout, or look at the broker's load".into()),
            Self::FrameTooLarge { bytes, .. } => Some(frame_hint(*bytes)),
            Self::NoCommonVersion { .. } | Self::ApiNotServed { .. } => {
                Some("the broker is too old or too new for this client".into())
            }
            Self::UnknownPartition { topic, .. } => Some(format!("see `weir topic describe {topic}`")),
            Self::RecordTooLarge { .. } => Some(
                "raise the producer's request limit and the topic's `max.message.bytes`, or split the record".into(),
            ),
            Self::SchemaChanged { .. } => {
                Some("the topic became another table while it was read; start the reading anew".into())
            }
            Self::InvalidQuery { .. } => Some(QUERY_HINT.into()),
            Self::Unfit { topic, .. } => {
                Some(format!("`weir table describe {topic}` shows the columns and their types"))
            }
            Self::Broker { api: ApiKey::Produce, code: ResponseError::InvalidTopicException, .. } => {
                Some("views and internal topics cannot be written to: produce to the view's source".into())
            }
            Self::Broker { api: ApiKey::Fetch, code: ResponseError::InvalidRequest, .. } => Some(QUERY_HINT.into()),
            Self::Broker { code, .. } => code_hint(*code).map(str::to_owned),
            _ => None,
        }
    }
}

const QUERY_HINT: &str = "names are case-sensitive, odd ones in double quotes; an untyped topic has only the columns \
     _partition, _offset, _timestamp, _key, _value and _headers";

fn connect_hint(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::ConnectionRefused => {
            "is weir running? Start it with `weir serve`, or name its address with --brokers".into()
        }
        io::ErrorKind::TimedOut => "is the address right, and does a firewall let the port through?".into(),
        _ => "check the host name and the port given with --brokers".into(),
    }
}

/// A first word that is text tells which other protocol was reached.
fn frame_hint(bytes: i64) -> String {
    let known = u32::try_from(bytes).map(u32::to_be_bytes).ok();
    match known.as_ref().map(|first| &first[..]) {
        Some(b"HTTP") => "that port speaks HTTP; the Kafka listener is usually on 9092".into(),
        Some(b"SSH-") => "that port speaks SSH; the Kafka listener is usually on 9092".into(),
        Some([0x15, 0x03, ..]) => "that port expects TLS".into(),
        _ => "is this a Kafka listener? If it is, raise the client's frame limit".into(),
    }
}

fn code_hint(code: ResponseError) -> Option<&'static str> {
    Some(match code {
        ResponseError::UnknownTopicOrPartition => "see `weir topic list`, or create it with `weir topic create`",
        ResponseError::UnknownTopicId => "the topic was deleted or created anew; try again",
        ResponseError::TopicAlreadyExists => "choose another name, or change it with `weir topic alter`",
        ResponseError::InvalidTopicException => {
            "names have 1 to 249 characters out of a-z A-Z 0-9 . _ -, and topics that begin with __ are the broker's own"
        }
        ResponseError::InvalidPartitions => "partitions can only be added; ask for more than the topic has",
        ResponseError::InvalidReplicationFactor => "ask for no more replicas than there are brokers",
        ResponseError::MessageTooLarge | ResponseError::RecordListTooLarge => {
            "raise the topic's `max.message.bytes`, or send smaller records"
        }
        ResponseError::InvalidTimestamp => {
            "see the topic's `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`"
        }
        ResponseError::InvalidConfig => {
            "see the names and values: `weir topic describe TOPIC --all-configs` for topics, `weir cluster config list --broker ID --all` for brokers, with `--loggers` for loggers"
        }
        ResponseError::InvalidRecord => {
            "a compacted topic wants a key in every record, a typed topic a value with its columns (`weir table describe`)"
        }
        ResponseError::OffsetOutOfRange => "that offset was deleted or not written yet; start from `start` or `end`",
        ResponseError::NonEmptyGroup => "stop the group's members first",
        ResponseError::GroupIdNotFound => "see `weir group list`",
        ResponseError::TransactionalIdNotFound => "see `weir txn list`",
        ResponseError::TransactionalIdAuthorizationFailed => "the user lacks an ACL for this transactional id",
        ResponseError::UnknownMemberId | ResponseError::IllegalGeneration => {
            "the group has active members; stop them first, or join the group"
        }
        ResponseError::FencedInstanceId => "another member uses the same group instance id",
        ResponseError::InvalidSessionTimeout => "see the broker's limits on group session timeouts",
        ResponseError::CoordinatorLoadInProgress | ResponseError::CoordinatorNotAvailable => {
            "the broker is still loading group state; try again in a moment"
        }
        ResponseError::KafkaStorageError => "the broker cannot write or read its disk; see its log",
        ResponseError::TopicAuthorizationFailed
        | ResponseError::GroupAuthorizationFailed
        | ResponseError::ClusterAuthorizationFailed => "the user lacks an ACL for this operation",
        ResponseError::SaslAuthenticationFailed => "check user name, password and mechanism",
        ResponseError::UnsupportedCompressionType => "choose another codec, or a newer client",
        ResponseError::PolicyViolation => "the broker's limits forbid this; see its configuration",
        ResponseError::TopicDeletionDisabled => "the broker is configured to refuse deleting topics",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_as_kafka_spells_them() {
        assert_eq!(kafka_name(ResponseError::UnknownTopicOrPartition), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(kafka_name(ResponseError::InvalidTopicException), "INVALID_TOPIC_EXCEPTION");
        assert_eq!(kafka_name(ResponseError::Unknown(4242)), "error code 4242");
    }

    #[test]
    fn broker_errors_name_broker_api_subject_and_code() {
        let error = ClientError::Broker {
            broker: "127.0.0.1:9092".into(),
            api: ApiKey::CreateTopics,
            subject: "topic `orders`".into(),
            code: ResponseError::TopicAlreadyExists,
            detail: Some("Topic 'orders' already exists.".into()),
        };
        assert_eq!(
            error.to_string(),
            "127.0.0.1:9092 refused CreateTopics for topic `orders`: TOPIC_ALREADY_EXISTS (Topic 'orders' already exists.)"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("topic alter")));
        assert!(!error.is_retriable());
    }

    #[test]
    fn a_refused_connection_asks_whether_weir_runs_unless_the_cluster_advertised_the_address() {
        let refused = |advertised| ClientError::Connect {
            broker: "127.0.0.1:9092".into(),
            advertised,
            source: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
        };
        assert!(refused(false).hint().is_some_and(|hint| hint.contains("weir serve")));
        assert!(refused(true).hint().is_some_and(|hint| hint.contains("advertised")));
        assert!(refused(false).is_retriable());
    }

    #[test]
    fn a_refused_produce_is_not_blamed_on_the_name() {
        let error = |api| ClientError::Broker {
            broker: "b".into(),
            api,
            subject: "paid-0".into(),
            code: ResponseError::InvalidTopicException,
            detail: Some("`paid` is a view of `orders`".into()),
        };
        assert!(
            error(ApiKey::Produce).hint().is_some_and(|hint| hint.contains("view's source") && !hint.contains("249"))
        );
        assert!(error(ApiKey::CreateTopics).hint().is_some_and(|hint| hint.contains("249")));
    }

    #[test]
    fn an_http_server_is_recognised_by_its_first_word() {
        let error = ClientError::FrameTooLarge {
            broker: "b".into(),
            bytes: i64::from(u32::from_be_bytes(*b"HTTP")),
            bytes_max: 1,
        };
        assert!(error.hint().is_some_and(|hint| hint.contains("HTTP")));
    }
}
