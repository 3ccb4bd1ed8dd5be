//! A reading as an async stream: a task reads, at most one answer ahead of who takes the batches.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::statistics::Counters;
use super::{ColumnBatch, ColumnReader, ReadStatistics};
use crate::error::Result;

/// How long one poll waits; it is only the pace at which the task looks at itself.
const POLL: Duration = Duration::from_secs(1);

/// Batches of a reading, in offset order within each partition (unless [in windows](super::TopicQuery::in_windows)). Ends after the first error, and at the end if there is one.
/// Dropping it ends the reading.
pub struct ColumnStream {
    batches: mpsc::Receiver<Result<ColumnBatch>>,
    counters: Arc<Counters>,
    task: AbortHandle,
}

impl ColumnStream {
    pub(crate) fn start(reader: ColumnReader) -> Self {
        let (sender, batches) = mpsc::channel(1);
        let counters = reader.counters();
        let task = tokio::spawn(read(reader, sender)).abort_handle();
        Self { batches, counters, task }
    }

    /// The next batch; none at the end.
    pub async fn next(&mut self) -> Option<Result<ColumnBatch>> {
        self.batches.recv().await
    }

    /// What the reading cost so far.
    pub fn statistics(&self) -> ReadStatistics {
        self.counters.sums()
    }
}

async fn read(mut reader: ColumnReader, sender: mpsc::Sender<Result<ColumnBatch>>) {
    loop {
        let polled = reader.poll(POLL).await;
        let failed = polled.is_err();
        let items = match polled {
            Ok(batches) => batches.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        for item in items {
            if sender.send(item).await.is_err() {
                return;
            }
        }
        if failed || reader.is_at_end() {
            return;
        }
    }
}

impl Stream for ColumnStream {
    type Item = Result<ColumnBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(context)
    }
}

impl Drop for ColumnStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
