//! The client as a whole: finds brokers, keeps one connection to each, knows who leads what and who coordinates a group.
//!
//! Requests to a group's coordinator use a connection of their own, as in Kafka's Java client: a heartbeat must not queue behind
//! a fetch that the same broker holds back until data arrives.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::backoff::Backoff;
use crate::config::{BrokerAddress, ClientConfig};
use crate::connection::{Connection, retrying};
use crate::error::{ClientError, Result};
use crate::metadata::{BrokerInfo, ClusterMetadata, TopicInfo, TopicRefusal};
use crate::security::TlsConnector;
use crate::transport::{Connector, TcpConnector};

/// Whether asking for a missing topic may create it (if the broker's `auto.create.topics.enable` allows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCreate {
    /// A missing topic is created.
    Allowed,
    /// A missing topic is an error.
    Forbidden,
}

/// What a connection is for; each purpose has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Produce, Fetch, metadata and admin calls.
    Data,
    /// Group membership and offsets.
    Coordinator,
}

/// A Kafka client. Cheap to clone; all clones share connections and metadata.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    config: ClientConfig,
    connector: Box<dyn Connector>,
    slots: Mutex<HashMap<(BrokerAddress, Purpose), Arc<Slot>>>,
    metadata: RwLock<ClusterMetadata>,
    coordinators: Mutex<HashMap<String, BrokerInfo>>,
}

/// The connection to one address. Held locked while connecting, so that concurrent callers share the attempt.
struct Slot {
    state: tokio::sync::Mutex<SlotState>,
}

struct SlotState {
    connection: Option<Connection>,
    backoff: Backoff,
    not_before: Option<tokio::time::Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps behind these locks are consistent after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// A client over TCP, with TLS if the settings say so. Connects on first use.
    pub fn new(config: ClientConfig) -> Result<Self> {
        match &config.tls {
            None => Self::with_connector(config, TcpConnector),
            Some(tls) => {
                let connector = TlsConnector::new(tls)?;
                Self::with_connector(config, connector)
            }
        }
    }

