//! The types of settings: how each is written, shown, and told to Kafka's tools.
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use weir_lake_sink::S3Address;
use weir_protocol::sasl::Mechanism;

use crate::group::consumer::{AssignorKind, MigrationPolicy};
use crate::security::tls::PrincipalMapping;

/// Why a value was not taken. The caller adds the setting's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{value}` is not {expected}")]
pub struct ValueError {
    /// What was given.
    pub value: String,
    /// What would have been right, with an example.
    pub expected: String,
}

impl ValueError {
    pub(crate) fn new(value: &str, expected: impl Into<String>) -> ValueError {
        ValueError { value: value.to_owned(), expected: expected.into() }
    }
}

/// A type that a setting can have.
pub trait SettingValue: Sized {
    /// Name of the type in the documentation.
    const KIND: &'static str;
    /// Reads what a user wrote.
    fn parse(text: &str) -> Result<Self, ValueError>;
    /// As a user would write it.
    fn show(&self) -> String;
    /// As Kafka's tools expect it: durations in milliseconds, sizes in bytes.
    fn wire(&self) -> String {
        self.show()
    }
}

/// A text that nobody is shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl Secret {
    /// The type in the documentation.
    pub const NAME: &'static str = "secret";
    /// What is shown of one that is set.
    const HIDDEN: &'static str = "(hidden)";
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl SettingValue for Secret {
    const KIND: &'static str = Secret::NAME;

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text {
            Secret::HIDDEN => Err(ValueError::new(text, "the secret itself; `weir config show` hides it")),
            text => Ok(Secret(text.to_owned())),
        }
    }

    fn show(&self) -> String {
        if self.0.is_empty() { String::new() } else { Secret::HIDDEN.to_owned() }
    }
}

/// A comma-separated list of absolute folders and places in object stores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folders(pub Vec<String>);

impl SettingValue for Folders {
    const KIND: &'static str = "list of folders";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let folders = text.split(',').map(str::trim).filter(|folder| !folder.is_empty());
        let absolute = |folder: &str| match S3Address::parse(folder) {
            Some(Ok(_)) => Ok(folder.to_owned()),
            None if folder.starts_with('/') => Ok(folder.to_owned()),
            _ => Err(ValueError::new(folder, "an absolute folder, such as /lake, or s3://bucket/path")),
        };
        folders.map(absolute).collect::<Result<_, _>>().map(Folders)
    }

    fn show(&self) -> String {
        self.0.join(",")
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// So many mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> ByteCount {
        ByteCount(count << 20)
    }

    /// As an in-memory size; saturates on machines with small addresses.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

const BYTE_UNITS: &[(&str, u64)] = &[
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("g", 1 << 30),
    ("m", 1 << 20),
    ("k", 1 << 10),
    ("b", 1),
    ("", 1),
];

const TIME_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("min", 60_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("", 1)];

/// A number with one of the units; fractions are allowed (`1.5GiB`).
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let value = number.parse::<f64>().ok()? * factor as f64;
    (0.0..9e18).contains(&value).then_some(value as u64)
}

/// The largest unit that divides `value` exactly.
fn in_units(value: u64, units: &[(&'static str, u64)]) -> String {
    for (name, factor) in units {
        if value != 0 && value.is_multiple_of(*factor) {
            return format!("{}{name}", value / factor);
        }
    }
    value.to_string()
}

impl SettingValue for ByteCount {
    const KIND: &'static str = "bytes";

    fn parse(text: &str) -> Result<Self, ValueError> {
        quantity(text, BYTE_UNITS)
            .map(ByteCount)
            .ok_or_else(|| ValueError::new(text, "a size such as 1048576, 64MiB or 1.5GiB"))
    }

    fn show(&self) -> String {
        in_units(self.0, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)])
    }

    fn wire(&self) -> String {
        self.0.to_string()
    }
}

impl SettingValue for Duration {
    const KIND: &'static str = "duration";

    fn parse(text: &str) -> Result<Self, ValueError> {
        quantity(text, TIME_UNITS).map(Duration::from_millis).ok_or_else(|| {
            ValueError::new(text, "a duration such as 500ms, 10s, 5min, 7d (a plain number is milliseconds)")
        })
    }

    fn show(&self) -> String {
        let millis = self.as_millis() as u64;
        let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
        if millis == 0 { "0ms".to_owned() } else { in_units(millis, &units) }
    }

    fn wire(&self) -> String {
        self.as_millis().to_string()
    }
}

