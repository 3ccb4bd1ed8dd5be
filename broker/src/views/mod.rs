//! View topics: columns and rows of another topic, for consumers that know nothing of columns.
//!
//! A view stores nothing. Fetching it scans the partition of its source and gives ordinary Kafka batches under the source's
//! offsets (`api/fetch/columnar.rs`); everything about offsets is answered by the source's partition (`api/lookup.rs`).
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | `weir.view.*` |
//! | `bind.rs` | settings and source to a plan, or the reason why not; pure |
//! | `avro.rs`, `protobuf.rs` | the schema of a view of such rows, derived from its source's |
//!
//! A view is bound to its source's columns when it is made, changed or loaded, and again with each change of the source, in
//! the same step: a change that a view cannot follow is refused, so a view never turns unreadable behind its readers. `topics/views.rs`
//! keeps the two together.
mod avro;
mod bind;
mod protobuf;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_protocol::ids::TopicId;
use weir_scan::{ScanPlan, ScanPlanError};

use crate::tables::DerivedSchema;

pub use bind::bind;
pub use settings::{TEXT_MAX, ViewSettings};

/// What a topic is as a view. Immutable; replaced with the topic's entry.
#[derive(Debug, Clone)]
pub struct View {
    pub source: TopicId,
    pub source_name: String,
    /// Field ids of the top-level columns that it uses, by name: what its expressions mean, whatever has these names later.
    pub columns: BTreeMap<String, i32>,
    pub state: ViewState,
}

/// Whether a view can be read.
#[derive(Debug, Clone)]
pub enum ViewState {
    Ready(Arc<ScanPlan>),
    /// Until the schema of its rows is registered under its own subject. The broker does that at once.
    Unregistered {
        subject: String,
        schema: DerivedSchema,
    },
    /// Only after a start: what was admitted once is not any more.
    Broken {
        reason: String,
    },
}

/// What the metadata store keeps of a view beside the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredView {
    pub source: uuid::Uuid,
    #[serde(default)]
    pub columns: BTreeMap<String, i32>,
}

impl View {
    pub fn stored(&self) -> StoredView {
        StoredView { source: self.source.0, columns: self.columns.clone() }
    }
}

/// The same view, with the same plan.
impl PartialEq for View {
    fn eq(&self, other: &View) -> bool {
        let same = match (&self.state, &other.state) {
            (ViewState::Ready(a), ViewState::Ready(b)) => Arc::ptr_eq(a, b),
            (ViewState::Broken { reason: a }, ViewState::Broken { reason: b }) => a == b,
            (ViewState::Unregistered { schema: a, .. }, ViewState::Unregistered { schema: b, .. }) => a == b,
            _ => false,
        };
        same && self.source == other.source && self.columns == other.columns
    }
}

/// Why a topic cannot be a view, or a source cannot change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ViewError {
    #[error("weir.view.source: topic `{source_name}` does not exist")]
    NoSource { source_name: String },
    #[error("weir.view.source: `{source_name}` is {kind}; a view needs a topic that clients produce to")]
    BadSource { source_name: String, kind: &'static str },
    #[error("weir.view.source: topic `{source_name}` has no rows yet ({reason})")]
    Waiting { source_name: String, reason: String },
    #[error(
        "a view has the partitions of its source: `{source_name}` has {partitions}, {wanted} were asked for; leave the number at -1"
    )]
    Partitions { source_name: String, partitions: i32, wanted: i32 },
    #[error("weir.view.select, weir.view.where: {0}")]
    Plan(#[from] ScanPlanError),
    #[error(
        "weir.view.select: `{column}` is no part of a record of the untyped topic `{source_name}`; there are _key, _value, _headers and _timestamp"
    )]
    NoPart { source_name: String, column: String },
    #[error("column `{column}` is not the one that the view was made for any more")]
    OtherColumn { column: String },
    #[error("the view's schema cannot be derived: {reason}")]
    Schema { reason: String },
    #[error(
        "topic `{topic}` keeps records of its own and cannot become a view; make another topic with weir.view.source"
    )]
    NotAView { topic: String },
    #[error("topic `{topic}` is a view of `{source_name}`, and stays one: delete it and make another topic")]
    StaysView { topic: String, source_name: String },
    #[error("topic `{topic}` is used by {views}: delete these views first")]
    InUse { topic: String, views: String },
    #[error("view `{view}` cannot follow: {reason}; change or delete the view first")]
    CannotFollow { view: String, reason: String },
    #[error("topic `{topic}` is a view of `{source_name}` and has no {what} of its own: ask for `{source_name}`")]
    NothingOfItsOwn { topic: String, source_name: String, what: &'static str },
}
