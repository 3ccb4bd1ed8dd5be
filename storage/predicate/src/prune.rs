//! Which row groups cannot match, told by their statistics.
use std::collections::HashSet;

use arrow_array::{ArrayRef, BooleanArray};
use datafusion_common::pruning::PruningStatistics;
use datafusion_common::{Column, ScalarValue};

use crate::plan::Predicate;

/// Statistics of a list of containers (row groups, segments). Every answer may be `None`: nothing is known then. Arrays have
/// one value per container; a null value means that nothing is known of that container.
pub trait ContainerStatistics {
    fn containers(&self) -> usize;
    /// A lower bound in Arrow's total order, of the column's type.
    fn min(&self, column: &str) -> Option<ArrayRef>;
    /// An upper bound in Arrow's total order, of the column's type.
    fn max(&self, column: &str) -> Option<ArrayRef>;
    /// UInt64.
    fn null_counts(&self, column: &str) -> Option<ArrayRef>;
    /// UInt64.
    fn row_counts(&self) -> Option<ArrayRef>;
    /// Whether a container may hold any of `values` (an array of the column's type), by a Bloom filter.
    fn may_hold(&self, column: &str, values: &ArrayRef) -> Option<Vec<bool>>;
}

impl Predicate {
    /// One flag per container: false where no row can match, so that it need not be read.
    pub fn prune(&self, statistics: &dyn ContainerStatistics) -> Vec<bool> {
        let all = || vec![true; statistics.containers()];
        let Some(pruning) = &self.pruning else { return all() };
        // Statistics that do not fit are no reason to lose rows.
        match pruning.prune(&Adapter(statistics)) {
            Ok(keep) if keep.len() == statistics.containers() => keep,
            _ => all(),
        }
    }

    /// Whether statistics could ever tell anything about this predicate.
    pub fn can_prune(&self) -> bool {
        self.pruning.is_some()
    }
}

struct Adapter<'a>(&'a dyn ContainerStatistics);

impl PruningStatistics for Adapter<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.0.min(column.name())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.0.max(column.name())
    }

    fn num_containers(&self) -> usize {
        self.0.containers()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.0.null_counts(column.name())
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        self.0.row_counts()
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let array = ScalarValue::iter_to_array(values.iter().cloned()).ok()?;
        let may_hold = self.0.may_hold(column.name(), &array)?;
        // False: holds none of them. Null: may hold some; "holds nothing else" cannot be told by a Bloom filter.
        Some(may_hold.into_iter().map(|may| if may { None } else { Some(false) }).collect())
    }
}
