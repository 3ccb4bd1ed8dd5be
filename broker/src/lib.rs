//! The Weir broker: listeners, one file per Kafka API, groups, configuration, metrics, command line.
pub mod api;
pub mod broker;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod docs;
pub mod error_code;
pub mod group;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod net;
pub mod producer_ids;
pub mod registry;
pub mod server;
pub mod topic_config;
pub mod topics;
