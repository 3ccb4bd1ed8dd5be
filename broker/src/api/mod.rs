//! One file per Kafka API. Each opens with its purpose, versions, KIPs and errors, then has `VERSIONS`, `handle()` and the
//! pure functions below it that tests call directly.
//!
//! Owns the meaning of requests and responses. Never frames, sockets, files or record formats.
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_client_quotas;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod alter_share_group_offsets;
pub mod alter_user_scram_credentials;
pub mod api_versions;
pub mod authorized;
pub mod config_change;
pub mod config_resource;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_share_group_offsets;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_share_group_offsets;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod end_txn;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod list_transactions;
pub mod lookup;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sasl_authenticate;
pub mod sasl_handshake;
pub mod share_acknowledge;
pub mod share_fetch;
pub mod share_group_describe;
pub mod share_group_heartbeat;
pub mod sync_group;
#[cfg(test)]
pub(crate) mod testing;
pub mod txn_offset_commit;
pub mod update_features;
pub mod write_txn_markers;

/// The versions of one API that this broker serves. They feed ApiVersions and docs/generated/apis.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub key: ApiKey,
    /// Oldest version that is decoded and answered.
    pub min: i16,
    /// Newest version that is decoded and answered: what the protocol crate's structs hold, not what it claims.
    pub max: i16,
    /// Oldest version that ApiVersions lists; below `min` only where a client misbehaves otherwise.
    pub advertised_min: i16,
}

impl Versions {
    pub(crate) const fn new(key: ApiKey, min: i16, max: i16) -> Versions {
        Versions { key, min, max, advertised_min: min }
    }

    /// Whether a request of this version is decoded.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// Every API this broker serves, by API key.
pub const SERVED: &[Versions] = &[
    produce::VERSIONS,
    fetch::VERSIONS,
    list_offsets::VERSIONS,
    metadata::VERSIONS,
    offset_commit::VERSIONS,
    offset_fetch::VERSIONS,
    find_coordinator::VERSIONS,
    join_group::VERSIONS,
    heartbeat::VERSIONS,
    leave_group::VERSIONS,
    sync_group::VERSIONS,
    describe_groups::VERSIONS,
    list_groups::VERSIONS,
    sasl_handshake::VERSIONS,
    api_versions::VERSIONS,
    create_topics::VERSIONS,
    delete_topics::VERSIONS,
    delete_records::VERSIONS,
    init_producer_id::VERSIONS,
    offset_for_leader_epoch::VERSIONS,
    add_partitions_to_txn::VERSIONS,
    add_offsets_to_txn::VERSIONS,
    end_txn::VERSIONS,
    write_txn_markers::VERSIONS,
    txn_offset_commit::VERSIONS,
    describe_acls::VERSIONS,
    create_acls::VERSIONS,
    delete_acls::VERSIONS,
    describe_configs::VERSIONS,
    alter_configs::VERSIONS,
    alter_replica_log_dirs::VERSIONS,
    describe_log_dirs::VERSIONS,
    sasl_authenticate::VERSIONS,
    create_partitions::VERSIONS,
    delete_groups::VERSIONS,
    elect_leaders::VERSIONS,
    incremental_alter_configs::VERSIONS,
    alter_partition_reassignments::VERSIONS,
    list_partition_reassignments::VERSIONS,
    offset_delete::VERSIONS,
    describe_client_quotas::VERSIONS,
    alter_client_quotas::VERSIONS,
    describe_user_scram_credentials::VERSIONS,
    alter_user_scram_credentials::VERSIONS,
    describe_quorum::VERSIONS,
    update_features::VERSIONS,
    describe_cluster::VERSIONS,
    describe_producers::VERSIONS,
    describe_transactions::VERSIONS,
    list_transactions::VERSIONS,
    consumer_group_heartbeat::VERSIONS,
    consumer_group_describe::VERSIONS,
    list_config_resources::VERSIONS,
    describe_topic_partitions::VERSIONS,
    share_group_heartbeat::VERSIONS,
    share_group_describe::VERSIONS,
    share_fetch::VERSIONS,
    share_acknowledge::VERSIONS,
    describe_share_group_offsets::VERSIONS,
    alter_share_group_offsets::VERSIONS,
    delete_share_group_offsets::VERSIONS,
];

/// What is served of `key`; None = the API is unknown here and a request for it closes the connection.
#[must_use]
pub fn versions_of(key: i16) -> Option<&'static Versions> {
    SERVED.iter().find(|versions| versions.key as i16 == key)
}

/// A string of ours for the wire.
pub(crate) fn wire(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// Wire sentinels to options: -1 means "not given" wherever this is used.
pub(crate) fn given(value: i32) -> Option<i32> {
    (value >= 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_apis_are_listed_once_in_order_of_their_keys() {
        assert!(SERVED.windows(2).all(|pair| (pair[0].key as i16) < (pair[1].key as i16)));
    }

    #[test]
    fn no_version_is_claimed_that_the_crates_structs_cannot_decode() {
        for versions in SERVED {
            let claimed = versions.key.valid_versions();
            assert!(versions.min >= claimed.min && versions.max <= claimed.max, "{:?}", versions.key);
            assert!(versions.advertised_min <= versions.min, "{:?}", versions.key);
        }
        // These three claim one version more than they can decode.
        assert_eq!(offset_commit::VERSIONS.max, 9);
        assert_eq!(offset_fetch::VERSIONS.max, 9);
        assert_eq!(init_producer_id::VERSIONS.max, 5);
    }
}
