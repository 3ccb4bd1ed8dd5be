//! Arrays: `items` as a schema and as a list, what comes after the list, `contains`.
use serde_json::{Map, Value};

use super::{Check, Condition, Conditions, is_empty, list};
use crate::format::json::documents::Place;

/// Schemas of the first items, one by one.
fn positional(members: &Map<String, Value>) -> &[Value] {
    let prefix = list(members, "prefixItems");
    if prefix.is_empty() { list(members, "items") } else { prefix }
}

/// The schema of all items after those.
fn rest(members: &Map<String, Value>) -> Option<&Value> {
    let has_list = members.get("items").is_some_and(Value::is_array);
    let listed = if has_list { members.get("additionalItems") } else { members.get("items") };
    listed.or_else(|| members.get("unevaluatedItems"))
}

/// What the writer says about the item at an index; beyond all lists: about the rest.
fn written_at<'a>(conditions: &Conditions<'a>, index: usize) -> Vec<Place<'a>> {
    let of = |c: &Condition<'a>| {
        let schema = positional(c.members).get(index).or_else(|| rest(c.members))?;
        Some(Place { schema, document: c.document })
    };
    conditions.all.iter().filter_map(of).collect()
}

impl<'a> Check<'a> {
    pub(super) fn arrays_fit(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut fits =
            self.count_fits(conditions, members, path, "maxItems", ["MAX_ITEMS_ADDED", "MAX_ITEMS_DECREASED"]);
        fits &= self.count_fits(conditions, members, path, "minItems", ["MIN_ITEMS_ADDED", "MIN_ITEMS_INCREASED"]);
        let unique = |members: &Map<String, Value>| members.get("uniqueItems").and_then(Value::as_bool) == Some(true);
        if unique(members) && !conditions.all.iter().any(|c| unique(c.members)) {
            fits = self.report("UNIQUE_ITEMS_ADDED", path, "wants unique items");
        }
        fits &= self.contains_fits(conditions, new, members, path);
        fits & self.items_fit(conditions, new, members, path)
    }

    fn items_fit(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let read = positional(members);
        let written_len = conditions.all.iter().map(|c| positional(c.members).len()).max().unwrap_or(0);
        let mut fits = true;
        for index in 0..read.len().max(written_len) {
            let Some(schema) = read.get(index).or_else(|| rest(members)) else { break };
            let written = written_at(conditions, index);
            let place = format!("{path}/items/{index}");
            if self.fits(&written, Place { schema, document: new.document }, &place, &[]) {
                continue;
            }
            let (listed, was_listed) = (index < read.len(), index < written_len);
            fits = match (listed, was_listed) {
                (true, false) if written.is_empty() => {
                    self.report("ITEM_ADDED_TO_OPEN_CONTENT_MODEL", &place, "has an item where any was admitted")
                }
                (true, false) => {
                    let kind = "ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL";
                    self.report(kind, &place, "has an item that does not admit what was admitted")
                }
                (false, true) if schema == &Value::Bool(false) => {
                    self.report("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL", &place, "does not admit this item any more")
                }
                (false, true) => {
                    let kind = "ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL";
                    self.report(kind, &place, "does not admit this item by what holds for the rest")
                }
                (_, _) => false,
            };
        }
        let Some(schema) = rest(members).filter(|schema| !is_empty(schema)) else { return fits };
        let written = written_at(conditions, usize::MAX);
        let place = format!("{path}/items");
        if self.fits(&written, Place { schema, document: new.document }, &place, &[]) {
            return fits;
        }
        let kind = if schema == &Value::Bool(false) { "ADDITIONAL_ITEMS_REMOVED" } else { "ADDITIONAL_ITEMS_NARROWED" };
        self.report(kind, &place, "does not admit items that were admitted")
    }

    fn contains_fits(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let Some(wanted) = members.get("contains") else { return true };
        let number = |m: &Map<String, Value>, key: &str| m.get(key).and_then(Value::as_f64);
        let least = number(members, "minContains").unwrap_or(1.0);
        let most = number(members, "maxContains");
        let before = self.found.len();
        for condition in &conditions.all {
            let Some(had) = condition.members.get("contains") else { continue };
            let had = Place { schema: had, document: condition.document };
            let enough = number(condition.members, "minContains").unwrap_or(1.0) >= least;
            // An upper limit counts what matches: only the same schema is sure to match no more.
            let few = most.is_none_or(|most| {
                had.schema == wanted && number(condition.members, "maxContains").is_some_and(|had| had <= most)
            });
            let wanted = Place { schema: wanted, document: new.document };
            if enough && few && self.fits(&[had], wanted, &format!("{path}/contains"), &[]) {
                return true;
            }
        }
        self.found.truncate(before);
        if least <= 0.0 && most.is_none() {
            return true;
        }
        self.report("CONTAINS_CHANGED", path, "has a `contains` that does not follow")
    }
}
