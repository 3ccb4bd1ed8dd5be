//! Objects: properties in open, closed and partially open content models; `required`; dependencies.
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::scalar::names;
use super::{Check, Condition, Conditions, is_empty};
use crate::format::json::documents::Place;
use crate::format::json::patterns;

fn map<'a>(members: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    members.get(key).and_then(Value::as_object)
}

/// What holds for properties that nothing else names. `unevaluatedProperties` is the same where nothing else evaluates any.
fn rest(members: &Map<String, Value>) -> Option<&Value> {
    const OTHERS: &[&str] = &["allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas", "$dynamicRef"];
    let alone = !OTHERS.iter().any(|key| members.contains_key(*key));
    members.get("additionalProperties").or_else(|| members.get("unevaluatedProperties").filter(|_| alone))
}

/// The schemas that a property must fulfil.
fn schemas_of<'a>(members: &'a Map<String, Value>, name: &str) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = map(members, "properties").and_then(|p| p.get(name)).into_iter().collect();
    for (pattern, schema) in map(members, "patternProperties").into_iter().flatten() {
        if patterns::matches(pattern, name) == Some(true) {
            found.push(schema);
        }
    }
    if found.is_empty() {
        found.extend(rest(members));
    }
    found
}

fn written<'a>(conditions: &Conditions<'a>, of: impl Fn(&Condition<'a>) -> Vec<&'a Value>) -> Vec<Place<'a>> {
    let places =
        |c: &Condition<'a>| of(c).into_iter().map(|schema| Place { schema, document: c.document }).collect::<Vec<_>>();
    conditions.all.iter().flat_map(places).collect()
}