    /// A client over any byte stream.
    pub fn with_connector(config: ClientConfig, connector: impl Connector) -> Result<Self> {
        if config.bootstrap.is_empty() {
            return Err(ClientError::InvalidAddress { address: String::new(), reason: "it names no broker" });
        }
        let inner = Inner {
            config,
            connector: Box::new(connector),
            slots: Mutex::default(),
            metadata: RwLock::default(),
            coordinators: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// What is known of the cluster right now.
    pub fn metadata(&self) -> ClusterMetadata {
        self.read_metadata(Clone::clone)
    }

    fn read_metadata<T>(&self, read: impl FnOnce(&ClusterMetadata) -> T) -> T {
        read(&self.inner.metadata.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn connect(&self, address: &BrokerAddress, purpose: Purpose) -> Result<Connection> {
        let config = &self.inner.config;
        let slot = lock(&self.inner.slots)
            .entry((address.clone(), purpose))
            .or_insert_with(|| {
                Arc::new(Slot {
                    state: tokio::sync::Mutex::new(SlotState {
                        connection: None,
                        backoff: Backoff::new(config.retry_backoff, config.retry_backoff_max),
                        not_before: None,
                    }),
                })
            })
            .clone();
        let mut state = slot.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        state.connection = None;
        if let Some(not_before) = state.not_before.take() {
            tokio::time::sleep_until(not_before).await;
        }
        let advertised = !config.bootstrap.contains(address);
        match Connection::open(&*self.inner.connector, address, advertised, config).await {
            Ok(connection) => {
                state.backoff.reset();
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                state.not_before = Some(tokio::time::Instant::now() + state.backoff.next_pause());
                Err(error)
            }
        }
    }

    /// A connection to whichever broker answers: a bootstrap address first, then any the cluster named.
    pub async fn any_connection(&self) -> Result<Connection> {
        let mut addresses = self.inner.config.bootstrap.clone();
        for broker in self.read_metadata(|metadata| metadata.brokers.values().cloned().collect::<Vec<_>>()) {
            if !addresses.contains(&broker.address) {
                addresses.push(broker.address);
            }
        }
        let mut failure = None;
        for address in &addresses {
            match self.connect(address, Purpose::Data).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = Some(error),
            }
        }
        let brokers = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(match failure {
            Some(error) if addresses.len() == 1 => error,
            Some(error) => ClientError::NoBrokerReachable { brokers, last: Box::new(error) },
            None => ClientError::InvalidAddress { address: brokers, reason: "it names no broker" },
        })
    }

    /// A connection to the broker with this id.
    pub async fn broker(&self, id: i32) -> Result<Connection> {
        let find = || self.read_metadata(|metadata| metadata.brokers.get(&id).cloned());
        let broker = match find() {
            Some(broker) => Some(broker),
            None => {
                self.refresh(&[], AutoCreate::Forbidden).await?;
                find()
            }
        };
        let broker = broker.ok_or(ClientError::UnknownBroker { node_id: id })?;
        self.connect(&broker.address, Purpose::Data).await
    }

    /// All brokers of the cluster, freshly asked.
    pub async fn brokers(&self) -> Result<Vec<BrokerInfo>> {
        self.refresh(&[], AutoCreate::Forbidden).await?;
        Ok(self.read_metadata(|metadata| metadata.brokers.values().cloned().collect()))
    }

    /// A connection to the broker that takes admin requests; any broker if none is named (they forward).
    pub async fn controller(&self) -> Result<Connection> {
        if self.read_metadata(|metadata| metadata.brokers.is_empty()) {
            self.refresh(&[], AutoCreate::Forbidden).await?;
        }
        match self.read_metadata(|metadata| metadata.controller.filter(|id| metadata.brokers.contains_key(id))) {
            Some(id) => self.broker(id).await,
            None => self.any_connection().await,
        }
    }

    /// Asks for these topics (none: brokers only) and returns those the cluster refused to describe.
    pub async fn refresh(&self, topics: &[&str], create: AutoCreate) -> Result<Vec<TopicRefusal>> {
        let wanted = topics.iter().map(|name| {
            let name = TopicName(StrBytes::from_string((*name).to_owned()));
            MetadataRequestTopic::default().with_name(Some(name))
        });
        self.ask_metadata(Some(wanted.collect()), create).await
    }

    /// Asks for all topics.
    pub async fn refresh_all(&self) -> Result<()> {
        self.ask_metadata(None, AutoCreate::Forbidden).await.map(|_| ())
    }

    async fn ask_metadata(
        &self,
        topics: Option<Vec<MetadataRequestTopic>>,
        create: AutoCreate,
    ) -> Result<Vec<TopicRefusal>> {
        let complete = topics.is_none();
        let (response, connection) = retrying(&self.inner.config, || async {
            let connection = self.any_connection().await?;
            let response = connection
                .call(|version| {
                    MetadataRequest::default()
                        .with_topics(topics.clone())
                        // Before version 4 the broker alone decides, and the field must keep its default.
                        .with_allow_auto_topic_creation(create == AutoCreate::Allowed || version < 4)
                })
                .await?;
            Ok((response, connection))
        })
        .await?;
        connection.check::<MetadataRequest>("", response.error_code, None)?;
        let mut metadata = self.inner.metadata.write().unwrap_or_else(PoisonError::into_inner);
        Ok(metadata.merge(&response, complete, Instant::now()))
    }

    /// A topic, from the cache if it is fresh enough. With [`AutoCreate::Allowed`] waits until a new topic is served.
    pub async fn topic_info(&self, name: &str, create: AutoCreate) -> Result<Arc<TopicInfo>> {
        let oldest = Instant::now().checked_sub(self.inner.config.metadata_age_max);
        if let Some(topic) = self.read_metadata(|metadata| metadata.topic(name, oldest).cloned()) {
            return Ok(topic);
        }
        self.fresh_topic(name, create).await
    }

    /// A topic as the cluster describes it now.
    pub async fn fresh_topic(&self, name: &str, create: AutoCreate) -> Result<Arc<TopicInfo>> {
        let deadline = tokio::time::Instant::now() + self.inner.config.retry_timeout;
        let mut backoff = Backoff::new(self.inner.config.retry_backoff, self.inner.config.retry_backoff_max);
        loop {
            let refused = self.refresh(&[name], create).await?;
            if let Some(topic) = self.read_metadata(|metadata| metadata.topic(name, None).cloned()) {
                return Ok(topic);
            }
            let code = refused.first().map_or(ResponseError::UnknownTopicOrPartition, |refusal| refusal.code);
            let pending = code == ResponseError::LeaderNotAvailable
                || (code == ResponseError::UnknownTopicOrPartition && create == AutoCreate::Allowed);
            // A broker that does not create topics by itself keeps saying so; a few attempts tell.
            let given_up = code == ResponseError::UnknownTopicOrPartition && backoff.failures() >= 5;
            let pause = backoff.next_pause();
            if !pending || given_up || tokio::time::Instant::now() + pause > deadline {
                let connection = self.any_connection().await?;
                return Err(connection.refusal::<MetadataRequest>(format!("topic `{name}`"), code.code(), None));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Drops what is cached about a topic, after a broker said it is stale.
    pub fn forget_topic(&self, name: &str) {
        self.inner.metadata.write().unwrap_or_else(PoisonError::into_inner).forget(name);
    }

    /// The leader of a partition, by broker id. Asks again while there is none.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<i32> {
        let mut info = self.topic_info(topic, AutoCreate::Forbidden).await?;
        let deadline = tokio::time::Instant::now() + self.inner.config.retry_timeout;
        let mut backoff = Backoff::new(self.inner.config.retry_backoff, self.inner.config.retry_backoff_max);
        loop {
            let Some(found) = info.partition(partition) else {
                let partitions = info.partitions.len();
                return Err(ClientError::UnknownPartition { topic: topic.to_owned(), partition, partitions });
            };
            if let Some(leader) = found.leader {
                return Ok(leader);
            }
            let pause = backoff.next_pause();
            if tokio::time::Instant::now() + pause > deadline {
                let connection = self.any_connection().await?;
                let code = found.error.unwrap_or(ResponseError::LeaderNotAvailable).code();
                return Err(connection.refusal::<MetadataRequest>(format!("{topic}-{partition}"), code, None));
            }
            tokio::time::sleep(pause).await;
            info = self.fresh_topic(topic, AutoCreate::Forbidden).await?;
        }
    }

    /// Groups partitions by the broker that leads them.
    pub async fn by_leader(
        &self,
        partitions: impl IntoIterator<Item = (String, i32)>,
    ) -> Result<BTreeMap<i32, BTreeMap<String, Vec<i32>>>> {
        let mut brokers: BTreeMap<i32, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
        for (topic, partition) in partitions {
            let leader = self.leader(&topic, partition).await?;
            brokers.entry(leader).or_default().entry(topic).or_default().push(partition);
        }
        Ok(brokers)
    }

    /// The broker that coordinates a group; remembered until [`forget_coordinator`](Self::forget_coordinator).
    pub async fn coordinator_of(&self, group: &str) -> Result<BrokerInfo> {
        if let Some(known) = lock(&self.inner.coordinators).get(group) {
            return Ok(known.clone());
        }
        let found = retrying(&self.inner.config, || self.find_coordinator(group, CoordinatorOf::Group)).await?;
        lock(&self.inner.coordinators).insert(group.to_owned(), found.clone());
        Ok(found)
    }

    /// A connection to the coordinator of a transactional id, and that broker's id. Asked for each time: only admin calls use it.
    pub(crate) async fn transaction_coordinator(&self, id: &str) -> Result<(Connection, i32)> {
        let broker = self.find_coordinator(id, CoordinatorOf::Transaction).await?;
        Ok((self.connect(&broker.address, Purpose::Coordinator).await?, broker.id))
    }

    async fn find_coordinator(&self, name: &str, of: CoordinatorOf) -> Result<BrokerInfo> {
        let connection = self.any_connection().await?;
        let key = StrBytes::from_string(name.to_owned());
        let subject = match of {
            CoordinatorOf::Group => format!("group `{name}`"),
            CoordinatorOf::Transaction => format!("transactional id `{name}`"),
        };
        // Batched lookups came with version 4 and replaced the single key.
        let response = connection
            .call(|version| {
                let request = FindCoordinatorRequest::default().with_key_type(of as i8);
                match version {
                    ..4 => request.with_key(key.clone()),
                    _ => request.with_coordinator_keys(vec![key.clone()]),
                }
            })
            .await?;
        let answer = coordinator_answer(&response);
        connection.check::<FindCoordinatorRequest>(&subject, answer.code, answer.detail.as_deref())?;
        let unusable = ResponseError::CoordinatorNotAvailable.code();
        let port = u16::try_from(answer.port)
            .map_err(|_| connection.refusal::<FindCoordinatorRequest>(subject, unusable, None))?;
        Ok(BrokerInfo { id: answer.id, address: BrokerAddress { host: answer.host, port }, rack: None })
    }

    /// Forgets who coordinates a group, after that broker said it does not.
    pub fn forget_coordinator(&self, group: &str) {
        lock(&self.inner.coordinators).remove(group);
    }

    /// A connection to the coordinator of a group.
    pub async fn coordinator(&self, group: &str) -> Result<Connection> {
        let broker = self.coordinator_of(group).await?;
        match self.connect(&broker.address, Purpose::Coordinator).await {
            Ok(connection) => Ok(connection),
            Err(error) => {
                self.forget_coordinator(group);
                Err(error)
            }
        }
    }

    /// Calls a group's coordinator, looking for it again and retrying while `code_of` finds a passing error in the answer.
    pub(crate) async fn call_coordinator<R: Request>(
        &self,
        group: &str,
        build: impl Fn(i16) -> R,
        code_of: impl Fn(&R::Response) -> i16,
    ) -> Result<(R::Response, Connection)> {
        retrying(&self.inner.config, || async {
            let connection = self.coordinator(group).await?;
            let answered = match connection.call(&build).await {
                Ok(response) => match ResponseError::try_from_code(code_of(&response)) {
                    Some(code) if code.is_retriable() => {
                        Err(connection.refusal::<R>(format!("group `{group}`"), code.code(), None))
                    }
                    _ => Ok((response, connection)),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = &answered
                && error.is_stale_coordinator()
            {
                self.forget_coordinator(group);
            }
            answered
        })
        .await
    }
}

/// What a coordinator is looked for, as FindCoordinator has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CoordinatorOf {
    Group = 0,
    Transaction = 1,
}

struct CoordinatorAnswer {
    code: i16,
    detail: Option<String>,
    id: i32,
    host: String,
    port: i32,
}

fn coordinator_answer(response: &FindCoordinatorResponse) -> CoordinatorAnswer {
    match response.coordinators.first() {
        Some(found) => CoordinatorAnswer {
            code: found.error_code,
            detail: found.error_message.as_deref().map(str::to_owned),
            id: found.node_id.0,
            host: found.host.to_string(),
            port: found.port,
        },
        None => CoordinatorAnswer {
            code: response.error_code,
            detail: response.error_message.as_deref().map(str::to_owned),
            id: response.node_id.0,
            host: response.host.to_string(),
            port: response.port,
        },
    }
}

#[cfg(test)]
mod tests;
