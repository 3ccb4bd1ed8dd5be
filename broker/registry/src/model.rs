//! What a registry holds.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::format::Format;

/// Identifies a schema in all subjects; what serializers write in front of a record.
pub type SchemaId = u32;

/// Counts the schemas of a subject from 1. A soft-deleted version keeps its number; only a permanent deletion frees it.
pub type VersionNumber = u32;

/// Largest version that can be asked for, as Confluent has it.
pub const VERSION_MAX: u32 = i32::MAX as u32;

/// Another schema that one needs: by the name that its text uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Avro: full name of a type; JSON Schema: the `$ref`; Protobuf: the imported file.
    pub name: String,
    /// Where it is registered.
    pub subject: String,
    /// Which version; -1 in a request means the latest one.
    pub version: i64,
}

/// A schema as it was registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaDefinition {
    /// Format of the text.
    pub schema_type: Format,
    /// The text.
    pub schema: String,
    /// What it refers to, directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Kept for clients (data contracts); not interpreted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Kept for clients, which execute the rules; not interpreted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Value>,
}

/// When a new schema may follow the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compatibility {
    /// Always.
    None,
    /// Readers with the new schema read data of the latest one.
    Backward,
    /// Readers with the new schema read data of all earlier ones.
    BackwardTransitive,
    /// Readers with the latest schema read data of the new one.
    Forward,
    /// Readers with any earlier schema read data of the new one.
    ForwardTransitive,
    /// Both ways with the latest one.
    Full,
    /// Both ways with all earlier ones.
    FullTransitive,
}

impl Compatibility {
    /// All of them.
    pub const ALL: [Compatibility; 7] = [
        Compatibility::None,
        Compatibility::Backward,
        Compatibility::BackwardTransitive,
        Compatibility::Forward,
        Compatibility::ForwardTransitive,
        Compatibility::Full,
        Compatibility::FullTransitive,
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compatibility::None => "NONE",
            Compatibility::Backward => "BACKWARD",
            Compatibility::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Compatibility::Forward => "FORWARD",
            Compatibility::ForwardTransitive => "FORWARD_TRANSITIVE",
            Compatibility::Full => "FULL",
            Compatibility::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether all earlier versions count, not only the latest.
    #[must_use]
    pub fn is_transitive(self) -> bool {
        matches!(
            self,
            Compatibility::BackwardTransitive | Compatibility::ForwardTransitive | Compatibility::FullTransitive
        )
    }

    /// Whether the new schema must read old data.
    #[must_use]
    pub fn is_backward(self) -> bool {
        match self {
            Compatibility::Backward
            | Compatibility::BackwardTransitive
            | Compatibility::Full
            | Compatibility::FullTransitive => true,
            Compatibility::None | Compatibility::Forward | Compatibility::ForwardTransitive => false,
        }
    }

    /// Whether old schemas must read new data.
    #[must_use]
    pub fn is_forward(self) -> bool {
        match self {
            Compatibility::Forward
            | Compatibility::ForwardTransitive
            | Compatibility::Full
            | Compatibility::FullTransitive => true,
            Compatibility::None | Compatibility::Backward | Compatibility::BackwardTransitive => false,
        }
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compatibility {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Compatibility::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// What may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// Everything.
    Readwrite,
    /// Nothing.
    Readonly,
    /// Nothing, in all subjects, whatever their own modes are.
    ReadonlyOverride,
    /// Registrations bring their ids and versions along, and are not checked for compatibility.
    Import,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] = [Mode::Readwrite, Mode::Readonly, Mode::ReadonlyOverride, Mode::Import];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mode::Readwrite => "READWRITE",
            Mode::Readonly => "READONLY",
            Mode::ReadonlyOverride => "READONLY_OVERRIDE",
            Mode::Import => "IMPORT",
        }
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Mode::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// Settings of a subject, or of all subjects; what is not set is inherited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectConfig {
    /// The level; None = inherited.
    #[serde(rename = "compatibilityLevel", default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<Compatibility>,
    /// Whether schemas are normalised before they are registered or looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// Name of the application property that splits a subject's versions into groups; kept for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility_group: Option<String>,
    /// Kept for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_metadata: Option<Value>,
    /// Kept for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_metadata: Option<Value>,
    /// Kept for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_rule_set: Option<Value>,
    /// Kept for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_rule_set: Option<Value>,
}

/// Which version of a subject is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSelector {
    /// The newest that is not deleted.
    Latest,
    /// This one.
    Exactly(VersionNumber),
}

impl FromStr for VersionSelector {
    type Err = ();

    /// `latest`, `-1`, or 1 to 2^31-1.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "latest" | "-1" => Ok(VersionSelector::Latest),
            _ => match text.parse::<u32>() {
                Ok(version @ 1..=VERSION_MAX) => Ok(VersionSelector::Exactly(version)),
                _ => Err(()),
            },
        }
    }
}

impl fmt::Display for VersionSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionSelector::Latest => f.write_str("latest"),
            VersionSelector::Exactly(version) => version.fmt(f),
        }
    }
}
