//! Access control lists, Kafka's model: who may do what to which resource, from where.
//!
//! | file | what |
//! |---|---|
//! | `model.rs` | resources, patterns, operations, bindings, and their numbers on the wire |
//! | `filter.rs` | which bindings a DescribeAcls or DeleteAcls filter means |
//! | `grants.rs` | a READ of some columns and rows of a topic, bound by ids |
//! | `index.rs` | the immutable index that decides: one question, one answer |
//! | `store.rs` | bindings in the metadata store, the index behind an atomic pointer |
//!
//! I own the decision. Which question a request asks, and what a refusal looks like in its answer, is in `rules/`. Everything but
//! `store.rs` is pure. A crash leaves what the metadata store made durable: each change is one transaction there.
mod filter;
mod grants;
mod index;
mod model;
mod store;
#[cfg(test)]
mod tests;

pub use filter::{AclFilter, PatternFilter};
pub use grants::{Grant, GrantError};
pub use index::{AclIndex, Decision, Policy};
pub use model::{
    AclBinding, AclEntry, AclError, CLUSTER_NAME, Operation, PatternType, Permission, ResourcePattern, ResourceType,
    WILDCARD,
};
pub use store::{AclStore, AclStoreError, Deleted};
