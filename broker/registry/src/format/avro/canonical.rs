//! The form of an Avro schema that does not depend on how it was written: full names, attributes in a fixed order, no
//! object around a plain type. Unlike the specification's *parsing canonical form* it keeps what readers and people need:
//! defaults, aliases, documentation, logical types and other properties.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{full_name, is_primitive, namespace_of, qualify};
use crate::format::text::{push_string, sorted_json};

/// Attributes that are written by themselves, not among the other properties.
const RECORD: &[&str] = &["type", "name", "namespace", "doc", "fields", "aliases"];
const ENUM: &[&str] = &["type", "name", "namespace", "doc", "symbols", "default", "aliases"];
const FIXED: &[&str] = &["type", "name", "namespace", "doc", "size", "aliases"];
const FIELD: &[&str] = &["name", "type", "doc", "default", "order", "aliases"];

pub(super) fn render(schema: &Value) -> String {
    let mut printer = Printer::default();
    printer.schema(schema, "");
    printer.out
}

/// With the definitions of `references` where a name is used first.
pub(super) fn render_inlined(schema: &Value, references: &[Value]) -> String {
    let definitions = references.iter().filter_map(Value::as_object).map(|d| (full_name(d, ""), d)).collect();
    let mut printer = Printer { definitions, ..Printer::default() };
    printer.schema(schema, "");
    printer.out
}

#[derive(Default)]
struct Printer<'a> {
    out: String,
    definitions: BTreeMap<String, &'a Map<String, Value>>,
    inlined: BTreeSet<String>,
}

impl Printer<'_> {
    fn schema(&mut self, schema: &Value, namespace: &str) {
        match schema {
            Value::String(name) => self.name(name, namespace),
            Value::Array(branches) => {
                self.out.push('[');
                for (index, branch) in branches.iter().enumerate() {
                    if index > 0 {
                        self.out.push(',');
                    }
                    self.schema(branch, namespace);
                }
                self.out.push(']');
            }
            Value::Object(definition) => self.definition(definition, namespace),
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn name(&mut self, name: &str, namespace: &str) {
        if is_primitive(name) {
            return push_string(name, &mut self.out);
        }
        let full = qualify(name, namespace);
        if let Some(definition) = self.definitions.get(&full).copied()
            && self.inlined.insert(full.clone())
        {
            return self.definition(definition, "");
        }
        push_string(&full, &mut self.out);
    }

    fn definition(&mut self, definition: &Map<String, Value>, namespace: &str) {
        let kind = match definition.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested) => return self.schema(nested, namespace),
            None => return,
        };
        match kind {
            "record" | "error" => self.record(definition, namespace, kind),
            "enum" => self.named(definition, namespace, kind, ENUM, &["symbols", "default"]),
            "fixed" => self.named(definition, namespace, kind, FIXED, &["size"]),
            "array" => self.container(definition, namespace, "array", "items"),
            "map" => self.container(definition, namespace, "map", "values"),
            plain if definition.len() == 1 => self.name(plain, namespace),
            plain => {
                self.out.push_str("{\"type\":");
                self.name(plain, namespace);
                self.properties(definition, &["type"]);
                self.out.push('}');
            }
        }
    }

    fn container(&mut self, definition: &Map<String, Value>, namespace: &str, kind: &str, part: &str) {
        self.out.push_str(&format!("{{\"type\":\"{kind}\",\"{part}\":"));
        self.schema(definition.get(part).unwrap_or(&Value::Null), namespace);
        self.properties(definition, &["type", part]);
        self.out.push('}');
    }

    fn named(&mut self, definition: &Map<String, Value>, namespace: &str, kind: &str, own: &[&str], parts: &[&str]) {
        let full = self.head(definition, namespace, kind);
        for part in parts {
            self.attribute(definition, part);
        }
        self.aliases(definition, namespace_of(&full));
        self.properties(definition, own);
        self.out.push('}');
    }

    fn record(&mut self, definition: &Map<String, Value>, namespace: &str, kind: &str) {
        let full = self.head(definition, namespace, kind);
        let inner = namespace_of(&full);
        self.out.push_str(",\"fields\":[");
        let fields = definition.get("fields").and_then(Value::as_array).into_iter().flatten();
        for (index, field) in fields.filter_map(Value::as_object).enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.field(field, inner);
        }
        self.out.push(']');
        self.aliases(definition, inner);
        self.properties(definition, RECORD);
        self.out.push('}');
    }

    /// `{"type":..,"name":..,"doc":..`; the result is the full name.
    fn head(&mut self, definition: &Map<String, Value>, namespace: &str, kind: &str) -> String {
        let full = full_name(definition, namespace);
        self.out.push_str(&format!("{{\"type\":\"{kind}\",\"name\":"));
        push_string(&full, &mut self.out);
        self.attribute(definition, "doc");
        full
    }

    fn field(&mut self, field: &Map<String, Value>, namespace: &str) {
        self.out.push_str("{\"name\":");
        push_string(field.get("name").and_then(Value::as_str).unwrap_or_default(), &mut self.out);
        self.out.push_str(",\"type\":");
        self.schema(field.get("type").unwrap_or(&Value::Null), namespace);
        self.attribute(field, "doc");
        self.attribute(field, "default");
        if field.get("order").and_then(Value::as_str).is_some_and(|order| order != "ascending") {
            self.attribute(field, "order");
        }
        self.attribute(field, "aliases");
        self.properties(field, FIELD);
        self.out.push('}');
    }

    fn aliases(&mut self, definition: &Map<String, Value>, namespace: &str) {
        let Some(aliases) = definition.get("aliases").and_then(Value::as_array) else { return };
        let full: Vec<Value> = aliases.iter().filter_map(Value::as_str).map(|a| qualify(a, namespace).into()).collect();
        self.out.push_str(&format!(",\"aliases\":{}", sorted_json(&Value::Array(full))));
    }

    fn attribute(&mut self, of: &Map<String, Value>, key: &str) {
        if let Some(value) = of.get(key) {
            self.out.push_str(&format!(",\"{key}\":{}", sorted_json(value)));
        }
    }

    /// Everything but the attributes in `own`, by name.
    fn properties(&mut self, of: &Map<String, Value>, own: &[&str]) {
        let mut others: Vec<_> = of.iter().filter(|(key, _)| !own.contains(&key.as_str())).collect();
        others.sort_by_key(|(key, _)| *key);
        for (key, value) in others {
            self.out.push(',');
            push_string(key, &mut self.out);
            self.out.push(':');
            self.out.push_str(&sorted_json(value));
        }
    }
}
