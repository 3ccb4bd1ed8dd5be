//! What can go wrong, as exceptions.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use weir_client::{ClientError, kafka_name};

create_exception!(weir, WeirError, PyException, "A broker could not be reached, refused, or sent what cannot be read.");
create_exception!(
    weir,
    QueryError,
    WeirError,
    "Columns or a predicate that cannot be used; the message names the place."
);

/// Why a reading stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The client's reason, with what to do about it.
    #[error("{source}{}", hint(source))]
    Client {
        #[from]
        source: ClientError,
    },
    /// Ctrl-C, or what another signal handler of Python raised.
    #[error("interrupted: {raised}")]
    Interrupted { raised: PyErr },
    /// Connections cannot be shared between processes.
    #[error("this reading began in process {pid}; begin one anew after a fork")]
    Forked { pid: u32 },
    /// A batch that does not fit the first one.
    #[error("the columns changed while they were read, from {first} to {now}")]
    SchemaChanged { first: String, now: String },
}

fn hint(error: &ClientError) -> String {
    error.hint().map(|hint| format!("\n{hint}")).unwrap_or_default()
}

impl From<ReadError> for PyErr {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Interrupted { raised } => raised,
            ReadError::Client { source } if is_about_query(&source) => QueryError::new_err(text),
            ReadError::Client { .. } | ReadError::Forked { .. } | ReadError::SchemaChanged { .. } => {
                WeirError::new_err(text)
            }
        }
    }
}

fn is_about_query(error: &ClientError) -> bool {
    let refused = error.code().is_some_and(|code| kafka_name(code) == "INVALID_REQUEST");
    refused || matches!(error, ClientError::InvalidQuery { .. })
}
