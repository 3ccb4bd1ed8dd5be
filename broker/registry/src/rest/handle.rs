//! What each endpoint does.
use serde_json::{Value, json};

use super::access::{Access, Right};
use super::answer::Answer;
use super::query::Query;
use super::route::Endpoint;
use super::{answer, body};
use crate::error::RegistryError;
use crate::format::{self, Format};
use crate::lookup::{Listing, guid, listing};
use crate::model::{SchemaDefinition, SchemaId, VersionSelector};
use crate::registry::{Registry, unqualified, valid_subject};

pub(super) async fn run(
    registry: &Registry,
    access: &Access<'_>,
    endpoint: Endpoint,
    query: &Query,
    bytes: &[u8],
) -> Result<Answer, RegistryError> {
    match endpoint {
        Endpoint::VersionText { subject, version } => {
            let found = registry.version(&subject, version, query.is("deleted"))?;
            Ok(Answer::Text(represented(registry, found, query)?.definition.schema))
        }
        Endpoint::SchemaText { id } => Ok(Answer::Text(schema_of(registry, access, &id, query)?.1.schema)),
        other => run_json(registry, access, other, query, bytes).await.map(Answer::Json),
    }
}

async fn run_json(
    registry: &Registry,
    access: &Access<'_>,
    endpoint: Endpoint,
    query: &Query,
    bytes: &[u8],
) -> Result<Value, RegistryError> {
    match endpoint {
        // Answered with their text, by the caller.
        Endpoint::VersionText { .. } | Endpoint::SchemaText { .. } => Err(RegistryError::NoSuchPath),
        Endpoint::Root => Ok(json!({})),
        Endpoint::MetadataId => {
            let clusters = json!({ "kafka-cluster": registry.options.cluster_id, "schema-registry-cluster": "weir" });
            Ok(json!({ "scope": { "path": [], "clusters": clusters } }))
        }
        Endpoint::MetadataVersion => Ok(json!({ "version": env!("CARGO_PKG_VERSION"), "commitId": "" })),
        Endpoint::Contexts => Ok(json!(["."])),
        Endpoint::Subjects => Ok(json!(access.shown(query, subjects(registry, query), |subject| subject))),
        Endpoint::Versions { subject } => versions(registry, &subject, query),
        Endpoint::Version { subject, version } => {
            let found = registry.version(&subject, version, query.is("deleted"))?;
            Ok(answer::listing(&represented(registry, found, query)?))
        }
        Endpoint::ReferencedBy { subject, version } => {
            let found = registry.version(&subject, version, true)?;
            Ok(json!(query.page(registry.read(|state| state.referrers(&found.subject, found.version)))))
        }
        Endpoint::LatestWithMetadata { subject } => latest_with_metadata(registry, &subject, query),
        Endpoint::Register { subject } => register(registry, access, &subject, query, bytes).await,
        Endpoint::Lookup { subject } => {
            let wanted = body::registration(bytes)?.definition;
            check_references(access, &wanted)?;
            let deleted = query.is("deleted") || query.is("lookupDeletedSubject");
            let found = registry.lookup(&subject, wanted, query.is("normalize"), deleted).await?;
            Ok(answer::listing(&represented(registry, found, query)?))
        }
        Endpoint::DeleteSubject { subject } => {
            Ok(json!(registry.delete_subject(&subject, query.is("permanent")).await?))
        }
        Endpoint::DeleteVersion { subject, version } => {
            Ok(json!(registry.delete_version(&subject, version, query.is("permanent")).await?))
        }
        Endpoint::Schemas => Ok(schemas(registry, access, query)),
        Endpoint::SchemaTypes => Ok(json!(Format::ALL.map(Format::name))),
        Endpoint::Schema { id } => schema(registry, access, &id, query),
        Endpoint::SchemaSubjects { id } => schema_subjects(registry, access, &id, query),
        Endpoint::SchemaVersions { id } => schema_versions(registry, access, &id, query),
        Endpoint::IdsByGuid { guid } => {
            let id = id_of_guid(registry, &guid)?;
            access.usage(registry, id)?;
            Ok(json!([{ "context": ".", "id": id }]))
        }
        Endpoint::SchemaByGuid { guid } => schema_by_guid(registry, access, &guid, query),
        Endpoint::Check { subject, version } => check(registry, access, &subject, version, query, bytes).await,
        Endpoint::Config { subject } => {
            let inherit = query.is("defaultToGlobal");
            Ok(json!(registry.config(subject.as_deref(), inherit)?))
        }
        Endpoint::SetConfig { subject } => set_config(registry, subject.as_deref(), bytes).await,
        Endpoint::DeleteConfig { subject } => delete_config(registry, subject.as_deref()).await,
        Endpoint::Mode { subject } => {
            let mode = registry.mode(subject.as_deref(), query.is("defaultToGlobal"))?;
            Ok(json!({ "mode": mode.name() }))
        }
        Endpoint::SetMode { subject } => {
            let mode = body::mode(bytes)?;
            registry.set_mode(subject.as_deref(), mode, query.is("force")).await?;
            Ok(json!({ "mode": mode.name() }))
        }
        Endpoint::DeleteMode { subject } => Ok(json!({ "mode": registry.delete_mode(&subject).await?.name() })),
    }
}

