//! A schema with the documents it refers to, and what a `$ref` means in them.
use std::collections::HashMap;

use serde_json::Value;

use super::keywords::each_schema;
use super::{Dependency, Draft};
use crate::format::bounds::parse_json;

/// What a `$ref` to a meta-schema stands for here: any schema is valid, so nothing is checked.
static ANYTHING: Value = Value::Bool(true);

#[derive(Debug)]
struct Document {
    value: Value,
    /// Its `$id`, which relative references start from.
    base: String,
    draft: Draft,
}

/// Documents; the first one is the schema itself.
#[derive(Debug)]
pub struct Documents {
    all: Vec<Document>,
    /// Names of references and `$id`s of whole documents.
    by_name: HashMap<String, usize>,
    /// `$id`s and anchors inside documents: document, JSON pointer.
    inside: HashMap<String, (usize, String)>,
}

/// A schema and the document that its references start from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub schema: &'a Value,
    pub document: usize,
}

impl Documents {
    pub(super) fn new(schema: Value, draft: Draft, dependencies: &[Dependency]) -> Result<Documents, String> {
        let mut documents = Documents { all: Vec::new(), by_name: HashMap::new(), inside: HashMap::new() };
        documents.add(schema, Some(draft), None)?;
        for dependency in dependencies {
            let value = parse_json(&dependency.text)?;
            documents.add(value, None, Some(&dependency.reference.name))?;
        }
        Ok(documents)
    }

    fn add(&mut self, value: Value, draft: Option<Draft>, name: Option<&str>) -> Result<(), String> {
        let index = self.all.len();
        let draft = draft.map_or_else(|| Draft::of(&value), Ok)?;
        let id = value.get("$id").or_else(|| value.get("id")).and_then(Value::as_str);
        let base = id.or(name).unwrap_or_default().trim_end_matches('#').to_owned();
        for own in [name.map(|name| name.trim_end_matches('#')), Some(base.as_str())].into_iter().flatten() {
            if !own.is_empty() {
                self.by_name.entry(own.to_owned()).or_insert(index);
            }
        }
        let mut found = Vec::new();
        anchors(&value, String::new(), &mut found);
        for (name, pointer) in found {
            self.inside.entry(join(&base, &name)).or_insert_with(|| (index, pointer.clone()));
            self.inside.entry(format!("{index} {name}")).or_insert((index, pointer));
        }
        self.all.push(Document { value, base, draft });
        Ok(())
    }

    /// The schema itself.
    pub(super) fn root(&self) -> Place<'_> {
        Place { schema: &self.all[0].value, document: 0 }
    }

    /// Whether keywords beside a `$ref` count.
    pub(super) fn reads_siblings(&self, document: usize) -> bool {
        self.all[document].draft >= Draft::Y2019
    }

    /// What a `$ref` in a document points to.
    pub(super) fn resolve(&self, document: usize, reference: &str) -> Option<Place<'_>> {
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = &self.all[document].base;
        let absolute = join(base, uri);
        if absolute.contains("json-schema.org/") {
            return Some(Place { schema: &ANYTHING, document });
        }
        let names = [reference, uri, absolute.as_str()];
        let target =
            if uri.is_empty() { Some(document) } else { names.iter().find_map(|n| self.by_name.get(*n).copied()) };
        if let Some(target) = target {
            let local = if fragment.is_empty() || fragment.starts_with('/') {
                self.all[target].value.pointer(&percent_decoded(fragment))
            } else {
                let inside = self.inside.get(&format!("{target} #{fragment}"));
                inside.and_then(|(index, pointer)| self.all[*index].value.pointer(pointer))
            };
            return local.map(|schema| Place { schema, document: target });
        }
        // An `$id` inside a document, possibly with a pointer below it.
        let (index, pointer) = names[1..].iter().find_map(|name| self.inside.get(*name))?;
        let below = format!("{pointer}{}", percent_decoded(fragment));
        self.all[*index].value.pointer(&below).map(|schema| Place { schema, document: *index })
    }

    /// Every `$ref` must lead somewhere.
    pub(super) fn check_references(&self) -> Result<(), String> {
        for (index, document) in self.all.iter().enumerate() {
            each_schema(&document.value, &mut |schema| {
                for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
                    let Some(reference) = schema.get(key).and_then(Value::as_str) else { continue };
                    if self.resolve(index, reference).is_none() {
                        return Err(format!(
                            "`{key}` \"{reference}\" leads nowhere. Register what it points to and name it in `references`; nothing is \
                             fetched"
                        ));
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Names that parts of a document have, with their JSON pointers.
fn anchors(value: &Value, pointer: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for key in ["$anchor", "$dynamicAnchor"] {
                if let Some(name) = members.get(key).and_then(Value::as_str) {
                    found.push((format!("#{name}"), pointer.clone()));
                }
            }
            if !pointer.is_empty()
                && let Some(id) = members.get("$id").or_else(|| members.get("id")).and_then(Value::as_str)
            {
                found.push((id.to_owned(), pointer.clone()));
            }
            for (key, member) in members {
                let key = key.replace('~', "~0").replace('/', "~1");
                anchors(member, format!("{pointer}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                anchors(item, format!("{pointer}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A relative reference as seen from a base: enough of RFC 3986 for names of files beside each other.
fn join(base: &str, uri: &str) -> String {
    if uri.is_empty() {
        return base.to_owned();
    }
    if uri.contains("://") || uri.starts_with("urn:") || base.is_empty() {
        return uri.to_owned();
    }
    if uri.starts_with('#') {
        return format!("{base}{uri}");
    }
    if uri.starts_with('/') {
        let host_end = base.find("://").and_then(|at| base[at + 3..].find('/').map(|end| at + 3 + end));
        return format!("{}{uri}", &base[..host_end.unwrap_or(base.len())]);
    }
    let folder = base.rfind('/').map_or("", |at| &base[..=at]);
    format!("{folder}{}", uri.trim_start_matches("./"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, hex(0), hex(1)) {
            bytes.push((high * 16 + low) as u8);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
