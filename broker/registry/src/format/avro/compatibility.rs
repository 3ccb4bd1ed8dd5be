//! Schema resolution of the Avro specification: can a reader with one schema read what was written with another?
//!
//! The rules and their names are those of `org.apache.avro.SchemaCompatibility`, which Confluent's registry applies. One is
//! added from the specification: decimals match only with the same scale, and a reader needs at least the writer's
//! precision; otherwise values would change silently.
use std::collections::{HashMap, HashSet};

use super::model::{Field, Model, Named, Type, TypeId};
use crate::format::{Budget, Incompatibility, Sides};

/// Why `reader` cannot read all that `writer` wrote; empty = it can.
#[must_use]
pub fn incompatibilities(reader: &Model, writer: &Model, sides: Sides) -> Vec<Incompatibility> {
    let mut refuted = HashSet::new();
    let mut budget = Budget::default();
    // Recursive types: a pair inside itself is taken to fit. That may have helped a sibling that in truth does not, so it
    // is done again with what was refuted until nothing new is.
    loop {
        let known = refuted.len();
        let mut check = Check { reader, writer, sides, verdicts: HashMap::new(), refuted, budget, found: Vec::new() };
        let fits = check.pair(reader.root(), writer.root(), "");
        let Check { refuted: now, budget: left, mut found, .. } = check;
        (refuted, budget) = (now, left);
        if budget.is_exhausted() {
            return vec![Incompatibility { kind: "SCHEMA_TOO_COMPLEX", description: Budget::reason() }];
        }
        if fits && refuted.len() > known {
            continue;
        }
        if !fits && found.is_empty() {
            let description = format!("The {} schema cannot read data of the {} schema", sides.reader, sides.writer);
            found.push(Incompatibility { kind: "TYPE_MISMATCH", description });
        }
        return if fits { Vec::new() } else { found };
    }
}

type Pair = (TypeId, TypeId);

struct Check<'a> {
    reader: &'a Model,
    writer: &'a Model,
    sides: Sides,
    /// Of this pass; None = in progress.
    verdicts: HashMap<Pair, Option<bool>>,
    /// Of all passes.
    refuted: HashSet<Pair>,
    budget: Budget,
    found: Vec<Incompatibility>,
}

