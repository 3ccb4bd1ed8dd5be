//! One connection: a reading task that takes frames in and a writing task that sends answers in the order of requests.
//!
//! As in Kafka, the requests of a connection are worked on one after the other; only produce requests are queued as they
//! arrive, in order, while earlier answers are still awaited. A slow reader stops its own connection: at most
//! [`ConnectionLimits::pipeline`] requests wait, then nothing more is read.
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::frame::{Expected, FrameEnd, FrameReader};
use super::listener::{ListenerGuard, Net, Slot};
use super::write::write_all_chunks;
use crate::broker::{Broker, Connection};
use crate::config::{ByteCount, NetSettings, SecuritySettings};
use crate::metrics::tables::security as tables;
use crate::security::audit::AuditEvent;
use crate::security::sasl::Authenticator;
use crate::security::sasl::session::NotAdmitted;
use crate::security::tls::{self, TlsConfigs};
use weir_storage::memory::Reservation;

use crate::dispatch::{self, Accepted, Answer, Refused};

/// Bounds of every connection.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Largest frame.
    pub max_frame_bytes: usize,
    /// Longest silence between requests.
    pub idle: Duration,
    /// Longest silence within a frame, and while a client does not take its response.
    pub stall: Duration,
    /// Requests taken in before the first one is answered.
    pub pipeline: usize,
    /// Largest frame of a client that has not authenticated.
    pub pre_auth_frame_bytes: usize,
    /// Longest time until a client has authenticated.
    pub authentication: Duration,
}

impl ConnectionLimits {
    /// From the configuration; `request_max` is the largest request that memory allows.
    #[must_use]
    pub fn of(settings: &NetSettings, security: &SecuritySettings, request_max: ByteCount) -> ConnectionLimits {
        ConnectionLimits {
            max_frame_bytes: request_max.as_usize(),
            idle: settings.connections_max_idle,
            stall: settings.stall_timeout,
            pipeline: settings.requests_max,
            pre_auth_frame_bytes: security.pre_auth_max.min(request_max).as_usize(),
            authentication: security.auth_timeout,
        }
    }
}

/// Answers that are ready leave together up to this size.
const FLUSH_BYTES: usize = 256 << 10;

struct Queued {
    accepted: Accepted,
}

/// Why reading ended.
enum Ended {
    Frame(FrameEnd),
    Refused(Refused),
    /// The writing task ended first: it logged why.
    Writer,
    Stopping,
    /// Its client did not authenticate in time.
    AuthenticationTimeout(Duration),
    /// Its client failed to authenticate, which was logged; the answer is still sent.
    NotAuthenticated,
}

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// A connection that was accepted.
pub struct Accepting {
    pub stream: tokio::net::TcpStream,
    pub client_addr: SocketAddr,
    /// Its place among those that have not authenticated.
    pub pending: Option<Slot>,
}

/// Serves one connection to its end.
pub async fn run(net: Net, guard: Arc<ListenerGuard>, accepting: Accepting) {
    let Accepting { stream, client_addr, pending } = accepting;
    let id = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(id, %error, "cannot set TCP_NODELAY");
    }
    let deadline = Instant::now() + net.limits.authentication;
    let connection = Arc::new(Connection::new(id, client_addr, guard.listener.clone()));
    let authenticator = Authenticator::new(connection.clone(), guard.sasl.as_ref());
    let mut gate = Gate { authenticator, pending: Some((deadline, pending)) };
    let Net { broker, limits, stop, .. } = net;
    match &guard.tls {
        None => {
            gate.opened();
            let (input, output) = stream.into_split();
            serve(broker, connection, limits, gate, input, output, stop).await;
        }
        Some(configs) => {
            let Some(stream) = handshake(&broker, configs, &connection, deadline, stream).await else { return };
            // With SASL, who the client is comes later.
            if guard.sasl.is_none() && !connection.principal().is_anonymous() {
                gate.authenticator.take_place(&broker);
            }
            gate.opened();
            let (input, output) = tokio::io::split(stream);
            serve(broker, connection, limits, gate, input, output, stop).await;
        }
    }
}

