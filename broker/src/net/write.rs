//! Responses leave: many chunks in few vectored writes, record data uncopied.
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Chunks per write; the kernel takes at most 1,024.
const SLICES_MAX: usize = 256;

/// Writes all chunks in order. A write of which nothing is taken for `stall` fails.
pub async fn write_all_chunks(
    out: &mut (impl AsyncWrite + Unpin),
    chunks: Vec<Bytes>,
    stall: Duration,
) -> io::Result<()> {
    let mut chunks = VecDeque::from(chunks);
    chunks.retain(|c| !c.is_empty());
    while !chunks.is_empty() {
        let slices: Vec<IoSlice<'_>> = chunks.iter().take(SLICES_MAX).map(|c| IoSlice::new(c)).collect();
        let mut written = tokio::time::timeout(stall, out.write_vectored(&slices)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            // The kernel never takes more than it was given.
            let Some(front) = chunks.front_mut() else { break };
            let step = written.min(front.len());
            front.advance(step);
            written -= step;
            if front.is_empty() {
                chunks.pop_front();
            }
        }
    }
    // TLS keeps what the socket did not take.
    tokio::time::timeout(stall, out.flush()).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn chunks_arrive_whole_and_in_order_through_a_narrow_pipe() {
        let (mut near, mut far) = tokio::io::duplex(7);
        let chunks: Vec<Bytes> = (0..600u32).map(|i| Bytes::from(i.to_string())).collect();
        let expected: Vec<u8> = chunks.concat();
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut got).await.unwrap();
            got
        });
        write_all_chunks(&mut near, chunks, Duration::from_secs(10)).await.unwrap();
        drop(near);
        assert_eq!(reader.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn client_that_takes_nothing_is_given_up() {
        let (mut near, _far) = tokio::io::duplex(7);
        let chunks = vec![Bytes::from_static(&[0; 100])];
        let error = write_all_chunks(&mut near, chunks, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
