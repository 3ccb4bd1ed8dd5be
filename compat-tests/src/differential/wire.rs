//! One connection to a broker, as plain as it can be: what is sent is exactly what a scenario says.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any wait that a scenario causes (the initial rebalance delay of 3 s, long polls of 1 s).
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// Larger than any answer of these scenarios; a broker that announces more is broken.
const MAX_ANSWER: usize = 64 << 20;

/// What came back for a request.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The answer, decoded.
    Answer(T),
    /// The broker closed the connection.
    Closed,
}

/// A TCP connection with its correlation ids.
pub struct Wire {
    stream: TcpStream,
    next_correlation: i32,
}

impl Wire {
    /// Connects to `HOST:PORT`.
    pub async fn connect(bootstrap: &str) -> anyhow::Result<Wire> {
        let stream = TcpStream::connect(bootstrap).await.with_context(|| format!("cannot connect to {bootstrap}"))?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, next_correlation: 1 })
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<Outcome<R::Response>> {
        let correlation = self.send(version, request).await?;
        self.receive::<R>(version, correlation).await
    }

    /// Sends a request and returns its correlation id without waiting.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<i32> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).with_context(|| format!("encoding key {} v{version}", R::KEY))?;
        self.send_body(R::KEY, version, R::header_version(version), &body).await
    }

    /// Sends any body under any API key and version.
    pub async fn send_body(&mut self, key: i16, version: i16, header: i16, body: &[u8]) -> anyhow::Result<i32> {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let mut frame = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(key)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(StrBytes::from_static_str("differential")))
            .encode(&mut frame, header)?;
        frame.extend_from_slice(body);
        let mut bytes = BytesMut::with_capacity(frame.len() + 4);
        bytes.put_i32(i32::try_from(frame.len())?);
        bytes.extend_from_slice(&frame);
        self.send_bytes(&bytes).await?;
        Ok(correlation)
    }

    /// Sends bytes as they are. A broker that has closed already is noticed by the read that follows.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self.stream.write_all(bytes).await {
            Err(e) if !is_closed(&e) => Err(e).context("sending"),
            _ => Ok(()),
        }
    }

    /// Waits for the answer to the request with this correlation id, which must be the next one to come.
    pub async fn receive<R: Request>(
        &mut self,
        version: i16,
        correlation: i32,
    ) -> anyhow::Result<Outcome<R::Response>> {
        let Outcome::Answer(mut body) = self.receive_body(correlation, R::Response::header_version(version)).await?
        else {
            return Ok(Outcome::Closed);
        };
        let answer = R::Response::decode(&mut body, version)
            .with_context(|| format!("decoding the answer to key {} v{version}", R::KEY))?;
        if body.has_remaining() {
            bail!("{} bytes after the answer to key {} v{version}", body.remaining(), R::KEY);
        }
        Ok(Outcome::Answer(answer))
    }

    /// Like [`Wire::receive`], the body undecoded.
    pub async fn receive_body(&mut self, correlation: i32, header_version: i16) -> anyhow::Result<Outcome<Bytes>> {
        let Outcome::Answer(mut frame) = self.receive_frame().await? else {
            return Ok(Outcome::Closed);
        };
        let header = ResponseHeader::decode(&mut frame, header_version)?;
        if header.correlation_id != correlation {
            bail!("answer to request {}, expected the one to {correlation}", header.correlation_id);
        }
        Ok(Outcome::Answer(frame))
    }

    async fn receive_frame(&mut self) -> anyhow::Result<Outcome<Bytes>> {
        let read = async {
            let length = self.stream.read_i32().await?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > MAX_ANSWER {
                return Err(std::io::Error::other(format!("answer of {length} bytes announced")));
            }
            let mut frame = vec![0; length];
            self.stream.read_exact(&mut frame).await?;
            Ok(Bytes::from(frame))
        };
        match tokio::time::timeout(ANSWER_WAIT, read).await {
            Err(_) => bail!("no answer within {ANSWER_WAIT:?}"),
            Ok(Ok(frame)) => Ok(Outcome::Answer(frame)),
            Ok(Err(e)) if is_closed(&e) => Ok(Outcome::Closed),
            Ok(Err(e)) => Err(e).context("receiving"),
        }
    }
}

fn is_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