/// A prefix with a context in front: `:*:` is all contexts, and there is only one.
fn prefix(query: &Query) -> &str {
    let given = query.get("subjectPrefix").unwrap_or_default();
    unqualified(given.strip_prefix(":*:").unwrap_or(given))
}

fn subjects(registry: &Registry, query: &Query) -> Vec<String> {
    let (deleted, deleted_only, prefix) = (query.is("deleted"), query.is("deletedOnly"), prefix(query));
    registry.read(|state| {
        let wanted = state.subjects.iter().filter(|(subject, versions)| {
            let live = versions.values().any(|v| !v.deleted);
            let shown = if deleted_only { !live } else { live || deleted };
            shown && subject.starts_with(prefix)
        });
        wanted.map(|(subject, _)| subject.clone()).collect()
    })
}

fn versions(registry: &Registry, subject: &str, query: &Query) -> Result<Value, RegistryError> {
    let subject = valid_subject(subject)?;
    let (deleted, deleted_only) = (query.is("deleted"), query.is("deletedOnly"));
    let found: Vec<_> = registry.read(|state| {
        let all = state.subjects.get(subject).into_iter().flatten();
        let shown = all.filter(|(_, v)| if deleted_only { v.deleted } else { deleted || !v.deleted });
        shown.map(|(version, _)| *version).collect()
    });
    if found.is_empty() {
        return Err(RegistryError::SubjectNotFound { subject: subject.to_owned() });
    }
    Ok(json!(query.page(found)))
}

/// In the representation that the query asks for.
fn represented(registry: &Registry, mut found: Listing, query: &Query) -> Result<Listing, RegistryError> {
    if let Some(wanted) = query.get("format") {
        found.definition.schema = registry.represented(&found.definition, wanted)?;
    }
    Ok(found)
}

fn latest_with_metadata(registry: &Registry, subject: &str, query: &Query) -> Result<Value, RegistryError> {
    let subject = valid_subject(subject)?;
    let wanted: Vec<_> = query.all("key").iter().zip(query.all("value")).collect();
    let found = registry.read(|state| {
        let versions = state.subjects.get(subject)?.iter().rev().filter(|(_, v)| query.is("deleted") || !v.deleted);
        let listings = versions.filter_map(|(version, _)| listing(state, subject, *version));
        let has = |listing: &Listing| {
            let properties = listing.definition.metadata.as_ref().and_then(|metadata| metadata.get("properties"));
            wanted.iter().all(|(key, value)| {
                properties.and_then(|p| p.get(key.as_str())).and_then(Value::as_str) == Some(value.as_str())
            })
        };
        listings.into_iter().find(has)
    });
    let found = found.ok_or(RegistryError::SchemaNotFound)?;
    Ok(answer::listing(&represented(registry, found, query)?))
}

/// A schema tells what it refers to, so whoever brings one must be able to see that.
fn check_references(access: &Access<'_>, definition: &SchemaDefinition) -> Result<(), RegistryError> {
    definition.references.iter().try_for_each(|reference| access.subject(Right::Describe, &reference.subject))
}

async fn register(
    registry: &Registry,
    access: &Access<'_>,
    subject: &str,
    query: &Query,
    bytes: &[u8],
) -> Result<Value, RegistryError> {
    let mut registration = body::registration(bytes)?;
    check_references(access, &registration.definition)?;
    registration.normalize = query.is("normalize");
    let registered = registry.register(subject, registration).await?;
    let found = registry.version(subject, VersionSelector::Exactly(registered.version), true)?;
    Ok(json!({ "id": found.id, "version": found.version, "guid": found.guid }))
}

fn schemas(registry: &Registry, access: &Access<'_>, query: &Query) -> Value {
    let (deleted, latest_only, prefix) = (query.is("deleted"), query.is("latestOnly"), prefix(query));
    let found: Vec<Listing> = registry.read(|state| {
        let subjects = state.subjects.iter().filter(|(subject, _)| subject.starts_with(prefix));
        let found = subjects.flat_map(|(subject, versions)| {
            let shown = versions.iter().rev().filter(|(_, v)| deleted || !v.deleted);
            let mut shown: Vec<_> = shown.take(if latest_only { 1 } else { usize::MAX }).collect();
            shown.reverse();
            shown.into_iter().filter_map(|(version, _)| listing(state, subject, *version)).collect::<Vec<_>>()
        });
        found.collect()
    });
    let found = access.shown(query, found, |listing| &listing.subject);
    Value::Array(found.iter().map(answer::listing).collect())
}

