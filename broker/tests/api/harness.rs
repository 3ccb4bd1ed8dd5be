//! A broker on a free port and a client that speaks exactly the version it is told to.
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, FetchRequest, FetchResponse, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;
use weir::config::{Config, Source};
use weir::metrics::Metrics;
use weir::server::Server;
use weir_client::transport::Stream;
use weir_protocol::ids::Timestamp;
use weir_protocol::records::{BatchBuilder, Compression, DecompressLimits, batches, decode};

pub fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(s(name))
}

/// One connection.
pub struct Client {
    stream: Box<dyn Stream>,
    correlation: i32,
}

impl Client {
    pub async fn connect(broker: &TestBroker) -> Client {
        let stream = TcpStream::connect(broker.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client::over(Box::new(stream))
    }

    /// The same over TLS, or whatever else brings bytes.
    pub fn over(stream: Box<dyn Stream>) -> Client {
        Client { stream, correlation: 0 }
    }

    /// Sends a request without waiting for its answer; returns its correlation id.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(s("api-test")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap_or_else(|e| panic!("{} v{version}: {e}", R::KEY));
        self.send_raw(&body).await;
        self.correlation
    }

    /// Sends a frame as it is.
    pub async fn send_raw(&mut self, body: &[u8]) {
        let mut frame = BytesMut::with_capacity(body.len() + 4);
        frame.put_i32(body.len() as i32);
        frame.put_slice(body);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The next frame; None = the broker closed the connection.
    pub async fn receive_raw(&mut self) -> Option<Bytes> {
        let len = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; len as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(Bytes::from(frame))
    }

    /// The answer to the request with this correlation id.
    pub async fn receive<R: Request>(&mut self, version: i16, correlation: i32) -> R::Response {
        let what = ApiKey::try_from(R::KEY).unwrap();
        let mut frame = self.receive_raw().await.unwrap_or_else(|| panic!("{what:?} v{version}: connection closed"));
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, correlation, "{what:?} v{version}: answers come in request order");
        let response = R::Response::decode(&mut frame, version).unwrap_or_else(|e| panic!("{what:?} v{version}: {e}"));
        assert!(!frame.has_remaining(), "{what:?} v{version}: {} bytes follow the answer", frame.remaining());
        response
    }

    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request).await;
        self.receive::<R>(version, correlation).await
    }

    /// Creates a topic and returns its id.
    pub async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig::default().with_name(s(name)).with_value(Some(s(value))));
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(5000);
        let response = self.call(7, &request).await;
        let result = &response.topics[0];
        assert_eq!(result.error_code, 0, "{:?}", result.error_message);
        result.topic_id
    }

    /// Produces one batch and returns the partition's answer.
    pub async fn produce(
        &mut self,
        version: i16,
        topic: &Topic,
        partition: i32,
        acks: i16,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let response = self.call(version, &produce_request(version, topic, partition, acks, batch)).await;
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches one partition, sessionless.
    pub async fn fetch(&mut self, version: i16, topic: &Topic, partition: i32, offset: i64) -> PartitionData {
        let response = self.call(version, &fetch_request(version, topic, partition, offset)).await;
        response.responses[0].partitions[0].clone()
    }
}

/// A topic with both of its names.
#[derive(Debug, Clone)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
}

pub fn produce_request(version: i16, topic: &Topic, partition: i32, acks: i16, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let entry = TopicProduceData::default().with_partition_data(vec![data]);
    let entry = if version >= 13 { entry.with_topic_id(topic.id) } else { entry.with_name(topic_name(&topic.name)) };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![entry])
}

pub fn fetch_topic(version: i16, topic: &Topic, partitions: Vec<FetchPartition>) -> FetchTopic {
    let entry = FetchTopic::default().with_partitions(partitions);
    if version >= 13 { entry.with_topic_id(topic.id) } else { entry.with_topic(topic_name(&topic.name)) }
}

pub fn fetch_partition(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition::default().with_partition(partition).with_fetch_offset(offset).with_partition_max_bytes(1 << 20)
}

