//! Registrations: validate, make durable, apply; one at a time.
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::error::RegistryError;
use crate::format::{self, Dependency, Incompatibility, ParsedSchema};
use crate::limits::{REFERENCES_MAX, RESOLVED_BYTES_MAX, SCHEMA_BYTES_MAX, SUBJECT_BYTES_MAX};
use crate::lookup::{ResolvedReference, ResolvedSchema};
use crate::metrics;
use crate::model::{Compatibility, Mode, Reference, SchemaDefinition, SchemaId, VersionNumber, VersionSelector};
use crate::state::{State, StoredSchema, StoredVersion, put_next_id, put_schema, put_version};
use crate::store::{Change, RegistryStore, StoreError};

/// Schemas that are parsed or compared at once; more wait.
const CHECKS_MAX: usize = 2;

/// How often a change is tried again that another broker came before.
const ATTEMPTS_MAX: usize = 5;

/// What is asked for when a schema is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    /// The schema.
    pub definition: SchemaDefinition,
    /// Whether to normalise it first, even if the subject's settings do not say so.
    pub normalize: bool,
    /// In mode IMPORT: the id it must get.
    pub id: Option<SchemaId>,
    /// In mode IMPORT: the version it must get; otherwise the one that must be next.
    pub version: Option<VersionNumber>,
}

impl Registration {
    /// A schema under the subject's settings.
    #[must_use]
    pub fn of(definition: SchemaDefinition) -> Registration {
        Registration { definition, normalize: false, id: None, version: None }
    }
}

/// What came of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The schema's id.
    pub id: SchemaId,
    /// Its version in the subject.
    pub version: VersionNumber,
}

/// Asked before a schema becomes a version of a subject, for example by what keeps a topic's rows in its columns.
#[async_trait]
pub trait RegistrationGuard: Send + Sync {
    /// Refuses a schema that is compatible by the subject's level but cannot be served; the reason is what the client is
    /// told. No other change of the registry happens meanwhile, so it must not call one.
    async fn review(&self, subject: &str, schema: &ResolvedSchema) -> Result<(), String>;

    /// The schema that was reviewed last for this subject is durable as this version.
    async fn registered(&self, subject: &str, registered: Registered);
}

/// Settings of a registry.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Id of the cluster, which some clients ask for.
    pub cluster_id: String,
}

/// The registry. Cheap to read; changes are made one at a time.
pub struct Registry {
    pub(crate) options: RegistryOptions,
    store: Arc<dyn RegistryStore>,
    state: RwLock<State>,
    changes: tokio::sync::Mutex<()>,
    checks: Arc<Semaphore>,
    guard: RwLock<Option<Arc<dyn RegistrationGuard>>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({} schemas)", self.state.read().schemas.len())
    }
}

/// A schema that was parsed.
pub(crate) struct Prepared {
    /// With the text as it is kept and concrete versions of references.
    pub definition: SchemaDefinition,
    /// SHA-256 over format, identity of the text, references, metadata and rules.
    pub digest: String,
    pub dependencies: Vec<Dependency>,
    pub parsed: Arc<ParsedSchema>,
}

impl Registry {
    /// Loads what the store holds.
    pub async fn open(store: Arc<dyn RegistryStore>, options: RegistryOptions) -> Result<Registry, RegistryError> {
        let (entries, sequence) = store.load().await?;
        let state = State::load(entries, sequence)?;
        let registry = Registry {
            options,
            store,
            state: RwLock::new(state),
            changes: tokio::sync::Mutex::new(()),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            guard: RwLock::new(None),
        };
        registry.read(Registry::record_sizes);
        Ok(registry)
    }

    /// Asks `guard` from now on, instead of the one before.
    pub fn set_guard(&self, guard: Arc<dyn RegistrationGuard>) {
        *self.guard.write() = Some(guard);
    }

    pub(crate) fn read<T>(&self, of: impl FnOnce(&State) -> T) -> T {
        of(&self.state.read())
    }

    fn record_sizes(state: &State) {
        ::metrics::gauge!(metrics::SCHEMAS).set(state.schemas.len() as f64);
        ::metrics::gauge!(metrics::SUBJECTS).set(state.live_subjects() as f64);
    }

