//! Bytes arrive here: listeners, connections, frames.
//!
//! | file | what |
//! |---|---|
//! | `listener.rs` | sockets, accept loop, limits of connections |
//! | `frame.rs` | frames cut from a stream within the memory budget |
//! | `connection.rs` | one connection: reading task, writing task, order of answers |
//! | `write.rs` | vectored writes |
//!
//! I own sockets, frame limits and the order of responses. I never look into a request beyond its first bytes; `dispatch` does.
mod connection;
mod frame;
mod listener;
#[cfg(test)]
mod tests;
mod write;

pub use connection::ConnectionLimits;
pub use listener::{Bound, ConnectionSlots, Net, Slot, bind, serve};
