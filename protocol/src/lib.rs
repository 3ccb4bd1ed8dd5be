//! The Kafka wire and record formats as Weir reads and writes them.
//!
//! Owns: newtypes ([`ids`]), the magic-2 record batch ([`records`]), the request header ([`frame`]), the check that a
//! request is safe to decode ([`guard`]), the produce path that copies no records ([`produce`]), the messages of SASL mechanisms
//! ([`sasl`]) and the columnar extension ([`columnar`]). Requests and responses themselves are the `kafka-protocol` crate's structs.
//!
//! Never: sockets, files, clocks. Everything here reads bytes of strangers, so every length is checked against the
//! bytes that are really there before anything is allocated (NET-1), and nothing panics on bad input.

pub mod columnar;
pub mod frame;
pub mod guard;
pub mod ids;
pub mod produce;
pub mod records;
pub mod sasl;
mod wire;

pub use ids::{Generation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicId};
pub use wire::WireError;
