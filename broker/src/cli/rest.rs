//! JSON over HTTP: the broker's own listener and Schema Registries.
//!
//! The few lines of HTTP here are all that is needed: one request for each connection, over TCP or TLS.
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use weir_client::security::{Mechanism, SaslConfig, TlsConfig, TlsConnector};
use weir_client::transport::{Connector, Stream, TcpConnector};
use weir_client::{BrokerAddress, ClientConfig};

use super::CliError;
use crate::config::HostPort;

/// Largest answer that is read: all schemas of a full registry stay below.
const ANSWER_BYTES_MAX: u64 = 512 << 20;

/// Shown to nobody.
struct Secret(String);

/// Basic for users with passwords, Bearer for tokens.
fn authorization(sasl: &SaslConfig) -> Secret {
    Secret(match sasl.mechanism {
        Mechanism::OauthBearer => format!("Bearer {}", sasl.password),
        _ => format!("Basic {}", BASE64.encode(format!("{}:{}", sasl.username, sasl.password))),
    })
}

/// A part of a path, percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The registry, or another JSON service, as HTTP/1.1 reaches it.
pub(crate) struct Rest {
    whom: &'static str,
    /// How the address is set, for errors.
    flag: &'static str,
    /// Without a scheme.
    address: String,
    tls: Option<TlsConfig>,
    /// The value of the header `Authorization`.
    authorization: Option<Secret>,
    timeout: Duration,
}

impl Rest {
    /// `address`: HOST:PORT, with `https://` in front for TLS. Credentials of the client go along where nobody can read them on the
    /// way: over TLS, and on this machine.
    pub(crate) fn new(whom: &'static str, flag: &'static str, address: &str, client: &ClientConfig) -> Rest {
        let (tls, address) = match address.strip_prefix("https://") {
            Some(address) => (Some(client.tls.clone().unwrap_or_default()), address),
            None => (None, address.strip_prefix("http://").unwrap_or(address)),
        };
        let address = address.trim_end_matches('/').to_owned();
        let is_private = tls.is_some() || HostPort::parse(&address).is_ok_and(|address| address.is_loopback());
        let authorization = client.sasl.as_ref().filter(|_| is_private).map(authorization);
        Rest { whom, flag, address, tls, authorization, timeout: client.request_timeout }
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        let address: BrokerAddress = self.address.parse().map_err(std::io::Error::other)?;
        match &self.tls {
            None => TcpConnector.connect(&address).await,
            Some(tls) => TlsConnector::new(tls).map_err(std::io::Error::other)?.connect(&address).await,
        }
    }

    fn credentials(&self) -> String {
        self.authorization.as_ref().map_or_else(String::new, |Secret(value)| format!("Authorization: {value}\r\n"))
    }

    /// What a refusal for want of credentials is followed by.
    fn advice(&self, status: u16, reason: String) -> String {
        match (status, &self.authorization) {
            (401, None) => format!(
                "{reason}; give --username and a password (WEIR_PASSWORD, --password-file), which are sent to https:// and to this machine only: {} names the address",
                self.flag
            ),
            _ => reason,
        }
    }

    /// The answer's JSON; a refusal is an error with the registry's message.
    pub(crate) async fn ask(&self, verb: &str, path: &str, body: Option<Value>) -> Result<Value, CliError> {
        let exchange = tokio::time::timeout(self.timeout, self.exchange(verb, path, body));
        let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        let answer = exchange.await.unwrap_or_else(|_| Err(timed_out()));
        let doing = format!("asking {} at {} ({})", self.whom, self.address, self.flag);
        let (status, text) = answer.map_err(CliError::io(doing))?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status == 200 {
            return Ok(value);
        }
        let reason = value["message"].as_str().unwrap_or(&text).to_owned();
        let reason = self.advice(status, reason);
        Err(CliError::Registry { status, code: value["error_code"].as_u64().unwrap_or_default(), reason })
    }

    /// The answer as it is, whatever it is; a refusal is an error.
    pub(crate) async fn text(&self, verb: &str, path: &str) -> Result<String, CliError> {
        let exchange = tokio::time::timeout(self.timeout, self.exchange(verb, path, None)).await;
        let answer = exchange.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let doing = format!("asking {} at {} ({})", self.whom, self.address, self.flag);
        let (status, text) = answer.map_err(CliError::io(doing))?;
        match status {
            // What is not ready says why.
            200 | 503 => Ok(text),
            _ => Err(CliError::Refused { whom: self.whom, status, reason: self.advice(status, text) }),
        }
    }