pub fn fetch_request(version: i16, topic: &Topic, partition: i32, offset: i64) -> FetchRequest {
    FetchRequest::default()
        .with_max_bytes(50 << 20)
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_topics(vec![fetch_topic(version, topic, vec![fetch_partition(partition, offset)])])
}

/// A batch of values without keys, at time 1,000 and following.
pub fn batch(codec: Compression, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new().compression(codec, None);
    for (at, value) in (1000..).zip(values) {
        builder.append(None, Some(value.as_bytes()), &[], Timestamp(at)).unwrap();
    }
    builder.build().unwrap()
}

/// Offset and value of every record.
pub fn records(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut out = Vec::new();
    for batch in batches(&bytes) {
        let batch = batch.unwrap();
        let decoded = decode(batch.bytes, &DecompressLimits::default()).unwrap();
        for record in decoded.records() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            out.push((record.offset(&decoded.header).0, value));
        }
    }
    out
}

pub fn only(response: &FetchResponse) -> &PartitionData {
    &response.responses[0].partitions[0]
}

/// A broker over a temporary data folder, listening on a port of its own. Ends with the test.
pub struct TestBroker {
    server: Option<Server>,
    address: SocketAddr,
    dir: Option<TempDir>,
    settings: Vec<(String, String)>,
}

impl TestBroker {
    pub async fn start() -> TestBroker {
        TestBroker::start_with(&[]).await
    }

    /// The same with further settings.
    pub async fn start_with(settings: &[(&str, &str)]) -> TestBroker {
        TestBroker::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    /// The same with its HTTP listener, for which the process counts what is measured.
    pub async fn start_with_http(settings: &[(&str, &str)]) -> TestBroker {
        static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::install().unwrap());
        TestBroker::start_measured(tempfile::tempdir().unwrap(), settings, Some(METRICS.clone())).await
    }

    /// Stops it and starts another one over the same data folder.
    pub async fn restart(mut self) -> TestBroker {
        self.server.take().unwrap().stop().await;
        let settings: Vec<_> = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        TestBroker::start_in(self.dir.take().unwrap(), &settings).await
    }

    async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> TestBroker {
        TestBroker::start_measured(dir, settings, None).await
    }

    async fn start_measured(dir: TempDir, settings: &[(&str, &str)], metrics: Option<Metrics>) -> TestBroker {
        let server = TestBroker::open(&dir, settings, metrics).await;
        while !(server.broker.groups.is_ready() && server.broker.transactions.is_ready()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let address = server.listeners[0].1;
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        TestBroker { address, server: Some(server), dir: Some(dir), settings }
    }

    async fn open(dir: &TempDir, settings: &[(&str, &str)], metrics: Option<Metrics>) -> Server {
        let mut config = Config::default();
        let data = dir.path().display().to_string();
        for (key, value) in [
            ("data.dir", data.as_str()),
            ("listeners", "127.0.0.1:0"),
            ("http.listen", "127.0.0.1:0"),
            ("registry.listen", "off"),
            ("wal.file.bytes", "4 MiB"),
            ("offsets.topic.num.partitions", "3"),
            ("transaction.state.log.num.partitions", "3"),
            ("share.coordinator.state.topic.num.partitions", "3"),
            ("group.initial.rebalance.delay.ms", "0"),
        ]
        .iter()
        .chain(settings)
        {
            config.set(key, value, Source::Flag((*key).to_owned())).unwrap();
        }
        Server::start(config, metrics, Instant::now()).await.unwrap()
    }

    /// What serves, for what no request shows.
    pub fn inner(&self) -> &weir::broker::Broker {
        &self.server.as_ref().unwrap().broker
    }

    /// The tables of topics that are tiered.
    pub fn lake(&self) -> &weir::lake::LakeTables {
        &self.server.as_ref().unwrap().lake
    }

    pub fn http(&self) -> SocketAddr {
        self.server.as_ref().unwrap().http
    }

    pub fn registry(&self) -> Option<SocketAddr> {
        self.server.as_ref().unwrap().registry
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            tokio::spawn(server.stop());
        }
    }
}
