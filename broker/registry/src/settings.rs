//! Compatibility levels and modes, of single subjects and of all.
use crate::error::RegistryError;
use crate::model::{Compatibility, Mode, SubjectConfig};
use crate::registry::{Registry, valid_subject};
use crate::state::{GLOBAL, set_config, set_mode};

/// None stands for all subjects.
fn key(subject: Option<&str>) -> Result<&str, RegistryError> {
    subject.map_or(Ok(GLOBAL), valid_subject)
}

impl Registry {
    /// The level that holds for a subject.
    #[must_use]
    pub fn compatibility(&self, subject: &str) -> Compatibility {
        self.read(|state| state.compatibility(subject))
    }

    /// The settings of all subjects (with the built-in default) or of one. `inherit`: what a subject does not set comes from
    /// all subjects; otherwise one without settings is an error.
    pub fn config(&self, subject: Option<&str>, inherit: bool) -> Result<SubjectConfig, RegistryError> {
        let key = key(subject)?;
        self.read(|state| {
            let mut global = state.configs.get(GLOBAL).cloned().unwrap_or_default();
            global.compatibility.get_or_insert(Compatibility::Backward);
            let Some(subject) = subject else { return Ok(global) };
            match (state.configs.get(key), inherit) {
                (Some(own), false) => {
                    let level = Some(state.compatibility(key));
                    Ok(SubjectConfig { compatibility: level, ..own.clone() })
                }
                (None, false) => Err(RegistryError::CompatibilityNotConfigured { subject: subject.to_owned() }),
                (own, true) => {
                    let own = own.cloned().unwrap_or_default();
                    Ok(SubjectConfig {
                        compatibility: own.compatibility.or(global.compatibility),
                        normalize: own.normalize.or(global.normalize),
                        compatibility_group: own.compatibility_group.or(global.compatibility_group),
                        default_metadata: own.default_metadata.or(global.default_metadata),
                        override_metadata: own.override_metadata.or(global.override_metadata),
                        default_rule_set: own.default_rule_set.or(global.default_rule_set),
                        override_rule_set: own.override_rule_set.or(global.override_rule_set),
                    })
                }
            }
        })
    }

    /// Changes the settings that `update` names and keeps the others.
    pub async fn set_config(&self, subject: Option<&str>, update: SubjectConfig) -> Result<(), RegistryError> {
        let key = key(subject)?;
        let _turn = self.turn().await;
        let config = self.read(|state| {
            state.check_settings_room()?;
            let old = state.configs.get(key).cloned().unwrap_or_default();
            Ok::<_, RegistryError>(SubjectConfig {
                compatibility: update.compatibility.or(old.compatibility),
                normalize: update.normalize.or(old.normalize),
                compatibility_group: update.compatibility_group.or(old.compatibility_group),
                default_metadata: update.default_metadata.or(old.default_metadata),
                override_metadata: update.override_metadata.or(old.override_metadata),
                default_rule_set: update.default_rule_set.or(old.default_rule_set),
                override_rule_set: update.override_rule_set.or(old.override_rule_set),
            })
        })?;
        self.commit(vec![set_config(key, Some(&config))?]).await
    }

    /// Forgets the settings of a subject, or goes back to the defaults of all; the result is what they were.
    pub async fn delete_config(&self, subject: Option<&str>) -> Result<SubjectConfig, RegistryError> {
        let key = key(subject)?;
        let _turn = self.turn().await;
        let old = self.config(subject, false)?;
        self.commit(vec![set_config(key, None)?]).await?;
        Ok(old)
    }

    /// The mode of all subjects or of one; see [`Registry::config`].
    pub fn mode(&self, subject: Option<&str>, inherit: bool) -> Result<Mode, RegistryError> {
        let key = key(subject)?;
        self.read(|state| match (subject, state.modes.get(key)) {
            (_, Some(mode)) => Ok(*mode),
            (None, None) => Ok(Mode::Readwrite),
            (Some(_), None) if inherit => Ok(state.mode(key)),
            (Some(subject), None) => Err(RegistryError::ModeNotConfigured { subject: subject.to_owned() }),
        })
    }

    /// Sets a mode. IMPORT needs `force` where there are schemas already, because imports bring ids along.
    pub async fn set_mode(&self, subject: Option<&str>, mode: Mode, force: bool) -> Result<(), RegistryError> {
        let key = key(subject)?;
        let _turn = self.turn().await;
        self.read(|state| {
            state.check_settings_room()?;
            let occupied = match subject {
                Some(_) => state.is_live(key),
                None => state.live_subjects() > 0,
            };
            if mode == Mode::Import && occupied && !force {
                let reason = "Cannot import since found existing subjects; use force=true to import all the same";
                return Err(RegistryError::NotPermitted { reason: reason.to_owned() });
            }
            Ok(())
        })?;
        self.commit(vec![set_mode(key, Some(mode))?]).await
    }

    /// Forgets the mode of a subject; the result is what it was.
    pub async fn delete_mode(&self, subject: &str) -> Result<Mode, RegistryError> {
        let key = valid_subject(subject)?;
        let _turn = self.turn().await;
        let old = self.mode(Some(subject), false)?;
        self.commit(vec![set_mode(key, None)?]).await?;
        Ok(old)
    }
}
