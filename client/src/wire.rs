//! Frames over one byte stream: many requests in flight, answers matched in order.
//!
//! Kafka answers a connection's requests in the order they were sent, so the pending calls are a queue and the correlation id is
//! only a check. One task writes and one reads; when either fails, every waiting call fails with the same reason and the
//! stream is dropped. A response is never larger than the limit, and its buffer grows with the bytes that really arrive.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::error::{ClientError, Result};
use crate::transport::Stream;

/// Requests that may wait for the writer; more makes callers wait.
const OUTGOING_MAX: usize = 64;
/// First allocation for a response, and the step by which it grows.
const READ_STEP_BYTES: usize = 256 << 10;
/// Frames smaller than this are joined into one write.
const COALESCE_BYTES: usize = 16 << 10;

struct Outgoing {
    correlation: i32,
    frame: Bytes,
    /// None for a request that is never answered (Produce with acks=0).
    reply: Option<oneshot::Sender<Result<Bytes>>>,
}

struct Pending {
    correlation: i32,
    reply: oneshot::Sender<Result<Bytes>>,
}

enum State {
    Open { pending: VecDeque<Pending>, next_correlation: i32 },
    Closed(ClientError),
}

struct Shared {
    broker: String,
    frame_bytes_max: usize,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every statement, so a panicking holder leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, reason: ClientError) {
        let previous = {
            let mut state = self.lock();
            if matches!(*state, State::Closed(_)) {
                return;
            }
            std::mem::replace(&mut *state, State::Closed(reason.clone()))
        };
        if let State::Open { pending, .. } = previous {
            for waiting in pending {
                // A caller that gave up has dropped its receiver; there is nobody to tell.
                let _ = waiting.reply.send(Err(reason.clone()));
            }
        }
    }

    fn lost(&self, reason: impl Into<String>) -> ClientError {
        ClientError::Disconnected { broker: self.broker.clone(), reason: reason.into() }
    }
}

/// A pipelined stream of frames. Dropping it closes the stream once everything handed over was written.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    reader: AbortHandle,
    writer: AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        // The writer ends by itself when its channel is empty: a request without an answer must still leave.
        self.reader.abort();
    }
}

impl Wire {
    /// Takes over a connected stream; `broker` names it in errors.
    pub(crate) fn start(stream: Box<dyn Stream>, broker: String, frame_bytes_max: usize) -> Self {
        let shared = Arc::new(Shared {
            broker,
            frame_bytes_max,
            state: Mutex::new(State::Open { pending: VecDeque::new(), next_correlation: 0 }),
        });
        let (outgoing, requests) = mpsc::channel(OUTGOING_MAX);
        let (read_half, write_half) = tokio::io::split(stream);
        let reader = tokio::spawn(read_responses(read_half, shared.clone())).abort_handle();
        let writer = tokio::spawn(write_requests(write_half, requests, shared.clone())).abort_handle();
        Self { shared, outgoing, reader, writer }
    }

    pub(crate) fn broker(&self) -> &str {
        &self.shared.broker
    }

    /// Why the stream ended, if it did.
    pub(crate) fn closed(&self) -> Option<ClientError> {
        match &*self.shared.lock() {
            State::Open { .. } => None,
            State::Closed(reason) => Some(reason.clone()),
        }
    }

    /// Ends the stream; all waiting calls fail with `reason`.
    pub(crate) fn close(&self, reason: ClientError) {
        self.shared.close(reason);
        self.reader.abort();
        self.writer.abort();
    }

