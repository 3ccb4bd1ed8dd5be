//! A reading that blocks its caller: without the GIL, and looking out for Ctrl-C.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use pyo3::prelude::*;
use tokio::runtime::Runtime;
use weir_client::columnar::{ColumnBatch, ColumnReader, ReadStatistics, TopicQuery};

use crate::errors::ReadError;
use crate::progress::Progress;

/// How long one wait takes; between two of them signals are looked for and progress is drawn.
const SLICE: Duration = Duration::from_millis(100);

/// Python runs signal handlers in its main thread only. Known once a reading was begun there.
static MAIN_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// Notes the thread of the caller if it is Python's main thread.
pub(crate) fn note_main_thread(py: Python<'_>) -> PyResult<()> {
    let threading = py.import("threading")?;
    let current = threading.call_method0("current_thread")?;
    if current.is(threading.call_method0("main_thread")?) {
        MAIN_THREAD.get_or_init(|| std::thread::current().id());
    }
    Ok(())
}

/// What a reading cost; outlives it.
pub(crate) type SharedStatistics = Arc<Mutex<ReadStatistics>>;

/// What has connections.
struct Source {
    query: TopicQuery,
    reader: ColumnReader,
}

/// Batches of a topic, one by one.
pub(crate) struct Reading {
    pid: u32,
    runtime: &'static Runtime,
    /// Always there until it is dropped.
    source: Option<Source>,
    waiting: VecDeque<ColumnBatch>,
    schema: Option<SchemaRef>,
    progress: Progress,
    statistics: SharedStatistics,
    ended: bool,
}

impl Reading {
    pub(crate) fn new(runtime: &'static Runtime, query: TopicQuery, progress: Progress) -> Self {
        Self {
            pid: std::process::id(),
            runtime,
            source: Some(Source { reader: query.clone().reader(), query }),
            waiting: VecDeque::new(),
            schema: None,
            progress,
            statistics: SharedStatistics::default(),
            ended: false,
        }
    }

    pub(crate) fn statistics(&self) -> SharedStatistics {
        self.statistics.clone()
    }

    /// Looks up partitions and ends, so that what is wrong with those is told at once.
    pub(crate) fn begin(&mut self) -> Result<(), ReadError> {
        let (runtime, Some(source)) = (self.runtime, &mut self.source) else { return Ok(()) };
        attentively(|| Ok(Some(runtime.block_on(source.reader.begin())?)))
    }

    /// The next batch; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<ColumnBatch>, ReadError> {
        self.fill()?;
        Ok(self.waiting.pop_front())
    }

    /// The schema of all batches: that of the first one, or, if there is none, what the topic says.
    pub(crate) fn schema(&mut self) -> Result<SchemaRef, ReadError> {
        if self.schema.is_none() {
            self.fill()?;
        }
        if let Some(schema) = &self.schema {
            return Ok(schema.clone());
        }
        let (runtime, Some(source)) = (self.runtime, &self.source) else { return Ok(SchemaRef::new(Schema::empty())) };
        let schema = attentively(|| Ok(Some(runtime.block_on(source.query.schema())?)))?;
        self.schema = Some(schema.clone());
        Ok(schema)
    }

    /// Waits until there is a batch, or the end.
    fn fill(&mut self) -> Result<(), ReadError> {
        if self.pid != std::process::id() {
            return Err(ReadError::Forked { pid: self.pid });
        }
        if !self.waiting.is_empty() || self.ended {
            return Ok(());
        }
        let waited = attentively(|| self.wait());
        self.ended = waited.is_err() || self.waiting.is_empty();
        waited?;
        let Some(now) = self.waiting.front().map(|batch| batch.rows.schema()) else { return Ok(()) };
        match &self.schema {
            Some(first) if *first != now => {
                Err(ReadError::SchemaChanged { first: first.to_string(), now: now.to_string() })
            }
            Some(_) => Ok(()),
            None => {
                self.schema = Some(now);
                Ok(())
            }
        }
    }

    /// One slice of waiting; nothing if it is to be continued.
    fn wait(&mut self) -> Result<Option<()>, ReadError> {
        let Some(source) = &mut self.source else { return Ok(Some(())) };
        let batches = self.runtime.block_on(source.reader.poll(SLICE))?;
        self.waiting.extend(batches);
        let done = source.reader.statistics();
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = done;
        if self.progress.is_shown() {
            if !self.progress.has_total()
                && let Some(total) = total(&source.reader, done.rows_scanned)
            {
                self.progress.set_total(total);
            }
            self.progress.update(&done);
        }
        Ok((!self.waiting.is_empty() || source.reader.is_at_end()).then_some(()))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            // Its sockets are registered with the parent's runtime, which closing them from here would disturb.
            std::mem::forget(self.source.take());
        }
    }
}

/// Rows between start and end, once both are known.
fn total(reader: &ColumnReader, scanned: u64) -> Option<u64> {
    let (ends, positions) = (reader.ends(), reader.positions());
    if ends.is_empty() || positions.len() < ends.len() {
        return None;
    }
    let left: i64 = ends.iter().map(|(key, end)| (end - positions.get(key).unwrap_or(end)).max(0)).sum();
    Some(scanned + u64::try_from(left).unwrap_or(0))
}

/// Runs `step` until it has a result. In Python's main thread the GIL is given up meanwhile and signals are heeded in between.
/// Elsewhere the GIL is left alone: whether this thread has it cannot be told, and waiting for it could wait for whoever waits for
/// this thread. Whoever calls from Python gives it up first.
pub(crate) fn attentively<T: Send>(
    mut step: impl FnMut() -> Result<Option<T>, ReadError> + Send,
) -> Result<T, ReadError> {
    let is_main = MAIN_THREAD.get() == Some(&std::thread::current().id());
    loop {
        let stepped = if is_main {
            let attached = Python::try_attach(|py| {
                let stepped = py.detach(&mut step);
                py.check_signals().map_err(|raised| ReadError::Interrupted { raised })?;
                stepped
            });
            // No interpreter any more: nobody is left to interrupt.
            attached.unwrap_or_else(&mut step)
        } else {
            step()
        };
        if let Some(result) = stepped? {
            return Ok(result);
        }
    }
}

/// The reading as Arrow's C stream interface wants it.
pub(crate) struct ArrowReader {
    pub(crate) reading: Reading,
    pub(crate) schema: SchemaRef,
}

impl Iterator for ArrowReader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reading.next() {
            Ok(batch) => batch.map(|batch| Ok(batch.rows)),
            Err(error) => {
                if let ReadError::Interrupted { .. } = &error {
                    interrupt_again();
                }
                Some(Err(ArrowError::ExternalError(Box::new(error))))
            }
        }
    }
}

/// A C stream can only hand on text. The consumer raises what it makes of it, and then Python raises KeyboardInterrupt.
fn interrupt_again() {
    let again = Python::try_attach(|py| py.import("_thread")?.call_method0("interrupt_main").map(drop));
    // Without an interpreter, or with one that refuses, the error text is all there is.
    drop(again);
}

impl RecordBatchReader for ArrowReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
