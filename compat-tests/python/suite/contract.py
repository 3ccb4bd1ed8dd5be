"""What an adapter in `clients/` offers the suite. Blocking calls; an error of the broker becomes `BrokerError`."""

from typing import Protocol

from suite.records import Record, Row


class BrokerError(Exception):
    """The broker answered with a Kafka error code."""

    def __init__(self, code: int, message: str = ""):
        super().__init__(f"error {code} {message}")
        self.code = code


class Member(Protocol):
    """A consumer that joined a group. Commits nothing by itself; starts at the beginning without a commit."""

    def poll(self, seconds: float) -> list[Record]: ...
    def assigned(self) -> set[int]: ...
    def commit(self, offsets: dict[int, int], metadata: str = "") -> None: ...
    def committed(self, partitions: set[int]) -> dict[int, tuple[int, str] | None]: ...
    def close(self) -> None: ...


class Client(Protocol):
    name: str
    codecs: tuple[str, ...]
    # Names of optional checks of which the library has no API; anything not listed must pass.
    lacks: frozenset[str]

    def version(self) -> str: ...
    def close(self) -> None: ...

    def produce(self, topic: str, rows: list[Row], codec: str = "none", idempotent: bool = False,
                partition: int | None = None, batch_bytes: int | None = None) -> list[tuple[int, int]]:
        """Produces with acks=all and returns (partition, offset) of each row, in the order of the rows."""

    def consume(self, topic: str, starts: dict[int, int], ends: dict[int, int],
                fetch_bytes: int | None = None) -> list[Record]:
        """Reads the ranges by assignment, without a group. Out of range starts at the earliest offset."""

    def drain(self, topic: str, ends: dict[int, int], group: str, wait_ms: int = 100,
              seconds: float = 60) -> tuple[list[Record], dict[int, int]]:
        """Reads from the start by assignment until the consumer's own positions are at `ends`, and commits these for
        `group`; after `seconds` it ends without that. A fetch may wait for `wait_ms`. Returns what it read and the positions."""

    def member(self, group: str, topic: str, instance: str | None = None) -> Member: ...

    def offsets_at(self, topic: str, partitions: list[int], timestamp: int) -> dict[int, int | None]: ...
    def watermarks(self, topic: str, partition: int) -> tuple[int, int]: ...

    def create_topic(self, topic: str, partitions: int, replication: int, configs: dict[str, str]) -> None: ...
    def delete_topic(self, topic: str) -> None: ...
    def list_topics(self) -> set[str]: ...
    def describe_topic(self, topic: str) -> dict[int, list[int]]:
        """Partition -> replicas."""

    def create_partitions(self, topic: str, total: int) -> None: ...
    def describe_configs(self, topic: str) -> dict[str, str | None]: ...
    def alter_configs(self, topic: str, put: dict[str, str], delete: list[str]) -> None: ...
    def delete_records(self, topic: str, before: dict[int, int]) -> dict[int, int]:
        """Partition -> new log start."""

    def describe_cluster(self) -> dict:
        """{"controller": id, "brokers": {id: (host, port)}, "cluster_id": text or None}"""

    def list_groups(self) -> set[str]: ...
    def describe_group(self, group: str) -> tuple[str, int]:
        """State in Kafka's words, number of members."""

    def group_offsets(self, group: str, topic: str) -> dict[int, int]: ...
    def alter_group_offsets(self, group: str, topic: str, offsets: dict[int, int]) -> None: ...
    def delete_group_offsets(self, group: str, topic: str, partitions: list[int]) -> None: ...
    def delete_group(self, group: str) -> None: ...
