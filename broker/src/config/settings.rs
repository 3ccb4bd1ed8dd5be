//! Every setting of the broker, grouped by subsystem. The doc comments are the user's documentation.
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::declare::settings;
use super::listeners::{AddressList, HostPort, NamedAddress};
use super::values::{
    Assignors, ByteCount, ClientAuth, DurabilitySetting, Folders, LogFormat, Mechanisms, OptionalAddress, ProtocolMap,
    Secret, TlsVersions,
};
use crate::group::consumer::MigrationPolicy;
use crate::security::tls::PrincipalMapping;

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn default_listener() -> AddressList {
    let address = HostPort { host: "127.0.0.1".to_owned(), port: 9092 };
    AddressList(vec![NamedAddress { name: "kafka".to_owned(), address }])
}

settings! {
    "Node and addresses",
    /// Who this broker is and where it listens.
    NodeSettings {
        /// Folder of everything the broker keeps. Flag `--data-dir`.
        "data.dir" => data_dir: String = "./weir-data".to_owned();
        /// Number of this broker in its cluster.
        "node.id" => node_id: i32 = 1;
        /// Where Kafka clients connect: `NAME://HOST:PORT`, several separated by commas (or a TOML list). Port 0 lets the
        /// system choose; the choice is printed. Flag `--listen`.
        "listeners" => listeners: AddressList = default_listener();
        /// What clients are told to connect to, by listener name, where that differs: for example
        /// `inside://weir:9092,outside://localhost:19092` for a broker in a container.
        "advertised.listeners" => advertised_listeners: AddressList = AddressList::default();
        /// Allows listeners (Kafka, HTTP and registry) that other machines can reach without authentication. Flag `--insecure`.
        "insecure" => insecure: bool = false;
        /// Where metrics (`/metrics`) and health (`/healthz`, `/readyz`) are served. Flag `--http`.
        "http.listen" => http_listen: SocketAddr = loopback(9644);
        /// Where the Schema Registry is served, or `off`. Flag `--registry`.
        "registry.listen" => registry_listen: OptionalAddress = OptionalAddress(Some(loopback(8081)));
        /// How long a shutdown waits for requests in progress.
        "shutdown.timeout" => shutdown_timeout: Duration = Duration::from_secs(5);
    }
}

settings! {
    "Connections and requests",
    /// Limits of what clients may ask for.
    NetSettings {
        /// Open connections; more are closed at once.
        "max.connections.total" => max_connections: usize = 10_000;
        /// Open connections of one IP address.
        "max.connections.per.ip" => max_connections_per_ip: usize = 10_000;
        /// Open connections of one principal, to all listeners together, counted once it has authenticated. One more to a Kafka listener
        /// is told so and closed, and over HTTP it is answered with status 429. Clients that do not authenticate are not counted.
        "max.connections.per.principal" => max_connections_per_principal: usize = 10_000;
        /// A connection without a request for so long is closed.
        "connections.max.idle.ms" => connections_max_idle: Duration = minutes(10);
        /// Largest request; a larger one closes the connection.
        "socket.request.max.bytes" => request_max: ByteCount = ByteCount::mib(100);
        /// Requests of one connection that are in progress or wait for their turn to be answered; reading stops above it.
        "connection.requests.max" => requests_max: usize = 64;
        /// A request whose bytes stop arriving for so long closes the connection.
        "request.stall.timeout" => stall_timeout: Duration = Duration::from_secs(30);
        /// Most bytes one fetch may return, whatever the client asks for.
        "fetch.max.bytes" => fetch_max: ByteCount = ByteCount::mib(55);
        /// Most stored bytes of one partition that one fetch for columns looks at before it answers with what it has.
        "fetch.scan.max.bytes" => fetch_scan_max: ByteCount = ByteCount::mib(64);
        /// Most time one fetch for columns scans, all its partitions together, before it answers with what it has.
        "fetch.scan.max.ms" => fetch_scan_time: Duration = Duration::from_millis(500);
        /// Fetch sessions that are remembered; clients without one send all their partitions each time.
        "max.incremental.fetch.session.cache.slots" => fetch_sessions_max: usize = 1_000;
    }
}

