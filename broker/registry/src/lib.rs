//! Embedded Schema Registry with the REST interface of Confluent.
//!
//! Owns subjects, versions, ids, compatibility and the HTTP interface that the official serializers use. It knows no disk
//! and no topic: it keeps its entries in a [`store::RegistryStore`], and whoever owns a topic can refuse a registration
//! through a [`RegistrationGuard`].
//!
//! | file | what |
//! |---|---|
//! | `model.rs`, `state.rs` | what there is, and the pure state that entries of the store add up to |
//! | `registry.rs`, `deletion.rs`, `settings.rs`, `lookup.rs` | operations: validate, make durable, apply |
//! | `format/` | Avro, JSON Schema, Protobuf: parsing with bounds, identity, compatibility |
//! | `rest/` | the HTTP interface: one file per resource |
//! | `error.rs` | every error with its HTTP status and code |
//!
//! A crash leaves either all or nothing of an operation: each is one transaction of the store.
mod deletion;
mod error;
pub mod format;
pub mod limits;
mod lookup;
pub mod metrics;
mod model;
mod registry;
pub mod rest;
mod settings;
mod state;
pub mod store;
#[cfg(test)]
mod tests;

pub use error::RegistryError;
pub use format::{Format, Incompatibility};
pub use lookup::{Listing, ResolvedReference, ResolvedSchema};
pub use model::{
    Compatibility, Mode, Reference, SchemaDefinition, SchemaId, SubjectConfig, VersionNumber, VersionSelector,
};
pub use registry::{Registered, Registration, RegistrationGuard, Registry, RegistryOptions};
