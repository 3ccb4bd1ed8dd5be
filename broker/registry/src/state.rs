//! The entries of the store, added up. Pure: each entry goes in through [`State::apply`], at the start and after each
//! change alike, so what a restart finds is what was served before.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::RegistryError;
use crate::limits::{SCHEMAS_TOTAL_BYTES_MAX, SETTINGS_TOTAL_MAX, VERSIONS_TOTAL_MAX};
use crate::model::{Compatibility, Mode, SchemaDefinition, SchemaId, SubjectConfig, VersionNumber, VersionSelector};
use crate::store::{Change, Sequence};

/// The subject that stands for all of them in the keys of settings.
pub(crate) const GLOBAL: &str = "";

const SCHEMA: &str = "schema/";
const VERSION: &str = "version/";
const CONFIG: &str = "config/";
const MODE: &str = "mode/";
const NEXT_ID: &str = "next-id";

/// A schema with its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredSchema {
    #[serde(flatten)]
    pub definition: SchemaDefinition,
    /// SHA-256 in hexadecimal of what makes two schemas the same; see `Prepared::digest`.
    pub digest: String,
}

/// A schema's place in a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredVersion {
    pub id: SchemaId,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub ts: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredMode {
    mode: Mode,
}

pub(crate) type Versions = BTreeMap<VersionNumber, StoredVersion>;

/// Everything a registry knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub sequence: Sequence,
    pub next_id: SchemaId,
    pub schemas: BTreeMap<SchemaId, Arc<StoredSchema>>,
    pub subjects: BTreeMap<String, Versions>,
    pub configs: BTreeMap<String, SubjectConfig>,
    pub modes: BTreeMap<String, Mode>,
    by_digest: HashMap<String, BTreeSet<SchemaId>>,
    usages: HashMap<SchemaId, BTreeSet<(String, VersionNumber)>>,
    referrers: HashMap<(String, VersionNumber), BTreeSet<SchemaId>>,
    text_bytes: usize,
}

pub(crate) fn schema_key(id: SchemaId) -> String {
    format!("{SCHEMA}{id:010}")
}

pub(crate) fn version_key(subject: &str, version: VersionNumber) -> String {
    format!("{VERSION}{subject}\0{version:010}")
}

pub(crate) fn put_schema(id: SchemaId, schema: &StoredSchema) -> Result<Change, RegistryError> {
    put(schema_key(id), schema)
}

pub(crate) fn put_version(
    subject: &str,
    version: VersionNumber,
    stored: &StoredVersion,
) -> Result<Change, RegistryError> {
    put(version_key(subject, version), stored)
}

pub(crate) fn put_next_id(id: SchemaId) -> Change {
    Change::Put(NEXT_ID.to_owned(), id.to_string().into_bytes())
}

pub(crate) fn set_config(subject: &str, config: Option<&SubjectConfig>) -> Result<Change, RegistryError> {
    let key = format!("{CONFIG}{subject}");
    config.map_or_else(|| Ok(Change::Delete(key.clone())), |config| put(key.clone(), config))
}

pub(crate) fn set_mode(subject: &str, mode: Option<Mode>) -> Result<Change, RegistryError> {
    let key = format!("{MODE}{subject}");
    mode.map_or_else(|| Ok(Change::Delete(key.clone())), |mode| put(key.clone(), &StoredMode { mode }))
}

fn put<T: Serialize>(key: String, value: &T) -> Result<Change, RegistryError> {
    let value = serde_json::to_vec(value)
        .map_err(|error| RegistryError::DamagedEntry { key: key.clone(), detail: error.to_string() })?;
    Ok(Change::Put(key, value))
}

fn read<T: for<'de> Deserialize<'de>>(key: &str, value: &[u8]) -> Result<T, RegistryError> {
    serde_json::from_slice(value)
        .map_err(|error| RegistryError::DamagedEntry { key: key.replace('\0', " "), detail: error.to_string() })
}

impl State {
    /// Adds up what the store holds.
    pub fn load(entries: Vec<(String, Vec<u8>)>, sequence: Sequence) -> Result<State, RegistryError> {
        let mut state = State { next_id: 1, sequence, ..State::default() };
        for (key, value) in entries {
            state.apply(&Change::Put(key, value))?;
        }
        Ok(state)
    }

