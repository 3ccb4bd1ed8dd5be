//! Start and stop: the HTTP listener (which says "starting"), metadata, storage, Kafka listeners; and back.
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_lake_sink::TableStatus;
use weir_protocol::ids::Timestamp;
use weir_storage::disk::{Disk, OsDisk};

use crate::broker::{Broker, Listener, StartError};
use crate::config::{self, Config, ConfigProblem, ListenerSecurity};
use crate::http::{self, HttpState, Readiness};
use crate::lake::{LakeTables, VerifyRefused};
use crate::metrics::tables::transactions as tables;
use crate::metrics::{GroupSample, LagMeter, Metrics};
use crate::net::{self, ConnectionLimits, ConnectionSlots, Net};
use crate::registry;
use crate::security::tls::{self, TlsConfigs, TlsFileError};
use crate::security::web::{Later, WebClient, WebGate};
use crate::security::{ADMIN, UserError};

/// Why `weir serve` did not start.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigProblem),
    #[error(
        "the data folder {path} is in use by another process; stop it, or set `data.dir` (flag --data-dir) to another folder"
    )]
    DataDirInUse { path: String },
    #[error(
        "cannot use the data folder {path}: {source}; set `data.dir` (flag --data-dir) to a folder that can be written"
    )]
    DataDir { path: String, source: io::Error },
    #[error(transparent)]
    Open(#[from] StartError),
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    #[error("cannot create the user `{ADMIN}`: {0}")]
    InitAdmin(#[from] UserError),
    #[error("cannot listen on {address}: {source}; stop what uses the port, or change the setting `{setting}`")]
    Listen { address: String, setting: &'static str, source: io::Error },
}

/// A broker that serves.
pub struct Server {
    pub broker: Arc<Broker>,
    /// The Kafka listeners and where they ended up.
    pub listeners: Vec<(Arc<Listener>, SocketAddr)>,
    pub http: SocketAddr,
    /// Where the Schema Registry listens; None = it is off.
    pub registry: Option<SocketAddr>,
    /// The password of the user that `init.admin` created just now: shown once and kept nowhere.
    pub admin_password: Option<String>,
    /// From process start (or what counts for it) to serving.
    pub started_in: Duration,
    /// Topics that are tiered.
    pub lake: LakeTables,
    stop: CancellationToken,
    tracker: TaskTracker,
    tasks: Vec<JoinHandle<()>>,
    disk: Arc<OsDisk>,
}

/// What the HTTP listener tells.
struct Health {
    broker: Later,
    lag: OnceLock<LagMeter>,
    tables: OnceLock<LakeTables>,
    stop: CancellationToken,
}

impl HttpState for Health {
    fn readiness(&self) -> Readiness {
        if self.stop.is_cancelled() {
            return Readiness::NotReady { reason: "the broker is shutting down".to_owned() };
        }
        match self.broker.get() {
            None => Readiness::NotReady { reason: "starting: the data folder is being recovered".to_owned() },
            Some(broker) => match broker.storage.status().write_refused {
                Some(reason) => Readiness::NotReady { reason },
                None => Readiness::Ready,
            },
        }
    }

    fn lake(&self) -> Vec<TableStatus> {
        self.tables.get().map(LakeTables::status).unwrap_or_default()
    }

    fn verify(&self, topic: &str) -> Result<mpsc::Receiver<serde_json::Value>, VerifyRefused> {
        let (Some(broker), Some(tables)) = (self.broker.get(), self.tables.get()) else {
            return Err(VerifyRefused::Starting);
        };
        tables.verify(broker, topic)
    }

    async fn table(&self, topic: &str, client: &WebClient) -> Option<serde_json::Value> {
        let broker = self.broker.get()?.clone();
        let topic = broker.topics.get(topic)?;
        let readable = client.readable(&topic);
        // Footers of column files are read.
        let report = tokio::task::spawn_blocking(move || crate::tables::report(&broker, &topic, &readable));
        report.await.ok()
    }

    async fn groups(&self) -> Vec<GroupSample> {
        let Some(broker) = self.broker.get() else { return Vec::new() };
        let meter = self.lag.get_or_init(|| {
            let interval = broker.config.observe.group_lag_interval;
            LagMeter::new(broker.groups.clone(), broker.topics.clone(), broker.storage.clone(), interval)
        });
        meter.sample(Timestamp(broker.wall_clock_ms())).await
    }

    fn sample(&self) {
        let Some(broker) = self.broker.get() else { return };
        broker.metrics.sample_memory(broker.memory());
        let open = broker.transactions.sample();
        metrics::gauge!(tables::TRANSACTIONS_OPEN.name).set(open.open as f64);
        metrics::gauge!(tables::TRANSACTIONS_OLDEST_SECONDS.name).set(open.oldest_ms as f64 / 1000.0);
    }
}

impl Server {
    /// Opens the data folder and the listeners, and serves. `metrics`: the recorder, if one is installed.
    pub async fn start(config: Config, metrics: Option<Metrics>, since: Instant) -> Result<Server, ServeError> {
        let listeners = config.listeners()?;
        let certificates = Certificates::load(&config, &listeners)?;
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let later = Later::default();
        let http_gate = WebGate::new(&config, config::HTTP, later.clone())?;
        let registry_gate = WebGate::new(&config, config::REGISTRY, later.clone())?;
        let health =
            Arc::new(Health { broker: later, lag: OnceLock::new(), tables: OnceLock::new(), stop: stop.clone() });
        let registry = open_registry(config.node.registry_listen.0).await?;
        let http = open_http(config.node.http_listen).await?;
        let http_address =
            http.local_addr().map_err(|source| cannot_listen(config.node.http_listen, "http.listen", source))?;
        if let Some(metrics) = metrics {
            tasks.push(tokio::spawn(metrics.clone().upkeep()));
            let tls = certificates.http.clone();
            tasks.push(tokio::spawn(serve_http(http, tls, http_gate, health.clone(), metrics, stop.clone())));
        }
        let data_dir = PathBuf::from(&config.node.data_dir);
        let disk = Arc::new(open_disk(&data_dir)?);
        let (net_settings, security) = (config.net.clone(), config.security.clone());
        let broker = Broker::open(config, disk.clone(), Some(data_dir.join("meta").join("sled"))).await?;
        let net = Net {
            broker: broker.clone(),
            limits: Arc::new(ConnectionLimits::of(&net_settings, &security, broker.config.request_max())),
            slots: ConnectionSlots::new(net_settings.max_connections, net_settings.max_connections_per_ip),
            pending: ConnectionSlots::new(security.unauthenticated_max, security.unauthenticated_max_per_ip),
            tracker: TaskTracker::new(),
            stop: stop.clone(),
        };
        let mut open = Vec::with_capacity(listeners.len());
        let mut accepting = Vec::with_capacity(listeners.len());
        for (listener, tls) in listeners.iter().zip(&certificates.kafka) {
            let bound = net::bind(listener, tls.clone())
                .await
                .map_err(|source| cannot_listen(&listener.bind, "listeners", source))?;
            open.push((bound.listener.clone(), bound.address));
            accepting.push(bound);
        }
        // With the ports in hand: a password that was made by a start that fails would be seen by nobody.
        let admin_password = if security.init_admin { broker.security.users.create_admin().await? } else { None };
        let tracker = net.tracker.clone();
        tasks.extend(accepting.into_iter().map(|bound| tokio::spawn(net::serve(net.clone(), bound))));
        let _ = health.broker.set(broker.clone()); // set once, here
        let mut registry_address = None;
        if let Some((listener, address)) = registry {
            registry_address = Some(address);
            // Tracked, so that a stop waits for registrations in progress before storage is closed.
            let tls = certificates.registry.clone();
            tracker.spawn(registry::serve(listener, tls, registry_gate, broker.registry.clone(), stop.clone()));
        }
        let lake = LakeTables::start(&broker);
        tasks.push(tokio::spawn(tls::watch(certificates.all(), security.ssl_reload, stop.clone())));
        let _ = health.tables.set(lake.clone()); // set once, here
        Ok(Server {
            broker,
            listeners: open,
            http: http_address,
            registry: registry_address,
            lake,
            admin_password,
            started_in: since.elapsed(),
            stop,
            tracker,
            tasks,
            disk,
        })
    }

    /// Serves until `asked`, then stops: nothing new is accepted, what was begun is finished within
    /// `shutdown.timeout`, storage is closed.
    pub async fn run_until(self, asked: impl Future<Output = ()>) {
        asked.await;
        self.stop().await;
    }

    /// Stops; see [`Server::run_until`]. The data folder can be opened again when this returns.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.stop.cancel();
        self.tracker.close();
        let patience = self.broker.config.node.shutdown_timeout;
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!(open = self.tracker.len(), "some connections did not finish within `shutdown.timeout`");
        }
        self.lake.stop().await;
        let ended = self.broker.storage.shutdown().await;
        for task in self.tasks {
            task.abort();
        }
        let (meta, disk) = (self.broker.meta.clone(), self.disk);
        let closed = tokio::task::spawn_blocking(move || {
            meta.close();
            if ended {
                disk.release();
            }
        });
        if closed.await.is_err() {
            tracing::error!("closing the metadata panicked");
        }
        tracing::info!("stopped");
    }
}

