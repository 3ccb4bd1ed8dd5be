//! How bytes reach a broker. TLS and SASL tunnels plug in here: a [`Connector`] returns any byte stream, and the layers above
//! never learn what carries it.

use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::BrokerAddress;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// The future that a [`Connector`] returns.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Makes the byte stream to a broker.
pub trait Connector: Send + Sync + 'static {
    /// Opens a stream on which the Kafka protocol can start.
    fn connect<'a>(&'a self, address: &'a BrokerAddress) -> Connecting<'a>;
}

/// Plain TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, address: &'a BrokerAddress) -> Connecting<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
            // Requests are small and already coalesced by the writer; waiting for more would only add latency.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}