impl<'a> Check<'a> {
    pub(super) fn objects_fit(
        &mut self,
        conditions: &Conditions<'a>,
        old: &[Place<'a>],
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let most = ["MAX_PROPERTIES_ADDED", "MAX_PROPERTIES_DECREASED"];
        let least = ["MIN_PROPERTIES_ADDED", "MIN_PROPERTIES_INCREASED"];
        let mut fits = self.count_fits(conditions, members, path, "maxProperties", most);
        fits &= self.count_fits(conditions, members, path, "minProperties", least);
        fits &= self.properties_fit(conditions, new, members, path);
        fits &= self.required_fits(conditions, new, members, path);
        fits &= self.patterns_fit(conditions, new, members, path);
        fits &= self.rest_fits(conditions, new, members, path);
        fits &= self.property_names_fit(conditions, new, members, path);
        fits & self.dependencies_fit(conditions, old, new, members, path)
    }

    fn properties_fit(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let read = map(members, "properties");
        let had = |name: &str| {
            conditions.all.iter().any(|c| map(c.members, "properties").is_some_and(|p| p.contains_key(name)))
        };
        let mut all: BTreeSet<&str> = read.into_iter().flat_map(|p| p.keys().map(String::as_str)).collect();
        for condition in &conditions.all {
            all.extend(map(condition.members, "properties").into_iter().flat_map(|p| p.keys().map(String::as_str)));
        }
        let mut fits = true;
        for name in all {
            let before = written(conditions, |c| schemas_of(c.members, name));
            let place = format!("{path}/properties/{name}");
            for schema in schemas_of(members, name) {
                if self.fits(&before, Place { schema, document: new.document }, &place, &[]) {
                    continue;
                }
                let has = read.is_some_and(|p| p.contains_key(name));
                fits = match (has, had(name)) {
                    (true, false) => self.added(name, &place, members, before.is_empty()),
                    (false, true) if schema == &Value::Bool(false) => {
                        let kind = "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL";
                        self.report(kind, &place, "is closed and does not have this property any more")
                    }
                    (false, true) => {
                        let kind = "PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL";
                        self.report(kind, &place, "does not admit this property by what holds for the rest")
                    }
                    (_, _) => false,
                };
            }
        }
        fits
    }

    /// A property that the writer did not name, and whose schema does not admit all that was admitted there.
    fn added(&mut self, name: &str, place: &str, members: &Map<String, Value>, open: bool) -> bool {
        let required = names(members, "required").any(|required| required == name);
        match (open, required) {
            (true, false) => {
                let kind = "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL";
                self.report(kind, place, "adds a property to an open content model, in which it may have been anything")
            }
            (true, true) => {
                let kind = "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL";
                self.report(kind, place, "adds a required property to an open content model")
            }
            (false, _) => {
                let kind = "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL";
                self.report(kind, place, "adds a property that does not admit what was admitted for the rest")
            }
        }
    }

    fn required_fits(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut fits = true;
        for name in names(members, "required") {
            if conditions.all.iter().any(|c| names(c.members, "required").any(|required| required == name)) {
                continue;
            }
            let schema = map(members, "properties").and_then(|p| p.get(name));
            let had = conditions.all.iter().any(|c| map(c.members, "properties").is_some_and(|p| p.contains_key(name)));
            let open = written(conditions, |c| schemas_of(c.members, name)).is_empty();
            if schema.is_some_and(|schema| self.has_default(Place { schema, document: new.document })) && (had || !open)
            {
                continue;
            }
            let place = format!("{path}/required/{name}");
            fits = match (had, open, schema.is_some_and(is_empty)) {
                // Without a schema it is not looked at by Confluent's rules if it was not there either; data without it fails.
                (true, _, _) => {
                    self.report("REQUIRED_ATTRIBUTE_ADDED", &place, "requires a property that was optional")
                }
                (false, true, _) => {
                    let kind = "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL";
                    self.report(kind, &place, "requires a property that data may lack")
                }
                (false, false, _) => {
                    let kind = "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL";
                    self.report(kind, &place, "requires a property that data lacks and that has no default")
                }
            };
        }
        fits
    }

    fn has_default(&self, place: Place<'a>) -> bool {
        place.schema.get("default").is_some()
            || self.referred(place).is_some_and(|target| target.schema.get("default").is_some())
    }

    /// `patternProperties`: names that match may have been anything that the writer admitted for names it does not list.
    fn patterns_fit(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut fits = true;
        for (pattern, schema) in map(members, "patternProperties").into_iter().flatten() {
            let same = |c: &Condition<'a>| map(c.members, "patternProperties").and_then(|p| p.get(pattern));
            let before = written(conditions, |c| same(c).or_else(|| rest(c.members)).into_iter().collect());
            let place = format!("{path}/patternProperties/{pattern}");
            let document = new.document;
            let mut follows = self.fits(&before, Place { schema, document }, &place, &[]);
            if !conditions.all.iter().any(|c| same(c).is_some()) {
                // Other patterns may match the same names.
                for other in written(conditions, |c| {
                    map(c.members, "patternProperties").into_iter().flat_map(|p| p.values()).collect()
                }) {
                    follows &= self.fits(&[other], Place { schema, document }, &place, &[]);
                }
            }
            if !follows {
                fits = self.report("PATTERN_PROPERTY_ADDED", &place, "does not admit what was admitted for such names");
            }
        }
        fits
    }

    /// `additionalProperties`, and `unevaluatedProperties` beside other keywords that evaluate.
    fn rest_fits(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let Some(schema) = rest(members).filter(|schema| !is_empty(schema)) else {
            let Some(schema) = members.get("unevaluatedProperties").filter(|schema| !is_empty(schema)) else {
                return true;
            };
            let same = conditions.all.iter().any(|c| c.members.get("unevaluatedProperties") == Some(schema));
            let what = "has another `unevaluatedProperties`";
            return same || self.report("UNEVALUATED_PROPERTIES_NARROWED", path, what);
        };
        let place = format!("{path}/additionalProperties");
        let read_patterns = map(members, "patternProperties");
        let mut sets = vec![written(conditions, |c| rest(c.members).into_iter().collect())];
        for condition in &conditions.all {
            for (pattern, schema) in map(condition.members, "patternProperties").into_iter().flatten() {
                if !read_patterns.is_some_and(|read| read.contains_key(pattern)) {
                    sets.push(vec![Place { schema, document: condition.document }]);
                }
            }
        }
        let document = new.document;
        let follows = sets.iter().all(|before| self.fits(before, Place { schema, document }, &place, &[]));
        let kind = if schema == &Value::Bool(false) {
            "ADDITIONAL_PROPERTIES_REMOVED"
        } else {
            "ADDITIONAL_PROPERTIES_NARROWED"
        };
        follows || self.report(kind, &place, "does not admit additional properties that were admitted")
    }

    fn property_names_fit(
        &mut self,
        conditions: &Conditions<'a>,
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let Some(schema) = members.get("propertyNames").filter(|schema| !is_empty(schema)) else { return true };
        let before = written(conditions, |c| c.members.get("propertyNames").into_iter().collect());
        let place = format!("{path}/propertyNames");
        let follows = !before.is_empty() && self.fits(&before, Place { schema, document: new.document }, &place, &[]);
        follows || self.report("PROPERTY_NAMES_NARROWED", &place, "restricts the names of properties")
    }

    /// `dependencies`, `dependentRequired`, `dependentSchemas`.
    fn dependencies_fit(
        &mut self,
        conditions: &Conditions<'a>,
        old: &[Place<'a>],
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut fits = true;
        for key in ["dependencies", "dependentRequired", "dependentSchemas"] {
            for (name, wanted) in map(members, key).into_iter().flatten() {
                let place = format!("{path}/{key}/{name}");
                if written(conditions, |c| schemas_of(c.members, name)).iter().any(|p| p.schema == &Value::Bool(false))
                {
                    continue; // data does not have it
                }
                fits &= match wanted {
                    Value::Array(_) => self.dependent_required_fits(conditions, name, wanted, &place),
                    _ => {
                        let mut before = old.to_vec();
                        before.extend(written(conditions, |c| {
                            dependents(c.members, name).filter(|v| !v.is_array()).collect()
                        }));
                        let follows = self.fits(&before, Place { schema: wanted, document: new.document }, &place, &[]);
                        follows
                            || self.report("DEPENDENCY_SCHEMA_ADDED", &place, "has a dependency that does not follow")
                    }
                };
            }
        }
        fits
    }

    fn dependent_required_fits(
        &mut self,
        conditions: &Conditions<'a>,
        name: &str,
        wanted: &Value,
        place: &str,
    ) -> bool {
        let mut given: BTreeSet<&str> = conditions.all.iter().flat_map(|c| names(c.members, "required")).collect();
        let mut had = false;
        for list in conditions.all.iter().flat_map(|c| dependents(c.members, name)).filter_map(Value::as_array) {
            had = true;
            given.extend(list.iter().filter_map(Value::as_str));
        }
        if wanted.as_array().into_iter().flatten().filter_map(Value::as_str).all(|name| given.contains(name)) {
            return true;
        }
        let kind = if had { "DEPENDENCY_ARRAY_EXTENDED" } else { "DEPENDENCY_ARRAY_ADDED" };
        self.report(kind, place, "requires more properties beside this one")
    }
}

fn dependents<'a>(members: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    let of = |key: &str| map(members, key).and_then(|m| m.get(name));
    [of("dependencies"), of("dependentRequired"), of("dependentSchemas")].into_iter().flatten()
}
