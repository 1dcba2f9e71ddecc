"""How a producer sends."""

from __future__ import annotations

from dataclasses import dataclass

from sira_client.bus.compression import Compression, compression_value
from sira_client.frames.checking import MAX_RECORDS

MAX_BATCH_BYTES = 2 << 20
"""Payloads, keys, ids and attributes of a frame, at most: with its columns it stays below the 3 MiB of the kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerOptions:
    """How a producer sends. See Bus.producer."""

    linger: float = 0.002
    max_batch_records: int = 1000
    max_batch_bytes: int = 256 << 10
    compression: Compression = None
    max_in_flight: int = 32
    buffer_bytes: int = 32 << 20
    timeout: float = 30.0

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            ValueError: a number is out of its range.
        """
        compression_value(self.compression)
        if not self.linger >= 0 or not self.timeout >= 0:
            raise ValueError("linger, timeout: must not be below 0 seconds")
        if not 1 <= self.max_batch_records <= MAX_RECORDS:
            raise ValueError(f"max_batch_records: must be 1 to {MAX_RECORDS:,}")
        if not 1 <= self.max_batch_bytes <= MAX_BATCH_BYTES:
            raise ValueError(f"max_batch_bytes: must be 1 to {MAX_BATCH_BYTES:,}")
        if self.max_in_flight < 1 or self.buffer_bytes < 1:
            raise ValueError("max_in_flight, buffer_bytes: must be 1 or more")
