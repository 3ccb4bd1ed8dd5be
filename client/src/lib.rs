//! Async client of the Kafka protocol: connections, metadata, admin calls, producer, consumer, groups.
//!
//! It speaks to Weir and to any other broker of the protocol: versions are negotiated per connection, and everything is routed
//! by the cluster's own metadata. Start with [`Client`]; [`Admin`](admin::Admin), [`Producer`](producer::Producer),
//! [`Consumer`](consumer::Consumer) and [`GroupConsumer`](group::GroupConsumer) are built on it and share its connections.
//! [`Client::topic`] reads columns instead of records (feature `arrow`).
//!
//! TLS and SASL are settings ([`security`]). What is absent: transactions, fetch sessions.

pub mod admin;
pub mod backoff;
pub mod cluster;
#[cfg(feature = "arrow")]
pub mod columnar;
pub mod config;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod group;
pub mod metadata;
pub mod producer;
pub mod security;
pub mod transport;
pub mod versions;
mod wire;

#[cfg(test)]
mod testing;

pub use cluster::{AutoCreate, Client};
pub use config::{BrokerAddress, ClientConfig, parse_brokers};
pub use connection::Connection;
pub use error::{ClientError, Result, kafka_name};