    /// Only one task makes changes; hold this from the first look at the state to the commit.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changes.lock().await
    }

    /// Makes changes durable, then visible. The caller holds [`Registry::turn`].
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<(), RegistryError> {
        let sequence = self.read(|state| state.sequence);
        let committed = self.store.commit(sequence, changes.clone()).await;
        // What the caller decided on is not so any more; it or its client looks again.
        if let Err(StoreError::Conflict) = committed {
            let (entries, sequence) = self.store.load().await?;
            *self.state.write() = State::load(entries, sequence)?;
        }
        let sequence = committed?;
        let mut state = self.state.write();
        for change in &changes {
            state.apply(change)?;
        }
        state.sequence = sequence;
        Registry::record_sizes(&state);
        Ok(())
    }

    /// Registers a schema, or finds that it is registered already.
    pub async fn register(&self, subject: &str, registration: Registration) -> Result<Registered, RegistryError> {
        let subject = valid_subject(subject)?;
        let mut attempt = 1;
        loop {
            match self.try_register(subject, &registration).await {
                Err(RegistryError::Store(StoreError::Conflict)) if attempt < ATTEMPTS_MAX => attempt += 1,
                result => return result,
            }
        }
    }

    async fn try_register(&self, subject: &str, registration: &Registration) -> Result<Registered, RegistryError> {
        let normalize = registration.normalize || self.read(|state| state.normalizes(subject));
        let prepared = self.prepare(registration.definition.clone(), normalize).await?;
        let _turn = self.turn().await;
        let known = self.read(|state| {
            let found = state.version_with(subject, &prepared.digest, false);
            found.map(|(version, stored)| Registered { id: stored.id, version })
        });
        if let Some(known) = known {
            match registration.id {
                Some(given) if given != known.id => {
                    return Err(RegistryError::IdDoesNotMatch { found: known.id, given });
                }
                _ => return Ok(known),
            }
        }
        let importing = self.check_mode(subject, registration.id)?;
        if !importing {
            self.check_compatible(subject, &prepared).await?;
        }
        let guard = self.guard.read().clone();
        if let Some(guard) = &guard {
            let refused = |reason| RegistryError::Refused { subject: subject.to_owned(), reason };
            guard.review(subject, &prepared.resolved()).await.map_err(refused)?;
        }
        let registered = self.store_version(subject, registration, prepared).await?;
        if let Some(guard) = guard {
            guard.registered(subject, registered).await;
        }
        Ok(registered)
    }

    /// Whether the subject takes registrations, and whether they are imports.
    fn check_mode(&self, subject: &str, id: Option<SchemaId>) -> Result<bool, RegistryError> {
        let refuse = |what| Err(RegistryError::NotPermitted { reason: format!("Subject {subject} is {what}") });
        match (self.read(|state| state.mode(subject)), id) {
            (Mode::Readonly | Mode::ReadonlyOverride, _) => refuse("in read-only mode"),
            (Mode::Readwrite, Some(_)) => refuse("not in import mode"),
            (Mode::Import, None) => refuse("not in read-write mode"),
            (Mode::Readwrite, None) => Ok(false),
            (Mode::Import, Some(_)) => Ok(true),
        }
    }

    async fn store_version(
        &self,
        subject: &str,
        registration: &Registration,
        prepared: Prepared,
    ) -> Result<Registered, RegistryError> {
        let (registered, changes) = self.read(|state| {
            state.check_room(prepared.definition.schema.len())?;
            let next = state.next_version(subject);
            let version = registration.version.unwrap_or(next);
            let taken = state.version(subject, VersionSelector::Exactly(version), true).is_some();
            if taken || (registration.id.is_none() && version != next) {
                let reason = format!("Version {version} is not the next one of subject {subject}, which is {next}");
                return Err(RegistryError::Unprocessable { reason });
            }
            let mut changes = Vec::with_capacity(3);
            let known = registration.id.or_else(|| state.id_of(&prepared.digest));
            let id = known.unwrap_or(state.next_id.max(1));
            match state.schemas.get(&id) {
                Some(other) if other.digest != prepared.digest => return Err(RegistryError::IdTaken { id }),
                Some(_) => {}
                None => {
                    let schema = StoredSchema { definition: prepared.definition, digest: prepared.digest };
                    changes.push(put_schema(id, &schema)?);
                }
            }
            if id >= state.next_id {
                let next_id = id.checked_add(1).filter(|next| *next <= i32::MAX as u32);
                let full =
                    || RegistryError::TooLarge { reason: "All 2147483646 ids of schemas are used up".to_owned() };
                changes.push(put_next_id(next_id.ok_or_else(full)?));
            }
            changes.push(put_version(subject, version, &StoredVersion { id, deleted: false, ts: now_ms() })?);
            Ok((Registered { id, version }, changes))
        })?;
        self.commit(changes).await?;
        tracing::info!(subject, id = registered.id, version = registered.version, "registered a schema");
        Ok(registered)
    }

    async fn check_compatible(&self, subject: &str, prepared: &Prepared) -> Result<(), RegistryError> {
        let (level, earlier) = self.read(|state| {
            let level = state.compatibility(subject);
            let live = state.subjects.get(subject).into_iter().flatten().filter(|(_, v)| !v.deleted).rev();
            let count = if level.is_transitive() { usize::MAX } else { 1 };
            let earlier: Vec<_> = live.take(count).map(|(version, stored)| (*version, stored.id)).collect();
            (level, earlier)
        });
        let found = self.compare(prepared, level, earlier).await?;
        let Some((version, old_schema, differences)) = found else { return Ok(()) };
        ::metrics::counter!(metrics::INCOMPATIBLE).increment(1);
        Err(RegistryError::Incompatible { subject: subject.to_owned(), version, old_schema, level, differences })
    }

    /// The first of `earlier`, newest first, that the schema is not compatible with: its version, text, and why.
    pub(crate) async fn compare(
        &self,
        prepared: &Prepared,
        level: Compatibility,
        earlier: Vec<(VersionNumber, SchemaId)>,
    ) -> Result<Option<(VersionNumber, String, Vec<Incompatibility>)>, RegistryError> {
        if level == Compatibility::None {
            return Ok(None);
        }
        for (version, id) in earlier {
            let (old, dependencies) = self.read(|state| {
                let old = state.schemas.get(&id).ok_or_else(|| RegistryError::IdNotFound { id: id.to_string() })?;
                Ok::<_, RegistryError>((old.clone(), dependencies(state, &old.definition)?))
            })?;
            let new = prepared.parsed.clone();
            let text = old.definition.schema.clone();
            let differences = self
                .blocking(move || {
                    let old = format::parse(old.definition.schema_type, &old.definition.schema, &dependencies);
                    let old = old.map_err(|detail| RegistryError::CheckFailed {
                        detail: format!("version {version} cannot be read any more: {detail}"),
                    })?;
                    Ok(format::incompatibilities(&new, &old, level))
                })
                .await?;
            if !differences.is_empty() {
                return Ok(Some((version, text, differences)));
            }
        }
        Ok(None)
    }

    /// Parses a schema with all it refers to.
    pub(crate) async fn prepare(
        &self,
        mut definition: SchemaDefinition,
        normalize: bool,
    ) -> Result<Prepared, RegistryError> {
        check_size(&definition)?;
        let dependencies = self.read(|state| {
            for reference in &mut definition.references {
                resolve_latest(state, reference)?;
            }
            dependencies(state, &definition)
        })?;
        self.blocking(move || {
            let parsed = format::parse(definition.schema_type, &definition.schema, &dependencies)
                .map_err(|reason| invalid(&definition, &reason))?;
            let (text, identity) = parsed.texts(normalize);
            let digest = digest(&definition, identity);
            definition.schema = text.to_owned();
            Ok(Prepared { definition, digest, dependencies, parsed: Arc::new(parsed) })
        })
        .await
    }

    /// Runs work that may take a while where it holds nobody up.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let failed = |detail: &str| RegistryError::CheckFailed { detail: detail.to_owned() };
        let permit = self.checks.clone().acquire_owned().await.map_err(|_| failed("the registry is closed"))?;
        let result = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        result.await.map_err(|error| failed(&error.to_string()))?
    }
}