    /// Takes one change in. Keys of a later version of weir are left alone.
    pub fn apply(&mut self, change: &Change) -> Result<(), RegistryError> {
        let (key, value) = match change {
            Change::Put(key, value) => (key, Some(value.as_slice())),
            Change::Delete(key) => (key, None),
        };
        if let Some(id) = key.strip_prefix(SCHEMA) {
            let id = number(key, id)?;
            self.remove_schema(id);
            if let Some(value) = value {
                self.add_schema(id, read(key, value)?);
            }
        } else if let Some(rest) = key.strip_prefix(VERSION) {
            let (subject, version) = rest.split_once('\0').unwrap_or((rest, ""));
            let version = number(key, version)?;
            self.remove_version(subject, version);
            if let Some(value) = value {
                self.add_version(subject, version, read(key, value)?);
            }
        } else if let Some(subject) = key.strip_prefix(CONFIG) {
            match value {
                Some(value) => self.configs.insert(subject.to_owned(), read(key, value)?),
                None => self.configs.remove(subject),
            };
        } else if let Some(subject) = key.strip_prefix(MODE) {
            match value {
                Some(value) => self.modes.insert(subject.to_owned(), read::<StoredMode>(key, value)?.mode),
                None => self.modes.remove(subject),
            };
        } else if key == NEXT_ID {
            self.next_id = number(key, &String::from_utf8_lossy(value.unwrap_or(b"1")))?;
        }
        Ok(())
    }

    fn add_schema(&mut self, id: SchemaId, schema: StoredSchema) {
        self.text_bytes += schema.definition.schema.len();
        self.by_digest.entry(schema.digest.clone()).or_default().insert(id);
        for target in targets(&schema) {
            self.referrers.entry(target).or_default().insert(id);
        }
        self.schemas.insert(id, Arc::new(schema));
    }

    fn remove_schema(&mut self, id: SchemaId) {
        let Some(schema) = self.schemas.remove(&id) else { return };
        self.text_bytes -= schema.definition.schema.len();
        remove_from(&mut self.by_digest, &schema.digest, &id);
        for target in targets(&schema) {
            remove_from(&mut self.referrers, &target, &id);
        }
    }

    fn add_version(&mut self, subject: &str, version: VersionNumber, stored: StoredVersion) {
        self.usages.entry(stored.id).or_default().insert((subject.to_owned(), version));
        self.subjects.entry(subject.to_owned()).or_default().insert(version, stored);
    }

    fn remove_version(&mut self, subject: &str, version: VersionNumber) {
        let Some(versions) = self.subjects.get_mut(subject) else { return };
        let Some(stored) = versions.remove(&version) else { return };
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        remove_from(&mut self.usages, &stored.id, &(subject.to_owned(), version));
    }

    /// The lowest id with this identity.
    pub fn id_of(&self, digest: &str) -> Option<SchemaId> {
        self.by_digest.get(digest).and_then(|ids| ids.first().copied())
    }

    /// Where an id is used, by subject and version.
    pub fn usages(&self, id: SchemaId) -> impl Iterator<Item = &(String, VersionNumber)> {
        self.usages.get(&id).into_iter().flatten()
    }

    /// The schemas that refer to a version and are in use themselves.
    pub fn referrers(&self, subject: &str, version: VersionNumber) -> Vec<SchemaId> {
        let ids = self.referrers.get(&(subject.to_owned(), version)).into_iter().flatten().copied();
        ids.filter(|id| self.usages(*id).next().is_some()).collect()
    }

    /// The version of a subject whose schema has this identity.
    pub fn version_with(&self, subject: &str, digest: &str, deleted: bool) -> Option<(VersionNumber, &StoredVersion)> {
        let ids = self.by_digest.get(digest)?;
        let versions = self.subjects.get(subject)?;
        let mut found = versions.iter().rev().filter(|(_, v)| ids.contains(&v.id) && (deleted || !v.deleted));
        found.next().map(|(version, stored)| (*version, stored))
    }