/// TLS; None = it failed, which was logged.
async fn handshake(
    broker: &Broker,
    configs: &TlsConfigs,
    connection: &Connection,
    deadline: Instant,
    stream: tokio::net::TcpStream,
) -> Option<TlsStream<tokio::net::TcpStream>> {
    let (id, client, listener) = (connection.id, connection.client_addr, connection.listener.name.as_str());
    let count = |outcome| metrics::counter!(tables::TLS_HANDSHAKES.name, "outcome" => outcome).increment(1);
    match tokio::time::timeout_at(deadline, tls::accept(configs, stream)).await {
        Ok(Ok((stream, principal))) => {
            count("accepted");
            if let Some(principal) = principal {
                tracing::debug!(id, %client, %principal, "authenticated by its certificate");
                connection.authenticated(principal);
            }
            Some(stream)
        }
        Ok(Err(error)) => {
            count("refused");
            tracing::warn!(id, %client, listener, %error, "connection closed by the broker");
            let event = AuditEvent::AuthenticationFailed { mechanism: "TLS".to_owned(), user: None };
            broker.audit.record(&connection.principal(), client.ip(), None, &event);
            None
        }
        Err(_) => {
            count("refused");
            metrics::counter!(tables::AUTHENTICATION_TIMEOUTS.name).increment(1);
            tracing::warn!(id, %client, listener, "the TLS handshake took longer than `connections.authentication.timeout.ms`");
            None
        }
    }
}

/// What stands between a client and the broker until it has authenticated.
struct Gate {
    authenticator: Authenticator,
    /// Until when, and its place among those that wait.
    pending: Option<(Instant, Option<Slot>)>,
}

impl Gate {
    /// Frees the place of a client that has authenticated.
    fn opened(&mut self) {
        if self.authenticator.is_open() {
            self.pending = None;
        }
    }

    fn expected(&self, limits: &ConnectionLimits) -> Expected {
        let open = self.authenticator.is_open();
        let max_bytes = if open { limits.max_frame_bytes } else { limits.pre_auth_frame_bytes };
        Expected { max_bytes, raw: self.authenticator.expects_raw() }
    }
}

async fn serve<R, W>(
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    limits: Arc<ConnectionLimits>,
    gate: Gate,
    input: R,
    output: W,
    stop: CancellationToken,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (queue, queued) = mpsc::channel(limits.pipeline);
    let in_progress = Arc::new(AtomicUsize::new(0));
    let writer = Writer {
        broker: broker.clone(),
        connection: connection.clone(),
        stall: limits.stall,
        output,
        in_progress: in_progress.clone(),
        stop: stop.clone(),
    };
    let writer = tokio::spawn(writer.run(queued));
    let frames = FrameReader::new(input, broker.memory().clone());
    let ended = tokio::select! {
        ended = read_loop(&broker, &connection, &limits, gate, frames, &in_progress, &queue) => ended,
        () = queue.closed() => Ended::Writer,
        () = stop.cancelled() => Ended::Stopping,
    };
    drop(queue);
    let hostile = log_end(&connection, &ended);
    // What was accepted is still answered, except to a client that broke the protocol.
    if hostile {
        writer.abort();
    }
    let _ = writer.await; // a panic in a handler ends this connection only, and was reported by the panic hook
    broker.end_share_sessions(connection.id);
}

/// Logs why a connection ends; true if the client broke the protocol.
fn log_end(connection: &Connection, ended: &Ended) -> bool {
    let (id, client) = (connection.id, connection.client_addr);
    match ended {
        Ended::Writer | Ended::Stopping | Ended::NotAuthenticated => false,
        Ended::AuthenticationTimeout(waited) => {
            metrics::counter!(tables::AUTHENTICATION_TIMEOUTS.name).increment(1);
            tracing::warn!(id, %client, ?waited, "connection closed by the broker: its client did not authenticate within `connections.authentication.timeout.ms`");
            true
        }
        Ended::Frame(end) => match end {
            FrameEnd::ByClient | FrameEnd::Idle(_) | FrameEnd::Io(_) => {
                tracing::debug!(id, %client, reason = %end, "connection closed");
                false
            }
            FrameEnd::Stalled | FrameEnd::Overloaded { .. } => {
                tracing::warn!(id, %client, reason = %end, "connection closed by the broker");
                false
            }
            FrameEnd::BadLength { .. } | FrameEnd::Refused(_) => {
                tracing::warn!(id, %client, reason = %end, "connection closed by the broker");
                true
            }
        },
        // In the log already, as often as that helps.
        Ended::Refused(Refused::NotAdmitted(NotAdmitted::TurnedAway, _)) => true,
        Ended::Refused(refused) => {
            tracing::warn!(id, %client, reason = %refused, "connection closed by the broker");
            true
        }
    }
}