/// Certificates of every listener that has TLS.
struct Certificates {
    /// In the order of the listeners.
    kafka: Vec<Option<Arc<TlsConfigs>>>,
    http: Option<Arc<TlsConfigs>>,
    registry: Option<Arc<TlsConfigs>>,
}

impl Certificates {
    fn load(config: &Config, listeners: &[config::Listener]) -> Result<Certificates, ServeError> {
        let load = |name: &str, security: &ListenerSecurity| -> Result<_, ServeError> {
            Ok(security.tls.clone().map(|settings| TlsConfigs::load(name, settings)).transpose()?)
        };
        let kafka = listeners.iter().map(|listener| load(&listener.name, &listener.security));
        Ok(Certificates {
            kafka: kafka.collect::<Result<_, _>>()?,
            http: load(config::HTTP, &config.security_of(config::HTTP)?)?,
            registry: load(config::REGISTRY, &config.security_of(config::REGISTRY)?)?,
        })
    }

    fn all(&self) -> Vec<Arc<TlsConfigs>> {
        self.kafka.iter().chain([&self.http, &self.registry]).flatten().cloned().collect()
    }
}

fn cannot_listen(address: impl ToString, setting: &'static str, source: io::Error) -> ServeError {
    ServeError::Listen { address: address.to_string(), setting, source }
}

async fn open_http(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| cannot_listen(address, "http.listen", source))
}

async fn open_registry(address: Option<SocketAddr>) -> Result<Option<(TcpListener, SocketAddr)>, ServeError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| cannot_listen(address, "registry.listen", source);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, bound)))
}

async fn serve_http(
    listener: TcpListener,
    tls: Option<Arc<TlsConfigs>>,
    gate: Arc<WebGate>,
    health: Arc<Health>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    if let Err(error) = http::serve(listener, tls, gate, health, metrics, stop).await {
        tracing::error!(%error, "the HTTP listener ended; metrics and health are not served any more");
    }
}

fn open_disk(path: &Path) -> Result<OsDisk, ServeError> {
    OsDisk::open(path).map_err(|source| {
        let path = path.display().to_string();
        match source.kind() {
            io::ErrorKind::WouldBlock => ServeError::DataDirInUse { path },
            _ => ServeError::DataDir { path, source },
        }
    })
}
