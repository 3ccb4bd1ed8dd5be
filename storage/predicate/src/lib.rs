//! Predicates over Arrow batches: SQL text in, rows out.
//!
//! Text comes from clients, so it is bounded before anything recursive sees it ([`bounds`]), only functions of a published
//! list may be called ([`functions`]), and planning runs on a stack of its own ([`plan`]). DataFusion plans and evaluates.
//! A row whose evaluation raises an error counts as NULL: it does not match, and it does not disturb its neighbours, however
//! rows are batched ([`evaluate`]). Statistics of row groups tell which ones cannot match ([`prune`]).
//!
//! Rules and limits are section 3 of `protocol/COLUMNAR.md`. This crate knows no files, sockets or topics.
mod bounds;
mod error;
mod evaluate;
mod functions;
mod names;
mod plan;
mod prune;
#[cfg(test)]
mod tests;

pub use bounds::{DEPTH_MAX, IN_ITEMS_MAX, NODES_MAX, TEXT_BYTES_MAX};
pub use error::{EvaluateError, PlanError};
pub use evaluate::{Matches, SLICE_ROWS};
pub use functions::{AllowedFunction, allowed_functions};
pub use names::Suggestion;
pub use plan::{Clock, Predicate};
pub use prune::ContainerStatistics;
