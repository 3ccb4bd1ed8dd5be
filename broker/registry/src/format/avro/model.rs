//! An Avro schema as a graph: names are resolved, so recursion is a cycle of indexes.
use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{full_name, is_primitive, namespace_of, qualify};

/// Index of a type in its model.
pub type TypeId = usize;

/// One type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Null, boolean, int, long, float, double, bytes or string.
    Primitive(&'static str),
    /// Items.
    Array(TypeId),
    /// Values.
    Map(TypeId),
    /// Branches.
    Union(Vec<TypeId>),
    /// A record.
    Record(Named, Vec<Field>),
    /// Symbols, and the one that stands for those a reader does not know.
    Enum(Named, Vec<String>, Option<String>),
    /// Length in bytes.
    Fixed(Named, u64),
}

/// Names of a record, enum or fixed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Named {
    /// With its namespace.
    pub full: String,
    /// With their namespaces.
    pub aliases: Vec<String>,
}

impl Named {
    /// The part after the last dot.
    #[must_use]
    pub fn simple(&self) -> &str {
        self.full.rsplit_once('.').map_or(self.full.as_str(), |(_, name)| name)
    }
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Earlier names.
    pub aliases: Vec<String>,
    /// Its type.
    pub of: TypeId,
    /// Whether readers know what to do where the writer has none.
    pub has_default: bool,
}

/// Precision and scale of a decimal.
pub type Decimal = (u64, u64);

/// All types of a schema; see the module.
#[derive(Debug, Default)]
pub struct Model {
    types: Vec<Type>,
    decimals: HashMap<TypeId, Decimal>,
    names: HashMap<String, TypeId>,
    root: TypeId,
}

impl Model {
    /// References first, then the schema itself.
    pub(super) fn build(references: &[Value], schema: &Value) -> Result<Model, String> {
        let mut model = Model::default();
        for reference in references {
            model.add(reference, "")?;
        }
        model.root = model.add(schema, "")?;
        Ok(model)
    }

    /// The schema's type.
    #[must_use]
    pub fn root(&self) -> TypeId {
        self.root
    }

    /// A type.
    #[must_use]
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id]
    }

    /// Precision and scale, if the type is a decimal.
    #[must_use]
    pub fn decimal(&self, id: TypeId) -> Option<Decimal> {
        self.decimals.get(&id).copied()
    }

    fn push(&mut self, of: Type) -> TypeId {
        self.types.push(of);
        self.types.len() - 1
    }

    fn add(&mut self, value: &Value, namespace: &str) -> Result<TypeId, String> {
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|b| self.add(b, namespace)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.push(Type::Union(branches)))
            }
            Value::Object(definition) => self.define(definition, namespace),
            other => Err(format!("a type is a name, a list or an object, not {other}")),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<TypeId, String> {
        if let Some(primitive) = primitive(name) {
            return Ok(self.push(Type::Primitive(primitive)));
        }
        let full = qualify(name, namespace);
        let found = self.names.get(&full).or_else(|| self.names.get(name)).copied();
        found.ok_or_else(|| format!("the type `{full}` is not defined; is a reference missing?"))
    }

    fn define(&mut self, definition: &Map<String, Value>, namespace: &str) -> Result<TypeId, String> {
        let part = |key: &str| definition.get(key).ok_or_else(|| format!("a type without `{key}`"));
        let kind = match part("type")? {
            Value::String(kind) => kind.as_str(),
            nested => return self.add(nested, namespace),
        };
        let id = match kind {
            "array" => {
                let items = self.add(part("items")?, namespace)?;
                self.push(Type::Array(items))
            }
            "map" => {
                let values = self.add(part("values")?, namespace)?;
                self.push(Type::Map(values))
            }
            "record" | "error" => return self.record(definition, namespace),
            "enum" => {
                let names = named(definition, namespace);
                let default = definition.get("default").and_then(Value::as_str).map(str::to_owned);
                let symbols = strings(part("symbols")?);
                self.declare(Type::Enum(names.clone(), symbols, default), names)?
            }
            "fixed" => {
                let names = named(definition, namespace);
                let size = part("size")?.as_u64().ok_or("the `size` of a fixed is a number")?;
                self.declare(Type::Fixed(names.clone(), size), names)?
            }
            other => self.by_name(other, namespace)?,
        };
        self.note_decimal(id, definition);
        Ok(id)
    }

    fn declare(&mut self, of: Type, names: Named) -> Result<TypeId, String> {
        let id = self.push(of);
        match self.names.insert(names.full.clone(), id) {
            None => Ok(id),
            Some(_) => Err(format!("the type `{}` is defined twice", names.full)),
        }
    }

    fn record(&mut self, definition: &Map<String, Value>, namespace: &str) -> Result<TypeId, String> {
        let names = named(definition, namespace);
        let inner = namespace_of(&names.full).to_owned();
        // Known before its fields are read: they may refer to it.
        let id = self.declare(Type::Record(names.clone(), Vec::new()), names.clone())?;
        let listed = definition.get("fields").and_then(Value::as_array).ok_or("a record without `fields`")?;
        let mut fields = Vec::with_capacity(listed.len());
        for field in listed {
            let name = field.get("name").and_then(Value::as_str).ok_or("a field without `name`")?.to_owned();
            let of = field.get("type").ok_or_else(|| format!("the field `{name}` has no type"))?;
            let of = match (of, field.get("items").or(field.get("values"))) {
                // Tolerated by every library: {"name": "a", "type": "array", "items": ...}.
                (Value::String(kind), Some(_)) if kind == "array" || kind == "map" => self.add(field, &inner)?,
                _ => self.add(of, &inner)?,
            };
            let aliases = field.get("aliases").map(strings).unwrap_or_default();
            fields.push(Field { name, aliases, of, has_default: field.get("default").is_some() });
        }
        self.types[id] = Type::Record(names, fields);
        Ok(id)
    }

    /// Only where the logical type is valid; otherwise it is ignored, as the specification has it.
    fn note_decimal(&mut self, id: TypeId, definition: &Map<String, Value>) {
        if definition.get("logicalType").and_then(Value::as_str) != Some("decimal")
            || !matches!(self.types[id], Type::Primitive("bytes") | Type::Fixed(..))
        {
            return;
        }
        let scale = definition.get("scale").map_or(Some(0), Value::as_u64);
        if let (Some(precision), Some(scale)) = (definition.get("precision").and_then(Value::as_u64), scale) {
            self.decimals.insert(id, (precision, scale));
        }
    }
}

fn primitive(name: &str) -> Option<&'static str> {
    const ALL: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
    is_primitive(name).then(|| ALL.into_iter().find(|p| *p == name)).flatten()
}

fn named(definition: &Map<String, Value>, namespace: &str) -> Named {
    let full = full_name(definition, namespace);
    let aliases = definition.get("aliases").map(strings).unwrap_or_default();
    let aliases = aliases.iter().map(|alias| qualify(alias, namespace_of(&full))).collect();
    Named { full, aliases }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
