//! Formats of schemas: parsing with bounds, identity, compatibility. Pure: no store, no network, nothing is fetched.
pub mod avro;
mod bounds;
pub mod json;
pub mod protobuf;
#[cfg(test)]
mod testing;
mod text;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Compatibility, Reference, VersionNumber};

pub use bounds::Budget;
pub use text::{compact_json, sorted_json};

/// What a schema is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Format {
    /// Apache Avro.
    Avro,
    /// JSON Schema: drafts 4, 6, 7, 2019-09 and 2020-12.
    Json,
    /// Protocol Buffers: a `.proto` file, or a serialised file descriptor in base64.
    Protobuf,
}

impl Format {
    /// All of them, in the order in which `/schemas/types` names them.
    pub const ALL: [Format; 3] = [Format::Json, Format::Protobuf, Format::Avro];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Avro => "AVRO",
            Format::Json => "JSON",
            Format::Protobuf => "PROTOBUF",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// A registered schema that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// By which name, and where it is registered.
    pub reference: Reference,
    /// Its text.
    pub text: String,
}

/// One reason why data cannot be read; `kind` is Confluent's name of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// Such as `READER_FIELD_MISSING_DEFAULT_VALUE`.
    pub kind: &'static str,
    /// A sentence that names the place.
    pub description: String,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{errorType:'{}', description:'{}'}}", self.kind, self.description)
    }
}

/// Which of two schemas reads and which wrote, as messages call them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// `new` or `old`.
    pub reader: &'static str,
    /// The other one.
    pub writer: &'static str,
}

impl Sides {
    /// The new schema reads what the old one wrote.
    pub const BACKWARD: Sides = Sides { reader: "new", writer: "old" };
    /// The old schema reads what the new one wrote.
    pub const FORWARD: Sides = Sides { reader: "old", writer: "new" };
}

#[derive(Debug)]
enum Model {
    Avro(avro::Model),
    Json(json::Documents),
    Protobuf(Box<protobuf::File>),
}

/// A schema that was parsed with all it refers to.
#[derive(Debug)]
pub struct ParsedSchema {
    /// The text without white space that means nothing.
    compact: String,
    /// Equal for schemas that differ in writing only.
    normalized: String,
    model: Model,
}

impl ParsedSchema {
    /// The text to keep, and the text whose equality makes two schemas the same.
    ///
    /// Avro and Protobuf schemas that differ in writing only are always the same one. The order of a JSON schema's keys is
    /// kept apart unless the client asks to normalise, as the official serializers expect.
    #[must_use]
    pub fn texts(&self, normalize: bool) -> (&str, &str) {
        let text = if normalize { &self.normalized } else { &self.compact };
        let identity = match self.model {
            Model::Json(_) => text,
            Model::Avro(_) | Model::Protobuf(_) => &self.normalized,
        };
        (text, identity)
    }
}

/// Parses a schema; `dependencies` holds all it refers to, each before those that need it. The error is a reason for the client.
pub fn parse(format: Format, text: &str, dependencies: &[Dependency]) -> Result<ParsedSchema, String> {
    guarded(|| match format {
        Format::Avro => {
            let parsed = avro::parse(text, dependencies)?;
            Ok(ParsedSchema { compact: parsed.compact, normalized: parsed.canonical, model: Model::Avro(parsed.model) })
        }
        Format::Json => {
            let parsed = json::parse(text, dependencies)?;
            Ok(ParsedSchema {
                compact: parsed.compact,
                normalized: parsed.sorted,
                model: Model::Json(parsed.documents),
            })
        }
        Format::Protobuf => {
            let parsed = protobuf::parse(text, dependencies)?;
            let model = Model::Protobuf(Box::new(parsed.file));
            Ok(ParsedSchema { compact: parsed.text, normalized: parsed.canonical, model })
        }
    })
}

/// The text in another representation that clients may ask for; formats and names that are not known give the text itself.
pub fn represent(format: Format, text: &str, dependencies: &[Dependency], wanted: &str) -> Result<String, String> {
    match (format, wanted) {
        (Format::Protobuf, "serialized") => guarded(|| protobuf::parse(text, dependencies)?.file.serialized()),
        (Format::Avro, "resolved") => guarded(|| avro::resolved(text, dependencies)),
        _ => Ok(text.to_owned()),
    }
}

/// A Protobuf schema compiled: a `FileDescriptorSet` in base64, its last file the schema itself, with all it imports.
pub fn compiled(text: &str, dependencies: &[Dependency]) -> Result<String, String> {
    guarded(|| protobuf::parse(text, dependencies)?.file.set())
}

/// The parsers come from elsewhere; one that panics must not take more than this schema with it.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err("the schema cannot be processed; it may be nested too deeply or use what is not supported".to_owned())
    })
}

/// Why `new` may not follow `old` at this level; empty = it may.
#[must_use]
pub fn incompatibilities(new: &ParsedSchema, old: &ParsedSchema, level: Compatibility) -> Vec<Incompatibility> {
    let mut found = Vec::new();
    if level.is_backward() {
        found.extend(unreadable(new, old, Sides::BACKWARD));
    }
    if level.is_forward() {
        found.extend(unreadable(old, new, Sides::FORWARD));
    }
    found.truncate(crate::limits::DIFFERENCES_MAX);
    found
}

fn unreadable(reader: &ParsedSchema, writer: &ParsedSchema, sides: Sides) -> Vec<Incompatibility> {
    let checked = guarded(|| {
        Ok(match (&reader.model, &writer.model) {
            (Model::Avro(reader), Model::Avro(writer)) => avro::incompatibilities(reader, writer, sides),
            (Model::Json(reader), Model::Json(writer)) => json::incompatibilities(reader, writer, sides),
            (Model::Protobuf(reader), Model::Protobuf(writer)) => protobuf::incompatibilities(reader, writer, sides),
            _ => vec![Incompatibility {
                kind: "SCHEMA_TYPE_CHANGED",
                description: "Incompatible because of different schema type".to_owned(),
            }],
        })
    });
    checked.unwrap_or_else(|description| vec![Incompatibility { kind: "SCHEMA_TOO_COMPLEX", description }])
}

/// What a client is told about a schema that does not fit, one line each.
#[must_use]
pub fn messages(
    differences: &[Incompatibility],
    version: VersionNumber,
    old_schema: &str,
    level: Compatibility,
) -> Vec<String> {
    let mut lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    lines.push(format!("{{oldSchemaVersion: {version}}}"));
    lines.push(format!("{{oldSchema: '{old_schema}'}}"));
    lines.push(format!("{{compatibility: '{level}'}}"));
    lines
}
