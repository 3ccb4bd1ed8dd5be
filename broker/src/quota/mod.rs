//! Client quotas (KIP-13, KIP-55, KIP-124, KIP-219, KIP-546, KIP-612): how much users and client ids may produce, fetch, have scanned and occupy
//! the broker's threads in a second, and how many connections an address may make.
//!
//! | file | what |
//! |---|---|
//! | `model.rs` | entities, keys, what can be set (pure) |
//! | `resolve.rs` | which quota holds for a client, and with whom it is shared (pure) |
//! | `window.rs` | a rate over sliding samples, and how long to be silent when it is exceeded (pure; time is data) |
//! | `mute.rs` | until when a connection is not read from (pure) |
//! | `stopwatch.rs` | how long a request occupies a thread |
//! | `store.rs` | quotas in the metadata store, rates in use |
//!
//! Whoever exceeds a quota is answered at once, told for how long it is throttled, and not read from for so long. I never delay an
//! answer or refuse a request; a connection beyond its address's rate is closed, as in Kafka. A crash forgets the rates of the last seconds and keeps the quotas.
mod model;
mod mute;
mod resolve;
mod stopwatch;
mod store;
mod window;

pub use model::{Entity, Match, Name, QuotaError, QuotaFilter, QuotaKey, Quotas};
pub use mute::Mute;
pub use resolve::{QuotaTable, Shared};
pub use stopwatch::{Stopwatch, timed};
pub use store::{QuotaStore, Throttle};
pub use window::{RateWindow, SAMPLE_MS, SAMPLES};
