//! Who a client is: principals, TLS, SASL and the credentials behind them.
//!
//! | file | what |
//! |---|---|
//! | `principal.rs` | who somebody is, as Kafka writes it |
//!
//! I own what proves who a client is. What somebody may do is decided elsewhere.
mod principal;

pub use principal::{Principal, PrincipalError};
