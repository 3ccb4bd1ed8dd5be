//! Deletion in two steps: first soft (the schema can still be read by id), then permanent.
use std::collections::BTreeSet;

use crate::error::RegistryError;
use crate::model::{Mode, VersionNumber, VersionSelector};
use crate::registry::{Registry, valid_subject};
use crate::state::{State, StoredVersion, put_version, schema_key, set_config, set_mode, version_key};
use crate::store::Change;

impl Registry {
    /// Deletes a subject with all its versions; the result names them.
    pub async fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<VersionNumber>, RegistryError> {
        let subject = valid_subject(subject)?;
        let _turn = self.turn().await;
        let (deleted, changes) = self.read(|state| {
            check_writable(state, subject)?;
            let not_found = || RegistryError::SubjectNotFound { subject: subject.to_owned() };
            let versions = state.subjects.get(subject).ok_or_else(not_found)?;
            let live = versions.values().any(|v| !v.deleted);
            if permanent && live {
                return Err(RegistryError::SubjectNotSoftDeleted { subject: subject.to_owned() });
            }
            if !permanent && !live {
                return Err(RegistryError::SubjectSoftDeleted { subject: subject.to_owned() });
            }
            let affected: Vec<_> = versions.iter().filter(|(_, v)| permanent || !v.deleted).collect();
            for (version, _) in &affected {
                check_unreferenced(state, subject, **version)?;
            }
            let mut changes = Vec::with_capacity(affected.len());
            for (version, stored) in &affected {
                changes.push(removal(subject, **version, stored, permanent)?);
            }
            if permanent {
                changes.extend(unused_schemas(state, subject, affected.iter().map(|(version, _)| **version)));
            }
            changes.push(set_config(subject, None)?);
            changes.push(set_mode(subject, None)?);
            Ok((affected.into_iter().map(|(version, _)| *version).collect(), changes))
        })?;
        self.commit(changes).await?;
        tracing::info!(subject, permanent, "deleted a subject");
        Ok(deleted)
    }

    /// Deletes one version of a subject.
    pub async fn delete_version(
        &self,
        subject: &str,
        selector: VersionSelector,
        permanent: bool,
    ) -> Result<VersionNumber, RegistryError> {
        let subject = valid_subject(subject)?;
        let _turn = self.turn().await;
        let (version, changes) = self.read(|state| {
            check_writable(state, subject)?;
            if !state.subjects.contains_key(subject) {
                return Err(RegistryError::SubjectNotFound { subject: subject.to_owned() });
            }
            let not_found = || RegistryError::VersionNotFound { version: selector.to_string() };
            let exact = matches!(selector, VersionSelector::Exactly(_));
            let (version, stored) = state.version(subject, selector, exact || permanent).ok_or_else(not_found)?;
            match (permanent, stored.deleted) {
                (true, false) => {
                    return Err(RegistryError::VersionNotSoftDeleted { subject: subject.to_owned(), version });
                }
                (false, true) => {
                    return Err(RegistryError::VersionSoftDeleted { subject: subject.to_owned(), version });
                }
                (true, true) | (false, false) => {}
            }
            check_unreferenced(state, subject, version)?;
            let mut changes = vec![removal(subject, version, stored, permanent)?];
            if permanent {
                changes.extend(unused_schemas(state, subject, std::iter::once(version)));
            }
            Ok((version, changes))
        })?;
        self.commit(changes).await?;
        tracing::info!(subject, version, permanent, "deleted a version");
        Ok(version)
    }
}

fn check_writable(state: &State, subject: &str) -> Result<(), RegistryError> {
    match state.mode(subject) {
        Mode::Readonly | Mode::ReadonlyOverride => {
            Err(RegistryError::NotPermitted { reason: format!("Subject {subject} is in read-only mode") })
        }
        Mode::Readwrite | Mode::Import => Ok(()),
    }
}

fn check_unreferenced(state: &State, subject: &str, version: VersionNumber) -> Result<(), RegistryError> {
    let referrers = state.referrers(subject, version);
    if referrers.is_empty() {
        return Ok(());
    }
    Err(RegistryError::ReferenceExists { subject: subject.to_owned(), version, referrers })
}

fn removal(
    subject: &str,
    version: VersionNumber,
    stored: &StoredVersion,
    permanent: bool,
) -> Result<Change, RegistryError> {
    if permanent {
        return Ok(Change::Delete(version_key(subject, version)));
    }
    put_version(subject, version, &StoredVersion { deleted: true, ..stored.clone() })
}

/// Schemas that nothing uses once these versions are gone.
fn unused_schemas(state: &State, subject: &str, removed: impl Iterator<Item = VersionNumber>) -> Vec<Change> {
    let removed: BTreeSet<VersionNumber> = removed.collect();
    let ids: BTreeSet<_> =
        removed.iter().filter_map(|version| Some(state.subjects.get(subject)?.get(version)?.id)).collect();
    let stays = |(other, version): &(String, VersionNumber)| other != subject || !removed.contains(version);
    ids.into_iter().filter(|id| !state.usages(*id).any(stays)).map(|id| Change::Delete(schema_key(id))).collect()
}
