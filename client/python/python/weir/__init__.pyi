from collections.abc import Iterator, Sequence
from datetime import datetime
from os import PathLike
from types import TracebackType
from typing import Any, Literal, TypedDict

__version__: str

class WeirError(Exception):
    """A broker could not be reached, refused, or sent what cannot be read."""

class QueryError(WeirError):
    """Columns or a predicate that cannot be used; the message names the place."""

class Security:
    """TLS and SASL towards brokers."""

    def __init__(
        self,
        *,
        tls: bool = True,
        ca: str | PathLike[str] | None = None,
        certificate: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        username: str | None = None,
        password: str | None = None,
        mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"] | None = None,
    ) -> None:
        """tls: whether connections are encrypted.
        ca: file of CAs (PEM) to trust instead of those of the system.
        certificate, key: files (PEM) of a certificate to show, and of its private key.
        username, password: who to be; for OAUTHBEARER the password is the token and there is no name.
        mechanism: None is SCRAM-SHA-512.
        """

class Statistics(TypedDict):
    rows_scanned: int
    """Rows the predicate was applied to, wherever that happened."""
    rows_returned: int
    """Rows that matched."""
    rows_errored: int
    """Rows whose predicate raised an error (overflow, division by zero, a failed cast): they count as not matching."""
    bytes_scanned: int
    """Bytes of input that were looked at."""
    bytes_received: int
    """Bytes that came over the network, as they came."""
    columnar_answers: int
    """Answers of the broker that were columns."""
    record_answers: int
    """Answers that were records, decoded and filtered on this side."""

class Batch:
    """Rows of one partition, in offset order. Has the Arrow PyCapsule interface: ``pyarrow.record_batch(batch)``."""

    @property
    def num_rows(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def first_offset(self) -> int | None: ...
    @property
    def last_offset(self) -> int | None: ...
    @property
    def offsets(self) -> list[int]: ...
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...

class Rows:
    """A reading of a topic. It is used once: as an Arrow stream, or batch by batch."""

    @property
    def topic(self) -> str: ...
    @property
    def statistics(self) -> Statistics:
        """What the reading cost so far; also after it was handed on."""
    def to_arrow(self) -> Any:
        """The reading as a ``pyarrow.RecordBatchReader``."""
    def to_pandas(self) -> Any:
        """All rows as a ``pandas.DataFrame`` (needs pyarrow)."""
    def to_polars(self) -> Any:
        """All rows as a ``polars.DataFrame``."""
    def close(self) -> None:
        """Ends the reading. What was handed on ends with whoever took it."""
    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def __enter__(self) -> Rows: ...
    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

def read(
    bootstrap: str,
    topic: str,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    *,
    start: Literal["start", "end"] | int | datetime | None = None,
    end: Literal["end"] | int | datetime | None = None,
    partitions: Sequence[int] | None = None,
    read_committed: bool = False,
    codecs: Sequence[Literal["lz4", "zstd"]] | None = None,
    in_windows: bool = False,
    fetch_bytes: int | None = None,
    timeout: float | None = None,
    security: Security | None = None,
    progress: bool | None = None,
) -> Rows:
    """Reads a topic up to its end as it is now.

    bootstrap: brokers to ask first, ``host:port``, separated by commas.
    columns: which columns, in this order; None is every user column (of an untyped topic ``_key, _value, _headers,
        _timestamp``). Members of structs by their path (``user.city``); system columns by name (``_offset``).
    where: SQL expression; only rows for which it is true. Names are case-sensitive.
    start: where to start in each partition: "start", "end", an offset (negative: so many before the end) or a time. A time
        without a zone is UTC.
    end: where to stop, at the latest at the end as it is now: an offset or a time, neither included.
    partitions: only these.
    read_committed: leave out rows of aborted and open transactions.
    codecs: compressions of columns to accept; None is all, an empty list plain columns.
    in_windows: of a topic with ``weir.cluster.by``, rows as they are stored, window by window; batches of one window are not in
        offset order, which is less work for the broker.
    fetch_bytes: bytes to fetch ahead, about.
    timeout: seconds to wait for one answer of a broker, and to retry.
    security: for brokers with TLS or passwords.
    progress: show a progress line on stderr; None: on a terminal.

    Raises QueryError for columns and predicates that cannot be used (at the first batch), WeirError for all else.
    """

def stream(
    bootstrap: str,
    topic: str,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    *,
    start: Literal["start", "end"] | int | datetime | None = None,
    end: Literal["end"] | int | datetime | None = None,
    partitions: Sequence[int] | None = None,
    read_committed: bool = False,
    codecs: Sequence[Literal["lz4", "zstd"]] | None = None,
    in_windows: bool = False,
    fetch_bytes: int | None = None,
    timeout: float | None = None,
    security: Security | None = None,
    progress: bool | None = False,
) -> Rows:
    """Reads a topic and waits for what is written to it. Arguments as for :func:`read`; without ``end`` it never ends."""

def write(
    bootstrap: str,
    topic: str,
    data: Any,
    *,
    partition: int | None = None,
    timeout: float | None = None,
    security: Security | None = None,
) -> int:
    """Stores rows in a typed topic, each once; returns how many. Types that mean the same as the table's are cast, checked."""

def schema(bootstrap: str, topic: str, *, timeout: float | None = None, security: Security | None = None) -> Any:
    """The columns of a topic's table as a ``pyarrow.Schema``, also if it has no row yet; None if the topic is untyped."""