impl Prepared {
    fn resolved(&self) -> ResolvedSchema {
        ResolvedSchema {
            format: self.definition.schema_type,
            text: self.definition.schema.clone(),
            references: self.dependencies.iter().map(ResolvedReference::from).collect(),
        }
    }
}

fn check_size(definition: &SchemaDefinition) -> Result<(), RegistryError> {
    if definition.schema.trim().is_empty() {
        return Err(RegistryError::invalid("Empty schema"));
    }
    if definition.schema.len() > SCHEMA_BYTES_MAX {
        let reason = format!("Schema has {} bytes; at most {SCHEMA_BYTES_MAX} are taken", definition.schema.len());
        return Err(RegistryError::TooLarge { reason });
    }
    if definition.references.len() > REFERENCES_MAX {
        return Err(RegistryError::invalid(format!("more than {REFERENCES_MAX} references")));
    }
    Ok(())
}

fn invalid(definition: &SchemaDefinition, reason: &str) -> RegistryError {
    let mut shown: String = definition.schema.chars().take(200).collect();
    if shown.len() < definition.schema.len() {
        shown.push('…');
    }
    RegistryError::invalid(format!("{reason} (schemaType={}, schema={shown})", definition.schema_type))
}

fn digest(definition: &SchemaDefinition, identity: &str) -> String {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(definition.schema_type.name().as_bytes());
    part(identity.as_bytes());
    for reference in &definition.references {
        part(reference.name.as_bytes());
        part(reference.subject.as_bytes());
        part(&reference.version.to_le_bytes());
    }
    for value in [&definition.metadata, &definition.rule_set].into_iter().flatten() {
        part(format::sorted_json(value).as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn resolve_latest(state: &State, reference: &mut Reference) -> Result<(), RegistryError> {
    let missing = |reference: &Reference| {
        RegistryError::invalid(format!(
            "the reference `{}` is to version {} of subject `{}`, which does not exist",
            reference.name, reference.version, reference.subject
        ))
    };
    reference.subject = unqualified(&reference.subject).to_owned();
    let selector = match reference.version {
        -1 => VersionSelector::Latest,
        version => VersionSelector::Exactly(u32::try_from(version).map_err(|_| missing(reference))?),
    };
    let deleted = selector != VersionSelector::Latest;
    let (version, _) = state.version(&reference.subject, selector, deleted).ok_or_else(|| missing(reference))?;
    reference.version = i64::from(version);
    Ok(())
}

/// What a schema refers to, directly and through others, each before those that need it.
pub(crate) fn dependencies(state: &State, definition: &SchemaDefinition) -> Result<Vec<Dependency>, RegistryError> {
    let mut found: Vec<Dependency> = Vec::new();
    let mut bytes = definition.schema.len();
    // Depth first without recursion: a reference is entered, then, with all it needs in front of it, taken.
    let mut todo: Vec<(Reference, bool)> = definition.references.iter().rev().map(|r| (r.clone(), false)).collect();
    let mut entered = std::collections::HashSet::new();
    while let Some((reference, ready)) = todo.pop() {
        let version = u32::try_from(reference.version).unwrap_or(0);
        let stored = state.version(&reference.subject, VersionSelector::Exactly(version), true);
        let schema = stored.and_then(|(_, stored)| state.schemas.get(&stored.id)).ok_or_else(|| {
            RegistryError::invalid(format!("version {version} of subject `{}` does not exist", reference.subject))
        })?;
        if ready {
            found.push(Dependency { reference, text: schema.definition.schema.clone() });
            continue;
        }
        if schema.definition.schema_type != definition.schema_type {
            return Err(RegistryError::invalid(format!("the reference `{}` is of another format", reference.name)));
        }
        if !entered.insert((reference.name.clone(), reference.subject.clone(), version)) {
            continue;
        }
        bytes += schema.definition.schema.len();
        if entered.len() > REFERENCES_MAX || bytes > RESOLVED_BYTES_MAX {
            return Err(RegistryError::invalid(format!(
                "with all it refers to, the schema has more than {REFERENCES_MAX} references or {RESOLVED_BYTES_MAX} bytes"
            )));
        }
        let inner = schema.definition.references.clone();
        todo.push((reference, true));
        todo.extend(inner.into_iter().rev().map(|r| (r, false)));
    }
    Ok(found)
}

/// Without the name of the default context, which clients may put in front.
pub(crate) fn unqualified(subject: &str) -> &str {
    subject.strip_prefix(":.:").unwrap_or(subject)
}

/// The subject's name, if it can be one.
pub(crate) fn valid_subject(subject: &str) -> Result<&str, RegistryError> {
    let name = unqualified(subject);
    let refuse = |reason| Err(RegistryError::InvalidSubject { subject: subject.to_owned(), reason });
    if name.is_empty() || name.len() > SUBJECT_BYTES_MAX {
        return refuse("It must have 1 to 1024 bytes.");
    }
    if name.chars().any(char::is_control) {
        return refuse("It must not have control characters.");
    }
    if name.starts_with(":.") || name == "__GLOBAL" || name == "__EMPTY" {
        return refuse("There is only the default context, and the names __GLOBAL and __EMPTY are reserved.");
    }
    Ok(name)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
