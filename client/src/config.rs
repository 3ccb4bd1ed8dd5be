//! Settings of a client, each with the default that suits an interactive tool and a long-running program alike.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{ClientError, Result};
use crate::security::{SaslConfig, TlsConfig};

/// Port assumed where an address names none.
pub const PORT_DEFAULT: u16 = 9092;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrokerAddress {
    /// Host name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for BrokerAddress {
    type Err = ClientError;

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason| Err(ClientError::InvalidAddress { address: text.to_owned(), reason });
        let text = text.trim();
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let Some((host, after)) = rest.split_once(']') else { return refuse("`[` without `]`") };
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return refuse("expected `:port` after `]`"),
            }
        } else if text.matches(':').count() > 1 {
            return refuse("put an IPv6 address in brackets: [::1]:9092");
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() {
            return refuse("the host is empty");
        }
        if host.contains('/') {
            return refuse("give host:port without a scheme or path");
        }
        let port = match port.map(str::parse::<u16>) {
            None => PORT_DEFAULT,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return refuse("the port must be a number from 1 to 65535"),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Reads a comma-separated list of addresses.
pub fn parse_brokers(text: &str) -> Result<Vec<BrokerAddress>> {
    let brokers: Vec<_> =
        text.split(',').filter(|part| !part.trim().is_empty()).map(str::parse).collect::<Result<_>>()?;
    if brokers.is_empty() {
        return Err(ClientError::InvalidAddress { address: text.to_owned(), reason: "it names no broker" });
    }
    Ok(brokers)
}

/// Settings of a [`Client`](crate::Client).
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Brokers to ask first; the cluster names the rest.
    pub bootstrap: Vec<BrokerAddress>,
    /// Name sent with each request, for the broker's logs and quotas.
    pub client_id: String,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Limit for one answer, where the call itself does not ask the broker to wait longer.
    pub request_timeout: Duration,
    /// Limit for retrying a call that failed with a retriable error.
    pub retry_timeout: Duration,
    /// First pause between attempts; doubles up to `retry_backoff_max`.
    pub retry_backoff: Duration,
    /// Longest pause between attempts.
    pub retry_backoff_max: Duration,
    /// Age at which cached metadata is fetched again.
    pub metadata_age_max: Duration,
    /// Largest response the client is willing to hold.
    pub frame_bytes_max: usize,
    /// TLS; None = plain text.
    pub tls: Option<TlsConfig>,
    /// Name and password; None = the client does not authenticate, or with its certificate.
    pub sasl: Option<SaslConfig>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap: vec![BrokerAddress { host: "127.0.0.1".into(), port: PORT_DEFAULT }],
            client_id: "weir-client".into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(30),
            retry_backoff: Duration::from_millis(50),
            retry_backoff_max: Duration::from_secs(1),
            metadata_age_max: Duration::from_secs(300),
            frame_bytes_max: 256 << 20,
            tls: None,
            sasl: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_a_default_port_and_bracketed_ipv6() {
        let read = |text: &str| text.parse::<BrokerAddress>().map(|address| address.to_string());
        assert_eq!(read("broker-1").unwrap(), "broker-1:9092");
        assert_eq!(read(" 10.0.0.1:19092 ").unwrap(), "10.0.0.1:19092");
        assert_eq!(read("[::1]").unwrap(), "[::1]:9092");
        assert_eq!(read("[::1]:1").unwrap(), "[::1]:1");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":9092", "a:0", "a:70000", "a:b", "::1", "[::1", "[::1]9092", "http://a:1", "a/b"] {
            assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
        }
        assert!(parse_brokers(" , ").is_err());
        assert_eq!(parse_brokers("a, b:1,").unwrap().len(), 2);
    }
}
