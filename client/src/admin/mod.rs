//! Administration: topics, configurations, groups, offsets, transactions, the cluster itself.
//!
//! One method is one request to the right broker (or one per broker where the answer is spread over them). Batched requests
//! return one result per item, so that one refused topic does not hide the others.

mod brokers;
mod configs;
mod groups;
mod offsets;
mod topics;
mod transactions;
mod users;

pub use brokers::{ClusterDescription, LogDir, PartitionSize};
pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource, ResourceKind};
pub use groups::{GroupDescription, GroupListing, GroupMember, SHARE};
pub use offsets::{CommittedOffset, Isolation, ListedOffset, OffsetQuery, PartitionOffset};
pub(crate) use offsets::{check_commit, commit_topics, first_commit_error};
pub use topics::{CreatedTopic, NewTopic};
pub use transactions::{PartitionProducer, TransactionDescription, TransactionFilter, TransactionListing};
pub use users::UserListing;

use kafka_protocol::protocol::StrBytes;

use crate::cluster::Client;

/// Admin calls of a [`Client`].
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Admin calls over the connections of this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How long the broker may take for an admin operation; less than this client waits for the answer.
    fn operation_timeout_ms(&self) -> i32 {
        let limit = self.client.config().request_timeout.mul_f64(0.8);
        i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
    }
}

pub(crate) fn wire_text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests;
