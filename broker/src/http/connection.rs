//! Connections that cannot be kept for nothing: their number is limited, and one that stays silent is closed.
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Prometheus, a health check and a few people; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;

/// Longer than the usual scrape interval, so that a scraper keeps its connection.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// A listener that accepts while fewer than [`CONNECTIONS_MAX`] connections are open.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    silence_max: Duration,
}

impl BoundedListener {
    pub fn new(listener: TcpListener) -> BoundedListener {
        BoundedListener::with_limits(listener, CONNECTIONS_MAX, SILENCE_MAX)
    }

    pub fn with_limits(listener: TcpListener, connections_max: usize, silence_max: Duration) -> BoundedListener {
        BoundedListener { listener, slots: Arc::new(Semaphore::new(connections_max)), silence_max }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        // The semaphore is never closed; were it, a connection without a slot would only go uncounted.
        let slot = self.slots.clone().acquire_owned().await.ok();
        // The implementation of TcpListener logs and retries what can go wrong.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let silence = Box::pin(tokio::time::sleep(self.silence_max));
        (BoundedStream { stream, silence, silence_max: self.silence_max, _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails to read or write when nothing moved for too long. Gives its slot back when dropped.
pub(crate) struct BoundedStream {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _slot: Option<OwnedSemaphorePermit>,
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
        let moved = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch(cx, moved)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, moved)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
