//! `Writer`: Arrow streams to a topic, without the GIL, heeding Ctrl-C.
//!
//! Batches come as the bytes of an Arrow IPC stream, which pyarrow writes without copying more than once: taking a capsule in
//! would need `unsafe` code here.

use std::pin::Pin;
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use arrow_ipc::reader::StreamReader;
use pyo3::prelude::*;
use tokio::runtime::Runtime;
use weir_client::ClientError;
use weir_client::columnar::ColumnWriter;

use crate::errors::{ReadError, WeirError};
use crate::options::client;
use crate::reading::attentively;
use crate::runtime;
use crate::security::Security;

/// Between two of these signals are looked for.
const SLICE: Duration = Duration::from_millis(100);

/// Writes batches to one topic, each stored once.
#[pyclass(frozen, module = "weir._native")]
pub(crate) struct Writer {
    pid: u32,
    runtime: &'static Runtime,
    writer: Mutex<ColumnWriter>,
}

#[pymethods]
impl Writer {
    #[new]
    #[pyo3(signature = (bootstrap, topic, partition=None, timeout=None, security=None))]
    fn new(
        py: Python<'_>,
        bootstrap: &str,
        topic: &str,
        partition: Option<i32>,
        timeout: Option<f64>,
        security: Option<&Security>,
    ) -> PyResult<Writer> {
        let query = client(py, bootstrap, timeout, security)?.topic(topic);
        let query = match partition {
            Some(partition) => query.partitions([partition]),
            None => query,
        };
        let (pid, runtime) = (std::process::id(), runtime::current(py)?);
        Ok(Writer { pid, runtime, writer: Mutex::new(query.writer()) })
    }

    /// Stores the batches of an Arrow IPC stream; returns how many rows that are.
    fn write(&self, py: Python<'_>, stream: &[u8]) -> PyResult<usize> {
        if self.pid != std::process::id() {
            return Err(ReadError::Forked { pid: self.pid }.into());
        }
        let failed = |error: arrow_schema::ArrowError| WeirError::new_err(error.to_string());
        let batches = StreamReader::try_new(stream, None).map_err(failed)?;
        let batches = batches.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        Ok(py.detach(|| self.send(&batches))?)
    }
}

impl Writer {
    fn send(&self, batches: &[arrow_array::RecordBatch]) -> Result<usize, ReadError> {
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let reason = "another thread is writing with this writer; give each thread its own";
                let (setting, value) = ("writer", String::new());
                return Err(ClientError::InvalidSetting { setting, value, reason }.into());
            }
        };
        // A guard stays on its thread; what it guards need not.
        let writer = &mut *writer;
        let mut work: Pin<Box<dyn Future<Output = weir_client::Result<usize>> + Send>> = Box::pin(async move {
            let mut rows = 0;
            for batch in batches {
                rows += writer_rows(writer.write(batch).await?);
            }
            Ok(rows)
        });
        attentively(|| {
            let slice = async { tokio::time::timeout(SLICE, &mut work).await };
            Ok(self.runtime.block_on(slice).ok().transpose()?)
        })
    }
}

fn writer_rows(written: Vec<weir_client::columnar::Written>) -> usize {
    written.iter().map(|part| part.rows).sum()
}