impl SettingValue for bool {
    const KIND: &'static str = "boolean";

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(ValueError::new(text, "true or false")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_number {
    ($($ty:ty),*) => {$(
        impl SettingValue for $ty {
            const KIND: &'static str = "number";

            fn parse(text: &str) -> Result<Self, ValueError> {
                text.trim().replace('_', "").parse().map_err(|_| {
                    ValueError::new(text, format!("a whole number from {} to {}", <$ty>::MIN, <$ty>::MAX))
                })
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_number!(i32, u32, u64, usize);

/// Assignors by preference; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignors(pub Vec<AssignorKind>);

impl Default for Assignors {
    fn default() -> Self {
        Assignors(AssignorKind::ALL.to_vec())
    }
}

impl SettingValue for Assignors {
    const KIND: &'static str = "list of uniform, range";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let expected =
            || ValueError::new(text, "a list of `uniform` and `range`, each at most once, such as uniform,range");
        let names: Vec<&str> = text.split(',').map(str::trim).collect();
        let kinds: Option<Vec<AssignorKind>> = names.iter().map(|name| AssignorKind::named(name)).collect();
        let kinds = kinds.ok_or_else(expected)?;
        let mut once = kinds.clone();
        once.sort();
        once.dedup();
        if once.len() == kinds.len() { Ok(Assignors(kinds)) } else { Err(expected()) }
    }

    fn show(&self) -> String {
        self.0.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")
    }
}

const POLICIES: [(&str, MigrationPolicy); 4] = [
    ("bidirectional", MigrationPolicy::Bidirectional),
    ("upgrade", MigrationPolicy::Upgrade),
    ("downgrade", MigrationPolicy::Downgrade),
    ("disabled", MigrationPolicy::Disabled),
];

impl SettingValue for MigrationPolicy {
    const KIND: &'static str = "bidirectional, upgrade, downgrade or disabled";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let name = text.trim().to_ascii_lowercase();
        let found = POLICIES.iter().find(|(policy, _)| *policy == name);
        found.map(|(_, policy)| *policy).ok_or_else(|| ValueError::new(text, Self::KIND))
    }

    fn show(&self) -> String {
        POLICIES.iter().find(|(_, policy)| policy == self).map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }
}

impl SettingValue for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl SettingValue for SocketAddr {
    const KIND: &'static str = "address";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let numeric = text.trim().replace("localhost:", "127.0.0.1:");
        let numeric = numeric.strip_prefix(':').map_or(numeric.clone(), |port| format!("0.0.0.0:{port}"));
        numeric.parse().map_err(|_| ValueError::new(text, "an IP address with a port, such as 127.0.0.1:9644"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Lists a fixed set of words a setting can be.
macro_rules! word_setting {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $vdoc])* $variant,)*
        }

        impl SettingValue for $name {
            const KIND: &'static str = concat!($("`", $word, "` "),*);

            fn parse(text: &str) -> Result<Self, ValueError> {
                match text.trim().to_ascii_lowercase().as_str() {
                    $($word => Ok($name::$variant),)*
                    _ => Err(ValueError::new(text, format!("one of {}", [$($word),*].join(", ")))),
                }
            }

            fn show(&self) -> String {
                match self {
                    $($name::$variant => $word.to_owned(),)*
                }
            }
        }
    };
}

word_setting! {
    /// What "durable" means for an acknowledgement with acks=all.
    DurabilitySetting {
        /// Synced to the device.
        Fsync = "fsync",
        /// Written to the operating system.
        Os = "os",
    }
}

word_setting! {
    /// How log lines look.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

word_setting! {
    /// How a listener is protected and whether clients authenticate with SASL: Kafka's `security.protocol`.
    SecurityProtocol {
        /// Neither.
        Plaintext = "plaintext",
        /// TLS; clients authenticate with certificates, if at all.
        Ssl = "ssl",
        /// SASL on a connection that anybody can listen to.
        SaslPlaintext = "sasl_plaintext",
        /// SASL over TLS.
        SaslSsl = "sasl_ssl",
    }
}

word_setting! {
    /// Whether clients show a certificate.
    ClientAuth {
        /// They are not asked.
        None = "none",
        /// They are asked, and those without one are `User:ANONYMOUS`.
        Requested = "requested",
        /// Those without one are refused.
        Required = "required",
    }
}

impl SecurityProtocol {
    /// Whether the connection is TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }

    /// Whether clients authenticate with SASL.
    #[must_use]
    pub fn is_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

/// Kafka's `listener.security.protocol.map`: protocols by listener name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProtocolMap(pub Vec<(String, SecurityProtocol)>);

impl SettingValue for ProtocolMap {
    const KIND: &'static str = "list of NAME:PROTOCOL";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let mut map: Vec<(String, SecurityProtocol)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wanted = || ValueError::new(part, "NAME:PROTOCOL, such as kafka:SASL_SSL, each name once");
            let (name, protocol) = part.split_once(':').ok_or_else(wanted)?;
            let name = name.trim().to_ascii_lowercase();
            if name.is_empty() || map.iter().any(|(other, _)| *other == name) {
                return Err(wanted());
            }
            map.push((name, SecurityProtocol::parse(protocol)?));
        }
        Ok(ProtocolMap(map))
    }

    fn show(&self) -> String {
        self.0.iter().map(|(name, p)| format!("{name}:{}", p.show().to_ascii_uppercase())).collect::<Vec<_>>().join(",")
    }
}

/// SASL mechanisms by preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mechanisms(pub Vec<Mechanism>);

impl Default for Mechanisms {
    fn default() -> Self {
        Mechanisms(Mechanism::ALL.into_iter().filter(|mechanism| *mechanism != Mechanism::OauthBearer).collect())
    }
}

impl SettingValue for Mechanisms {
    const KIND: &'static str = "list of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let mut list = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let mechanism = name.to_ascii_uppercase().parse().ok().filter(|mechanism| !list.contains(mechanism));
            list.push(mechanism.ok_or_else(|| ValueError::new(text, format!("a {}, each at most once", Self::KIND)))?);
        }
        Ok(Mechanisms(list))
    }

    fn show(&self) -> String {
        self.0.iter().map(|mechanism| mechanism.name()).collect::<Vec<_>>().join(",")
    }
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersions {
    /// TLS 1.2.
    pub v1_2: bool,
    /// TLS 1.3.
    pub v1_3: bool,
}

impl SettingValue for TlsVersions {
    const KIND: &'static str = "list of TLSv1.2, TLSv1.3";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let has = |version: &str| names.iter().any(|name| name.eq_ignore_ascii_case(version));
        let versions = TlsVersions { v1_2: has("TLSv1.2"), v1_3: has("TLSv1.3") };
        let known = usize::from(versions.v1_2) + usize::from(versions.v1_3);
        if names.is_empty() || known != names.len() {
            return Err(ValueError::new(text, "TLSv1.2,TLSv1.3 or one of these; older versions are not safe"));
        }
        Ok(versions)
    }

    fn show(&self) -> String {
        let names = [(self.v1_2, "TLSv1.2"), (self.v1_3, "TLSv1.3")];
        names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
    }
}

impl SettingValue for PrincipalMapping {
    const KIND: &'static str = "mapping rules";

