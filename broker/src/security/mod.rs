//! Who a client is: principals, TLS, SASL and the credentials behind them.
//!
//! | file | what |
//! |---|---|
//! | `principal.rs` | who somebody is, as Kafka writes it |
//! | `acl/` | who may do what: Kafka's access control lists |
//! | `audit.rs` | who was refused what, who changed what |
//! | `rules/` | what each API needs, and how a refusal is answered |
//!
//! I own what proves who a client is, and what they may do.
pub mod acl;
pub mod audit;
mod principal;
pub mod rules;

pub use principal::{Principal, PrincipalError};
