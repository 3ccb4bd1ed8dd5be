//! `read` and `stream`: their arguments as a query.

use std::time::Duration;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use weir_client::admin::Isolation;
use weir_client::columnar::{Codecs, ReadUntil, TopicQuery};
use weir_client::consumer::StartAt;
use weir_client::{Client, ClientConfig, parse_brokers};

use crate::errors::ReadError;
use crate::progress::Progress;
use crate::reading::{Reading, note_main_thread};
use crate::rows::Rows;
use crate::runtime;
use crate::security::Security;

/// Reads a topic up to its end, as it is now (or up to `end`).
///
/// See the type stubs for what the arguments mean.
#[pyfunction]
#[pyo3(signature = (bootstrap, topic, columns=None, r#where=None, *, start=None, end=None, partitions=None,
    read_committed=false, codecs=None, in_windows=false, fetch_bytes=None, timeout=None, security=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "they are keyword arguments")]
pub(crate) fn read(
    py: Python<'_>,
    bootstrap: &str,
    topic: &str,
    columns: Option<Vec<String>>,
    r#where: Option<String>,
    start: Option<Bound<'_, PyAny>>,
    end: Option<Bound<'_, PyAny>>,
    partitions: Option<Vec<i32>>,
    read_committed: bool,
    codecs: Option<Vec<String>>,
    in_windows: bool,
    fetch_bytes: Option<i32>,
    timeout: Option<f64>,
    security: Option<&Security>,
    progress: Option<bool>,
) -> PyResult<Rows> {
    let until = end.as_ref().map(parse_end).transpose()?.unwrap_or(ReadUntil::End);
    let what = What { columns, predicate: r#where, start, partitions, read_committed, codecs, in_windows, fetch_bytes };
    let client = client(py, bootstrap, timeout, security)?;
    open(py, &client, topic, what, until, progress)
}

/// Reads a topic and goes on with what is written to it (up to `end`, if there is one).
///
/// See the type stubs for what the arguments mean.
#[pyfunction]
#[pyo3(signature = (bootstrap, topic, columns=None, r#where=None, *, start=None, end=None, partitions=None,
    read_committed=false, codecs=None, in_windows=false, fetch_bytes=None, timeout=None, security=None, progress=false))]
#[expect(clippy::too_many_arguments, reason = "they are keyword arguments")]
pub(crate) fn stream(
    py: Python<'_>,
    bootstrap: &str,
    topic: &str,
    columns: Option<Vec<String>>,
    r#where: Option<String>,
    start: Option<Bound<'_, PyAny>>,
    end: Option<Bound<'_, PyAny>>,
    partitions: Option<Vec<i32>>,
    read_committed: bool,
    codecs: Option<Vec<String>>,
    in_windows: bool,
    fetch_bytes: Option<i32>,
    timeout: Option<f64>,
    security: Option<&Security>,
    progress: Option<bool>,
) -> PyResult<Rows> {
    let until = end.as_ref().map(parse_end).transpose()?.unwrap_or(ReadUntil::Forever);
    let what = What { columns, predicate: r#where, start, partitions, read_committed, codecs, in_windows, fetch_bytes };
    let client = client(py, bootstrap, timeout, security)?;
    open(py, &client, topic, what, until, progress)
}

/// What to read.
struct What<'py> {
    columns: Option<Vec<String>>,
    predicate: Option<String>,
    start: Option<Bound<'py, PyAny>>,
    partitions: Option<Vec<i32>>,
    read_committed: bool,
    codecs: Option<Vec<String>>,
    in_windows: bool,
    fetch_bytes: Option<i32>,
}

fn open(
    py: Python<'_>,
    client: &Client,
    topic: &str,
    what: What<'_>,
    until: ReadUntil,
    progress: Option<bool>,
) -> PyResult<Rows> {
    let query = query(client, topic, what)?.until(until);
    let mut reading = Reading::new(runtime::current(py)?, query, Progress::new(progress, topic));
    py.detach(|| reading.begin())?;
    Ok(Rows::new(topic, reading))
}

