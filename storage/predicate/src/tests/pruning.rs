//! Row groups that statistics rule out hold no row that matches, and some are ruled out.
use arrow_array::{Array, UInt64Array};
use arrow_select::concat::concat;
use proptest::prelude::*;

use super::*;
use crate::ContainerStatistics;

/// Statistics worked out from the groups themselves, with a Bloom filter that never errs.
struct Exact {
    groups: Vec<RecordBatch>,
}

impl Exact {
    fn each(&self, column: &str, pick: impl Fn(&ArrayRef) -> ArrayRef) -> Option<ArrayRef> {
        let parts: Vec<_> = self.groups.iter().map(|g| pick(g.column_by_name(column).unwrap())).collect();
        let parts: Vec<&dyn Array> = parts.iter().map(|p| p.as_ref()).collect();
        concat(&parts).ok()
    }

    /// The row at the end of the sorted column, or null.
    fn extreme(column: &ArrayRef, last: bool) -> ArrayRef {
        let floats = column.as_any().downcast_ref::<Float64Array>();
        if floats.is_some_and(|f| f.iter().flatten().any(f64::is_nan)) {
            return arrow_array::new_null_array(column.data_type(), 1); // none for NaN
        }
        let order = arrow_ord::sort::sort_to_indices(column, None, None).unwrap();
        let rows = column.len() - column.null_count();
        if rows == 0 {
            return arrow_array::new_null_array(column.data_type(), 1);
        }
        let at = if last { column.len() - 1 } else { column.len() - rows };
        column.slice(order.value(at) as usize, 1)
    }
}

impl ContainerStatistics for Exact {
    fn containers(&self) -> usize {
        self.groups.len()
    }
    fn min(&self, column: &str) -> Option<ArrayRef> {
        self.each(column, |c| Self::extreme(c, false))
    }
    fn max(&self, column: &str) -> Option<ArrayRef> {
        self.each(column, |c| Self::extreme(c, true))
    }
    fn null_counts(&self, column: &str) -> Option<ArrayRef> {
        let counts = self.groups.iter().map(|g| g.column_by_name(column).unwrap().null_count() as u64);
        Some(Arc::new(UInt64Array::from_iter_values(counts)))
    }
    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.groups.iter().map(|g| g.num_rows() as u64))))
    }
    fn may_hold(&self, column: &str, values: &ArrayRef) -> Option<Vec<bool>> {
        let values = values.as_any().downcast_ref::<StringArray>()?;
        let holds = |g: &RecordBatch| {
            let column = g.column_by_name(column).unwrap().as_any().downcast_ref::<StringArray>().unwrap();
            column.iter().flatten().any(|v| values.iter().flatten().any(|w| v == w))
        };
        Some(self.groups.iter().map(holds).collect())
    }
}

const TEXTS: &[&str] = &[
    "n > 40",
    "n = 7",
    "n BETWEEN 10 AND 12 AND s LIKE 'a%'",
    "n IS NULL",
    "n IS NOT NULL AND n < 3",
    "NOT (n < 90)",
    "n IN (1, 2, 3) OR s = 'b'",
    "s = 'c7'",
    "s IN ('a1', 'zz')",
    "s <> 'a1'",
    "f > 40.5",
    "f = 0.0",
    "f < 0.0",
    "n + 1 > 95",
    "100 / n > 30",
    "n <> 5",
    "s NOT IN ('a1', 'a2')",
    "s LIKE 'c%'",
];

fn group(rows: &[(Option<i32>, Option<String>, Option<f64>)]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("n", Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.0))), true),
        ("s", Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1.clone()))), true),
        ("f", Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.2))), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Seen failing when `min` and `max` were exchanged.
    #[test]
    fn no_match_is_pruned(
        groups in prop::collection::vec(prop::collection::vec((
            prop::option::of(0..100i32),
            prop::option::of("[abc][0-9]?"),
            prop::option::of(prop::sample::select(vec![-1.5, -0.0, 0.0, 40.5, 41.0, f64::NAN, f64::INFINITY])),
        ), 1..6), 1..6),
    ) {
        let groups: Vec<_> = groups.iter().map(|g| group(g)).collect();
        let statistics = Exact { groups };
        for text in TEXTS {
            let predicate = plan(text, &statistics.groups[0].schema()).unwrap();
            let keep = predicate.prune(&statistics);
            for (group, keep) in statistics.groups.iter().zip(keep) {
                let matched = evaluate(&predicate, group).matched;
                prop_assert!(keep || matched == 0, "{} pruned a group with {} matches", text, matched);
            }
        }
    }
}

#[test]
fn groups_outside_of_the_range_are_pruned() {
    let low = group(&[(Some(1), Some("a1".into()), Some(1.0)), (Some(9), None, None)]);
    let high = group(&[(Some(50), Some("c7".into()), Some(99.0)), (Some(90), Some("b".into()), Some(f64::NAN))]);
    let nulls = group(&[(None, None, None)]);
    let statistics = Exact { groups: vec![low, high, nulls] };
    let keep = |text: &str| plan(text, &statistics.groups[0].schema()).unwrap().prune(&statistics);
    assert_eq!(keep("n > 40"), [false, true, false]);
    assert_eq!(keep("n = 7"), [true, false, false]);
    assert_eq!(keep("n IS NULL"), [false, false, true]);
    assert_eq!(keep("s = 'c7'"), [false, true, false]);
    assert_eq!(keep("s IN ('a1', 'a2')"), [true, false, false], "by the Bloom filter and the range");
    assert_eq!(keep("f > 10"), [false, true, false], "a group with NaN has no maximum");
    assert_eq!(keep("n > 40 OR s = 'a1'"), [true, true, false]);
}