settings! {
    "TLS and SASL",
    /// Who clients are and how that is proved. Settings that begin with `ssl.`, `sasl.enabled.mechanisms` and
    /// `connections.max.reauth.ms` can be set for one listener as `listener.name.NAME.SETTING` (in the file or with `--set`);
    /// the HTTP listener is called `http` there and the Schema Registry's `registry`.
    SecuritySettings {
        /// Protocols by listener name: `plaintext`, `ssl`, `sasl_plaintext`, `sasl_ssl`, for example
        /// `kafka:SASL_SSL,http:SASL_SSL,registry:SSL`. A listener that is called like a protocol has that; others have
        /// `plaintext`. Over HTTP, SASL is user and password (Basic) or a token (Bearer) with each request.
        "listener.security.protocol.map" => protocols: ProtocolMap = ProtocolMap::default();
        /// The broker's chain of certificates, its own first (PEM). Read again when it changes, and on SIGHUP. `weir tls dev`
        /// makes one for trying things out.
        "ssl.certificate.location" => ssl_certificate: String = String::new();
        /// The broker's private key (PEM, not encrypted).
        "ssl.key.location" => ssl_key: String = String::new();
        /// CAs of client certificates (PEM).
        "ssl.ca.location" => ssl_ca: String = String::new();
        /// Whether clients show a certificate: `none`, `requested`, `required`.
        "ssl.client.auth" => ssl_client_auth: ClientAuth = ClientAuth::None;
        /// Versions of TLS that are spoken.
        "ssl.enabled.protocols" => ssl_versions: TlsVersions = TlsVersions { v1_2: true, v1_3: true };
        /// From the subject of a client's certificate to the name of its principal, in Kafka's syntax:
        /// `RULE:pattern/replacement/[LU]` and `DEFAULT`, separated by commas, the first that matches.
        "ssl.principal.mapping.rules" => ssl_mapping: PrincipalMapping = PrincipalMapping::default();
        /// How often certificate files are looked at for changes.
        "ssl.reload.interval" => ssl_reload: Duration = Duration::from_secs(10);
        /// SASL mechanisms, by preference. Without TLS, PLAIN and OAUTHBEARER are only offered with `insecure = true`.
        "sasl.enabled.mechanisms" => mechanisms: Mechanisms = Mechanisms::default();
        /// Clients authenticate again after so long at the latest (KIP-368); 0 = never, except that tokens expire.
        "connections.max.reauth.ms" => reauth: Duration = Duration::ZERO;
        /// Largest request of a client that has not authenticated yet.
        "sasl.server.max.receive.size" => pre_auth_max: ByteCount = ByteCount(512 << 10);
        /// A client that has not authenticated after so long, TLS handshake included, is cut off.
        "connections.authentication.timeout.ms" => auth_timeout: Duration = Duration::from_secs(10);
        /// How long the answer to a failed authentication is held back, so that guessing takes time.
        "connection.failed.authentication.delay.ms" => failed_delay: Duration = Duration::from_millis(100);
        /// Connections that have not authenticated yet; more are closed at once.
        "max.connections.unauthenticated.total" => unauthenticated_max: usize = 2_000;
        /// The same of one IP address.
        "max.connections.unauthenticated.per.ip" => unauthenticated_max_per_ip: usize = 500;
        /// Where the keys are that tokens are signed with (a JSON Web Key Set): `file:///...` or `https://...`.
        "sasl.oauthbearer.jwks.endpoint.url" => jwks_url: String = String::new();
        /// CAs of the server that keys come from (PEM); without it those of the system.
        "sasl.oauthbearer.jwks.endpoint.ca.location" => jwks_ca: String = String::new();
        /// How often the keys are read again; a token with an unknown key makes that happen at once.
        "sasl.oauthbearer.jwks.endpoint.refresh.ms" => jwks_refresh: Duration = minutes(60);
        /// Audiences of which a token must name one, separated by commas.
        "sasl.oauthbearer.expected.audience" => oauth_audience: String = String::new();
        /// The issuer that a token must name.
        "sasl.oauthbearer.expected.issuer" => oauth_issuer: String = String::new();
        /// The claim that is the principal's name.
        "sasl.oauthbearer.sub.claim.name" => oauth_subject: String = "sub".to_owned();
        /// How far clocks may differ when a token's times are checked.
        "sasl.oauthbearer.clock.skew.seconds" => oauth_skew: u32 = 30;
        /// Creates the user `admin` with a random password, which is printed once, if there is no such user. Flag
        /// `--init-admin`.
        "init.admin" => init_admin: bool = false;
    }
}

settings! {
    "Memory",
    /// One budget for all buffers; work waits or is refused rather than exceed it.
    MemorySettings {
        /// All buffers of the broker together: requests, answers, batches on their way to the disk, the newest data kept for
        /// readers, decompression, merges. Each use owns a share and borrows what others leave; the metrics
        /// `weir_memory_bytes` and `weir_memory_share_max_bytes` tell how much. 0 = a quarter of the memory of the machine or
        /// container, from 64MiB to 1GiB. The page cache, which serves reads of older data, is not part of it.
        "memory.limit" => limit: ByteCount = ByteCount(0);
    }
}