/// An id and its schema, in the representation that the query asks for.
fn schema_of(
    registry: &Registry,
    access: &Access<'_>,
    id: &str,
    query: &Query,
) -> Result<(SchemaId, SchemaDefinition), RegistryError> {
    let not_found = || RegistryError::IdNotFound { id: id.to_owned() };
    let id: SchemaId = id.parse().map_err(|_| not_found())?;
    let stored = registry.read(|state| state.schemas.get(&id).cloned()).ok_or_else(not_found)?;
    access.usage(registry, id)?;
    let mut definition = stored.definition.clone();
    if let Some(wanted) = query.get("format") {
        definition.schema = registry.represented(&definition, wanted)?;
    }
    Ok((id, definition))
}

fn schema(registry: &Registry, access: &Access<'_>, id: &str, query: &Query) -> Result<Value, RegistryError> {
    let (id, definition) = schema_of(registry, access, id, query)?;
    let mut map = answer::definition(&definition);
    registry.read(|state| {
        if query.is("fetchMaxId") {
            map.insert("maxId".to_owned(), state.schemas.keys().next_back().copied().into());
        }
        if let Some(stored) = state.schemas.get(&id) {
            map.insert("guid".to_owned(), guid(&stored.digest).into());
        }
    });
    Ok(Value::Object(map))
}

fn id_of_guid(registry: &Registry, wanted: &str) -> Result<SchemaId, RegistryError> {
    let found = registry.read(|state| {
        let mut ids = state.schemas.iter().filter(|(_, stored)| guid(&stored.digest).eq_ignore_ascii_case(wanted));
        ids.next().map(|(id, _)| *id)
    });
    found.ok_or_else(|| RegistryError::IdNotFound { id: wanted.to_owned() })
}

fn schema_by_guid(
    registry: &Registry,
    access: &Access<'_>,
    wanted: &str,
    query: &Query,
) -> Result<Value, RegistryError> {
    let id = id_of_guid(registry, wanted)?;
    let mut value = schema(registry, access, &id.to_string(), query)?;
    value["id"] = id.into();
    Ok(value)
}

/// Where an id is used: subject and version.
fn usages(
    registry: &Registry,
    access: &Access<'_>,
    id: &str,
    query: &Query,
) -> Result<Vec<(String, u32)>, RegistryError> {
    let (id, _) = schema_of(registry, access, id, &Query::default())?;
    let (deleted, subject) = (query.is("deleted"), query.get("subject").map(unqualified));
    Ok(registry.read(|state| {
        let live = |(subject, version): &&(String, u32)| {
            let stored = state.subjects.get(subject).and_then(|versions| versions.get(version));
            deleted || stored.is_some_and(|stored| !stored.deleted)
        };
        let wanted = |(name, _): &&(String, u32)| subject.is_none_or(|subject| subject == name);
        state.usages(id).filter(live).filter(wanted).filter(|(name, _)| access.sees(name)).cloned().collect()
    }))
}

fn schema_subjects(registry: &Registry, access: &Access<'_>, id: &str, query: &Query) -> Result<Value, RegistryError> {
    let mut subjects: Vec<String> =
        usages(registry, access, id, query)?.into_iter().map(|(subject, _)| subject).collect();
    subjects.dedup();
    Ok(json!(query.page(subjects)))
}

fn schema_versions(registry: &Registry, access: &Access<'_>, id: &str, query: &Query) -> Result<Value, RegistryError> {
    let usages = usages(registry, access, id, query)?;
    let shown = usages.into_iter().map(|(subject, version)| json!({ "subject": subject, "version": version }));
    Ok(json!(query.page(shown.collect())))
}

async fn check(
    registry: &Registry,
    access: &Access<'_>,
    subject: &str,
    version: Option<VersionSelector>,
    query: &Query,
    bytes: &[u8],
) -> Result<Value, RegistryError> {
    let definition = body::registration(bytes)?.definition;
    check_references(access, &definition)?;
    let verbose = query.is("verbose");
    let messages = match registry.check(subject, definition, version, query.is("normalize")).await {
        Ok(None) => Vec::new(),
        Ok(Some((version, text, level, differences))) => format::messages(&differences, version, &text, level),
        Err(error @ RegistryError::InvalidSchema { .. }) if verbose => vec![error.to_string()],
        Err(error) => return Err(error),
    };
    let mut answer = json!({ "is_compatible": messages.is_empty() });
    if verbose {
        answer["messages"] = json!(messages);
    }
    Ok(answer)
}

/// Answers what was set, under the names of the request.
async fn set_config(registry: &Registry, subject: Option<&str>, bytes: &[u8]) -> Result<Value, RegistryError> {
    let update = body::config(bytes)?;
    let mut answer = json!(update);
    registry.set_config(subject, update).await?;
    if let Some(map) = answer.as_object_mut()
        && let Some(level) = map.remove("compatibilityLevel")
    {
        map.insert("compatibility".to_owned(), level);
    }
    Ok(answer)
}

/// Answers what was in force. Clients read the level under either name.
async fn delete_config(registry: &Registry, subject: Option<&str>) -> Result<Value, RegistryError> {
    let mut answer = json!(registry.delete_config(subject).await?);
    answer["compatibility"] = answer["compatibilityLevel"].clone();
    Ok(answer)
}
