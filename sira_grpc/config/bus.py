"""The configuration of the bus."""

from __future__ import annotations

from sira_grpc.config.kinds import Count, CountOrOff, Section


class BusConfig(Section, frozen=True):
    """Topics, subscriptions, memory, and what a publisher may send."""

    max_topics_per_namespace: Count = 10_000
    """Topics in one namespace. Default 10,000."""
    max_subscriptions_per_namespace: Count = 10_000
    """Subscriptions in one namespace. Default 10,000."""
    memory_bytes: Count = 256 << 20
    """Memory for the records of all topics with durability MEMORY together. Bytes, default 256 MiB."""
    cache_bytes: Count = 16 << 20
    """Memory for the newest frames of all topics together, from which readers that keep up are served.

    Bytes, default 16 MiB."""
    max_in_flight_bytes: Count = 4 << 20
    """Frames of one publishing stream that wait for the disk; beyond it the stream is read no further.

    Bytes, default 4 MiB."""
    records_per_second_per_publisher: CountOrOff = 0
    """Records a second from one publisher, to all topics: its identity, or its host where it has none.

    A stream that is faster is slowed, unary calls are refused. Default 0: unlimited."""
    bytes_per_second_per_publisher: CountOrOff = 0
    """Bytes of frames a second from one publisher, likewise. Default 0: unlimited."""
