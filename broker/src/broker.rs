//! What every API handler gets: the broker as one value, and the facts about the request at hand.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use weir_protocol::ids::LeaderEpoch;
use weir_storage::log::Storage;
use weir_storage::meta::{Condition, MetaError, MetadataStore, Write};

use crate::api::fetch::session::SessionCache;
use crate::group::Coordinator;
use crate::producer_ids::ProducerIds;
use crate::topics::Topics;

/// Settings that handlers read.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    pub node_id: i32,
    /// Largest fetch response, whatever the client asks for.
    pub fetch_max_bytes: usize,
    pub auto_create_topics_enable: bool,
    /// Folder of everything the broker keeps, for DescribeLogDirs.
    pub data_dir: PathBuf,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        BrokerSettings {
            node_id: 1,
            fetch_max_bytes: 55 << 20,
            auto_create_topics_enable: true,
            data_dir: PathBuf::from("."),
        }
    }
}

/// Facts about this broker's life that must be durable before it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// 22 characters of URL-safe base64, as Kafka's tools print them.
    pub cluster_id: String,
    /// Grows with each start; new batches carry it as their leader epoch.
    pub incarnation: LeaderEpoch,
}

const CLUSTER_ID_KEY: &[u8] = b"cluster/id";
const INCARNATION_KEY: &[u8] = b"cluster/incarnation";

impl Identity {
    /// Reads or makes the cluster id, and makes the next incarnation durable.
    pub async fn next(meta: &dyn MetadataStore) -> Result<Identity, MetaError> {
        let stored = meta.get(CLUSTER_ID_KEY)?;
        let cluster_id = match &stored {
            Some(id) => String::from_utf8_lossy(&id.value).into_owned(),
            None => kafka_id(uuid::Uuid::new_v4()),
        };
        let before = meta.get(INCARNATION_KEY)?;
        let last =
            before.as_ref().and_then(|v| v.value.as_slice().try_into().ok().map(i32::from_le_bytes)).unwrap_or(0);
        let incarnation = last + 1;
        let condition = match &before {
            Some(v) => Condition::Unchanged(INCARNATION_KEY.to_vec(), v.revision),
            None => Condition::Absent(INCARNATION_KEY.to_vec()),
        };
        let writes = vec![
            Write::Put(CLUSTER_ID_KEY.to_vec(), cluster_id.clone().into_bytes()),
            Write::Put(INCARNATION_KEY.to_vec(), incarnation.to_le_bytes().to_vec()),
        ];
        meta.transact(vec![condition], writes).await?;
        Ok(Identity { cluster_id, incarnation: LeaderEpoch(incarnation) })
    }
}

/// A UUID as Kafka writes it: URL-safe base64 without padding.
pub fn kafka_id(id: uuid::Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    // 22 digits of 6 bits cover 132 bits: the value is shifted left by 4.
    (0..22)
        .rev()
        .map(|digit| {
            let value = if digit == 0 { (bits << 4) as u8 & 63 } else { (bits >> (digit * 6 - 4)) as u8 & 63 };
            char::from(ALPHABET[usize::from(value)])
        })
        .collect()
}

/// The broker.
pub struct Broker {
    pub settings: BrokerSettings,
    pub identity: Identity,
    pub meta: Arc<dyn MetadataStore>,
    pub storage: Arc<Storage>,
    pub topics: Arc<Topics>,
    pub producer_ids: ProducerIds,
    pub fetch_sessions: SessionCache,
    pub groups: Coordinator,
    pub started: Instant,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({})", self.settings.node_id)
    }
}

impl Broker {
    pub fn node_id(&self) -> i32 {
        self.settings.node_id
    }

    pub fn cluster_id(&self) -> &str {
        &self.identity.cluster_id
    }

    /// The epoch of every partition this broker leads, which is all of them.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.identity.incarnation
    }

    /// Milliseconds since the start: monotonic, for timeouts.
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Milliseconds since the epoch, for timestamps.
    pub fn wall_clock_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
    }
}

/// The address that clients of a listener are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    pub host: String,
    pub port: u16,
}

/// One listener as its connections see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub advertised: Advertised,
}

/// Facts about one request that its handler may need.
#[derive(Debug, Clone)]
pub struct RequestContext {
    pub connection_id: u64,
    pub client_addr: SocketAddr,
    pub client_id: Option<String>,
    pub listener: Arc<Listener>,
}

impl RequestContext {
    pub fn advertised(&self) -> &Advertised {
        &self.listener.advertised
    }

    /// The client's address as Kafka's tools show it: `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        format!("/{}", self.client_addr.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        // org.apache.kafka.common.Uuid.toString of these values.
        assert_eq!(kafka_id(uuid::Uuid::from_u128(0)), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(kafka_id(uuid::Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(kafka_id(uuid::Uuid::from_u128(u128::MAX)), "_____________________w");
    }
}
