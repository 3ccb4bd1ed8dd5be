"""Topics of Weir, and of other Kafka-protocol brokers, as Arrow streams.

    import pyarrow, weir
    rows = weir.read("127.0.0.1:9092", "flights", columns=["carrier", "dep_delay"], where="dep_delay > 60")
    table = pyarrow.table(rows)

``read`` ends at the end of the topic, ``stream`` goes on with what is written. Both return :class:`Rows`, which has the Arrow
PyCapsule interface: pyarrow, Polars, pandas and DuckDB take it without copying values.
"""

from . import _native
from ._native import Batch, QueryError, Security, WeirError, __version__

__all__ = ["Batch", "QueryError", "Rows", "Security", "WeirError", "__version__", "read", "schema", "stream", "write"]


class Rows:
    """A reading of a topic. It is used once: as an Arrow stream, or batch by batch."""

    __slots__ = ("_rows",)

    def __init__(self, rows):
        self._rows = rows

    @property
    def topic(self):
        """Name of the topic."""
        return self._rows.topic

    @property
    def statistics(self):
        """What the reading cost so far, as a dict of counters; also after it was handed on."""
        return self._rows.statistics

    def to_arrow(self):
        """The reading as a ``pyarrow.RecordBatchReader``."""
        import pyarrow

        return pyarrow.RecordBatchReader.from_stream(self)

    def to_pandas(self):
        """All rows as a ``pandas.DataFrame`` (needs pyarrow)."""
        import pyarrow

        return pyarrow.table(self).to_pandas()

    def to_polars(self):
        """All rows as a ``polars.DataFrame``."""
        import polars

        return polars.DataFrame(self)

    def close(self):
        """Ends the reading. What was handed on ends with whoever took it."""
        self._rows.close()

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._rows)

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.close()

    def __arrow_c_schema__(self):
        return self._rows.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema=None):
        return self._rows.__arrow_c_stream__(requested_schema)

    def __repr__(self):
        return repr(self._rows)


def read(bootstrap, topic, columns=None, where=None, **options):
    """Reads a topic up to its end as it is now.

    bootstrap: brokers to ask first, ``host:port``, separated by commas.
    columns: which columns, in this order; None is every user column (of an untyped topic ``_key, _value, _headers,
        _timestamp``). Members of structs by their path (``user.city``); system columns by name (``_offset``).
    where: SQL expression; only rows for which it is true. Names are case-sensitive.
    start: where to start in each partition: "start", "end", an offset (negative: so many before the end) or a datetime. One
        without a zone is UTC.
    end: where to stop, at the latest at the end as it is now: an offset or a datetime, neither included.
    partitions: only these.
    read_committed: leave out rows of aborted and open transactions.
    codecs: compressions of columns to accept, "lz4" and "zstd"; None is all, an empty list plain columns.
    in_windows: of a topic with ``weir.cluster.by``, rows as they are stored, window by window; batches of one window are not in
        offset order, which is less work for the broker.
    fetch_bytes: bytes to fetch ahead, about.
    timeout: seconds to wait for one answer of a broker, and to retry.
    security: a :class:`Security`, for brokers with TLS or passwords.
    progress: show a progress line on stderr; None: on a terminal.

    Raises QueryError for columns and predicates that cannot be used (at the first batch), WeirError for all else.
    """
    return Rows(_native.read(bootstrap, topic, columns, where, **options))


def stream(bootstrap, topic, columns=None, where=None, **options):
    """Reads a topic and waits for what is written to it. Options as for :func:`read`; without ``end`` it never ends."""
    return Rows(_native.stream(bootstrap, topic, columns, where, **options))


def schema(bootstrap, topic, *, timeout=None, security=None):
    """The columns of a topic's table as a ``pyarrow.Schema``, also if it has no row yet; None if the topic is untyped. Needs pyarrow."""
    import pyarrow

    found = _native.table_schema(bootstrap, topic, timeout, security)
    return None if found is None else pyarrow.schema(found)


def write(bootstrap, topic, data, *, partition=None, timeout=None, security=None):
    """Stores rows in a typed topic; returns how many. Needs pyarrow.

    bootstrap: brokers to ask first, ``host:port``, separated by commas.
    data: what has the Arrow PyCapsule interface (pyarrow tables and readers, Polars and pandas frames), or what ``pyarrow.table``
        takes. Its columns are some of the table's (:func:`schema`), and may be ``_key``, ``_timestamp`` and ``_headers``. What is
        missing is null, or the column's default. Other types that mean the same are cast: Python's integers into an INT column,
        floats that are integers, nanoseconds, large strings, dictionaries. A value that does not fit is an error.
    partition: where the rows go; None is one partition after the other, some thousand rows each.
    timeout: seconds to wait for one answer of a broker, and to retry.
    security: a :class:`Security`, for brokers with TLS or passwords.

    Every row is stored once, also if requests have to be repeated. Raises WeirError; for rows that do not fit it names column and
    row. Rows of batches in front of those are stored by then.
    """
    import pyarrow

    if hasattr(data, "__arrow_c_stream__"):
        reader = pyarrow.RecordBatchReader.from_stream(data)
    else:
        reader = pyarrow.table(data).to_reader()
    writer = _native.Writer(bootstrap, topic, partition, timeout, security)
    rows = 0
    for batch in reader:
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        rows += writer.write(sink.getvalue().to_pybytes())
    return rows
