"""How much each publisher may send: to a topic, and to all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from sira_grpc.bus.view import TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.config import BusConfig
from sira_grpc.errors import LimitExceeded

BURST_SECONDS = 1.0
"""What a publisher may send at once that has been quiet: what its quota gives in so many seconds."""
ROUNDING_SECONDS = 1e-6
"""What sums of times may be off by: who comes back when he was told to is not sent away again."""
MAX_REMEMBERED = 10_000
"""Publishers and topics, or publishers, of which it is remembered what they sent; the least recent are forgotten."""
ALL_TOPICS = ""


class _Quota(NamedTuple):
    """A quota that counts for a frame.

    Attributes:
        name: of the limit.
        rate: what it allows a second.
        amount: what is sent of it.
        resource: the topic that it is a limit of; empty where it is the configuration's.
        full_at: when each bucket of the publisher, for the same topics, will be full, by the name of the limit.
    """

    name: str
    rate: int
    amount: int
    resource: str
    full_at: dict[str, float]

    @property
    def cost(self) -> float:
        """How long the quota takes to give as much, in seconds."""
        return self.amount / self.rate


class Quotas:
    """Token buckets, by publisher and topic, and by publisher.

    A bucket is kept as the moment at which it will be full: each frame moves it on by the time that the quota takes to
    give as much, which is the virtual scheduling form of the generic cell rate algorithm (ITU-T I.371, annex A). So a
    bucket that is full needs not be kept, and a quota may be changed at any time.

    Args:
        config: records_per_second_per_publisher and bytes_per_second_per_publisher are used.
        clock: for the time that passes.
    """

    def __init__(self, config: BusConfig, clock: Clock) -> None:
        self._records = config.records_per_second_per_publisher
        self._bytes = config.bytes_per_second_per_publisher
        self._clock = clock
        self._full_at: OrderedDict[tuple[str, str], dict[str, float]] = OrderedDict()

    def take(self, publisher: str, topic: TopicEntry, records: int, size: int) -> float:
        """Counts what a stream sends, and returns for how long it has to be silent then, in seconds; 0 for not at all.

        Nothing is refused: what is beyond the quota is a debt that the time pays.

        Args:
            publisher: its identity, or its host where it has none.
            topic: where it goes.
            records, size: how many there are, and their bytes.
        """
        now = self._clock.monotonic()
        wait = 0.0
        for quota in self._quotas(publisher, topic, records, size):
            wait = max(wait, _book(quota, now) - now - BURST_SECONDS)
        self._forget(now)
        return wait

    def check(self, publisher: str, topic: TopicEntry, records: int, size: int) -> None:
        """Counts what a unary call sends, unless that is too much now: then it counts for nothing.

        What is more than any burst may pass once nothing else was sent for the length of one.

        Raises:
            LimitExceeded: it is over a quota, which metadata names.
        """
        now = self._clock.monotonic()
        quotas = tuple(self._quotas(publisher, topic, records, size))
        for quota in quotas:
            debt = max(quota.full_at.get(quota.name, now) - now, 0.0)
            excess = debt + min(quota.cost, BURST_SECONDS) - BURST_SECONDS
            if excess > ROUNDING_SECONDS:
                raise _exceeded(quota, publisher, excess)
        for quota in quotas:
            _book(quota, now)
        self._forget(now)

    def _quotas(self, publisher: str, topic: TopicEntry, records: int, size: int) -> Iterator[_Quota]:
        """Yields those that are set."""
        limits = topic.settings
        if limits.records_per_second or limits.bytes_per_second:
            full_at = self._of(publisher, topic.uid)
            if limits.records_per_second:
                yield _Quota("topic.limits.records_per_second", limits.records_per_second, records, topic.name, full_at)
            if limits.bytes_per_second:
                yield _Quota("topic.limits.bytes_per_second", limits.bytes_per_second, size, topic.name, full_at)
        if self._records or self._bytes:
            full_at = self._of(publisher, ALL_TOPICS)
            if self._records:
                yield _Quota("bus.records_per_second_per_publisher", self._records, records, "", full_at)
            if self._bytes:
                yield _Quota("bus.bytes_per_second_per_publisher", self._bytes, size, "", full_at)

    def _of(self, publisher: str, topic_uid: str) -> dict[str, float]:
        """Returns when each bucket of a publisher will be full, by the name of the limit."""
        key = (publisher, topic_uid)
        full_at = self._full_at.setdefault(key, {})
        self._full_at.move_to_end(key)
        return full_at

    def _forget(self, now: float) -> None:
        """Forgets the least recent, where they are full; and where there are too many, also where they are not."""
        while self._full_at:
            oldest, full_at = next(iter(self._full_at.items()))
            if len(self._full_at) <= MAX_REMEMBERED and any(moment > now for moment in full_at.values()):
                return
            del self._full_at[oldest]


def _book(quota: _Quota, now: float) -> float:
    """Counts what is sent, and returns when the bucket will be full."""
    full_at = max(quota.full_at.get(quota.name, now), now) + quota.cost
    quota.full_at[quota.name] = full_at
    return full_at


def _exceeded(quota: _Quota, publisher: str, retry_after: float) -> LimitExceeded:
    metadata = {"limit": quota.name, "value": str(quota.rate), "caller": publisher}
    if quota.resource:
        metadata["resource"] = quota.resource
    where = f" of {quota.resource}" if quota.resource else ""
    return LimitExceeded(
        f"{publisher} is over {quota.name}{where}, {quota.rate}", metadata=metadata, retry_after=retry_after
    )
