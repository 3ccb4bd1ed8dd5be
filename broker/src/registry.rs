//! The Schema Registry inside the broker: its entries in the metadata store, its listener.
//!
//! What it does is in the crate `weir-registry`; here is only what binds it to this process. A crash leaves what the metadata
//! store made durable: each change of the registry is one transaction there.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::request::Parts;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_registry::rest::{self, Caller, Gate, Resource, Right};
use weir_registry::store::{Change, RegistryStore, Sequence, StoreError};
use weir_registry::{Registry, RegistryError, RegistryOptions};
use weir_storage::meta::{Condition, MetaError, MetadataStore, Write};

use crate::http::connection::{BoundedListener, Peer};
use crate::security::acl::{CLUSTER_NAME, Operation, ResourceType};
use crate::security::tls::TlsConfigs;
use crate::security::web::{TurnedAway, WebClient, WebGate};

/// Before every key of the registry.
const PREFIX: &str = "registry/";

/// Counts the registry's changes and is written with each, so that changes of two brokers exclude each other. A count and not
/// the key's revision, which also changes when the metadata log is compacted.
const HEAD: &str = "registry-head";

/// Serializers of many applications; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 512;

/// Clients keep connections open between rare requests; they open new ones when they find one closed.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// How long answers in progress may take once the broker stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

struct MetadataEntries {
    meta: Arc<dyn MetadataStore>,
}

fn failed(error: MetaError) -> StoreError {
    match error {
        MetaError::Conflict { .. } => StoreError::Conflict,
        other => StoreError::Failed(Box::new(other)),
    }
}

#[async_trait]
impl RegistryStore for MetadataEntries {
    async fn load(&self) -> Result<(Vec<(String, Vec<u8>)>, Sequence), StoreError> {
        // The head first: a change in between makes the next commit conflict, which loads again.
        let (sequence, _) = self.head()?;
        let rows = self.meta.scan(PREFIX.as_bytes()).map_err(failed)?;
        let entries = rows.into_iter().map(|(key, row)| {
            let key = String::from_utf8_lossy(key.get(PREFIX.len()..).unwrap_or_default()).into_owned();
            (key, row.value)
        });
        Ok((entries.collect(), sequence))
    }

    async fn commit(&self, after: Sequence, changes: Vec<Change>) -> Result<Sequence, StoreError> {
        let (sequence, condition) = self.head()?;
        if sequence != after {
            return Err(StoreError::Conflict);
        }
        let next = sequence + 1;
        let mut writes = vec![Write::Put(HEAD.as_bytes().to_vec(), next.to_le_bytes().to_vec())];
        writes.extend(changes.into_iter().map(|change| match change {
            Change::Put(key, value) => Write::Put(format!("{PREFIX}{key}").into_bytes(), value),
            Change::Delete(key) => Write::Delete(format!("{PREFIX}{key}").into_bytes()),
        }));
        self.meta.transact(vec![condition], writes).await.map_err(failed)?;
        Ok(next)
    }
}

impl MetadataEntries {
    /// The count of changes, and what holds while there are no others.
    fn head(&self) -> Result<(Sequence, Condition), StoreError> {
        let key = HEAD.as_bytes().to_vec();
        Ok(match self.meta.get(&key).map_err(failed)? {
            None => (0, Condition::Absent(key)),
            Some(row) => {
                let count = row.value.as_slice().try_into().map(Sequence::from_le_bytes).unwrap_or(0);
                (count, Condition::Unchanged(key, row.revision))
            }
        })
    }
}

/// The registry that a metadata store holds.
pub async fn open(meta: Arc<dyn MetadataStore>, cluster_id: &str) -> Result<Arc<Registry>, RegistryError> {
    let options = RegistryOptions { cluster_id: cluster_id.to_owned() };
    Ok(Arc::new(Registry::open(Arc::new(MetadataEntries { meta }), options).await?))
}

#[async_trait]
impl Gate for WebGate {
    async fn identify(&self, head: &Parts) -> Result<Box<dyn Caller>, rest::TurnedAway> {
        match WebGate::identify(self, &head.headers, &head.extensions).await {
            Ok(client) => Ok(Box::new(Client { client, method: head.method.as_str().to_owned() })),
            Err(why @ (TurnedAway::Missing | TurnedAway::Refused)) => {
                let (challenges, message) = (self.challenges(&why), why.to_string());
                Err(rest::TurnedAway::Unauthenticated { challenges, message })
            }
            Err(TurnedAway::TooMany(full)) => Err(rest::TurnedAway::TooMany { reason: full.to_string() }),
            Err(why @ (TurnedAway::Unavailable | TurnedAway::Starting)) => {
                Err(rest::TurnedAway::NotReady { reason: why.to_string() })
            }
        }
    }
}

