//! The columns of a typed topic, also of one without rows.

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_schema::SchemaRef;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors::WeirError;
use crate::options::client;
use crate::reading::attentively;
use crate::runtime;
use crate::security::Security;

/// A schema in the form of the Arrow PyCapsule interface.
#[pyclass(frozen, module = "weir._native")]
pub(crate) struct Schema {
    schema: SchemaRef,
}

#[pymethods]
impl Schema {
    /// The schema as an `arrow_schema` capsule.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.schema.as_ref());
        let schema = schema.map_err(|error| WeirError::new_err(error.to_string()))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }
}

/// The columns of a topic's table; None of an untyped one.
#[pyfunction]
#[pyo3(signature = (bootstrap, topic, timeout=None, security=None))]
pub(crate) fn table_schema(
    py: Python<'_>,
    bootstrap: &str,
    topic: &str,
    timeout: Option<f64>,
    security: Option<&Security>,
) -> PyResult<Option<Schema>> {
    let query = client(py, bootstrap, timeout, security)?.topic(topic);
    let runtime = runtime::current(py)?;
    let schema = py.detach(|| attentively(|| Ok(Some(runtime.block_on(query.table_schema())?))))?;
    Ok(schema.map(|schema| Schema { schema }))
}
