//! Schemas of writers, out of the Schema Registry of this process.
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_registry::{
    Compatibility, Format, Registration, Registry, RegistryError, ResolvedSchema, SchemaDefinition, SubjectConfig,
    VersionSelector,
};
use weir_table::table::{FormatKind, WriterSchema, WriterSchemas};

/// Schemas of views whose ids are remembered; others are registered again, which finds them.
const OWN_MAX: usize = 1_000;

/// The schema of rows that a view makes, out of its source's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedSchema {
    pub format: FormatKind,
    /// What is registered.
    pub text: String,
    /// The same as [`WriterSchema::text`] has it.
    pub written: String,
    /// Which message of it a row is, as [`weir_table::table::RowFormat::message`] has it.
    pub message: Vec<i32>,
}

/// What tables ask of the Schema Registry. Everything is in memory, so nothing waits.
#[derive(Clone, Default)]
pub struct Schemas {
    registry: Option<Arc<Registry>>,
    /// Ids of schemas that this process registered for views, by subject and text.
    own: Arc<Mutex<HashMap<(String, String), i32>>>,
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schemas({})", if self.registry.is_some() { "registry" } else { "none" })
    }
}

impl Schemas {
    pub fn of(registry: Arc<Registry>) -> Schemas {
        Schemas { registry: Some(registry), own: Arc::default() }
    }

    /// The newest schema of a subject; `None`: nothing is registered under it. The error is for people.
    pub fn latest(&self, subject: &str, format: FormatKind) -> Result<Option<WriterSchema>, String> {
        let Some(registry) = &self.registry else { return Ok(None) };
        match registry.resolved(subject, VersionSelector::Latest) {
            Ok((listing, schema)) => writer(i32::try_from(listing.id).ok(), &schema, format).map(Some),
            Err(RegistryError::SubjectNotFound { .. } | RegistryError::VersionNotFound { .. }) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Schemas {
    /// The id of this schema under a subject, if this process registered it or if it is the newest one there.
    pub fn id_of(&self, subject: &str, schema: &DerivedSchema) -> Option<i32> {
        if let Some(id) = self.own.lock().get(&(subject.to_owned(), schema.text.clone())) {
            return Some(*id);
        }
        let newest = self.latest(subject, schema.format).ok()??;
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let same = match schema.format {
            FormatKind::Protobuf => newest.text == schema.written,
            FormatKind::Avro | FormatKind::Json => parse(&newest.text)? == parse(&schema.text)?,
        };
        newest.id.filter(|_| same)
    }

    /// Registers the schema of a view. The error is for people. Locks the registry's changes: whoever holds what its
    /// guard needs must not call it.
    pub async fn register(&self, subject: &str, schema: &DerivedSchema) -> Result<(), String> {
        let registry = self.registry.as_ref().ok_or("this broker has no Schema Registry")?;
        let definition = SchemaDefinition {
            schema_type: match schema.format {
                FormatKind::Avro => Format::Avro,
                FormatKind::Json => Format::Json,
                FormatKind::Protobuf => Format::Protobuf,
            },
            schema: schema.text.clone(),
            references: Vec::new(),
            metadata: None,
            rule_set: None,
        };
        // It follows the view's columns, whatever they were before; each row says which schema it has.
        let free = SubjectConfig { compatibility: Some(Compatibility::None), ..SubjectConfig::default() };
        let failed = |error: RegistryError| error.to_string();
        registry.set_config(Some(subject), free).await.map_err(failed)?;
        let registered = registry.register(subject, Registration::of(definition)).await.map_err(failed)?;
        let id = i32::try_from(registered.id).map_err(|error| error.to_string())?;
        let mut own = self.own.lock();
        if own.len() >= OWN_MAX {
            own.clear();
        }
        own.insert((subject.to_owned(), schema.text.clone()), id);
        Ok(())
    }
}

/// A schema of the registry as rows of `format` need it.
pub fn writer(id: Option<i32>, schema: &ResolvedSchema, format: FormatKind) -> Result<WriterSchema, String> {
    let agrees = match format {
        FormatKind::Avro => schema.format == Format::Avro,
        FormatKind::Json => schema.format == Format::Json,
        FormatKind::Protobuf => schema.format == Format::Protobuf,
    };
    if !agrees {
        return Err(format!("the schema is {:?}, but the topic's weir.value.format is {format:?}", schema.format));
    }
    schema_of_writer(id, schema)
}

fn schema_of_writer(id: Option<i32>, schema: &ResolvedSchema) -> Result<WriterSchema, String> {
    if schema.format == Format::Protobuf {
        // Compiled here, where parsers are bounded; what it imports is in it.
        return Ok(WriterSchema { id, text: schema.compiled()?, references: Vec::new() });
    }
    let references = schema.references.iter().map(|reference| (reference.name.clone(), reference.text.clone()));
    Ok(WriterSchema { id, text: schema.text.clone(), references: references.collect() })
}

impl WriterSchemas for Schemas {
    fn writer(&self, id: i32) -> Option<Arc<WriterSchema>> {
        let schema = self.registry.as_ref()?.resolved_by_id(u32::try_from(id).ok()?).ok()?;
        // Whoever reads the rows says what a schema of another format is to them.
        schema_of_writer(Some(id), &schema).ok().map(Arc::new)
    }
}
