//! Who has quotas, which there are, and what may be set.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use weir_storage::meta::MetaError;

use super::window::SAMPLE_MS;

/// Longest name of a user or client id, in bytes.
pub const NAME_MAX: usize = 1024;

/// Entities with quotas that are kept at most.
pub const ENTITIES_MAX: usize = 100_000;

/// Some name, or everybody without a quota of their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Name {
    /// Everybody without a quota of their own (a null name on the wire, `<default>` in tools).
    Default,
    /// This one.
    Named(String),
}

/// Who a quota is for: a user, a client id, a client id of a user, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Entity {
    /// Name of the principal, without its kind.
    pub user: Option<Name>,
    /// What clients call themselves.
    pub client_id: Option<Name>,
    /// An address that connections come from, by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Name>,
}

/// Quotas that are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum QuotaKey {
    /// Bytes of produce requests in a second.
    ProducerByteRate,
    /// Bytes of fetch answers in a second.
    ConsumerByteRate,
    /// Stored bytes that scans (columnar fetches, views) look at in a second. Not one of Kafka's.
    ScanByteRate,
    /// Milliseconds that predicates of scans run in a second. Not one of Kafka's.
    PredicateMsRate,
    /// Time that the broker's threads work on requests, in percent of one thread (KIP-124).
    RequestPercentage,
    /// Connections made in a second (KIP-612); of addresses only.
    ConnectionCreationRate,
}

impl QuotaKey {
    /// All of them.
    pub const ALL: [QuotaKey; 6] = [
        QuotaKey::ProducerByteRate,
        QuotaKey::ConsumerByteRate,
        QuotaKey::ScanByteRate,
        QuotaKey::PredicateMsRate,
        QuotaKey::RequestPercentage,
        QuotaKey::ConnectionCreationRate,
    ];

    /// Kafka's name, or ours.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            QuotaKey::ProducerByteRate => "producer_byte_rate",
            QuotaKey::ConsumerByteRate => "consumer_byte_rate",
            QuotaKey::ScanByteRate => "scan_byte_rate",
            QuotaKey::PredicateMsRate => "predicate_ms_rate",
            QuotaKey::RequestPercentage => "request_percentage",
            QuotaKey::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    /// Longest silence that it asks for, in milliseconds: Kafka's.
    #[must_use]
    pub fn throttle_max_ms(self) -> u64 {
        match self {
            QuotaKey::RequestPercentage | QuotaKey::ConnectionCreationRate => SAMPLE_MS,
            _ => u64::MAX,
        }
    }

    /// Whether it is one of addresses, and not of users and client ids.
    #[must_use]
    pub fn is_of_addresses(self) -> bool {
        self == QuotaKey::ConnectionCreationRate
    }

    /// By its name.
    pub fn named(name: &str) -> Result<QuotaKey, QuotaError> {
        let found = QuotaKey::ALL.into_iter().find(|key| key.name() == name);
        found.ok_or_else(|| match NOT_ENFORCED.contains(&name) {
            true => QuotaError::NotEnforced { key: name.to_owned() },
            false => QuotaError::UnknownKey { key: name.chars().take(200).collect() },
        })
    }
}

/// Kafka's other quotas. To take them and not to keep them would be a lie.
const NOT_ENFORCED: [&str; 1] = ["controller_mutation_rate"];

/// What is set for an entity.
pub type Quotas = BTreeMap<QuotaKey, f64>;

