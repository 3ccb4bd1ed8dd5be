//! Is everything that one JSON schema admits admitted by another?
//!
//! The writer's schema is looked at as a list of conditions that all hold (`allOf` and `$ref` are taken apart); each keyword
//! of the reader's schema must follow from them. Where the writer has `anyOf` or `oneOf`, each branch is looked at by
//! itself. That is never wrong in the direction that would let unreadable data in. The rules and their names are those of
//! Confluent's registry ("JSON Schema compatibility rules": open, closed and partially open content models), and so is
//! its one exception: a property that becomes required is no obstacle if it has a default.
mod array;
mod object;
mod scalar;

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::Documents;
use super::documents::Place;
use crate::format::{Budget, Incompatibility, Sides};

/// Conditions of the writer that are looked at together.
const CONDITIONS_MAX: usize = 256;

/// Why `reader` does not admit all that `writer` admits; empty = it does.
#[must_use]
pub fn incompatibilities(reader: &Documents, writer: &Documents, sides: Sides) -> Vec<Incompatibility> {
    let mut refuted = HashSet::new();
    let mut budget = Budget::default();
    // Recursive schemas: as for Avro, passes until nothing new is refuted.
    loop {
        let known = refuted.len();
        let mut check = Check { reader, writer, sides, verdicts: HashMap::new(), refuted, budget, found: Vec::new() };
        let fits = check.fits(&[writer.root()], reader.root(), "#", &[]);
        let Check { refuted: now, budget: left, mut found, .. } = check;
        (refuted, budget) = (now, left);
        if budget.is_exhausted() {
            return vec![Incompatibility { kind: "SCHEMA_TOO_COMPLEX", description: Budget::reason() }];
        }
        if fits && refuted.len() > known {
            continue;
        }
        if !fits && found.is_empty() {
            let description =
                format!("The {} schema does not admit all that the {} schema admits", sides.reader, sides.writer);
            found.push(Incompatibility { kind: "TYPE_CHANGED", description });
        }
        return if fits { Vec::new() } else { found };
    }
}

/// The addresses of the writer's conditions and of the reader's schema: documents do not move during a check.
type Key = (Vec<usize>, usize);

fn address(value: &Value) -> usize {
    std::ptr::from_ref(value) as usize
}

/// An object among the writer's conditions.
#[derive(Debug, Clone, Copy)]
struct Condition<'a> {
    members: &'a Map<String, Value>,
    document: usize,
    at: usize,
}

/// All that the writer's data fulfils.
#[derive(Debug, Default)]
struct Conditions<'a> {
    all: Vec<Condition<'a>>,
    /// Nothing fulfils them.
    never: bool,
}

struct Check<'a> {
    reader: &'a Documents,
    writer: &'a Documents,
    sides: Sides,
    verdicts: HashMap<Key, Option<bool>>,
    refuted: HashSet<Key>,
    budget: Budget,
    found: Vec<Incompatibility>,
}

