//! ListPartitionReassignments (key 46): with one broker no partition is ever on its way to another one.
//!
//! Version 0. KIP-455. Errors: none; what does not exist is not being moved either, as in Kafka.
use kafka_protocol::messages::{ApiKey, ListPartitionReassignmentsResponse};

use super::Versions;

pub const VERSIONS: Versions = Versions::new(ApiKey::ListPartitionReassignments, 0, 0);

/// The empty list.
pub fn handle() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}