settings! {
    "Storage",
    /// The write-ahead log and what becomes of it.
    StorageSettings {
        /// What acks=all waits for: `fsync` = the device has it (survives a power cut), `os` = the operating system has it
        /// (survives a kill of the process). Flag `--durability`.
        "durability" => durability: DurabilitySetting = DurabilitySetting::Fsync;
        /// Size at which a file of the write-ahead log is closed and the next begins.
        "wal.file.bytes" => wal_file: ByteCount = ByteCount::mib(64);
        /// Size of the write-ahead log above which its oldest data is moved to segments.
        "wal.max.bytes" => wal_max: ByteCount = ByteCount::mib(512);
        /// Size of the write-ahead log at which clients that write wait until merges have made room: they keep up, or nobody is
        /// faster than they. 0 = twice `wal.max.bytes`. What waits for too long is refused with NOT_ENOUGH_REPLICAS, which
        /// clients retry.
        "wal.throttle.bytes" => wal_throttle: ByteCount = ByteCount(0);
        /// Age at which data of the write-ahead log is moved to segments.
        "wal.max.age" => wal_max_age: Duration = minutes(10);
        /// Largest group of batches written and synced at once.
        "wal.commit.max.bytes" => wal_commit_max: ByteCount = ByteCount::mib(8);
        /// With `durability = "os"`: time between syncs in the background.
        "wal.os.sync.interval" => os_sync_interval: Duration = Duration::from_secs(1);
        /// Data of one partition at which it gets a segment of its own; less shares a file with others.
        "merge.partition.bytes" => merge_partition: ByteCount = ByteCount::mib(32);
        /// How often retention, compaction and merging are looked at.
        "log.retention.check.interval.ms" => housekeeping_interval: Duration = Duration::from_secs(1);
        /// A producer's sequence numbers are forgotten after so long without a write.
        "producer.id.expiration.ms" => producer_id_expiration: Duration = minutes(24 * 60);
    }
}

settings! {
    "Topics",
    /// Creation of topics. Defaults of topic settings are set under the broker's names of the topic table below.
    TopicsSettings {
        /// A topic that a client asks for is created if the client allows it.
        "auto.create.topics.enable" => auto_create: bool = true;
        /// Clients may delete topics.
        "delete.topic.enable" => delete_enable: bool = true;
        /// Partitions of a topic that is created without a number.
        "num.partitions" => num_partitions: i32 = 1;
        /// Accepted as in Kafka; there is one replica.
        "default.replication.factor" => default_replication_factor: i32 = 1;
    }
}

settings! {
    "Lake tables",
    /// Where topics may be tiered to.
    TieringSettings {
        /// Folders, and places in S3 (`s3://bucket/path`), below which a topic's `weir.lake.path` must be, once `..` and symbolic
        /// links are resolved; several are separated by commas (or a TOML list). Without it any will do for a broker whose Kafka
        /// listeners only this machine can reach, and only the folder `lake` in `data.dir` for others.
        "lake.roots" => roots: Folders = Folders::default();
        /// `http://HOST:PORT` or `https://HOST:PORT` of a store that speaks S3; without it Amazon's (or `AWS_ENDPOINT_URL`). It
        /// must refuse to create an object that exists (`If-None-Match: *`), which is tried out.
        "lake.s3.endpoint" => s3_endpoint: String = String::new();
        /// Region of the buckets; without it `AWS_REGION`, or us-east-1.
        "lake.s3.region" => s3_region: String = String::new();
        /// Who we are there. Without it the variables that Amazon's tools read (`AWS_ACCESS_KEY_ID` and so on), a web identity or
        /// the machine's role.
        "lake.s3.access.key.id" => s3_access_key: String = String::new();
        /// Proves it. Better set as a variable than as a flag, which others on the machine can see.
        "lake.s3.secret.access.key" => s3_secret: Secret = Secret::default();
        /// Goes with temporary keys.
        "lake.s3.session.token" => s3_token: Secret = Secret::default();
        /// Buckets are the beginning of paths (`endpoint/bucket/key`), not of host names (`bucket.endpoint/key`).
        "lake.s3.path.style" => s3_path_style: bool = true;
        /// A request without an answer after so long has an outcome that is not known; the table is read again before anything
        /// else. Raise it where files of some ten MiB take longer.
        "lake.s3.request.timeout" => s3_timeout: Duration = Duration::from_secs(30);
        /// `http://HOST:PORT/PATH` or `https://HOST:PORT/PATH` of an Iceberg REST catalog, to which `/v1` is added; topics with
        /// `weir.lake.iceberg.catalog=rest` are tables of it.
        "lake.iceberg.rest.uri" => rest_uri: String = String::new();
        /// Which of its warehouses, for catalogs that have several.
        "lake.iceberg.rest.warehouse" => rest_warehouse: String = String::new();
        /// A token that is sent with each request. Better set as a variable than as a flag.
        "lake.iceberg.rest.token" => rest_token: Secret = Secret::default();
        /// `ID:SECRET`: tokens are got with it (OAuth2, client credentials) and renewed. Wins over a token. Better set as a variable
        /// than as a flag.
        "lake.iceberg.rest.credential" => rest_credential: Secret = Secret::default();
        /// Where tokens are got, if not at the catalog itself (`URI/v1/oauth/tokens`).
        "lake.iceberg.rest.oauth2.server.uri" => rest_oauth2: String = String::new();
        /// What tokens are for.
        "lake.iceberg.rest.scope" => rest_scope: String = "catalog".to_owned();
        /// A request without an answer after so long has an outcome that is not known; the table is read again before anything else.
        "lake.iceberg.rest.request.timeout" => rest_timeout: Duration = Duration::from_secs(30);
    }
}

