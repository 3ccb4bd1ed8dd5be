//! Connections that cannot be kept for nothing: their number is limited, also by address and by principal, and one that stays
//! silent is closed.
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use crate::broker::Broker;
use crate::metrics::tables::connections::CONNECTIONS_REFUSED;
use crate::net::{ConnectionSlots, Slot};
use crate::security::Principal;
use crate::security::places::{NoPlace, PrincipalPlace};
use crate::security::tls::{self, HandshakeError, TlsConfigs};
use crate::security::web::WebGate;

/// Prometheus, a health check and a few people; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 128;

/// Refusals are in the log once in so long.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Longer than the usual scrape interval, so that a scraper keeps its connection.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// A listener that accepts while fewer than [`CONNECTIONS_MAX`] connections are open.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    tls: Option<Arc<TlsConfigs>>,
    slots: Arc<Semaphore>,
    /// Those of each address: at most three quarters, so that one client cannot keep all others waiting.
    by_address: Arc<ConnectionSlots>,
    silence_max: Duration,
    gate: Option<Arc<WebGate>>,
    /// When a refusal was in the log, and how many were not since.
    told: (Option<Instant>, u64),
}

/// Who is at the other end of a connection; handlers find it among a request's extensions.
#[derive(Clone)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    certificate: Arc<OnceLock<Arc<Principal>>>,
    place: Arc<Mutex<Option<PrincipalPlace>>>,
}

impl Peer {
    /// Who they are by their certificate, once the handshake is done; requests come after it.
    #[must_use]
    pub fn principal(&self) -> Option<Arc<Principal>> {
        self.certificate.get().cloned()
    }

