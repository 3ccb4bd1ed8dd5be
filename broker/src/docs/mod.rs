//! The pages of docs/generated, made from the declarations that the broker itself runs on.
//!
//! `cargo xtask docs` (which calls `weir config docs`) writes them, and a test fails when the committed ones are stale: so
//! they say what the code does. Never written by hand.
mod apis;
mod errors;
mod markdown;
mod metrics;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

/// One file of the generated documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Name of the file in the folder.
    pub file: &'static str,
    pub text: String,
}

/// Every page.
#[must_use]
pub fn pages() -> Vec<Page> {
    vec![
        Page { file: "apis.md", text: apis::page() },
        Page { file: "config.md", text: crate::config::render_docs() },
        Page { file: "errors.md", text: errors::page() },
        Page { file: "metrics.md", text: metrics::page() },
    ]
}

/// Writes every page into `folder`, which is made when it does not exist.
#[allow(clippy::disallowed_methods)] // Text that git keeps, not data of the broker: nothing needs it to survive a crash.
pub fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for page in pages() {
        std::fs::write(folder.join(page.file), page.text)?;
    }
    Ok(())
}
