//! A table of a REST catalog. Metadata files are the catalog's; data files, manifests and lists of manifests are ours, in the folder
//! that `weir.lake.path` gives the table.
//!
//! A catalog can be told to require of a table where its main branch is, and nothing of its properties. So every commit has a new
//! snapshot, if only an empty one, and requires that the main branch is where it was when the commit was prepared.
use async_trait::async_trait;
use serde_json::{Value, json};

use super::changes::{Changes, between, creating};
use super::{Catalog, Version};
use crate::rest::{Answer, Ask, CatalogRequests};
use crate::store::StoreError;
use crate::target::{Pause, TargetError};

/// One table of a catalog.
pub struct RestCatalog<R> {
    requests: R,
    namespace: String,
    table: String,
    /// The table's folder, without a `/` at its end.
    location: String,
}

impl<R: CatalogRequests> RestCatalog<R> {
    #[must_use]
    pub fn new(requests: R, namespace: &str, table: &str, location: &str) -> RestCatalog<R> {
        let location = location.trim_end_matches('/').to_owned();
        RestCatalog { requests, namespace: namespace.to_owned(), table: table.to_owned(), location }
    }

    fn name(&self) -> String {
        format!("table {}.{} of the catalog at {}", self.namespace, self.table, self.requests.address())
    }

    fn failed(&self, action: &'static str, answer: &Answer) -> TargetError {
        StoreError::failed(action, &self.name(), answer.reason()).into()
    }

    fn path(&self) -> String {
        format!("namespaces/{}/tables/{}", self.namespace, self.table)
    }

    /// The table in an answer, if it is one that is written here.
    fn version(&self, action: &'static str, mut answer: Answer) -> Result<Version, TargetError> {
        let metadata = answer.body["metadata"].take();
        if !metadata["table-uuid"].is_string() {
            let reason = "the answer has no metadata of a table";
            return Err(StoreError::failed(action, &self.name(), reason).into());
        }
        let found = metadata["location"].as_str().unwrap_or_default().trim_end_matches('/');
        if plain(found) != plain(&self.location) {
            return Err(Pause::Path(format!(
                "the {} is at `{found}`, and by `weir.lake.path` and `weir.lake.namespace` it would be at `{}`: set \
                 `weir.lake.path` to where the catalog has it, or choose another `weir.lake.namespace`",
                self.name(),
                self.location
            ))
            .into());
        }
        Ok(Version { number: 0, metadata })
    }

    /// Asks for a table that begins with its first commit; until then nobody sees it.
    async fn stage(&self, next: &mut Value) -> Result<(), TargetError> {
        let namespace = json!({ "namespace": [self.namespace], "properties": {} });
        let answer = self.requests.ask("namespaces", Ask::Post(namespace)).await?;
        // It may be there, and we may be nobody who makes one: the table tells.
        if !matches!(answer.status, 200 | 403 | 409) {
            return Err(self.failed("making the namespace", &answer));
        }
        let table = json!({
            "name": self.table,
            "location": self.location,
            "schema": next["schemas"][0],
            "partition-spec": next["partition-specs"][0],
            "write-order": next["sort-orders"][0],
            "stage-create": true,
            "properties": next["properties"],
        });
        let path = format!("namespaces/{}/tables", self.namespace);
        let answer = self.requests.ask(&path, Ask::Post(table)).await?;
        match answer.status {
            200 => {
                // The catalog numbers columns anew in what it answers; with our own numbers the table is made.
                let staged = self.version("creation", answer)?;
                next["table-uuid"] = staged.metadata["table-uuid"].clone();
                Ok(())
            }
            409 => Err(StoreError::Exists { path: self.name() }.into()),
            _ => Err(self.failed("creation", &answer)),
        }
    }
}

/// An address of a local folder, however it is written.
fn plain(address: &str) -> String {
    match address.strip_prefix("file:") {
        Some(path) => format!("/{}", path.trim_start_matches('/')),
        None => address.to_owned(),
    }
}

#[async_trait]
impl<R: CatalogRequests> Catalog for RestCatalog<R> {
    async fn load(&self) -> Result<Option<Version>, TargetError> {
        let answer = self.requests.ask(&self.path(), Ask::Get).await?;
        match answer.status {
            200 => self.version("read", answer).map(Some),
            _ if answer.is_absent() => Ok(None),
            _ => Err(self.failed("read", &answer)),
        }
    }

    async fn commit(&self, base: Option<&Version>, mut next: Value) -> Result<Version, TargetError> {
        let Changes { requirements, updates } = match base {
            Some(base) => between(&base.metadata, &next),
            None => {
                self.stage(&mut next).await?;
                creating(&next)
            }
        };
        let body = json!({
            "identifier": { "namespace": [self.namespace], "name": self.table },
            "requirements": requirements,
            "updates": updates,
        });
        let answer = self.requests.ask(&self.path(), Ask::Post(body)).await?;
        match answer.status {
            200 => self.version("commit", answer),
            409 => Err(StoreError::Exists { path: format!("a newer version of {}", self.name()) }.into()),
            _ => Err(self.failed("commit", &answer)),
        }
    }

    fn wants_snapshots(&self) -> bool {
        true
    }

    fn leaves_metadata(&self) -> bool {
        true
    }

    fn is_old(&self, _path: &str, _newest: Option<&Version>) -> bool {
        false
    }

    fn address(&self) -> Option<String> {
        Some(self.name())
    }
}