    /// Hands a request to the writer. `encode` gets the correlation id and returns the frame including its length.
    /// Requests leave in the order in which these calls return.
    pub(crate) async fn send(
        &self,
        answered: bool,
        encode: impl FnOnce(i32) -> Result<Bytes>,
    ) -> Result<Option<oneshot::Receiver<Result<Bytes>>>> {
        let permit = match self.outgoing.reserve().await {
            Ok(permit) => permit,
            Err(_) => return Err(self.closed().unwrap_or_else(|| self.shared.lost("its writer ended"))),
        };
        let correlation = match &mut *self.shared.lock() {
            State::Open { next_correlation, .. } => {
                let correlation = *next_correlation;
                *next_correlation = next_correlation.wrapping_add(1) & i32::MAX;
                correlation
            }
            State::Closed(reason) => return Err(reason.clone()),
        };
        let frame = encode(correlation)?;
        let (reply, answer) = oneshot::channel();
        permit.send(Outgoing { correlation, frame, reply: answered.then_some(reply) });
        Ok(answered.then_some(answer))
    }
}

async fn write_requests(
    mut stream: WriteHalf<Box<dyn Stream>>,
    mut requests: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
) {
    let mut joined = BytesMut::new();
    while let Some(first) = requests.recv().await {
        let mut next = Some(first);
        while let Some(request) = next {
            if let Some(reply) = request.reply {
                let mut state = shared.lock();
                match &mut *state {
                    // Queued before the bytes leave, so that the reader always finds the call an answer belongs to.
                    State::Open { pending, .. } => {
                        pending.push_back(Pending { correlation: request.correlation, reply });
                    }
                    State::Closed(reason) => {
                        let _ = reply.send(Err(reason.clone()));
                        return;
                    }
                }
            }
            let written = if request.frame.len() < COALESCE_BYTES {
                joined.extend_from_slice(&request.frame);
                Ok(())
            } else {
                write_joined(&mut stream, &mut joined).await.and(stream.write_all(&request.frame).await)
            };
            if let Err(error) = written {
                return shared.close(shared.lost(format!("writing failed: {error}")));
            }
            next = if joined.len() < COALESCE_BYTES { requests.try_recv().ok() } else { None };
        }
        let flushed = match write_joined(&mut stream, &mut joined).await {
            Ok(()) => stream.flush().await,
            failed => failed,
        };
        if let Err(error) = flushed {
            return shared.close(shared.lost(format!("writing failed: {error}")));
        }
    }
    // All handles are gone. A failing shutdown changes nothing: the stream is dropped next.
    let _ = stream.shutdown().await;
}

async fn write_joined(stream: &mut WriteHalf<Box<dyn Stream>>, joined: &mut BytesMut) -> std::io::Result<()> {
    if !joined.is_empty() {
        stream.write_all(joined).await?;
        joined.clear();
    }
    Ok(())
}

async fn read_responses(mut stream: ReadHalf<Box<dyn Stream>>, shared: Arc<Shared>) {
    loop {
        match read_frame(&mut stream, &shared).await.and_then(|frame| deliver(frame, &shared)) {
            Ok(()) => {}
            Err(reason) => return shared.close(reason),
        }
    }
}

async fn read_frame(stream: &mut ReadHalf<Box<dyn Stream>>, shared: &Shared) -> Result<Bytes> {
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => shared.lost("the broker closed it"),
        _ => shared.lost(format!("reading failed: {error}")),
    };
    let announced = stream.read_i32().await.map_err(lost)?;
    let length = match usize::try_from(announced) {
        Ok(length) if length <= shared.frame_bytes_max => length,
        _ => {
            return Err(ClientError::FrameTooLarge {
                broker: shared.broker.clone(),
                bytes: i64::from(announced),
                bytes_max: shared.frame_bytes_max,
            });
        }
    };
    if length < 4 {
        return Err(shared.lost(format!("it sent a frame of {length} bytes, too short for a response")));
    }
    let mut frame = BytesMut::with_capacity(length.min(READ_STEP_BYTES));
    let mut rest = AsyncReadExt::take(stream, length as u64);
    while frame.len() < length {
        if frame.capacity() == frame.len() {
            // Doubling keeps large frames linear; what was announced but never arrives is not allocated.
            frame.reserve((length - frame.len()).min(frame.len().max(READ_STEP_BYTES)));
        }
        if rest.read_buf(&mut frame).await.map_err(lost)? == 0 {
            return Err(shared.lost("the broker closed it in the middle of a response"));
        }
    }
    Ok(frame.freeze())
}

