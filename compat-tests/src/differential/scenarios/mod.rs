//! The table of scenarios. Each uses names of its own, so all of them can run at the same time.

mod admin;
mod configs;
mod connection;
mod consumer_groups;
mod fetch;
mod groups;
mod membership;
mod offsets;
mod produce;
mod producers;
mod replicas;
mod sessions;
mod shares;
mod topics;
mod transactions;
mod txn_offsets;

use std::future::Future;
use std::pin::Pin;

use anyhow::Context as _;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use super::context::Ctx;

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// One entry of the table.
pub struct Scenario {
    pub name: &'static str,
    pub run: fn(&mut Ctx) -> Running<'_>,
}

macro_rules! scenarios {
    ($($module:ident :: $function:ident),* $(,)?) => {
        /// Every scenario.
        pub fn all() -> Vec<Scenario> {
            vec![$(Scenario { name: stringify!($function), run: |ctx| Box::pin($module::$function(ctx)) }),*]
        }
    };
}

scenarios![
    connection::api_versions,
    connection::unsupported_versions,
    connection::broken_frames,
    connection::pipelining,
    topics::create_topics,
    topics::metadata,
    topics::metadata_auto_create,
    topics::delete_topics,
    topics::create_partitions,
    configs::describe_configs,
    configs::alter_configs,
    configs::incremental_alter_configs,
    produce::produce_versions,
    produce::produce_errors,
    produce::produce_timestamps,
    produce::produce_compacted,
    produce::produce_sizes,
    producers::idempotent_producers,
    producers::sequence_wrap,
    producers::init_producer_id,
    fetch::fetch_versions,
    fetch::fetch_errors,
    fetch::fetch_limits,
    fetch::fetch_waits,
    sessions::fetch_sessions,
    sessions::fetch_session_errors,
    offsets::list_offsets,
    offsets::list_offsets_errors,
    offsets::offset_for_leader_epoch,
    offsets::delete_records,
    offsets::leader_epochs,
    groups::find_coordinator,
    groups::offset_commit_and_fetch,
    groups::offset_commit_errors,
    groups::group_administration,
    groups::offset_delete,
    membership::join_errors,
    membership::member_life,
    membership::member_errors,
    membership::two_members,
    membership::static_members,
    shares::share_heartbeat_errors,
    shares::share_group_life,
    consumer_groups::consumer_heartbeat_errors,
    consumer_groups::consumer_group_life,
    consumer_groups::consumer_static_members,
    admin::describe_cluster,
    admin::describe_log_dirs,
    admin::sasl_without_sasl,
    replicas::elect_leaders,
    replicas::partition_reassignments,
    replicas::describe_quorum,
    replicas::update_features,
    replicas::alter_replica_log_dirs,
    replicas::list_config_resources,
    transactions::txn_coordinators,
    transactions::txn_init_producer,
    transactions::txn_life_v1,
    transactions::txn_life_v2,
    transactions::txn_errors,
    transactions::txn_lists,
    txn_offsets::txn_offsets_v1,
    txn_offsets::txn_offsets_v2,
    txn_offsets::txn_offset_errors,
];

/// The topic whose partition has changed its leader epoch once; see [`prepare`].
pub const EPOCH_TOPIC: &str = "differential-epochs";

/// Creates what must have been there before the broker's last start: a topic whose leader epoch a restart then raises.
pub async fn prepare(bootstrap: &str) -> anyhow::Result<()> {
    let mut ctx = Ctx::new(bootstrap, "prepare", std::time::Duration::ZERO).await?;
    let name = TopicName(StrBytes::from_static_str(EPOCH_TOPIC));
    if ctx.metadata_of(&name).await?.is_none() {
        ctx.create_named(&name, 1, &[]).await.context("preparing")?;
    }
    Ok(())
}
