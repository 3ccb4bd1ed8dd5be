//! Tests with real Kafka clients, crash tests and benches.

pub mod bench;
pub mod crash;
pub mod differential;
pub mod server;
pub mod wire;