/// Somebody who asks the registry.
struct Client {
    client: WebClient,
    method: String,
}

impl Client {
    fn named(&self, endpoint: &str) -> String {
        format!("{} {endpoint}", self.method)
    }
}

impl Caller for Client {
    fn may(&self, right: Right, on: Resource<'_>, endpoint: &str) -> bool {
        let operation = match right {
            Right::Describe => Operation::Describe,
            Right::Write => Operation::Write,
            Right::Delete => Operation::Delete,
            Right::DescribeConfigs => Operation::DescribeConfigs,
            Right::AlterConfigs => Operation::AlterConfigs,
        };
        let (resource, name) = match on {
            Resource::Topic(topic) => (ResourceType::Topic, topic),
            Resource::Cluster => (ResourceType::Cluster, CLUSTER_NAME),
        };
        self.client.allows(&self.named(endpoint), operation, resource, name)
    }

    fn sees(&self, topic: &str) -> bool {
        self.client.would_allow(Operation::Describe, ResourceType::Topic, topic)
    }

    fn name(&self) -> String {
        self.client.principal().to_string()
    }

    fn changed(&self, endpoint: &str, subject: Option<&str>, error: Option<u32>) {
        self.client.changed(&self.named(endpoint), subject, error);
    }
}

/// Serves until `stop`, then lets answers in progress finish for a while.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<TlsConfigs>>,
    gate: Arc<WebGate>,
    registry: Arc<Registry>,
    stop: CancellationToken,
) {
    let bounded = BoundedListener::with_limits(listener, tls, CONNECTIONS_MAX, SILENCE_MAX).before(gate.clone());
    let stopped = stop.clone();
    let app = rest::router(registry, gate).into_make_service_with_connect_info::<Peer>();
    let server =
        axum::serve(bounded, app).with_graceful_shutdown(async move { stopped.cancelled().await }).into_future();
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        result = server => {
            if let Err(error) = result {
                tracing::error!(%error, "the Schema Registry's listener ended; schemas are not served any more");
            }
        }
        () = deadline => {}
    }
}

#[cfg(test)]
mod tests {
    use weir_registry::{Format, Registration, SchemaDefinition, VersionSelector};
    use weir_storage::disk::{Disk, OsDisk};
    use weir_storage::meta::EmbeddedMetadata;

    use super::*;

    fn meta(folder: &std::path::Path) -> Arc<dyn MetadataStore> {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::open(folder).unwrap());
        Arc::new(EmbeddedMetadata::open(disk, None).unwrap())
    }

    fn avro(text: &str) -> Registration {
        Registration::of(SchemaDefinition {
            schema_type: Format::Avro,
            schema: text.to_owned(),
            references: Vec::new(),
            metadata: None,
            rule_set: None,
        })
    }

    #[tokio::test]
    async fn schemas_are_there_after_a_restart_with_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        let first = {
            let registry = open(meta(folder.path()), "c").await.unwrap();
            registry.register("flights-value", avro(r#""string""#)).await.unwrap();
            registry.register("planes-value", avro(r#""long""#)).await.unwrap()
        };
        assert_eq!((first.id, first.version), (2, 1));
        let registry = open(meta(folder.path()), "c").await.unwrap();
        let found = registry.version("planes-value", VersionSelector::Latest, false).unwrap();
        assert_eq!((found.id, found.definition.schema.as_str()), (2, r#""long""#));
        assert_eq!(registry.register("x-value", avro(r#""int""#)).await.unwrap().id, 3);
    }

    /// Two brokers over one metadata store, as a cluster will have them.
    #[tokio::test]
    async fn registries_over_the_same_store_never_give_an_id_twice() {
        let folder = tempfile::tempdir().unwrap();
        let meta = meta(folder.path());
        let registries = [open(meta.clone(), "c").await.unwrap(), open(meta, "c").await.unwrap()];
        let mut tasks = Vec::new();
        for number in 0..40 {
            let registry = registries[number % 2].clone();
            tasks.push(tokio::spawn(async move {
                let text = format!(r#"{{"type":"fixed","name":"F{number}","size":4}}"#);
                loop {
                    match registry.register(&format!("s{number}"), avro(&text)).await {
                        Ok(registered) => return registered.id,
                        Err(RegistryError::Store(StoreError::Conflict)) => continue,
                        Err(error) => panic!("{error}"),
                    }
                }
            }));
        }
        let mut ids = std::collections::BTreeSet::new();
        for task in tasks {
            assert!(ids.insert(task.await.unwrap()), "an id was given twice");
        }
        assert_eq!(ids, (1..=40).collect());
    }
}