    /// Counts the connection among those of `principal`, whose request it carries. Each request says anew whose it is: of several (a
    /// proxy's) the last one counts.
    pub fn take_place(&self, broker: &Broker, principal: &Arc<Principal>, listener: &str) -> Result<(), NoPlace> {
        let mut place = self.place.lock();
        if place.as_ref().is_none_or(|place| place.principal() != principal) {
            // Given back before another is taken, also where there is none.
            *place = None;
            *place = Some(broker.place_of(principal, self.address, listener)?);
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Peer {
        stream.io().peer.clone()
    }
}

impl BoundedListener {
    /// `tls`: None = plain text. `gate` is told of handshakes that fail.
    pub fn new(listener: TcpListener, tls: Option<Arc<TlsConfigs>>, gate: Arc<WebGate>) -> BoundedListener {
        BoundedListener::with_limits(listener, tls, CONNECTIONS_MAX, SILENCE_MAX).before(gate)
    }

    /// The same, telling `gate` of handshakes that fail.
    pub fn before(mut self, gate: Arc<WebGate>) -> BoundedListener {
        self.gate = Some(gate);
        self
    }

    pub fn with_limits(
        listener: TcpListener,
        tls: Option<Arc<TlsConfigs>>,
        connections_max: usize,
        silence_max: Duration,
    ) -> BoundedListener {
        // In all it is the semaphore that counts.
        let by_address = ConnectionSlots::new(usize::MAX, connections_max.div_ceil(4) * 3);
        let slots = Arc::new(Semaphore::new(connections_max));
        BoundedListener { listener, tls, slots, by_address, silence_max, gate: None, told: (None, 0) }
    }

    /// The next connection whose address has not as many as it may. Others are closed at once.
    async fn accept_fairly(&mut self) -> (TcpStream, SocketAddr, Slot) {
        loop {
            // The implementation of TcpListener logs and retries what can go wrong.
            let (stream, client) = Listener::accept(&mut self.listener).await;
            match self.by_address.take(client.ip()) {
                Ok(place) => return (stream, client, place),
                Err(_) => self.refused(client),
            }
        }
    }

    /// Anybody can cause these: they are in the log once in a while.
    fn refused(&mut self, client: SocketAddr) {
        metrics::counter!(CONNECTIONS_REFUSED.name).increment(1);
        let (last, not_logged) = self.told;
        if last.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
            self.told.1 += 1;
            return;
        }
        self.told = (Some(Instant::now()), 0);
        let open = self.by_address.of(client.ip());
        tracing::warn!(%client, open, not_logged, "HTTP connection refused, its address has as many as it may");
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        // The semaphore is never closed; were it, a connection without a slot would only go uncounted.
        let slot = self.slots.clone().acquire_owned().await.ok();
        let (stream, address, place) = self.accept_fairly().await;
        let silence = Box::pin(tokio::time::sleep(self.silence_max));
        let stream = match &self.tls {
            None => Carrier::Plain(stream),
            Some(configs) => {
                let accept = TlsAcceptor::from(configs.current()).accept(stream);
                Carrier::Handshake(Box::new(Shaking { accept, configs: configs.clone(), gate: self.gate.clone() }))
            }
        };
        let peer = Peer { address, certificate: Arc::default(), place: Arc::default() };
        (BoundedStream { stream, peer, silence, silence_max: self.silence_max, _slots: (slot, place) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What carries the bytes. The handshake happens with the first read, so that accepting waits for nobody.
enum Carrier {
    Plain(TcpStream),
    Handshake(Box<Shaking>),
    Tls(Box<TlsStream<TcpStream>>),
    /// The handshake failed.
    Refused,
}

/// A handshake that goes on.
struct Shaking {
    accept: Accept<TcpStream>,
    configs: Arc<TlsConfigs>,
    gate: Option<Arc<WebGate>>,
}

impl Shaking {
    /// The stream, once there is one; `peer` is told whose it is.
    fn poll(&mut self, cx: &mut Context<'_>, peer: &Peer) -> Poll<Result<TlsStream<TcpStream>, HandshakeError>> {
        let stream = std::task::ready!(Pin::new(&mut self.accept).poll(cx))?;
        if let Some(principal) = tls::principal_of(&self.configs, stream.get_ref().1)? {
            let _ = peer.certificate.set(principal); // set once, here
        }
        Poll::Ready(Ok(stream))
    }
}

impl Carrier {
    /// Drives the handshake, then `act` on the stream below.
    fn drive<T>(
        &mut self,
        peer: &Peer,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut (dyn Duplex + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Carrier::Handshake(handshake) = self {
            *self = match std::task::ready!(handshake.poll(cx, peer)) {
                Ok(stream) => Carrier::Tls(Box::new(stream)),
                Err(error) => {
                    if let Some(gate) = &handshake.gate {
                        gate.handshake_refused(peer.address, &error);
                    }
                    Carrier::Refused
                }
            };
        }
        match self {
            Carrier::Plain(stream) => act(Pin::new(stream), cx),
            Carrier::Tls(stream) => act(Pin::new(&mut **stream), cx),
            Carrier::Refused => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Carrier::Handshake(_) => Poll::Pending, // not reached: it became something else above
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Duplex for T {}

/// A connection that fails to read or write when nothing moved for too long. Gives its slot back when dropped.
pub(crate) struct BoundedStream {
    stream: Carrier,
    peer: Peer,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _slots: (Option<OwnedSemaphorePermit>, Slot),
}

impl BoundedStream {
    /// Bytes moved: the silence starts anew. None moved: it may have lasted too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.silence.as_mut().reset(Instant::now() + self.silence_max);
            return moved;
        }
        match self.silence.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let moved = {
            let this = &mut *self;
            this.stream.drive(&this.peer, cx, |stream, cx| stream.poll_read(cx, buffer))
        };
        self.watch(cx, moved)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let moved = {
            let this = &mut *self;
            this.stream.drive(&this.peer, cx, |stream, cx| stream.poll_write(cx, bytes))
        };
        self.watch(cx, moved)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.stream.drive(&this.peer, cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.stream.drive(&this.peer, cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
