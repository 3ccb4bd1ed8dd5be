//! The Kafka wire and record formats as Weir reads and writes them.
//!
//! Owns: newtypes ([`ids`]) and the magic-2 record batch ([`records`]).
//! Never: sockets, files, clocks. Everything here reads bytes of strangers, so every length is checked against the
//! bytes that are really there before anything is allocated (NET-1), and nothing panics on bad input.

pub mod ids;
pub mod records;

pub use ids::{Generation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
