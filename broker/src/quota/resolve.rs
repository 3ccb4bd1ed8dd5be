//! Which quota holds for a client: the most specific one, as Kafka orders them; and with whom it is shared.
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::model::{Entity, Name, QuotaKey, Quotas};

/// Those who share one rate: a client id of a user, all clients of a user, or a client id whoever uses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shared {
    /// Which rate.
    pub key: QuotaKey,
    /// The user, if the quota was found for one.
    pub user: Option<String>,
    /// The client id likewise.
    pub client_id: Option<String>,
}

/// All quotas.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QuotaTable {
    by_entity: BTreeMap<Entity, Quotas>,
    is_limited: [bool; QuotaKey::ALL.len()],
}

impl QuotaTable {
    /// Of what is set.
    #[must_use]
    pub fn new(by_entity: BTreeMap<Entity, Quotas>) -> QuotaTable {
        let is_limited = QuotaKey::ALL.map(|key| by_entity.values().any(|quotas| quotas.contains_key(&key)));
        QuotaTable { by_entity, is_limited }
    }

    /// What is set, by entity.
    pub fn iter(&self) -> impl Iterator<Item = (&Entity, &Quotas)> {
        self.by_entity.iter()
    }

    /// What is set for one entity.
    #[must_use]
    pub fn of(&self, entity: &Entity) -> Option<&Quotas> {
        self.by_entity.get(entity)
    }

    /// Entities with quotas.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_entity.len()
    }

    /// Whether nobody has a quota.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_entity.is_empty()
    }

    /// Connections in a second that hold for an address. `None` = no limit.
    #[must_use]
    pub fn limit_of_address(&self, ip: IpAddr) -> Option<f64> {
        const KEY: QuotaKey = QuotaKey::ConnectionCreationRate;
        if !self.is_limited[KEY as usize] {
            return None;
        }
        let of = |name| self.by_entity.get(&Entity { ip: Some(name), ..Entity::default() })?.get(&KEY).copied();
        of(Name::Named(ip.to_canonical().to_string())).or_else(|| of(Name::Default))
    }

    /// Whether anybody has a quota of this kind.
    #[must_use]
    pub fn limits(&self, key: QuotaKey) -> bool {
        self.is_limited[key as usize]
    }

    /// Bytes in a second that hold for a client, and with whom it shares them. `None` = no limit.
    #[must_use]
    pub fn limit(&self, key: QuotaKey, user: &str, client_id: &str) -> Option<(f64, Shared)> {
        if !self.is_limited[key as usize] {
            return None;
        }
        let named = |name: &str| Some(Name::Named(name.to_owned()));
        let users = [(named(user), true), (Some(Name::Default), true), (None, false)];
        let clients = [(named(client_id), true), (Some(Name::Default), true), (None, false)];
        for (user_part, by_user) in &users {
            for (client_part, by_client) in &clients {
                let entity = Entity { user: user_part.clone(), client_id: client_part.clone(), ip: None };
                let limit = self.by_entity.get(&entity).and_then(|quotas| quotas.get(&key));
                if let Some(limit) = limit {
                    let shared = Shared {
                        key,
                        user: by_user.then(|| user.to_owned()),
                        client_id: by_client.then(|| client_id.to_owned()),
                    };
                    return Some((*limit, shared));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: QuotaKey = QuotaKey::ProducerByteRate;

    /// `(user, client-id)`; `*` is the default, empty is absent.
    fn entity(user: &str, client_id: &str) -> Entity {
        let part = |name: &str| match name {
            "" => None,
            "*" => Some(Name::Default),
            name => Some(Name::Named(name.to_owned())),
        };
        Entity { user: part(user), client_id: part(client_id), ip: None }
    }

    /// Kafka's order of precedence (KIP-55), from the most specific on.
    const ORDER: [(&str, &str); 8] =
        [("u", "c"), ("u", "*"), ("u", ""), ("*", "c"), ("*", "*"), ("*", ""), ("", "c"), ("", "*")];

    #[test]
    fn the_most_specific_quota_holds() {
        for (from, (user, client)) in ORDER.into_iter().enumerate() {
            let quotas = ORDER.iter().enumerate().skip(from);
            let quotas = quotas.map(|(at, (user, client))| (entity(user, client), [(KEY, at as f64 + 1.0)].into()));
            let table = QuotaTable::new(quotas.collect());
            let (limit, shared) = table.limit(KEY, "u", "c").unwrap();
            assert_eq!(limit, from as f64 + 1.0);
            assert_eq!((shared.user.is_some(), shared.client_id.is_some()), (!user.is_empty(), !client.is_empty()));
            assert_eq!(table.limit(QuotaKey::ConsumerByteRate, "u", "c"), None);
        }
        assert_eq!(QuotaTable::default().limit(KEY, "u", "c"), None);
    }

    #[test]
    fn an_address_has_its_own_quota_or_the_default_one() {
        let of = |ip: Option<&str>| Entity::of([("ip", ip)]).unwrap();
        let rate = |value: f64| [(QuotaKey::ConnectionCreationRate, value)].into();
        let table = QuotaTable::new([(of(None), rate(5.0)), (of(Some("10.0.0.1")), rate(7.0))].into());
        for (ip, limit) in [("10.0.0.1", 7.0), ("::ffff:10.0.0.1", 7.0), ("10.0.0.2", 5.0), ("::1", 5.0)] {
            assert_eq!(table.limit_of_address(ip.parse().unwrap()), Some(limit), "{ip}");
        }
        assert_eq!(QuotaTable::default().limit_of_address([10, 0, 0, 1].into()), None);
        assert_eq!(table.limit(KEY, "u", "c"), None);
    }

    #[test]
    fn defaults_are_a_rate_for_each_and_not_one_for_all() {
        let table = QuotaTable::new([(entity("*", ""), [(KEY, 5.0)].into())].into());
        let shared = |user: &str, client: &str| table.limit(KEY, user, client).unwrap().1;
        assert_ne!(shared("a", "c"), shared("b", "c"));
        assert_eq!(shared("a", "c"), shared("a", "d"));
    }
}
