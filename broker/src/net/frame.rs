//! Frames: a length of 4 bytes, then so many bytes.
//!
//! A length is a claim. Memory is reserved in steps and buffers grow in steps, each after the bytes of the one before have
//! arrived (NET-1); a connection that has sent large frames before gets room for the next one at once. Only the first
//! bytes of a frame are looked at, so that garbage is dropped before it is read.
//!
//! A frame is an allocation of its own and of its own size: a batch of it may stay in memory for long, and keeps all of it.
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use weir_storage::memory::{MemoryBudget, Reservation, Share};

use super::ConnectionLimits;
use crate::dispatch::{Refused, check_served};

/// Room for the next read when nothing is known yet. Idle connections hold at most this.
const READ_STEP: usize = 8 << 10;
/// The first step of a frame.
const FRAME_STEP: usize = 64 << 10;
/// The largest first step that earlier frames can earn.
const FRAME_STEP_MAX: usize = 4 << 20;
/// A request header is at least so long: key, version, correlation id.
const FRAME_MIN: usize = 8;

/// Why no frame came.
#[derive(Debug, Error)]
pub enum FrameEnd {
    /// The stream ended between frames, or inside one.
    #[error("the client closed it")]
    ByClient,
    /// Nothing came for too long.
    #[error("nothing was asked for {0:?}")]
    Idle(Duration),
    /// The rest of a frame did not come.
    #[error("the client stopped in the middle of a frame")]
    Stalled,
    /// No memory for the frame.
    #[error("no memory for a frame of {length} bytes within {waited:?} (setting `memory.limit`)")]
    Overloaded {
        /// Its length.
        length: usize,
        /// How long it waited.
        waited: Duration,
    },
    /// Not a length.
    #[error(
        "a frame of {length} bytes was announced; {FRAME_MIN} to {limit} are possible (setting `socket.request.max.bytes`, at most \
         an eighth of `memory.limit`; before authentication `sasl.server.max.receive.size`). Is it a Kafka client, and does it \
         use TLS only where the listener does?"
    )]
    BadLength {
        /// What the first four bytes say.
        length: i32,
        /// The limit.
        limit: usize,
    },
    /// The first bytes are those of no request that is served.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What the next frame may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its largest size.
    pub max_bytes: usize,
    /// A token of SASL without a request header.
    pub raw: bool,
}

/// Cuts frames from a stream.
pub struct FrameReader<R> {
    input: R,
    buffer: BytesMut,
    budget: MemoryBudget,
    /// How much this connection may claim at once.
    earned: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(input: R, budget: MemoryBudget) -> FrameReader<R> {
        FrameReader { input, buffer: BytesMut::new(), budget, earned: FRAME_STEP }
    }

    /// The next frame without its length, and the memory reserved for it. `busy` tells whether earlier requests are still
    /// being worked on: then silence is not idleness.
    pub async fn next(
        &mut self,
        limits: &ConnectionLimits,
        expected: Expected,
        busy: &(dyn Fn() -> bool + Sync),
    ) -> Result<(BytesMut, Reservation), FrameEnd> {
        while self.buffer.len() < 4 {
            let wait = if self.buffer.is_empty() { limits.idle } else { limits.stall };
            match self.read(READ_STEP, wait).await {
                Err(FrameEnd::Stalled) if self.buffer.is_empty() && busy() => {}
                Err(FrameEnd::Stalled) if self.buffer.is_empty() => return Err(FrameEnd::Idle(limits.idle)),
                result => result?,
            }
        }
        let length = i32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]);
        let smallest = if expected.raw { 1 } else { FRAME_MIN };
        let size = usize::try_from(length).ok().filter(|size| (smallest..=expected.max_bytes).contains(size));
        let Some(size) = size else {
            return Err(FrameEnd::BadLength { length, limit: expected.max_bytes });
        };
        if expected.raw {
            return self.finish(size, limits).await;
        }
        while self.buffer.len() < 8 {
            self.read(READ_STEP, limits.stall).await?;
        }
        let word = |at: usize| i16::from_be_bytes([self.buffer[at], self.buffer[at + 1]]);
        check_served(word(4), word(6))?;
        self.finish(size, limits).await
    }

    /// Reads a frame into a buffer of its own.
    async fn finish(&mut self, size: usize, limits: &ConnectionLimits) -> Result<(BytesMut, Reservation), FrameEnd> {
        self.buffer.advance(4);
        let mut memory = self.reserve(size.min(self.earned), size, limits).await?;
        let mut frame = BytesMut::with_capacity(memory.bytes());
        let here = self.buffer.len().min(memory.bytes());
        frame.extend_from_slice(&self.buffer.split_to(here));
        while frame.len() < size {
            if frame.len() == memory.bytes() {
                // What came so far backs a claim of as much again.
                let step = memory.bytes().min(size - memory.bytes());
                let more = self.reserve(step, size, limits).await?;
                if memory.merge(more).is_err() {
                    return Err(FrameEnd::Overloaded { length: size, waited: limits.stall });
                }
                let mut larger = BytesMut::with_capacity(memory.bytes());
                larger.extend_from_slice(&frame);
                frame = larger;
                let here = self.buffer.len().min(memory.bytes() - frame.len());
                frame.extend_from_slice(&self.buffer.split_to(here));
                continue;
            }
            let missing = memory.bytes() - frame.len();
            let mut room = (&mut frame).limit(missing);
            arrived(tokio::time::timeout(limits.stall, self.input.read_buf(&mut room)).await)?;
        }
        self.earned = self.earned.max(size.min(FRAME_STEP_MAX));
        Ok((frame, memory))
    }

    async fn reserve(&self, bytes: usize, length: usize, limits: &ConnectionLimits) -> Result<Reservation, FrameEnd> {
        // Partly read frames could otherwise hold the whole budget and wait for each other.
        tokio::time::timeout(limits.stall, self.budget.reserve(Share::Requests, bytes))
            .await
            .map_err(|_| FrameEnd::Overloaded { length, waited: limits.stall })
    }

    /// Reads something, with room for `room` bytes.
    async fn read(&mut self, room: usize, wait: Duration) -> Result<(), FrameEnd> {
        if self.buffer.capacity() - self.buffer.len() < room.min(READ_STEP) {
            self.buffer.reserve(room);
        }
        arrived(tokio::time::timeout(wait, self.input.read_buf(&mut self.buffer)).await)
    }
}

fn arrived(read: Result<std::io::Result<usize>, tokio::time::error::Elapsed>) -> Result<(), FrameEnd> {
    match read {
        Err(_) => Err(FrameEnd::Stalled),
        Ok(Ok(0)) => Err(FrameEnd::ByClient),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
    }
}
