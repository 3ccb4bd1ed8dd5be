//! Connections and requests as handlers see them: who asks, from where, through which listener, and how long they are muted.
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::Broker;
use crate::metrics::tables::security as tables;
use crate::quota::{Mute, QuotaKey, Stopwatch, Throttle};
use crate::security::Principal;
use crate::security::places::{NoPlace, PrincipalPlace};

/// The address that clients of a listener are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    pub host: String,
    pub port: u16,
}

/// One listener as its connections see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub advertised: Advertised,
}

impl Broker {
    /// A place for a connection of `principal`, from `client` to the listener of that name. A refusal is counted and logged.
    pub fn place_of(
        &self,
        principal: &Arc<Principal>,
        client: SocketAddr,
        listener: &str,
    ) -> Result<PrincipalPlace, NoPlace> {
        let limit = self.dynamic.now().config.net.max_connections_per_principal;
        self.security.places.take(principal, limit, self.now_ms()).inspect_err(|full| {
            metrics::counter!(tables::PRINCIPAL_CONNECTIONS_REFUSED.name).increment(1);
            if let Some(not_logged) = full.tell {
                tracing::warn!(%client, listener, %principal, limit = full.limit, not_logged, "connection refused, its principal has as many as `max.connections.per.principal` allows");
            }
        })
    }
}

/// One connection as its requests see it.
#[derive(Debug)]
pub struct Connection {
    pub id: u64,
    pub client_addr: SocketAddr,
    pub listener: Arc<Listener>,
    /// Until when it is not read from.
    pub mute: Arc<Mute>,
    principal: ArcSwap<Principal>,
    /// Its place among those of its principal.
    place: OnceLock<PrincipalPlace>,
}

impl Connection {
    /// A connection of somebody who has not said who they are.
    #[must_use]
    pub fn new(id: u64, client_addr: SocketAddr, listener: Arc<Listener>) -> Connection {
        let principal = ArcSwap::new(Principal::anonymous());
        Connection { id, client_addr, listener, mute: Arc::default(), principal, place: OnceLock::new() }
    }

    /// Who the client has proved to be so far.
    #[must_use]
    pub fn principal(&self) -> Arc<Principal> {
        self.principal.load_full()
    }

    /// From now on requests are those of `principal`.
    pub fn authenticated(&self, principal: Arc<Principal>) {
        self.principal.store(principal);
    }

    /// Takes a place among the connections of `principal` and keeps it to the end; once it has one, that stays its place.
    pub fn take_place(&self, broker: &Broker, principal: &Arc<Principal>) -> Result<(), NoPlace> {
        if self.place.get().is_some() {
            return Ok(());
        }
        let place = broker.place_of(principal, self.client_addr, &self.listener.name)?;
        // One task authenticates a connection, so nobody else has set it.
        let _ = self.place.set(place);
        Ok(())
    }

    /// Facts for the handler of a request that was just read.
    #[must_use]
    pub fn request(&self, client_id: Option<String>, watch: Option<Arc<Stopwatch>>) -> RequestContext {
        RequestContext {
            connection_id: self.id,
            client_addr: self.client_addr,
            client_id,
            listener: self.listener.clone(),
            mute: self.mute.clone(),
            principal: self.principal(),
            watch,
        }
    }
}

/// Facts about one request that its handler may need.
#[derive(Debug, Clone)]
pub struct RequestContext {
    pub connection_id: u64,
    pub client_addr: SocketAddr,
    pub client_id: Option<String>,
    pub listener: Arc<Listener>,
    /// Until when the connection is not read from.
    pub mute: Arc<Mute>,
    /// Who asks: what the connection had proved when the request was read.
    pub principal: Arc<Principal>,
    /// How long this request has occupied a thread; `None` while nobody has a quota of that.
    pub watch: Option<Arc<Stopwatch>>,
}

impl RequestContext {
    /// Counts the time that the request has occupied a thread against the client's quota of that.
    pub fn meter_time(&self, broker: &Broker) -> Throttle {
        let Some(watch) = &self.watch else { return Throttle::default() };
        self.meter_amount(broker, QuotaKey::RequestPercentage, watch.elapsed().as_secs_f64() * 100.0)
    }

    pub fn advertised(&self) -> &Advertised {
        &self.listener.advertised
    }

    /// Counts bytes against the client's quota. The connection is not read from for as long as this tells.
    pub fn meter(&self, broker: &Broker, key: QuotaKey, bytes: usize) -> Throttle {
        self.meter_amount(broker, key, bytes as f64)
    }

    /// The same in the unit of the quota.
    pub fn meter_amount(&self, broker: &Broker, key: QuotaKey, amount: f64) -> Throttle {
        let now_ms = broker.now_ms();
        let client_id = self.client_id.as_deref().unwrap_or_default();
        let throttle = broker.quotas.record_amount(now_ms, key, &self.principal.name, client_id, amount);
        if throttle.0 > 0 {
            let (principal, throttle_ms) = (&self.principal, throttle.0);
            tracing::debug!(%principal, client_id, quota = key.name(), throttle_ms, "quota exceeded");
            self.mute.extend(now_ms, throttle);
        }
        throttle
    }

    /// The name of the listener that the client came through.
    pub fn listener_name(&self) -> &str {
        &self.listener.name
    }

    /// The client's address as Kafka's tools show it: `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        format!("/{}", self.client_addr.ip())
    }
}