/// A client of its own for each reading and each writer; also notes which thread is Python's main one.
pub(crate) fn client(
    py: Python<'_>,
    bootstrap: &str,
    timeout: Option<f64>,
    security: Option<&Security>,
) -> PyResult<Client> {
    note_main_thread(py)?;
    let client_error = |source| PyErr::from(ReadError::Client { source });
    let bootstrap = parse_brokers(bootstrap).map_err(client_error)?;
    let mut config = ClientConfig { bootstrap, client_id: "weir-python".to_owned(), ..ClientConfig::default() };
    if let Some(seconds) = timeout {
        let limit = Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero());
        let limit = limit.ok_or_else(|| PyValueError::new_err("timeout is a number of seconds above 0"))?;
        config.request_timeout = limit;
        config.connect_timeout = limit.min(config.connect_timeout);
        config.retry_timeout = limit;
    }
    if let Some(security) = security {
        (config.tls, config.sasl) = security.parts();
    }
    Client::new(config).map_err(client_error)
}

fn query(client: &Client, topic: &str, what: What<'_>) -> PyResult<TopicQuery> {
    let mut query = client.topic(topic);
    if let Some(columns) = what.columns {
        query = query.columns(columns);
    }
    if let Some(predicate) = what.predicate {
        query = query.filter(predicate);
    }
    if let Some(start) = &what.start {
        query = query.start(parse_start(start)?);
    }
    if let Some(partitions) = what.partitions {
        query = query.partitions(partitions);
    }
    if what.read_committed {
        query = query.isolation(Isolation::ReadCommitted);
    }
    if let Some(codecs) = &what.codecs {
        query = query.codecs(parse_codecs(codecs)?);
    }
    if what.in_windows {
        query = query.in_windows();
    }
    if let Some(bytes) = what.fetch_bytes {
        if bytes <= 0 {
            return Err(PyValueError::new_err("fetch_bytes is a number of bytes above 0"));
        }
        query = query.fetch_bytes((bytes / 4).max(1), bytes);
    }
    Ok(query)
}

fn parse_codecs(names: &[String]) -> PyResult<Codecs> {
    let mut codecs = Codecs::NONE;
    for name in names {
        match name.as_str() {
            "lz4" => codecs.lz4 = true,
            "zstd" => codecs.zstd = true,
            other => {
                let reason = format!("codecs are \"lz4\" and \"zstd\" (none: plain columns), not {other:?}");
                return Err(PyValueError::new_err(reason));
            }
        }
    }
    Ok(codecs)
}

fn parse_start(value: &Bound<'_, PyAny>) -> PyResult<StartAt> {
    if let Ok(text) = value.extract::<String>() {
        return match text.as_str() {
            "start" | "earliest" => Ok(StartAt::Earliest),
            "end" | "latest" => Ok(StartAt::Latest),
            other => {
                Err(PyValueError::new_err(format!("start is \"start\", \"end\", an offset or a time, not {other:?}")))
            }
        };
    }
    if let Ok(offset) = value.extract::<i64>() {
        return Ok(if offset >= 0 { StartAt::Offset(offset) } else { StartAt::BeforeEnd(offset.saturating_neg()) });
    }
    milliseconds(value)?.map(StartAt::Timestamp).ok_or_else(|| wrong_type("start", value))
}

fn parse_end(value: &Bound<'_, PyAny>) -> PyResult<ReadUntil> {
    if let Ok(text) = value.extract::<String>() {
        return match text.as_str() {
            "end" | "latest" => Ok(ReadUntil::End),
            other => Err(PyValueError::new_err(format!("end is \"end\", an offset or a time, not {other:?}"))),
        };
    }
    if let Ok(offset) = value.extract::<i64>() {
        return if offset >= 0 {
            Ok(ReadUntil::Offset(offset))
        } else {
            Err(PyValueError::new_err("end cannot be a negative offset"))
        };
    }
    milliseconds(value)?.map(ReadUntil::Timestamp).ok_or_else(|| wrong_type("end", value))
}

fn wrong_type(name: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let found = value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} is a str, an int (an offset) or a datetime, not {found}"))
}

/// Milliseconds since 1970 of a datetime. One without a zone is taken as UTC, as in predicates.
fn milliseconds(value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    let datetime = value.py().import("datetime")?;
    if !value.is_instance(&datetime.getattr("datetime")?)? {
        return Ok(None);
    }
    let value = if value.getattr("tzinfo")?.is_none() {
        let kwargs = pyo3::types::PyDict::new(value.py());
        kwargs.set_item("tzinfo", datetime.getattr("timezone")?.getattr("utc")?)?;
        value.call_method("replace", (), Some(&kwargs))?
    } else {
        value.clone()
    };
    let seconds: f64 = value.call_method0("timestamp")?.extract()?;
    Ok(Some((seconds * 1000.0).round() as i64))
}
