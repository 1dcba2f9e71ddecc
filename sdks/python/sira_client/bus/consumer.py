"""Consumers: what a program iterates over to get records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from sira_client.bus.feed import Feed
from sira_client.bus.subscribe_stream import Window

T = TypeVar("T")

MAX_PREFETCH_RECORDS = 1_000_000
MAX_PREFETCH_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """How records are consumed. See Bus.subscribe."""

    prefetch_records: int
    prefetch_bytes: int
    concurrency: int | None = None
    sync_acks: bool = False
    lease: float = 3600.0

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            ValueError: a number is out of its range.
        """
        if not 1 <= self.prefetch_records <= MAX_PREFETCH_RECORDS:
            raise ValueError(f"prefetch_records: must be 1 to {MAX_PREFETCH_RECORDS:,}")
        if not 1 <= self.prefetch_bytes <= MAX_PREFETCH_BYTES:
            raise ValueError(f"prefetch_bytes: must be 1 to {MAX_PREFETCH_BYTES:,}")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError("concurrency: must be 1 or more")
        if not self.lease > 0:
            raise ValueError("lease: must be above 0 seconds")

    @property
    def window(self) -> Window:
        """What may be delivered in advance."""
        return Window(self.prefetch_records, self.prefetch_bytes)


class Consumer(ABC, Generic[T]):
    """Iterated over once, with `async for`. It ends with the iteration; or, in `async with`, at the end of that block.

    At its end what was settled until then is settled, and the rest is given back, to be delivered to others at once:
    whoever hands records to tasks uses `async with`, and has them finish in the block.

    Args:
        feed: begins to deliver frames.
    """

    def __init__(self, feed: Callable[[], Feed]) -> None:
        self._begin = feed
        self._feed: Feed | None = None
        self._iterated = self._entered = self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    async def close(self) -> None:
        """Ends it in good order. Does nothing more if it has ended."""
        self._closed = True
        if self._feed is not None:
            await self._feed.close()

    def __aiter__(self) -> AsyncGenerator[T, None]:
        """See the class.

        Raises:
            RuntimeError: it was iterated over before, or has ended.
        """
        if self._iterated or self._closed:
            raise RuntimeError("a consumer is iterated over once")
        self._iterated = True
        return self._items(self._started())

    @abstractmethod
    def _items(self, feed: Feed) -> AsyncGenerator[T, None]:
        """What is iterated over. At its end it calls `_iteration_ended`.

        Raises:
            SiraError: from the iteration: the kernel refused to deliver.
        """

    async def _iteration_ended(self) -> None:
        if not self._entered:
            await self.close()

    def _started(self) -> Feed:
        if self._feed is None:
            self._feed = self._begin()
        return self._feed

    async def __aenter__(self) -> Self:
        """Begins to get records."""
        if self._closed:
            raise RuntimeError("the consumer has ended")
        self._entered = True
        self._started()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """See close."""
        await self.close()
