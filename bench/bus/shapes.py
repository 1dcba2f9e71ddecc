"""The ways of publishing that brokers are compared in."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sira_client.frames import pack_columns

from bench.bus import messages


@dataclass(frozen=True, slots=True)
class Shape:
    """A way of publishing.

    Attributes:
        title: for the report.
        records: in each message; more than one means that the message is a frame of Sira, made when it is sent.
        in_flight: messages that may be sent and not acknowledged. 1 means that each is awaited.
    """

    title: str
    records: int
    in_flight: int

    def maker(self) -> Callable[[], bytes]:
        """Returns what makes the next message."""
        payloads = messages.payloads(self.records)
        if self.records == 1:
            return lambda: payloads[0]
        return lambda: pack_columns(payloads)


SHAPES = (
    Shape("single records, each awaited", 1, 1),
    Shape("single records, 64 in flight", 1, 64),
    Shape("frames of 1,000 records, 16 in flight", 1_000, 16),
)


class Peer(Protocol):
    """A broker with a client that is connected to it."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def durability(self) -> str:
        """What its acknowledgement promises."""

    async def publish(self, shape: Shape, seconds: float) -> float:
        """Publishes for a time and returns the records acknowledged a second."""


@dataclass(slots=True)
class Timer:
    """A measurement of a given length.

    Attributes:
        seconds: how long.
        count: messages that were sent, for whoever measures to count.
    """

    seconds: float
    count: int = 0
    begun: float = 0.0

    def __post_init__(self) -> None:
        self.begun = time.perf_counter()

    def more(self) -> bool:
        """Whether there is time left."""
        return time.perf_counter() < self.begun + self.seconds

    def rate(self, records: int) -> float:
        """Returns the records a second up to now, of so many in each message."""
        return self.count * records / (time.perf_counter() - self.begun)
