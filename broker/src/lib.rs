//! The Weir broker: listeners, one file per Kafka API, groups, configuration, metrics, command line.
pub mod api;
pub mod broker;
pub mod cli;
pub mod config;
pub mod docs;
pub mod error_code;
pub mod group;
pub mod http;
pub mod metrics;
pub mod producer_ids;
pub mod topic_config;
pub mod topics;
