//! Listeners: accept connections within the limits, stop gracefully.
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Accepting, ConnectionLimits};
use crate::broker::{Advertised, Broker, Listener};
use crate::config::{self, SaslSettings};
use crate::security::tls::TlsConfigs;

const BACKLOG: i32 = 1024;
/// After an accept error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Keepalive finds clients that vanished without a word.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// A listener that has its port.
pub struct Bound {
    /// Its name and what clients are told.
    pub listener: Arc<Listener>,
    /// Where it listens.
    pub address: SocketAddr,
    guard: Arc<ListenerGuard>,
    socket: TcpListener,
}

/// What a listener asks of its clients.
pub struct ListenerGuard {
    /// Its name and what clients are told.
    pub listener: Arc<Listener>,
    /// None = plain text.
    pub tls: Option<Arc<TlsConfigs>>,
    /// None = no SASL.
    pub sasl: Option<SaslSettings>,
}

/// Opens a listener. Port 0 becomes a free one. `tls`: its certificates, if it has any.
pub async fn bind(listener: &config::Listener, tls: Option<Arc<TlsConfigs>>) -> io::Result<Bound> {
    let mut addresses = lookup_host((listener.bind.host.as_str(), listener.bind.port)).await?;
    let address = addresses.next().ok_or_else(|| io::Error::other("the host has no address"))?;
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into())?;
    let address = socket.local_addr()?;
    let advertised = match &listener.advertised {
        Some(told) => Advertised { host: told.host.clone(), port: told.port },
        None if address.ip().is_unspecified() => Advertised { host: this_host(address.ip()), port: address.port() },
        None => Advertised { host: listener.bind.host.clone(), port: address.port() },
    };
    let sasl = listener.security.sasl.clone();
    let listener = Arc::new(Listener { name: listener.name.clone(), advertised });
    let guard = Arc::new(ListenerGuard { listener: listener.clone(), tls, sasl });
    Ok(Bound { listener, address, guard, socket })
}

/// What clients can connect to when the broker listens everywhere and was not told its name: the machine's own.
fn this_host(unspecified: IpAddr) -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match (named.trim(), unspecified) {
        ("" | "(none)", IpAddr::V4(_)) => "127.0.0.1".to_owned(),
        ("" | "(none)", IpAddr::V6(_)) => "::1".to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// Counts open connections, all together and by address.
#[derive(Debug)]
pub struct ConnectionSlots {
    total: AtomicUsize,
    per_ip: AtomicUsize,
    open: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// An open connection's place; dropping it frees the place.
pub struct Slot {
    slots: Arc<ConnectionSlots>,
    ip: IpAddr,
}

impl ConnectionSlots {
    /// So many connections, and so many of one address.
    #[must_use]
    pub fn new(total: usize, per_ip: usize) -> Arc<ConnectionSlots> {
        let (total, per_ip) = (AtomicUsize::new(total), AtomicUsize::new(per_ip));
        Arc::new(ConnectionSlots { total, per_ip, open: Mutex::default() })
    }

    /// From now on so many; connections that are open stay.
    pub fn set_limits(&self, total: usize, per_ip: usize) {
        self.total.store(total, Ordering::Relaxed);
        self.per_ip.store(per_ip, Ordering::Relaxed);
    }

    /// A place, or the last part of the setting that refuses one.
    pub fn take(self: &Arc<Self>, ip: IpAddr) -> Result<Slot, &'static str> {
        let mut open = self.open.lock();
        let (all, by_ip) = &mut *open;
        if *all >= self.total.load(Ordering::Relaxed) {
            return Err("total");
        }
        let of_ip = by_ip.entry(ip).or_insert(0);
        if *of_ip >= self.per_ip.load(Ordering::Relaxed) {
            return Err("per.ip");
        }
        *of_ip += 1;
        *all += 1;
        Ok(Slot { slots: self.clone(), ip })
    }

    /// Connections that an address has now.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> usize {
        self.open.lock().1.get(&ip).copied().unwrap_or(0)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock();
        open.0 -= 1;
        if let Some(of_ip) = open.1.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                open.1.remove(&self.ip);
            }
        }
    }
}

/// What all listeners share.
#[derive(Clone)]
pub struct Net {
    /// Serves the requests.
    pub broker: Arc<Broker>,
    /// Bounds of each connection.
    pub limits: Arc<ConnectionLimits>,
    /// Bounds of their number.
    pub slots: Arc<ConnectionSlots>,
    /// The same of those that have not authenticated.
    pub pending: Arc<ConnectionSlots>,
    /// The connections still open.
    pub tracker: TaskTracker,
    /// Ends the accepting and the reading.
    pub stop: CancellationToken,
}

/// Accepts until `stop`.
pub async fn serve(net: Net, bound: Bound) {
    loop {
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            () = net.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, client_addr)) => admit(&net, &bound, stream, client_addr),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(net: &Net, bound: &Bound, stream: TcpStream, client_addr: SocketAddr) {
    let refuse = |setting: String| {
        net.broker.metrics.connection_refused();
        tracing::warn!(%client_addr, setting, "connection refused, the limit is reached");
    };
    let limits = &net.broker.dynamic.now().config.net;
    net.slots.set_limits(limits.max_connections, limits.max_connections_per_ip);
    let slot = match net.slots.take(client_addr.ip()) {
        Ok(slot) => slot,
        Err(limit) => return refuse(format!("max.connections.{limit}")),
    };
    if let Err(throttle) = net.broker.quotas.record_connection(net.broker.now_ms(), client_addr.ip()) {
        net.broker.metrics.connection_refused();
        // As in Kafka it is kept waiting before it is closed, so that a client which tries again at once is slowed down. It keeps its
        // place meanwhile.
        let stop = net.stop.clone();
        net.tracker.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(throttle.0)) => {}
                () = stop.cancelled() => {}
            }
            drop((stream, slot));
        });
        return;
    }
    let guarded = bound.guard.tls.is_some() || bound.guard.sasl.is_some();
    let pending = match guarded.then(|| net.pending.take(client_addr.ip())).transpose() {
        Ok(pending) => pending,
        Err(limit) => return refuse(format!("max.connections.unauthenticated.{limit}")),
    };
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%client_addr, %error, "cannot set keepalive");
    }
    let open = net.broker.metrics.connection_opened();
    let (net, guard) = (net.clone(), bound.guard.clone());
    let tracker = net.tracker.clone();
    tracker.spawn(async move {
        connection::run(net, guard, Accepting { stream, client_addr, pending }).await;
        drop((open, slot));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_total_and_by_address_and_come_back() {
        let slots = ConnectionSlots::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = slots.take(a).unwrap();
        let _second = slots.take(a).unwrap();
        assert_eq!(slots.take(a).err(), Some("per.ip"));
        let _third = slots.take(b).unwrap();
        assert_eq!(slots.take(b).err(), Some("total"));
        drop(first);
        assert!(slots.take(a).is_ok());
    }
}
