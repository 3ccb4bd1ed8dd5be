//! Looking things up. Reads never wait for changes.
use crate::error::RegistryError;
use crate::format::{self, Dependency, Format, Incompatibility};
use crate::model::{Compatibility, Reference, SchemaDefinition, SchemaId, VersionNumber, VersionSelector};
use crate::registry::{Registry, dependencies, valid_subject};
use crate::state::State;

/// A schema that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedReference {
    /// The name that the other one's text uses.
    pub name: String,
    /// Where it is registered.
    pub subject: String,
    /// Its version there.
    pub version: VersionNumber,
    /// Its text.
    pub text: String,
}

impl From<&Dependency> for ResolvedReference {
    fn from(dependency: &Dependency) -> Self {
        let reference = &dependency.reference;
        ResolvedReference {
            name: reference.name.clone(),
            subject: reference.subject.clone(),
            version: u32::try_from(reference.version).unwrap_or(0),
            text: dependency.text.clone(),
        }
    }
}

/// A schema with the text of all it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedSchema {
    /// Its format.
    pub format: Format,
    /// Its text.
    pub text: String,
    /// What it refers to, directly and through others; each comes before those that need it.
    pub references: Vec<ResolvedReference>,
}

impl ResolvedSchema {
    /// Of a Protobuf schema: compiled, as codecs of rows need it (see [`format::compiled`]).
    pub fn compiled(&self) -> Result<String, String> {
        let dependency = |reference: &ResolvedReference| Dependency {
            reference: Reference {
                name: reference.name.clone(),
                subject: reference.subject.clone(),
                version: reference.version.into(),
            },
            text: reference.text.clone(),
        };
        let dependencies: Vec<_> = self.references.iter().map(dependency).collect();
        format::compiled(&self.text, &dependencies)
    }
}

/// One version of a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The subject.
    pub subject: String,
    /// The version.
    pub version: VersionNumber,
    /// The schema's id.
    pub id: SchemaId,
    /// Identifies the schema in all registries.
    pub guid: String,
    /// When it was registered, in milliseconds since 1970.
    pub ts: i64,
    /// Whether it is soft-deleted.
    pub deleted: bool,
    /// The schema.
    pub definition: SchemaDefinition,
}

/// A digest's first half as a UUID is written.
pub(crate) fn guid(digest: &str) -> String {
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

pub(crate) fn listing(state: &State, subject: &str, version: VersionNumber) -> Option<Listing> {
    let stored = state.subjects.get(subject)?.get(&version)?;
    let schema = state.schemas.get(&stored.id)?;
    Some(Listing {
        subject: subject.to_owned(),
        version,
        id: stored.id,
        guid: guid(&schema.digest),
        ts: stored.ts,
        deleted: stored.deleted,
        definition: schema.definition.clone(),
    })
}

impl Registry {
    /// The subject that holds a topic's values, as the default strategy of all serializers names it.
    #[must_use]
    pub fn value_subject(topic: &str) -> String {
        format!("{topic}-value")
    }

    /// The subject that holds a topic's keys.
    #[must_use]
    pub fn key_subject(topic: &str) -> String {
        format!("{topic}-key")
    }

    /// A version of a subject. `deleted`: soft-deleted ones count too.
    pub fn version(&self, subject: &str, selector: VersionSelector, deleted: bool) -> Result<Listing, RegistryError> {
        let subject = valid_subject(subject)?;
        self.read(|state| {
            let versions =
                state.subjects.get(subject).filter(|versions| deleted || versions.values().any(|v| !v.deleted));
            if versions.is_none() {
                return Err(RegistryError::SubjectNotFound { subject: subject.to_owned() });
            }
            let found = state.version(subject, selector, deleted);
            let found = found.and_then(|(version, _)| listing(state, subject, version));
            found.ok_or_else(|| RegistryError::VersionNotFound { version: selector.to_string() })
        })
    }

    /// A version with everything it refers to.
    pub fn resolved(
        &self,
        subject: &str,
        selector: VersionSelector,
    ) -> Result<(Listing, ResolvedSchema), RegistryError> {
        let listing = self.version(subject, selector, false)?;
        let resolved = self.resolve(&listing.definition)?;
        Ok((listing, resolved))
    }

    /// The schema of an id with everything it refers to.
    pub fn resolved_by_id(&self, id: SchemaId) -> Result<ResolvedSchema, RegistryError> {
        let schema = self.read(|state| state.schemas.get(&id).cloned());
        let schema = schema.ok_or_else(|| RegistryError::IdNotFound { id: id.to_string() })?;
        self.resolve(&schema.definition)
    }

    fn resolve(&self, definition: &SchemaDefinition) -> Result<ResolvedSchema, RegistryError> {
        let dependencies = self.read(|state| dependencies(state, definition))?;
        Ok(ResolvedSchema {
            format: definition.schema_type,
            text: definition.schema.clone(),
            references: dependencies.iter().map(ResolvedReference::from).collect(),
        })
    }

    /// The version of a subject that has this schema.
    pub async fn lookup(
        &self,
        subject: &str,
        definition: SchemaDefinition,
        normalize: bool,
        deleted: bool,
    ) -> Result<Listing, RegistryError> {
        let subject = valid_subject(subject)?;
        let normalize = self.read(|state| {
            let known = if deleted { state.subjects.contains_key(subject) } else { state.is_live(subject) };
            known.then(|| normalize || state.normalizes(subject))
        });
        let Some(normalize) = normalize else {
            return Err(RegistryError::SubjectNotFound { subject: subject.to_owned() });
        };
        let prepared = self.prepare(definition, normalize).await?;
        self.read(|state| {
            let found = state.version_with(subject, &prepared.digest, deleted);
            found.and_then(|(version, _)| listing(state, subject, version)).ok_or(RegistryError::SchemaNotFound)
        })
    }

    /// Whether a schema could be registered: None, or the version it is not compatible with, its text, and why.
    /// `against`: one version, or all that the subject's level asks for.
    pub async fn check(
        &self,
        subject: &str,
        definition: SchemaDefinition,
        against: Option<VersionSelector>,
        normalize: bool,
    ) -> Result<Option<(VersionNumber, String, Compatibility, Vec<Incompatibility>)>, RegistryError> {
        let subject = valid_subject(subject)?;
        let prepared = self.prepare(definition, normalize).await?;
        let (level, earlier) = self.read(|state| {
            let level = state.compatibility(subject);
            let earlier: Vec<_> = match against {
                Some(selector) => {
                    let found = state.version(subject, selector, false);
                    if found.is_none() && selector != VersionSelector::Latest {
                        return Err(RegistryError::VersionNotFound { version: selector.to_string() });
                    }
                    found.map(|(version, stored)| (version, stored.id)).into_iter().collect()
                }
                None => {
                    let live = state.subjects.get(subject).into_iter().flatten().filter(|(_, v)| !v.deleted).rev();
                    let count = if level.is_transitive() { usize::MAX } else { 1 };
                    live.take(count).map(|(version, stored)| (*version, stored.id)).collect()
                }
            };
            Ok((level, earlier))
        })?;
        let found = self.compare(&prepared, level, earlier).await?;
        Ok(found.map(|(version, text, differences)| (version, text, level, differences)))
    }

    /// A schema's text in another representation (`format` of the REST interface), if its format knows that.
    pub(crate) fn represented(&self, definition: &SchemaDefinition, wanted: &str) -> Result<String, RegistryError> {
        let dependencies = self.read(|state| dependencies(state, definition))?;
        format::represent(definition.schema_type, &definition.schema, &dependencies, wanted)
            .map_err(|detail| RegistryError::CheckFailed { detail })
    }
}
