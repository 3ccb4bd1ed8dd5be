//! Where things are: the repository, the cache shared by all checkouts, the target folder.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Folders and switches that every step needs.
pub struct Env {
    /// The checkout that is tested.
    pub root: PathBuf,
    /// Installed clients and extracted data, shared by all checkouts: `$WEIR_CACHE`, else `~/.cache/weir`.
    pub cache: PathBuf,
    /// Cargo's target folder for everything but xtask itself.
    pub target: PathBuf,
    /// Logs and broker data of this run.
    pub scratch: PathBuf,
    /// With `CI=true` a skipped step is a failure.
    pub ci: bool,
}

impl Env {
    /// Finds the folders and makes those that are ours.
    pub fn discover() -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not inside the workspace")?.to_path_buf();
        let cache = match variable("WEIR_CACHE") {
            Some(path) => PathBuf::from(path),
            None => {
                let home = variable("HOME").context("HOME is not set; set WEIR_CACHE to a folder for downloads")?;
                PathBuf::from(home).join(".cache/weir")
            }
        };
        std::fs::create_dir_all(&cache).with_context(|| format!("cannot make the cache folder {}", cache.display()))?;
        let shared = cache.join("target");
        let target = match variable("CARGO_TARGET_DIR") {
            Some(path) => root.join(path),
            None if shared.is_dir() => shared,
            None => root.join("target"),
        };
        let runs = target.join("xtask");
        remove_old_runs(&runs);
        let scratch = runs.join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        Ok(Self { root, cache, target, scratch, ci: variable("CI").is_some_and(|value| value == "true") })
    }

    /// The `weir` binary of the one build profile that tests use.
    pub fn weir(&self) -> PathBuf {
        self.target.join("debug/weir")
    }

    /// The flights as JSON lines; written by the step `data`.
    pub fn data(&self) -> PathBuf {
        let folder = variable("WEIRTEST_DATA_DIR").map_or_else(|| self.cache.join("data"), PathBuf::from);
        folder.join("flights.jsonl")
    }

    /// The interpreter with the Python clients; made by the step `install-python`.
    pub fn python(&self) -> PathBuf {
        self.cache.join("python/bin/python")
    }

    /// The folder whose `node_modules` has the Node clients; made by the step `install-node`.
    pub fn node_folder(&self) -> PathBuf {
        self.cache.join("node")
    }

    /// The Node that comes from the npm registry, since clients ask for a newer one than distributions have.
    pub fn node(&self) -> PathBuf {
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        self.node_folder().join(format!("node_modules/node-linux-{machine}/bin/node"))
    }
}

/// Keeps the logs of the last few runs; a run that is still going on has a young folder.
fn remove_old_runs(runs: &Path) {
    const KEPT: usize = 5;
    let Ok(entries) = std::fs::read_dir(runs) else { return };
    let mut folders: Vec<_> =
        entries.flatten().filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))).collect();
    folders.sort();
    folders.truncate(folders.len().saturating_sub(KEPT));
    for (_, folder) in folders {
        // A leftover log is no reason to refuse a run.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// An environment variable that is set and not empty.
// The ban on reading the environment is the product's; a test runner is configured by little else.
#[allow(clippy::disallowed_methods)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a program is found on the path.
pub fn has_program(name: &str) -> bool {
    variable("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}