    /// Gives each line of the answer, a JSON value, to `each` as it comes. The service tells something within the time-out each time.
    pub(crate) async fn lines(
        &self,
        verb: &str,
        path: &str,
        mut each: impl FnMut(Value) -> Result<(), CliError> + Send,
    ) -> Result<(), CliError> {
        let failed = |error| CliError::io(format!("asking {} at {} ({})", self.whom, self.address, self.flag))(error);
        let within = |result: Result<_, tokio::time::error::Elapsed>| {
            result.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut)))
        };
        // In HTTP/1.0 lines come as they are, and end with the connection.
        let head = format!(
            "{verb} {path} HTTP/1.0\r\nHost: {}\r\n{}Content-Length: 0\r\n\r\n",
            self.address,
            self.credentials()
        );
        let asked = async {
            let mut stream = self.connect().await?;
            stream.write_all(head.as_bytes()).await?;
            Ok(BufReader::new(stream.take(ANSWER_BYTES_MAX)).lines())
        };
        let asked: Result<Result<_, std::io::Error>, _> = tokio::time::timeout(self.timeout, asked).await;
        let mut lines = asked.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(failed)?;
        let (mut status, mut in_head) = (None, true);
        while let Some(line) = within(tokio::time::timeout(self.timeout, lines.next_line()).await).map_err(failed)? {
            if in_head {
                status = status.or_else(|| line.split(' ').nth(1)?.parse::<u16>().ok());
                in_head = !line.is_empty();
                continue;
            }
            let value: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            match status {
                Some(200) => each(value)?,
                status => {
                    let reason = value["message"].as_str().unwrap_or(&line).to_owned();
                    let status = status.unwrap_or_default();
                    return Err(CliError::Refused { whom: self.whom, status, reason: self.advice(status, reason) });
                }
            }
        }
        Ok(())
    }

    async fn exchange(&self, verb: &str, path: &str, body: Option<Value>) -> std::io::Result<(u16, String)> {
        let mut stream = self.connect().await?;
        let body = body.map_or_else(String::new, |body| body.to_string());
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: application/vnd.schemaregistry.v1+json\r\n\
             Content-Type: application/vnd.schemaregistry.v1+json\r\n{}Content-Length: {}\r\n\r\n",
            self.address,
            self.credentials(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut bytes = Vec::new();
        match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await {
            // A server that ends TLS without a word has ended the answer too; whether all of it is there shows below.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !bytes.is_empty() => {}
            ended => drop(ended?),
        }
        let text = String::from_utf8_lossy(&bytes);
        let not_http = || std::io::Error::new(std::io::ErrorKind::InvalidData, "the answer is not HTTP");
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(not_http)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(not_http)?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Ok((status, if chunked { dechunked(body) } else { body.to_owned() }))
    }
}

/// The text of chunks; what comes after a damaged one is left out.
fn dechunked(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let Some(chunk) = tail.get(..size).filter(|_| size > 0) else { break };
        out.push_str(chunk);
        rest = tail.get(size + 2..).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_percent_encoded_and_chunks_put_together() {
        assert_eq!(encoded("a/b c%é"), "a%2Fb%20c%25%C3%A9");
        assert_eq!(dechunked("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "abcde");
        assert_eq!(dechunked("ff\r\nabc"), "");
    }

    #[test]
    fn credentials_go_where_nobody_can_read_them_on_the_way() {
        let sasl = |mechanism| SaslConfig { mechanism, username: "alice".into(), password: "a:b".into() };
        let client = |mechanism| ClientConfig { sasl: Some(sasl(mechanism)), ..ClientConfig::default() };
        let sent = |address: &str, mechanism| Rest::new("it", "flag", address, &client(mechanism)).credentials();
        for (address, goes) in [
            ("127.0.0.1:1", true),
            ("http://localhost:1/", true),
            ("https://broker:1", true),
            ("broker:1", false),
            ("http://10.0.0.1:1", false),
        ] {
            assert_eq!(!sent(address, Mechanism::Plain).is_empty(), goes, "{address}");
        }
        assert_eq!(sent("[::1]:1", Mechanism::Plain), "Authorization: Basic YWxpY2U6YTpi\r\n");
        assert_eq!(sent("localhost:1", Mechanism::OauthBearer), "Authorization: Bearer a:b\r\n");
    }
}
