//! Which folders of this machine, and which places of object stores, tables may be written to.
//!
//! A topic's `weir.lake.path` comes from whoever may create topics, and is written with the rights of the broker. So a broker
//! that others can reach writes only below places that its operator named.
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::s3::{S3Address, S3Settings, S3Stores};
use crate::rest::{RestClient, RestSettings};

/// Places below which tables may be, and how those of object stores and catalogs are reached; clones share them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LakeRoots {
    /// `None`: wherever the broker can write.
    places: Option<Arc<Places>>,
    s3: S3Stores,
    rest: RestClient,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Places {
    folders: Vec<PathBuf>,
    /// `s3://bucket/prefix`.
    urls: Vec<String>,
}

/// Why tables may not be written to a folder.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RootsError {
    #[error(
        "`weir.lake.path` is `{path}`{}, and this broker writes tables only below {roots}: choose a place there, or have it added to the \
         broker's setting `lake.roots`",
        real.as_ref().map(|real| format!(", which leads to `{real}`")).unwrap_or_default()
    )]
    Outside { path: String, real: Option<String>, roots: String },
    #[error(
        "`weir.lake.path` is `{path}`, and where that is cannot be told ({reason}): choose another folder below {roots}"
    )]
    Unclear { path: String, reason: String, roots: String },
    #[error(
        "`weir.lake.iceberg.catalog` is `rest`, and this broker knows no REST catalog: set it to `files`, or have the broker's \
         setting `lake.iceberg.rest.uri` set"
    )]
    NoCatalog,
}

impl LakeRoots {
    /// Every folder will do.
    #[must_use]
    pub fn any() -> LakeRoots {
        LakeRoots::default()
    }

    /// Only what is below these folders, or one of them.
    #[must_use]
    pub fn below(folders: impl IntoIterator<Item = PathBuf>) -> LakeRoots {
        let places = Places { folders: folders.into_iter().collect(), urls: Vec::new() };
        LakeRoots { places: Some(Arc::new(places)), ..LakeRoots::default() }
    }

    /// And below these (`s3://bucket/prefix`).
    #[must_use]
    pub fn and_urls(mut self, urls: impl IntoIterator<Item = String>) -> LakeRoots {
        if let Some(places) = &mut self.places {
            Arc::make_mut(places).urls.extend(urls);
        }
        self
    }

    /// With S3 reached like this.
    #[must_use]
    pub fn with_s3(mut self, settings: S3Settings) -> LakeRoots {
        self.s3 = S3Stores::new(settings);
        self
    }

    /// With the REST catalog reached like this.
    #[must_use]
    pub fn with_rest(mut self, settings: RestSettings) -> LakeRoots {
        self.rest = RestClient::new(settings);
        self
    }

    /// Whether tables can be in a REST catalog.
    ///
    /// # Errors
    /// [`RootsError::NoCatalog`].
    pub fn check_rest_catalog(&self) -> Result<(), RootsError> {
        if self.rest.is_set() { Ok(()) } else { Err(RootsError::NoCatalog) }
    }

    pub(crate) fn rest(&self) -> &RestClient {
        &self.rest
    }

    pub(crate) fn s3(&self) -> &S3Stores {
        &self.s3
    }

    /// Whether tables may be written to this folder (`/lake`, `file:///lake`), wherever symbolic links lead, or to this place of
    /// an object store (`s3://bucket/lake`).
    ///
    /// # Errors
    /// [`RootsError`], for people.
    pub fn check(&self, path: &str) -> Result<(), RootsError> {
        let Some(places) = &self.places else { return Ok(()) };
        let outside = |real| RootsError::Outside { path: path.to_owned(), real, roots: self.to_string() };
        if let Some(address) = S3Address::parse(path) {
            let below = |url: &String| match (S3Address::parse(url), &address) {
                (Some(Ok(root)), Ok(wanted)) => wanted.is_below(&root),
                _ => false,
            };
            return if places.urls.iter().any(below) { Ok(()) } else { Err(outside(None)) };
        }
        let given = Path::new(path.strip_prefix("file://").unwrap_or(path));
        let real = real(given).map_err(|error| RootsError::Unclear {
            path: path.to_owned(),
            reason: error.to_string(),
            roots: self.to_string(),
        })?;
        // A root that cannot be resolved has nothing below it.
        if places.folders.iter().filter_map(|root| self::real(root).ok()).any(|root| real.starts_with(root)) {
            return Ok(());
        }
        let real = (real != given).then(|| real.display().to_string());
        Err(outside(real))
    }
}

