//! `Rows`, a reading in Python's hands, and `Batch`, some of its rows.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, StructArray};
use arrow_schema::ArrowError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyTuple};
use weir_client::columnar::{ColumnBatch, ReadStatistics};

use crate::errors::{ReadError, WeirError};
use crate::reading::{ArrowReader, Reading, SharedStatistics};

fn arrow_error(error: ArrowError) -> PyErr {
    WeirError::new_err(error.to_string())
}

/// A reading of a topic. It is used once: as an Arrow stream (pyarrow, Polars, pandas, DuckDB, ...) or batch by batch. What calls
/// other libraries is Python (`weir.Rows`): below a frame of this module PyO3 believes to have the GIL, and libraries that take a
/// stream give it up.
#[pyclass(frozen, module = "weir")]
pub(crate) struct Rows {
    topic: String,
    /// None once the reading was handed on or closed.
    reading: Mutex<Option<Reading>>,
    statistics: SharedStatistics,
}

impl Rows {
    pub(crate) fn new(topic: &str, reading: Reading) -> Self {
        Self { topic: topic.to_owned(), statistics: reading.statistics(), reading: Mutex::new(Some(reading)) }
    }

    /// Never waits: who has the lock may be waiting for the GIL, which the caller has.
    fn lock(&self) -> PyResult<MutexGuard<'_, Option<Reading>>> {
        match self.reading.try_lock() {
            Ok(reading) => Ok(reading),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(WeirError::new_err("another thread is taking rows of this reading; give each thread its own"))
            }
        }
    }

    fn sums(&self) -> ReadStatistics {
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used_up() -> PyErr {
    WeirError::new_err("the rows were taken already, or the reading was closed; begin a new one")
}

#[pymethods]
impl Rows {
    /// The reading as an `arrow_array_stream` capsule, which takes it over.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The protocol leaves it to the producer whether it can follow this wish.
        drop(requested_schema);
        let mut reading = self.lock()?.take().ok_or_else(used_up)?;
        let schema = py.detach(|| reading.schema())?;
        let stream = FFI_ArrowArrayStream::new(Box::new(ArrowReader { reading, schema }));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }

    /// The schema of the rows as an `arrow_schema` capsule. Waits for the first batch.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let mut guard = self.lock()?;
        let reading = guard.as_mut().ok_or_else(used_up)?;
        let schema = py.detach(|| reading.schema())?;
        let schema = FFI_ArrowSchema::try_from(schema.as_ref()).map_err(arrow_error)?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let mut guard = self.lock()?;
        let reading = guard.as_mut().ok_or_else(used_up)?;
        let next: Result<Option<ColumnBatch>, ReadError> = py.detach(|| reading.next());
        Ok(next?.map(|batch| Batch { batch }))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    /// Ends the reading. What a stream was made of ends with the stream.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let reading = self.lock()?.take();
        py.detach(|| drop(reading));
        Ok(())
    }

    /// Name of the topic.
    #[getter]
    fn topic(&self) -> &str {
        &self.topic
    }

    /// What the reading cost so far, as a dict of counters.
    #[getter]
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let sums = self.sums();
        let counters = PyDict::new(py);
        for (name, value) in [
            ("rows_scanned", sums.rows_scanned),
            ("rows_returned", sums.rows_returned),
            ("rows_errored", sums.rows_errored),
            ("bytes_scanned", sums.bytes_scanned),
            ("bytes_received", sums.bytes_received),
            ("columnar_answers", sums.columnar_answers),
            ("record_answers", sums.record_answers),
        ] {
            counters.set_item(name, value)?;
        }
        Ok(counters)
    }

    fn __repr__(&self) -> String {
        let sums = self.sums();
        format!("<weir.Rows of {:?}, {} of {} rows>", self.topic, sums.rows_returned, sums.rows_scanned)
    }
}

/// Rows of one partition, in offset order.
#[pyclass(frozen, module = "weir")]
pub(crate) struct Batch {
    batch: ColumnBatch,
}

#[pymethods]
impl Batch {
    /// The rows as a pair of capsules, `arrow_schema` and `arrow_array`.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        drop(requested_schema);
        let array = FFI_ArrowArray::new(&StructArray::from(self.batch.rows.clone()).to_data());
        Ok((self.__arrow_c_schema__(py)?, PyCapsule::new_with_value(py, array, c"arrow_array")?))
    }

    /// The schema of the rows as an `arrow_schema` capsule.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.batch.rows.schema_ref().as_ref()).map_err(arrow_error)?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    fn __len__(&self) -> usize {
        self.batch.rows.num_rows()
    }

    /// Number of rows.
    #[getter]
    fn num_rows(&self) -> usize {
        self.batch.rows.num_rows()
    }

    /// Name of the topic.
    #[getter]
    fn topic(&self) -> &str {
        &self.batch.topic
    }

    /// The partition.
    #[getter]
    fn partition(&self) -> i32 {
        self.batch.partition
    }

    /// Offset of the first row.
    #[getter]
    fn first_offset(&self) -> Option<i64> {
        self.batch.offsets.get(0)
    }

    /// Offset of the last row.
    #[getter]
    fn last_offset(&self) -> Option<i64> {
        self.batch.offsets.last()
    }

    /// The offset of each row.
    #[getter]
    fn offsets(&self) -> Vec<i64> {
        self.batch.offsets.iter().collect()
    }

    fn __repr__(&self) -> String {
        let batch = &self.batch;
        let (first, last) = (batch.offsets.get(0).unwrap_or(-1), batch.offsets.last().unwrap_or(-1));
        format!(
            "<weir.Batch of {} rows of {}-{}, offsets {first} to {last}>",
            batch.rows.num_rows(),
            batch.topic,
            batch.partition
        )
    }
}
