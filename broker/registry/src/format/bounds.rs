//! Bounds that the formats share.
use serde_json::Value;

use crate::limits::{COMPARISON_DEPTH_MAX, COMPARISONS_MAX, DEPTH_MAX, NODES_MAX};

/// What a compatibility check may still do. Types can refer to each other so that the pairs to compare are many.
#[derive(Debug)]
pub struct Budget {
    comparisons: usize,
    depth: usize,
    /// Set for good once a bound was reached.
    exhausted: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { comparisons: COMPARISONS_MAX, depth: 0, exhausted: false }
    }
}

impl Budget {
    /// Begins a comparison; false = there must not be another. Each success needs a [`Budget::leave`].
    pub fn enter(&mut self) -> bool {
        if self.comparisons == 0 || self.depth >= COMPARISON_DEPTH_MAX {
            self.exhausted = true;
            return false;
        }
        self.comparisons -= 1;
        self.depth += 1;
        true
    }

    /// Ends a comparison.
    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether a bound was reached, so that the verdict is not one of the rules.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// What to say then.
    #[must_use]
    pub fn reason() -> String {
        format!(
            "The schemas are too complex to be compared: more than {COMPARISONS_MAX} pairs of types, or more than \
             {COMPARISON_DEPTH_MAX} inside each other"
        )
    }
}

/// Reads JSON of bounded depth and size.
pub(super) fn parse_json(text: &str) -> Result<Value, String> {
    // Its reader stops at 128 levels by itself.
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let mut nodes = 0;
    measure(&value, 1, &mut nodes)?;
    Ok(value)
}

fn measure(value: &Value, depth: usize, nodes: &mut usize) -> Result<(), String> {
    *nodes += 1;
    if depth > DEPTH_MAX {
        return Err(format!("nested more than {DEPTH_MAX} levels deep"));
    }
    if *nodes > NODES_MAX {
        return Err(format!("more than {NODES_MAX} values"));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, depth + 1, nodes)),
        Value::Object(members) => members.values().try_for_each(|member| measure(member, depth + 1, nodes)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}
