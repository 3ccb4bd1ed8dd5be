//! Tests with real Kafka clients, crash tests and benches.

pub mod differential;