/// Why quotas are not changed or described.
#[derive(Debug, Error)]
pub enum QuotaError {
    /// No such quota.
    #[error(
        "Invalid configuration key {key}; there are producer_byte_rate, consumer_byte_rate, request_percentage, scan_byte_rate and predicate_ms_rate of users and client ids, and connection_creation_rate of addresses (ip)"
    )]
    UnknownKey {
        /// What was given.
        key: String,
    },
    /// One of Kafka's that this broker does not keep.
    #[error(
        "{key} is not enforced by this broker, so it cannot be set; producer_byte_rate, consumer_byte_rate, request_percentage, connection_creation_rate, scan_byte_rate and predicate_ms_rate are"
    )]
    NotEnforced {
        /// What was given.
        key: String,
    },
    /// Not a rate.
    #[error(
        "{key}={value}: a quota is a whole number in a second, at least 1 (bytes, milliseconds for predicate_ms_rate, connections for connection_creation_rate); request_percentage is more than 0"
    )]
    Value {
        /// Which quota.
        key: &'static str,
        /// What was given.
        value: f64,
    },
    /// Nobody.
    #[error("Invalid empty client quota entity; name a user, a client-id or both")]
    NoEntity,
    /// A quota of addresses for a user, or the other way around.
    #[error(
        "Invalid configuration key {key} for this entity: connection_creation_rate is of ip, the others are of user and client-id"
    )]
    Misplaced {
        /// Which quota.
        key: &'static str,
    },
    /// An address together with something else.
    #[error("Invalid quota entity combination: ip stands by itself")]
    Combination,
    /// No address.
    #[error("`{ip}` is no IP address; clients are known by their address, write one or the default")]
    Address {
        /// What was given.
        ip: String,
    },
    /// Something else than users, client ids and addresses.
    #[error("Unhandled client quota entity type: {kind}; quotas are kept for user, client-id and ip")]
    EntityType {
        /// What was given.
        kind: String,
    },
    /// The same type twice.
    #[error("Duplicate client quota entity type: {kind}")]
    Twice {
        /// What was given.
        kind: String,
    },
    /// Empty or too long.
    #[error("the name of a {kind} has {bytes} bytes; it must have 1 to {NAME_MAX}")]
    Length {
        /// `user` or `client-id`.
        kind: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// Not one of Kafka's ways to compare.
    #[error("Unexpected match type {code}; there are 0 (this name), 1 (the default) and 2 (any name)")]
    MatchType {
        /// What was given.
        code: i8,
    },
    /// A bound.
    #[error("there are quotas for {ENTITIES_MAX} entities, which is the most; use defaults")]
    TooMany,
    /// The metadata store.
    #[error(transparent)]
    Metadata(#[from] MetaError),
}

/// Kafka's names of the parts of an entity.
pub const USER: &str = "user";
pub const CLIENT_ID: &str = "client-id";
pub const IP: &str = "ip";

impl Entity {
    /// From types and names of the wire; a null name is the default.
    pub fn of<'a>(parts: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Result<Entity, QuotaError> {
        let mut entity = Entity::default();
        for (kind, name) in parts {
            let (label, field) = match kind {
                USER => (USER, &mut entity.user),
                CLIENT_ID => (CLIENT_ID, &mut entity.client_id),
                IP => (IP, &mut entity.ip),
                _ => return Err(QuotaError::EntityType { kind: kind.chars().take(200).collect() }),
            };
            let name = match name {
                None => Name::Default,
                Some(name) if label == IP => Name::Named(address(name)?),
                Some(name) if (1..=NAME_MAX).contains(&name.len()) => Name::Named(name.to_owned()),
                Some(name) => return Err(QuotaError::Length { kind: label, bytes: name.len() }),
            };
            if field.replace(name).is_some() {
                return Err(QuotaError::Twice { kind: kind.to_owned() });
            }
        }
        match &entity {
            Entity { user: None, client_id: None, ip: None } => Err(QuotaError::NoEntity),
            Entity { user: None, client_id: None, .. } | Entity { ip: None, .. } => Ok(entity),
            _ => Err(QuotaError::Combination),
        }
    }

    /// Whether a quota can be set for it.
    pub fn takes(&self, key: QuotaKey) -> Result<(), QuotaError> {
        if self.ip.is_some() == key.is_of_addresses() { Ok(()) } else { Err(QuotaError::Misplaced { key: key.name() }) }
    }

    /// Types and names as on the wire.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        fn of<'a>(kind: &'static str, name: &'a Option<Name>) -> Option<(&'static str, Option<&'a str>)> {
            Some(match name.as_ref()? {
                Name::Default => (kind, None),
                Name::Named(name) => (kind, Some(name)),
            })
        }
        of(USER, &self.user).into_iter().chain(of(CLIENT_ID, &self.client_id)).chain(of(IP, &self.ip))
    }
}

/// An address as it is compared.
fn address(text: &str) -> Result<String, QuotaError> {
    let parsed = text.parse::<std::net::IpAddr>();
    let refuse = |_| QuotaError::Address { ip: text.chars().take(100).collect() };
    parsed.map(|ip| ip.to_canonical().to_string()).map_err(refuse)
}

/// A value that may be set.
pub fn checked(key: QuotaKey, value: f64) -> Result<f64, QuotaError> {
    let sound = match key {
        QuotaKey::RequestPercentage => value > 0.0,
        _ => value >= 1.0 && value.fract() == 0.0,
    };
    if value.is_finite() && sound { Ok(value) } else { Err(QuotaError::Value { key: key.name(), value }) }
}

/// How one part of an entity is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// This name, or the default.
    Exactly(Name),
    /// Any name and the default, as long as the part is there.
    Any,
}

