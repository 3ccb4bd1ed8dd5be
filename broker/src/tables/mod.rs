//! Typed topics: which topics are tables, and how their tables come about and change.
//!
//! A topic is a table if `weir.table.schema` is set, or if its values have a format whose schemas come from the Schema
//! Registry. What it is then is a [`Table`] in the topic's entry of the topic registry: immutable, replaced with the entry
//! in one step, so that a request sees settings and table agree.
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | the topic configs that concern tables |
//! | `plan.rs` | settings and schemas so far to the next table, or the reason why not; pure |
//! | `stored.rs` | schema versions in the metadata store |
//! | `schemas.rs` | schemas of writers, out of the Schema Registry |
//! | `report.rs` | what the HTTP listener tells of a table |
//! | `guard.rs` | schemas that no bound table can follow are not registered |
//!
//! Versions are kept for ever, also when a topic stops being a table: field ids are never given out twice. A table is never
//! wedged: what cannot be followed is refused where it is asked for, and the version before goes on being served.

mod guard;
mod plan;
mod report;
mod schemas;
mod settings;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use weir_table::{Table, TableSchema};

pub use guard::TableGuard;
pub use plan::{TablePlanError, plan, reload};
pub use report::report;
pub use schemas::{DerivedSchema, Schemas};
pub use settings::{KeyKind, TableSettings};
pub use stored::{load, removals, writes};

/// Most versions of one table's schema.
pub const VERSIONS_MAX: usize = 1_000;

/// What a topic is as a table.
#[derive(Debug, Clone, Default)]
pub struct TopicTable {
    /// All versions its schema ever had, ascending.
    pub versions: Vec<Arc<TableSchema>>,
    /// Whether it is one now.
    pub typing: Typing,
}

/// Whether a topic is a table.
#[derive(Debug, Clone, Default)]
pub enum Typing {
    /// It takes any records.
    #[default]
    Untyped,
    /// It is to be one, but there is no schema to check rows with: nothing can be produced.
    Waiting {
        /// Why, and what to do.
        reason: String,
    },
    /// It is.
    Typed(Arc<Table>),
}

impl TopicTable {
    /// The table, if rows can be read as one.
    pub fn table(&self) -> Option<&Arc<Table>> {
        match &self.typing {
            Typing::Typed(table) => Some(table),
            Typing::Untyped | Typing::Waiting { .. } => None,
        }
    }
}

/// The same table, not one that is alike.
impl PartialEq for TopicTable {
    fn eq(&self, other: &TopicTable) -> bool {
        let same = match (&self.typing, &other.typing) {
            (Typing::Typed(a), Typing::Typed(b)) => Arc::ptr_eq(a, b),
            (Typing::Waiting { reason: a }, Typing::Waiting { reason: b }) => a == b,
            (Typing::Untyped, Typing::Untyped) => true,
            _ => false,
        };
        same && self.versions == other.versions
    }
}