impl fmt::Display for LakeRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(places) = &self.places else { return f.write_str("any folder") };
        let folders = places.folders.iter().map(|folder| format!("`{}`", folder.display()));
        let all: Vec<String> = folders.chain(places.urls.iter().map(|url| format!("`{url}`"))).collect();
        f.write_str(&all.join(", "))
    }
}

/// The path without symbolic links. What does not exist yet is made by us below what exists, as plain folders.
fn real(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        match fs::canonicalize(at) {
            Ok(real) => return Ok(missing.iter().rev().fold(real, |at, name| at.join(name))),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Err(error) => {
                if fs::symlink_metadata(at).is_ok() {
                    let text = format!("{} is a symbolic link to nowhere", at.display());
                    return Err(io::Error::new(ErrorKind::NotFound, text));
                }
                // `..` behind something that is missing has no name.
                let (Some(above), Some(name)) = (at.parent(), at.file_name()) else { return Err(error) };
                missing.push(name);
                at = above;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Seen failing: with names compared instead of what they lead to, and with prefixes of texts instead of paths.
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_below_a_root_is_taken_whether_it_exists_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let roots = LakeRoots::below([folder.path().join("lake"), folder.path().join("other")]);
        for path in ["lake", "lake/a/b", "other/x"] {
            let path = folder.path().join(path).display().to_string();
            assert_eq!(roots.check(&path), Ok(()));
            fs::create_dir_all(&path).unwrap();
            assert_eq!(roots.check(&path), Ok(()));
            assert_eq!(roots.check(&format!("file://{path}")), Ok(()));
        }
        assert_eq!(LakeRoots::any().check("/etc"), Ok(()));
    }

    #[test]
    fn a_folder_elsewhere_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let roots = LakeRoots::below([folder.path().join("lake")]);
        for path in ["lakes", "", "lake/../etc", "missing/../lake/x/../.."] {
            let path = folder.path().join(path).display().to_string();
            let text = roots.check(&path).unwrap_err().to_string();
            assert!(text.contains("weir.lake.path") && text.contains("below") && text.contains("/lake`"), "{text}");
        }
        let text = roots.check("/etc").unwrap_err().to_string();
        assert!(text.contains("`/etc`") && text.contains("`lake.roots`"), "{text}");
    }

    #[test]
    fn a_place_in_an_object_store_is_below_one_that_was_named_by_whole_names_only() {
        let roots = LakeRoots::below(["/lake".into()]).and_urls(["s3://bay/a/b".to_owned(), "s3://all".to_owned()]);
        for path in ["s3://bay/a/b", "s3://bay/a/b/c/t", "s3://all", "s3://all/x"] {
            assert_eq!(roots.check(path), Ok(()), "{path}");
            assert_eq!(LakeRoots::any().check(path), Ok(()));
        }
        for path in ["s3://bay/a", "s3://bay/a/bc", "s3://allx/y", "s3://bay/a/b/../c", "s3://other/a/b"] {
            let text = roots.check(path).unwrap_err().to_string();
            assert!(text.contains("`s3://bay/a/b`") && text.contains("lake.roots"), "{text}");
        }
        assert!(LakeRoots::below(["/".into()]).check("s3://bay/a").is_err(), "no folder has it");
    }

    #[test]
    fn symbolic_links_count_as_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("lake/inside")).unwrap();
        fs::create_dir_all(at("secret")).unwrap();
        symlink(at("secret"), at("lake/out")).unwrap();
        symlink(at("lake/inside"), at("in")).unwrap();
        symlink(at("nowhere"), at("lake/dangling")).unwrap();
        let roots = LakeRoots::below([at("lake")]);
        let check = |name: &str| roots.check(&at(name).display().to_string());
        assert_eq!(check("in/table"), Ok(()), "a link into a root");
        assert!(matches!(check("lake/out/table"), Err(RootsError::Outside { real: Some(_), .. })));
        assert!(matches!(check("lake/dangling/table"), Err(RootsError::Unclear { .. })));
        // A root may be a link itself.
        symlink(at("lake"), at("link")).unwrap();
        assert_eq!(LakeRoots::below([at("link")]).check(&at("lake/x").display().to_string()), Ok(()));
    }
}