impl Check<'_> {
    fn pair(&mut self, reader: TypeId, writer: TypeId, path: &str) -> bool {
        let pair = (reader, writer);
        match self.verdicts.get(&pair) {
            Some(Some(verdict)) => return *verdict,
            Some(None) => return !self.refuted.contains(&pair),
            None => {}
        }
        if !self.budget.enter() {
            return false;
        }
        self.verdicts.insert(pair, None);
        let fits = self.compare(reader, writer, path);
        self.verdicts.insert(pair, Some(fits));
        if !fits {
            self.refuted.insert(pair);
        }
        self.budget.leave();
        fits
    }

    fn compare(&mut self, reader: TypeId, writer: TypeId, path: &str) -> bool {
        let (read, written) = (self.reader.get(reader), self.writer.get(writer));
        match (read, written) {
            (_, Type::Union(branches)) => self.all_branches(reader, branches, path),
            (Type::Union(branches), _) => self.any_branch(branches, writer, path),
            (Type::Primitive(read), Type::Primitive(written)) => {
                if !promotes(written, read) {
                    return self.type_mismatch(path, reader, writer);
                }
                self.decimals(reader, writer, path)
            }
            (Type::Array(read), Type::Array(written)) => self.pair(*read, *written, &format!("{path}/items")),
            (Type::Map(read), Type::Map(written)) => self.pair(*read, *written, &format!("{path}/values")),
            (Type::Fixed(read_name, read_size), Type::Fixed(written_name, written_size)) => {
                let fits = self.names(read_name, written_name, path);
                if read_size != written_size {
                    let detail = format!("expected: {written_size}, found: {read_size}");
                    return self.report("FIXED_SIZE_MISMATCH", format!("{path}/size"), "size does not match", &detail);
                }
                fits && self.decimals(reader, writer, path)
            }
            (Type::Enum(read_name, symbols, default), Type::Enum(written_name, written, _)) => {
                let fits = self.names(read_name, written_name, path);
                self.symbols(symbols, written, default.is_some(), path) && fits
            }
            (Type::Record(read_name, fields), Type::Record(written_name, written)) => {
                let fits = self.names(read_name, written_name, path);
                self.fields(fields, written, path) && fits
            }
            _ => self.type_mismatch(path, reader, writer),
        }
    }

    /// The reader must take every branch that may have been written.
    fn all_branches(&mut self, reader: TypeId, branches: &[TypeId], path: &str) -> bool {
        let mut fits = true;
        for (index, branch) in branches.iter().enumerate() {
            fits &= self.pair(reader, *branch, &format!("{path}/{index}"));
        }
        fits
    }

    fn any_branch(&mut self, branches: &[TypeId], writer: TypeId, path: &str) -> bool {
        let before = self.found.len();
        for branch in branches {
            if self.pair(*branch, writer, path) {
                self.found.truncate(before);
                return true;
            }
        }
        // One message says more than what each of the branches lacks.
        self.found.truncate(before);
        let lacking = self.describe(self.writer, writer);
        self.report("MISSING_UNION_BRANCH", path.to_owned(), "a union lacks the branch", &lacking)
    }

    fn fields(&mut self, fields: &[Field], written: &[Field], path: &str) -> bool {
        let mut fits = true;
        for (index, field) in fields.iter().enumerate() {
            let place = format!("{path}/fields/{index}");
            let by_name = written.iter().find(|w| w.name == field.name);
            let source = by_name.or_else(|| written.iter().find(|w| field.aliases.contains(&w.name)));
            fits &= match source {
                Some(source) => self.pair(field.of, source.of, &format!("{place}/type")),
                None if field.has_default => true,
                None => match self.reader.get(field.of) {
                    Type::Enum(_, _, Some(_)) => true,
                    _ => self.missing_default(&field.name, &place),
                },
            };
        }
        fits
    }

    fn missing_default(&mut self, name: &str, place: &str) -> bool {
        let Sides { reader, writer } = self.sides;
        let description = format!(
            "The field '{name}' at path '{place}' in the {reader} schema has no default value and is missing in the {writer} schema"
        );
        self.found.push(Incompatibility { kind: "READER_FIELD_MISSING_DEFAULT_VALUE", description });
        false
    }

    fn symbols(&mut self, symbols: &[String], written: &[String], has_default: bool, path: &str) -> bool {
        let missing: Vec<&str> = written.iter().filter(|s| !symbols.contains(s)).map(String::as_str).collect();
        if missing.is_empty() || has_default {
            return true;
        }
        self.report("MISSING_ENUM_SYMBOLS", format!("{path}/symbols"), "an enum lacks symbols", &missing.join(", "))
    }

    /// Names without namespaces are compared; an alias of the reader is compared in full.
    fn names(&mut self, read: &Named, written: &Named, path: &str) -> bool {
        if read.simple() == written.simple() || read.aliases.contains(&written.full) {
            return true;
        }
        let detail = format!("expected: {}, found: {}", written.full, read.full);
        self.report("NAME_MISMATCH", format!("{path}/name"), "the name changed", &detail)
    }

    fn decimals(&mut self, reader: TypeId, writer: TypeId, path: &str) -> bool {
        let (Some(read), Some(written)) = (self.reader.decimal(reader), self.writer.decimal(writer)) else {
            return true;
        };
        if read.1 == written.1 && read.0 >= written.0 {
            return true;
        }
        let detail = format!("decimal({},{}) cannot be read as decimal({},{})", written.0, written.1, read.0, read.1);
        self.report("TYPE_MISMATCH", path.to_owned(), "the scale changed or the precision shrank", &detail)
    }

    fn type_mismatch(&mut self, path: &str, reader: TypeId, writer: TypeId) -> bool {
        let (read, written) = (self.describe(self.reader, reader), self.describe(self.writer, writer));
        let detail = format!("reader type: {read} not compatible with writer type: {written}");
        self.report("TYPE_MISMATCH", path.to_owned(), "the type does not match", &detail)
    }

    fn report(&mut self, kind: &'static str, path: String, what: &str, detail: &str) -> bool {
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let Sides { reader, writer } = self.sides;
        let description =
            format!("In the {reader} schema at path '{path}' {what} (compared with the {writer} schema): {detail}");
        self.found.push(Incompatibility { kind, description });
        false
    }

    fn describe(&self, model: &Model, id: TypeId) -> String {
        match model.get(id) {
            Type::Primitive(name) => (*name).to_owned(),
            Type::Array(_) => "array".to_owned(),
            Type::Map(_) => "map".to_owned(),
            Type::Union(_) => "union".to_owned(),
            Type::Record(name, _) => format!("record {}", name.full),
            Type::Enum(name, _, _) => format!("enum {}", name.full),
            Type::Fixed(name, _) => format!("fixed {}", name.full),
        }
    }
}

/// Whether a reader of `read` takes what was written as `written`.
fn promotes(written: &str, read: &str) -> bool {
    read == written
        || matches!(
            (written, read),
            ("int", "long" | "float" | "double")
                | ("long", "float" | "double")
                | ("float", "double")
                | ("string", "bytes")
                | ("bytes", "string")
        )
}
