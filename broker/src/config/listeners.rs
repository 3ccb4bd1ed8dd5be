//! Where the broker listens, and which address it tells clients for each of these places.
use std::fmt;
use std::net::IpAddr;

use super::security::ListenerSecurity;
use super::values::{SettingValue, ValueError};

/// Host and port as clients see or resolve them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address; without brackets.
    pub host: String,
    /// 0 = chosen by the system, for listeners only.
    pub port: u16,
}

impl HostPort {
    /// `host:port`, `[v6]:port`, or `:port`.
    pub fn parse(text: &str) -> Result<HostPort, ValueError> {
        let bad = || ValueError::new(text, "HOST:PORT, such as 127.0.0.1:9092");
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(bad)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| bad())?;
        if host.contains(['/', ' ', '[', ']', ',']) || host.len() > 253 {
            return Err(bad());
        }
        let host = if host.is_empty() || host == "*" { "0.0.0.0" } else { host };
        Ok(HostPort { host: host.to_owned(), port })
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether it stands for every address of the machine, which no client can connect to.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A named address: `name://host:port`; without a name it is called `kafka`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedAddress {
    /// Matches a listener with what is advertised for it; lower case.
    pub name: String,
    /// The address.
    pub address: HostPort,
}

/// A comma-separated list of [`NamedAddress`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressList(pub Vec<NamedAddress>);

impl SettingValue for AddressList {
    const KIND: &'static str = "list of NAME://HOST:PORT";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let mut list: Vec<NamedAddress> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, address) = part.split_once("://").unwrap_or(("kafka", part));
            let name = name.to_ascii_lowercase();
            let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if !sound {
                return Err(ValueError::new(part, "NAME://HOST:PORT with a name of letters, digits, `-` and `_`"));
            }
            if list.iter().any(|other| other.name == name) {
                let fix = format!("a listener of its own: the name `{name}` is used twice; write other://{address}");
                return Err(ValueError::new(part, fix));
            }
            list.push(NamedAddress { name, address: HostPort::parse(address)? });
        }
        Ok(AddressList(list))
    }

    fn show(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|l| format!("{}://{}", l.name, l.address)).collect();
        parts.join(",")
    }
}

/// A listener as the network layer opens it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where to listen.
    pub bind: HostPort,
    /// What clients are told; None = the address it is bound to.
    pub advertised: Option<HostPort>,
    /// How clients are kept apart from strangers.
    pub security: ListenerSecurity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_have_names_and_default_to_kafka() {
        let list = AddressList::parse("127.0.0.1:9092, OUTSIDE://0.0.0.0:19092 ,six://[::1]:1").unwrap();
        assert_eq!(list.show(), "kafka://127.0.0.1:9092,outside://0.0.0.0:19092,six://[::1]:1");
        assert!(list.0[0].address.is_loopback() && list.0[2].address.is_loopback());
        assert!(list.0[1].address.is_unspecified());
        assert_eq!(AddressList::parse(&list.show()).unwrap(), list);
    }

    #[test]
    fn duplicate_names_and_malformed_addresses_are_refused() {
        for text in ["a:1,b:2", "x://h", "x://h:70000", "://h:1", "x://h /:1", "x y://h:1"] {
            assert!(AddressList::parse(text).is_err(), "{text}");
        }
        assert!(AddressList::parse("a:1,b:2").unwrap_err().to_string().contains("used twice"));
    }
}