async fn read_loop<R: AsyncRead + Unpin>(
    broker: &Arc<Broker>,
    connection: &Arc<Connection>,
    limits: &ConnectionLimits,
    mut gate: Gate,
    mut frames: FrameReader<R>,
    in_progress: &AtomicUsize,
    queue: &mpsc::Sender<Queued>,
) -> Ended {
    let busy = || in_progress.load(Ordering::Acquire) > 0;
    loop {
        // Room first: a frame is not read before there is a place for it.
        let Ok(slot) = queue.reserve().await else { return Ended::Writer };
        let next = frames.next(limits, gate.expected(limits), &busy);
        let next = match &gate.pending {
            None => next.await,
            Some((deadline, _)) => match tokio::time::timeout_at(*deadline, next).await {
                Ok(next) => next,
                Err(_) => return Ended::AuthenticationTimeout(limits.authentication),
            },
        };
        let (frame, memory) = match next {
            Ok(frame) => frame,
            Err(end) => return Ended::Frame(end),
        };
        // A throttled client may send, and is not listened to.
        let silence = connection.mute.left(broker.now_ms());
        // A timer takes until its next tick, a millisecond or two, also for no time at all.
        if !silence.is_zero() {
            tokio::time::sleep(silence).await;
        }
        broker.metrics.bytes_in.increment(frame.len() as u64 + 4);
        // Awaited here, so that produce requests are queued in the order they came, and nothing is read in between while a
        // client authenticates.
        let accepted = match dispatch::accept(broker, connection, &mut gate.authenticator, frame, memory).await {
            Ok(accepted) => accepted,
            Err(refused) => return Ended::Refused(refused),
        };
        gate.opened();
        in_progress.fetch_add(1, Ordering::AcqRel);
        slot.send(Queued { accepted });
        if gate.authenticator.is_over() {
            return Ended::NotAuthenticated;
        }
    }
}

/// Works on requests in order and sends what they answer.
struct Writer<W> {
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    stall: Duration,
    output: W,
    in_progress: Arc<AtomicUsize>,
    stop: CancellationToken,
}

/// Answers that wait to be sent together.
#[derive(Default)]
struct Outgoing {
    chunks: Vec<Bytes>,
    bytes: usize,
    memory: Vec<Reservation>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn run(mut self, mut queued: mpsc::Receiver<Queued>) {
        let mut outgoing = Outgoing::default();
        loop {
            let next = match queued.try_recv() {
                Ok(next) => Some(next),
                Err(_) => {
                    if !self.flush(&mut outgoing).await {
                        return;
                    }
                    queued.recv().await
                }
            };
            let Some(Queued { mut accepted }) = next else { break };
            // Held until the answer has left.
            let memory = accepted.take_memory();
            let answer = self.answer(accepted, &mut outgoing).await;
            self.in_progress.fetch_sub(1, Ordering::AcqRel);
            match answer {
                Some(Answer::Send(chunks, hold)) => {
                    outgoing.bytes += chunks.iter().map(Bytes::len).sum::<usize>();
                    outgoing.chunks.extend(chunks);
                    outgoing.memory.extend(memory.into_iter().chain(hold));
                }
                Some(Answer::Silent) => {}
                Some(Answer::Close) | None => {
                    self.flush(&mut outgoing).await;
                    break;
                }
            }
            if outgoing.bytes >= FLUSH_BYTES && !self.flush(&mut outgoing).await {
                return;
            }
        }
        let _ = self.output.shutdown().await; // the client may have gone
    }

    /// The answer; None = close the connection. What is ready to go goes before a wait.
    async fn answer(&mut self, accepted: Accepted, outgoing: &mut Outgoing) -> Option<Answer> {
        let broker = self.broker.clone();
        let on_purpose = accepted.waits_on_purpose();
        let mut answer = pin!(dispatch::answer(&broker, accepted));
        let first = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        let answered = match first {
            Poll::Ready(answered) => answered,
            Poll::Pending => {
                if !self.flush(outgoing).await {
                    return None;
                }
                tokio::select! {
                    answered = &mut answer => answered,
                    // A client that waits for data finds out sooner by a closed connection than by an answer.
                    () = self.stop.cancelled(), if on_purpose => return None,
                }
            }
        };
        match answered {
            Ok(answer) => Some(answer),
            Err(refused) => {
                let (id, client) = (self.connection.id, self.connection.client_addr);
                match &refused {
                    Refused::Response { .. } => tracing::error!(id, %client, reason = %refused, "connection closed"),
                    _ => tracing::warn!(id, %client, reason = %refused, "connection closed by the broker"),
                }
                None
            }
        }
    }

    /// Sends everything; false if the client does not take it.
    async fn flush(&mut self, outgoing: &mut Outgoing) -> bool {
        if outgoing.chunks.is_empty() {
            return true;
        }
        let Outgoing { chunks, bytes, memory } = std::mem::take(outgoing);
        let sent = write_all_chunks(&mut self.output, chunks, self.stall).await;
        drop(memory);
        match sent {
            Ok(()) => {
                self.broker.metrics.bytes_out.increment(bytes as u64);
                true
            }
            Err(error) => {
                tracing::debug!(id = self.connection.id, %error, bytes, "response not sent, connection closed");
                false
            }
        }
    }
}