settings! {
    "Consumer groups",
    /// The coordinator of consumer groups, of the classic and of the consumer protocol, and their offsets.
    GroupSettings {
        /// How long the first rebalance of an empty group waits for more members.
        "group.initial.rebalance.delay.ms" => initial_rebalance_delay: Duration = Duration::from_secs(3);
        /// Shortest session timeout a member may ask for.
        "group.min.session.timeout.ms" => min_session_timeout: Duration = Duration::from_secs(6);
        /// Longest session timeout a member may ask for.
        "group.max.session.timeout.ms" => max_session_timeout: Duration = minutes(30);
        /// Most members of one group.
        "group.max.size" => max_size: usize = 10_000;
        /// Assignors that members of the consumer protocol can choose; the first is the default.
        "group.consumer.assignors" => consumer_assignors: Assignors = Assignors::default();
        /// Which groups with members may change between the classic and the consumer protocol: `bidirectional`, `upgrade`,
        /// `downgrade` or `disabled`. Empty groups always may.
        "group.consumer.migration.policy" => consumer_migration: MigrationPolicy = MigrationPolicy::Bidirectional;
        /// Most members of one group of the consumer protocol.
        "group.consumer.max.size" => consumer_max_size: usize = i32::MAX as usize;
        /// A member of the consumer protocol that is silent for so long is out; groups can have their own.
        "group.consumer.session.timeout.ms" => consumer_session_timeout: Duration = Duration::from_secs(45);
        /// Shortest session timeout that can be set for a group.
        "group.consumer.min.session.timeout.ms" => consumer_min_session_timeout: Duration = Duration::from_secs(45);
        /// Longest session timeout that can be set for a group.
        "group.consumer.max.session.timeout.ms" => consumer_max_session_timeout: Duration = Duration::from_secs(60);
        /// How often members of the consumer protocol heartbeat at the least; groups can have their own.
        "group.consumer.heartbeat.interval.ms" => consumer_heartbeat_interval: Duration = Duration::from_secs(5);
        /// Shortest heartbeat interval that can be set for a group.
        "group.consumer.min.heartbeat.interval.ms" => consumer_min_heartbeat_interval: Duration = Duration::from_secs(5);
        /// Longest heartbeat interval that can be set for a group.
        "group.consumer.max.heartbeat.interval.ms" => consumer_max_heartbeat_interval: Duration = Duration::from_secs(15);
        /// Members of small groups are asked to heartbeat more often (each second up to 20 members, twice a second while
        /// partitions change hands), so that a partition whose owner leaves has another one at once. Not for groups with an
        /// interval of their own.
        "group.consumer.prompt.heartbeats" => consumer_prompt_heartbeats: bool = true;
        /// Offsets of a group expire so many minutes after its last member left.
        "offsets.retention.minutes" => offsets_retention_minutes: u32 = 7 * 24 * 60;
        /// How often expired offsets are looked for.
        "offsets.retention.check.interval.ms" => offsets_retention_check: Duration = minutes(10);
        /// Partitions of `__consumer_offsets`; fixed once the topic exists.
        "offsets.topic.num.partitions" => offsets_partitions: i32 = 50;
        /// Segment size of `__consumer_offsets`.
        "offsets.topic.segment.bytes" => offsets_segment: ByteCount = ByteCount::mib(100);
        /// Largest text a client may keep with an offset.
        "offset.metadata.max.bytes" => offset_metadata_max: usize = 4096;
    }
}

