//! `weir._native`: the Rust client's readers of columns as Python objects with the Arrow PyCapsule interface.
//!
//! | file | what |
//! |---|---|
//! | `options.rs` | arguments of `read` and `stream` -> a query |
//! | `reading.rs` | a reading that blocks: without the GIL, heeding Ctrl-C |
//! | `rows.rs` | `Rows` and `Batch`, and their capsules |
//! | `writing.rs` | `Writer`: Arrow streams to a topic |
//! | `table.rs` | the columns of a typed topic |
//! | `security.rs` | `Security`: TLS and SASL |
//! | `runtime.rs` | one runtime per process, a new one after a fork |
//! | `progress.rs` | the progress line |
//! | `errors.rs` | exceptions |
//!
//! Nothing here is `unsafe`: PyO3's capsules and Arrow's C structures own what they point to.

mod errors;
mod options;
mod progress;
mod reading;
mod rows;
mod runtime;
mod security;
mod table;
mod writing;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("WeirError", py.get_type::<errors::WeirError>())?;
    module.add("QueryError", py.get_type::<errors::QueryError>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<rows::Rows>()?;
    module.add_class::<rows::Batch>()?;
    module.add_class::<writing::Writer>()?;
    module.add_class::<security::Security>()?;
    module.add_function(wrap_pyfunction!(options::read, module)?)?;
    module.add_function(wrap_pyfunction!(options::stream, module)?)?;
    module.add_function(wrap_pyfunction!(table::table_schema, module)?)?;
    Ok(())
}