    /// The selected version; `deleted`: soft-deleted ones count too.
    pub fn version(
        &self,
        subject: &str,
        selector: VersionSelector,
        deleted: bool,
    ) -> Option<(VersionNumber, &StoredVersion)> {
        let versions = self.subjects.get(subject)?;
        let found = match selector {
            VersionSelector::Latest => versions.iter().rev().find(|(_, v)| deleted || !v.deleted),
            VersionSelector::Exactly(version) => {
                versions.get_key_value(&version).filter(|(_, v)| deleted || !v.deleted)
            }
        };
        found.map(|(version, stored)| (*version, stored))
    }

    /// Whether the subject has a version that is not deleted.
    pub fn is_live(&self, subject: &str) -> bool {
        self.subjects.get(subject).is_some_and(|versions| versions.values().any(|v| !v.deleted))
    }

    /// The number that the subject's next version gets.
    pub fn next_version(&self, subject: &str) -> VersionNumber {
        let last = self.subjects.get(subject).and_then(|versions| versions.keys().next_back().copied());
        last.unwrap_or(0) + 1
    }

    /// The level that holds for a subject.
    pub fn compatibility(&self, subject: &str) -> Compatibility {
        let of = |subject: &str| self.configs.get(subject).and_then(|config| config.compatibility);
        of(subject).or_else(|| of(GLOBAL)).unwrap_or(Compatibility::Backward)
    }

    /// Whether a subject's schemas are normalised by default.
    pub fn normalizes(&self, subject: &str) -> bool {
        let of = |subject: &str| self.configs.get(subject).and_then(|config| config.normalize);
        of(subject).or_else(|| of(GLOBAL)).unwrap_or(false)
    }

    /// The mode that holds for a subject.
    pub fn mode(&self, subject: &str) -> Mode {
        let global = self.modes.get(GLOBAL).copied().unwrap_or(Mode::Readwrite);
        match global {
            Mode::ReadonlyOverride => global,
            _ => self.modes.get(subject).copied().unwrap_or(global),
        }
    }

    /// Subjects with a version that is not deleted.
    pub fn live_subjects(&self) -> usize {
        self.subjects.values().filter(|versions| versions.values().any(|v| !v.deleted)).count()
    }

    /// Whether another version with so much text still fits.
    pub fn check_room(&self, text_bytes: usize) -> Result<(), RegistryError> {
        let versions: usize = self.subjects.values().map(Versions::len).sum();
        if versions >= VERSIONS_TOTAL_MAX || self.text_bytes + text_bytes > SCHEMAS_TOTAL_BYTES_MAX {
            return Err(RegistryError::TooLarge {
                reason: format!(
                    "The registry is full: it holds {versions} versions (at most {VERSIONS_TOTAL_MAX}) and {} bytes of schemas (at \
                     most {SCHEMAS_TOTAL_BYTES_MAX}). Delete subjects that are not needed, with permanent=true",
                    self.text_bytes
                ),
            });
        }
        Ok(())
    }

    /// Whether another subject may get settings of its own.
    pub fn check_settings_room(&self) -> Result<(), RegistryError> {
        if self.configs.len() + self.modes.len() >= SETTINGS_TOTAL_MAX {
            let reason =
                format!("The registry holds settings of {SETTINGS_TOTAL_MAX} subjects, which is the most it takes");
            return Err(RegistryError::TooLarge { reason });
        }
        Ok(())
    }
}

fn number(key: &str, text: &str) -> Result<u32, RegistryError> {
    text.parse().map_err(|_| RegistryError::DamagedEntry {
        key: key.replace('\0', " "),
        detail: format!("`{text}` is no number"),
    })
}

fn targets(schema: &StoredSchema) -> BTreeSet<(String, VersionNumber)> {
    let references = schema.definition.references.iter();
    references.filter_map(|r| Some((r.subject.clone(), u32::try_from(r.version).ok()?))).collect()
}

fn remove_from<K, V>(map: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V)
where
    K: std::hash::Hash + Eq,
    V: Ord,
{
    if let Some(values) = map.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            map.remove(key);
        }
    }
}
