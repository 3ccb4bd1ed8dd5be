//! A scripted broker for tests: an in-memory stream whose far end answers typed requests.

use std::sync::{Arc, Mutex};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::config::BrokerAddress;
use crate::transport::{Connecting, Connector, Stream};

/// Decides the answer to a request; `None` closes the connection.
pub(crate) type Script = dyn FnMut(ApiKey, i16, RequestKind) -> Option<ResponseKind> + Send;

/// Connects to a script instead of a socket, and counts connections.
#[derive(Clone)]
pub(crate) struct ScriptedBroker {
    script: Arc<Mutex<Box<Script>>>,
    versions: Arc<Vec<(ApiKey, i16, i16)>>,
    pub(crate) connections: Arc<Mutex<Vec<BrokerAddress>>>,
}

impl ScriptedBroker {
    pub(crate) fn new(
        versions: &[(ApiKey, i16, i16)],
        script: impl FnMut(ApiKey, i16, RequestKind) -> Option<ResponseKind> + Send + 'static,
    ) -> Self {
        Self {
            script: Arc::new(Mutex::new(Box::new(script))),
            versions: Arc::new(versions.to_vec()),
            connections: Arc::default(),
        }
    }

    fn announce(&self) -> ApiVersionsResponse {
        let own = (ApiKey::ApiVersions, 0, 3);
        let keys = self.versions.iter().chain([&own]);
        ApiVersionsResponse::default().with_api_keys(
            keys.map(|&(key, min, max)| {
                ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
            })
            .collect(),
        )
    }

    async fn serve(self, mut stream: DuplexStream) {
        while let Ok(length) = stream.read_i32().await {
            let mut frame = vec![0; length as usize];
            stream.read_exact(&mut frame).await.unwrap();
            let mut frame = Bytes::from(frame);
            let key = ApiKey::try_from((&frame[0..2]).get_i16()).unwrap();
            let version = (&frame[2..4]).get_i16();
            let header = RequestHeader::decode(&mut frame, key.request_header_version(version)).unwrap();
            let mut answer = BytesMut::new();
            answer.put_i32(0);
            let response_header = ResponseHeader::default().with_correlation_id(header.correlation_id);
            if key == ApiKey::ApiVersions {
                // Speaks versions 0 to 3 of this API, so a newer question is answered as the protocol demands.
                let known = version <= 3;
                let response = self.announce().with_error_code(if known { 0 } else { 35 });
                response_header.encode(&mut answer, 0).unwrap();
                response.encode(&mut answer, if known { version } else { 0 }).unwrap();
            } else {
                let request = RequestKind::decode(key, &mut frame, version).unwrap();
                let response = (self.script.lock().unwrap())(key, version, request);
                let Some(response) = response else { return };
                response_header.encode(&mut answer, key.response_header_version(version)).unwrap();
                response.encode(&mut answer, version).unwrap();
            }
            let length = answer.len() as i32 - 4;
            answer[..4].copy_from_slice(&length.to_be_bytes());
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

impl Connector for ScriptedBroker {
    fn connect<'a>(&'a self, address: &'a BrokerAddress) -> Connecting<'a> {
        self.connections.lock().unwrap().push(address.clone());
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(self.clone().serve(far));
        Box::pin(async move { Ok(Box::new(near) as Box<dyn Stream>) })
    }
}
