"""Ranges of records that share a fate in queue mode: taken together by a consumer, or given back together."""

from __future__ import annotations


class _Batch:
    """A range of records, of which fewer and fewer are left. `moment` is when something comes due for those."""

    __slots__ = ("end", "first", "left", "moment")

    def __init__(self, first: int, end: int) -> None:
        self.first = first
        self.end = end
        self.left = end - first
        self.moment: float | None = None

    def shrink(self, records: int) -> None:
        """Notes that so many records have left it; with the last, nothing comes due any more."""
        self.left -= records
        if not self.left:
            self.moment = None


class Lease(_Batch):
    """Records that a consumer took together: which delivery it is, from 1, and when its time is over."""

    __slots__ = ("attempt", "consumer")

    def __init__(self, consumer: int, first: int, end: int, attempt: int) -> None:
        super().__init__(first, end)
        self.consumer = consumer
        self.attempt = attempt


class Waiting(_Batch):
    """Records that went back together: how often they were delivered, and when they are due; None once they are."""

    __slots__ = ("deliveries",)

    def __init__(self, first: int, end: int, deliveries: int) -> None:
        super().__init__(first, end)
        self.deliveries = deliveries