    fn parse(text: &str) -> Result<Self, ValueError> {
        PrincipalMapping::parse(text).map_err(|error| ValueError::new(text, format!("a list of rules: {error}")))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// An address, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionalAddress(pub Option<SocketAddr>);

impl SettingValue for OptionalAddress {
    const KIND: &'static str = "address or `off`";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text.trim().eq_ignore_ascii_case("off") {
            return Ok(OptionalAddress(None));
        }
        let address = SocketAddr::parse(text);
        address.map(|address| OptionalAddress(Some(address))).map_err(|error| {
            ValueError::new(&error.value, "an IP address with a port, such as 127.0.0.1:8081, or `off`")
        })
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_take_units_and_round_trip() {
        for (text, bytes) in
            [("64MiB", 64 << 20), ("1.5GiB", 3 << 29), ("10", 10), ("1 kb", 1000), ("2k", 2048), ("1_000", 1000)]
        {
            let parsed = ByteCount::parse(text).unwrap();
            assert_eq!(parsed.0, bytes, "{text}");
            assert_eq!(ByteCount::parse(&parsed.show()).unwrap(), parsed);
        }
        for (text, millis) in
            [("10s", 10_000), ("500", 500), ("7d", 604_800_000), ("1.5h", 5_400_000), ("0", 0), ("2min", 120_000)]
        {
            let parsed = Duration::parse(text).unwrap();
            assert_eq!(parsed.as_millis(), millis, "{text}");
            assert_eq!(Duration::parse(&parsed.show()).unwrap(), parsed);
            assert_eq!(parsed.wire(), millis.to_string());
        }
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        for text in ["", "x", "-5", "10 parsecs", "99999999999999999999", "1e400"] {
            assert!(ByteCount::parse(text).is_err(), "{text}");
            assert!(Duration::parse(text).is_err(), "{text}");
        }
        let error = Duration::parse("10 parsecs").unwrap_err();
        assert!(error.to_string().contains("`10 parsecs` is not a duration such as 500ms"));
        assert!(DurabilitySetting::parse("maybe").unwrap_err().to_string().contains("fsync, os"));
    }

    #[test]
    fn addresses_accept_localhost_and_a_bare_port() {
        assert_eq!(SocketAddr::parse("localhost:1").unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(SocketAddr::parse(":1").unwrap().to_string(), "0.0.0.0:1");
        assert!(SocketAddr::parse("example.org:1").is_err());
        assert_eq!(OptionalAddress::parse("localhost:1").unwrap().show(), "127.0.0.1:1");
        assert_eq!(OptionalAddress::parse(" OFF ").unwrap(), OptionalAddress(None));
        assert!(OptionalAddress::parse("none").unwrap_err().to_string().contains("`off`"));
    }
}