impl Match {
    /// From the wire.
    pub fn of_wire(code: i8, name: Option<&str>) -> Result<Match, QuotaError> {
        match (code, name) {
            (0, Some(name)) => Ok(Match::Exactly(Name::Named(name.to_owned()))),
            (1, _) => Ok(Match::Exactly(Name::Default)),
            (2, _) => Ok(Match::Any),
            (code, _) => Err(QuotaError::MatchType { code }),
        }
    }

    fn is(wanted: Option<&Match>, found: Option<&Name>, strict: bool) -> bool {
        match (wanted, found) {
            (None, None) => true,
            (None, Some(_)) => !strict,
            (Some(_), None) => false,
            (Some(Match::Any), Some(_)) => true,
            (Some(Match::Exactly(name)), Some(found)) => name == found,
        }
    }
}

/// Which entities are described.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuotaFilter {
    /// What the user part must be; `None` = there may be any, or, if `strict`, must be none.
    pub user: Option<Match>,
    /// Likewise.
    pub client_id: Option<Match>,
    /// Likewise.
    pub ip: Option<Match>,
    /// Parts that are not asked for must be absent.
    pub strict: bool,
}

impl QuotaFilter {
    /// Whether an entity is meant.
    #[must_use]
    pub fn matches(&self, entity: &Entity) -> bool {
        Match::is(self.user.as_ref(), entity.user.as_ref(), self.strict)
            && Match::is(self.client_id.as_ref(), entity.client_id.as_ref(), self.strict)
            && Match::is(self.ip.as_ref(), entity.ip.as_ref(), self.strict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_users_client_ids_or_both() {
        let both = Entity::of([("client-id", None), ("user", Some("a"))]).unwrap();
        assert_eq!(both.parts().collect::<Vec<_>>(), [("user", Some("a")), ("client-id", None)]);
        assert!(matches!(Entity::of([]), Err(QuotaError::NoEntity)));
        assert!(matches!(Entity::of([("host", None)]), Err(QuotaError::EntityType { .. })));
        assert!(matches!(Entity::of([("ip", None), ("user", None)]), Err(QuotaError::Combination)));
        assert!(matches!(Entity::of([("ip", Some("localhost"))]), Err(QuotaError::Address { .. })));
        let mapped = Entity::of([("ip", Some("::ffff:10.0.0.1"))]).unwrap();
        assert_eq!(mapped.parts().collect::<Vec<_>>(), [("ip", Some("10.0.0.1"))]);
        assert!(
            mapped.takes(QuotaKey::ConnectionCreationRate).is_ok()
                && mapped.takes(QuotaKey::RequestPercentage).is_err()
        );
        assert!(
            both.takes(QuotaKey::RequestPercentage).is_ok() && both.takes(QuotaKey::ConnectionCreationRate).is_err()
        );
        // As it was stored before there were addresses.
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"{"user":{"Named":"a"},"client_id":"Default"}"#);
        assert!(matches!(Entity::of([("user", None), ("user", None)]), Err(QuotaError::Twice { .. })));
        assert!(matches!(Entity::of([("user", Some(""))]), Err(QuotaError::Length { .. })));
    }

    #[test]
    fn quotas_that_are_not_kept_are_refused() {
        for key in QuotaKey::ALL {
            assert_eq!(QuotaKey::named(key.name()).unwrap(), key);
        }
        assert!(matches!(QuotaKey::named("controller_mutation_rate"), Err(QuotaError::NotEnforced { .. })));
        assert!(
            checked(QuotaKey::RequestPercentage, 0.5).is_ok() && checked(QuotaKey::RequestPercentage, 0.0).is_err()
        );
        assert!(matches!(QuotaKey::named("x"), Err(QuotaError::UnknownKey { .. })));
        for bad in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
            assert!(checked(QuotaKey::ProducerByteRate, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_match_as_kafkas() {
        let of = |parts: &[(&'static str, Option<&'static str>)]| Entity::of(parts.iter().copied()).unwrap();
        let (user, both) = (of(&[("user", Some("a"))]), of(&[("user", Some("a")), ("client-id", None)]));
        let any_user = QuotaFilter { user: Some(Match::Any), ..QuotaFilter::default() };
        assert!(any_user.matches(&user) && any_user.matches(&both));
        let strict = QuotaFilter { strict: true, ..any_user };
        assert!(strict.matches(&user) && !strict.matches(&both));
        let default = Match::of_wire(1, None).unwrap();
        let default_client = QuotaFilter { client_id: Some(default), ..QuotaFilter::default() };
        assert!(!default_client.matches(&user) && default_client.matches(&both));
        assert!(QuotaFilter::default().matches(&user));
        assert!(Match::of_wire(0, None).is_err() && Match::of_wire(3, Some("a")).is_err());
    }
}