impl<'a> Check<'a> {
    /// Whether what fulfils all of `old` is admitted by `new`. `split`: the sums of the writer that were taken apart already.
    fn fits(&mut self, old: &[Place<'a>], new: Place<'a>, path: &str, split: &[usize]) -> bool {
        let conditions = self.conditions(old);
        if conditions.never {
            return true;
        }
        let members = match new.schema {
            Value::Bool(true) => return true,
            Value::Object(members) if is_annotation_only(members) => return true,
            Value::Object(members) => members,
            _ => {
                return self.report("TYPE_CHANGED", path, "admits nothing here");
            }
        };
        let mut addresses: Vec<usize> = conditions.all.iter().map(|c| c.at).collect();
        addresses.extend(split);
        addresses.sort_unstable();
        let key = (addresses, address(new.schema));
        match self.verdicts.get(&key) {
            Some(Some(verdict)) => return *verdict,
            Some(None) => return !self.refuted.contains(&key),
            None => {}
        }
        if !self.budget.enter() {
            return false;
        }
        self.verdicts.insert(key.clone(), None);
        let fits = self.object_fits(&conditions, old, Place { schema: new.schema, ..new }, members, path, split);
        if !fits {
            self.refuted.insert(key.clone());
        }
        self.verdicts.insert(key, Some(fits));
        self.budget.leave();
        fits
    }

    fn object_fits(
        &mut self,
        conditions: &Conditions<'a>,
        old: &[Place<'a>],
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
        split: &[usize],
    ) -> bool {
        if let Some(target) = self.referred(new) {
            let siblings = self.reader.reads_siblings(new.document);
            let follows = self.fits(old, target, path, split);
            if !siblings || !follows {
                return follows;
            }
        }
        let before = self.found.len();
        if self.keywords_fit(conditions, old, new, members, path, split) {
            self.found.truncate(before);
            return true;
        }
        // The writer's branches one by one may fit where all of them together do not.
        let Some((sum, branches, document)) = unsplit_sum(conditions, split) else { return false };
        let direct = self.found.split_off(before);
        let mut split = split.to_vec();
        split.push(sum);
        for (index, branch) in branches.iter().enumerate() {
            let mut with_branch = old.to_vec();
            with_branch.push(Place { schema: branch, document });
            if !self.fits(&with_branch, new, path, &split) {
                let what = format!("does not admit branch {index} of a sum any more");
                self.report("SUM_TYPE_NARROWED", path, &what);
                if self.found.len() == before + 1 {
                    self.found.extend(direct);
                }
                return false;
            }
        }
        true
    }

    fn keywords_fit(
        &mut self,
        conditions: &Conditions<'a>,
        old: &[Place<'a>],
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
        split: &[usize],
    ) -> bool {
        let types = self.types_fit(conditions, members, path);
        if types.is_none() {
            return false;
        }
        let written = types.unwrap_or_default();
        let mut fits = self.values_fit(conditions, members, path);
        if written.number {
            fits &= self.numbers_fit(conditions, members, path);
        }
        if written.string {
            fits &= self.strings_fit(conditions, members, path);
        }
        if written.array {
            fits &= self.arrays_fit(conditions, new, members, path);
        }
        if written.object {
            fits &= self.objects_fit(conditions, old, new, members, path);
        }
        fits & self.combined_fit(conditions, old, new, members, path, split)
    }

    /// `allOf`, `anyOf`, `oneOf`, `not`, `if`.
    fn combined_fit(
        &mut self,
        conditions: &Conditions<'a>,
        old: &[Place<'a>],
        new: Place<'a>,
        members: &'a Map<String, Value>,
        path: &str,
        split: &[usize],
    ) -> bool {
        let inner = |schema| Place { schema, document: new.document };
        let mut fits = true;
        for (index, part) in list(members, "allOf").iter().enumerate() {
            if !self.fits(old, inner(part), &format!("{path}/allOf/{index}"), split) {
                fits =
                    self.report("PRODUCT_TYPE_EXTENDED", path, "has a condition in `allOf` that does not follow from");
            }
        }
        for key in ["anyOf", "oneOf"] {
            let branches = list(members, key);
            if branches.is_empty() {
                continue;
            }
            let before = self.found.len();
            let admitted = branches
                .iter()
                .enumerate()
                .any(|(index, branch)| self.fits(old, inner(branch), &format!("{path}/{key}/{index}"), split));
            if admitted {
                self.found.truncate(before);
            } else {
                self.found.truncate(before + 3);
                fits = self.report(
                    "COMBINED_TYPE_SUBSCHEMAS_CHANGED",
                    path,
                    &format!("has no branch in `{key}` that admits"),
                );
            }
        }
        if let Some(refused) = members.get("not") {
            fits &= self.not_fits(conditions, inner(refused), path);
        }
        if let Some(condition) = members.get("if") {
            let trio = |m: &Map<String, Value>| ["if", "then", "else"].map(|key| m.get(key).cloned());
            let same = conditions.all.iter().any(|c| trio(c.members) == trio(members));
            let both = ["then", "else"].into_iter().filter_map(|key| members.get(key));
            if !same && !both.into_iter().all(|then| self.fits(old, inner(then), &format!("{path}/then"), split)) {
                let _ = condition;
                fits = self.report("CONDITIONAL_TYPE_CHANGED", path, "has another `if` than");
            }
        }
        fits
    }

    /// What the reader refuses by `not` must have been refused before. The roles change: the refused part of the reader must be
    /// within the refused part of the writer.
    fn not_fits(&mut self, conditions: &Conditions<'a>, refused: Place<'a>, path: &str) -> bool {
        for condition in &conditions.all {
            let Some(before) = condition.members.get("not") else { continue };
            let mut swapped = Check {
                reader: self.writer,
                writer: self.reader,
                sides: self.sides,
                verdicts: HashMap::new(),
                refuted: HashSet::new(),
                budget: std::mem::take(&mut self.budget),
                found: Vec::new(),
            };
            let before = Place { schema: before, document: condition.document };
            let fits = swapped.fits(&[refused], before, path, &[]);
            self.budget = swapped.budget;
            if fits {
                return true;
            }
        }
        self.report("NOT_TYPE_EXTENDED", path, "refuses by `not` what is admitted by")
    }

    fn referred(&self, place: Place<'a>) -> Option<Place<'a>> {
        let reference =
            ["$ref", "$dynamicRef", "$recursiveRef"].iter().find_map(|key| place.schema.get(*key)?.as_str())?;
        self.reader.resolve(place.document, reference)
    }

    /// Takes the writer's schemas apart at `$ref` and `allOf`.
    fn conditions(&self, old: &[Place<'a>]) -> Conditions<'a> {
        let mut conditions = Conditions::default();
        let mut todo: Vec<Place<'a>> = old.to_vec();
        let mut seen = HashSet::new();
        while let Some(Place { schema, document }) = todo.pop() {
            let members = match schema {
                Value::Bool(false) => {
                    conditions.never = true;
                    continue;
                }
                Value::Object(members) => members,
                _ => continue,
            };
            // Conditions that are left out only make the verdict stricter.
            if !seen.insert(address(schema)) || seen.len() > CONDITIONS_MAX {
                continue;
            }
            let reference = ["$ref", "$dynamicRef", "$recursiveRef"].iter().find_map(|key| members.get(*key)?.as_str());
            if let Some(reference) = reference {
                todo.extend(self.writer.resolve(document, reference));
                if !self.writer.reads_siblings(document) {
                    continue;
                }
            }
            todo.extend(list(members, "allOf").iter().map(|schema| Place { schema, document }));
            conditions.all.push(Condition { members, document, at: address(schema) });
        }
        conditions
    }

    /// Notes a difference; always false.
    fn report(&mut self, kind: &'static str, path: &str, what: &str) -> bool {
        let Sides { reader, writer } = self.sides;
        let description = format!("The {reader} schema at path '{path}' {what} (compared with the {writer} schema)");
        if self.found.len() < crate::limits::DIFFERENCES_MAX {
            self.found.push(Incompatibility { kind, description });
        }
        false
    }
}

/// A sum of the writer that was not taken apart yet: its address, its branches, its document.
fn unsplit_sum<'a>(conditions: &Conditions<'a>, split: &[usize]) -> Option<(usize, &'a [Value], usize)> {
    conditions.all.iter().find_map(|condition| {
        ["anyOf", "oneOf"].into_iter().find_map(|key| {
            let sum = condition.members.get(key)?;
            let at = address(sum);
            let branches = sum.as_array().filter(|branches| !branches.is_empty() && !split.contains(&at))?;
            Some((at, branches.as_slice(), condition.document))
        })
    })
}

fn list<'a>(members: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    members.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a schema says nothing about data.
fn is_annotation_only(members: &Map<String, Value>) -> bool {
    const ANNOTATIONS: &[&str] = &[
        "$schema",
        "$id",
        "id",
        "$anchor",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "format",
    ];
    members
        .keys()
        .all(|key| ANNOTATIONS.contains(&key.as_str()) || key.starts_with("connect.") || key.starts_with("confluent:"))
}

/// Whether a schema admits everything.
fn is_empty(schema: &Value) -> bool {
    match schema {
        Value::Bool(admits) => *admits,
        Value::Object(members) => is_annotation_only(members),
        _ => false,
    }
}