settings! {
    "Share groups",
    /// Groups whose members share partitions (KIP-932): Kafka used as a queue.
    ShareSettings {
        /// Most members of one share group.
        "group.share.max.size" => max_size: usize = 200;
        /// A member of a share group that is silent for so long is out; groups can have their own.
        "group.share.session.timeout.ms" => session_timeout: Duration = Duration::from_secs(45);
        /// Shortest session timeout that can be set for a share group.
        "group.share.min.session.timeout.ms" => min_session_timeout: Duration = Duration::from_secs(45);
        /// Longest session timeout that can be set for a share group.
        "group.share.max.session.timeout.ms" => max_session_timeout: Duration = Duration::from_secs(60);
        /// How often members of share groups heartbeat at the least; groups can have their own.
        "group.share.heartbeat.interval.ms" => heartbeat_interval: Duration = Duration::from_secs(5);
        /// Shortest heartbeat interval that can be set for a share group.
        "group.share.min.heartbeat.interval.ms" => min_heartbeat_interval: Duration = Duration::from_secs(5);
        /// Longest heartbeat interval that can be set for a share group.
        "group.share.max.heartbeat.interval.ms" => max_heartbeat_interval: Duration = Duration::from_secs(15);
        /// For how long a member has a record before others may have it; groups can have their own.
        "group.share.record.lock.duration.ms" => lock_duration: Duration = Duration::from_secs(30);
        /// Shortest duration of locks that can be set for a share group.
        "group.share.min.record.lock.duration.ms" => min_lock_duration: Duration = Duration::from_secs(15);
        /// Longest duration of locks that can be set for a share group.
        "group.share.max.record.lock.duration.ms" => max_lock_duration: Duration = Duration::from_secs(60);
        /// A record that was delivered so often and not accepted is given up; groups can have their own.
        "group.share.delivery.count.limit" => delivery_limit: i32 = 5;
        /// Smallest limit of deliveries that can be set for a share group.
        "group.share.min.delivery.count.limit" => min_delivery_limit: i32 = 2;
        /// Largest limit of deliveries that can be set for a share group.
        "group.share.max.delivery.count.limit" => max_delivery_limit: i32 = 10;
        /// Most records of a partition that a share group has in flight; groups can have their own.
        "group.share.partition.max.record.locks" => record_locks: i32 = 2_000;
        /// Smallest number of records in flight that can be set for a share group.
        "group.share.min.partition.max.record.locks" => min_record_locks: i32 = 100;
        /// Largest number of records in flight that can be set for a share group.
        "group.share.max.partition.max.record.locks" => max_record_locks: i32 = 10_000;
        /// Most share sessions, which is members of share groups that read, of the broker.
        "group.share.max.share.sessions" => sessions_max: usize = 2_000;
        /// Partitions of `__share_group_state`; fixed once the topic exists.
        "share.coordinator.state.topic.num.partitions" => state_partitions: i32 = 50;
        /// Segment size of `__share_group_state`.
        "share.coordinator.state.topic.segment.bytes" => state_segment: ByteCount = ByteCount::mib(100);
    }
}

settings! {
    "Transactions",
    /// The coordinator of transactional producers.
    TransactionSettings {
        /// Longest `transaction.timeout.ms` a producer may ask for.
        "transaction.max.timeout.ms" => timeout_max: Duration = minutes(15);
        /// A transactional id is forgotten after so long without a transaction.
        "transactional.id.expiration.ms" => id_expiration: Duration = minutes(7 * 24 * 60);
        /// How often unused transactional ids are looked for.
        "transaction.remove.expired.transaction.cleanup.interval.ms" => expiry_interval: Duration = minutes(60);
        /// Partitions of `__transaction_state`; fixed once the topic exists.
        "transaction.state.log.num.partitions" => state_partitions: i32 = 50;
        /// Segment size of `__transaction_state`.
        "transaction.state.log.segment.bytes" => state_segment: ByteCount = ByteCount::mib(100);
    }
}

settings! {
    "Logging and metrics",
    /// What the broker tells about itself.
    ObserveSettings {
        /// Least important lines to log: `error`, `warn`, `info`, `debug`, `trace`, also by module
        /// (`info,weir::net=debug`).
        "logging.level" => log_level: String = "info".to_owned();
        /// `text` for people, `json` for machines.
        "logging.format" => log_format: LogFormat = LogFormat::Text;
        /// Adds metrics for each topic; with many topics they are many.
        "metrics.topics" => per_topic: bool = false;
        /// How often the lag of consumer groups is measured.
        "metrics.group.lag.interval" => group_lag_interval: Duration = Duration::from_secs(10);
    }
}
