//! Schemas of writers, out of the Schema Registry of this process.
use std::fmt;
use std::sync::Arc;

use weir_registry::{Format, Registry, RegistryError, ResolvedSchema, VersionSelector};
use weir_table::table::{FormatKind, WriterSchema, WriterSchemas};

/// What tables ask of the Schema Registry. Everything is in memory, so nothing waits.
#[derive(Clone, Default)]
pub struct Schemas {
    registry: Option<Arc<Registry>>,
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schemas({})", if self.registry.is_some() { "registry" } else { "none" })
    }
}

impl Schemas {
    pub fn of(registry: Arc<Registry>) -> Schemas {
        Schemas { registry: Some(registry) }
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

/// A schema of the registry as rows of `format` need it.
pub fn writer(id: Option<i32>, schema: &ResolvedSchema, format: FormatKind) -> Result<WriterSchema, String> {
    let agrees = match format {
        FormatKind::Avro => schema.format == Format::Avro,
        FormatKind::Json => schema.format == Format::Json,
    };
    if !agrees {
        return Err(format!("the schema is {:?}, but the topic's weir.value.format is {format:?}", schema.format));
    }
    let references = schema.references.iter().map(|reference| (reference.name.clone(), reference.text.clone()));
    Ok(WriterSchema { id, text: schema.text.clone(), references: references.collect() })
}

impl WriterSchemas for Schemas {
    fn writer(&self, id: i32) -> Option<Arc<WriterSchema>> {
        let schema = self.registry.as_ref()?.resolved_by_id(u32::try_from(id).ok()?).ok()?;
        // Whoever reads the rows says what a schema of another format is to them.
        let references = schema.references.into_iter().map(|reference| (reference.name, reference.text)).collect();
        Some(Arc::new(WriterSchema { id: Some(id), text: schema.text, references }))
    }
}