fn deliver(frame: Bytes, shared: &Shared) -> Result<()> {
    let correlation = (&frame[..4]).get_i32();
    let waiting = match &mut *shared.lock() {
        State::Open { pending, .. } => pending.pop_front(),
        State::Closed(reason) => return Err(reason.clone()),
    };
    let Some(waiting) = waiting else {
        return Err(shared.lost(format!("it answered request {correlation}, which was never sent")));
    };
    if waiting.correlation != correlation {
        let reason = shared.lost(format!("it answered request {correlation} instead of {}", waiting.correlation));
        let _ = waiting.reply.send(Err(reason.clone()));
        return Err(reason);
    }
    let _ = waiting.reply.send(Ok(frame));
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    fn start(frame_bytes_max: usize) -> (Wire, DuplexStream) {
        let (near, far) = tokio::io::duplex(64 << 10);
        (Wire::start(Box::new(near), "test:1".into(), frame_bytes_max), far)
    }

    fn request(correlation: i32) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(&[&4_i32.to_be_bytes()[..], &correlation.to_be_bytes()].concat()))
    }

    async fn answer(far: &mut DuplexStream, correlation: i32, body: &[u8]) {
        far.write_i32(4 + body.len() as i32).await.unwrap();
        far.write_i32(correlation).await.unwrap();
        far.write_all(body).await.unwrap();
    }

    #[tokio::test]
    async fn pipelined_requests_get_their_answers_in_order() {
        let (wire, mut far) = start(1 << 20);
        let first = wire.send(true, request).await.unwrap().unwrap();
        assert!(wire.send(false, request).await.unwrap().is_none());
        let second = wire.send(true, request).await.unwrap().unwrap();
        let mut seen = [0; 24];
        far.read_exact(&mut seen).await.unwrap();
        assert_eq!([seen[7], seen[15], seen[23]], [0, 1, 2]);
        answer(&mut far, 0, b"one").await;
        answer(&mut far, 2, &vec![7; 50_000]).await;
        assert_eq!(&first.await.unwrap().unwrap()[4..], b"one");
        assert_eq!(second.await.unwrap().unwrap().len(), 50_004);
    }

    #[tokio::test]
    async fn an_answer_to_another_request_ends_the_connection() {
        let (wire, mut far) = start(1 << 20);
        let waiting = wire.send(true, request).await.unwrap().unwrap();
        // Answering before the request was read would be answering nothing.
        far.read_exact(&mut [0; 8]).await.unwrap();
        answer(&mut far, 9, b"").await;
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("answered request 9 instead of 0"), "{error}");
        assert!(wire.closed().is_some());
        assert!(wire.send(true, request).await.is_err());
    }

    #[tokio::test]
    async fn oversized_negative_and_tiny_frames_are_refused() {
        for length in [1 << 20, -1, 3] {
            let (wire, mut far) = start(1 << 10);
            let waiting = wire.send(true, request).await.unwrap().unwrap();
            far.write_i32(length).await.unwrap();
            let error = waiting.await.unwrap().unwrap_err();
            assert!(error.to_string().contains(&length.to_string()), "{error}");
        }
    }

    #[tokio::test]
    async fn a_closed_stream_fails_everything_that_waits() {
        let (wire, mut far) = start(1 << 10);
        let first = wire.send(true, request).await.unwrap().unwrap();
        let second = wire.send(true, request).await.unwrap().unwrap();
        far.read_exact(&mut [0; 16]).await.unwrap();
        drop(far);
        for waiting in [first, second] {
            assert!(matches!(waiting.await.unwrap(), Err(ClientError::Disconnected { .. })));
        }
    }
}
