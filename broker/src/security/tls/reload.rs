//! The TLS configuration in force. Files that change are read again; what cannot be used leaves the old one in force.
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{TlsFileError, TlsSettings};
use crate::metrics::tables::security as tables;

/// Of one listener.
pub struct TlsConfigs {
    listener: String,
    settings: TlsSettings,
    current: ArcSwap<ServerConfig>,
    /// Times and sizes of the files when they were last looked at.
    seen: Mutex<Vec<Option<(SystemTime, u64)>>>,
}

impl std::fmt::Debug for TlsConfigs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsConfigs({})", self.listener)
    }
}

impl TlsConfigs {
    /// Reads the files for the first time.
    pub fn load(listener: &str, settings: TlsSettings) -> Result<Arc<TlsConfigs>, TlsFileError> {
        // Looked at before they are read: a change in between is seen as one.
        let seen = Mutex::new(marks(&settings));
        let current = ArcSwap::new(settings.load()?);
        Ok(Arc::new(TlsConfigs { listener: listener.to_owned(), settings, current, seen }))
    }

    /// For a handshake that begins now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// What it is made of.
    #[must_use]
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// Reads the files again if one changed, or in any case; true = new ones are in force.
    pub fn refresh(&self, in_any_case: bool) -> bool {
        let now = marks(&self.settings);
        if *self.seen.lock() == now && !in_any_case {
            return false;
        }
        match self.settings.load() {
            Ok(config) => {
                self.current.store(config);
                *self.seen.lock() = now;
                metrics::counter!(tables::TLS_RELOADS.name, "outcome" => "done").increment(1);
                tracing::info!(listener = self.listener, "certificates were read again; new connections use them");
                true
            }
            // Tried again at the next look: a certificate and its key are rarely replaced in the same instant.
            Err(error) => {
                metrics::counter!(tables::TLS_RELOADS.name, "outcome" => "refused").increment(1);
                tracing::warn!(listener = self.listener, %error, "changed certificates cannot be used; the old ones stay in force");
                false
            }
        }
    }
}

fn marks(settings: &TlsSettings) -> Vec<Option<(SystemTime, u64)>> {
    let mark = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    settings.files().map(mark).collect()
}

/// Looks at the files every so often, and at once on SIGHUP, until `stop`.
pub async fn watch(configs: Vec<Arc<TlsConfigs>>, interval: Duration, stop: CancellationToken) {
    let mut hangup = signal(SignalKind::hangup()).ok();
    loop {
        let asked = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let in_any_case = tokio::select! {
            () = tokio::time::sleep(interval) => false,
            _ = asked => true,
            () = stop.cancelled() => return,
        };
        let configs = configs.clone();
        // Files may be on a slow disk.
        let _ = tokio::task::spawn_blocking(move || {
            for one in &configs {
                one.refresh(in_any_case);
            }
        })
        .await;
    }
}
